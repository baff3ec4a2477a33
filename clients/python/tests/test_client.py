"""The client against a real server."""

from __future__ import annotations

import datetime
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coverline
from conftest import Server
from coverline import _flight
from data import DAY, SCHEMA, SYMBOLS, daily_files, day_of


def rows(client: coverline.Client, table: coverline.Table) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.sql(f'SELECT * FROM "{table.name}" ORDER BY symbol, ts').to_pylist()
    return found


# -- the main job


def test_daily_files_are_loaded_once_and_a_second_run_changes_nothing(
    client: coverline.Client, prices: coverline.Table, tmp_path: Path
) -> None:
    files = daily_files(tmp_path, 5)
    for number, path in enumerate(files):
        receipt = prices.append_parquet(path)
        assert receipt == coverline.Receipt(
            table=prices.name,
            version=receipt.version,
            row_count=48,
            rows_skipped=0,
            buckets_covered=48,
            segment_count=0,  # so few rows that the commit record holds them
            repeated=False,
        )
        assert number == 0 or receipt.version == version + 1
        version = receipt.version

    for path in files:
        with pytest.raises(coverline.CoverageOverlapError) as caught:
            prices.append_parquet(path)
        assert caught.value.overlap_count == 48
    assert prices.version == version

    summary = client.sql(
        f"SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n FROM {prices.name} GROUP BY symbol ORDER BY symbol"
    ).to_pylist()
    last = DAY + datetime.timedelta(days=4, hours=23)
    assert summary == [{"symbol": symbol, "first": DAY, "last": last, "n": 120} for symbol in SYMBOLS]
    assert prices.count() == 240
    assert prices.gaps().num_rows == 0


def test_an_overlap_says_what_where_and_since_when(prices: coverline.Table) -> None:
    first = prices.append(day_of(0))
    with pytest.raises(coverline.CoverageOverlapError) as caught:
        prices.append(day_of(0, hours=range(20, 24), symbols=("NVDA", "ZZZZ")))
    error = caught.value
    assert error.table == prices.name
    assert error.overlap_count == 4
    assert error.example_entity == 'symbol="NVDA"'
    assert error.example_bucket_range == ("2025-03-01T20:00:00Z", "2025-03-01T21:00:00Z")
    assert error.owner_version == first.version
    assert error.table_version == first.version
    assert error.details["committed"] == "no"
    for part in (prices.name, "4 buckets", "NVDA", "2025-03-01T20:00:00Z"):
        assert part in str(error)


def test_skip_leaves_out_what_is_there(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0, hours=range(0, 12)))
    receipt = prices.append(day_of(0), on_overlap="skip")
    assert (receipt.row_count, receipt.rows_skipped, receipt.buckets_covered) == (24, 24, 24)
    assert rows(client, prices) == sorted(day_of(0).to_pylist(), key=lambda row: (row["symbol"], row["ts"]))
    nothing = prices.append(day_of(0), on_overlap="skip")
    assert (nothing.row_count, nothing.rows_skipped, nothing.version) == (0, 48, receipt.version)


def test_an_append_id_makes_a_repetition_harmless(prices: coverline.Table) -> None:
    key = f"day-0-{uuid.uuid4()}"
    first = prices.append(day_of(0), append_id=key)
    again = prices.append(day_of(0), append_id=key)
    assert not first.repeated
    assert again.repeated
    assert (again.version, again.row_count) == (first.version, 48)
    assert prices.version == first.version
    with pytest.raises(coverline.PreconditionError):
        prices.append(day_of(1), append_id=key)
    assert prices.count() == 48


