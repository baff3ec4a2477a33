"""Times of every unit are compared, shifted and cut as DuckDB does it: random conditions over one table.

`COVERLINE_TIMES_CASES` and `COVERLINE_TIMES_SEED` set how many and which; `tests/soak SECONDS differential` asks for 5,000. One is
repeated by its number, as in the differential test.
Left out is what DuckDB answers otherwise: it shifts times of nanoseconds in microseconds.
"""

from __future__ import annotations

import os
import random
import re
from typing import Any

import duckdb
import pyarrow as pa

FIRST_SEED = 0
GATE_CASES = 300
# Of 100 statements, at most so many may show no row.
EMPTY_PERCENT_MAX = 45
ROWS = 60
MIDNIGHT = 1_704_067_200  # 2024-01-01
SECONDS = (-86_400, -18_000, -1, 0, 1, 2, 3_600, 18_000, 86_399, 86_400)
NANOS = (0, 0, 0, 500_000_000, 1_000_000, 999_000_000, 1_000, 500, 1, 999_999_999)
WRITTEN = ("2023-12-31 00:00:00", "2023-12-31 23:59:59", "2024-01-01 00:00:00", "2024-01-01 00:00:01", "2024-01-01 05:00:00", "2024-01-02 00:00:00")
FRACTIONS = ("", "", ".5", ".001", ".999", ".000001")
INTERVALS = ("1 second", "500 milliseconds", "1 microsecond", "250 microseconds", "90 minutes", "1 day", "36 hours", "1 month")
COLUMNS = ("s", "ms", "us", "s", "ms")
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")


def make_table(rng: random.Random) -> pa.Table:
    def times(unit: str, nanos: int, zone: str | None = None) -> pa.Array:
        ticks = [
            None if rng.random() < 0.1 else ((MIDNIGHT + rng.choice(SECONDS)) * 10**9 + rng.choice(NANOS)) // nanos for _ in range(ROWS)
        ]
        return pa.array(ticks, pa.timestamp(unit, zone))

    days = [None if rng.random() < 0.1 else MIDNIGHT // 86_400 + rng.choice([-1, 0, 1]) for _ in range(ROWS)]
    return pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "s": times("s", 10**9),
            "ms": times("ms", 10**6),
            "us": times("us", 10**3),
            "ns": times("ns", 1),
            "z": times("us", 10**3, "UTC"),
            "d": pa.array(days, pa.int32()).cast(pa.date32()),
            "g": pa.array([rng.randrange(3) for _ in range(ROWS)], pa.int64()),
        }
    )


class Conditions:
    """Makes conditions on the table `t`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def literal(self, kind: str = "TIMESTAMP") -> str:
        zone = "Z" if kind == "TIMESTAMPTZ" else ""
        return f"{kind} '{self.rng.choice(WRITTEN)}{self.rng.choice(FRACTIONS)}{zone}'"

    def shifted(self, time: str) -> str:
        return f"({time} {self.rng.choice('+-')} INTERVAL '{self.rng.choice(INTERVALS)}')"

    def time(self) -> str:
        rng, roll = self.rng, self.rng.random()
        if roll < 0.45:
            return rng.choice(COLUMNS)
        if roll < 0.5:
            return "ns"
        if roll < 0.58:
            return rng.choice(["CAST(d AS TIMESTAMP)", self.shifted("d")])
        if roll < 0.73:
            return self.literal()
        if roll < 0.9:
            return self.shifted(rng.choice([*COLUMNS, self.shifted(rng.choice(COLUMNS)), self.literal()]))
        if roll < 0.95:
            return f"date_trunc('{rng.choice(['second', 'minute', 'hour', 'day', 'millisecond'])}', {rng.choice(COLUMNS)})"
        return f"coalesce({rng.choice(COLUMNS)}, {rng.choice(COLUMNS)})"

    def moment(self) -> str:
        zone = self.rng.choice(["America/New_York", "UTC", "Asia/Kolkata"])
        return self.rng.choice(["z", f"({self.rng.choice(COLUMNS)} AT TIME ZONE '{zone}')"])

    def make(self, depth: int = 0) -> str:
        rng, roll = self.rng, self.rng.random()
        if depth < 2 and roll < 0.2:
            return f"({self.make(depth + 1)} {rng.choice(['AND', 'OR'])} {self.make(depth + 1)})"
        if depth < 2 and roll < 0.27:
            return f"(NOT {self.make(depth + 1)})"
        side, literal = (self.moment, lambda: self.literal("TIMESTAMPTZ")) if roll > 0.85 else (self.time, self.literal)
        kind = rng.random()
        if kind < 0.6:
            sides = [side(), rng.choice([side, literal])()]
            rng.shuffle(sides)
            return f"({sides[0]} {rng.choice(OPERATORS)} {sides[1]})"
        if kind < 0.75:
            return f"({side()} {rng.choice(['', 'NOT '])}BETWEEN {literal()} AND {rng.choice([side, literal])()})"
        if kind < 0.9:
            members = ", ".join(literal() for _ in range(rng.randint(1, 5)))
            return f"({side()} {rng.choice(['', 'NOT '])}IN ({members}))"
        return f"CASE {side()} WHEN {literal()} THEN true WHEN {literal()} THEN false ELSE g = 1 END"

    def query(self) -> str:
        rng, roll = self.rng, self.rng.random()
        if roll < 0.6:
            return f"SELECT id FROM t WHERE {self.make()} ORDER BY id"
        if roll < 0.8:
            return f"SELECT id, {self.make()} AS c FROM t ORDER BY id"
        if roll < 0.9:
            inner = f"SELECT id, {self.time()} AS x, {self.time()} AS y FROM t"
            return f"SELECT id FROM ({inner}) WHERE x {rng.choice(OPERATORS)} {self.literal()} OR y < {self.literal()} ORDER BY id"
        having = f"min({rng.choice(COLUMNS)}) {rng.choice(OPERATORS)} {self.literal()}"
        return f"SELECT g, count(*) AS k FROM t GROUP BY g HAVING {having} ORDER BY g"


def test_times_are_compared_as_duckdb_compares_them(cursor: Any, name: str) -> None:
    count = int(os.environ.get("COVERLINE_TIMES_CASES", GATE_CASES))
    first = int(os.environ.get("COVERLINE_TIMES_SEED", FIRST_SEED))
    rows = make_table(random.Random("times"))
    cursor.adbc_ingest(name, rows, mode="create")
    failures, empty = [], 0
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute("CREATE TABLE t AS SELECT * FROM rows")
        for seed in range(first, first + count):
            query = Conditions(random.Random(f"times {seed}")).query()
            # Of coarser times it makes what it does not compare with microseconds.
            expected = duck.execute(re.sub(r"\((\w+) AT TIME ZONE", r"(CAST(\1 AS TIMESTAMP) AT TIME ZONE", query)).fetchall()
            cursor.execute(query.replace(" FROM t", f" FROM {name}"))
            found = cursor.fetchall()
            empty += not expected
            if found != expected:
                failures.append(f"seed {seed}: {query}\n  Coverline: {found}\n  DuckDB:    {expected}")
    print(f"{count} statements from seed {first}: {len(failures)} differ, {empty} without a row")
    assert not failures, f"{len(failures)} of {count} statements differ:\n" + "\n".join(failures[:5])
    if count >= GATE_CASES:
        assert empty * 100 <= EMPTY_PERCENT_MAX * count, f"{empty} of {count} statements show no row"
