//! From a query's filters to the segments that can hold matching rows. Pure.

mod predicate;
mod prune;

pub use prune::prune_segments;
