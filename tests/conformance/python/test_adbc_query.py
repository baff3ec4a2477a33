"""ADBC: connections, queries, parameters, partitions, cancelling."""

from __future__ import annotations

import datetime
import decimal
import threading
import time
from collections.abc import Callable
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa
import pytest
from conftest import DAY, Server, day_of


def test_a_connection_tells_the_vendor(connection: Any) -> None:
    info = connection.adbc_get_info()
    assert "coverline" in info["vendor_name"].lower()
    assert info["vendor_version"]


def test_other_ways_to_connect(server: Server) -> None:
    address = server.url.removeprefix("grpc://")
    for uri, options in (
        (f"grpc+tcp://{address}", {}),
        (server.url, {"username": "user", "password": "pass:word"}),
        (server.url, {"adbc.flight.sql.authorization_header": "Bearer None"}),
        (server.url, {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}),
        (server.url, {"adbc.flight.sql.rpc.call_header.database": "x"}),
    ):
        with adbc.connect(uri, db_kwargs=options, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def test_the_default_of_python_works_with_a_warning(server: Server) -> None:
    with pytest.warns(Warning, match="autocommit"), adbc.connect(server.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1", [(1,)]),
        ("  \n SELECT 1 ; ", [(1,)]),
        ("-- a comment\nSELECT /* inside */ 1;", [(1,)]),
        ('SELECT 1 AS "Odd ""name"""', [(1,)]),
        ("SELECT 'é ’ 𝄞'", [("é ’ 𝄞",)]),
        ("SELECT CAST(NULL AS DOUBLE)", [(None,)]),
        ("VALUES (1, 'a'), (2, 'b')", [(1, "a"), (2, "b")]),
        ("SELECT * FROM (VALUES (1)) t(a) WHERE a > 1", []),
        ("WITH t AS (SELECT 1 AS a) SELECT a FROM t UNION ALL SELECT a + 1 FROM t ORDER BY a", [(1,), (2,)]),
        ("SELECT DATE '2025-03-01'", [(datetime.date(2025, 3, 1),)]),
    ],
)
def test_queries_return_their_rows(cursor: Any, sql: str, rows: list[tuple[object, ...]]) -> None:
    cursor.execute(sql)
    assert cursor.fetchall() == rows


def test_results_have_names_types_and_rows(cursor: Any, loaded: str) -> None:
    cursor.execute(f"SELECT ts, symbol, close FROM {loaded} ORDER BY symbol, ts")
    assert [column[0] for column in cursor.description] == ["ts", "symbol", "close"]
    table = cursor.fetch_arrow_table()
    assert table.schema.types == [pa.timestamp("us", "UTC"), pa.string(), pa.float64()]
    assert table.to_pylist() == day_of(0).sort_by([("symbol", "ascending"), ("ts", "ascending")]).to_pylist()


def test_a_result_streams(cursor: Any, loaded: str) -> None:
    cursor.execute(f"SELECT a.close FROM {loaded} a CROSS JOIN {loaded} b CROSS JOIN {loaded} c")
    reader = cursor.fetch_record_batch()
    assert sum(batch.num_rows for batch in reader) == 48**3


def test_an_empty_result_has_its_schema(cursor: Any, loaded: str) -> None:
    cursor.execute(f"SELECT * FROM {loaded} WHERE symbol = 'none'")
    table = cursor.fetch_arrow_table()
    assert (table.num_rows, table.schema.names) == (0, ["ts", "symbol", "close"])


