//! The bridge to DataFusion: a `TableProvider` over one pinned [`Snapshot`](crate::Snapshot), its table and scalar functions,
//! and physical rules that know how segments are sorted.

mod date_bin;
mod ends;
mod functions;
mod groups;
mod lossy;
mod memory;
mod order;
mod provider;
mod statistics;

pub use date_bin::date_bin;
pub use ends::ReadEnds;
pub use functions::{PinnedTable, SnapshotSource, table_function_names, table_functions};
pub use lossy::OneWayFilters;
pub use order::UnorderedGroups;
pub use provider::{SnapshotProvider, TABLE_STORE_URL};

pub use crate::segment::reader::{SEGMENT_CACHE_BYTES, SegmentCache};

use crate::error::Error;

/// The error of this crate that a query failed with, however deep DataFusion, Arrow or Parquet wrapped it.
pub fn find_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
