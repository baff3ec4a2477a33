"""Substrait plans through ADBC, which sends whatever is executed as bytes. The plans are written by hand: who writes them needs nothing
but Substrait's own description of its messages."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pyarrow as pa
import pytest


def field(number: int, *values: bytes | int) -> bytes:
    """A field of a protobuf message, once for each value."""
    encoded = b""
    for value in values:
        if isinstance(value, int):
            encoded += bytes([number << 3]) + varint(value)
        else:
            encoded += bytes([number << 3 | 2]) + varint(len(value)) + value
    return encoded


def varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


NULLABLE, REQUIRED = 1, 2
INT64, DOUBLE, STRING = 7, 11, 12


def read(table: str, **columns: int) -> bytes:
    """A Rel that reads a table whose columns have these kinds, all nullable."""
    types = b"".join(field(1, field(kind, field(2, NULLABLE))) for kind in columns.values())
    schema = field(1, *(name.encode() for name in columns)) + field(2, types + field(3, REQUIRED))
    return field(1, field(2, schema) + field(7, field(1, table.encode())))


def fetch(rel: bytes, count: int) -> bytes:
    """A Rel of the first rows of another."""
    return field(3, field(2, rel) + field(4, count))


def plan(rel: bytes, *names: str) -> bytes:
    """A Plan with these names for its columns."""
    return field(3, field(2, field(1, rel) + field(2, *(name.encode() for name in names))))


@pytest.fixture
def things(cursor: Any, name: str) -> str:
    cursor.execute(f"CREATE TABLE {name} (label TEXT, n BIGINT, x DOUBLE)")
    cursor.execute(f"INSERT INTO {name} VALUES ('a', 1, 0.5), ('b', 2, 1.5), ('c', NULL, 2.5)")
    return name


def test_bytes_are_run_as_a_plan(cursor: Any, things: str) -> None:
    whole = read(things, label=STRING, n=INT64, x=DOUBLE)
    cursor.execute(plan(whole, "label", "n", "x"))
    table = cursor.fetch_arrow_table()
    cursor.execute(f"SELECT * FROM {things}")
    assert table == cursor.fetch_arrow_table()
    cursor.execute(plan(fetch(whole, 2), "first", "second", "third"))
    table = cursor.fetch_arrow_table()
    assert table.schema.names == ["first", "second", "third"]
    assert table.num_rows == 2


def test_a_plan_is_prepared_like_a_query(cursor: Any, things: str) -> None:
    statement = cursor.adbc_statement
    statement.set_substrait_plan(plan(read(things, n=INT64), "n"))
    statement.prepare()
    for _ in range(2):
        stream, _ = statement.execute_query()
        with pa.RecordBatchReader._import_from_c(stream.address) as reader:
            assert reader.read_all()["n"].to_pylist() == [1, 2, None]


@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        (b"\xff\xff nothing", "not a Substrait plan"),
        (plan(read("no_such_table", n=INT64), "n"), "no_such_table"),
        (plan(field(1, field(2, field(2, b"")) + field(6, b"")), "n"), "reads no files"),
    ],
)
def test_what_is_refused_says_why(cursor: Any, sent: bytes, refused: str) -> None:
    with pytest.raises(adbc_driver_manager.Error, match=refused):
        cursor.execute(sent)


# What Ibis 9.5 writes through ibis-substrait 4.0 for expressions over a table of these columns; the statements that say the same.
IBIS_PLANS = json.loads(Path(__file__).with_name("ibis_plans.json").read_text())
IBIS_STATEMENTS = {
    "rows above a value": "SELECT * FROM prices WHERE close > 1.5",
    "a column and an expression": "SELECT symbol, close * 2 AS twice FROM prices",
    "aggregates of each symbol": "SELECT symbol, count(*) AS n, max(close) AS top, sum(close) AS s FROM prices GROUP BY symbol",
    "the greatest three": "SELECT * FROM prices ORDER BY close DESC NULLS FIRST, symbol LIMIT 3",
    "counts of the rows above a filter, in order": (
        "SELECT symbol, count(*) AS n FROM prices WHERE symbol = 'A' OR close < 3 GROUP BY symbol ORDER BY symbol"
    ),
}


@pytest.mark.parametrize("what", IBIS_STATEMENTS)
def test_a_plan_of_ibis_gives_the_rows_of_its_statement(cursor: Any, what: str) -> None:
    cursor.execute(
        "CREATE TABLE prices (ts TIMESTAMP NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
        "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
    )
    try:
        cursor.execute(
            "INSERT INTO prices VALUES ('2026-01-01 00:00:00', 'A', 1), ('2026-01-01 01:00:00', 'A', 2), "
            "('2026-01-01 00:00:00', 'B', 3.5), ('2026-01-01 05:00:00', 'C', NULL)"
        )
        answers = []
        for query in (base64.b64decode(IBIS_PLANS[what]), IBIS_STATEMENTS[what]):
            cursor.execute(query)
            answers.append(cursor.fetch_arrow_table())
        found, expected = answers
        assert found.column_names == expected.column_names
        rows = [table.to_pylist() if "order" in what or "greatest" in what else sorted(map(str, table.to_pylist())) for table in answers]
        assert rows[0] == rows[1] != []
    finally:
        cursor.execute("DROP TABLE prices")
