"""Substrait plans through ADBC, which sends whatever is executed as bytes. The plans are written by hand: who writes them needs nothing
but Substrait's own description of its messages."""

from __future__ import annotations

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
