//! `coverage('t')` and `gaps('t' [, start, end])`: answered from the snapshot alone, no file is opened.

use std::fmt;
use std::sync::Arc;

use crate::snapshot::Snapshot;

/// Finds the pinned snapshot of a table by the name that a query used.
pub trait SnapshotSource: fmt::Debug + Send + Sync {
    /// The snapshot, or an error that names the table.
    fn snapshot(&self, table: &str) -> datafusion::error::Result<Arc<Snapshot>>;
}

/// The table function `coverage`.
#[derive(Debug)]
pub struct CoverageFunction(pub Arc<dyn SnapshotSource>);

/// The table function `gaps`.
#[derive(Debug)]
pub struct GapsFunction(pub Arc<dyn SnapshotSource>);
