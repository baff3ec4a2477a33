"""What can be appended, and how it is cut."""

import datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coverline import _sources

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", "y", None]})


class StreamOnly:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class ArrayOnly:
    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


@pytest.mark.parametrize(
    "source",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        StreamOnly(),
        ArrayOnly(),
        pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]}),
        pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]}),
        duckdb.sql("SELECT * FROM (VALUES (1, 'x'), (2, 'y'), (3, NULL)) t(a, b)"),
    ],
    ids=lambda source: f"{type(source).__module__}.{type(source).__name__}",
)
def test_anything_that_holds_arrow_data_is_read(source: object) -> None:
    reader = _sources.to_reader(source)
    schema = _sources.wire_schema(reader.schema)
    batches = [piece for batch in reader for piece in _sources.wire_batches(batch, schema)]
    rows = pa.Table.from_batches(batches, schema).to_pylist()
    assert [(row["a"], row["b"] if row["b"] == row["b"] else None) for row in rows] == [(1, "x"), (2, "y"), (3, None)]


def test_a_named_pandas_index_is_a_column_and_a_nameless_one_is_not() -> None:
    frame = pd.DataFrame({"v": [1.0]}, index=pd.DatetimeIndex([datetime.datetime(2025, 1, 1)], name="ts"))
    assert _sources.to_reader(frame).schema.names == ["ts", "v"]
    assert _sources.to_reader(frame.rename_axis(None)).schema.names == ["v"]
    assert _sources.to_reader(pd.DataFrame({"v": [1.0]}, index=["row"])).schema.names == ["v"]


@pytest.mark.parametrize("source", [[1], {"a": [1]}, "file.parquet", None, pl.LazyFrame({"a": [1]})])
def test_other_things_are_refused_with_a_word_of_help(source: object) -> None:
    with pytest.raises(TypeError, match="cannot append a .*__arrow_c_stream__"):
        _sources.to_reader(source)


def test_batches_are_cut_by_rows() -> None:
    batch = pa.record_batch({"a": pa.array(range(200_000))})
    pieces = list(_sources.wire_batches(batch, batch.schema))
    assert [piece.num_rows for piece in pieces] == [65536, 65536, 65536, 3392]
    assert pa.Table.from_batches(pieces)["a"].to_pylist() == list(range(200_000))


def test_batches_are_cut_by_bytes() -> None:
    batch = pa.record_batch({"a": ["x" * 1_000_000] * 40})
    pieces = list(_sources.wire_batches(batch, batch.schema))
    assert max(piece.nbytes for piece in pieces) <= _sources.BATCH_BYTES_MAX
    assert sum(piece.num_rows for piece in pieces) == 40


def test_slices_of_views_do_not_drag_the_whole_column_along() -> None:
    column = pa.array([f"a value longer than twelve bytes {i}" for i in range(200_000)]).cast(pa.string_view())
    batch = pa.record_batch({"a": column})
    pieces = list(_sources.wire_batches(batch, _sources.wire_schema(batch.schema)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pieces[0].schema) as writer:
        for piece in pieces:
            writer.write_batch(piece)
    assert sink.getvalue().size < 2 * column.cast(pa.string()).nbytes
    assert pa.Table.from_batches(pieces)["a"].to_pylist() == column.to_pylist()


class Once:
    """Gives its rows to the first who asks."""

    def __init__(self) -> None:
        self.left = TABLE

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        given, self.left = self.left, self.left.slice(0, 0)
        return given.__arrow_c_stream__(requested_schema)


def test_a_source_that_gives_fewer_rows_again_is_found_out() -> None:
    again = _sources.Rereader(TABLE)
    assert [again.read().read_all().num_rows for _ in range(3)] == [TABLE.num_rows] * 3
    once = _sources.Rereader(Once())
    assert once.read().read_all() == TABLE
    with pytest.raises(TypeError, match="gave 3 rows at first and only 0"):
        once.read().read_all()
    # Nor may the second try end before where the first one broke off.
    once = _sources.Rereader(Once())
    once.read().read_next_batch()
    with pytest.raises(TypeError, match="read again"):
        once.read().read_all()


def test_an_empty_batch_gives_nothing_to_send() -> None:
    batch = pa.record_batch({"a": pa.array([], pa.int64())})
    assert list(_sources.wire_batches(batch, batch.schema)) == []


def test_a_parquet_file_is_read_in_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(300_000)}), tmp_path / "a.parquet", row_group_size=300_000)
    batches = list(_sources.open_parquet(str(tmp_path / "a.parquet")))
    assert max(batch.num_rows for batch in batches) <= _sources.BATCH_ROWS_MAX
    assert sum(batch.num_rows for batch in batches) == 300_000
