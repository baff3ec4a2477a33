//! An analyzer rule: what `x IN (SELECT y ...)` is of nulls, wherever in a condition it stands.
//!
//! DataFusion joins such a subquery and keeps a mark for each row: whether `y = x` somewhere. That is true or false, where SQL has a
//! third answer: nobody knows whether a null is among some values, nor whether a value is among some of which one is null. So
//! `x NOT IN (SELECT y ...) OR z` kept the rows where `x` is null. Where false and null are not the same thing, the mark becomes
//! a CASE here that asks for the nulls, too.
//!
//! Values that are made of the rows around the subquery, `x IN (SELECT y + t.z ...)`, become a condition on rows here.
//!
//! Left alone are a condition of its own, which is a join that knows of nulls, and one that only truth is asked of. That join does
//! not know of which rows a null is one: where the subquery speaks of the rows around it, a null of any row would be one of all.
//! Pure.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, JoinType, ScalarValue, not_impl_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{
    conjunction, merge_schema, split_conjunction, split_conjunction_owned,
};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, Subquery, lit, not, when,
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

/// The expression with the third answer of its IN subqueries, whose marks are only true or false. Columns are those of `schema`.
///
/// # Errors
/// What DataFusion returns for an expression that is not well formed.
pub(super) fn three_valued_lookups(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(aware(named(expr)?, Asked::Value, schema)?.data)
}

fn filtered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    plan.map_expressions(|expr| conditions(named(expr)?, &schema))
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
        Expr::InSubquery(lookup) if is_join(lookup) => Ok(Transformed::yes(expr)),
        Expr::Not(inner) if matches!(inner.as_ref(), Expr::InSubquery(lookup) if is_join(lookup)) => {
            Ok(Transformed::no(expr))
        }
        _ => aware(expr, Asked::Truth, schema),
    }
}

/// Whether a condition of its own is a join that is right: of a subquery that is the same for all rows, and a column. What is the same
/// for all rows itself becomes a condition on the subquery alone, behind which its nulls are gone.
fn is_join(lookup: &InSubquery) -> bool {
    let is_column = match lookup.expr.as_ref() {
        Expr::Cast(Cast { expr, .. }) => matches!(expr.as_ref(), Expr::Column(_)),
        expr => matches!(expr, Expr::Column(_)),
    };
    is_column && lookup.subquery.outer_ref_columns.is_empty()
}

