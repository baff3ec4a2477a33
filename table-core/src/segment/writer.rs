//! Writing a segment: sorted rows in, a durable Parquet file and its [`SegmentMeta`] out.
//!
//! Everything here blocks and belongs on the blocking pool. Columns of all row groups are encoded by a few scoped threads that
//! take one (row group, column) after the other; scoped threads and not more tasks of the pool, because a task of the pool that
//! waits for others of it can find them never started. A small segment is encoded where it is called, without any thread.
//!
//! Bloom filters are left out: entities are sorted, so that ranges and the page index already lead to their rows.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::buffer::{ROW_GROUP_ROWS_MAX, SegmentRows};
use super::meta::{FIRST_ROW_GROUP_BYTE, FOOTER_TRAILER_BYTES};
use super::stats::Collected;
use super::{ColumnStats, RowGroupMeta, SegmentMeta};
use crate::coverage::CoverageDelta;
use crate::error::{Error, ErrorKind, WRITABLE_ADVICE};
use crate::schema::{TableLayout, field_id};
use crate::storage::Staged;
use crate::types::SegmentId;

/// Compression of all pages. Zstandard makes files a fifteenth smaller, and then decoding takes half as long again.
const COMPRESSION: Compression = Compression::LZ4_RAW;

/// Arrow bytes below which a segment is written plainly: compression and dictionaries would cost more than they save.
const PLAIN_BYTES_MAX: usize = 16 << 10;

/// Arrow bytes below which one thread encodes alone.
const ONE_THREAD_BYTES_MAX: usize = 512 << 10;

/// Threads that encode one segment at most.
const ENCODING_THREADS_MAX: usize = 8;

/// Rows looked at to decide whether a float column repeats itself.
const DICTIONARY_SAMPLE_ROWS: usize = 4096;

/// Why a segment could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The storage failed.
    #[error("cannot write segment {segment}: {source}")]
    Io {
        /// Which.
        segment: SegmentId,
        /// Cause.
        source: io::Error,
    },
    /// The rows cannot be encoded.
    #[error("cannot encode segment {segment}: {reason}")]
    Encode {
        /// Which.
        segment: SegmentId,
        /// Cause.
        reason: String,
    },
}

impl WriteError {
    /// The error of what was being done; nothing was committed in any case. `again` says how it comes to be tried again.
    pub(crate) fn into_error(self, doing: &str, again: &str) -> Error {
        let kind = match &self {
            Self::Io { source, .. } => ErrorKind::of_storage(source),
            Self::Encode { .. } => ErrorKind::Internal,
        };
        let advice = match kind {
            ErrorKind::Exhausted => format!("make room; {again}"),
            ErrorKind::Unavailable => again.to_owned(),
            ErrorKind::Precondition => format!("{WRITABLE_ADVICE}; {again}"),
            _ => "this is a bug, please report this text".to_owned(),
        };
        Error::new(kind, format!("{doing} failed: {self}; {advice}")).with_source(self)
    }
}

/// A segment that is written but has no name yet. Dropping it removes the file.
#[derive(Debug)]
pub struct StagedSegment {
    /// What the log will say of it.
    pub meta: SegmentMeta,
    /// What its rows cover.
    pub delta: CoverageDelta,
    staged: Option<Box<dyn Staged>>,
}

impl StagedSegment {
    /// Makes the file durable under its name; nothing the second time. Blocking.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn publish(&mut self) -> Result<(), WriteError> {
        match self.staged.take() {
            None => Ok(()),
            Some(staged) => {
                staged.publish().map_err(|source| WriteError::Io { segment: self.meta.id, source })
            }
        }
    }

    /// Whether the file has its name and is durable.
    pub fn is_published(&self) -> bool {
        self.staged.is_none()
    }
}

