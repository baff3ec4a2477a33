//! A logical rule about rows that are grouped by entity: what the coverage index knows of entities need not be read.
//!
//! `counts` takes how many rows an entity has, and which entities there are, from the index; `latest` reads only the segments
//! that can hold the last (or first) row of some entity. `rows` reads the plan for both. `holders` finds the segments, `end_row`
//! is the aggregate that keeps one row, `row_count` the function that counts an entity's.
//!
//! It belongs behind DataFusion's own rules: filters have come down to the scans then, and `DISTINCT` is an aggregation.

mod counts;
mod end_row;
mod holders;
mod latest;
mod row_count;
mod rows;

use std::collections::BTreeSet;

use datafusion::common::tree_node::Transformed;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::provider::SnapshotProvider;
use rows::{Rows, Shown};

/// See the module.
#[derive(Debug, Default)]
pub struct EntitiesFromCoverage;

impl OptimizerRule for EntitiesFromCoverage {
    fn name(&self) -> &str {
        "entities_from_coverage"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let changed = match &plan {
            LogicalPlan::Aggregate(aggregation) => rewritten(aggregation)?,
            _ => None,
        };
        Ok(changed.map_or_else(|| Transformed::no(plan), Transformed::yes))
    }
}

/// An aggregation over all rows of some entities of one table, over less; `None` for any other, or when there is nothing to change.
fn rewritten(aggregation: &Aggregate) -> Result<Option<LogicalPlan>> {
    let Some(shown) = Shown::by(&aggregation.input) else { return Ok(None) };
    let provider = source_as_provider(&shown.scan.source)?;
    let Some(table) = provider.downcast_ref::<SnapshotProvider>() else { return Ok(None) };
    let Some(layout) = table.snapshot().layout.as_deref() else { return Ok(None) };
    let rows = Rows { layout, plan: &aggregation.input, shown };
    if !rows.are_all_of_some_entities() {
        return Ok(None);
    }
    // Counts beside an end leave an aggregation of the end alone, whose turn comes next.
    match counts::rewritten(aggregation, &rows, table)? {
        None => latest::rewritten(aggregation, &rows, table),
        counted => Ok(counted),
    }
}

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
