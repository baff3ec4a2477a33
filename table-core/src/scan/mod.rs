//! From a query's filters to the segments that can hold matching rows. Pure.

mod predicate;
mod prune;

pub use prune::prune_segments;
pub(crate) use prune::{column_bounds, filter_support, implied_filters, physical_filter};
