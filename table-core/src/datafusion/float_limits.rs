//! A physical rule: groups of floats are not cut short by a limit.
//!
//! For `GROUP BY x ORDER BY x LIMIT n`, and for the order of a `min` or `max`, DataFusion keeps only the best `n` groups while it
//! reads. It compares floats in a way that NaN is neither equal to itself nor greater than others, so a group of NaN comes
//! back several times, in a wrong place, or the query fails. Groups of floats are all kept, and the sort above takes the
//! first of them.
//!
//! Belongs behind DataFusion's own rules.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// See the module.
#[derive(Debug, Default)]
pub struct WholeFloatGroups;

impl PhysicalOptimizerRule for WholeFloatGroups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(aggregation) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            // A limit without a direction takes any groups, whatever they compare like.
            let by_value =
                aggregation.limit_options().is_some_and(|limit| limit.descending().is_some());
            let floats =
                aggregation.schema().fields().iter().any(|field| field.data_type().is_floating());
            if !by_value || !floats {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(Arc::new(aggregation.with_new_limit_options(None))))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "whole_float_groups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
