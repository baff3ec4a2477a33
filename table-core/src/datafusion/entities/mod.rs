//! Logical rules about rows that are grouped by entity: what the coverage index knows of entities need not be read.
//!
//! `counts` takes how many rows an entity has, and which entities there are, from the index; `latest` reads only the segments
//! that can hold the last (or first) row of some entity. `rows` reads the plan for both. `holders` finds the segments, `end_row`
//! is the aggregate that keeps one row, `row_count` the function that counts an entity's.
//!
//! Both belong behind DataFusion's own rules: filters have come down to the scans then, and `DISTINCT` is an aggregation.

mod counts;
mod end_row;
mod holders;
mod latest;
mod row_count;
mod rows;

use std::collections::BTreeSet;

pub use counts::EntityCounts;
pub use latest::LatestRows;

/// Which row of each entity is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    First,
    Last,
}

/// One or both.
type Ends = BTreeSet<End>;

#[cfg(test)]
mod tests;
