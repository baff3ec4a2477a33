"""Whether engines gave the same answer: the same rows with the same values, whatever the order, the exact types and the last
bits of a floating-point sum."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Engines add doubles in different orders.
RELATIVE_TOLERANCE = 1e-9


def require_agreement(question: str, answers: dict[str, pa.Table]) -> None:
    """Raises an error that names the engine, column and first difference. Columns go by position, not by name."""
    (reference, first), *others = answers.items()
    expected = _normal(first)
    for engine, table in others:
        where = f"{question}: {engine} and {reference} differ"
        if table.num_columns != first.num_columns:
            raise RuntimeError(f"{where}: {table.num_columns} and {first.num_columns} columns")
        if table.num_rows != first.num_rows:
            raise RuntimeError(f"{where}: {table.num_rows} and {first.num_rows} rows")
        for number, (mine, theirs) in enumerate(zip(_normal(table), expected)):
            if mine.dtype.kind == "f" or theirs.dtype.kind == "f":
                same = np.isclose(mine.astype(float), theirs.astype(float), rtol=RELATIVE_TOLERANCE, atol=0, equal_nan=True)
            else:
                same = mine == theirs
            if not np.all(same):
                at = int(np.flatnonzero(~same)[0])
                column = first.column_names[number]
                raise RuntimeError(f"{where}: column {column!r}, row {at} of the sorted answer: {mine[at]!r} and {theirs[at]!r}")


def _normal(table: pa.Table) -> list[np.ndarray]:
    """The columns as integers (times in microseconds), doubles or strings, rows sorted by all but the doubles, then by those."""
    columns = [_plain(column) for column in table.columns]
    if not columns:
        return columns
    # The last key of a lexsort counts most. NaN sorts last, so absent doubles stay together.
    by_kind = sorted(columns, key=lambda column: column.dtype.kind == "f")
    keys = [np.unique(column, return_inverse=True)[1] if column.dtype.kind == "U" else column for column in by_kind]
    order = np.lexsort(keys[::-1])
    return [column[order] for column in columns]


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind):
        # Whole values only: a cast that would lose a part of a microsecond is an error.
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_binary(kind):
        return np.array(pc.fill_null(column.cast(pa.string()), "\0").to_pylist(), dtype=np.str_)
    elif pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    elif pa.types.is_integer(kind):
        column = column.cast(pa.int64())
    if column.null_count:
        return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    return column.to_numpy()
