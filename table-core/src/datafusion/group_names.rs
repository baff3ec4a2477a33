//! A guard around logical rules of DataFusion that put a projection above an aggregate: they leave alone an aggregate with two
//! expressions of one name, which no projection may have.
//!
//! A cast has the name of what it casts, so `GROUP BY n, CAST(n AS DOUBLE)` is an aggregate of that kind. It is fine as it is: one
//! column is `t.n`, and the other a column "t.n" of no table. Only the rules that would make it simpler fail on it.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, LogicalPlan};
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// `rules` with a guard around each that puts a projection above an aggregate.
pub fn guard_group_names(
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let constants = EliminateGroupByConstant::new();
    let distincts = SingleDistinctToGroupBy::new();
    let projecting = [constants.name(), distincts.name()];
    rules
        .into_iter()
        .map(|rule| match projecting.contains(&rule.name()) {
            true => Arc::new(Guarded(rule)) as Arc<dyn OptimizerRule + Send + Sync>,
            false => rule,
        })
        .collect()
}

/// A rule that is not asked about aggregates with two expressions of one name.
#[derive(Debug)]
struct Guarded(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for Guarded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) if has_twins(aggregate) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn has_twins(aggregate: &Aggregate) -> bool {
    let mut seen = HashSet::new();
    let mut exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    exprs.any(|expr| !seen.insert(expr.schema_name().to_string()))
}

#[cfg(test)]
#[path = "group_names_tests.rs"]
mod tests;
