"""Appends through the client against a real server: what is committed, from which sources, and what is refused."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coverline
from conftest import Server
from data import DAY, SCHEMA, SYMBOLS, daily_files, day_of


def rows(client: coverline.Client, table: coverline.Table) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.sql(f'SELECT * FROM "{table.name}" ORDER BY symbol, ts').to_pylist()
    return found


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


def test_an_append_id_is_bounded(prices: coverline.Table) -> None:
    with pytest.raises(coverline.InvalidInputError, match="must not be empty"):
        prices.append(day_of(0), append_id="")
    with pytest.raises(coverline.InvalidInputError, match="append id"):
        prices.append(day_of(0), append_id="k" * 481)
    assert prices.append(day_of(0), append_id="k" * 480).row_count == 48


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


def test_a_file_is_opened_anew_for_each_try(prices: coverline.Table, tmp_path: Path) -> None:
    [path] = daily_files(tmp_path, 1)
    assert prices.append_parquet(path, append_id="k", retries=2).row_count == 48
    assert prices.append_parquet(path, append_id="k", retries=2).repeated


def test_empty_appends_commit_no_rows(prices: coverline.Table) -> None:
    first = prices.append(day_of(0))
    for nothing in (
        day_of(1).slice(0, 0),
        pa.RecordBatchReader.from_batches(SCHEMA, []),
        pa.RecordBatchReader.from_batches(SCHEMA, [pa.RecordBatch.from_pylist([], SCHEMA)] * 3),
    ):
        receipt = prices.append(nothing)
        assert (receipt.row_count, receipt.version) == (0, first.version)


# -- refusals


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


def test_duplicate_column_names_are_refused(prices: coverline.Table) -> None:
    prices.append(day_of(0))
    data = day_of(1)
    twice = pa.Table.from_arrays([*data.columns, data["close"]], names=[*data.schema.names, "close"])
    with pytest.raises(coverline.CoverlineError, match="close"):
        prices.append(twice)
    assert prices.count() == 48


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
