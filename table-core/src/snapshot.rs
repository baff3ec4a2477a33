//! [`Snapshot`]: everything known about a table at one version. An immutable value; clones are cheap.

use std::sync::Arc;

use coverline_proto::log as proto;
use imbl::{HashMap, Vector};

use crate::coverage::Coverage;
use crate::schema::{TableLayout, TableSpec};
use crate::segment::SegmentMeta;
use crate::types::{TableId, Version};

/// A table as of one version. Built by replaying the log (`log::replay`), never changed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The table.
    pub table_id: TableId,
    /// The version.
    pub version: Version,
    /// When that version was committed, microseconds since the epoch. Information only.
    pub commit_time_us: i64,
    /// Fixed at creation.
    pub spec: Arc<TableSpec>,
    /// Spec bound to the schema; `None` until the first append brings a schema.
    pub layout: Option<Arc<TableLayout>>,
    /// Live segments in commit order.
    pub segments: Vector<Arc<SegmentMeta>>,
    /// Which (entity, bucket) pairs hold rows; empty on plain tables.
    pub coverage: Coverage,
    /// Rows in all segments.
    pub row_count: u64,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// Append ids within the horizon, by (principal, key).
    pub append_ids: HashMap<(String, String), Arc<proto::AppendId>>,
    /// User properties.
    pub properties: HashMap<String, String>,
}
