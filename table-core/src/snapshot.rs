//! [`Snapshot`]: everything known about a table at one version. An immutable value; clones are cheap.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use coverline_proto::log as proto;
use imbl::{HashMap, Vector};

use crate::coverage::Coverage;
use crate::hot::HotSet;
use crate::log::Digest;
use crate::schema::{TableLayout, TableSpec};
use crate::segment::SegmentMeta;
use crate::types::{Bucketing, SegmentId, TableId, Version};

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
    /// Rows of small appends that no flush has made a segment of.
    pub hot: HotSet,
    /// Which (entity, bucket) pairs hold rows; empty on plain tables.
    pub coverage: Coverage,
    /// Rows in all segments, and hot rows.
    pub row_count: u64,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// Append ids within the horizon, by (principal, key).
    pub append_ids: HashMap<(String, String), Arc<proto::AppendId>>,
    /// User properties.
    pub properties: HashMap<String, String>,
    /// The version that added each live segment, and each append's hot rows under their id.
    pub(crate) segment_versions: HashMap<SegmentId, Version>,
    /// The append ids in commit order, for forgetting the oldest. A key that was used again is in it more than once.
    pub(crate) append_order: Vector<Arc<proto::AppendId>>,
    /// Digest of the framed record at this version, which the next record names.
    pub(crate) record_digest: Digest,
}

impl Snapshot {
    /// The schema; `None` until the first append brings one.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.layout.as_ref().map(|layout| &layout.schema)
    }

    /// Whether the table has an index column.
    pub fn is_time_series(&self) -> bool {
        self.spec.index.is_some()
    }

    /// Bucket arithmetic; `None` on plain tables and until there is a schema.
    pub fn bucketing(&self) -> Option<&Bucketing> {
        self.layout.as_ref()?.bucketing.as_ref()
    }

    /// The version that added a live segment.
    pub fn segment_version(&self, segment: SegmentId) -> Option<Version> {
        self.segment_versions.get(&segment).copied()
    }

    /// What a retry of the append with this key is answered with.
    pub fn append_id(&self, principal: &str, key: &str) -> Option<&Arc<proto::AppendId>> {
        self.append_ids.get(&(principal.to_owned(), key.to_owned()))
    }
}
