"""Random queries over random tables give the rows that DuckDB gives over the same rows in Parquet.

`COVERLINE_DIFFERENTIAL_QUERIES` and `COVERLINE_DIFFERENTIAL_SEED` set how many and which; `tests/soak SECONDS differential` asks for
20,000. A query is made of its number alone, so `COVERLINE_DIFFERENTIAL_SEED=N COVERLINE_DIFFERENTIAL_QUERIES=1` repeats one.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from conftest import put
from differential import compare
from differential.engines import Engines, engines  # noqa: F401
from differential.queries import Queries

FIRST_SEED = 0
GATE_QUERIES = 150
# Of 100 queries, at most so many may be ones that DuckDB refuses, or that show no row at all.
REFUSED_PERCENT_MAX = 2
FAULTS_PER_10_000_MAX = 5
EMPTY_PERCENT_MAX = 45


def test_random_queries_give_the_rows_that_duckdb_gives(engines: Engines, name: str, tmp_path: Path) -> None:
    count = int(os.environ.get("COVERLINE_DIFFERENTIAL_QUERIES", GATE_QUERIES))
    first = int(os.environ.get("COVERLINE_DIFFERENTIAL_SEED", FIRST_SEED))
    engines.compare(first, count, lambda seed, tables: Queries(random.Random(f"query {seed}"), tables).make(), name, tmp_path)
    refused, empty, faults = engines.refused, engines.empty, engines.faults
    if count >= GATE_QUERIES:
        assert refused * 100 <= REFUSED_PERCENT_MAX * count, f"DuckDB refused {refused} of {count} queries"
        assert faults * 10_000 <= max(FAULTS_PER_10_000_MAX * count, 10_000), f"{faults} of {count} queries have a listed fault"
        assert empty * 100 <= EMPTY_PERCENT_MAX * count, f"{empty} of {count} queries show no row"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A query that the engines answer differently, and why that is left so. `ours` is an error if it is a text."""

    reason: str
    sql: str
    ours: list[tuple[Any, ...]] | str
    duck: list[tuple[Any, ...]] | str
    duck_sql: str = ""


# What random queries keep clear of. Every entry is asked: one that no longer differs has to go.
DIFFERENCES = [
    Difference(
        "integers divide to an integer, as in PostgreSQL; DuckDB has // for that",
        "SELECT 7 / 2",
        [(3,)],
        [(3.5,)],
    ),
    Difference(
        "integers wrap around at 64 bits; DuckDB refuses",
        "SELECT 9223372036854775807 + CAST(1 AS BIGINT)",
        [(-(2**63),)],
        "Overflow",
    ),
    Difference(
        "a cast to an integer cuts off the fraction; DuckDB rounds",
        "SELECT CAST(2.75e0 AS BIGINT)",
        [(2,)],
        [(3,)],
    ),
    Difference(
        "floats sort in the total order of IEEE 754, where minus zero comes before zero",
        "SELECT x FROM (VALUES (2e0), (-1e0)) v(x) ORDER BY x * 0e0, x DESC",
        [(-1.0,), (2.0,)],
        [(2.0,), (-1.0,)],
    ),
    Difference(
        "upper() maps to as many letters as Unicode says; DuckDB maps one to one",
        "SELECT upper('ß')",
        [("SS",)],
        [("ẞ",)],
    ),
    Difference(
        "a backslash escapes in a pattern of LIKE without an ESCAPE clause, as in PostgreSQL",
        "SELECT 'a%' LIKE 'a\\%', 'ab' LIKE 'a\\%'",
        [(True, False)],
        [(False, False)],
    ),
    Difference(
        "DataFusion pushes a condition that names no column below an aggregate without groups, which then still has its row",
        "SELECT n FROM (SELECT count(*) AS n FROM (VALUES (1)) a(x)) WHERE 1 = (SELECT max(y) FROM (VALUES (2), (3)) b(y))",
        [(0,)],
        [],
    ),
    Difference(
        "DataFusion does not know an output column from a column of the source that ORDER BY names with its table",
        "SELECT t.b AS a FROM (SELECT 1 AS a, 2 AS b) t ORDER BY t.a",
        "would be ambiguous",
        [(2,)],
    ),
    Difference(
        "DataFusion refuses a column that is twice among grouping sets",
        "SELECT count(*) FROM (VALUES (1)) t(x) GROUP BY ROLLUP (x, x)",
        "duplicate",
        [(1,), (1,), (1,)],
    ),
    Difference(
        "DataFusion gives the aggregates of a query their rows in one order",
        "SELECT string_agg(a, ',' ORDER BY a), string_agg(b, ',' ORDER BY b) FROM (VALUES ('x', 'y', 1)) t(a, b, c) GROUP BY c",
        "Conflicting ordering requirements",
        [("x", "y")],
    ),
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.sql[:40])
def test_the_listed_differences_are_differences(engines: Engines, difference: Difference) -> None:
    def answer(ask: Any, text: str, errors: type[Exception] | tuple[type[Exception], ...]) -> list[tuple[Any, ...]] | str:
        try:
            return [tuple(row.values()) for row in ask(text).to_pylist()]
        except errors as error:
            return str(error)

    for found, expected in (
        (answer(engines.ask, difference.sql, (pa.ArrowException, flight.FlightError)), difference.ours),
        (answer(lambda text: engines.duck.sql(text).to_arrow_table(), difference.sql, duckdb.Error), difference.duck),
    ):
        if isinstance(expected, str):
            assert isinstance(found, str) and expected in found
        else:
            assert found == expected


