//! `ASOF JOIN`: each row of the left side with the one row of the right side that is nearest in an ordered column, among those with
//! equal keys. Left rows without one stay, with nulls.
//!
//! - `build`: from what stands in a statement to a plan. `condition`: which conditions there are, from expressions (pure).
//! - `node`: the join in a logical plan. `filters`: what a filter above it says of its sides.
//! - `planner`: from the logical to the physical plan. `exec`: the operator; `stream`: one partition of it as it runs.
//! - `side`, `merge`: a batch of one side ready to be compared, and the merge of two sorted sides (pure).
//! - `ordinal`: values of the ordered column as integers in the same order. `nearness`: how far apart two may be.
//!
//! The syntax is Snowflake's and is read by the server; the syntax tree is no business of this module, so that both can go when
//! DataFusion plans the join by itself.

mod build;
mod condition;
mod exec;
mod filters;
mod merge;
mod nearness;
mod node;
mod ordinal;
mod planner;
mod side;
mod stream;

#[cfg(test)]
mod tests;

pub use build::{AsofKeys, asof_join};
pub use filters::AsofFilters;
pub use node::AsofJoin;
pub(super) use planner::AsofPlanner;