@pytest.mark.parametrize(
    ("sql", "parameters", "rows"),
    [
        ("SELECT count(*) FROM {t} WHERE symbol = ?", ("NVDA",), [(24,)]),
        ("SELECT count(*) FROM {t} WHERE symbol = $1 AND close >= $2", ("NVDA", 110.0), [(14,)]),
        ("SELECT count(*) FROM {t} WHERE close >= ?", (110,), [(28,)]),
        ("SELECT count(*) FROM {t} WHERE ts >= ?", (DAY + datetime.timedelta(hours=12),), [(24,)]),
        ("SELECT count(*) FROM {t} WHERE symbol = ?", (None,), [(0,)]),
        ("SELECT symbol, close FROM {t} WHERE symbol = $1 AND close = $2", ("AAPL", 101.0), [("AAPL", 101.0)]),
        # From a date, days are taken away.
        ("SELECT count(*) FROM {t} WHERE CAST(ts AS DATE) > DATE '1970-01-08' - ?", (7,), [(48,)]),
        # What a parameter is, nothing says here; it is a text.
        ("SELECT ? || ?", ("a", "b"), [("ab",)]),
        ("SELECT ? || (?) || ? || 'x'", ("a", "b", None), [(None,)]),
        ("SELECT count(*) FROM {t} WHERE symbol = $2 || $1", ("DA", "NV"), [(24,)]),
    ],
)
def test_parameters_are_bound(cursor: Any, loaded: str, sql: str, parameters: tuple[object, ...], rows: object) -> None:
    cursor.execute(sql.format(t=loaded), parameters)
    assert cursor.fetchall() == rows


EIGHTH = datetime.timedelta(milliseconds=125)
NOON = datetime.datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("expression", "parameters", "value"),
    [
        ("us + ?", (EIGHTH,), NOON + EIGHTH),
        ("? + us", (EIGHTH,), NOON + EIGHTH),
        ("us - ?", (EIGHTH,), NOON - EIGHTH),
        ("us - ?", (NOON - EIGHTH,), EIGHTH),
        # Python counts microseconds, whatever the column counts.
        ("s + ?", (EIGHTH,), NOON + EIGHTH),
        ("s - ?", (EIGHTH,), NOON - EIGHTH),
        ("s + ? + ?", (EIGHTH, EIGHTH), NOON + EIGHTH * 2),
        ("s < ?", (NOON + EIGHTH,), True),
        ("s = ? OR s IN (?, ?)", (NOON + EIGHTH, NOON - EIGHTH, NOON + EIGHTH), False),
        ("s + ? BETWEEN ? AND ?", (EIGHTH, NOON + EIGHTH, NOON + EIGHTH), True),
        ("us + ? - us >= ?", (EIGHTH, EIGHTH), True),
        ("now() - ? < us + ?", (datetime.timedelta(hours=1), datetime.timedelta(days=100_000)), True),
        ("date_bin(?, us)", (datetime.timedelta(hours=5),), datetime.datetime(2026, 1, 1, 9)),
        ("time_bucket(?, us)", (datetime.timedelta(hours=5),), datetime.datetime(2026, 1, 1, 9)),
        ("time_bucket(?, us)", ("1d",), datetime.datetime(2026, 1, 1)),
    ],
)
def test_lengths_of_time_are_bound(cursor: Any, name: str, expression: str, parameters: tuple[object, ...], value: object) -> None:
    cursor.execute(f"CREATE TABLE {name} (us TIMESTAMP, s TIMESTAMP(0), d DATE)")
    cursor.execute(f"INSERT INTO {name} VALUES ('2026-01-01 12:00:00', '2026-01-01 12:00:00', '2026-01-01')")
    cursor.execute(f"SELECT {expression} AS v FROM {name}", parameters)
    assert cursor.fetchall() == [(value,)]
    cursor.execute(f"SELECT count(*) FROM {name} WHERE ({expression}) IS NULL", parameters)
    assert cursor.fetchall() == [(0,)]


@pytest.mark.parametrize("rows", [1, 3])
def test_inserted_parameters_become_what_the_columns_are(cursor: Any, name: str, rows: int) -> None:
    cursor.execute(f"CREATE TABLE {name} (a REAL, b TIMESTAMP WITH TIME ZONE, c DECIMAL(10, 2), d DATE, e SMALLINT, f TEXT)")
    values = (0.25, datetime.datetime(2026, 1, 1, 12), 1.25, "2026-01-02", 7, None)
    marks = ", ".join(["(?, ?, ?, ?, ? + 1, ?)"] * rows)
    cursor.execute(f"INSERT INTO {name} VALUES {marks}", values * rows)
    cursor.execute(f"SELECT * FROM {name}")
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
    assert cursor.fetchall() == [(0.25, noon, decimal.Decimal("1.25"), datetime.date(2026, 1, 2), 8, None)] * rows


def test_a_prepared_statement_runs_again_with_other_values(cursor: Any, loaded: str) -> None:
    sql = f"SELECT count(*) FROM {loaded} WHERE symbol = ?"
    for symbol, expected in (("NVDA", 24), ("none", 0), ("AAPL", 24)):
        cursor.execute(sql, (symbol,))
        assert cursor.fetchone() == (expected,)


