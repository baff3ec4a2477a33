//! A physical rule that makes joins, and what else multiplies rows, give way.
//!
//! DataFusion lets leaves and exchanges yield to the scheduler, and relies on everything between to come back to them often.
//! A join that makes many rows of few does not: one poll of a `count(*)` over it can take hours, in which the query can
//! neither be cancelled nor the server be stopped. Each operator that multiplies rows therefore yields by itself.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Operators whose output can be much larger than their input.
const MULTIPLIERS: [&str; 7] = [
    "CrossJoinExec",
    "GapFillExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// Wraps every operator that multiplies rows in a `CooperativeExec`.
#[derive(Debug)]
pub(crate) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(if MULTIPLIERS.contains(&node.name()) {
                Transformed::yes(Arc::new(CooperativeExec::new(node)))
            } else {
                Transformed::no(node)
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
