//! From what stands in a statement to the plan of a join: names without a table, and `USING`.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{Column, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::{
    normalize_col, normalize_col_with_schemas_and_ambiguity_check,
};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};

use super::condition::Conditions;
use super::node::AsofJoin;

/// What must be equal, as it is written.
#[derive(Debug)]
pub enum AsofKeys {
    /// Nothing: the nearest of all rows.
    All,
    /// `ON`: equalities of both sides, joined by AND.
    On(Expr),
    /// `USING`: names of columns that both sides have. Each comes out once, as that of the left side.
    Using(Vec<String>),
}

/// Joins each row of `left` with the nearest of `right`. `match_condition` has one comparison of both sides with `>=`, `>`, `<=` or `<`,
/// and at most a tolerance: `t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '5 seconds'`. The columns are those of the left side, then those of
/// the right one, which are null where there is no such row; there are as many rows as the left side has.
///
/// # Errors
/// A plan error for every condition that is none of these, for types that do not compare, and for names that are not there, or twice.
pub fn asof_join(
    left: LogicalPlan,
    right: LogicalPlan,
    keys: AsofKeys,
    match_condition: Expr,
) -> Result<LogicalPlan> {
    let mut using = left.using_columns()?;
    using.extend(right.using_columns()?);
    let named = |expr: Expr| {
        let schemas: &[&[_]] = &[&[left.schema().as_ref(), right.schema().as_ref()]];
        normalize_col_with_schemas_and_ambiguity_check(expr, schemas, &using)
    };
    let match_condition = named(match_condition)?;
    let (on, dropped) = match keys {
        AsofKeys::All => (None, HashSet::new()),
        AsofKeys::On(on) => (Some(named(on)?), HashSet::new()),
        AsofKeys::Using(names) => equalities(&left, &right, names)?,
    };
    let conditions = Conditions::try_new(left.schema(), right.schema(), on, match_condition)?;
    let node = AsofJoin::try_new(left, right, conditions)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    if dropped.is_empty() {
        return Ok(plan);
    }
    let columns: Vec<Column> = plan.schema().columns();
    let kept = columns.into_iter().filter(|column| !dropped.contains(column)).map(Expr::Column);
    LogicalPlanBuilder::from(plan).project(kept.collect::<Vec<_>>())?.build()
}

/// The equalities that `USING` stands for, and the columns of the right side that are the same as those of the left one then.
fn equalities(
    left: &LogicalPlan,
    right: &LogicalPlan,
    names: Vec<String>,
) -> Result<(Option<Expr>, HashSet<Column>)> {
    let mut equalities = Vec::new();
    let mut dropped = HashSet::new();
    for name in names {
        let of = |plan| normalize_col(Expr::Column(Column::from_name(&name)), plan);
        let (left, right) = (of(left)?, of(right)?);
        if let Expr::Column(column) = &right
            && !dropped.insert(column.clone())
        {
            return plan_err!("USING of ASOF JOIN names \"{name}\" twice; name it once");
        }
        equalities.push(left.eq(right));
    }
    Ok((conjunction(equalities), dropped))
}