/// Encodes the rows into `staged`. Blocking.
///
/// # Errors
/// See [`WriteError`]; then what was written is removed.
pub fn write_segment(
    id: SegmentId,
    layout: &TableLayout,
    rows: SegmentRows,
    staged: Box<dyn Staged>,
) -> Result<StagedSegment, WriteError> {
    let failure = Arc::default();
    let output = CheckedOutput::new(staged, Arc::clone(&failure));
    let (output, columns, row_groups) =
        encode(layout, &rows, output).map_err(|error| match failure.lock().take() {
            Some(source) => WriteError::Io { segment: id, source },
            None => WriteError::Encode { segment: id, reason: error.to_string() },
        })?;
    let footer_length = u32::from_le_bytes(output.last[..4].try_into().unwrap_or_default());
    let meta = SegmentMeta {
        id,
        file_bytes: output.written,
        footer_bytes: u64::from(footer_length) + FOOTER_TRAILER_BYTES,
        row_count: rows.row_count as u64,
        index_range: rows.index_range,
        entity_range: rows.entity_range,
        columns,
        row_groups,
        tail_crc32c: output.crc32c,
        file_digest: *output.digest.finalize().as_bytes(),
        sorted: rows.sorted,
    };
    Ok(StagedSegment { meta, delta: rows.delta, staged: Some(output.staged) })
}

type Encoded = (CheckedOutput, Vec<ColumnStats>, Vec<RowGroupMeta>);

fn encode(
    layout: &TableLayout,
    rows: &SegmentRows,
    output: CheckedOutput,
) -> Result<Encoded, ParquetError> {
    let schema = &layout.schema;
    let options = ArrowWriterOptions::new().with_properties(properties(layout, rows)?);
    let writer = ArrowWriter::try_new_with_options(output, SchemaRef::clone(schema), options)?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    file.flush()?;
    let output = file.inner_mut();
    if output.written != FIRST_ROW_GROUP_BYTE {
        return Err(ParquetError::General(format!(
            "the first row group starts at byte {}",
            output.written
        )));
    }
    output.take_crc32c();

    let (chunks, stats) = encode_columns(schema, rows, &factory)?;
    let mut row_groups = Vec::with_capacity(rows.row_groups.len());
    for (range, columns) in rows.row_groups.iter().zip(chunks) {
        row_groups.push(append_row_group(&mut file, range.len(), columns)?);
    }
    let output = file.into_inner()?;

    let columns = schema
        .fields()
        .iter()
        .zip(stats)
        .filter_map(|(field, stats)| Some(stats.finish(field_id(field)?)))
        .collect();
    Ok((output, columns, row_groups))
}

fn append_row_group(
    file: &mut SerializedFileWriter<CheckedOutput>,
    row_count: usize,
    columns: Vec<Vec<ArrowColumnChunk>>,
) -> Result<RowGroupMeta, ParquetError> {
    let start = file.inner().written;
    let mut row_group = file.next_row_group()?;
    for chunk in columns.into_iter().flatten() {
        chunk.append_to_row_group(&mut row_group)?;
    }
    row_group.close()?;
    // The writer buffers: only what went through is in the checksum.
    file.flush()?;
    let output = file.inner_mut();
    Ok(RowGroupMeta {
        row_count: row_count as u64,
        start,
        end: output.written,
        crc32c: output.take_crc32c(),
    })
}

/// One column of one row group, to be encoded.
struct ColumnTask {
    row_group: usize,
    column: usize,
    writers: Mutex<Vec<ArrowColumnWriter>>,
    done: Mutex<Option<Result<EncodedColumn, ParquetError>>>,
}

/// Its chunks, one for each Parquet column that it becomes, and its statistics.
type EncodedColumn = (Vec<ArrowColumnChunk>, Collected);

type EncodedColumns = (Vec<Vec<Vec<ArrowColumnChunk>>>, Vec<Collected>);

