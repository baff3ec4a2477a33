//! Which segments can hold rows that match.

use std::sync::Arc;

use datafusion::logical_expr::Expr;

use crate::segment::SegmentMeta;
use crate::snapshot::Snapshot;

/// The segments of `snapshot` that can hold a row for which every filter is true. Never drops one that can.
pub fn prune_segments(snapshot: &Snapshot, filters: &[Expr]) -> Vec<Arc<SegmentMeta>> {
    todo!()
}