def test_grouping_sets_are_sorted_by_one_of_equal_columns(engines: Engines) -> None:
    """A fault of DataFusion, the reason why no random query sorts them: the other column is null in some of the rows."""
    joined = "SELECT a.x, b.x AS y FROM (VALUES (1), (2)) a(x) JOIN (VALUES (1), (2)) b(x) ON a.x = b.x"
    plan = engines.ask(f"EXPLAIN SELECT x, y, count(*) FROM ({joined}) GROUP BY ROLLUP (x, y) ORDER BY x, y")
    assert "SortExec: expr=[x@0 ASC NULLS LAST]," in plan.column("plan")[-1].as_py()


def test_duckdb_forgets_a_limit_above_an_outer_join_with_nothing(engines: Engines) -> None:
    """A fault of DuckDB, where its statistics say that no row of one side can match: the rows are right, and all of them come."""
    engines.duck.execute("CREATE TABLE numbers AS SELECT i AS n FROM range(9) v(i)")
    joined = "FROM numbers a LEFT JOIN numbers b ON a.n = b.n AND b.n IS NULL"
    every = engines.duck.sql(f"SELECT a.n, b.n {joined}").fetchall()
    assert engines.duck.sql(f"SELECT a.n, b.n {joined} LIMIT 3").fetchall() == every == [(n, None) for n in range(9)]


# Queries that failed, or had other rows, before the guard that is named.
GUARDED = [
    ("sort_keys", "SELECT e, first_value(n ORDER BY id, id) FROM {l} GROUP BY e", "SELECT e, first(n ORDER BY id) FROM {l} GROUP BY e"),
    ("sort_keys", "SELECT e, last_value(n ORDER BY id, id + 0) FROM {l} GROUP BY e", "SELECT e, last(n ORDER BY id) FROM {l} GROUP BY e"),
    ("sort_keys", "SELECT DISTINCT ON (e) e, n FROM {l} ORDER BY e, ts DESC, e, id", ""),
    ("float_bounds", "SELECT e, min(x), max(x) FROM {l} GROUP BY e", ""),
    ("float_bounds", "SELECT e, min(CAST(x AS REAL)), max(CAST(x AS REAL)) FROM {l} GROUP BY e", ""),
    ("float_limits", "SELECT x + n AS z, count(*) FROM {l} WHERE e = 'C' GROUP BY x + n ORDER BY z DESC NULLS LAST LIMIT 3", ""),
    ("float_limits", "SELECT x FROM {l} UNION SELECT x FROM {r} ORDER BY x DESC NULLS LAST LIMIT 3", ""),
    ("name_clash", "SELECT l.id, r.id FROM {l} l RIGHT JOIN {r} r ON l.id = r.n WHERE (l.n + r.id) IS NULL", ""),
    ("name_clash", "SELECT l.id, r.id FROM {r} l RIGHT JOIN {l} r ON l.id = r.n WHERE (l.n + r.id) IS NULL", ""),
    ("name_clash", "SELECT l.id, r.id FROM {l} l FULL JOIN {r} r ON l.e = r.e AND l.id = r.id WHERE l.n < r.id - 3", ""),
    ("name_clash", "SELECT l.id, r.id FROM {r} l FULL JOIN {l} r ON l.e = r.e AND l.n = r.id WHERE coalesce(l.n, 0) <= r.n", ""),
    ("name_clash", "SELECT l.ts FROM {l} l LEFT JOIN {r} r ON l.id = r.n WHERE r.ts IN (SELECT s.due FROM {r} s WHERE s.id < 9)", ""),
    ("name_clash", "SELECT l.ts FROM {r} l LEFT JOIN {l} r ON l.id = r.n WHERE r.ts IN (SELECT s.due FROM {r} s WHERE s.id < 9)", ""),
    ("name_clash", "SELECT id FROM {l} l WHERE EXISTS (SELECT 1 FROM {r} r WHERE r.due = l.ts AND r.ts < l.due) AND l.ts > '2025-03-01'", ""),
    ("day_filters", "SELECT id FROM {l} WHERE CAST(ts AS DATE) >= day", ""),
    ("day_filters", "SELECT id FROM {l} WHERE day = ts::date OR CAST(due AS DATE) < day", ""),
    ("name_clash", "SELECT l.n + r.n AS z, l.id FROM {l} l LEFT JOIN {r} r ON l.e = r.e AND l.id > r.id WHERE coalesce(r.id, 3) > 2", ""),
    (
        "name_clash",
        "SELECT l.n + r.n AS z, l.id FROM {l} l ASOF JOIN {r} r MATCH_CONDITION (l.id >= r.id) ON l.e = r.e WHERE r.id > 2",
        "SELECT l.n + r.n AS z, l.id FROM {l} l ASOF JOIN {r} r ON l.e = r.e AND l.id >= r.id WHERE r.id > 2",
    ),
    ("lossy", "SELECT id FROM {l} WHERE n % 7 = n ORDER BY n, id", ""),
    (
        "lossy",
        "SELECT l.id, r.id FROM {l} l ASOF JOIN (SELECT DISTINCT ON (n, id) n, id FROM {r} ORDER BY n, id) r MATCH_CONDITION (l.id >= r.id) "
        "USING (n) WHERE l.n % 7 = l.n",
        "SELECT l.id, r.id FROM {l} l ASOF LEFT JOIN {r} r ON l.n = r.n AND l.id >= r.id WHERE l.n % 7 = l.n",
    ),
    ("group_names", "SELECT e, max(x) FROM {l} WHERE e = 'D' GROUP BY n, CAST(n AS DOUBLE), e", ""),
    ("group_names", "SELECT count(DISTINCT e) FROM {l} GROUP BY id, CAST(id AS DOUBLE)", ""),
    (
        "group_names",
        "SELECT first_value(id ORDER BY ts DESC) FROM {l} GROUP BY n, CAST(n AS DOUBLE)",
        "SELECT first(id ORDER BY ts DESC) FROM {l} GROUP BY n, CAST(n AS DOUBLE)",
    ),
    (
        "date_trunc",
        "SELECT n, date_trunc('hour', max(CASE WHEN n > 5 THEN due END)) FROM {l} GROUP BY n",
        "SELECT n, CAST(date_trunc('hour', max(CASE WHEN n > 5 THEN due END)) AS TIMESTAMP) FROM {l} GROUP BY n",
    ),
    ("options of the engine", "SELECT DISTINCT n > 3 IS TRUE, CAST(n > 5 IS TRUE AS INT) FROM {l}", ""),
]