fn encode_columns(
    schema: &SchemaRef,
    rows: &SegmentRows,
    factory: &ArrowRowGroupWriterFactory,
) -> Result<EncodedColumns, ParquetError> {
    let column_count = schema.fields().len();
    let mut tasks = Vec::with_capacity(rows.row_groups.len() * column_count);
    for row_group in 0..rows.row_groups.len() {
        let mut writers = factory.create_column_writers(row_group)?.into_iter();
        for (column, field) in schema.fields().iter().enumerate() {
            let writers = writers.by_ref().take(leaf_count(field.data_type())).collect();
            let (writers, done) = (Mutex::new(writers), Mutex::new(None));
            tasks.push(ColumnTask { row_group, column, writers, done });
        }
    }

    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let writers = std::mem::take(&mut *task.writers.lock());
            let field = schema.field(task.column);
            let range = rows.row_groups[task.row_group].clone();
            let encoded = encode_column(field, task.column, rows, range, writers);
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

    let mut chunks: Vec<Vec<Vec<ArrowColumnChunk>>> =
        rows.row_groups.iter().map(|_| Vec::with_capacity(column_count)).collect();
    let mut stats = vec![Collected::default(); column_count];
    let mut unfinished = false;
    for task in tasks {
        match task.done.into_inner() {
            Some(encoded) => {
                let (encoded, collected) = encoded?;
                chunks[task.row_group].push(encoded);
                stats[task.column].merge(collected);
            }
            None => unfinished = true,
        }
    }
    if unfinished {
        return Err(ParquetError::General("a column was not encoded".to_owned()));
    }
    Ok((chunks, stats))
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
    column: usize,
    rows: &SegmentRows,
    range: Range<usize>,
    mut writers: Vec<ArrowColumnWriter>,
) -> Result<EncodedColumn, ParquetError> {
    let mut collected = Collected::default();
    let mut write = |array: &ArrayRef| -> Result<(), ParquetError> {
        collected.merge(Collected::of(array));
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
                let (first, last) = (range.start.max(start), range.end.min(end));
                if first < last {
                    write(&batch.column(column).slice(first - start, last - first))?;
                }
                start = end;
            }
        }
        Some(order) => {
            let arrays: Vec<&dyn Array> =
                rows.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            write(&interleave(&arrays, &order[range])?)?;
        }
    }
    let chunks =
        writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<Vec<_>, _>>()?;
    Ok((chunks, collected))
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

fn properties(layout: &TableLayout, rows: &SegmentRows) -> Result<WriterProperties, ParquetError> {
    let plain = rows.bytes < PLAIN_BYTES_MAX;
    let compression = if plain { Compression::UNCOMPRESSED } else { COMPRESSION };
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("coverline ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
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

/// Output that counts and hashes what goes through.
#[derive(Debug)]
struct CheckedOutput {
    staged: Box<dyn Staged>,
    /// The storage's error, kept aside because the Parquet writer passes some of them on as mere text.
    failure: Arc<Mutex<Option<io::Error>>>,
    written: u64,
    digest: blake3::Hasher,
    /// Of the bytes since it was taken last.
    crc32c: u32,
    /// The last bytes written.
    last: [u8; FOOTER_TRAILER_BYTES as usize],
}

impl CheckedOutput {
    fn new(staged: Box<dyn Staged>, failure: Arc<Mutex<Option<io::Error>>>) -> Self {
        Self {
            staged,
            failure,
            written: 0,
            digest: blake3::Hasher::new(),
            crc32c: 0,
            last: [0; FOOTER_TRAILER_BYTES as usize],
        }
    }

    /// Keeps the error and hands on one like it.
    fn note(&self, error: io::Error) -> io::Error {
        let like = io::Error::new(error.kind(), error.to_string());
        // A call that was merely interrupted is made again.
        if error.kind() != io::ErrorKind::Interrupted {
            *self.failure.lock() = Some(error);
        }
        like
    }

    fn take_crc32c(&mut self) -> u32 {
        std::mem::take(&mut self.crc32c)
    }
}

impl Write for CheckedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.staged.write(bytes).map_err(|error| self.note(error))?;
        let bytes = &bytes[..count];
        self.written += count as u64;
        self.digest.update(bytes);
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        let length = self.last.len();
        let new = &bytes[count - count.min(length)..];
        self.last.copy_within(new.len().., 0);
        self.last[length - new.len()..].copy_from_slice(new);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.staged.flush().map_err(|error| self.note(error))
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
