//! What analyzer rules share that change parts of expressions wherever they stand. Which ones is theirs to know. Pure.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The plan, subqueries included, with `change` applied to every part of its expressions from the innermost one on. What a plan's
/// columns are called stays. `change` gets the columns of the inputs, and those of the table where a filter is of a scan.
///
/// # Errors
/// Those of `change`, and what DataFusion returns for a plan that does not fit together afterwards.
pub(super) fn changed(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| node_changed(plan, &change)).map(|plan| plan.data)
}

/// [`changed`] of one node alone.
///
/// # Errors
/// As [`changed`].
pub(super) fn node_changed(
    plan: LogicalPlan,
    change: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let source = scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &source)?);
    }
    let names = NamePreserver::new(&plan);
    let mut named = |expr: Expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|part| change(part, &schema))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    };
    let plan = plan.map_expressions(|expr| match expr {
        // Has no name itself: those in it have.
        Expr::GroupingSet(_) => expr.map_children(&mut named),
        _ => named(expr),
    })?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}
