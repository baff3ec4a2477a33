//! EXISTS and IN over a subquery as values, in what a query shows, groups by or sums up, and subqueries in VALUES.
//!
//! DataFusion plans the two in filters only, as joins that mark the rows for which there are others. An analyzer rule here brings all
//! into projections: what aggregates and windows ask of subqueries is calculated in one below them, and rows of VALUES become
//! one each. There IN has the third answer that `null_aware_in` gives it, and `EXISTS (q)` that is the same for all rows is
//! `(SELECT count(*) > 0 FROM q)`. An optimizer rule lets DataFusion make its joins below projections, too. Pure.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    Subquery, Values, Window, cast, lit, not,
};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};

use super::null_aware_in::three_valued_lookups;

/// The analyzer rule, see the module.
#[derive(Debug, Default)]
pub struct ShownSubqueries;

impl AnalyzerRule for ShownSubqueries {
    fn name(&self) -> &str {
        "shown_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Projection(projection) => projected(projection),
            LogicalPlan::Aggregate(aggregate) => aggregated(aggregate),
            LogicalPlan::Window(window) => windowed(window),
            LogicalPlan::Values(values) => listed(values),
            plan => Ok(Transformed::no(plan)),
        })
        .map(|plan| plan.data)
    }
}

/// What the columns are called that take the place of subqueries.
const VALUE_NAME: &str = "__shown_subquery";

fn is_predicate(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_))
}

fn is_subquery(expr: &Expr) -> bool {
    is_predicate(expr) || matches!(expr, Expr::ScalarSubquery(_))
}

fn holds(expr: &Expr, kind: fn(&Expr) -> bool) -> bool {
    expr.exists(|part| Ok(kind(part))).unwrap_or(false)
}

fn projected(projection: Projection) -> Result<Transformed<LogicalPlan>> {
    if !projection.expr.iter().any(|expr| holds(expr, is_predicate)) {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    let names = NamePreserver::new_for_projection();
    let schema = projection.input.schema();
    let shown = projection.expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(valued(expr, schema)?))
    });
    let shown = shown.collect::<Result<Vec<_>>>()?;
    let projection = Projection::try_new(shown, projection.input)?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn aggregated(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    if !exprs.into_iter().any(|expr| holds(expr, is_subquery)) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
    let mut taken = TakenOut::of(&input);
    let (group_expr, aggr_expr) = (taken.replace(group_expr)?, taken.replace(aggr_expr)?);
    let aggregate = Aggregate::try_new(taken.calculated(input)?, group_expr, aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn windowed(window: Window) -> Result<Transformed<LogicalPlan>> {
    if !window.window_expr.iter().any(|expr| holds(expr, is_subquery)) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let Window { input, window_expr, .. } = window;
    let mut taken = TakenOut::of(&input);
    let window_expr = taken.replace(window_expr)?;
    // Its columns are more now. What is above it names those that it wants.
    let window = Window::try_new(window_expr, taken.calculated(input)?)?;
    Ok(Transformed::yes(LogicalPlan::Window(window)))
}

/// Subqueries that become columns of the input.
struct TakenOut {
    schema: DFSchemaRef,
    values: Vec<Expr>,
}

impl TakenOut {
    fn of(input: &LogicalPlan) -> Self {
        Self { schema: Arc::clone(input.schema()), values: Vec::new() }
    }

    /// The expressions under their names, with columns in place of subqueries.
    fn replace(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        let names = NamePreserver::new_for_projection();
        let replaced = exprs.into_iter().map(|expr| {
            if !holds(&expr, is_subquery) {
                return Ok(expr);
            }
            let name = names.save(&expr);
            let replaced = expr.transform_down(|part| {
                if !is_subquery(&part) {
                    return Ok(Transformed::no(part));
                }
                // Where it will stand, so that it is another name than that of any node below.
                let place = self.schema.fields().len() + self.values.len();
                let column = format!("{VALUE_NAME}_{place}");
                self.values.push(valued(part, &self.schema)?.alias(&column));
                let column = Expr::from(Column::from_name(column));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            })?;
            Ok(name.restore(replaced.data))
        });
        replaced.collect()
    }

    fn calculated(self, input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let columns = self.schema.columns().into_iter().map(Expr::from);
        let projection = Projection::try_new(columns.chain(self.values).collect(), input)?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    }
}

fn listed(values: Values) -> Result<Transformed<LogicalPlan>> {
    if !values.values.iter().flatten().any(|expr| holds(expr, is_subquery)) {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    let Values { schema, values } = values;
    let rows = values.into_iter().map(|row| {
        let row = row.into_iter().zip(schema.fields()).map(|(expr, field)| {
            let expr = valued(expr, &DFSchema::empty())?;
            Ok(cast(expr, field.data_type().clone()).alias(field.name()))
        });
        let row = row.collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::empty(true).project(row)
    });
    let mut rows = rows.collect::<Result<Vec<_>>>()?.into_iter();
    let first = rows.next().ok_or_else(|| {
        DataFusionError::Internal("VALUES has no row, and one with a subquery".to_owned())
    })?;
    let plan = rows.try_fold(first, |all, row| all.union(row.build()?))?.build()?;
    Ok(Transformed::yes(plan))
}

/// The expression with the third answer of IN, and with subqueries of one value in place of those that are the same for all rows.
fn valued(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let valued = three_valued_lookups(expr, schema)?.transform_up(|part| match part {
        Expr::Exists(Exists { subquery, negated }) if subquery.outer_ref_columns.is_empty() => {
            let exists = has_rows(subquery)?;
            Ok(Transformed::yes(if negated { not(exists) } else { exists }))
        }
        part => Ok(Transformed::no(part)),
    })?;
    Ok(valued.data)
}

/// Whether a subquery has rows, as a subquery of one value.
fn has_rows(subquery: Subquery) -> Result<Expr> {
    let rows = count(lit(1_i64));
    let (_, name) = rows.qualified_name();
    let counted = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery.subquery))
        .aggregate(Vec::<Expr>::new(), [rows])?
        .project([Expr::from(Column::from_name(name)).gt(lit(0_i64))])?
        .build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(counted), ..subquery }))
}

