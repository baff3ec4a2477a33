"""From whatever holds Arrow data to record batches of bounded size. No network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS_MAX = 64 * 1024
"""Rows of a batch on the wire, at most."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of a batch on the wire, about: a batch of one row may be larger. Servers refuse messages above 64 MiB."""

_WANTED = (
    "pyarrow Table, RecordBatch or RecordBatchReader, Polars DataFrame, pandas DataFrame, DuckDB relation, or anything "
    "with __arrow_c_stream__ or __arrow_c_array__"
)


def to_reader(source: Any) -> pa.RecordBatchReader:
    """A reader over `source`. Streams are not read ahead, tables are not copied.

    Raises:
        TypeError: when the source is nothing that holds Arrow data.
    """
    if isinstance(source, pa.RecordBatchReader):
        return source
    if isinstance(source, ParquetFile):
        return open_parquet(source.path)
    if isinstance(source, pa.Table):
        return source.to_reader(max_chunksize=BATCH_ROWS_MAX)
    if isinstance(source, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(source.schema, [source])
    if _is_pandas(source):
        return _from_pandas(source).to_reader(max_chunksize=BATCH_ROWS_MAX)
    if hasattr(source, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(source)
    if hasattr(source, "__arrow_c_array__"):
        batch = pa.record_batch(source)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    hint = "; call .collect() on it first" if type(source).__name__ == "LazyFrame" else ""
    raise TypeError(f"cannot append a {type(source).__name__}{hint}: it must be a {_WANTED}")


class SourceError(Exception):
    """Wraps what the source of an append raised, to tell it from what the connection and the server raise."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Rereader:
    """Readers over one source, one for each try of an append.

    A source that was used up, such as an object whose stream can be taken once, would give a later try fewer rows than an earlier
    one, down to none, and the server would commit them. That is found when the rows end, before the server is told of it.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._rows_seen = 0

    def read(self) -> pa.RecordBatchReader:
        """A reader from the first row on.

        Raises:
            SourceError: when the source cannot be read. Errors while reading come as they are.
        """
        try:
            reader = to_reader(self._source)
        except Exception as error:
            raise SourceError(error) from error
        return pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            self._rows_seen = max(self._rows_seen, rows)
            yield batch
        if rows < self._rows_seen:
            raise TypeError(
                f"the source gave {self._rows_seen} rows at first and only {rows} when it was read again, so its append cannot be "
                "tried again; pass a table, or retries=0"
            )


@dataclass(frozen=True)
class ParquetFile:
    """A file as a source, opened each time it is read."""

    path: str


def _is_pandas(source: Any) -> bool:
    kind = type(source)
    return kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"


def _from_pandas(frame: Any) -> pa.Table:
    """A pandas frame by its columns; index levels that have a name come along, a nameless index is row numbers only."""
    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index(level=named)
    return pa.Table.from_pandas(frame, preserve_index=False)


def open_parquet(path: str) -> pa.RecordBatchReader:
    """A reader over a Parquet file that holds one batch in memory, and never a whole row group.

    Raises:
        FileNotFoundError: when there is no such file.
        pa.ArrowInvalid: when it is no Parquet file. Damage further inside surfaces while reading.
    """
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1024 * 1024)
    return pa.RecordBatchReader.from_batches(
        file.schema_arrow, file.iter_batches(batch_size=BATCH_ROWS_MAX)
    )


def wire_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that `wire_batches` gives: views as plain strings and binaries, no metadata."""
    return pa.schema([pa.field(f.name, _wire_type(f.type), f.nullable) for f in schema])


def _wire_type(kind: pa.DataType) -> pa.DataType:
    # A slice of a view column drags all its buffers along: sent in slices, one column of a gigabyte would become hundreds.
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def wire_batches(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of at most `BATCH_ROWS_MAX` rows and about `BATCH_BYTES_MAX` bytes, in `wire_schema`."""
    for start in range(0, batch.num_rows, BATCH_ROWS_MAX):
        piece = batch.slice(start, BATCH_ROWS_MAX)
        piece = pa.RecordBatch.from_arrays(
            [
                column if column.type.equals(field.type) else column.cast(field.type)
                for column, field in zip(piece.columns, schema, strict=True)
            ],
            schema=schema,
        )
        size = piece.nbytes
        if size <= BATCH_BYTES_MAX:
            yield piece
            continue
        rows = max(1, piece.num_rows * BATCH_BYTES_MAX // size)
        for offset in range(0, piece.num_rows, rows):
            yield piece.slice(offset, rows)
