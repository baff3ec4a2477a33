"""Tables of a local folder: the package starts the server itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import coverline
from conftest import Server, binary
from coverline import Session, TimeSeriesTable, _embedded
from data import DAY, daily_files, day_of

SCRIPT = Path(__file__).parent / "scripts" / "daily_prices.py"


@pytest.fixture(autouse=True)
def _binary() -> None:
    binary()


def create(root: object) -> TimeSeriesTable:
    return TimeSeriesTable.create(table_root=str(root), time_column="ts", bucket="1h", entity_columns=["symbol"])


def processes_of(root: Path) -> list[int]:
    """Servers that run on a folder, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(os.path.realpath(root)) in words and b"serve" in words and not words[0].endswith(b"sh"):
            found.append(int(entry.name))
    return found


def wait_until_stopped(root: Path) -> None:
    deadline = time.monotonic() + 60
    while processes_of(root):
        assert time.monotonic() < deadline, "the server is still there after 60 s"
        time.sleep(0.02)


# -- the script


def run_script(*arguments: object) -> list[str]:
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize("place", ["folder", "server"])
def test_a_script_in_the_style_of_an_in_process_library_runs(
    place: str, tmp_path: Path, server: Server, name: str
) -> None:
    files = daily_files(tmp_path / "files", 3)
    root = tmp_path / "prices" if place == "folder" else f"{server.url}/{name}"
    first = run_script(root, *files)
    summary = ["AAPL 2025-03-01T00 2025-03-03T23 72", "NVDA 2025-03-01T00 2025-03-03T23 72"]
    assert [re.sub(r"\d+$", "N", line) for line in first[:3]] == [f"{path.name}: version N" for path in files]
    versions = [int(line.rsplit(" ", 1)[1]) for line in first[:3]]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]
    assert first[3:] == summary

    assert run_script(root, *files) == [f"{path.name}: skipped, 48 buckets are there" for path in files] + summary
    if place == "folder":
        assert processes_of(tmp_path / "prices") == []


# -- tables


def test_a_table_is_created_loaded_and_opened_again(tmp_path: Path) -> None:
    files = daily_files(tmp_path / "files", 2)
    root = tmp_path / "prices"
    with create(root) as table:
        version = table.append_parquet(str(files[0]))
        assert isinstance(version, int)
        assert table.version() == version
        assert table.root() == str(root)
        spec = table.index_spec()
        assert (spec["index_column"], spec["bucket"], spec["entity_columns"]) == ("ts", "1h", ["symbol"])
        assert table.append(day_of(1)).committed_version == version + 1
    assert processes_of(root) == []
    with TimeSeriesTable.open(root) as again:
        assert again.version() == version + 1
        with pytest.raises(coverline.CoverageOverlapError) as caught:
            again.append_parquet(files[0])
        assert caught.value.overlap_count == 48
        assert caught.value.table_root == str(root)


