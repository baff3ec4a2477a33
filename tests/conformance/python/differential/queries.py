"""Random queries over random tables, and simpler versions of a query that failed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .expressions import SHOWN, Expressions, Sql, Value, commas, same, sql
from .tables import Table

# Aggregates: how each engine spells it, the kinds that it takes, the kind of its result ("" for that of the argument).
AGGREGATES = (
    ("count({})", None, SHOWN, "int"),
    ("count(DISTINCT {})", None, SHOWN, "int"),
    ("sum({})", None, ("int",), "big"),
    ("sum({})", None, ("float", "decimal"), ""),
    ("sum(DISTINCT {})", None, ("int",), "big"),
    ("avg({})", None, ("int", "float"), "approx"),
    ("min({})", None, SHOWN, ""),
    ("max({})", None, SHOWN, ""),
    ("bool_and({})", None, ("bool",), "bool"),
    ("bool_or({})", None, ("bool",), "bool"),
    ("var_pop({})", None, ("int", "float"), "approx"),
    ("stddev({})", "stddev_samp({})", ("int", "float"), "approx"),
    ("median(CAST({} AS DOUBLE))", None, ("int", "float"), "float"),
    ("string_agg({0}, ',' ORDER BY {0})", None, ("text",), "text"),
)
# The same for those whose answer is the value of one row; {1} is an order without ties.
PICKS = (
    ("first_value({} ORDER BY {})", "first({} ORDER BY {})"),
    ("last_value({} ORDER BY {})", "last({} ORDER BY {})"),
)
FRAMES = (
    "",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
    " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
)


@dataclass(frozen=True)
class Source:
    """What stands behind FROM."""

    sql: Sql
    scope: list[Value]
    # Rows that agree in these agree in all columns.
    key: list[Value]
    # Whether no two rows do.
    unique: bool


@dataclass(frozen=True)
class Select:
    """A query, or one side of a set operation."""

    items: list[Value]
    source: Source
    # What the names of its columns begin with; other than in its sources.
    prefix: str = "c"
    where: list[Sql] = field(default_factory=list)
    group: list[Value] = field(default_factory=list)
    grouping: str = ""
    having: list[Sql] = field(default_factory=list)
    distinct: bool = False
    distinct_on: list[Value] = field(default_factory=list)
    # Each with "ASC NULLS LAST" and the like.
    order: list[tuple[Value, str]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0

    def render(self) -> Sql:
        items = commas([sql(f"{{}} AS {self.prefix}{at}", item.sql) for at, item in enumerate(self.items)])
        head = "SELECT DISTINCT" if self.distinct else "SELECT"
        if self.distinct_on:
            query = sql("SELECT DISTINCT ON ({}) {} FROM {}", commas([v.sql for v in self.distinct_on]), items, self.source.sql)
        else:
            query = sql(f"{head} {{}} FROM {{}}", items, self.source.sql)
        if self.where:
            query = sql("{} WHERE {}", query, _all(self.where))
        if self.group:
            groups = commas([value.sql for value in self.group])
            query = sql("{} GROUP BY {}" if not self.grouping else f"{{}} GROUP BY {self.grouping} ({{}})", query, groups)
        if self.having:
            query = sql("{} HAVING {}", query, _all(self.having))
        return _tail(query, self.order, self.limit, self.offset)

    @property
    def is_ordered(self) -> bool:
        return bool(self.order)

    def simpler(self) -> Iterator[Select]:
        """The same query with one thing less."""
        if self.limit is not None:
            yield replace(self, limit=None, offset=0)
        if self.order and not self.distinct_on and self.limit is None:
            yield replace(self, order=[])
        for at in range(len(self.where)):
            yield replace(self, where=self.where[:at] + self.where[at + 1 :])
        if self.having:
            yield replace(self, having=[])
        if self.grouping:
            yield replace(self, grouping="")
        if self.distinct and len(self.order) != len(self.items):
            yield replace(self, distinct=False)
        # Positions in ORDER BY would move.
        if len(self.items) > 1 and not (self.order and (self.distinct or self.group)):
            for at in range(len(self.items)):
                yield replace(self, items=self.items[:at] + self.items[at + 1 :])


@dataclass(frozen=True)
class SetOperation:
    """Two queries with the same kinds of columns, put together."""

    operator: str
    left: Select
    right: Select
    order: list[tuple[Value, str]]
    limit: int | None

    @property
    def items(self) -> list[Value]:
        return self.left.items

    @property
    def is_ordered(self) -> bool:
        return bool(self.order)

    def render(self) -> Sql:
        query = sql(f"({{}}) {self.operator} ({{}})", self.left.render(), self.right.render())
        return _tail(query, self.order, self.limit, 0)

    def simpler(self) -> Iterator[Select | SetOperation]:
        """The same query with one thing less."""
        yield self.left
        yield self.right
        if self.limit is not None:
            yield replace(self, limit=None)
        elif self.order:
            yield replace(self, order=[])
        for left in self.left.simpler():
            if len(left.items) == len(self.left.items):
                yield replace(self, left=left)
        for right in self.right.simpler():
            if len(right.items) == len(self.right.items):
                yield replace(self, right=right)


Query = Select | SetOperation


def _all(conditions: list[Sql]) -> Sql:
    return Sql(" AND ".join(c.ours for c in conditions), " AND ".join(c.duck for c in conditions))


def _tail(query: Sql, order: list[tuple[Value, str]], limit: int | None, offset: int) -> Sql:
    if order:
        query = sql("{} ORDER BY {}", query, commas([sql(f"{{}} {how}", value.sql) for value, how in order]))
    if limit is not None:
        query = sql(f"{{}} LIMIT {limit}", query)
    if offset:
        query = sql(f"{{}} OFFSET {offset}", query)
    return query


class Queries:
    """Makes queries over tables."""

    def __init__(self, rng: random.Random, tables: list[Table]) -> None:
        self.rng = rng
        self.tables = tables
        self.aliases = 0

    def make(self) -> Query:
        """A query."""
        self.aliases = 0
        match self.rng.randrange(20):
            case 0 | 1:
                return self._set_operation()
            case 2:
                return self._ends()
            case 3 | 4:
                return self._latest()
            case 5:
                return self._from_derived()
        return self._select(self._source(), approx=True)

    # Sources

    def _alias(self) -> str:
        self.aliases += 1
        return f"t{self.aliases}"

    def _table(self, table: Table | None = None) -> Source:
        rng = self.rng
        table = table or rng.choice(self.tables)
        alias = self._alias()
        version = None
        ours = table.name
        if rng.random() < 0.35:
            version = rng.choice(list(table.versions))
            ours += f" VERSION AS OF {version}" if rng.random() < 0.7 else f" TIMESTAMP AS OF '{table.committed[version]}'"
        scope = [Value(same(f"{alias}.{c.name}"), c.kind) for c in table.columns if c.kind != "pad"]
        key = [Value(same(f"{alias}.id"), "int")]
        return Source(Sql(f"{ours} {alias}", f"{table.duck_name(version)} {alias}"), scope, key, True)

    def _source(self) -> Source:
        roll = self.rng.random()
        if roll < 0.68:
            return self._table()
        if roll < 0.93:
            return self._join(self._table(), self._table())
        return self._derived()

    def _join(self, left: Source, right: Source) -> Source:
        rng = self.rng
        how = rng.choice(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        kinds = [v.kind for v in left.scope if v.kind in {w.kind for w in right.scope} and v.kind in SHOWN]
        names = [kind for kind in kinds if kind != "bool"] or ["int"]
        conditions = []
        for _ in range(rng.choice([1, 1, 2])):
            kind = rng.choice(names)
            a = rng.choice([v for v in left.scope if v.kind == kind])
            b = rng.choice([v for v in right.scope if v.kind == kind])
            conditions.append(sql("{} = {}", a.sql, b.sql))
        if rng.random() < 0.3:
            conditions.append(Expressions(rng, left.scope + right.scope).predicate(1))
        joined = sql(f"{{}} {how} {{}} ON {{}}", left.sql, right.sql, _all(conditions))
        return Source(joined, left.scope + right.scope, left.key + right.key, left.unique and right.unique)

    def _derived(self) -> Source:
        return self._as_source(self._select(self._table(), approx=False))

    def _as_source(self, inner: Select) -> Source:
        alias = self._alias()
        inner = replace(inner, prefix="d")
        scope = [Value(same(f"{alias}.d{at}"), item.kind) for at, item in enumerate(inner.items)]
        return Source(sql(f"({{}}) {alias}", inner.render()), scope, scope, False)

    # Queries

    def _select(self, source: Source, approx: bool, kinds: list[str] | None = None) -> Select:
        """A query; with `kinds`, its columns are of these."""
        rng = self.rng
        make = Expressions(rng, source.scope)
        where = [make.predicate(2) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
        if rng.random() < 0.12:
            where.append(self._subquery_condition(source))
        if kinds is None and rng.random() < 0.4:
            query = self._grouped(source, make, approx)
        else:
            wanted = kinds or [make.any_kind() for _ in range(rng.randint(1, 4))]
            query = Select([Value(make.make(kind, 2), kind) for kind in wanted], source)
            if kinds is None and source.unique and rng.random() < 0.25:
                query.items.append(self._window(source, make, approx))
        query = replace(query, where=where)
        plain = not query.group and all(item.kind != "approx" for item in query.items)
        if plain and rng.random() < 0.15 and not self._aggregates(query):
            query = replace(query, distinct=True)
        return self._ordered(query)

    def _aggregates(self, query: Select) -> bool:
        return query.grouping == "()"

    def _ordered(self, query: Select) -> Select:
        """Most queries get an order without ties, and some of them a limit. Grouping sets get none; see the list of differences."""
        rng = self.rng
        if rng.random() < 0.4 or query.grouping:
            return replace(query, grouping="" if self._aggregates(query) else query.grouping)
        if query.group or query.distinct:
            if any(item.kind == "approx" for item in query.items):
                return query
            keys = [Value(same(str(at + 1)), item.kind) for at, item in enumerate(query.items)]
            rng.shuffle(keys)
        else:
            make = Expressions(rng, query.source.scope)
            keys = [Value(make.any_column().sql, "") for _ in range(rng.choice([0, 1, 1, 2]))]
            keys += query.source.key
        order = [(key, self._direction()) for key in keys]
        limit, offset = None, 0
        if rng.random() < 0.5:
            limit, offset = rng.choice([0, 1, 2, 3, 10, 100]), rng.choice([0, 0, 0, 1, 5])
        return replace(query, order=order, limit=limit, offset=offset)

    def _direction(self) -> str:
        return f"{self.rng.choice(['ASC', 'DESC'])} NULLS {self.rng.choice(['FIRST', 'LAST'])}"

    def _grouped(self, source: Source, make: Expressions, approx: bool) -> Select:
        rng = self.rng
        group = []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
            value = make.any_column()
            group.append(value if rng.random() < 0.7 else Value(make.make(value.kind, 2), value.kind))
        # A constant among the groups would be the position of a column.
        group = [value for at, value in enumerate(group) if value not in group[:at]]
        group = [value for value in group if "." in value.sql.ours and not value.sql.ours.startswith(("(", "'"))]
        grouping = rng.choice(["", "", "", "ROLLUP", "CUBE"]) if group else "()"
        if grouping in ("ROLLUP", "CUBE"):
            group = [value for value in group if value in source.scope] or [make.any_column()]
        shown = [value for value in group if rng.random() < 0.9]
        aggregates = [self._aggregate(source, make, approx) for _ in range(rng.randint(1, 3))]
        # Two of them want their rows in different orders, which DataFusion does not do.
        ordered = [value for value in aggregates if value.sql.ours.startswith("string_agg")]
        aggregates = [value for value in aggregates if value not in ordered[1:]]
        having = []
        if group and rng.random() < 0.2:
            having.append(same(rng.choice(["count(*) > 1", "count(*) < 4", "count(*) = 1"])))
        return Select(shown + aggregates, source, group=group, grouping=grouping, having=having)

    def _aggregate(self, source: Source, make: Expressions, approx: bool) -> Value:
        rng = self.rng
        if rng.random() < 0.15:
            return Value(same("count(*)"), "int")
        if source.unique and rng.random() < 0.15:
            ours, duck = rng.choice(PICKS)
            value = make.any_column()
            order = commas([sql(f"{{}} {self._direction()}", key.sql) for key in [make.any_column(), *source.key]])
            return Value(sql(ours, value.sql, order, duck=duck), value.kind)
        # DuckDB takes no order by a constant, so that one needs a column.
        is_text = make.column("text") is not None
        known = [a for a in AGGREGATES if (approx or a[3] != "approx") and (is_text or "ORDER BY" not in a[0])]
        ours, duck, kinds, result = rng.choice(known)
        kind = rng.choice([kind for kind in kinds if make.column(kind)] or list(kinds))
        argument = make.make(kind, 2 if rng.random() < 0.4 else 0)
        if "ORDER BY" in ours:
            argument = make.any_column(("text",)).sql
        call = sql(ours, argument, duck=duck)
        if rng.random() < 0.12:
            call = sql("{} FILTER (WHERE {})", call, make.predicate(1))
        return Value(call, result or kind)

    def _window(self, source: Source, make: Expressions, approx: bool) -> Value:
        rng = self.rng
        parts = [make.any_column() for _ in range(rng.choice([0, 1, 1, 2]))]
        partition = sql("PARTITION BY {} ", commas([v.sql for v in parts])) if parts else same("")
        first = [make.any_column()] if rng.random() < 0.6 else []
        order = commas([sql(f"{{}} {self._direction()}", key.sql) for key in [*first, *source.key]])
        ties = commas([sql(f"{{}} {self._direction()}", make.any_column().sql)])
        value = make.any_column()
        number = make.column("int")
        numeric = number.sql if number else same("1")
        frame = rng.choice(FRAMES)
        match rng.randrange(9):
            case 0 | 1:
                return Value(sql("row_number() OVER ({}ORDER BY {})", partition, order), "int")
            case 2:
                function = rng.choice(["rank()", "dense_rank()"])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}})", partition, ties), "int")
            case 3:
                function = rng.choice(["lag({}, 1)", "lead({}, 2)", "lag({})"])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}})", value.sql, partition, order), value.kind)
            case 4:
                return Value(sql(f"ntile({rng.randint(1, 4)}) OVER ({{}}ORDER BY {{}})", partition, order), "int")
            case 5:
                function = rng.choice(["first_value({})", "last_value({})", "nth_value({}, 2)"])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}}{frame})", value.sql, partition, order), value.kind)
            case 6:
                function = rng.choice(["min({})", "max({})"])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}}{frame})", value.sql, partition, order), value.kind)
            case 7 if approx:
                function = rng.choice(["percent_rank()", "cume_dist()"])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}})", partition, ties), "approx")
            case _:
                function, kind = rng.choice([("sum({})", "big"), ("count({})", "int")])
                return Value(sql(f"{function} OVER ({{}}ORDER BY {{}}{frame})", numeric, partition, order), kind)

    def _subquery_condition(self, source: Source) -> Sql:
        rng = self.rng
        other = self._table()
        mine = Expressions(rng, source.scope)
        inner = Expressions(rng, other.scope)
        # A derived table may have no column of a kind that the other has.
        shared = [v for v in source.scope if v.kind in SHOWN and any(w.kind == v.kind for w in other.scope)]
        if not shared:
            return mine.predicate(1)
        a = rng.choice(shared)
        b = rng.choice([w for w in other.scope if w.kind == a.kind])
        match rng.randrange(4):
            case 0:
                negated = rng.choice(["", "NOT "])
                return sql(
                    f"{negated}EXISTS (SELECT 1 FROM {{}} WHERE {{}} = {{}} AND {{}})", other.sql, a.sql, b.sql, inner.predicate(1)
                )
            case 1 | 2:
                negated = rng.choice(["", "NOT "])
                return sql(f"{{}} {negated}IN (SELECT {{}} FROM {{}} WHERE {{}})", a.sql, b.sql, other.sql, inner.predicate(1))
            case _:
                function = rng.choice(["min", "max"])
                compared = rng.choice(["<", ">=", "="])
                kind = b.kind if b.kind != "bool" else "int"
                b = inner.column(kind) or b
                a = mine.column(kind) or a
                if a.kind != b.kind:
                    return mine.predicate(1)
                return sql(f"({{}} {compared} (SELECT {function}({{}}) FROM {{}}))", a.sql, b.sql, other.sql)

    def _set_operation(self) -> SetOperation:
        rng = self.rng
        left_source = self._table()
        kinds = [Expressions(rng, left_source.scope).any_column().kind for _ in range(rng.randint(1, 3))]
        left = replace(self._select(left_source, False, kinds), order=[], limit=None, offset=0)
        right = replace(self._select(self._table(), False, kinds), order=[], limit=None, offset=0)
        operator = rng.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
        order: list[tuple[Value, str]] = []
        limit = None
        if rng.random() < 0.5:
            # UNION ALL of columns that are equal or constant cannot be sorted; see the list of differences.
            if operator == "UNION ALL":
                operator = "UNION"
            order = [(Value(same(str(at + 1)), kind), self._direction()) for at, kind in enumerate(kinds)]
            limit = rng.choice([None, 1, 5, 20])
        return SetOperation(operator, left, right, order, limit)

    def _from_derived(self) -> Select:
        return self._select(self._derived(), approx=False)

    def _indexed(self) -> tuple[Table, Source, Value] | None:
        found = [table for table in self.tables if table.index]
        if not found:
            return None
        table = self.rng.choice(found)
        source = self._table(table)
        index = next(v for v in source.scope if v.sql.ours.endswith(".ts"))
        return table, source, index

    def _ends(self) -> Select:
        """The first or last index values, or the bounds and counts, that metadata can know."""
        rng = self.rng
        found = self._indexed()
        if found is None:
            return self._select(self._table(), approx=True)
        _, source, index = found
        where = [Expressions(rng, [index]).predicate(1)] if rng.random() < 0.4 else []
        if rng.random() < 0.5:
            column = Expressions(rng, source.scope).any_column()
            counts = [
                Value(same("count(*)"), "int"),
                Value(sql("min({})", index.sql), index.kind),
                Value(sql("max({})", index.sql), index.kind),
                Value(sql("max({})", column.sql), column.kind),
                Value(sql("count({})", column.sql), "int"),
            ]
            return Select(rng.sample(counts, rng.randint(1, 5)), source, where=where)
        direction = rng.choice(["ASC NULLS LAST", "DESC NULLS FIRST", "DESC NULLS LAST"])
        return Select([index], source, where=where, order=[(index, direction)], limit=rng.choice([1, 2, 5, 50]))

    def _latest(self) -> Select:
        """The last (or first) row of each entity, in one of the usual spellings, and bounds per entity."""
        rng = self.rng
        found = self._indexed()
        if found is None:
            return self._select(self._table(), approx=True)
        table, source, index = found
        entities = [v for v in source.scope if v.sql.ours.rpartition(".")[2] in table.entities]
        if not entities or rng.random() < 0.15:
            entities = [Expressions(rng, source.scope).any_column()]
        make = Expressions(rng, source.scope)
        where = [make.predicate(1)] if rng.random() < 0.3 else []
        columns = [make.any_column() for _ in range(rng.randint(1, 3))]
        direction = rng.choice(["DESC", "DESC", "ASC"])
        by_index = [(index, direction), *((key, "ASC") for key in source.key)]
        partition = commas([entity.sql for entity in entities])
        order = commas([sql(f"{{}} {how}", value.sql) for value, how in by_index])
        match rng.randrange(4):
            case 0:
                ordered = [*((entity, "ASC NULLS LAST") for entity in entities), *by_index]
                return Select([*entities, index, *columns], source, where=where, distinct_on=entities, order=ordered)
            case 1:
                number = sql("row_number() OVER (PARTITION BY {} ORDER BY {})", partition, order)
                inner = Select([*entities, index, *columns, Value(number, "int")], source, where=where)
                derived = self._as_source(inner)
                return Select(derived.scope[:-1], derived, where=[sql("{} = 1", derived.scope[-1].sql)])
            case 2:
                picks = [Value(sql("first_value({} ORDER BY {})", c.sql, order, duck="first({} ORDER BY {})"), c.kind) for c in columns]
                return Select([*entities, *picks], source, where=where, group=entities)
            case _:
                bounds = [
                    Value(sql("min({})", index.sql), index.kind),
                    Value(sql("max({})", index.sql), index.kind),
                    Value(same("count(*)"), "int"),
                    Value(sql("count({})", columns[0].sql), "int"),
                ]
                return Select([*entities, *rng.sample(bounds, rng.randint(1, 4))], source, where=where, group=entities)
