"""timeseries-table-format: in process, one row per entity and interval, one second at least."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from timeseries_table_format import Session, TimeSeriesTable


class Ttf:
    def __init__(self, folder: Path, index: str, entities: list[str]) -> None:
        self.folder = str(folder)
        self.table = TimeSeriesTable.create(
            table_root=self.folder,
            index_column=index,
            index_type="timestamp",
            index_granularity="1s",
            entity_columns=entities,
        )

    def append(self, data: pa.Table) -> None:
        self.table.append(data)

    def session(self, name: str) -> Session:
        session = Session()
        session.register_tstable(name, self.folder)
        return session


def open_and_count(folder: Path) -> None:
    TimeSeriesTable.open(str(folder))


def bulk_peak_rss(folder: Path, days: int, rows: int) -> int:
    """Peak resident bytes of a fresh process that appends generated days, less what generating alone takes."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from coverline_bench import generate\n"
        "append = sys.argv[4] == 'append'\n"
        "if append:\n"
        "    from coverline_bench.peers.ttf import Ttf\n"
        "    table = Ttf(Path(sys.argv[1]), 'request_datetime', ['slot'])\n"
        "for day in range(int(sys.argv[2])):\n"
        "    data = generate.trips(day, int(sys.argv[3]))\n"
        "    if append:\n"
        "        table.append(data)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )

    def peak(mode: str) -> int:
        output = subprocess.check_output(
            [sys.executable, "-c", script, str(folder), str(days), str(rows), mode], env=os.environ, text=True
        )
        return int(output)

    return peak("append") - peak("generate")