def test_guards_against_faults_of_the_engine(engines: Engines, name: str) -> None:
    names = {}
    for side, days in (("l", 6), ("r", 4)):
        table = names[side] = f"{name}_{side}"
        engines.cursor.execute(f"CREATE TABLE {table} WITH (index_column = 'ts', bucket = '1h', entity_columns = 'e')")
        rows = [_row(number) for number in range(days * 4)]
        for at in range(0, len(rows), 8):
            # A text as long as this makes a segment; the last rows stay in the log.
            pad = ["p" * 300_000 if at == 0 and row == 0 else "" for row in range(len(rows[at : at + 8]))]
            part = pa.Table.from_pylist(rows[at : at + 8], schema=ROW).append_column("pad", pa.array(pad))
            put(engines.client, table, part)
        engines.duck.register(f"{table}_rows", pa.Table.from_pylist(rows, schema=ROW))
        engines.duck.execute(f"CREATE TABLE {table} AS FROM {table}_rows")
    failed = []
    for guard, sql, duck in GUARDED:
        theirs = engines.duck.sql((duck or sql).format(**names)).to_arrow_table()
        kinds = ["" for _ in theirs.schema]
        expected = compare.rows(theirs, kinds)
        assert expected, f"without rows this shows little: {sql}"
        try:
            ours = compare.rows(engines.ask(sql.format(**names)), kinds)
            why = compare.difference(ours, expected, kinds, ordered=False)
        except (pa.ArrowException, flight.FlightError) as error:
            why = str(error)
        if why:
            failed.append(f"{guard}: {sql}: {why}")
    assert not failed, "\n".join(failed)


ROW = pa.schema(
    [
        pa.field("ts", pa.timestamp("us"), nullable=False),
        pa.field("e", pa.string(), nullable=False),
        ("id", pa.int64()),
        ("n", pa.int64()),
        ("x", pa.float64()),
        ("day", pa.date32()),
        ("due", pa.timestamp("us")),
    ]
)


def _row(number: int) -> dict[str, Any]:
    entity = "ABCD"[number % 4]
    ts = datetime.datetime(2025, 3, 28) + datetime.timedelta(hours=5 * number)
    wild = {"A": float("-inf"), "B": float("inf"), "C": float("nan") if number % 3 else 1.5}.get(entity, number - 3.0)
    return {
        "ts": ts,
        "e": entity,
        "id": number,
        "n": None if number % 5 == 0 else number * 7 % 11,
        "x": wild,
        "day": (ts + datetime.timedelta(days=number % 3 - 1)).date(),
        "due": ts + datetime.timedelta(hours=5 * (number % 4 - 1)),
    }
