//! Columns of a segment's rows, encoded: how each is written, and by which thread.
//!
//! Columns of all row groups of a part are encoded by a few scoped threads that take one (row group, column) after the other;
//! scoped threads and not more tasks of the pool, because a task of the pool that waits for others of it can find them never
//! started. A small part is encoded where it is called, without any thread.
//!
//! Bloom filters are left out: entities are sorted, so that ranges and the page index already lead to their rows.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::buffer::SegmentRows;
use super::row_group::{self, ROW_GROUP_ROWS_MAX};
use super::stats::Collected;
use crate::schema::TableLayout;

/// Compression of all pages. Zstandard makes files a fifteenth smaller, and then decoding takes half as long again.
const COMPRESSION: Compression = Compression::LZ4_RAW;

/// A page that compression leaves more than this part of is stored as it is. Packed numbers hardly get smaller, and decompressing
/// them is a copy.
const COMPRESSED_PART_MAX: f64 = 0.9;

/// Arrow bytes below which a segment is written plainly: compression and dictionaries would cost more than they save.
const PLAIN_BYTES_MAX: usize = 16 << 10;

/// Arrow bytes below which one thread encodes alone.
const ONE_THREAD_BYTES_MAX: usize = 512 << 10;

/// Threads that encode one segment at most.
const ENCODING_THREADS_MAX: usize = 8;

/// Rows looked at to decide whether a float column repeats itself.
const DICTIONARY_SAMPLE_ROWS: usize = 4096;

/// A row group that goes on in the next part.
pub(super) struct OpenRowGroup {
    row_count: usize,
    /// Of each column.
    writers: Vec<ColumnWriters>,
}

/// One for each Parquet column that an Arrow column becomes.
type ColumnWriters = Vec<ArrowColumnWriter>;

/// A whole row group, encoded.
pub(super) struct EncodedRowGroup {
    pub(super) row_count: usize,
    /// In file order.
    pub(super) chunks: Vec<ArrowColumnChunk>,
}

/// What became of the rows of a part.
pub(super) struct EncodedPart {
    /// The row groups that ended in it.
    pub(super) row_groups: Vec<EncodedRowGroup>,
    /// The one that did not.
    pub(super) open: Option<OpenRowGroup>,
    /// Of each column, of the part's rows.
    pub(super) stats: Vec<Collected>,
}

impl OpenRowGroup {
    /// Ends it.
    pub(super) fn close(self) -> Result<EncodedRowGroup, ParquetError> {
        let writers = self.writers.into_iter().flatten();
        let chunks = writers.map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
        Ok(EncodedRowGroup { row_count: self.row_count, chunks })
    }
}

/// One column of the rows that go to one row group.
struct ColumnTask {
    column: usize,
    rows: Range<usize>,
    ends: bool,
    writers: Mutex<ColumnWriters>,
    done: Mutex<Option<Result<EncodedColumn, ParquetError>>>,
}

/// What becomes of it: its chunks when the row group ends, otherwise its writers.
struct EncodedColumn {
    chunks: Vec<ArrowColumnChunk>,
    writers: ColumnWriters,
    stats: Collected,
}

/// Encodes the next rows of a segment, whose last row group may be `open`. No row group stays open after the `last` part.
/// `first_group` is the number of the first row group that the rows go to.
pub(super) fn encode_part(
    schema: &SchemaRef,
    rows: &SegmentRows,
    factory: &ArrowRowGroupWriterFactory,
    mut open: Option<OpenRowGroup>,
    first_group: usize,
    last: bool,
) -> Result<EncodedPart, ParquetError> {
    let begun = open.as_ref().map_or(0, |group| group.row_count);
    let mut stretches = row_group::cut(rows.row_count, &rows.entity_ends, begun);
    if last && let Some(stretch) = stretches.last_mut() {
        stretch.ends = true;
    }
    let column_count = schema.fields().len();
    let mut tasks = Vec::with_capacity(stretches.len() * column_count);
    for (number, stretch) in stretches.iter().enumerate() {
        let writers = match open.take() {
            Some(open) => open.writers,
            None => column_writers(schema, factory, first_group + number)?,
        };
        for (column, writers) in writers.into_iter().enumerate() {
            let (rows, ends) = (stretch.rows.clone(), stretch.ends);
            let (writers, done) = (Mutex::new(writers), Mutex::new(None));
            tasks.push(ColumnTask { column, rows, ends, writers, done });
        }
    }
    encode_columns(schema, rows, &tasks);

    let mut part = EncodedPart {
        row_groups: Vec::new(),
        open: None,
        stats: vec![Collected::default(); column_count],
    };
    let mut tasks = tasks.into_iter();
    let mut begun = begun;
    for stretch in stretches {
        let row_count = std::mem::take(&mut begun) + stretch.rows.len();
        let mut group = EncodedRowGroup { row_count, chunks: Vec::with_capacity(column_count) };
        let mut writers = Vec::new();
        for task in tasks.by_ref().take(column_count) {
            let unfinished = || ParquetError::General("a column was not encoded".to_owned());
            let encoded = task.done.into_inner().ok_or_else(unfinished)??;
            group.chunks.extend(encoded.chunks);
            writers.push(encoded.writers);
            if let Some(stats) = part.stats.get_mut(task.column) {
                stats.merge(encoded.stats);
            }
        }
        match stretch.ends {
            true => part.row_groups.push(group),
            false => part.open = Some(OpenRowGroup { row_count, writers }),
        }
    }
    Ok(part)
}