def test_coverage_and_gaps_are_answered(prices: coverline.Table) -> None:
    prices.append(day_of(0, hours=range(0, 6)))
    prices.append(day_of(0, hours=range(8, 10), symbols=("NVDA",)))
    coverage = prices.coverage().to_pylist()
    assert [(row["symbol"], row["buckets"]) for row in sorted(coverage, key=lambda row: (row["symbol"], row["start"]))] == [
        ("AAPL", 6),
        ("NVDA", 6),
        ("NVDA", 2),
    ]
    [gap] = prices.gaps().to_pylist()
    assert (gap["symbol"], gap["missing_buckets"]) == ("NVDA", 2)
    assert gap["gap_start"] == DAY + datetime.timedelta(hours=6)
    assert gap["gap_end"] == DAY + datetime.timedelta(hours=8)
    inside = prices.gaps(DAY, DAY + datetime.timedelta(hours=12)).to_pylist()
    assert {(row["symbol"], row["missing_buckets"]) for row in inside} == {("AAPL", 6), ("NVDA", 2)}
    assert prices.gaps("2025-03-01T00:00:00Z", datetime.date(2025, 3, 2)).num_rows == 3
    with pytest.raises(coverline.InvalidInputError):
        prices.gaps(DAY)


# -- sources


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: table,
        lambda table: table.combine_chunks().to_batches()[0],
        lambda table: table.to_reader(max_chunksize=7),
        lambda table: pl.from_arrow(table),
        lambda table: table.to_pandas(),
        lambda table: table.to_pandas().set_index("ts"),
        lambda table: duckdb.from_arrow(table),
        lambda table: table.cast(
            pa.schema([("ts", pa.timestamp("ns", "UTC")), ("symbol", pa.string_view()), ("close", pa.float64())])
        ),
        lambda table: table.set_column(1, "symbol", table["symbol"].cast(pa.large_string())),
        lambda table: table.set_column(1, "symbol", table["symbol"].combine_chunks().dictionary_encode()),
        lambda table: table.select(["close", "symbol", "ts"]),
        lambda table: table.replace_schema_metadata({"pandas": "{}"}),
    ],
    ids=[
        "table",
        "batch",
        "reader",
        "polars",
        "pandas",
        "pandas-index",
        "duckdb",
        "views-and-nanoseconds",
        "large-strings",
        "dictionary",
        "other-order",
        "metadata",
    ],
)
def test_every_kind_of_source_gives_the_same_rows(client: coverline.Client, prices: coverline.Table, convert) -> None:  # type: ignore[no-untyped-def]
    prices.append(day_of(0, symbols=("FIRST",)))
    data = day_of(1)
    receipt = prices.append(convert(data))
    assert receipt.row_count == 48
    found = client.sql(f"SELECT * FROM {prices.name} WHERE symbol <> 'FIRST' ORDER BY symbol, ts")
    assert found.schema.names == SCHEMA.names
    assert found.to_pylist() == data.sort_by([("symbol", "ascending"), ("ts", "ascending")]).to_pylist()


def test_changing_dictionaries_of_a_stream_keep_their_values(client: coverline.Client, prices: coverline.Table) -> None:
    batches = [
        pa.record_batch(
            {
                "ts": pa.array([DAY + datetime.timedelta(hours=hour)], pa.timestamp("us", "UTC")),
                "symbol": pa.array([f"S{hour}"]).dictionary_encode(),
                "close": pa.array([1.0]),
            }
        )
        for hour in range(5)
    ]
    prices.append(pa.RecordBatchReader.from_batches(batches[0].schema, batches))
    assert [row["symbol"] for row in rows(client, prices)] == ["S0", "S1", "S2", "S3", "S4"]


def test_a_long_stream_is_one_version_and_takes_bounded_memory(
    server: Server, client: coverline.Client, prices: coverline.Table
) -> None:
    # 3,000,000 rows, about 200 MB of Arrow data, made as they are sent.
    count, size = 60, 50_000
    start = int(DAY.timestamp() * 1e6)

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(count):
            ts = pa.array(range(number * size, (number + 1) * size), pa.int64())
            yield pa.record_batch(
                {
                    "ts": pa.compute.add(pa.compute.multiply(ts, 1000), start).cast(pa.timestamp("us", "UTC")),
                    "symbol": pa.array(["ABCDEFGHIJKLMNOPQRSTUVWXYZ"] * size),
                    "close": pa.compute.cast(ts, pa.float64()),
                }
            )

    schema = pa.schema([("ts", pa.timestamp("us", "UTC")), ("symbol", pa.string()), ("close", pa.float64())])
    before = prices.version
    receipt = prices.append(pa.RecordBatchReader.from_batches(schema, batches()))
    assert receipt.row_count == count * size
    assert prices.version == receipt.version == before + 1
    assert server.resident_bytes() < 1_500_000_000

    seen, total = 0, 0.0
    for batch in client.sql_reader(f"SELECT ts, close FROM {prices.name}"):
        assert batch.num_rows <= 1_000_000
        seen += batch.num_rows
        total += pa.compute.sum(batch["close"]).as_py() or 0.0
    assert (seen, total) == (count * size, sum(range(count * size)))


