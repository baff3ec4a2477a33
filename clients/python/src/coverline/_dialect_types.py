"""Types of the SQLAlchemy dialect: how values go in and come out, how they are written in SQL, and which type a column has."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import exc, types
from sqlalchemy.sql import compiler, sqltypes
from sqlalchemy.sql.type_api import NativeForEmulated

# As `arrow_cast` names it: SQL has no name for the type of a duration.
DURATION = "Duration(Microsecond)"
# Most bits of precision that a REAL keeps.
_REAL_BITS = 24
_MICROSECOND = datetime.timedelta(microseconds=1)

_Process = Callable[[Any], Any]

_SQL_TYPES: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], types.TypeEngine[Any]]]] = [
    (pa.types.is_boolean, lambda _: types.Boolean()),
    (pa.types.is_int8, lambda _: types.SmallInteger()),
    (pa.types.is_int16, lambda _: types.SmallInteger()),
    (pa.types.is_int32, lambda _: types.Integer()),
    (pa.types.is_integer, lambda _: types.BigInteger()),
    (pa.types.is_float32, lambda _: types.REAL()),
    (pa.types.is_floating, lambda _: types.Double()),
    (pa.types.is_decimal, lambda kind: types.Numeric(kind.precision, kind.scale)),
    (pa.types.is_string, lambda _: types.Text()),
    (pa.types.is_large_string, lambda _: types.Text()),
    (pa.types.is_binary, lambda _: types.LargeBinary()),
    (pa.types.is_fixed_size_binary, lambda _: types.LargeBinary()),
    (pa.types.is_timestamp, lambda kind: types.DateTime(timezone=kind.tz is not None)),
    (pa.types.is_date, lambda _: types.Date()),
    (pa.types.is_time, lambda _: types.Time()),
    (pa.types.is_duration, lambda _: types.Interval()),
]


def sql_type(kind: pa.DataType) -> types.TypeEngine[Any]:
    """SQLAlchemy's type for an Arrow type."""
    dimensions = 0
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, dimensions = kind.value_type, dimensions + 1
    if dimensions:
        # Lists in lists are one type with dimensions.
        return types.ARRAY(sql_type(kind), dimensions=dimensions if dimensions > 1 else None)
    for is_it, make in _SQL_TYPES:
        if is_it(kind):
            return make(kind)
    # Structs and maps, of which SQLAlchemy knows nothing: values come as the driver gives them.
    return types.NullType()


def _decimal(value: Any) -> decimal.Decimal:
    # By its text, which of a float is the shortest that means it.
    return value if isinstance(value, decimal.Decimal) else decimal.Decimal(str(value))


def _time_literal(value: Any) -> str:
    """A literal with its type, which text would have to get from what it stands next to."""
    if not isinstance(value, datetime.datetime):
        return f"{'DATE' if isinstance(value, datetime.date) else 'TIME'} '{value.isoformat()}'"
    if value.tzinfo is None:
        return f"TIMESTAMP '{value.isoformat(' ')}'"
    return f"TIMESTAMP WITH TIME ZONE '{value.astimezone(datetime.timezone.utc).isoformat(' ')}'"


class _Bytes(types.LargeBinary):
    """Bytes as they are: the driver has no constructor for them, which SQLAlchemy would call."""

    cache_ok = True

    def bind_processor(self, dialect: Any) -> None:
        return None

    def literal_processor(self, dialect: Any) -> Callable[[bytes], str]:
        return lambda value: f"X'{value.hex()}'"


