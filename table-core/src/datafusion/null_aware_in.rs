//! An analyzer rule: what `x IN (SELECT y ...)` is of nulls, wherever in a condition it stands.
//!
//! DataFusion joins such a subquery and keeps a mark for each row: whether `y = x` somewhere. That is true or false, where SQL has a
//! third answer: nobody knows whether a null is among some values, nor whether a value is among some of which one is null. So
//! `x NOT IN (SELECT y ...) OR z` kept the rows where `x` is null. Where false and null are not the same thing, the mark becomes
//! a CASE here that asks for the nulls, too.
//!
//! Left alone are a condition of its own, which is a join that knows of nulls, and one that only truth is asked of. That join does
//! not know of which rows a null is one: where the subquery speaks of the rows around it, a null of any row would be one of all.
//! Pure.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Subquery,
    lit, not, when,
};
use datafusion::optimizer::AnalyzerRule;

/// See the module.
#[derive(Debug, Default)]
pub struct NullAwareIn;

impl AnalyzerRule for NullAwareIn {
    fn name(&self) -> &str {
        "null_aware_in"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(_) => filtered(plan),
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => joined(join),
            plan => Ok(Transformed::no(plan)),
        })
        .map(|plan| plan.data)
    }
}

fn filtered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    plan.map_expressions(|expr| conditions(expr, &schema))
}

/// What an inner join asks of subqueries is a filter above it, where marks can be joined.
fn joined(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let has_lookup =
        |expr: &Expr| expr.exists(|part| Ok(matches!(part, Expr::InSubquery(_)))).unwrap_or(false);
    let conditions = join.filter.take().map_or_else(Vec::new, split_conjunction_owned);
    let (above, below): (Vec<_>, Vec<_>) = conditions.into_iter().partition(has_lookup);
    join.filter = conjunction(below);
    let plan = LogicalPlan::Join(join);
    match conjunction(above) {
        None => Ok(Transformed::no(plan)),
        Some(above) => {
            let plan = LogicalPlanBuilder::from(plan).filter(above)?.build()?;
            Ok(Transformed::yes(filtered(plan)?.data))
        }
    }
}

/// What is asked of a condition.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// Whether it is true: false and null are the same.
    Truth,
    /// Which of the three it is.
    Value,
}

/// The conditions of a filter, all of which must be true.
fn conditions(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match &expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
            expr.map_children(|part| conditions(part, schema))
        }
        Expr::InSubquery(lookup) if is_join(lookup) => Ok(Transformed::no(expr)),
        Expr::Not(inner) if matches!(inner.as_ref(), Expr::InSubquery(lookup) if is_join(lookup)) => {
            Ok(Transformed::no(expr))
        }
        _ => aware(expr, Asked::Truth, schema),
    }
}

/// Whether a condition of its own is a join that is right: of a subquery that is the same for all rows.
fn is_join(lookup: &InSubquery) -> bool {
    lookup.subquery.outer_ref_columns.is_empty()
}

fn aware(expr: Expr, asked: Asked, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InSubquery(lookup) => match asked {
            Asked::Truth if !lookup.negated => Ok(Transformed::no(Expr::InSubquery(lookup))),
            Asked::Truth | Asked::Value => three_valued(lookup, schema),
        },
        Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }) => {
            expr.map_children(|part| aware(part, asked, schema))
        }
        expr => expr.map_children(|part| aware(part, Asked::Value, schema)),
    }
}

fn three_valued(lookup: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InSubquery { expr, subquery, negated } = lookup;
    let (relation, member) = subquery.subquery.schema().qualified_field(0);
    let has_null_value = expr.nullable(schema).unwrap_or(true);
    let has_null_member = member.is_nullable();
    if !has_null_value && !has_null_member {
        return Ok(Transformed::no(Expr::InSubquery(InSubquery::new(expr, subquery, negated))));
    }
    let member = Expr::from((relation, member));
    let null = || lit(ScalarValue::Boolean(None));
    let mark = Expr::InSubquery(InSubquery::new(expr.clone(), subquery.clone(), false));
    let mut case = when(mark, lit(true));
    if has_null_value {
        case.when(expr.is_null().and(exists(subquery.clone())), null());
    }
    if has_null_member {
        let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
        let nulls = plan.filter(member.is_null())?.build()?;
        let nulls = Subquery { subquery: Arc::new(nulls), ..subquery };
        case.when(exists(nulls), null());
    }
    let is_in = case.otherwise(lit(false))?;
    Ok(Transformed::yes(if negated { not(is_in) } else { is_in }))
}

fn exists(subquery: Subquery) -> Expr {
    Expr::Exists(Exists::new(subquery, false))
}
