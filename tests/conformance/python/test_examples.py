"""The programs in clients/python/examples, run as their users do: one that ingests and one that queries for each tool.

They have to print what those of the other languages print; check_examples in ../common.sh is the same check for these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Server

EXAMPLES = Path(__file__).resolve().parents[3] / "clients" / "python" / "examples"
TOOLS = ("adbc", "pyarrow_flight", "polars", "pandas", "duckdb", "sqlalchemy")
RUN_SECONDS_MAX = 120


def run(program: str, server: Server, *arguments: str | Path) -> str:
    """What a program prints. One that fails is a failure of the test, with all that it said."""
    command = [sys.executable, str(EXAMPLES / program), server.url.removeprefix("grpc://"), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert done.returncode == 0, f"{program} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def write_day(folder: Path, day: str, name: str, close: str) -> Path:
    """A file of 48 rows: two symbols, every hour of a day."""
    rows = [f"{day}T{hour:02}:00:00Z,{symbol},{close.format(hour)}" for symbol in ("AAPL", "NVDA") for hour in range(24)]
    path = folder / name
    path.write_text("\n".join(["ts,symbol,close", *rows, ""]))
    return path


def test_every_program_is_run() -> None:
    programs = {f"{tool}_{does}.py" for tool in TOOLS for does in ("ingest", "query")}
    assert {path.name for path in EXAMPLES.glob("*.py")} == programs | {"overlap.py"}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_programs_ingest_report_an_overlap_and_query(server: Server, name: str, tmp_path: Path, tool: str) -> None:
    files = [write_day(tmp_path, day, f"{day}.csv", "1{:02}.5") for day in ("2025-03-01", "2025-03-03")]
    revised = write_day(tmp_path, "2025-03-01", "revised.csv", "2{:02}.5")
    # What plain Flight is answered with has the version; bulk ingestion and INSERT are answered with a count and nothing else.
    versions = ["version 2, ", "version 3, "] if tool == "pyarrow_flight" else ["", ""]
    assert run(f"{tool}_ingest.py", server, name, *files).splitlines() == [
        f"2025-03-01.csv: {versions[0]}48 rows",
        f"2025-03-03.csv: {versions[1]}48 rows",
    ]
    first = '48 overlapping buckets (first symbol="AAPL" [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z), since version 2)'
    third = '48 overlapping buckets (first symbol="AAPL" [2025-03-03T00:00:00Z, 2025-03-03T01:00:00Z), since version 3)'
    assert run(f"{tool}_ingest.py", server, name, *files, revised).splitlines() == [
        f"2025-03-01.csv: already loaded, {first}",
        f"2025-03-03.csv: already loaded, {third}",
        f"revised.csv: refused, {first}",
    ]
    assert run(f"{tool}_query.py", server, name, "2025-03-01T12:00:00Z").splitlines() == [
        "AAPL: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows",
        "NVDA: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows",
        "AAPL: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets",
        "NVDA: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets",
    ]
