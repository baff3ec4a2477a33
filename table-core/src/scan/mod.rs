//! From a query's filters to the segments and hot rows that can match. Pure.

mod predicate;
mod prune;

pub(crate) use prune::{Part, filter_support, implied_filters, physical_filter, prune};