def test_a_reader_that_is_left_early_does_not_hold_up_the_next_query(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    many = f"SELECT a.* FROM {prices.name} a CROSS JOIN {prices.name} b CROSS JOIN {prices.name} c"
    reader = client.sql_reader(many)
    assert reader.read_next_batch().num_rows > 0
    reader.close()
    assert prices.count() == 48


def test_a_source_that_fails_half_way_commits_nothing(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    before = prices.version

    def batches() -> Iterator[pa.RecordBatch]:
        yield from day_of(1).to_batches()
        raise RuntimeError("the feed broke")

    with pytest.raises(RuntimeError, match="the feed broke"):
        prices.append(pa.RecordBatchReader.from_batches(SCHEMA, batches()))
    assert (prices.version, prices.count()) == (before, 48)
    assert prices.append(day_of(1)).row_count == 48


# -- tables


def test_tables_are_created_listed_described_and_dropped(client: coverline.Client, name: str) -> None:
    table = client.create_table(name, index_column="ts", bucket="1h", entity_columns=["symbol"], schema=SCHEMA)
    assert name in client.tables()
    assert table.schema.names == SCHEMA.names
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert not table.schema.field("ts").nullable
    assert table.count() == 0
    with pytest.raises(coverline.AlreadyExistsError):
        client.create_table(name, index_column="ts", bucket="1h", entity_columns=["symbol"])
    same = client.create_table(name, index_column="ts", bucket="1h", entity_columns=["symbol"], if_not_exists=True)
    assert same.count() == 0
    with pytest.raises(coverline.PreconditionError, match="1h"):
        client.create_table(name, index_column="ts", bucket="2h", entity_columns=["symbol"], if_not_exists=True)
    client.drop_table(name)
    assert name not in client.tables()
    with pytest.raises(coverline.NotFoundError):
        client.drop_table(name)
    client.drop_table(name, if_exists=True)


def test_a_schema_that_does_not_fit_the_index_leaves_no_table(client: coverline.Client, name: str) -> None:
    with pytest.raises(coverline.CoverlineError):
        client.create_table(name, index_column="ts", bucket="1h", schema=pa.schema([("ts", pa.string())]))
    assert name not in client.tables()


def test_a_plain_table_takes_the_same_rows_again(client: coverline.Client, name: str) -> None:
    table = client.create_table(name)
    data = pa.table({"symbol": ["NVDA"], "name": ["NVIDIA"]})
    table.append(data)
    table.append(data)
    assert table.count() == 2


def test_odd_names_work(client: coverline.Client) -> None:
    for odd in ('Upper Case', "quo\"te", "it's", "ünïcode", "select", "semi;colon", "-- comment"):
        unique = f"{odd} {uuid.uuid4()}"
        table = client.create_table(unique, index_column="ts", bucket="1h", entity_columns=["symbol"])
        table.append(day_of(0))
        assert table.count() == 48
        assert table.coverage().num_rows == 2
        assert unique in client.tables()
        client.drop_table(unique)


def test_integer_indexes_and_calendar_buckets(client: coverline.Client, name: str) -> None:
    numbers = client.create_table(name, index_column="block", bucket=100)
    numbers.append(pa.table({"block": pa.array([0, 99, 250], pa.int64()), "v": [1, 2, 3]}))
    with pytest.raises(coverline.CoverageOverlapError) as caught:
        numbers.append(pa.table({"block": pa.array([50], pa.int64()), "v": [1]}))
    assert caught.value.example_bucket_range == ("0", "100")
    assert numbers.gaps(0, 400).to_pylist() == [
        {"gap_start": 100, "gap_end": 200, "missing_buckets": 1},
        {"gap_start": 300, "gap_end": 400, "missing_buckets": 1},
    ]
    days = client.create_table(name + "_days", index_column="ts", bucket="1d", time_zone="America/New_York")
    days.append(pa.table({"ts": pa.array([datetime.datetime(2025, 3, 9, 12)], pa.timestamp("us", "UTC"))}))
    with pytest.raises(coverline.CoverageOverlapError) as caught:
        days.append(pa.table({"ts": pa.array([datetime.datetime(2025, 3, 10, 3, 59)], pa.timestamp("us", "UTC"))}))
    # The day on which the clocks go forward has 23 hours.
    assert caught.value.example_bucket_range == ("2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z")


# -- SQL


def test_parameters_go_by_number_and_by_name(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    query = f"SELECT count(*) AS n FROM {prices.name} WHERE symbol = $1 AND close >= $2"
    assert client.sql(query, ["NVDA", 110.0])["n"].to_pylist() == [14]
    assert client.sql(query, ("NVDA", 110))["n"].to_pylist() == [14]
    named = f"SELECT count(*) AS n FROM {prices.name} WHERE symbol = $who AND close >= $low AND symbol = $who"
    assert client.sql(named, {"who": "NVDA", "low": 110.0})["n"].to_pylist() == [14]
    since = f"SELECT count(*) AS n FROM {prices.name} WHERE ts >= $1"
    assert client.sql(since, [DAY + datetime.timedelta(hours=12)])["n"].to_pylist() == [24]
    with pytest.raises(coverline.InvalidInputError):
        client.sql(named, {"who": "NVDA"})


def test_statements_run_once_and_tell_their_rows(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0, symbols=("AAPL",)))
    statement = f"INSERT INTO {prices.name} VALUES ('2025-03-01T00:00:00Z', 'NVDA', 1.5), ('2025-03-01T01:00:00Z', 'NVDA', 2.5)"
    assert client.execute(statement) == 2
    with pytest.raises(coverline.CoverageOverlapError):
        client.execute(statement)
    assert prices.count() == 26


def test_dbapi_reaches_the_same_tables(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    with client.dbapi() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {prices.name}")
        assert cursor.fetchone() == (48,)
        assert pl.read_database(f"SELECT * FROM {prices.name}", connection).height == 48
        assert len(pd.read_sql(f"SELECT * FROM {prices.name}", connection)) == 48


def test_threads_share_a_client(client: coverline.Client, prices: coverline.Table) -> None:
    failures: list[BaseException] = []

    def load(number: int) -> None:
        try:
            prices.append(day_of(number))
            client.sql(f"SELECT count(*) FROM {prices.name}")
        except BaseException as error:
            failures.append(error)

    prices.append(day_of(100))
    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert prices.count() == 9 * 48


# -- errors, by class


def test_an_unknown_table_is_not_found(client: coverline.Client) -> None:
    nowhere = client.table("nowhere")
    for act in (
        lambda: nowhere.append(day_of(0)),
        lambda: nowhere.schema,
        lambda: nowhere.version,
        nowhere.count,
        nowhere.coverage,
        nowhere.gaps,
        lambda: client.drop_table("nowhere"),
    ):
        with pytest.raises(coverline.NotFoundError, match="nowhere"):
            act()


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nope FROM (VALUES (1)) t(a)", "SELECT nope(1)"])
def test_wrong_sql_is_a_query_error(client: coverline.Client, sql: str) -> None:
    with pytest.raises((coverline.QueryError, coverline.InvalidInputError, coverline.NotFoundError)) as caught:
        client.sql(sql)
    assert len(str(caught.value)) > 10


def test_an_error_in_the_middle_of_a_result_is_raised(client: coverline.Client) -> None:
    with pytest.raises(coverline.CoverlineError, match="(?i)zero"):
        client.sql("SELECT 1 / (a - 1) FROM (VALUES (0), (1)) t(a)")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.set_column(2, "close", pa.array(["x"] * t.num_rows)), ["close", "Utf8", "Float64"]),
        (lambda t: t.append_column("extra", pa.array([1] * t.num_rows)), ["extra"]),
        (lambda t: t.drop_columns(["symbol"]), ["symbol"]),
        (lambda t: t.drop_columns(["ts"]), ["ts"]),
        (lambda t: t.set_column(0, "ts", t["ts"].cast(pa.int64())), ["ts", "Int64", "Timestamp"]),
    ],
    ids=["type", "extra", "no-entity", "no-index", "index-type"],
)
def test_a_schema_mismatch_names_the_column_and_the_types(
    prices: coverline.Table,
    change,  # type: ignore[no-untyped-def]
    words: list[str],
) -> None:
    prices.append(day_of(0))
    before = prices.version
    with pytest.raises(coverline.SchemaMismatchError) as caught:
        prices.append(change(day_of(1)))
    for word in words:
        assert word in str(caught.value)
    assert (prices.version, prices.count()) == (before, 48)


