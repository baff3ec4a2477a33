"""Random queries with ASOF JOIN.

DuckDB's join stands in a subquery, where the columns of the right side are made null in rows that are further apart than Coverline's
match condition allows. DuckDB takes any of the right rows that tie, so where some do the right side is reduced before: for both engines
to one row by DISTINCT ON, or, with one other column that the query can see, for DuckDB alone to the greatest, which is Coverline's rule.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from .expressions import SHOWN, Expressions, Sql, Value, commas, same, sql
from .queries import Queries, Select, Source
from .tables import Table

OPERATORS = {">=": "<=", ">": "<", "<=": ">=", "<": ">"}
# Kinds that are compared, and the type in which DuckDB takes their difference.
PAIRS = {
    ("int", "int"): "HUGEINT",
    ("big", "big"): "HUGEINT",
    ("uint", "uint"): "HUGEINT",
    ("float", "float"): "DOUBLE",
    ("wild", "wild"): "DOUBLE",
    ("decimal", "decimal"): "DECIMAL(18, 3)",
    ("date", "date"): "TIMESTAMP",
    ("time", "time"): "TIMESTAMP",
    ("instant", "instant"): "TIMESTAMPTZ",
    ("big", "int"): "HUGEINT",
    ("uint", "int"): "HUGEINT",
    ("int", "uint"): "HUGEINT",
    ("int", "float"): "DOUBLE",
    ("float", "wild"): "DOUBLE",
    ("int", "decimal"): "DECIMAL(18, 3)",
    ("time", "date"): "TIMESTAMP",
    ("date", "time"): "TIMESTAMP",
}
KEYS = ("text", "text", "int", "int", "bool", "date", "uint", "decimal", "big", "time", "float", "wild")
SECONDS = {"minutes": 60, "hours": 3600, "days": 86_400}


@dataclass(frozen=True)
class Side:
    """One side of a join."""

    source: Source
    table: Table
    alias: str

    def column(self, name: str) -> Value:
        return next(value for value in self.source.scope if value.sql.ours == f"{self.alias}.{name}")


@dataclass(frozen=True)
class Nearest:
    """Which row of the right side each row of the left side is joined with."""

    keys: list[tuple[Value, Value]]
    left: Value
    right: Value
    operator: str
    # In Coverline's words and in DuckDB's, and how the distance compares to it.
    tolerance: tuple[str, str, str] | None


def _name(value: Value) -> str:
    return value.sql.ours.rpartition(".")[2]


class AsofQueries(Queries):
    """Makes queries that read from such a join."""

    def __init__(self, rng: random.Random, tables: list[Table]) -> None:
        super().__init__(rng, tables)
        # Counts, in DuckDB, the rows of the last join that have one of the right side.
        self.matched = ""

    def make(self) -> Select:
        """A query."""
        self.aliases = 0
        left = self._side(self.rng.choice(self.tables))
        source = self._nearest(left)
        if self.rng.random() < 0.12:
            source = self._nearest(Side(source, left.table, left.alias))
        if self.rng.random() < 0.3:
            # Filters leave little in many of these.
            return self._select(source, approx=True)
        where = [Expressions(self.rng, source.scope).predicate(1)] if self.rng.random() < 0.25 else []
        return Select(self._shown(source), source, where=where)

    def _shown(self, source: Source) -> list[Value]:
        values = [value for value in source.scope if value.kind in SHOWN]
        return values if self.rng.random() < 0.5 else self.rng.sample(values, self.rng.randint(1, min(6, len(values))))

    def _side(self, table: Table) -> Side:
        """A table, or some of its rows."""
        rng = self.rng
        source = self._table(table)
        alias = _alias(source)
        roll = rng.random()
        if roll < 0.8:
            return Side(source, table, alias)
        condition = same("FALSE") if roll < 0.82 else same(f"{alias}.id < -1")
        if roll > 0.84:
            condition = Expressions(rng, source.scope).predicate(1)
        return self._reduced(source, table, sql("{} WHERE {}", source.sql, condition))

    def _reduced(self, source: Source, table: Table, rows: Sql, tail: Sql | None = None, head: str = "SELECT") -> Side:
        """A subquery with the columns of a table."""
        alias = self._alias()
        scope = [Value(same(f"{alias}.{_name(value)}"), value.kind) for value in source.scope]
        columns = commas([value.sql for value in source.scope])
        made = sql(f"({head} {{}} FROM {{}}{{}}) {alias}", columns, rows, tail or same(""))
        return Side(Source(made, scope, [Value(same(f"{alias}.id"), "int")], True), table, alias)

    def _nearest(self, left: Side) -> Source:
        """The left side, joined."""
        rng = self.rng
        table = left.table if rng.random() < 0.6 else rng.choice(self.tables)
        right = self._side(table)
        matching, keys = self._compared(left.source.scope, right)
        # A name that two tables of a joined left side have means neither.
        is_joined = " ASOF JOIN " in left.source.sql.ours
        using = [b for a, b in keys if _name(a) == b and not is_joined]
        use = bool(using) and len(using) == len(keys) and rng.random() < 0.5
        right, seen = self._without_ties(right, [b for _, b in keys], matching[1])
        nearest = self._conditions(right, keys, matching)
        return self._joined(left.source, right, seen, nearest, using if use else [])

    def _compared(self, lefts: list[Value], right: Side) -> tuple[tuple[Value, str], list[tuple[Value, str]]]:
        """The columns that are compared, and the keys: a column of the left side, and the name of one of the right."""
        rng = self.rng
        rights = {_name(value): value.kind for value in right.source.scope}
        found = [(a, b) for a in lefts for b, kind in rights.items() if (a.kind, kind) in PAIRS and b != "id"]
        natural = [(a, b) for a, b in found if _name(a) == b == "ts"]
        matching = rng.choice(natural if natural and rng.random() < 0.5 else found)
        pairs = [(a, b) for a in lefts for b, kind in rights.items() if a.kind == kind and kind in KEYS and b not in (matching[1], "id")]
        same_names = [(a, b) for a, b in pairs if _name(a) == b]
        entities = [(a, b) for a, b in same_names if b in right.table.entities]
        if entities and rng.random() < 0.5:
            keys = entities
        else:
            pairs = same_names if same_names and rng.random() < 0.5 else pairs
            keys = rng.sample(pairs, min(len(pairs), rng.choice([0, 0, 0, 1, 1, 1, 2])))
        # Each column of the right side once.
        return matching, [(a, b) for at, (a, b) in enumerate(keys) if b not in [other for _, other in keys[:at]]]

    def _without_ties(self, right: Side, keys: list[str], value: str) -> tuple[Side, list[Value]]:
        """A side on which DuckDB and Coverline find the same rows, and the columns of it that a query may show."""
        rng = self.rng
        if not _has_ties(right.table, [*keys, value]):
            return right, right.source.scope
        by = list(dict.fromkeys([*keys, value]))
        columns = [right.column(name) for name in by]
        if rng.random() < 0.5:
            order = commas([v.sql for v in columns])
            identity = right.column("id").sql
            head = sql("SELECT DISTINCT ON ({})", order)
            tail = sql(" ORDER BY {}, {}", order, identity)
            reduced = self._reduced(right.source, right.table, right.source.sql, tail, head.ours)
            return reduced, reduced.source.scope
        others = [v for v in right.source.scope if v not in columns and v.kind in SHOWN]
        other = rng.choice(others)
        alias = right.alias
        listed = ", ".join(value.sql.duck for value in columns)
        rows = right.source.sql.duck
        grouped = f"(SELECT {listed}, max({other.sql.duck}) AS {_name(other)} FROM {rows} GROUP BY ALL) {alias}"
        seen = [*columns, other]
        return Side(Source(Sql(right.source.sql.ours, grouped), seen, [], False), right.table, alias), seen

    def _conditions(self, right: Side, keys: list[tuple[Value, str]], matching: tuple[Value, str]) -> Nearest:
        rng = self.rng
        a, b = matching[0], right.column(matching[1])
        kinds = a.kind, b.kind
        operator = rng.choice(list(OPERATORS))
        x, y = self._moved(a), self._moved(b)
        pairs = [(a, right.column(b)) for a, b in keys]
        if rng.random() < 0.55:
            return Nearest(pairs, x, y, operator, None)
        distance, exact = self._distance(kinds)
        return Nearest(pairs, x, y, operator, (distance, exact, rng.choice(["<", "<=", "<="])))

    def _moved(self, value: Value) -> Value:
        """The column, or an expression of it that has another value where the column has."""
        rng = self.rng
        if rng.random() < 0.8:
            return value
        match value.kind:
            case "int":
                return Value(sql(f"(CAST({{}} AS BIGINT) + {rng.randint(-3, 3)})", value.sql), "int")
            case "time" | "instant":
                return Value(sql(f"({{}} {rng.choice('+-')} INTERVAL '{rng.randint(1, 90)} minutes')", value.sql), value.kind)
        return value

    def _distance(self, kinds: tuple[str, str]) -> tuple[str, str]:
        rng = self.rng
        match PAIRS[kinds]:
            case "TIMESTAMP" | "TIMESTAMPTZ":
                unit = "days" if "date" in kinds else rng.choice(list(SECONDS))
                number = rng.choice([0, 1, 2, 5, 30, 90])
                return f"INTERVAL '{number} {unit}'", str(number * SECONDS[unit] * 1_000_000)
            case "DOUBLE":
                text = rng.choice(["0e0", "0.25e0", "2.5e0", "9e0", "40e0", "1e300"])
            case "HUGEINT":
                text = str(rng.choice([0, 1, 3, 9, 20, 2**40]))
            case _:
                text = rng.choice(["0", "1.5", "0.001", "2000"])
        return text, text

    def _joined(self, left: Source, right: Side, seen: list[Value], nearest: Nearest, using: list[str]) -> Source:
        rng = self.rng
        x, y, operator = nearest.left, nearest.right, nearest.operator
        back = operator.startswith(">")
        # Coverline.
        match_condition = f"{x.sql.ours} {operator} {y.sql.ours}"
        if rng.random() < 0.3:
            match_condition = f"{y.sql.ours} {OPERATORS[operator]} {x.sql.ours}"
        near = "TRUE"
        if nearest.tolerance is not None:
            distance, exact, sign = nearest.tolerance
            greater, lesser = (x, y) if back else (y, x)
            apart = f"{greater.sql.ours} - {lesser.sql.ours} {sign} {distance}"
            if rng.random() < 0.2:
                apart = f"{distance} {OPERATORS[sign]} {greater.sql.ours} - {lesser.sql.ours}"
            match_condition = rng.choice([f"{match_condition} AND {apart}", f"{apart} AND {match_condition}"])
            in_type = PAIRS[(x.kind, y.kind)]
            cast = f"epoch_us(CAST({{}} AS {in_type}))" if in_type.startswith("TIME") else f"CAST({{}} AS {in_type})"
            near = f"{cast.format(greater.sql.duck)} - {cast.format(lesser.sql.duck)} {sign} {exact}"
        ours = f"{left.sql.ours} ASOF JOIN {right.source.sql.ours} MATCH_CONDITION ({match_condition})"
        if using:
            ours += f" USING ({', '.join(using)})"
        elif nearest.keys:
            ours += " ON " + " AND ".join(
                rng.choice([f"{a.sql.ours} = {b.sql.ours}", f"{b.sql.ours} = {a.sql.ours}"]) for a, b in nearest.keys
            )
        # DuckDB.
        conditions = [f"{a.sql.duck} = {b.sql.duck}" for a, b in nearest.keys] + [f"{x.sql.duck} {operator} {y.sql.duck}"]
        alias = f"j{self._alias()[1:]}"
        scope, columns = [], []
        for value in left.scope:
            columns.append(value.sql.duck)
            scope.append(value)
        for value in seen:
            # The column of USING is that of the left side.
            if _name(value) not in using:
                columns.append(f"CASE WHEN {near} THEN {value.sql.duck} END")
                scope.append(value)
        rows = f"{left.sql.duck} ASOF LEFT JOIN {right.source.sql.duck} ON {' AND '.join(conditions)}"
        self.matched = f"SELECT count(CASE WHEN {near} THEN {y.sql.duck} END) FROM {rows}"
        listed = ", ".join(f"{column} AS c{at}" for at, column in enumerate(columns))
        duck = f"(SELECT {listed} FROM {rows}) {alias}"
        made = [Value(Sql(value.sql.ours, f"{alias}.c{at}"), value.kind) for at, value in enumerate(scope)]
        key = [made[left.scope.index(value)] for value in left.key]
        return Source(Sql(ours, duck), made, key, left.unique)


def _alias(source: Source) -> str:
    return source.scope[0].sql.ours.partition(".")[0]


def _has_ties(table: Table, names: list[str]) -> bool:
    """Whether rows of a table agree in columns that are not null. All of them: what is there at an older version is there now."""
    rows = table.versions[max(table.versions)].select(list(dict.fromkeys(names)))
    seen: set[tuple[Any, ...]] = set()
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        known = tuple("NaN" if isinstance(v, float) and math.isnan(v) else v for v in row)
        if None not in known and known in seen:
            return True
        seen.add(known)
    return False