def test_newer_argument_names_are_taken_too(tmp_path: Path) -> None:
    with TimeSeriesTable.create(
        table_root=str(tmp_path / "a"), index_column="ts", index_type="timestamp", index_granularity="1h", entity_columns=["symbol"]
    ) as table:
        assert table.append(day_of(0)).row_count == 48
    for wrong in (
        {"time_column": "ts", "index_column": "ts", "bucket": "1h"},
        {"time_column": "ts", "bucket": "1h", "index_granularity": "1h"},
        {"time_column": "ts", "bucket": 5, "index_type": "timestamp"},
        {"time_column": "ts", "bucket": "1h", "index_type": "int64"},
        {"time_column": "ts", "bucket": "1h", "index_type": "float"},
        {"time_column": "ts", "bucket": 1.5},
    ):
        with pytest.raises(coverline.InvalidInputError):
            TimeSeriesTable.create(table_root=str(tmp_path / "b"), **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        TimeSeriesTable.create(table_root=str(tmp_path / "b"), bucket="1h")
    assert not (tmp_path / "b").exists()


def test_creating_twice_and_opening_nothing_fail_by_class(tmp_path: Path) -> None:
    with create(tmp_path / "a"), pytest.raises(coverline.AlreadyExistsError) as caught:
        create(tmp_path / "a")
    assert caught.value.table_root == str(tmp_path / "a")
    for nothing in (tmp_path / "absent", tmp_path):
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(coverline.NotFoundError):
            TimeSeriesTable.open(nothing)
        assert sorted(path.name for path in tmp_path.iterdir()) == before, "opening must not make anything"


def test_a_bad_bucket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(coverline.InvalidInputError):
        TimeSeriesTable.create(table_root=str(tmp_path / "a"), time_column="ts", bucket="nonsense")


# -- the server behind


def test_one_server_serves_a_folder_however_often_it_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "prices"
    first = create(root)
    link = tmp_path / "link"
    link.symlink_to(root)
    second, third = TimeSeriesTable.open(root), TimeSeriesTable.open(link)
    assert len(processes_of(root)) == 1
    first.append(day_of(0))
    assert second.version() == third.version() == first.version()
    first.close()
    third.close()
    assert second.append(day_of(1)).row_count == 48
    second.close()
    assert processes_of(root) == []
    with pytest.raises(coverline.CoverlineError, match="closed"):
        second.version()


def test_a_table_that_nobody_holds_lets_its_folder_go(tmp_path: Path) -> None:
    root = tmp_path / "prices"
    create(root).append(day_of(0))
    wait_until_stopped(root)
    server = Server(root)
    with coverline.connect(server.url) as client:
        assert client.table("data").count() == 48
    assert server.stop() == 0


def test_a_server_that_was_killed_is_started_again_by_the_next_open(tmp_path: Path) -> None:
    root = tmp_path / "prices"
    table = create(root)
    table.append(day_of(0))
    [process] = processes_of(root)
    os.kill(process, signal.SIGKILL)
    wait_until_stopped(root)
    with pytest.raises(coverline.UnavailableError):
        table.version()
    again = TimeSeriesTable.open(root)
    with pytest.raises(coverline.CoverageOverlapError):
        again.append(day_of(0))
    again.close()
    table.close()
    assert processes_of(root) == []


def test_a_server_that_dies_while_a_table_is_opened_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process closes its connections and its output at different times: here the connections first."""
    root = tmp_path / "prices"
    table = create(root)
    table.append(day_of(0))
    [process] = processes_of(root)
    os.kill(process, signal.SIGKILL)
    has_ended = _embedded._Server._has_ended
    looks: list[float] = []

    def ends_late(server: _embedded._Server, seconds_max: float) -> bool:
        looks.append(seconds_max)
        return len(looks) > 1 and has_ended(server, seconds_max)

    monkeypatch.setattr(_embedded._Server, "_has_ended", ends_late)
    again = TimeSeriesTable.open(root)
    assert looks == [0, _embedded.END_SECONDS_MAX]
    assert again.table.count() == day_of(0).num_rows
    again.close()
    table.close()
    assert processes_of(root) == []


def test_a_killed_script_leaves_no_server_behind(tmp_path: Path) -> None:
    root = tmp_path / "prices"
    script = textwrap.dedent(
        f"""
        import os, signal
        from coverline import TimeSeriesTable
        table = TimeSeriesTable.create(table_root={str(root)!r}, time_column="ts", bucket="1h")
        print(table.version(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (-signal.SIGKILL, "")
    wait_until_stopped(root)
    with TimeSeriesTable.open(root) as table:
        assert table.root() == str(root)


def test_a_folder_that_another_server_holds_is_refused_with_its_reason(tmp_path: Path) -> None:
    root = tmp_path / "prices"
    create(root).close()
    server = Server(root)
    with pytest.raises(coverline.PreconditionError, match="(?s)ended before it was ready.*" + server.url):
        TimeSeriesTable.open(root)
    assert server.stop() == 0


def test_a_folder_of_other_things_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(coverline.PreconditionError, match="(?s)ended before it was ready.*notes.txt"):
        create(tmp_path)


def test_a_server_that_is_killed_as_it_starts_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "coverline"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("COVERLINE_BIN", str(program))
    with pytest.raises(coverline.UnavailableError, match="ended before it was ready"):
        create(tmp_path / "a")


def test_a_missing_binary_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERLINE_BIN", str(tmp_path / "absent"))
    with pytest.raises(coverline.CoverlineError, match="COVERLINE_BIN"):
        create(tmp_path / "a")
    monkeypatch.delenv("COVERLINE_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(coverline.CoverlineError, match="PATH.*COVERLINE_BIN"):
        create(tmp_path / "a")


def test_the_binary_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coverline").symlink_to(os.path.abspath(binary()))
    monkeypatch.delenv("COVERLINE_BIN")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert _embedded.find_binary() == str(tmp_path / "coverline")


# -- sessions


def test_a_session_reads_a_table_under_its_registered_name(tmp_path: Path) -> None:
    with create(tmp_path / "a") as table, Session() as session:
        table.append(day_of(0))
        session.register_tstable("prices", str(tmp_path / "a"))
        assert session.tables() == ["prices"]
        assert session.sql("SELECT count(*) AS n FROM prices")["n"].to_pylist() == [48]
        # Own WITH clauses, column names qualified by the table, comments, an ORDER BY at the end.
        query = """
            -- the latest of each
            WITH latest AS (SELECT symbol, max(ts) AS ts FROM prices GROUP BY symbol)
            SELECT prices.symbol, prices.close FROM prices JOIN latest ON prices.symbol = latest.symbol AND prices.ts = latest.ts
            ORDER BY prices.symbol DESC; -- done
        """
        assert session.sql(query).to_pylist() == [{"symbol": "NVDA", "close": 123.0}, {"symbol": "AAPL", "close": 123.0}]
        assert session.sql("SELECT max(close) AS m FROM prices WHERE symbol = $1", params=["NVDA"])["m"].to_pylist() == [123.0]
        assert session.sql("SELECT max(close) AS m FROM prices WHERE ts < $t", params={"t": DAY})["m"].to_pylist() == [None]
        reader = session.sql_reader("SELECT * FROM prices")
        assert sum(batch.num_rows for batch in reader) == 48
        assert session.sql("EXPLAIN SELECT * FROM prices").num_rows > 0
        session.deregister("prices")
        assert session.tables() == []
        with pytest.raises(KeyError):
            session.deregister("prices")


def test_a_session_joins_tables_of_one_server_under_swapped_names(client: coverline.Client, server: Server, name: str) -> None:
    one, two = f"{name}_one", f"{name}_two"
    for table, symbol in ((one, "ONE"), (two, "TWO")):
        client.create_table(table, index_column="ts", bucket="1h", entity_columns=["symbol"]).append(day_of(0, symbols=(symbol,)))
    with Session() as session:
        session.register_tstable(one, f"{server.url}/{two}")
        session.register_tstable(two, f"{server.url}/{one}")
        query = f"SELECT a.symbol AS a, b.symbol AS b, count(*) AS n FROM {one} a JOIN {two} b ON a.ts = b.ts GROUP BY 1, 2"
        assert session.sql(query).to_pylist() == [{"a": "TWO", "b": "ONE", "n": 24}]
        session.register_tstable("same", f"{server.url}/{one}")
        assert session.sql(f"SELECT DISTINCT symbol FROM same").to_pylist() == [{"symbol": "ONE"}]


def test_a_name_is_registered_again_and_the_old_table_is_let_go(tmp_path: Path) -> None:
    create(tmp_path / "a").close()
    with create(tmp_path / "b") as b:
        b.append(day_of(0))
    with Session() as session:
        session.register_tstable("prices", tmp_path / "a")
        session.register_tstable("prices", tmp_path / "b")
        assert processes_of(tmp_path / "a") == []
        assert session.sql("SELECT count(*) AS n FROM prices")["n"].to_pylist() == [48]
        with pytest.raises(coverline.NotFoundError):
            session.register_tstable("prices", tmp_path / "absent")
        assert session.sql("SELECT count(*) AS n FROM prices")["n"].to_pylist() == [48]


def test_tables_of_two_folders_answer_apart_and_refuse_to_be_joined(tmp_path: Path) -> None:
    with create(tmp_path / "a") as a, create(tmp_path / "b") as b, Session() as session:
        a.append(day_of(0))
        b.append(day_of(0, symbols=("X",)))
        session.register_tstable("a", tmp_path / "a")
        session.register_tstable("b", tmp_path / "b")
        assert session.sql("SELECT count(*) AS n FROM a")["n"].to_pylist() == [48]
        assert session.sql("SELECT count(*) AS n FROM b")["n"].to_pylist() == [24]
        with pytest.raises(coverline.NotSupportedError, match='"a" is at .*"b" is at'):
            session.sql("SELECT * FROM a JOIN b ON a.ts = b.ts")


def test_errors_of_a_session_have_classes(tmp_path: Path) -> None:
    with Session() as session:
        with pytest.raises(coverline.NotFoundError):
            session.register_tstable("prices", tmp_path / "absent")
        with pytest.raises(ValueError):
            session.register_tstable("", tmp_path)
        with pytest.raises(coverline.NotFoundError):
            session.sql("SELECT 1")
        create(tmp_path / "a").close()
        session.register_tstable("prices", tmp_path / "a")
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        with pytest.raises((coverline.QueryError, coverline.InvalidInputError)):
            session.sql("SELEC 1")
        with pytest.raises(coverline.NotFoundError):
            session.sql("SELECT * FROM unknown_table")
        with pytest.raises(coverline.InvalidInputError):
            session.sql("DELETE FROM prices")
        with pytest.raises(coverline.NotSupportedError):
            session.register_parquet("p", "x.parquet")


@pytest.mark.parametrize("root", ["s3://lake/prices", "S3://lake/prices", "file:///prices", "https://h/prices"])
def test_other_urls_are_told_where_to_go(root: str) -> None:
    for use in (TimeSeriesTable.open, create):
        with pytest.raises(coverline.InvalidInputError, match="(?s)local folder.*grpc://HOST:PORT/TABLE.*coverline serve"):
            use(root)


@pytest.mark.parametrize("root", ["grpc://127.0.0.1:1", "grpc://", "grpc:///table", "grpc://h:1/t?x=1"])
def test_a_url_must_name_a_server_and_a_table(root: str) -> None:
    with pytest.raises(coverline.InvalidInputError):
        TimeSeriesTable.open(root)
