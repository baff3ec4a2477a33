"""Queries and coverage through the client against a real server, and what both survive."""

from __future__ import annotations

import datetime
import threading
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import coverline
from conftest import Server
from data import DAY, day_of


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


def test_a_reader_that_is_left_early_does_not_hold_up_the_next_query(client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    many = f"SELECT a.* FROM {prices.name} a CROSS JOIN {prices.name} b CROSS JOIN {prices.name} c"
    reader = client.sql_reader(many)
    assert reader.read_next_batch().num_rows > 0
    reader.close()
    assert prices.count() == 48


# -- refusals


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nope FROM (VALUES (1)) t(a)", "SELECT nope(1)"])
def test_wrong_sql_is_a_query_error(client: coverline.Client, sql: str) -> None:
    with pytest.raises((coverline.QueryError, coverline.InvalidInputError, coverline.NotFoundError)) as caught:
        client.sql(sql)
    assert len(str(caught.value)) > 10


def test_an_error_in_the_middle_of_a_result_is_raised(client: coverline.Client) -> None:
    with pytest.raises(coverline.CoverlineError, match="(?i)zero"):
        client.sql("SELECT 1 / (a - 1) FROM (VALUES (0), (1)) t(a)")


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


# -- servers


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