@pytest.mark.parametrize("column", ["ts", "symbol"])
def test_a_null_index_or_entity_is_refused(prices: coverline.Table, column: str) -> None:
    prices.append(day_of(0))
    data = day_of(1)
    position = data.schema.get_field_index(column)
    nulls = pa.array([None] + data[column].to_pylist()[1:], data.schema.field(column).type)
    with pytest.raises((coverline.SchemaMismatchError, coverline.InvalidInputError), match=column):
        prices.append(data.set_column(position, column, nulls))
    assert prices.count() == 48


@pytest.mark.parametrize("bucket", ["", "0h", "-1h", "1x", "1.5h", "h", "one hour", "1h; DROP TABLE t"])
def test_a_bucket_that_makes_no_sense_is_refused(client: coverline.Client, name: str, bucket: str) -> None:
    with pytest.raises(coverline.InvalidInputError):
        client.create_table(name, index_column="ts", bucket=bucket)
    assert name not in client.tables()


@pytest.mark.parametrize("bad", ["..", ".", "", "a/b", "a\\b", "a\0b", "x" * 300, "_coverline_x", "new\nline"])
def test_a_table_name_that_is_not_allowed_is_refused(client: coverline.Client, bad: str) -> None:
    with pytest.raises((coverline.InvalidInputError, coverline.QueryError)):
        client.create_table(bad, index_column="ts", bucket="1h")
    with pytest.raises(coverline.CoverlineError):
        client.table(bad).append(day_of(0))


