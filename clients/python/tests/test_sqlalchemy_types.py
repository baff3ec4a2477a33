"""Values and expressions of the SQLAlchemy dialect against a real server: what Python says of the same values is right."""

from __future__ import annotations

import datetime
import decimal
import enum
import operator
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from conftest import Server
from data import UTC

Decimal = decimal.Decimal
datetime_ = datetime.datetime
days = [datetime_(2026, 1, 1), datetime_(2027, 1, 1)]
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
SPAN = datetime.timedelta(days=-3, seconds=7, microseconds=11)


@pytest.fixture
def connection(server: Server) -> Iterator[sa.Connection]:
    engine = sa.create_engine(server.url.replace("grpc://", "coverline://"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def events(connection: sa.Connection, name: str) -> sa.Table:
    """Two rows with a column of each kind, as another program would send them."""
    rows = pa.table(
        {
            "ts": pa.array(days, pa.timestamp("us")),
            "tz": pa.array(days, pa.timestamp("us", "UTC")),
            "day": pa.array([datetime.date(2026, 1, 1)] * 2),
            "clock": pa.array([datetime.time(12), datetime.time(23)]),
            "took": pa.array([DAY, None]),
            "p": pa.array([1.0, 3.0]),
            "v": pa.array([1.5e-10, 2e-11]),
            "i": pa.array([7, -7]),
            "j": pa.array([2, 2]),
            "price": pa.array([Decimal("7.25"), Decimal("1.00")], pa.decimal128(12, 2)),
            "text": ["Abc", "xbc"],
            "list": pa.array([[1], [2, 3]]),
            "lists": pa.array([[[1], [2, 3]], None]),
            "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
        }
    )
    with connection.connection.cursor() as cursor:
        cursor.adbc_ingest(name, rows, mode="create")  # type: ignore[attr-defined]
    return sa.Table(name, sa.MetaData(), autoload_with=connection)


class Ask:
    """Answers about the table, in the order of its rows."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self.connection = connection
        self.table = table

    def rows(self, *columns: Any, where: Any = sa.true()) -> list[tuple[Any, ...]]:
        query = sa.select(*columns).select_from(self.table).where(where).order_by(self.table.c.ts)
        return [tuple(row) for row in self.connection.execute(query)]

    def first(self, *columns: Any) -> tuple[Any, ...]:
        return self.rows(*columns)[0]


@pytest.fixture
def ask(connection: sa.Connection, events: sa.Table) -> Ask:
    return Ask(connection, events)


def written(value: Any, kind: Any = None) -> sa.BindParameter[Any]:
    """A value that stands in the SQL."""
    return sa.literal(value, kind, literal_execute=True)


@pytest.mark.parametrize("of", [sa.literal, written])
def test_timedeltas_shift_times(ask: Ask, of: Any) -> None:
    c = ask.table.c
    shifted = ask.rows(c.ts - of(SPAN), c.ts + of(SPAN), of(SPAN) + c.ts, c.tz + of(SPAN), c.ts + of(DAY) + of(HOUR))
    aware = [day.replace(tzinfo=UTC) for day in days]
    assert shifted == [(day - SPAN, day + SPAN, SPAN + day, at + SPAN, day + DAY + HOUR) for day, at in zip(days, aware)]
    midnight, first = days[0], days[0].date()
    assert ask.first(c.day - of(HOUR), c.day + of(DAY), of(DAY) + c.day, sa.func.max(c.day).over() - of(DAY)) == (
        midnight - HOUR,
        midnight + DAY,
        midnight + DAY,
        midnight - DAY,
    )
    assert ask.rows(c.clock - of(HOUR), c.clock + of(HOUR)) == [
        (datetime.time(11), datetime.time(13)),
        (datetime.time(22), datetime.time(0)),
    ]
    assert ask.first(c.day - datetime.date(2025, 12, 1), c.day - c.ts, c.clock - datetime.time(11)) == (
        (first - datetime.date(2025, 12, 1)).days,
        datetime.timedelta(0),
        HOUR,
    )
    # Also where the planner cannot see what a parameter is, and where it wants an interval.
    long_ago = sa.case((c.i > 0, of(DAY)), else_=of(HOUR))
    bucket = sa.func.date_bin(of(2 * HOUR), c.ts + of(HOUR))
    assert ask.rows(c.ts - long_ago, c.ts > c.ts - long_ago, bucket, sa.func.date_trunc("month", c.ts) - of(DAY) < c.ts) == [
        (days[0] - DAY, True, days[0], True),
        (days[1] - HOUR, True, days[1], True),
    ]


@pytest.mark.parametrize("of", [sa.literal, written])
def test_the_last_days_are_found(ask: Ask, of: Any) -> None:
    c = ask.table.c
    now = datetime_.now(UTC)
    back = now - datetime_(2026, 6, 1, tzinfo=UTC)
    expected = [day for day in days if day.replace(tzinfo=UTC) > now - back]
    assert ask.rows(c.ts, where=c.tz > sa.func.now() - of(back)) == [(day,) for day in expected]
    assert ask.rows(c.ts, where=c.tz.between(sa.func.now() - of(back), sa.func.now() + of(3650 * DAY))) == [(days[1],)]
    assert ask.rows(c.ts, where=c.ts - datetime_(2025, 12, 31) > of(30 * DAY)) == [(days[1],)]
    [(told,)] = ask.connection.execute(sa.select(sa.func.now() - of(DAY)))
    assert abs(told - (now - DAY)) < HOUR


def test_buckets_are_as_wide_as_it_says(ask: Ask) -> None:
    c, f = ask.table.c, sa.func
    at = c.ts + 3 * HOUR
    width = sa.literal(HOUR) + sa.literal(HOUR)
    buckets = [f.time_bucket("2h", at), f.time_bucket(2 * HOUR, at), f.date_bin(2 * HOUR, at), f.date_bin(width, at)]
    assert ask.first(*buckets) == (days[0] + 2 * HOUR,) * 4
    counted = sa.select(f.time_bucket("1y", c.ts).label("year"), f.count()).group_by("year").order_by("year")
    assert ask.connection.execute(counted).all() == [(day, 1) for day in days]


def test_frames_are_as_long_as_a_timedelta(ask: Ask) -> None:
    if tuple(map(int, sa.__version__.split(".")[:2])) < (2, 1):
        pytest.skip("SQLAlchemy 2.0 takes integers alone")
    c = ask.table.c
    back, here = sa.FrameClauseType.PRECEDING, sa.FrameClauseType.CURRENT  # type: ignore[attr-defined]
    frames = (sa.FrameClause(length, None, back, here) for length in (DAY, 400 * DAY))  # type: ignore[attr-defined]
    near, far = (sa.func.count().over(order_by=c.ts, range_=frame) for frame in frames)
    assert ask.rows(near, far) == [(1, 1), (1, 2)]


def test_durations_are_timedeltas(ask: Ask) -> None:
    c = ask.table.c
    assert isinstance(c.took.type, sa.Interval)
    for of in (sa.literal, written):
        assert ask.rows(c.took, c.took + of(SPAN), c.took - of(HOUR), sa.func.coalesce(c.took, of(SPAN)), c.ts - c.took) == [
            (DAY, DAY + SPAN, DAY - HOUR, DAY, days[0] - DAY),
            (None, None, None, SPAN, None),
        ]
        compared = [c.took == of(DAY), c.took > of(HOUR), c.took < of(HOUR), c.took.in_([of(DAY), of(HOUR)])]
        assert ask.first(*compared, c.took.between(of(HOUR), of(DAY))) == (True, True, False, True, True)
    of_all = (sa.func.max(c.ts) - sa.func.min(c.ts), sa.func.sum(c.took), sa.func.avg(c.took), sa.func.max(c.took))
    assert ask.connection.execute(sa.select(*of_all)).one() == (days[1] - days[0], DAY, DAY, DAY)
    assert ask.first(sa.extract("epoch", c.took)) == (DAY.total_seconds(),)
    assert ask.first(sa.cast(c.took, sa.Interval), sa.cast(sa.literal("3 hours", sa.Text), sa.Interval)) == (DAY, 3 * HOUR)
    # Months have no length, so they stay what they are.
    assert ask.first(sa.literal_column("INTERVAL '1 month'", sa.Interval))[0].months == 1

    added = {"ts": days[0], "tz": days[0], "took": SPAN}
    assert ask.connection.execute(ask.table.insert(), [added, added | {"took": None}]).rowcount == 2
    assert [took for (took,) in ask.rows(c.took, where=c.took == SPAN)] == [SPAN]


class Whole(sa.TypeDecorator[int]):
    """Whole hours, as durations."""

    impl = sa.Interval
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value * HOUR

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value // HOUR


def test_tables_with_durations_are_made(connection: sa.Connection, name: str) -> None:
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("took", sa.Interval, nullable=False),
        sa.Column("spent", sa.Interval),
        sa.Column("hours", Whole),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("clock", sa.Time, nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("x", sa.Double, nullable=False),
        sa.Column("d", sa.Numeric(9, 2), nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("list", sa.ARRAY(sa.BigInteger)),
        sa.Column("emulated", sa.Interval(native=False)),
        coverline_index_column="ts",
        coverline_bucket="1h",
        coverline_entity_columns="symbol",
    )
    table.create(connection)
    table.create(connection, checkfirst=True)
    found = {column["name"]: column for column in sa.inspect(connection).get_columns(name)}
    for column in table.columns:
        assert found[column.name]["nullable"] == column.nullable, column
        kind = found[column.name]["type"]
        if column.name == "emulated":
            assert isinstance(kind, sa.DateTime)
        else:
            assert kind._type_affinity is column.type._type_affinity, column
    properties = f"SELECT value FROM table_properties('{name}') WHERE name IN ('index_column', 'bucket') ORDER BY value"
    assert connection.scalars(sa.text(properties)).all() == ["1h", "ts"]
    row = {
        "ts": days[0].replace(tzinfo=UTC),
        "symbol": "A",
        "took": SPAN,
        "spent": None,
        "hours": 5,
        "day": days[0].date(),
        "clock": datetime.time(1, 2, 3, 4),
        "n": 2**60,
        "x": 0.1,
        "d": Decimal("1.25"),
        "ok": True,
        "raw": b"\xff",
        "list": [],
        "emulated": DAY,
    }
    connection.execute(table.insert(), row)
    assert dict(connection.execute(sa.select(table)).mappings().one()) == row
    assert connection.scalar(sa.select(table.c.took).where(table.c.hours == 5)) == SPAN
    columns = (sa.Column("a", sa.ARRAY(sa.Text), nullable=False), sa.Column("b", sa.Interval))
    listed = sa.Table(f"{name}_l", sa.MetaData(), *columns)
    with pytest.raises(sa.exc.CompileError, match="'a' cannot be NOT NULL"):
        listed.create(connection)
    with pytest.raises(sa.exc.CompileError, match="list of durations"):
        sa.Table(f"{name}_d", sa.MetaData(), sa.Column("a", sa.ARRAY(sa.Interval))).create(connection)


def test_quotients_are_what_python_says(ask: Ask) -> None:
    c, f = ask.table.c, sa.func
    ratios = [(1.0 / 1.5e-10,), (3.0 / 2e-11,)]
    for divisor in (c.v, f.nullif(c.v, 0), f.abs(c.v), f.coalesce(c.v, 0), sa.literal_column("v")):
        assert ask.rows(c.p / divisor) == ratios
    # A product has the type of its left side, which says nothing of the digits of the right one.
    assert ask.first(c.p / (c.price * c.v)) == (pytest.approx(1.0 / (7.25 * 1.5e-10), rel=1e-15),)

    seven, two = f.nullif(c.i, 0), f.nullif(c.j, 0)
    halves = [c.i / c.j, c.i / 2, 7 / c.j, c.i / two, seven / c.j, seven / two, f.abs(c.i) / 2, c.i / 2.0]
    halves += [f.max(c.i).over() / 2, c.i / sa.text("2")]
    assert ask.first(*halves) == (3.5,) * len(halves)
    assert ask.first(sa.literal(1) / sa.literal(3), written(1) / written(3)) == (Decimal(repr(1 / 3)),) * 2
    assert ask.rows(c.i / sa.select(f.count()).select_from(ask.table).scalar_subquery()) == [(Decimal("3.5"),), (Decimal("-3.5"),)]
    cases = sa.case((c.i > 0, c.i), else_=1) / sa.case((c.j > 0, c.j), else_=1)
    assert ask.first(cases, c.i / sa.null()) == (Decimal("3.5"), None)
    inner = sa.select(c.ts, c.i, two.label("two")).subquery()
    assert ask.connection.scalars(sa.select(inner.c.i / inner.c.two).order_by(inner.c.ts)).all() == [3.5, -3.5]

    exact = Decimal("1234567890123456789.12")
    big = [sa.cast(str(exact), sa.Numeric(30, 2)), f.abs(sa.cast(str(exact), sa.Numeric(30, 2))), sa.literal(exact), written(exact)]
    big += [sa.literal_column(f"CAST('{exact}' AS DECIMAL(30, 2))", kind) for kind in (sa.Numeric(), None)]
    assert ask.first(*(number / 2 for number in big)) == (exact / 2,) * len(big)
    halves = [c.price / 2, c.price / c.j, c.price / two, f.abs(c.price) / f.abs(c.j)]
    assert ask.first(*halves, c.price / c.price, c.price / Decimal("0.29")) == (*(Decimal("3.625"),) * 4, 1, 25)
    # Integers under the name of something else.
    for of in (sa.literal, written, sa.type_coerce, lambda number, kind: sa.literal_column(str(number), kind)):
        [(as_decimal, as_float)] = ask.rows(*(of(7, kind) / of(2, kind) for kind in (sa.Numeric(), sa.Float())), where=c.i == 7)
        assert (as_decimal, as_float) == (Decimal("3.5"), 3.5)
        assert (type(as_decimal), type(as_float)) == (Decimal, float)
    assert ask.first(c.i // c.j, c.p // c.v, c.price // 2) == (3, 1.0 // 1.5e-10, 3)


def test_a_numeric_is_a_decimal(ask: Ask) -> None:
    of_double = sa.literal_column("1.5")
    kinds = [sa.Numeric(), sa.Numeric(asdecimal=False), sa.Float(), sa.Float(asdecimal=True)]
    found = ask.first(*(sa.type_coerce(of_double, kind) for kind in kinds))
    assert [type(value) for value in found] == [Decimal, float, float, Decimal]
    c = ask.table.c
    assert [type(value) for value in ask.first(sa.type_coerce(c.i, kinds[0]), sa.type_coerce(c.price, kinds[1]))] == [Decimal, float]
    tenth, none = (sa.type_coerce(sql, sa.Numeric()) for sql in (sa.literal_column("0.1"), sa.null()))
    assert ask.first(tenth, none) == (Decimal("0.1"), None)


class Colour(enum.Enum):
    red = 1


VALUES: list[tuple[Any, Any]] = [
    (sa.Integer(), 7),
    (sa.BigInteger(), -(2**60)),
    (sa.Boolean(), True),
    (sa.Boolean(), False),
    (sa.Numeric(12, 3), Decimal("-1.25")),
    (sa.Numeric(12, 3), Decimal("0.050")),
    (sa.Numeric(9, 0), Decimal("1E+3")),
    (sa.Numeric(12, 3, asdecimal=False), 1.25),
    (sa.Numeric(38, 10), Decimal("1234567890123456789012345678.0123456789")),
    (sa.Float(), 0.1 + 0.2),
    (sa.Float(), 1e300),
    (sa.Float(), float("-inf")),
    (sa.Double(), 2.0),
    (sa.Text(), "it's \\ % :x ? é\n"),
    (sa.String(5), ""),
    (sa.LargeBinary(), b"\x00\xff'"),
    (sa.Date(), datetime.date(1, 1, 1)),
    (sa.Time(), datetime.time(1, 2, 3, 4)),
    (sa.DateTime(), datetime_(2026, 1, 2, 3, 4, 5, 6)),
    (sa.DateTime(), datetime_.max),
    (sa.DateTime(timezone=True), datetime_(2026, 1, 2, 3, 4, 5, 6, datetime.timezone(2 * HOUR))),
    (sa.Interval(), SPAN),
    (sa.Enum(Colour), Colour.red),
    (sa.JSON(), {"a": [1, "it's"]}),
    (sa.ARRAY(sa.Text), ["it's", None]),
    (sa.ARRAY(sa.BigInteger), []),
    (sa.ARRAY(sa.BigInteger, dimensions=2), [[1], [2, 3]]),
    (sa.ARRAY(sa.DateTime), [datetime_(2026, 1, 1)]),
    (sa.ARRAY(sa.Numeric(9, 2)), [Decimal("1.25")]),
    (sa.ARRAY(sa.Enum(Colour)), [Colour.red]),
    (sa.ARRAY(sa.Float, as_tuple=True), (1.5, 2.0)),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda of: re.sub(r"\W+", "-", repr(of)))
def test_values_go_and_come_back(connection: sa.Connection, name: str, kind: Any, value: Any) -> None:
    ways = [sa.literal(value, kind), sa.cast(sa.literal(value, kind), kind)]
    # SQLAlchemy has no literals of JSON.
    literals = not isinstance(kind, sa.JSON)
    if literals:
        ways += [written(value, kind), sa.cast(written(value, kind), kind)]
    for found in connection.execute(sa.select(*ways)).one():
        assert (found, type(found)) == (value, type(value))
    none = written(None, kind) if literals else sa.null()
    assert connection.execute(sa.select(sa.literal(None, kind), sa.cast(sa.literal(None, kind), kind), none)).one() == (None, None, None)

    table = sa.Table(name, sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("x", kind))
    table.create(connection)
    connection.execute(table.insert(), {"id": 1, "x": value})
    connection.execute(table.insert(), [{"id": 2, "x": None}, {"id": 3, "x": value}])
    connection.execute(table.insert(), [{"id": 4, "x": None}, {"id": 5, "x": None}])
    connection.execute(table.insert().values([{"id": 6, "x": None}, {"id": 7, "x": value}]))
    connection.execute(table.insert().values(id=8, x=written(value, kind) if literals else value))
    assert list(connection.scalars(sa.select(table.c.x).order_by(table.c.id))) == [value, None, value, None, None, None, value, value]
    if literals:
        for of in (sa.literal, written):
            matching = sa.select(table.c.id).where(table.c.x == of(value, kind)).order_by(table.c.id)
            assert list(connection.scalars(matching)) == [1, 3, 7, 8]
        inside = sa.select(table.c.id).where(table.c.x.in_([value])).order_by(table.c.id)
        assert list(connection.scalars(inside)) == [1, 3, 7, 8]
    reflected = sa.Table(name, sa.MetaData(), autoload_with=connection)
    assert str(CreateTable(reflected).compile(connection)) == str(CreateTable(table).compile(connection))


def test_literals_that_there_are_not(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.StatementError, match="Could not render"):
        connection.scalar(sa.select(written(Decimal("NaN"), sa.Numeric())))
    assert str(connection.scalar(sa.select(written(float("nan"), sa.Float())))) == "nan"


def test_rows_of_several_kinds_keep_their_values(connection: sa.Connection, name: str) -> None:
    columns = (sa.Column("t", sa.DateTime), sa.Column("d", sa.Date), sa.Column("n", sa.Numeric(9, 2)))
    table = sa.Table(name, sa.MetaData(), *columns)
    table.create(connection)
    noon = datetime_(2026, 1, 1, 12)
    rows = [(noon.date(), noon, 3), (noon, noon.date(), 2.5), (None, None, Decimal("1.25"))]
    connection.execute(table.insert(), [dict(zip("tdn", row)) for row in rows])
    midnight = datetime_(2026, 1, 1)
    assert connection.execute(sa.select(table).order_by(table.c.n.desc())).all() == [
        (midnight, noon.date(), 3),
        (noon, noon.date(), Decimal("2.5")),
        (None, None, Decimal("1.25")),
    ]


def test_rows_of_a_cte_are_inserted(ask: Ask, name: str) -> None:
    c = ask.table.c
    to = sa.Table(f"{name}_to", sa.MetaData(), sa.Column("i", sa.BigInteger), sa.Column("p", sa.Double))
    to.create(ask.connection)
    positive = sa.select(c.i, c.p).where(c.i > sa.bindparam("least", 0)).cte("positive")
    more = sa.select(positive.c.i, positive.c.p + sa.literal(1.5))
    assert ask.connection.execute(to.insert().from_select(["i", "p"], more)).rowcount == 1
    ask.connection.execute(to.insert().from_select(["i", "p"], sa.select(c.i, c.p).where(c.i < 0)))
    assert ask.connection.execute(sa.select(to).order_by(to.c.i)).all() == [(-7, 3.0), (7, 2.5)]


def test_regular_expressions(ask: Ask) -> None:
    text = ask.table.c.text
    texts = ["Abc", "xbc"]
    for pattern in ("^A", "b.$", "[xy]b", "q|A", "^a"):
        for flags, meant in ((None, 0), ("i", re.IGNORECASE), ("is", re.IGNORECASE | re.DOTALL)):
            matched = [(bool(re.search(pattern, each, meant)),) for each in texts]
            assert ask.rows(text.regexp_match(pattern, flags=flags)) == matched
            assert ask.rows(~text.regexp_match(pattern, flags=flags)) == [(not found,) for (found,) in matched]
    of_all = text.regexp_replace("[BC]", "Z", flags="gi")
    replaced = [text.regexp_replace("[bc]", "Z"), of_all, text.regexp_replace("(b)(c)", r"\2-\1")]
    assert ask.rows(*replaced) == [("AZc", "AZZ", "Ac-b"), ("xZc", "xZZ", "xc-b")]


def test_lists(ask: Ask) -> None:
    c = ask.table.c
    assert isinstance(c.list.type, sa.ARRAY) and isinstance(c.lists.type, sa.ARRAY)
    assert c.lists.type.dimensions == 2 and isinstance(c.fixed.type, sa.LargeBinary)
    assert ask.rows(c.list, c.lists, c.list[1], c.lists[2][1], sa.any_(c.list) == 3) == [
        ([1], [[1], [2, 3]], 1, 2, False),
        ([2, 3], None, 2, None, True),
    ]
    [(found,)] = ask.connection.execute(sa.select(sa.func.array_agg(c.i)))
    assert sorted(found) == [-7, 7]


def test_distinct_on(ask: Ask) -> None:
    c = ask.table.c
    plain = sa.select(c.j, c.ts).order_by(c.j, c.ts.desc())
    with warnings.catch_warnings():
        # SQLAlchemy 2.1 has another way.
        warnings.simplefilter("ignore", sa.exc.SADeprecationWarning)
        queries = [plain.distinct(c.j)]
    if hasattr(plain, "ext"):
        from sqlalchemy.dialects.postgresql import distinct_on  # type: ignore[attr-defined]

        queries.append(plain.ext(distinct_on(c.j)))
    for query in queries:
        assert ask.connection.execute(query).all() == [(2, days[1])]
    assert ask.connection.execute(sa.select(c.j).distinct()).all() == [(2,)]


def test_texts_and_bits(ask: Ask) -> None:
    c = ask.table.c
    a, b = sa.literal("a"), sa.literal("b")
    joined = (a + b, a + b + "c", a.concat(b), a + c.text, c.text + "z", written("a") + written("b"))
    assert ask.first(*joined) == ("ab", "abc", "ab", "aAbc", "Abcz", "ab")
    assert ask.first(c.i.bitwise_not(), c.i.bitwise_xor(3)) == (operator.invert(7), 7 ^ 3)
    assert ask.connection.scalar(sa.select(sa.func.aggregate_strings(c.text, "; "))) in ("Abc; xbc", "xbc; Abc")
