//! The bridge to DataFusion: a `TableProvider` over one pinned [`Snapshot`](crate::Snapshot), its table and scalar functions,
//! physical rules that know how segments are sorted, gap filling and `ASOF JOIN`.

mod asof;
mod cast_times;
mod columns_first;
mod comparisons;
mod date_bin;
mod date_trunc;
mod ends;
mod entities;
mod float_bounds;
mod float_limits;
mod frames;
mod functions;
mod gapfill;
mod group_names;
mod groups;
mod lengths;
mod lists;
mod lossy;
mod memory;
mod merging;
mod name_clash;
mod null_aware_in;
mod order;
mod parts;
mod physical;
mod provider;
mod series;
mod shown_subqueries;
mod sort_keys;
mod statistics;

pub use asof::{AsofFilters, AsofJoin, AsofKeys, asof_join};
pub use cast_times::CastTimes;
pub use columns_first::ColumnsFirst;
pub use comparisons::ExactComparisons;
pub use date_bin::date_bin;
pub use date_trunc::date_trunc;
pub use ends::ReadEnds;
pub use entities::EntitiesFromCoverage;
pub use float_bounds::float_bounds;
pub use float_limits::WholeFloatGroups;
pub use frames::WholeTickFrames;
pub use functions::{PinnedTable, SnapshotSource, table_function_names, table_functions};
pub use gapfill::{GAPFILL_ROWS_MAX, GapFilling, gapfill_functions};
pub use group_names::guard_group_names;
pub use lengths::LengthsOfTime;
pub use lists::guard_lists;
pub use lossy::OneWayFilters;
pub(crate) use lossy::marked;
pub use merging::MergeSegments;
pub use name_clash::guard_pushdown;
pub use null_aware_in::NullAwareIn;
pub use order::UnorderedGroups;
pub use physical::PhysicalPlans;
pub use provider::{SnapshotProvider, TABLE_STORE_URL};
pub(crate) use series::{AT_TIME_ZONE, bucket_length};
pub use series::{aggregate_functions, scalar_functions};
pub use shown_subqueries::{MarkedProjections, ShownSubqueries};
pub use sort_keys::SortKeysOnce;

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