def test_a_truncated_parquet_file_commits_nothing(prices: coverline.Table, tmp_path: Path) -> None:
    prices.append(day_of(0))
    [path] = daily_files(tmp_path, 1)
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(coverline.InvalidInputError, match=path.name):
            prices.append_parquet(path)
    # The footer is whole, a page is not: the damage shows after rows were sent.
    big = pa.concat_tables(day_of(number) for number in range(10, 400))
    pq.write_table(big, path, row_group_size=1000, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = pq.ParquetFile(path).metadata.row_group(15).column(0)
    start = middle.dictionary_page_offset or middle.data_page_offset
    data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(coverline.InvalidInputError, match=path.name):
        prices.append_parquet(path)
    assert prices.count() == 48
    with pytest.raises(FileNotFoundError):
        prices.append_parquet(tmp_path / "absent.parquet")


def test_empty_appends_commit_no_rows(prices: coverline.Table) -> None:
    first = prices.append(day_of(0))
    for nothing in (
        day_of(1).slice(0, 0),
        pa.RecordBatchReader.from_batches(SCHEMA, []),
        pa.RecordBatchReader.from_batches(SCHEMA, [pa.RecordBatch.from_pylist([], SCHEMA)] * 3),
    ):
        receipt = prices.append(nothing)
        assert (receipt.row_count, receipt.version) == (0, first.version)


def test_duplicate_column_names_are_refused(prices: coverline.Table) -> None:
    prices.append(day_of(0))
    data = day_of(1)
    twice = pa.Table.from_arrays([*data.columns, data["close"]], names=[*data.schema.names, "close"])
    with pytest.raises(coverline.CoverlineError, match="close"):
        prices.append(twice)
    assert prices.count() == 48


def test_wrong_arguments_are_refused_before_anything_is_sent(client: coverline.Client, prices: coverline.Table) -> None:
    with pytest.raises(coverline.InvalidInputError):
        prices.append(day_of(0), on_overlap="replace")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        prices.append([1, 2, 3])
    with pytest.raises(coverline.InvalidInputError):
        client.sql("SELECT $1", "text")
    for url in ("127.0.0.1:1", "http://127.0.0.1:1", "grpc://"):
        with pytest.raises(ValueError):
            coverline.connect(url)


def test_nobody_at_the_address_is_unavailable() -> None:
    with pytest.raises(coverline.UnavailableError):
        coverline.connect("grpc://127.0.0.1:1")


def test_rows_outlive_the_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")
    with coverline.connect(server.url) as client:
        table = client.create_table("prices", index_column="ts", bucket="1h", entity_columns=["symbol"])
        version = table.append(day_of(0)).version
    server.kill()
    server = Server(tmp_path / "root")
    with coverline.connect(server.url) as client:
        table = client.table("prices")
        assert (table.version, table.count()) == (version, 48)
        with pytest.raises(coverline.CoverageOverlapError):
            table.append(day_of(0))
    assert server.stop() == 0


# -- three outcomes


class Again:
    """Rows of 200 days, with something that happens when they are read for the first time, and for the second."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self.happens = happens
        self.reads = 0

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        happens = self.happens[self.reads] if self.reads < len(self.happens) else None
        self.reads += 1

        def batches() -> Iterator[pa.RecordBatch]:
            yield from day_of(0).to_batches()
            if happens is not None:
                happens()
            for number in range(1, 200):
                yield from day_of(number).to_batches()

        return pa.RecordBatchReader.from_batches(SCHEMA, batches()).__arrow_c_stream__()


def test_a_server_that_dies_during_an_append_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")
    client = coverline.connect(server.url)
    table = client.create_table("prices", index_column="ts", bucket="1h", entity_columns=["symbol"])
    with pytest.raises(coverline.UnknownOutcomeError) as caught:
        table.append(Again(server.kill), append_id="k")
    assert caught.value.append_id == "k"
    client.close()

    # Now there is nobody to have committed anything.
    with pytest.raises(coverline.UnavailableError):
        client = coverline.connect(server.url)


def test_retries_outlast_a_restart_of_the_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")
    listen = server.url.removeprefix("grpc://")
    started: list[Server] = []

    def restart() -> None:
        server.kill()
        started.append(Server(tmp_path / "root", listen=listen))

    with coverline.connect(server.url) as client:
        table = client.create_table("prices", index_column="ts", bucket="1h", entity_columns=["symbol"])
        source = Again(restart)
        receipt = table.append(source, append_id="k", retries=5)
        assert source.reads >= 2
        assert (receipt.row_count, receipt.repeated) == (200 * 48, False)
        assert table.count() == 200 * 48
    assert started[0].stop() == 0


class Deaf:
    """A proxy that passes on what clients say, and, once it is deaf, not what the server answers."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("grpc://").rpartition(":")
        self.target = (host, int(port))
        self.is_deaf = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink, source is server), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if not (answers and self.is_deaf):
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        """Ends every connection. New ones hear answers again."""
        sockets, self.sockets = self.sockets, []
        for end in sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.is_deaf = False

    def close(self) -> None:
        try:
            # Closing alone does not wake the thread that accepts, which would take one more.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.cut()


