"""Random tables with a history: what is in them at every version, and how they come into a server and into DuckDB."""

from __future__ import annotations

import datetime
import decimal
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
from conftest import put

# More than a small append may have (256 KiB): with a text of this length an append of any few rows becomes a segment.
SEGMENT_TEXT_BYTES = 300_000
APPENDS_MAX = 6
ROWS_PER_APPEND_MAX = 40

WORDS = ("", "a", "A", "ab", "aB", "b", "ba", "abc", "é", "ß", "straße", "a b", " a", "a%", "a_b", "line\nline", "日本", "😀", "null", "z")
ENTITY_WORDS = ("A", "B", "C", "a", "Ä", "A B", "")
WILD_FLOATS = (
    0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 2.5, 1e15,
)
BIG_INTS = (-(2**63), 2**63 - 1, -(2**63) + 1, 2**62, -1, 0, 1, 2**53 + 1, -(2**31), 2**31)
UINTS = (0, 1, 2, 2**63 - 1, 2**63, 2**64 - 1)
START = datetime.datetime(2025, 3, 28)
HOURS = 72


@dataclass(frozen=True)
class Column:
    """A column; `kind` says what can be done with it (the module of expressions lists the kinds)."""

    name: str
    kind: str
    type: pa.DataType


@dataclass
class Table:
    """A table at each of its versions."""

    name: str
    columns: list[Column]
    index: str | None = None
    bucket: str = ""
    entities: list[str] = field(default_factory=list)
    # The rows as of a version, newest last; a version that only moved rows has those of the one before.
    versions: dict[int, pa.Table] = field(default_factory=dict)
    committed: dict[int, str] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.name not in (self.index, *self.entities)) for c in self.columns])

    def duck_name(self, version: int | None = None) -> str:
        """The table of DuckDB that holds what this one held at a version."""
        return f"{self.name}_v{max(self.versions) if version is None else version}"


def make_table(rng: random.Random, name: str) -> tuple[Table, list[pa.Table]]:
    """A table without rows, and its appends, which do not overlap."""
    columns = [Column("id", "int", pa.int64())]
    table = Table(name, columns)
    if rng.random() < 0.8:
        table.index = "ts"
        kind, index_type = rng.choice(
            [
                ("instant", pa.timestamp("us", "UTC")),
                ("instant", pa.timestamp("ns", "UTC")),
                ("instant", pa.timestamp("ms", "UTC")),
                ("time", pa.timestamp("us")),
                ("time", pa.timestamp("s")),
                ("int", pa.int64()),
                ("uint", pa.uint64()),
            ]
        )
        # All of these widths end where a day of `_rows` ends.
        table.bucket = rng.choice({"int": ["1", "4", "24"], "uint": ["1", "4", "8"]}.get(kind, ["15m", "1h", "6h", "1d"]))
        columns.append(Column("ts", kind, index_type))
        for number in range(rng.choice([0, 1, 1, 1, 2, 3])):
            kind, entity_type = rng.choice(
                [
                    ("text", pa.string()),
                    ("text", pa.string()),
                    ("int", pa.int32()),
                    ("int", pa.int64()),
                    ("bool", pa.bool_()),
                    ("date", pa.date32()),
                    ("uint", pa.uint64()),
                ]
            )
            columns.append(Column(f"e{number}", kind, entity_type))
            table.entities.append(f"e{number}")
    measures = [
        Column("n", "int", rng.choice([pa.int64(), pa.int32(), pa.int16()])),
        Column("x", "float", pa.float64()),
        Column("s", "text", rng.choice([pa.string(), pa.large_string()])),
        Column("big", "big", pa.int64()),
        Column("wild", "wild", pa.float64()),
        Column("y", "float", pa.float32()),
        Column("flag", "bool", pa.bool_()),
        Column("day", "date", pa.date32()),
        Column("at", "time", pa.timestamp("us")),
        Column("seen", "instant", pa.timestamp("us", "UTC")),
        Column("price", "decimal", pa.decimal128(12, 3)),
        Column("u", "uint", rng.choice([pa.uint64(), pa.uint8()])),
    ]
    columns.extend(measures[:3])
    columns.extend(rng.sample(measures[3:], rng.randint(2, 6)))
    columns.append(Column("pad", "pad", pa.string()))
    rng.shuffle(columns)
    taken: set[tuple[Any, ...]] = set()
    appends = []
    for _ in range(rng.randint(1, APPENDS_MAX)):
        rows = _rows(rng, table, len(appends) * 1000, taken)
        if rows.num_rows:
            appends.append(rows)
    if not appends:
        return make_table(rng, name)
    return table, appends


