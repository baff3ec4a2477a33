"""Whether two answers are the same rows."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pyarrow as pa

UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NANOS = 10**9
# Sums of floats in another order.
RELATIVE = 1e-9
ABSOLUTE = 1e-9


def rows(table: pa.Table, kinds: list[str]) -> list[tuple[Any, ...]]:
    """Rows in values that compare across engines: timestamps and dates as nanoseconds, numbers as numbers."""
    columns = [_values(column, kind) for column, kind in zip(table.columns, kinds, strict=True)]
    return list(zip(*columns, strict=True)) if columns else []


def _values(column: pa.ChunkedArray, kind: str) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        scale = NANOS // UNITS_PER_SECOND[column.type.unit]
        return [None if v is None else v * scale for v in column.cast(pa.int64()).to_pylist()]
    values = column.to_pylist()
    match kind:
        case "time" | "instant" | "date":
            return [None if v is None else _nanos(v) for v in values]
        case "int" | "big" | "uint":
            return [None if v is None else int(v) for v in values]
        case "float" | "wild" | "approx":
            return [None if v is None else float(v) for v in values]
    return values


def _nanos(value: Any) -> int:
    if isinstance(value, datetime.datetime):
        raise TypeError(f"{value!r} is a timestamp of a column that is not one")
    return (value - datetime.date(1970, 1, 1)).days * 86_400 * NANOS


def difference(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]], kinds: list[str], ordered: bool) -> str | None:
    """What differs, or nothing."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, not {len(theirs)}: {_sample(ours)} instead of {_sample(theirs)}"
    if not ordered:
        ours, theirs = sorted(ours, key=lambda row: _key(row, kinds)), sorted(theirs, key=lambda row: _key(row, kinds))
    for at, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not all(_equal(x, y) for x, y in zip(a, b, strict=True)):
            return f"row {at} is {a}, not {b}"
    return None


def _sample(found: list[tuple[Any, ...]]) -> str:
    return f"{found[:5]}{' and so on' if len(found) > 5 else ''}"


def _key(row: tuple[Any, ...], kinds: list[str]) -> tuple[Any, ...]:
    """Values that are exact first, so that rounding cannot move a row past another."""
    exact = [_sortable(v) for v, kind in zip(row, kinds, strict=True) if kind != "approx"]
    return (*exact, *(_sortable(v) for v, kind in zip(row, kinds, strict=True) if kind == "approx"))


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    if isinstance(value, float) and math.isnan(value):
        return (2, 0)
    return (1, value)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(a == b)