@pytest.mark.parametrize("retries", [0, 5])
def test_an_answer_lost_in_transit_is_unknown_and_a_retry_gets_the_receipt(
    server: Server, client: coverline.Client, prices: coverline.Table, retries: int
) -> None:
    proxy = Deaf(server.url)
    through = coverline.connect(proxy.url)
    table = through.table(prices.name)
    outcome: list[coverline.Receipt | BaseException] = []

    def load() -> None:
        try:
            outcome.append(table.append(day_of(0), append_id="k", retries=retries))
        except BaseException as error:
            outcome.append(error)

    before = prices.version
    proxy.is_deaf = True
    loading = threading.Thread(target=load)
    loading.start()
    patience = time.monotonic() + 60
    while prices.version == before:
        assert time.monotonic() < patience
    proxy.cut()
    loading.join(60)
    [told] = outcome
    if retries:
        assert isinstance(told, coverline.Receipt)
        assert told.repeated
    else:
        assert isinstance(told, coverline.UnknownOutcomeError)
        assert told.append_id == "k"
        told = prices.append(day_of(0), append_id="k")
        assert told.repeated
    assert (told.version, told.row_count) == (before + 1, 48)
    assert (prices.version, prices.count()) == (before + 1, 48)
    through.close()
    proxy.close()