UNION = pa.UnionArray.from_dense(
    pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2], pa.int64()), pa.array(["x"])], ["i", "s"]
)


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        (UNION, ["1", "x", "2"]),
        (pa.nulls(2), [None, None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array([7], pa.int8()), ["7"]),
        (pa.array([], pa.int64()), []),
        (pa.chunked_array([], pa.string()), []),
    ],
    ids=["union", "nulls", "dictionary", "views", "large", "small", "no-rows", "no-batches"],
)
def test_any_column_is_bound_by_its_place_and_each_row_is_a_run(connection: Any, bound: Any, found: list[str | None]) -> None:
    # As flightsql-dbapi names them.
    rows = pa.table({"param_1": bound})
    with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query("SELECT CAST(? AS VARCHAR) AS v")
        statement.prepare()
        statement.bind_stream(rows.to_reader())
        stream, _ = statement.execute_query()
        assert pa.RecordBatchReader._import_from_c(stream.address).read_all()["v"].to_pylist() == found


def test_rows_that_make_columns_of_several_types_are_refused(connection: Any) -> None:
    with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query("SELECT ? AS v")
        statement.prepare()
        statement.bind_stream(pa.table({"param_1": UNION}).to_reader())
        with pytest.raises((adbc.Error, pa.ArrowException), match="cast it in the statement"):
            stream, _ = statement.execute_query()
            pa.RecordBatchReader._import_from_c(stream.address).read_all()


def test_no_rows_change_nothing(connection: Any, loaded: str, count: Callable[[str], int]) -> None:
    rows = day_of(1).slice(0, 0)
    with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query(f"INSERT INTO {loaded} VALUES (?, ?, ?)")
        statement.prepare()
        statement.bind_stream(rows.to_reader())
        assert statement.execute_update() == 0
    assert count(loaded) == 48


def test_a_query_is_polled_for_until_all_of_it_is_there(connection: Any) -> None:
    partitions: list[bytes] = []
    with connection.cursor(adbc_stmt_kwargs={"adbc.statement.exec.incremental": "true"}) as cursor:
        while True:
            found, schema = cursor.adbc_execute_partitions("SELECT value AS n FROM generate_series(1, 1000)")
            assert schema.names == ["n"]
            if not found:
                break
            partitions += found
    assert len(partitions) == 1
    with connection.cursor() as cursor:
        cursor.adbc_read_partition(partitions[0])
        assert cursor.fetch_arrow_table().num_rows == 1000


def test_preparing_tells_the_parameters(cursor: Any, loaded: str) -> None:
    schema = cursor.adbc_prepare(f"SELECT * FROM {loaded} WHERE symbol = $1 AND close > $2")
    assert schema is not None
    assert schema.types == [pa.string(), pa.float64()]


def test_the_schema_of_a_query_without_running_it(cursor: Any, loaded: str) -> None:
    schema = cursor.adbc_execute_schema(f"SELECT ts, close * 2 AS twice FROM {loaded}")
    assert schema.names == ["ts", "twice"]


def test_partitions_are_read_elsewhere(server: Server, cursor: Any, loaded: str) -> None:
    partitions, schema = cursor.adbc_execute_partitions(f"SELECT * FROM {loaded}")
    assert schema.names == ["ts", "symbol", "close"]
    rows = 0
    with adbc.connect(server.url, autocommit=True) as other, other.cursor() as reader:
        for partition in partitions:
            reader.adbc_read_partition(partition)
            rows += reader.fetch_arrow_table().num_rows
    assert rows == 48


def test_low_level_statements_go_without_preparing(connection: Any, loaded: str) -> None:
    with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query(f"SELECT count(*) AS n FROM {loaded}")
        stream, _ = statement.execute_query()
        reader = pa.RecordBatchReader._import_from_c(stream.address)
        assert reader.read_all()["n"].to_pylist() == [48]
    with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query(f"INSERT INTO {loaded} VALUES ('2025-04-01T00:00:00Z', 'NVDA', 1.0)")
        assert statement.execute_update() == 1


