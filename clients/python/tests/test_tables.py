"""Tables through the client against a real server: made, listed, described and dropped."""

from __future__ import annotations

import datetime
import uuid

import pyarrow as pa
import pytest

import coverline
from data import SCHEMA, day_of


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
