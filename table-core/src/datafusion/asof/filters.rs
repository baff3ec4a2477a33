//! A logical rule: what a filter above an `ASOF JOIN` says of its sides.
//!
//! A left row decides by itself whether a filter of left columns keeps it, and it is joined with the same row whichever others there
//! are: such a filter moves to the left side. Where it speaks of keys alone, the rows of the right side that it would refuse could only
//! have been joined with left rows that it does refuse: the right side is filtered as well, which spares reading the other entities.
//! A filter of right columns stays: it must see the rows that were joined, and not choose among them.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::node::AsofJoin;

/// See the module.
#[derive(Debug, Default)]
pub struct AsofFilters;

impl OptimizerRule for AsofFilters {
    fn name(&self) -> &str {
        "asof_filters"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else {
            return Ok(Transformed::no(plan));
        };
        let Some(join) = extension.node.as_any().downcast_ref::<AsofJoin>() else {
            return Ok(Transformed::no(plan));
        };
        match moved(filter, join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

fn moved(filter: &Filter, join: &AsofJoin) -> Result<Option<LogicalPlan>> {
    let left_schema = join.left().schema();
    let (down, stay): (Vec<_>, Vec<_>) = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .partition(|part| is_of(part, left_schema));
    let Some(left) = conjunction(down.clone()) else { return Ok(None) };
    let mut right = LogicalPlanBuilder::from(join.right().as_ref().clone());
    let of_keys =
        down.into_iter().map(|part| over_right_keys(part, join)).collect::<Result<Vec<_>>>()?;
    if let Some(of_keys) = conjunction(of_keys.into_iter().flatten()) {
        right = right.filter(of_keys)?;
    }
    let left = LogicalPlanBuilder::from(join.left().as_ref().clone()).filter(left)?.build()?;
    let joined = join.with_sides(left, right.build()?)?;
    match conjunction(stay) {
        Some(stay) => LogicalPlanBuilder::from(joined).filter(stay)?.build().map(Some),
        None => Ok(Some(joined)),
    }
}

/// Whether a filter can run on a side before it is joined.
fn is_of(part: &Expr, schema: &DFSchema) -> bool {
    let columns = part.column_refs();
    !columns.is_empty()
        && columns.iter().all(|column| schema.has_column(column))
        && !part.is_volatile()
}

/// The same filter of the right side's keys, if it is one of keys alone.
fn over_right_keys(part: Expr, join: &AsofJoin) -> Result<Option<Expr>> {
    let right_key = |column: &Column| {
        let mut keys = join.conditions().keys.iter();
        keys.find_map(|key| match (&key.left, &key.right) {
            (Expr::Column(left), Expr::Column(right)) if left == column => Some(right.clone()),
            _ => None,
        })
    };
    let asks_more = part.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    })?;
    if asks_more || part.column_refs().into_iter().any(|column| right_key(column).is_none()) {
        return Ok(None);
    }
    let renamed = part.transform_down(|expr| match &expr {
        Expr::Column(column) => match right_key(column) {
            Some(right) => Ok(Transformed::new(Expr::Column(right), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    });
    renamed.map(|renamed| Some(renamed.data))
}