def test_a_running_query_is_cancelled(connection: Any, loaded: str) -> None:
    joined = " CROSS JOIN ".join(f"{loaded} t{i}" for i in range(8))
    with connection.cursor() as cursor:
        failures: list[BaseException] = []

        def run() -> None:
            try:
                cursor.execute(f"SELECT count(*) FROM {joined} WHERE random() < 2")
                cursor.fetchall()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 30
        while thread.is_alive() and time.monotonic() < deadline:
            # Cancelling before the call began has no effect, so it is repeated until the call ended.
            cursor.adbc_cancel()
            thread.join(0.2)
        assert not thread.is_alive()
        assert failures
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM nowhere", ["nowhere"]),
        ("SELECT nope FROM {t}", ["nope"]),
        ("SELECT nope(1)", ["nope"]),
        ("SELEC 1", ["SELEC"]),
        ("SELECT 'open", []),
        ("", []),
        ("DROP TABLE nowhere", ["nowhere"]),
        ("INSERT INTO nowhere VALUES (1)", ["nowhere"]),
    ],
)
def test_wrong_sql_is_the_programmers_error(cursor: Any, loaded: str, sql: str, words: list[str]) -> None:
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.execute(sql.format(t=loaded))
        cursor.fetchall()
    for word in words:
        assert word in str(caught.value)
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_an_error_in_the_middle_of_a_result_is_raised(cursor: Any) -> None:
    with pytest.raises(adbc.Error, match="(?i)zero"):
        cursor.execute("SELECT 1 / (a - 1) FROM (VALUES (0), (1)) t(a)")
        cursor.fetchall()


def test_ddl_and_dml_run_once_and_tell_their_rows(cursor: Any, name: str) -> None:
    cursor.execute(
        f"CREATE TABLE {name} (ts TIMESTAMP NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
        "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
    )
    assert cursor.rowcount in (0, -1)
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.execute(f"CREATE TABLE {name} WITH (index_column = 'ts', bucket = '1h')")
    assert caught.value.status_code == adbc_driver_manager.AdbcStatusCode.ALREADY_EXISTS
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} WITH (index_column = 'ts', bucket = '1h')")
    cursor.execute(f"INSERT INTO {name} VALUES ('2025-03-01T00:00:00', 'A', 1.0), ('2025-03-01T01:00:00', 'A', 2.0)")
    assert cursor.rowcount == 2
    cursor.execute(f"SELECT count(*), sum(close) FROM {name}")
    assert cursor.fetchall() == [(2, 3.0)]
    cursor.execute(f"DROP TABLE {name}")
    assert cursor.rowcount in (0, -1)
    cursor.execute(f"DROP TABLE IF EXISTS {name}")
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.execute(f"DROP TABLE {name}")
    assert caught.value.status_code == adbc_driver_manager.AdbcStatusCode.NOT_FOUND


def test_executemany_inserts_every_row_in_one_version(cursor: Any, loaded: str) -> None:
    rows = [(DAY + datetime.timedelta(days=1, hours=hour), "NVDA", float(hour)) for hour in range(24)]
    cursor.executemany(f"INSERT INTO {loaded} VALUES (?, ?, ?)", rows)
    cursor.execute(f"SELECT count(*), sum(close) FROM {loaded} WHERE ts >= '2025-03-02T00:00:00Z'")
    assert cursor.fetchall() == [(24, 276.0)]
    with pytest.raises(adbc.ProgrammingError) as caught:
        cursor.executemany(f"INSERT INTO {loaded} VALUES (?, ?, ?)", rows)
    assert caught.value.status_code == adbc_driver_manager.AdbcStatusCode.ALREADY_EXISTS


def test_insert_from_a_query(cursor: Any, loaded: str) -> None:
    cursor.execute(f"INSERT INTO {loaded} SELECT ts + INTERVAL '1 day', symbol, close FROM {loaded}")
    cursor.execute(f"SELECT count(*), min(ts), max(ts) FROM {loaded}")
    assert cursor.fetchall() == [(96, DAY, DAY + datetime.timedelta(days=1, hours=23))]


def test_sessions_take_catalog_and_schema(connection: Any) -> None:
    assert connection.adbc_current_catalog == "coverline"
    assert connection.adbc_current_db_schema == "public"
    connection.adbc_current_db_schema = "public"
    connection.adbc_current_catalog = "coverline"
