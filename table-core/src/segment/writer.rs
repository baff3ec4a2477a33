//! Writing a segment: sorted rows in, a durable Parquet file and its [`SegmentMeta`] out.
//!
//! Rows come in parts, each of which goes on where the last one ended, so that no more than a part is in memory. Everything here
//! blocks and belongs on the blocking pool. How columns become pages is `columns`' business.

use std::fmt;
use std::io;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, ArrowWriterOptions};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::buffer::{Place, SEGMENT_ROWS_MAX, SegmentRows};
use super::columns::{EncodedRowGroup, OpenRowGroup, encode_part, properties};
use super::meta::{FIRST_ROW_GROUP_BYTE, FOOTER_TRAILER_BYTES};
use super::output::CheckedOutput;
use super::stats::Collected;
use super::{RowGroupMeta, SegmentMeta};
use crate::coverage::CoverageDelta;
use crate::error::{Error, ErrorKind, WRITABLE_ADVICE};
use crate::schema::{TableLayout, field_id};
use crate::storage::Staged;
use crate::types::{EntityKey, IndexType, SegmentId};

/// Arrow bytes from which on a segment takes no more parts: 32 MiB.
pub const SEGMENT_BYTES: usize = 32 << 20;

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

/// Writes rows that are there all at once into `staged`. Blocking.
///
/// # Errors
/// See [`WriteError`]; then what was written is removed.
pub fn write_segment(
    id: SegmentId,
    layout: &Arc<TableLayout>,
    rows: SegmentRows,
    staged: Box<dyn Staged>,
) -> Result<StagedSegment, WriteError> {
    let mut writer = SegmentWriter::create(id, layout, &rows, staged)?;
    writer.write(rows, true)?;
    writer.finish()
}

/// A segment that is being written, part by part. Dropping it removes the file.
pub struct SegmentWriter {
    id: SegmentId,
    layout: Arc<TableLayout>,
    failure: Arc<Mutex<Option<io::Error>>>,
    file: SerializedFileWriter<CheckedOutput>,
    factory: ArrowRowGroupWriterFactory,
    open: Option<OpenRowGroup>,
    row_groups: Vec<RowGroupMeta>,
    stats: Vec<Collected>,
    row_count: usize,
    /// Arrow bytes, about.
    bytes: usize,
    /// Where the last row belongs; `None` on plain tables.
    last: Option<Place>,
    index_range: Option<(i64, i64)>,
    entity_range: Option<(EntityKey, EntityKey)>,
    delta: CoverageDelta,
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("id", &self.id)
            .field("row_count", &self.row_count)
            .finish_non_exhaustive()
    }
}