def _rows(rng: random.Random, table: Table, first_id: int, taken: set[tuple[Any, ...]]) -> pa.Table:
    """Rows of one append in any order; `taken` are the (entity, hour) pairs of the appends so far."""
    rows: list[dict[str, Any]] = []
    mine: set[tuple[Any, ...]] = set()
    # Some appends follow each other in time, others interleave.
    first_hour = rng.randrange(HOURS)
    last_hour = rng.randrange(first_hour, HOURS)
    null_chance = rng.choice([0.0, 0.1, 0.3, 1.0 if rng.random() < 0.1 else 0.5])
    for _ in range(rng.randint(1, ROWS_PER_APPEND_MAX)):
        row: dict[str, Any] = {"id": first_id + len(rows), "pad": None}
        if table.index is not None:
            # Whole days are taken: no bucket of these tables is longer.
            hour = rng.randint(first_hour, last_hour)
            entity = tuple(_entity(rng, _column(table, name)) for name in table.entities)
            pair = (*entity, hour // 24)
            if pair in taken:
                continue
            mine.add(pair)
            row["ts"] = _index(rng, _column(table, "ts"), hour)
            row.update(zip(table.entities, entity, strict=True))
        for column in table.columns:
            if column.name not in row:
                row[column.name] = None if rng.random() < null_chance else _value(rng, column)
        rows.append(row)
    taken |= mine
    if rows and rng.random() < 0.5:
        rows[0]["pad"] = "p" * SEGMENT_TEXT_BYTES
    return pa.Table.from_pylist(rows, schema=table.schema)


def _column(table: Table, name: str) -> Column:
    return next(column for column in table.columns if column.name == name)


def _index(rng: random.Random, column: Column, hour: int) -> Any:
    if column.kind == "int":
        return hour - 24
    if column.kind == "uint":
        # On both sides of 2^63.
        return 2**63 + hour - 24
    seconds = rng.choice([0, 0, 1, 1800, 3599])
    return _zoned(START + datetime.timedelta(hours=hour, seconds=seconds), column)


def _zoned(time: datetime.datetime, column: Column) -> datetime.datetime:
    return time.replace(tzinfo=datetime.timezone.utc) if column.kind == "instant" else time


def _entity(rng: random.Random, column: Column) -> Any:
    if column.kind == "text":
        return rng.choice(ENTITY_WORDS)
    if column.kind == "int":
        return rng.choice([-1, 0, 1, 2, 3])
    if column.kind == "uint":
        return rng.choice([0, 1, 2**64 - 1])
    return _value(rng, column)


def _value(rng: random.Random, column: Column) -> Any:
    match column.kind:
        case "int":
            return rng.choice([rng.randint(-4, 4), rng.randint(-100, 100)])
        case "float":
            # Quarters: sums and products are exact in any order.
            return rng.choice([rng.randint(-8, 8), rng.randint(-400, 400)]) / 4
        case "text":
            return rng.choice(WORDS)
        case "big":
            return rng.choice(BIG_INTS)
        case "wild":
            return rng.choice(WILD_FLOATS)
        case "bool":
            return rng.random() < 0.5
        case "date":
            return datetime.date(2025, 3, 28) + datetime.timedelta(days=rng.randint(-2, 3))
        case "time" | "instant":
            return _zoned(START + datetime.timedelta(hours=rng.randint(-30, 100), microseconds=rng.choice([0, 0, 1, 999_999])), column)
        case "decimal":
            return decimal.Decimal(rng.choice([rng.randint(-5000, 5000), 999_999_999_999, -999_999_999_999, 0])) / 1000
        case "uint":
            return rng.choice(UINTS[:3] if column.type == pa.uint8() else UINTS)
    raise AssertionError(column)


def load(
    rng: random.Random,
    table: Table,
    appends: list[pa.Table],
    cursor: Any,
    client: flight.FlightClient,
    duck: duckdb.DuckDBPyConnection,
    folder: Path,
) -> None:
    """Puts the appends into the server one by one, and into DuckDB, through Parquet, what the table holds at each version."""
    if table.index is not None:
        options = ["index_column = 'ts'", f"bucket = '{table.bucket}'"]
        if table.entities:
            options.append(f"entity_columns = '{','.join(table.entities)}'")
        cursor.execute(f"CREATE TABLE {table.name} WITH ({', '.join(options)})")
    for rows in appends:
        if table.index is None and rows is appends[0]:
            cursor.adbc_ingest(table.name, rows, mode="create")
        else:
            put(client, table.name, _in_batches(rng, rows), schema=table.schema)
    # In the order of their ids, which is the order of the appends.
    everything = pa.concat_tables(appends)
    cursor.execute(
        f"SELECT version, CAST(commit_time AS VARCHAR), rows_added - rows_removed FROM table_history('{table.name}') ORDER BY version"
    )
    held = 0
    for version, time, added in cursor.fetchall():
        held += added
        # Before its first append a time-series table has no columns that a query could name.
        if held or table.index is None:
            table.versions[version], table.committed[version] = everything.slice(0, held), time
    assert held == everything.num_rows, f"{table.name} has {held} rows, not {everything.num_rows}"
    for version, rows in table.versions.items():
        path = folder / f"{table.duck_name(version)}.parquet"
        pq.write_table(rows, path)
        # Its functions and comparisons of instants take microseconds; there are no finer ones here.
        instants = [f"CAST({c.name} AS TIMESTAMPTZ) AS {c.name}" for c in table.columns if c.kind == "instant"]
        columns = f"* REPLACE ({', '.join(instants)})" if instants else "*"
        duck.execute(f"CREATE TABLE {table.duck_name(version)} AS SELECT {columns} FROM read_parquet('{path}')")


def _in_batches(rng: random.Random, rows: pa.Table) -> list[pa.RecordBatch]:
    return rows.to_batches(max_chunksize=rng.choice([1000, 7]))
