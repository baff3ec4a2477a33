//! The bridge to DataFusion: a `TableProvider` over one pinned [`Snapshot`](crate::Snapshot) and the table functions.

mod functions;
mod provider;

pub use functions::{CoverageFunction, GapsFunction, SnapshotSource};
pub use provider::{SnapshotProvider, TABLE_STORE_URL};