fn column_writers(
    schema: &SchemaRef,
    factory: &ArrowRowGroupWriterFactory,
    row_group: usize,
) -> Result<Vec<ColumnWriters>, ParquetError> {
    let mut leaves = factory.create_column_writers(row_group)?.into_iter();
    let fields = schema.fields().iter();
    Ok(fields.map(|field| leaves.by_ref().take(leaf_count(field.data_type())).collect()).collect())
}

fn encode_columns(schema: &SchemaRef, rows: &SegmentRows, tasks: &[ColumnTask]) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let encoded = encode_column(schema.field(task.column), task, rows);
            let failed = encoded.is_err();
            *task.done.lock() = Some(encoded);
            if failed {
                next.store(tasks.len(), Ordering::Relaxed);
            }
        }
    };
    let threads = thread_count(rows, tasks.len());
    if threads < 2 {
        work();
    } else {
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }
}

fn thread_count(rows: &SegmentRows, task_count: usize) -> usize {
    if rows.bytes < ONE_THREAD_BYTES_MAX {
        return 1;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.min(ENCODING_THREADS_MAX).min(task_count)
}

fn encode_column(
    field: &Field,
    task: &ColumnTask,
    rows: &SegmentRows,
) -> Result<EncodedColumn, ParquetError> {
    let mut writers = std::mem::take(&mut *task.writers.lock());
    let mut stats = Collected::default();
    let mut write = |array: &ArrayRef| -> Result<(), ParquetError> {
        stats.merge(Collected::of(array));
        for (leaf, writer) in compute_leaves(field, array)?.iter().zip(&mut writers) {
            writer.write(leaf)?;
        }
        Ok(())
    };
    match &rows.order {
        None => {
            let mut start = 0;
            for batch in &rows.batches {
                let end = start + batch.num_rows();
                let (first, last) = (task.rows.start.max(start), task.rows.end.min(end));
                if first < last {
                    write(&batch.column(task.column).slice(first - start, last - first))?;
                }
                start = end;
            }
        }
        Some(order) => {
            let arrays: Vec<&dyn Array> =
                rows.batches.iter().map(|batch| batch.column(task.column).as_ref()).collect();
            write(&interleave(&arrays, &order[task.rows.clone()])?)?;
        }
    }
    let mut chunks = Vec::new();
    if task.ends {
        chunks = writers.drain(..).map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
    }
    Ok(EncodedColumn { chunks, writers, stats })
}

/// Parquet columns that one Arrow column becomes.
fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            leaf_count(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field.data_type())).sum(),
        _ => 1,
    }
}

/// How the rows of a segment are written, judged by the first of them.
pub(super) fn properties(
    layout: &TableLayout,
    rows: &SegmentRows,
) -> Result<WriterProperties, ParquetError> {
    let plain = rows.bytes < PLAIN_BYTES_MAX;
    let compression = if plain { Compression::UNCOMPRESSED } else { COMPRESSION };
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("coverline ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
        // Pages of the second version say each for itself whether they are compressed.
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_data_page_v2_compression_ratio_threshold(COMPRESSED_PART_MAX)
        // Of what has no dictionary; otherwise that version has encodings that take longer to decode.
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(!plain)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX));
    for (position, field) in layout.schema.fields().iter().enumerate() {
        let path = || ColumnPath::new(vec![field.name().clone()]);
        let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
        if is_time || layout.index == Some(position) {
            builder = builder
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        } else if !plain && field.data_type().is_floating() && !repeats_itself(rows, position) {
            builder = builder.set_column_dictionary_enabled(path(), false);
        }
    }
    Ok(builder.build())
}

/// Whether a float column has few enough distinct values for a dictionary to pay, judged by its first rows.
fn repeats_itself(rows: &SegmentRows, column: usize) -> bool {
    let Some(batch) = rows.batches.first() else { return false };
    let array = batch.column(column);
    let sample = array.slice(0, array.len().min(DICTIONARY_SAMPLE_ROWS));
    let mut bits: Vec<u64> = match sample.data_type() {
        DataType::Float64 => {
            sample.as_primitive::<Float64Type>().iter().flatten().map(f64::to_bits).collect()
        }
        DataType::Float32 => {
            let values = sample.as_primitive::<Float32Type>().iter().flatten();
            values.map(|value| u64::from(value.to_bits())).collect()
        }
        _ => return true,
    };
    let count = bits.len();
    bits.sort_unstable();
    bits.dedup();
    // Fifteen sixteenths of a sample are distinct when it is drawn from about eight times as many values, a quarter of a row
    // group: from there on a dictionary is hardly shorter than the values.
    bits.len() * 16 <= count * 15
}
