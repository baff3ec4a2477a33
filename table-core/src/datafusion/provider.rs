//! [`SnapshotProvider`]: one table at one version, as DataFusion sees it.

use std::sync::Arc;

use crate::snapshot::Snapshot;
use crate::storage::DurableStore;

/// URL under which the session registers the root's object store.
pub const TABLE_STORE_URL: &str = "coverline://root";

/// One table at one version. Scans are a plain `DataSourceExec` over explicit Parquet files.
#[derive(Debug)]
pub struct SnapshotProvider {
    // private
}

impl SnapshotProvider {
    /// A provider of exactly this snapshot.
    pub fn new(snapshot: Arc<Snapshot>, store: Arc<dyn DurableStore>) -> Self {
        todo!()
    }
}
