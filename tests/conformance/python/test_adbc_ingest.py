"""ADBC bulk ingestion: modes, what clients really send, and INSERT through the same door of rules."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterator
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from adbc_driver_manager import AdbcStatusCode
from conftest import DAY, SCHEMA, Server, day_of

PLAIN = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})


def test_append_to_a_table(cursor: Any, prices: str, count: Callable[[str], int]) -> None:
    assert cursor.adbc_ingest(prices, day_of(0), mode="append") == 48
    assert cursor.adbc_ingest(prices, day_of(1).to_reader(max_chunksize=5), mode="append") == 48
    assert cursor.adbc_ingest(prices, day_of(2).combine_chunks().to_batches()[0], mode="append") == 48
    assert count(prices) == 144


def test_append_to_a_missing_table_is_not_found(cursor: Any) -> None:
    with pytest.raises(adbc.ProgrammingError, match="nowhere") as caught:
        cursor.adbc_ingest("nowhere", day_of(0), mode="append")
    assert caught.value.status_code == AdbcStatusCode.NOT_FOUND


def test_create_makes_a_plain_table_once(cursor: Any, name: str, count: Callable[[str], int]) -> None:
    assert cursor.adbc_ingest(name, PLAIN, mode="create") == 3
    with pytest.raises(adbc.ProgrammingError, match=name) as caught:
        cursor.adbc_ingest(name, PLAIN, mode="create")
    assert caught.value.status_code == AdbcStatusCode.ALREADY_EXISTS
    assert count(name) == 3
    cursor.execute(f"SELECT * FROM {name} ORDER BY id")
    assert cursor.fetch_arrow_table().to_pylist() == PLAIN.to_pylist()


def test_create_append_makes_the_table_or_adds_to_it(cursor: Any, name: str, count: Callable[[str], int]) -> None:
    for rows in (3, 6, 9):
        assert cursor.adbc_ingest(name, PLAIN, mode="create_append") == 3
        assert count(name) == rows


def test_create_append_keeps_the_rules_of_a_time_series_table(cursor: Any, loaded: str, count: Callable[[str], int]) -> None:
    assert cursor.adbc_ingest(loaded, day_of(1), mode="create_append") == 48
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.adbc_ingest(loaded, day_of(1), mode="create_append")
    assert caught.value.status_code == AdbcStatusCode.ALREADY_EXISTS
    assert count(loaded) == 96


@pytest.mark.parametrize("mode", ["append", "create_append"])
def test_rows_of_another_shape_are_invalid_and_leave_the_table_as_it_is(
    cursor: Any, loaded: str, count: Callable[[str], int], mode: str
) -> None:
    """ADBC has ALREADY_EXISTS for it, which here says that rows are there: a job that runs again would take its own for loaded."""
    wrong_type = day_of(1).set_column(2, "close", pa.array(["dear"] * 48))
    for data in (PLAIN, wrong_type):
        with pytest.raises(adbc.ProgrammingError) as caught:
            cursor.adbc_ingest(loaded, data, mode=mode)
        assert caught.value.status_code == AdbcStatusCode.INVALID_ARGUMENT
    assert count(loaded) == 48


def test_without_autocommit_an_ingestion_commits_at_once_all_the_same(
    server: Server, name: str, count: Callable[[str], int]
) -> None:
    """What a Python program gets that says nothing of autocommit: a warning that there are no transactions, and no harm."""
    with pytest.warns(Warning, match="autocommit"):
        connection = adbc.connect(server.url)
    with connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest(name, PLAIN, mode="create") == 3
        assert count(name) == 3, "another connection sees it"
        connection.rollback()
        assert count(name) == 3
        assert cursor.adbc_ingest(name, PLAIN, mode="append") == 3
        connection.commit()
    assert count(name) == 6


def test_replace_puts_other_columns_and_rows_in_the_place_of_what_was_there(
    cursor: Any, name: str, count: Callable[[str], int]
) -> None:
    assert cursor.adbc_ingest(name, PLAIN, mode="replace") == 3
    other = PLAIN.slice(0, 1).append_column("added", pa.array([True]))
    for _ in range(2):
        assert cursor.adbc_ingest(name, other, mode="replace") == 1
        cursor.execute(f"SELECT * FROM {name}")
        assert cursor.fetch_arrow_table().to_pylist() == other.to_pylist()
    failing = pa.RecordBatchReader.from_batches(PLAIN.schema, fails_after(PLAIN))
    with pytest.raises(Exception, match="half way"):
        cursor.adbc_ingest(name, failing, mode="replace")
    assert count(name) == 1


def test_a_table_without_batches_is_not_sent_and_replaces_nothing(
    cursor: Any, name: str, count: Callable[[str], int]
) -> None:
    """The driver sends no message at all; an empty batch it does send."""
    cursor.adbc_ingest(name, PLAIN, mode="create")
    nothing = pa.table({"z": pa.array([], pa.string())})
    assert cursor.adbc_ingest(name, nothing, mode="replace") == 0
    assert count(name) == 3
    empty = pa.RecordBatchReader.from_batches(nothing.schema, [pa.record_batch({"z": pa.array([], pa.string())})])
    assert cursor.adbc_ingest(name, empty, mode="replace") == 0
    cursor.execute(f"SELECT * FROM {name}")
    assert cursor.fetch_arrow_table().column_names == ["z"]


def fails_after(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from table.to_batches()
    raise ValueError("half way")


def test_replace_keeps_a_time_series_table_one(cursor: Any, loaded: str, count: Callable[[str], int]) -> None:
    assert cursor.adbc_ingest(loaded, day_of(1), mode="replace") == 48
    assert cursor.adbc_ingest(loaded, day_of(0), mode="append") == 48
    with pytest.raises(adbc.ProgrammingError, match="48 buckets") as caught:
        cursor.adbc_ingest(loaded, day_of(1), mode="append")
    assert caught.value.status_code == AdbcStatusCode.ALREADY_EXISTS
    with pytest.raises(adbc.ProgrammingError, match='"ts".* drop the old one first') as caught:
        cursor.adbc_ingest(loaded, PLAIN, mode="replace")
    assert caught.value.status_code == AdbcStatusCode.INVALID_ARGUMENT
    assert count(loaded) == 96


def test_an_overlap_carries_its_details(cursor: Any, loaded: str, count: Callable[[str], int]) -> None:
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.adbc_ingest(loaded, day_of(0, hours=range(22, 26)), mode="append")
    error = caught.value
    assert error.status_code == AdbcStatusCode.ALREADY_EXISTS
    for word in (loaded, "4 buckets", "AAPL", "2025-03-01T22:00:00Z"):
        assert word in str(error)
    details = {as_bytes(key).decode(): as_bytes(value) for key, value in error.details}
    assert b"COVERAGE_OVERLAP" in details["grpc-status-details-bin"]
    assert b"overlap_count" in details["grpc-status-details-bin"]
    assert details["x-coverline-error"] == b"COVERAGE_OVERLAP"
    assert details["x-coverline-overlap-count"] == b"4"
    assert details["x-coverline-overlap-identical"] == b"false"
    assert details["x-coverline-committed"] == b"no"
    assert count(loaded) == 48
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.adbc_ingest(loaded, day_of(0), mode="append")
    details = {as_bytes(key).decode(): as_bytes(value) for key, value in caught.value.details}
    assert details["x-coverline-overlap-count"] == b"48"
    assert details["x-coverline-overlap-identical"] == b"true"
    assert "these very rows" in str(caught.value)


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_headers_choose_skip_and_an_append_id(server: Server, loaded: str, count: Callable[[str], int]) -> None:
    prefix = "adbc.flight.sql.rpc.call_header."
    with (
        adbc.connect(server.url, db_kwargs={f"{prefix}x-coverline-on-overlap": "skip"}, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        assert cursor.adbc_ingest(loaded, pa.concat_tables([day_of(0), day_of(1)]), mode="append") == 48
    with (
        adbc.connect(server.url, db_kwargs={f"{prefix}x-coverline-append-id": f"id-{loaded}"}, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        assert cursor.adbc_ingest(loaded, day_of(2), mode="append") == 48
        assert cursor.adbc_ingest(loaded, day_of(2), mode="append") == 48
    assert count(loaded) == 144


def test_a_source_that_fails_half_way_commits_nothing(cursor: Any, loaded: str, count: Callable[[str], int]) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from day_of(1).to_batches()
        raise RuntimeError("the feed broke")

    with pytest.raises(Exception, match="the feed broke"):
        cursor.adbc_ingest(loaded, pa.RecordBatchReader.from_batches(SCHEMA, batches()), mode="append")
    assert count(loaded) == 48
    assert cursor.adbc_ingest(loaded, day_of(1), mode="append") == 48


def test_nothing_ingested_is_nothing_written(cursor: Any, loaded: str, name: str, count: Callable[[str], int]) -> None:
    assert cursor.adbc_ingest(loaded, day_of(1).slice(0, 0), mode="append") == 0
    assert cursor.adbc_ingest(loaded, pa.RecordBatchReader.from_batches(SCHEMA, []), mode="append") == 0
    assert count(loaded) == 48


def test_catalog_and_schema_are_honoured(cursor: Any, loaded: str, server: Server) -> None:
    assert cursor.adbc_ingest(loaded, day_of(1), mode="append", catalog_name="coverline", db_schema_name="public") == 48
    # The cursor keeps both for later calls, so each case gets a connection of its own.
    for catalog, schema in (("nowhere", None), (None, "nowhere")):
        with adbc.connect(server.url, autocommit=True) as connection, connection.cursor() as other:
            with pytest.raises(adbc.ProgrammingError, match="nowhere") as caught:
                other.adbc_ingest(loaded, day_of(2), mode="append", catalog_name=catalog, db_schema_name=schema)
            assert caught.value.status_code == AdbcStatusCode.NOT_FOUND


def test_a_temporary_table_is_not_supported(cursor: Any, name: str) -> None:
    with pytest.raises(adbc.NotSupportedError):
        cursor.adbc_ingest(name, PLAIN, mode="create", temporary=True)


def test_odd_table_names(cursor: Any, name: str, count: Callable[[str], int]) -> None:
    for odd in (f"Upper {name}", f"it's {name}", f"ünï {name}", f"100% {name}"):
        assert cursor.adbc_ingest(odd, PLAIN, mode="create") == 3
        assert count(odd) == 3


def both(kind: pa.DataType, value: object) -> pa.Array:
    """A value and a null."""
    return pa.array([value, None], kind)


SECOND = datetime.timedelta(seconds=1)
ONE_O_CLOCK = datetime.time(1, 0, 0)
MOMENT = datetime.datetime(2025, 3, 1)
UNITS = ("s", "ms", "us", "ns")
PAIRS = pa.map_(pa.string(), pa.int64())


@pytest.mark.parametrize(
    ("column", "sent", "stored"),
    [
        ("utf8", pa.array(["a", None]), pa.string()),
        ("large_utf8", pa.array(["a", None], pa.large_string()), pa.string()),
        ("utf8_view", pa.array(["a", "longer than twelve bytes"], pa.string_view()), pa.string()),
        ("binary", pa.array([b"a", None], pa.binary()), pa.binary()),
        ("large_binary", pa.array([b"a", None], pa.large_binary()), pa.binary()),
        ("binary_view", pa.array([b"a", b"longer than twelve bytes"], pa.binary_view()), pa.binary()),
        ("dictionary", pa.array(["a", "b"]).dictionary_encode(), pa.string()),
        ("bool", pa.array([True, None]), pa.bool_()),
        ("int8", pa.array([1, None], pa.int8()), pa.int8()),
        ("uint64", pa.array([2**64 - 1, None], pa.uint64()), pa.uint64()),
        ("float32", pa.array([1.5, None], pa.float32()), pa.float32()),
        ("float16", pa.array([1.5, 2.5], pa.float16()), pa.float32()),
        ("decimal128", pa.array([decimal.Decimal("1.25"), None], pa.decimal128(20, 2)), pa.decimal128(20, 2)),
        ("decimal32", pa.array([decimal.Decimal("1.25"), None], pa.decimal32(5, 2)), pa.decimal128(5, 2)),
        ("date32", pa.array([datetime.date(2025, 3, 1), None]), pa.date32()),
        ("time64", pa.array([datetime.time(1, 2, 3), None], pa.time64("us")), pa.time64("us")),
        ("timestamp_s", pa.array([datetime.datetime(2025, 3, 1), None], pa.timestamp("s")), pa.timestamp("s")),
        ("timestamp_tz", pa.array([DAY, None], pa.timestamp("ns", "Europe/Berlin")), pa.timestamp("ns", "Europe/Berlin")),
        ("duration", pa.array([datetime.timedelta(seconds=1), None], pa.duration("us")), pa.duration("us")),
        ("list", pa.array([[1, 2], None], pa.list_(pa.int64())), pa.list_(pa.int64())),
        ("large_list", pa.array([[1, 2], None], pa.large_list(pa.int64())), pa.list_(pa.int64())),
        ("struct", pa.array([{"x": 1}, None], pa.struct([("x", pa.int64())])), pa.struct([("x", pa.int64())])),
        ("null", pa.nulls(2), pa.string()),
        ("int16", both(pa.int16(), -(2**15)), pa.int16()),
        ("int32", both(pa.int32(), -(2**31)), pa.int32()),
        ("int64", both(pa.int64(), -(2**63)), pa.int64()),
        ("uint8", both(pa.uint8(), 2**8 - 1), pa.uint8()),
        ("uint16", both(pa.uint16(), 2**16 - 1), pa.uint16()),
        ("uint32", both(pa.uint32(), 2**32 - 1), pa.uint32()),
        ("float64", both(pa.float64(), 0.1), pa.float64()),
        ("decimal64", both(pa.decimal64(12, 2), decimal.Decimal("1234567890.25")), pa.decimal128(12, 2)),
        ("decimal256", both(pa.decimal256(60, 2), decimal.Decimal("1" * 58 + ".25")), pa.decimal256(60, 2)),
        ("date64", both(pa.date64(), datetime.date(2025, 3, 1)), pa.date64()),
        *((f"time32_{unit}", both(pa.time32(unit), ONE_O_CLOCK), pa.time32(unit)) for unit in ("s", "ms")),
        ("time64_ns", both(pa.time64("ns"), ONE_O_CLOCK), pa.time64("ns")),
        *((f"timestamp_{unit}", both(pa.timestamp(unit), MOMENT), pa.timestamp(unit)) for unit in ("ms", "us", "ns")),
        *((f"timestamp_{unit}_utc", both(pa.timestamp(unit, "UTC"), DAY), pa.timestamp(unit, "UTC")) for unit in UNITS),
        *((f"duration_{unit}", both(pa.duration(unit), SECOND), pa.duration(unit)) for unit in ("s", "ms", "ns")),
        ("fixed_binary", both(pa.binary(2), b"ab"), pa.binary(2)),
        ("fixed_list", both(pa.list_(pa.int64(), 2), [1, 2]), pa.list_(pa.int64(), 2)),
        ("list_view", both(pa.list_view(pa.int64()), [1, 2]), pa.list_(pa.int64())),
        ("large_list_view", both(pa.large_list_view(pa.int64()), [1, 2]), pa.list_(pa.int64())),
        ("map", both(PAIRS, [("k", 1), ("l", None)]), PAIRS),
        ("run_end_encoded", pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])), pa.string()),
        (
            "list_of_structs",
            both(pa.list_(pa.struct([("x", pa.large_string())])), [{"x": "a"}, None]),
            pa.list_(pa.struct([("x", pa.string())])),
        ),
    ],
)
def test_types_are_stored_in_their_portable_form(cursor: Any, name: str, column: str, sent: pa.Array, stored: pa.DataType) -> None:
    assert cursor.adbc_ingest(name, pa.table({"id": [1, 2], column: sent}), mode="create") == 2
    cursor.execute(f'SELECT "{column}" FROM {name} ORDER BY id')
    found = cursor.fetch_arrow_table()
    assert found.schema.field(0).type == stored
    assert found[column].to_pylist() == sent.to_pylist()


def test_an_interval_is_refused_in_words(cursor: Any, name: str) -> None:
    """Months, days and nanoseconds in one value: Parquet has no such type."""
    with pytest.raises(adbc.Error, match='"v"') as caught:
        cursor.adbc_ingest(name, pa.table({"v": pa.array([pa.MonthDayNano([1, 2, 3])])}), mode="create")
    assert caught.value.status_code == AdbcStatusCode.INVALID_ARGUMENT
    with pytest.raises(adbc.ProgrammingError):
        cursor.execute(f"SELECT * FROM {name}")


@pytest.mark.parametrize(
    "sent",
    [
        day_of(1).select(["close", "symbol", "ts"]),
        day_of(1).set_column(1, "symbol", day_of(1)["symbol"].cast(pa.string_view())),
        day_of(1).set_column(1, "symbol", day_of(1)["symbol"].combine_chunks().dictionary_encode()),
        day_of(1).set_column(1, "symbol", pc.run_end_encode(day_of(1)["symbol"].combine_chunks())),
        day_of(1).set_column(0, "ts", day_of(1)["ts"].cast(pa.timestamp("ms", "UTC"))),
        day_of(1).set_column(0, "ts", day_of(1)["ts"].cast(pa.timestamp("us", "America/New_York"))),
        day_of(1).set_column(2, "close", day_of(1)["close"].cast(pa.float32())),
        day_of(1).set_column(2, "close", day_of(1)["close"].cast(pa.int32())),
        day_of(1).drop_columns(["close"]),
        day_of(1).replace_schema_metadata({"pandas": "{}"}),
        day_of(1).cast(pa.schema([field.with_nullable(False).with_metadata({"k": "v"}) for field in SCHEMA])),
    ],
    ids=["order", "view", "dictionary", "run_ends", "unit", "zone", "float32", "int32", "missing", "metadata", "nullability"],
)
def test_what_fits_without_loss_is_taken(cursor: Any, loaded: str, sent: pa.Table) -> None:
    assert cursor.adbc_ingest(loaded, sent, mode="append") == 48
    cursor.execute(f"SELECT * FROM {loaded} WHERE ts >= '2025-03-02T00:00:00Z' ORDER BY symbol, ts")
    found = cursor.fetch_arrow_table()
    assert found.schema.names == SCHEMA.names
    assert found.select(["ts", "symbol"]).to_pylist() == day_of(1).sort_by([("symbol", "ascending"), ("ts", "ascending")]).select(
        ["ts", "symbol"]
    ).to_pylist()


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (pa.decimal32(5, 2), ["1.25", "-999.99", None]),
        (pa.decimal64(12, 4), ["1.25", "-99999999.9999", None]),
        (pa.decimal128(20, 3), ["1.25", "0.001", None]),
    ],
)
def test_a_small_decimal_goes_into_a_wider_one(cursor: Any, name: str, kind: pa.DataType, written: list[str | None]) -> None:
    cursor.execute(f"CREATE TABLE {name} (d DECIMAL(24, 4))")
    values = [None if text is None else decimal.Decimal(text) for text in written]
    assert cursor.adbc_ingest(name, pa.table({"d": pa.array(values, kind)}), mode="append") == 3
    cursor.execute(f"SELECT d FROM {name} ORDER BY d NULLS LAST")
    found = cursor.fetch_arrow_table()
    assert found.schema.field("d").type == pa.decimal128(24, 4)
    assert found["d"].to_pylist() == [*sorted(value for value in values if value is not None), None]
    # One with more digits behind the point than the column has would lose them.
    finer = pa.table({"d": pa.array([decimal.Decimal("0.00001")], pa.decimal128(10, 5))})
    with pytest.raises(adbc.ProgrammingError, match="d") as caught:
        cursor.adbc_ingest(name, finer, mode="append")
    assert caught.value.status_code == AdbcStatusCode.INVALID_ARGUMENT


def test_a_batch_of_twelve_megabytes_is_taken_whole(cursor: Any, name: str) -> None:
    # The driver itself sends at most 16 MiB in a message, and does not split batches.
    rows = 12_000
    big = pa.table({"id": range(rows), "text": ["x" * 1000] * rows}).combine_chunks()
    assert cursor.adbc_ingest(name, big.to_batches()[0], mode="create") == rows
    cursor.execute(f"SELECT sum(length(text)) FROM {name}")
    assert cursor.fetchone() == (rows * 1000,)


def test_a_thousand_columns(cursor: Any, name: str) -> None:
    wide = pa.table({f"c{number}": [number] for number in range(1000)})
    assert cursor.adbc_ingest(name, wide, mode="create") == 1
    cursor.execute(f"SELECT * FROM {name}")
    assert cursor.fetch_arrow_table().to_pylist() == wide.to_pylist()
