"""Random expressions, each in both dialects.

Kinds of values: `int` (small), `big` (64 bits, up to the ends), `uint`, `float` (multiples of a quarter), `wild` (infinite, NaN,
huge), `approx` (a float that depends on the order of additions), `text`, `bool`, `date`, `time` (a timestamp without zone),
`instant` (one in UTC), `decimal`, `pad` (never used). Arithmetic is done with the small ones only: what overflows is in the list
of dialect differences.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .tables import BIG_INTS, ENTITY_WORDS, START, UINTS, WORDS


@dataclass(frozen=True)
class Sql:
    """A piece of SQL for either engine."""

    ours: str
    duck: str

    def __str__(self) -> str:
        raise TypeError("a piece of SQL goes into another through sql()")


def same(text: str) -> Sql:
    return Sql(text, text)


def sql(template: str, *parts: Sql, duck: str | None = None) -> Sql:
    """The template filled in for each engine; `duck` where DuckDB spells it differently."""
    return Sql(template.format(*(p.ours for p in parts)), (duck or template).format(*(p.duck for p in parts)))


def commas(parts: list[Sql]) -> Sql:
    return Sql(", ".join(p.ours for p in parts), ", ".join(p.duck for p in parts))


@dataclass(frozen=True)
class Value:
    """An expression of a kind."""

    sql: Sql
    kind: str


# What queries select, group and sort by.
SHOWN = ("int", "big", "uint", "float", "wild", "text", "bool", "date", "time", "instant", "decimal")
UNITS = ("hour", "day", "month", "minute", "week")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal(rng: random.Random, kind: str) -> Sql:
    """A constant of a kind."""
    match kind:
        case "int":
            number = rng.choice([rng.randint(-4, 4), rng.randint(-100, 100)])
            return Sql(f"({number})", f"({number}::BIGINT)")
        case "big":
            number = rng.choice(BIG_INTS)
            if number == -(2**63):
                return Sql(f"({number + 1} - 1)", f"({number + 1} - 1)")
            return same(f"({number})")
        case "uint":
            number = rng.choice([*UINTS, 2**63 + rng.randint(-24, 48)])
            return Sql(f"arrow_cast('{number}', 'UInt64')", f"({number}::UBIGINT)")
        case "float":
            number = rng.choice([rng.randint(-8, 8), rng.randint(-400, 400)]) / 4
            return same(f"({number}e0)")
        case "wild":
            word = rng.choice(["NaN", "Infinity", "-Infinity", "1e308", "-1e308", "0", "2.5"])
            return same(f"CAST('{word}' AS DOUBLE)")
        case "text":
            return same(quoted(rng.choice((*WORDS, *ENTITY_WORDS))))
        case "bool":
            return same(rng.choice(["TRUE", "FALSE"]))
        case "date":
            return same(f"DATE '2025-03-{rng.randint(26, 31)}'")
        case "time":
            return same(f"TIMESTAMP '2025-03-{rng.randint(27, 31)} {rng.randint(0, 23):02}:00:00'")
        case "instant":
            text = f"2025-03-{rng.randint(27, 31)}T{rng.randint(0, 23):02}:00:00"
            ours = rng.choice(
                [f"'{text}Z'", f"TIMESTAMP '{text}Z'", f"CAST('{text}+00:00' AS TIMESTAMP WITH TIME ZONE)"]
            )
            return Sql(ours if ours[0] != "'" else f"arrow_cast({ours}, 'Timestamp(Microsecond, Some(\"UTC\"))')", f"TIMESTAMPTZ '{text}+00'")
        case "decimal":
            number = rng.choice([rng.randint(-5000, 5000) / 1000, 999_999_999.999, 0])
            return same(f"CAST('{number}' AS DECIMAL(12, 3))")
    raise AssertionError(kind)


class Expressions:
    """Makes expressions over the columns that are in scope."""

    def __init__(self, rng: random.Random, scope: list[Value]) -> None:
        self.rng = rng
        self.scope = scope

    def column(self, kind: str) -> Value | None:
        found = [value for value in self.scope if value.kind == kind]
        return self.rng.choice(found) if found else None

    def any_column(self, kinds: tuple[str, ...] = SHOWN) -> Value:
        return self.rng.choice([value for value in self.scope if value.kind in kinds])

    def any_kind(self) -> str:
        """A kind that some column has, most of the time."""
        return self.any_column().kind if self.rng.random() < 0.9 else self.rng.choice(SHOWN)

    def make(self, kind: str, depth: int) -> Sql:
        """An expression of a kind."""
        if depth <= 0 or self.rng.random() < 0.35:
            column = self.column(kind)
            if column is not None and self.rng.random() < 0.85:
                return column.sql
            return literal(self.rng, kind)
        if kind != "bool" and self.rng.random() < 0.25:
            return self._conditional(kind, depth - 1)
        match kind:
            case "int":
                return self._int(depth - 1)
            case "float":
                return self._float(depth - 1)
            case "text":
                return self._text(depth - 1)
            case "bool":
                return self.predicate(depth - 1)
            case "date":
                return self._date(depth - 1)
            case "time" | "instant":
                return self._time(kind, depth - 1)
            case "decimal":
                return sql(self.rng.choice(["({} + {})", "({} - {})"]), self.make(kind, 0), self.make(kind, 0))
        return self.make(kind, 0)

    def _conditional(self, kind: str, depth: int) -> Sql:
        a, b = self.make(kind, depth), self.make(kind, depth)
        match self.rng.randrange(6):
            case 0:
                return sql("coalesce({}, {})", a, b)
            case 1:
                return sql("nullif({}, {})", a, b)
            case 2:
                return sql("CASE WHEN {} THEN {} END", self.predicate(depth), a)
            case 3:
                return sql("CASE WHEN {} THEN {} ELSE {} END", self.predicate(depth), a, b)
            case 4:
                x, y = self.make("int", 0), self.make("int", 0)
                return sql("CASE {} WHEN {} THEN {} ELSE {} END", x, y, a, b)
            case _:
                return sql(self.rng.choice(["greatest({}, {})", "least({}, {})"]), a, b)

    def _int(self, depth: int) -> Sql:
        rng = self.rng
        a, b = self.make("int", depth), self.make("int", depth)
        match rng.randrange(11):
            case 0 | 1:
                return sql(rng.choice(["({} + {})", "({} - {})"]), a, b)
            case 2:
                # Columns can be of 16 and 32 bits, and a product in those overflows.
                return sql("(CAST({} AS BIGINT) * {})", a, b)
            case 3:
                return sql("({} / nullif({}, 0))", a, b, duck="({} // nullif({}, 0))")
            case 4:
                return sql("({} % nullif({}, 0))", a, b)
            case 5:
                return sql(rng.choice(["abs({})", "(-{})", "CAST({} AS BIGINT)"]), a)
            case 6:
                return rng.choice(
                    [sql("length({})", self.make("text", depth)), sql("octet_length({})", self.make("text", depth), duck="strlen({})")]
                )
            case 7:
                kind = rng.choice(["time", "instant", "date"])
                part = rng.choice(["year", "month", "day", "doy", "week", "dow"] + ([] if kind == "date" else ["hour", "minute"]))
                return sql(f"CAST(date_part('{part}', {{}}) AS BIGINT)", self.make(kind, depth))
            case 8:
                return sql("CAST({} AS INT)", self.make("bool", depth))
            case 9:
                return sql("CAST(trunc({}) AS BIGINT)", self.make("float", depth))
            case _:
                return sql("strpos({}, {})", self.make("text", depth), self.make("text", 0))

    def _float(self, depth: int) -> Sql:
        rng = self.rng
        a, b = self.make("float", depth), self.make("float", depth)
        # Adding zero makes zero of minus zero, which the engines do not sort alike.
        match rng.randrange(6):
            case 0 | 1:
                return sql(rng.choice(["({} + {} + 0e0)", "({} - {} + 0e0)"]), a, b)
            case 2:
                return sql("(CAST({} AS DOUBLE) * CAST({} AS DOUBLE) + 0e0)", self.make("float", 0), self.make("float", 0))
            case 3:
                return sql("({} / 4e0 + 0e0)", self.make("float", 0))
            case 4:
                return sql(rng.choice(["(floor({}) + 0e0)", "(ceil({}) + 0e0)", "(round({}) + 0e0)", "abs({})", "(-{} + 0e0)"]), a)
            case _:
                return sql("CAST({} AS DOUBLE)", self.make("int", 0))

    def _text(self, depth: int) -> Sql:
        rng = self.rng
        a, b = self.make("text", depth), self.make("text", 0)
        match rng.randrange(8):
            case 0:
                return sql(rng.choice(["upper(replace({}, 'ß', ''))", "lower({})"]), self.make("text", 0))
            case 1:
                return sql(f"substr({{}}, {rng.randint(1, 3)}, {rng.randint(0, 3)})", a)
            case 2:
                return sql("concat({}, {})", a, b)
            case 3:
                return sql("({} || {})", a, b)
            case 4:
                return sql("replace({}, {}, {})", a, same(quoted(rng.choice(["a", "b", " ", "é"]))), b)
            case 5:
                return sql("CAST({} AS VARCHAR)", self.make(rng.choice(["int", "bool", "date"]), depth))
            case 6:
                return sql(rng.choice(["trim({})", "ltrim({})", "rtrim({})"]), a)
            case _:
                return sql(rng.choice([f"left({{}}, {rng.randint(0, 2)})", f"right({{}}, {rng.randint(0, 2)})"]), a)

    def _date(self, depth: int) -> Sql:
        kind = self.rng.choice(["time", "instant"])
        return sql("CAST({} AS DATE)", self.make(kind, depth))

    def _time(self, kind: str, depth: int) -> Sql:
        rng = self.rng
        a = self.make(kind, depth)
        match rng.randrange(3):
            case 0:
                count, unit = rng.randint(1, 90), rng.choice(["minutes", "hours", "days"])
                return sql(f"({{}} {rng.choice('+-')} INTERVAL '{count} {unit}')", a)
            case 1:
                unit = rng.choice(UNITS)
                # DuckDB gives a date for days and more.
                target = "TIMESTAMP" if kind == "time" else "TIMESTAMPTZ"
                return sql(f"date_trunc('{unit}', {{}})", a, duck=f"CAST(date_trunc('{unit}', {{}}) AS {target})")
            case _:
                width = rng.choice(["15 minutes", "1 hour", "5 hours", "1 day"])
                origin = START.isoformat(sep=" ")
                ours = f"date_bin(INTERVAL '{width}', {{}}, TIMESTAMP '{origin}')"
                target = "TIMESTAMP" if kind == "time" else "TIMESTAMPTZ"
                zone = "" if kind == "time" else "+00"
                return sql(ours, a, duck=f"time_bucket(INTERVAL '{width}', CAST({{}} AS {target}), {target} '{origin}{zone}')")

    def predicate(self, depth: int) -> Sql:
        """A condition on some column."""
        made = self._predicate(depth)
        names = [value.sql.ours for value in self.scope]
        if any(name in made.ours for name in names):
            return made
        return sql("({} OR {} IS NULL)", made, self.any_column().sql)

    def _about_one(self, depth: int) -> Sql:
        """Conditions on one value with few others: what optimizers make one condition of, or none."""
        rng = self.rng
        kind = self.any_kind()
        value = self.make(kind, depth if rng.random() < 0.2 else 0)
        others = [self.make(kind, 0) if rng.random() < 0.3 else literal(rng, kind) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.2:
            others.append(same("NULL"))

        def one() -> Sql:
            match rng.randrange(6):
                case 0 | 1:
                    some = [rng.choice(others) for _ in range(rng.randint(1, 3))]
                    made = sql(f"({{}} {rng.choice(['', 'NOT '])}IN ({{}}))", value, commas(some))
                case 2:
                    made = sql(f"({{}} {rng.choice(['', 'NOT '])}BETWEEN {{}} AND {{}})", value, rng.choice(others), rng.choice(others))
                case 3:
                    made = sql(f"({{}} IS {rng.choice(['', 'NOT '])}NULL)", value)
                case _:
                    made = sql(f"({{}} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {{}})", value, rng.choice(others))
            return sql("(NOT {})", made) if rng.random() < 0.25 else made

        made = one()
        for _ in range(rng.randint(1, 3)):
            made = sql(rng.choice(["({} AND {})", "({} OR {})", "(NOT ({} AND {}))", "(NOT ({} OR {}))"]), made, one())
        if rng.random() < 0.2:
            made = sql(f"({{}} IS {rng.choice(['NULL', 'NOT NULL', 'TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE'])})", made)
        return made

    def _predicate(self, depth: int) -> Sql:
        rng = self.rng
        if depth > 0 and rng.random() < 0.15:
            return self._about_one(depth - 1)
        if depth > 0 and rng.random() < 0.35:
            a, b = self.predicate(depth - 1), self.predicate(depth - 1)
            return sql(rng.choice(["({} AND {})", "({} OR {})", "({} AND NOT {})", "(NOT {} OR {})"]), a, b)
        kind = self.any_kind()
        a = self.make(kind, depth - 1)
        b = self.make(kind, 0)
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                return sql(f"({{}} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {{}})", a, b)
            case 4:
                return sql(f"({{}} {rng.choice(['', 'NOT '])}BETWEEN {{}} AND {{}})", a, b, self.make(kind, 0))
            case 5:
                options = [self.make(kind, 0) if rng.random() < 0.2 else literal(rng, kind) for _ in range(rng.randint(1, 5))]
                if rng.random() < 0.2:
                    options.append(same("NULL"))
                return sql(f"({{}} {rng.choice(['', 'NOT '])}IN ({{}}))", a, commas(options))
            case 6:
                pattern = "".join(rng.choice(["a", "b", "A", "%", "%", "_", "é", " "]) for _ in range(rng.randint(0, 4)))
                like = rng.choice(["LIKE", "NOT LIKE", "LIKE", "ILIKE"])
                return sql(f"({{}} {like} {quoted(pattern)})", self.make("text", depth - 1))
            case 7:
                return sql(f"({{}} IS {rng.choice(['', 'NOT '])}NULL)", a)
            case 8:
                return sql(f"({{}} IS {rng.choice(['', 'NOT '])}DISTINCT FROM {{}})", a, b)
            case 9:
                test = rng.choice(["TRUE", "FALSE", "NOT TRUE", "NOT FALSE"])
                return sql(f"({{}} IS {test})", self.make("bool", depth - 1))
            case 10:
                return sql("starts_with({}, {})", self.make("text", depth - 1), literal(rng, "text"))
            case _:
                column = self.column("bool")
                return column.sql if column is not None else sql("({} = {})", a, b)