class _Numeric(types.Numeric[Any]):
    """Decimals, whatever the server computes with. One type in every row, which Arrow insists on."""

    def bind_processor(self, dialect: Any) -> _Process:
        # A bool has no decimal, and a text may be one already.
        return lambda value: _decimal(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else value

    def result_processor(self, dialect: Any, coltype: Any) -> _Process:
        convert: _Process = _decimal if self.asdecimal else float
        return lambda value: None if value is None else convert(value)

    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        def literal(value: Any) -> str:
            number = _decimal(value)
            if not number.is_finite():
                raise exc.CompileError(f"a decimal cannot be {number}")
            text = f"{number:f}"
            whole, _, fraction = text.lstrip("-").partition(".")
            # The type that it has as a parameter. By itself such a number would be a double.
            return f"CAST('{text}' AS DECIMAL({max(len(whole.lstrip('0')) + len(fraction), 1)}, {len(fraction)}))"

        return literal


class _Float(types.Float[Any]):
    """The same for floating point, where some rows may come as decimals."""

    def bind_processor(self, dialect: Any) -> _Process:
        return lambda value: None if value is None else float(value)

    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        def literal(value: Any) -> str:
            number = float(value)
            # Infinities and what is no number have no literal. With a point it is no integer, which divides otherwise.
            return repr(number) if number - number == 0 else f"CAST('{number}' AS DOUBLE)"

        return literal


class _DateTime(types.DateTime):
    """Times, of which some rows may come as dates: Arrow would drop the hours of all, or refuse them."""

    def bind_processor(self, dialect: Any) -> _Process:
        return _as_time

    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return lambda value: _time_literal(_as_time(value))


def _as_time(value: Any) -> Any:
    is_date = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    return datetime.datetime.combine(value, datetime.time()) if is_date else value


class _Date(types.Date):
    """Dates, of which some rows may come as times."""

    def bind_processor(self, dialect: Any) -> _Process:
        return _as_date

    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return lambda value: _time_literal(_as_date(value))


def _as_date(value: Any) -> Any:
    return value.date() if isinstance(value, datetime.datetime) else value


class _Time(types.Time):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return _time_literal


class Duration(NativeForEmulated, sqltypes._AbstractInterval):
    """A timedelta as what it is. SQLAlchemy's own is a timestamp that many days after 1970."""

    __visit_name__ = "INTERVAL"
    native = True
    # Before it knows the value, the planner would take `ts - ?` for a difference of timestamps.
    render_bind_cast = True

    @classmethod
    def adapt_emulated_to_native(cls, impl: Any, **kw: Any) -> Duration:
        return cls()

    @property
    def _type_affinity(self) -> type[types.Interval]:
        return types.Interval

    @property
    def python_type(self) -> type[datetime.timedelta]:
        return datetime.timedelta

    def result_processor(self, dialect: Any, coltype: Any) -> _Process:
        return _timedelta

    def literal_processor(self, dialect: Any) -> Callable[[datetime.timedelta], str]:
        # Without days, of which an interval does not know how long they are.
        return lambda value: f"INTERVAL '{value // _MICROSECOND} microseconds'"


def is_duration(type_: types.TypeEngine[Any], dialect: Any) -> bool:
    """Whether columns of a type are durations, also of one that decorates another."""
    impl: Any = type_.dialect_impl(dialect)
    while isinstance(impl, types.TypeDecorator) and not isinstance(impl, types.Interval):
        impl = impl.impl
    return isinstance(impl, Duration)


def _timedelta(value: Any) -> Any:
    # What is computed with literals or with times of day is an interval. Its months have no length.
    if isinstance(value, pa.MonthDayNano) and value.months == 0:
        return datetime.timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    return value


class _Array(types.ARRAY[Any]):
    """Lists, whose elements are treated as their type is elsewhere."""

    def _of_elements(self, process: _Process | None, collect: Callable[[Any], Any] = list) -> _Process | None:
        if process is None and collect is list:
            return None
        each = process or (lambda value: value)

        def walk(value: Any, depth: int | None) -> Any:
            if value is None:
                return None
            deeper = isinstance(value, (list, tuple)) if depth is None else depth > 0
            return collect(walk(one, None if depth is None else depth - 1) for one in value) if deeper else each(value)

        return lambda value: walk(value, self.dimensions)

    def bind_processor(self, dialect: Any) -> _Process | None:
        return self._of_elements(self.item_type.dialect_impl(dialect).bind_processor(dialect))

    def result_processor(self, dialect: Any, coltype: Any) -> _Process | None:
        process = self.item_type.dialect_impl(dialect).result_processor(dialect, coltype)
        return self._of_elements(process, tuple if self.as_tuple else list)

    def literal_processor(self, dialect: Any) -> _Process | None:
        process = self.item_type.dialect_impl(dialect).literal_processor(dialect)
        return process and self._of_elements(process, lambda parts: f"[{', '.join('NULL' if part is None else part for part in parts)}]")


COLSPECS: dict[type[types.TypeEngine[Any]], type[types.TypeEngine[Any]]] = {
    types.LargeBinary: _Bytes,
    types.BINARY: _Bytes,
    types.VARBINARY: _Bytes,
    types.Float: _Float,
    types.Numeric: _Numeric,
    types.DateTime: _DateTime,
    types.Date: _Date,
    types.Time: _Time,
    types.Interval: Duration,
    types.ARRAY: _Array,
}


class TypeCompiler(compiler.GenericTypeCompiler):
    """Names of types in SQL."""

    def visit_double(self, type_: Any, **kw: Any) -> str:
        return "DOUBLE"

    def visit_float(self, type_: Any, **kw: Any) -> str:
        # FLOAT has 32 bits, and what Python and pandas call a float has 64.
        return "REAL" if type_.precision is not None and type_.precision <= _REAL_BITS else "DOUBLE"

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        return self.visit_float(type_, **kw)

    def visit_string(self, type_: Any, **kw: Any) -> str:
        return "TEXT"

    visit_unicode = visit_unicode_text = visit_text = visit_VARCHAR = visit_NVARCHAR = visit_NCHAR = visit_JSON = visit_string

    def visit_large_binary(self, type_: Any, **kw: Any) -> str:
        return "VARBINARY"

    def visit_datetime(self, type_: Any, **kw: Any) -> str:
        return "TIMESTAMP(6) WITH TIME ZONE" if type_.timezone else "TIMESTAMP(6)"

    visit_TIMESTAMP = visit_DATETIME = visit_datetime

    def visit_INTERVAL(self, type_: Any, **kw: Any) -> str:
        return "INTERVAL"

    def visit_ARRAY(self, type_: Any, **kw: Any) -> str:
        if is_duration(type_.item_type, self.dialect):
            raise exc.CompileError("SQL has no name for a list of durations; send one with the driver's own ingestion")
        return self.process(type_.item_type, **kw) + "[]" * (type_.dimensions or 1)
