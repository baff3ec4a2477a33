//! What the log records about a segment: enough to prune and to answer min, max and count without opening the file, and
//! enough to notice any damage to it.

use coverline_proto::log as proto;
use datafusion::common::ScalarValue;

use crate::types::{EntityKey, SegmentId};

/// One row group's place in the file, with the checksum of exactly those bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroupMeta {
    /// Rows.
    pub row_count: u64,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// CRC32C of `start..end`.
    pub crc32c: u32,
}

/// Exact statistics of one top-level column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnStats {
    /// `PARQUET:field_id`.
    pub field_id: i32,
    /// Nulls.
    pub null_count: u64,
    /// Smallest value; `None` when unknown (nested types, NaN present, all null).
    pub min: Option<ScalarValue>,
    /// Greatest value.
    pub max: Option<ScalarValue>,
}

/// One segment as the log names it.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentMeta {
    /// Identity; the file is `data/<id>.parquet` below the table's folder.
    pub id: SegmentId,
    /// Size of the file.
    pub file_bytes: u64,
    /// Size of the Parquet footer, its 8 trailing bytes included.
    pub footer_bytes: u64,
    /// Rows.
    pub row_count: u64,
    /// Smallest and greatest index value, in index units (bit pattern for UInt64); `None` on plain tables.
    pub index_range: Option<(i64, i64)>,
    /// Smallest and greatest entity; equal when the segment holds one entity. `None` without entity columns.
    pub entity_range: Option<(EntityKey, EntityKey)>,
    /// One entry per top-level column that has statistics.
    pub columns: Vec<ColumnStats>,
    /// In file order, contiguous from byte 4 on.
    pub row_groups: Vec<RowGroupMeta>,
    /// CRC32C of everything behind the last row group.
    pub tail_crc32c: u32,
    /// BLAKE3 of the file.
    pub file_digest: [u8; 32],
    /// Rows are sorted by (entity, index).
    pub sorted: bool,
}

impl SegmentMeta {
    /// The action that adds this segment to the table.
    pub fn to_proto(&self) -> proto::AddSegment {
        todo!()
    }

    /// Reads the action back. Scalars get the type that `schema` gives the field id.
    ///
    /// # Errors
    /// A text that names the field that is missing or contradicts another.
    pub fn from_proto(
        add: &proto::AddSegment,
        schema: &arrow::datatypes::Schema,
    ) -> Result<Self, String> {
        todo!()
    }
}