/// An optimizer rule, see the module. Belongs in front of DataFusion's `decorrelate_predicate_subquery`.
#[derive(Debug, Default)]
pub struct MarkedProjections;

impl OptimizerRule for MarkedProjections {
    fn name(&self) -> &str {
        "marked_projections"
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
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = plan else { return Ok(Transformed::no(plan)) };
        let holding = projection.expr.iter().filter(|expr| holds(expr, is_predicate));
        // A condition of which DataFusion makes joins and one about their marks.
        let asked = holding.map(|expr| expr.clone().unalias().is_null()).reduce(Expr::or);
        let Some(asked) = asked else {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        };
        let filter = LogicalPlan::Filter(Filter::try_new(asked, Arc::clone(&projection.input))?);
        let joined = DecorrelatePredicateSubquery::new().rewrite(filter, config)?.data;
        let joined = match joined {
            LogicalPlan::Projection(columns) => Arc::unwrap_or_clone(columns.input),
            joined => joined,
        };
        let LogicalPlan::Filter(Filter { predicate, input, .. }) = joined else {
            return internal_err!("subqueries of a filter became {}", joined.display());
        };
        let mut answers = disjuncts(predicate).into_iter();
        let names = NamePreserver::new_for_projection();
        let shown = projection.expr.into_iter().map(|expr| {
            if !holds(&expr, is_predicate) {
                return Ok(expr);
            }
            match answers.next() {
                Some(Expr::IsNull(answer)) => Ok(names.save(&expr).restore(*answer)),
                other => internal_err!("a subquery of a filter became {other:?}"),
            }
        });
        let shown = shown.collect::<Result<Vec<_>>>()?;
        let projection = Projection::try_new(shown, input)?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// The conditions of which one must be true, in their order.
fn disjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut all = disjuncts(*left);
            all.push(*right);
            all
        }
        expr => vec![expr],
    }
}