impl SegmentWriter {
    /// A segment that begins with `rows`, which decide how it is encoded and are not written yet. Blocking.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn create(
        id: SegmentId,
        layout: &Arc<TableLayout>,
        rows: &SegmentRows,
        staged: Box<dyn Staged>,
    ) -> Result<Self, WriteError> {
        let failure = Arc::default();
        let output = CheckedOutput::new(staged, Arc::clone(&failure));
        let (file, factory) =
            begin(layout, rows, output).map_err(|error| write_error(id, &failure, &error))?;
        Ok(Self {
            id,
            layout: Arc::clone(layout),
            failure,
            file,
            factory,
            open: None,
            row_groups: Vec::new(),
            stats: vec![Collected::default(); layout.schema.fields().len()],
            row_count: 0,
            bytes: 0,
            last: None,
            index_range: None,
            entity_range: None,
            delta: CoverageDelta::default(),
        })
    }

    /// Whether the rows go on in (entity, index) order where the last ones ended, and there is room for them.
    pub fn takes(&self, rows: &SegmentRows) -> bool {
        let in_order = match (&self.last, &rows.places) {
            (Some(last), Some((first, _))) => last <= first,
            (None, None) => true,
            _ => self.row_count == 0,
        };
        in_order && !self.is_full() && self.row_count + rows.row_count <= SEGMENT_ROWS_MAX
    }

    /// Whether it is long enough.
    pub fn is_full(&self) -> bool {
        self.bytes >= SEGMENT_BYTES || self.row_count >= SEGMENT_ROWS_MAX
    }

    /// Encodes the rows and writes every row group that they complete. `last` says that no more will come. Blocking.
    ///
    /// # Errors
    /// See [`WriteError`]. The segment is of no more use then.
    pub fn write(&mut self, rows: SegmentRows, last: bool) -> Result<(), WriteError> {
        self.row_count += rows.row_count;
        self.bytes += rows.bytes;
        let last = last || self.is_full();
        self.encode(&rows, last).map_err(|error| write_error(self.id, &self.failure, &error))?;
        self.last = rows.places.map(|(_, last)| last);
        let flip = if self.layout.index_type == Some(IndexType::UInt64) { i64::MIN } else { 0 };
        self.index_range = joined(self.index_range.take(), rows.index_range, |value| value ^ flip);
        self.entity_range = joined(self.entity_range.take(), rows.entity_range, EntityKey::clone);
        match self.delta.is_empty() {
            true => self.delta = rows.delta,
            false => self.delta.union(&rows.delta),
        }
        Ok(())
    }

    fn encode(&mut self, rows: &SegmentRows, last: bool) -> Result<(), ParquetError> {
        let number = self.row_groups.len();
        let schema = &self.layout.schema;
        let part = encode_part(schema, rows, &self.factory, self.open.take(), number, last)?;
        self.open = part.open;
        for (stats, part) in self.stats.iter_mut().zip(part.stats) {
            stats.merge(part);
        }
        for row_group in part.row_groups {
            self.append(row_group)?;
        }
        Ok(())
    }

    fn append(&mut self, row_group: EncodedRowGroup) -> Result<(), ParquetError> {
        let start = self.file.inner().written;
        let mut writer = self.file.next_row_group()?;
        for chunk in row_group.chunks {
            chunk.append_to_row_group(&mut writer)?;
        }
        writer.close()?;
        // The writer buffers: only what went through is in the checksum.
        self.file.flush()?;
        let output = self.file.inner_mut();
        self.row_groups.push(RowGroupMeta {
            row_count: row_group.row_count as u64,
            start,
            end: output.written,
            crc32c: output.take_crc32c(),
        });
        Ok(())
    }

    /// Writes what is left and the footer. Blocking.
    ///
    /// # Errors
    /// See [`WriteError`]; then what was written is removed.
    pub fn finish(mut self) -> Result<StagedSegment, WriteError> {
        if let Some(open) = self.open.take() {
            open.close()
                .and_then(|row_group| self.append(row_group))
                .map_err(|error| write_error(self.id, &self.failure, &error))?;
        }
        let output =
            self.file.into_inner().map_err(|error| write_error(self.id, &self.failure, &error))?;
        let fields = self.layout.schema.fields().iter();
        let columns = fields
            .zip(self.stats)
            .filter_map(|(field, stats)| Some(stats.finish(field_id(field)?)))
            .collect();
        let footer_length = u32::from_le_bytes(output.last[..4].try_into().unwrap_or_default());
        let meta = SegmentMeta {
            id: self.id,
            file_bytes: output.written,
            footer_bytes: u64::from(footer_length) + FOOTER_TRAILER_BYTES,
            row_count: self.row_count as u64,
            index_range: self.index_range,
            entity_range: self.entity_range,
            columns,
            row_groups: self.row_groups,
            tail_crc32c: output.crc32c,
            file_digest: *output.digest.finalize().as_bytes(),
            sorted: self.last.is_some(),
        };
        Ok(StagedSegment { meta, delta: self.delta, staged: Some(output.staged) })
    }
}

type Begun = (SerializedFileWriter<CheckedOutput>, ArrowRowGroupWriterFactory);

fn begin(
    layout: &TableLayout,
    rows: &SegmentRows,
    output: CheckedOutput,
) -> Result<Begun, ParquetError> {
    let options = ArrowWriterOptions::new().with_properties(properties(layout, rows)?);
    let schema = SchemaRef::clone(&layout.schema);
    let writer = ArrowWriter::try_new_with_options(output, schema, options)?;
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
    Ok((file, factory))
}

/// What the storage said, if it was the cause.
fn write_error(
    id: SegmentId,
    failure: &Mutex<Option<io::Error>>,
    error: &ParquetError,
) -> WriteError {
    match failure.lock().take() {
        Some(source) => WriteError::Io { segment: id, source },
        None => WriteError::Encode { segment: id, reason: error.to_string() },
    }
}

/// The range that spans both; values compare by `key`.
fn joined<T, K: Ord>(
    left: Option<(T, T)>,
    right: Option<(T, T)>,
    key: impl Fn(&T) -> K,
) -> Option<(T, T)> {
    match (left, right) {
        (Some((min, max)), Some((other_min, other_max))) => Some((
            if key(&other_min) < key(&min) { other_min } else { min },
            if key(&other_max) > key(&max) { other_max } else { max },
        )),
        (left, right) => left.or(right),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
