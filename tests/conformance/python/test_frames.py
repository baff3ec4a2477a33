"""Polars, pandas and DuckDB, reading and writing over ADBC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Server, day_of


def test_polars_reads(server: Server, connection: Any, loaded: str) -> None:
    query = f"SELECT * FROM {loaded} ORDER BY symbol, ts"
    frame = pl.read_database(query, connection)
    assert frame.height == 48
    assert frame.columns == ["ts", "symbol", "close"]
    assert frame["symbol"].to_list() == ["AAPL"] * 24 + ["NVDA"] * 24
    sums = [part["close"].sum() for part in pl.read_database(query, connection, iter_batches=True, batch_size=10)]
    assert sum(sums) == frame["close"].sum()


def test_polars_reads_by_a_uri_alone(server: Server, loaded: str) -> None:
    # The autocommit that Polars does not ask for is all that it is warned of.
    uri = f"flightsql://{server.url.removeprefix('grpc://')}?transport=tcp"
    with pytest.warns(Warning, match="autocommit"):
        frame = pl.read_database_uri(f"SELECT symbol, close FROM {loaded} ORDER BY symbol", uri, engine="adbc")
    assert frame["symbol"].to_list() == ["AAPL"] * 24 + ["NVDA"] * 24


def test_polars_writes(connection: Any, prices: str, name: str, count: Callable[[str], int]) -> None:
    frame = pl.from_arrow(day_of(0))
    assert isinstance(frame, pl.DataFrame)
    frame.write_database(prices, connection, if_table_exists="append", engine="adbc")
    assert count(prices) == 48
    with pytest.raises(Exception, match="48 buckets"):
        frame.write_database(prices, connection, if_table_exists="append", engine="adbc")
    assert count(prices) == 48
    other = f"{name}_new"
    frame.write_database(other, connection, if_table_exists="fail", engine="adbc")
    assert count(other) == 48
    frame.head(5).write_database(other, connection, if_table_exists="replace", engine="adbc")
    assert count(other) == 5


def test_pandas_reads(connection: Any, loaded: str) -> None:
    frame = pd.read_sql(f"SELECT * FROM {loaded} ORDER BY symbol, ts", connection)
    assert list(frame.columns) == ["ts", "symbol", "close"]
    assert len(frame) == 48
    assert frame["close"].sum() == sum(day_of(0)["close"].to_pylist())


def test_pandas_writes(connection: Any, prices: str, name: str, count: Callable[[str], int]) -> None:
    frame = day_of(0).to_pandas()
    assert frame.to_sql(prices, connection, if_exists="append", index=False) == 48
    assert count(prices) == 48
    with pytest.raises(Exception) as caught:
        frame.to_sql(prices, connection, if_exists="append", index=False)
    assert "48 buckets" in str(caught.value.__cause__), "pandas wraps what the server said"
    assert count(prices) == 48
    other = f"{name}_new"
    assert frame.to_sql(other, connection, if_exists="append", index=False) == 48
    with pytest.raises(ValueError, match="exists"):
        frame.to_sql(other, connection, if_exists="fail", index=False)
    assert count(other) == 48
    assert frame.head(5).to_sql(other, connection, if_exists="replace", index=False) == 5
    assert count(other) == 5


def test_pandas_frames_with_a_time_index(connection: Any, prices: str, count: Callable[[str], int]) -> None:
    frame = day_of(0).to_pandas().set_index("ts")
    assert frame.to_sql(prices, connection, if_exists="append", index=True) == 48
    assert count(prices) == 48


def test_duckdb_reads_a_result_and_feeds_an_append(cursor: Any, loaded: str, count: Callable[[str], int]) -> None:
    cursor.execute(f"SELECT * FROM {loaded}")
    days = cursor.fetch_record_batch()
    moved = duckdb.sql("SELECT ts + INTERVAL 1 DAY AS ts, symbol, close FROM days").to_arrow_table()
    assert cursor.adbc_ingest(loaded, moved, mode="append") == 48
    assert count(loaded) == 96


def test_every_portable_type_survives_the_way_into_frames(connection: Any, cursor: Any, name: str) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "u": pa.array([2**63, None], pa.uint64()),
            "f": [1.5, None],
            "s": ["a", None],
            "b": [True, None],
            "y": [b"x", None],
            "t": pa.array([0, None], pa.timestamp("ns", "UTC")),
            "d": pa.array([0, None], pa.date32()),
        }
    )
    cursor.adbc_ingest(name, table, mode="create")
    frame = pl.read_database(f"SELECT * FROM {name}", connection)
    assert frame.to_arrow().cast(table.schema).to_pylist() == table.to_pylist()
    assert len(pd.read_sql(f"SELECT * FROM {name}", connection)) == 2