@pytest.mark.parametrize("params", [None, [3]])
def test_a_change_sent_as_a_query_is_unknown_when_its_answer_is_lost(
    server: Server, client: coverline.Client, name: str, params: list[object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = client.create_table(name, schema=pa.schema([("a", pa.int64())]))
    before = plain.version
    proxy = Deaf(server.url)
    through = coverline.connect(proxy.url)
    run = _flight.Connection._info
    outcome: list[object] = []

    def run_unheard(connection: _flight.Connection, *arguments: object, **named: object) -> object:
        proxy.is_deaf = True
        return run(connection, *arguments, **named)  # type: ignore[arg-type]

    def insert() -> None:
        try:
            outcome.append(through.sql(f"INSERT INTO {name} VALUES ({'$1' if params else 3})", params))
        except BaseException as error:
            outcome.append(error)

    with monkeypatch.context() as patched:
        patched.setattr(_flight.Connection, "_info", run_unheard)
        inserting = threading.Thread(target=insert)
        inserting.start()
        patience = time.monotonic() + 60
        while not proxy.is_deaf:
            assert time.monotonic() < patience
    while plain.version == before:
        assert time.monotonic() < patience
    proxy.cut()
    inserting.join(60)
    [told] = outcome
    assert isinstance(told, coverline.UnknownOutcomeError), told
    assert plain.count() == 1
    through.close()
    proxy.close()


def test_a_change_that_has_run_is_not_called_off_by_a_lost_count(
    server: Server, client: coverline.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = client.create_table(name, schema=pa.schema([("a", pa.int64())]))
    read = _flight.Connection._read
    for statement, kind in [
        (f"INSERT INTO {name} VALUES (1)", coverline.UnknownOutcomeError),
        (f"SELECT * FROM {name}", coverline.UnavailableError),
    ]:
        proxy = Deaf(server.url)
        through = coverline.connect(proxy.url)

        def read_too_late(connection: _flight.Connection, *arguments: object, **named: object) -> object:
            proxy.close()
            return read(connection, *arguments, **named)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(_flight.Connection, "_read", read_too_late)
            with pytest.raises(kind) as caught:
                through.sql(statement)
        assert ("is committed" in str(caught.value)) == statement.startswith("INSERT")
        through.close()
        assert plain.count() == 1


def test_retries_need_a_source_that_can_be_read_again(prices: coverline.Table) -> None:
    with pytest.raises(TypeError, match="once"):
        prices.append(day_of(0).to_reader(), append_id="k", retries=1)
    assert prices.count() == 0


@pytest.mark.parametrize("committed", [True, False])
def test_a_source_that_was_used_up_by_a_lost_try_appends_nothing_and_settles_nothing(
    prices: coverline.Table, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    class Once:
        left = day_of(0)

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            given, self.left = self.left, self.left.slice(0, 0)
            return given.__arrow_c_stream__(requested_schema)

    send = _flight.Connection.append
    sent = []

    def send_unheard(connection: _flight.Connection, table: str, reader: pa.RecordBatchReader, *rest: object) -> object:
        sent.append(table)
        if len(sent) > 1:
            return send(connection, table, reader, *rest)  # type: ignore[arg-type]
        if committed:
            send(connection, table, reader, *rest)  # type: ignore[arg-type]
            raise coverline.UnknownOutcomeError("lost")
        reader.read_all()
        raise coverline.UnavailableError("not now")

    monkeypatch.setattr(_flight.Connection, "append", send_unheard)
    with pytest.raises(coverline.UnknownOutcomeError if committed else TypeError, match="lost" if committed else "read again"):
        prices.append(Once(), append_id="k", retries=1)
    assert len(sent) == 2
    assert prices.count() == (48 if committed else 0)


def test_a_file_that_is_gone_after_a_lost_try_settles_nothing(
    prices: coverline.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = daily_files(tmp_path, 1)
    send = _flight.Connection.append

    def send_unheard(*arguments: object) -> object:
        send(*arguments)  # type: ignore[arg-type]
        path.write_bytes(b"no Parquet file")
        raise coverline.UnknownOutcomeError("lost")

    monkeypatch.setattr(_flight.Connection, "append", send_unheard)
    with pytest.raises(coverline.UnknownOutcomeError, match="lost"):
        prices.append_parquet(path, append_id="k", retries=1)
    assert prices.count() == 48


def test_a_file_is_opened_anew_for_each_try(prices: coverline.Table, tmp_path: Path) -> None:
    [path] = daily_files(tmp_path, 1)
    assert prices.append_parquet(path, append_id="k", retries=2).row_count == 48
    assert prices.append_parquet(path, append_id="k", retries=2).repeated


@pytest.mark.parametrize("size", [24, 5000])
def test_a_repeat_is_told_from_a_revision(prices: coverline.Table, size: int) -> None:
    original = day_of(0) if size == 24 else pa.concat_tables(day_of(number) for number in range(size // 24))
    first = prices.append(original)
    with pytest.raises(coverline.CoverageOverlapError) as caught:
        prices.append(original.to_reader(max_chunksize=100))
    assert caught.value.identical is True
    assert (caught.value.owner_version, caught.value.overlap_count) == (first.version, original.num_rows)
    assert "these very rows" in str(caught.value)

    closes = original["close"].to_pylist()
    closes[-1] += 1
    revision = original.set_column(2, "close", pa.array(closes))
    for other in (revision, original.slice(1), pa.concat_tables([original, day_of(1000)])):
        with pytest.raises(coverline.CoverageOverlapError) as caught:
            prices.append(other)
        assert caught.value.identical is False
    assert prices.count() == original.num_rows


def test_an_append_id_is_bounded(prices: coverline.Table) -> None:
    with pytest.raises(coverline.InvalidInputError, match="must not be empty"):
        prices.append(day_of(0), append_id="")
    with pytest.raises(coverline.InvalidInputError, match="append id"):
        prices.append(day_of(0), append_id="k" * 481)
    assert prices.append(day_of(0), append_id="k" * 480).row_count == 48


# -- several servers


def test_a_follower_sees_what_the_owner_answered(server: Server, prices: coverline.Table) -> None:
    follower = Server(server.root, "--read-only")
    count = f"SELECT count(*) AS n FROM {prices.name}"
    with coverline.connect(follower.url) as reader:
        receipt = prices.append(day_of(0))
        for least in (None, receipt.version, {prices.name: receipt.version, "other": 10**6}):
            assert reader.sql(count, min_version=least).to_pylist() == [{"n": 48}]
        assert reader.sql(count + " WHERE symbol <> $1", ["none"], min_version=receipt.version).num_rows == 1
        with pytest.raises(coverline.InvalidInputError):
            reader.sql(count, min_version=-1)
        with pytest.raises(coverline.PreconditionError, match="read-only"):
            reader.table(prices.name).append(day_of(1))
    assert follower.stop() == 0