fn aware(expr: Expr, asked: Asked, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InSubquery(lookup) => match asked {
            Asked::Truth if !lookup.negated => {
                Members::of(lookup.subquery).hold(*lookup.expr, schema).map(Transformed::yes)
            }
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
    joinable(&subquery, Rows::Counted)?;
    let members = Members::of(subquery);
    let has_null_value = expr.nullable(schema).unwrap_or(true);
    let has_null_member = members.may_be_null();
    let null = || lit(ScalarValue::Boolean(None));
    let mark = members.hold(expr.as_ref().clone(), schema)?;
    if !has_null_value && !has_null_member {
        return Ok(Transformed::yes(negated_if(negated, mark)));
    }
    let mut case = when(mark, lit(true));
    if has_null_value {
        case.when(expr.is_null().and(members.exist()), null());
    }
    if has_null_member {
        case.when(members.hold_null()?, null());
    }
    let is_in = case.otherwise(lit(false))?;
    Ok(Transformed::yes(negated_if(negated, is_in)))
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { not(expr) } else { expr }
}

/// The values of a subquery.
struct Members {
    subquery: Subquery,
    /// Where a value is made of the rows around the subquery: of what else, and how. DataFusion joins by such a condition, but not by
    /// such a value.
    made: Option<(Arc<LogicalPlan>, Expr)>,
}

impl Members {
    fn of(subquery: Subquery) -> Self {
        let made = match subquery.subquery.as_ref() {
            LogicalPlan::Projection(Projection { expr, input, .. }) => match expr.as_slice() {
                [value] if value.contains_outer() => {
                    Some((Arc::clone(input), value.clone().unalias()))
                }
                _ => None,
            },
            _ => None,
        };
        Self { subquery, made }
    }

    fn may_be_null(&self) -> bool {
        self.subquery.subquery.schema().field(0).is_nullable()
    }

    /// Whether `value`, a column of `schema` or calculated from its columns, is known to be one: true, or false.
    fn hold(&self, value: Expr, schema: &DFSchema) -> Result<Expr> {
        let Some((rows, made)) = &self.made else {
            return Ok(Expr::InSubquery(InSubquery::new(
                Box::new(value),
                self.subquery.clone(),
                false,
            )));
        };
        let mut outer = self.subquery.outer_ref_columns.clone();
        let value = value.transform(|part| match part {
            Expr::Column(column) => {
                let field = Arc::clone(schema.field_from_column(&column)?);
                outer.push(Expr::OuterReferenceColumn(field.clone(), column.clone()));
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            part => Ok(Transformed::no(part)),
        })?;
        self.exist_where(rows, made.clone().eq(value.data), outer)
    }

    /// Whether one is null.
    fn hold_null(&self) -> Result<Expr> {
        let outer = self.subquery.outer_ref_columns.clone();
        match &self.made {
            Some((rows, made)) => self.exist_where(rows, made.clone().is_null(), outer),
            None => {
                let rows = &self.subquery.subquery;
                let member = Expr::from(rows.schema().qualified_field(0));
                self.exist_where(rows, member.is_null(), outer)
            }
        }
    }

    /// Whether there are any.
    fn exist(&self) -> Expr {
        Expr::Exists(Exists::new(self.subquery.clone(), false))
    }

    fn exist_where(
        &self,
        rows: &Arc<LogicalPlan>,
        condition: Expr,
        outer_ref_columns: Vec<Expr>,
    ) -> Result<Expr> {
        let matching =
            LogicalPlanBuilder::from(rows.as_ref().clone()).filter(condition)?.build()?;
        let spans = self.subquery.spans.clone();
        let matching = Subquery { subquery: Arc::new(matching), outer_ref_columns, spans };
        Ok(Expr::Exists(Exists::new(matching, false)))
    }
}

/// What the values of a subquery are called.
const MEMBER_NAME: &str = "__member";

/// The expression with subqueries whose values have names of which DataFusion makes joins: those of tables' columns, or one of ours.
fn named(expr: Expr) -> Result<Expr> {
    let named = expr.transform(|part| match part {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            joinable(&subquery, Rows::Matched)?;
            let subquery = named_member(subquery)?;
            Ok(Transformed::yes(Expr::InSubquery(InSubquery::new(expr, subquery, negated))))
        }
        Expr::Exists(exists) => {
            joinable(&exists.subquery, Rows::Counted)?;
            Ok(Transformed::no(Expr::Exists(exists)))
        }
        part => Ok(Transformed::no(part)),
    })?;
    Ok(named.data)
}

/// What is asked of the rows of a subquery.
#[derive(Debug, Clone, Copy)]
enum Rows {
    /// Whether one is equal to something, where a null in it is no other answer than no row.
    Matched,
    /// Whether there are any.
    Counted,
}

/// Refuses subqueries that speak of the rows around them and that DataFusion would join by the wrong rows: it leaves out the one row
/// of an aggregate over nothing, and OFFSET, and takes several marks in a condition about those rows for one.
fn joinable(subquery: &Subquery, rows: Rows) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    let mut fault = None;
    subquery.subquery.apply(|plan| {
        let speaks_of_outer = !plan.all_out_ref_exprs().is_empty();
        fault = match plan {
            LogicalPlan::Aggregate(aggregate)
                if speaks_of_outer
                    && matches!(rows, Rows::Counted)
                    && aggregate.group_expr.is_empty()
                    && !aggregate.aggr_expr.is_empty() =>
            {
                Some("an aggregate without GROUP BY")
            }
            LogicalPlan::Limit(limit) if speaks_of_outer && limit.skip.is_some() => Some("OFFSET"),
            LogicalPlan::Filter(filter)
                if split_conjunction(&filter.predicate)
                    .iter()
                    .any(|condition| condition.contains_outer() && marks(condition) > 1) =>
            {
                Some("several subqueries of its own, or one with NOT IN, in one condition on them")
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    match fault {
        Some(fault) => not_impl_err!(
            "EXISTS and IN over a subquery that speaks of the rows around it and has {fault} are not supported; write it as a \
             join, or as a subquery of one value"
        ),
        None => Ok(()),
    }
}

/// How many marks a condition needs.
fn marks(condition: &Expr) -> usize {
    let mut count = 0;
    let counted = condition.apply(|part| {
        count += usize::from(matches!(part, Expr::Exists(_) | Expr::InSubquery(_)));
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map_or(usize::MAX, |_| count)
}

fn named_member(subquery: Subquery) -> Result<Subquery> {
    let plan = &subquery.subquery;
    let (member, rows) = match plan.as_ref() {
        LogicalPlan::Projection(Projection { expr, input, .. }) => match expr.as_slice() {
            [Expr::Column(column)] if column.relation.is_some() => return Ok(subquery),
            [value] => (value.clone().unalias(), input),
            // Refused by DataFusion.
            _ => return Ok(subquery),
        },
        _ => (Expr::from(plan.schema().qualified_field(0)), plan),
    };
    let named = Projection::try_new(vec![member.alias(MEMBER_NAME)], Arc::clone(rows))?;
    Ok(Subquery { subquery: Arc::new(LogicalPlan::Projection(named)), ..subquery })
}
