//! The logical rule that makes gap filling of the marks in a plan, and refuses marks that would mean nothing.
//!
//! Belongs in front of all of DataFusion's rules: filters are where the statement has them then, and nothing has tried to
//! evaluate a mark.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, Filter, LogicalPlan, Projection, Sort,
    Window as WindowPlan, lit,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::bounds::{at_or_after, has_parameter, of_filters};
use super::buckets::{Buckets, order};
use super::exec::GAPFILL_ROWS_MAX;
use super::functions::{Bucketer, Filling, Mark, misplaced};
use super::node::{Fill, GapFill, Window};
use super::{failed, internal, refused};
use crate::error::ErrorKind;
use crate::types::{BucketId, IndexType};

/// See the module.
#[derive(Debug, Default)]
pub struct GapFilling;

impl OptimizerRule for GapFilling {
    fn name(&self) -> &'static str {
        "gap_filling"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !has_marks(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let done = plan.transform_up_with_subqueries(|node| {
            // Aggregates that become nullable below make what is above nullable.
            let node = node.recompute_schema()?;
            let node = match node {
                LogicalPlan::Aggregate(aggregate) => fill_aggregate(aggregate, config)?,
                node => place_fills(node)?,
            };
            Ok(Transformed::yes(node))
        })?;
        refuse_marks(&done.data)?;
        Ok(done)
    }
}

fn has_marks(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(Mark::of(part).is_some()))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// Refuses every mark that is left, which the rule found no meaning for.
fn refuse_marks(plan: &LogicalPlan) -> Result<()> {
    // Where parameters have no values yet, a mark waits for them.
    let mut waiting = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let Some(GapFill { window: None, input, .. }) = gap_fill(node) {
            waiting.push(input.clone());
        }
        let waits = waiting.contains(node);
        node.apply_expressions(|expr| {
            let mut left = None;
            expr.apply(|part| {
                left = Mark::of(part).map(|(mark, _)| mark);
                Ok(if left.is_some() {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })?;
            match left {
                Some(Mark::Buckets(_)) if waits => Ok(TreeNodeRecursion::Continue),
                Some(mark) => Err(refused(misplaced(mark, place(node)))),
                None => Ok(TreeNodeRecursion::Continue),
            }
        })
    })?;
    Ok(())
}

fn place(node: &LogicalPlan) -> &'static str {
    match node {
        LogicalPlan::Projection(_) => "in a SELECT list that it does not belong to",
        LogicalPlan::Filter(_) => "in WHERE or HAVING",
        LogicalPlan::Aggregate(_) => "inside of another expression of GROUP BY or of an aggregate",
        LogicalPlan::Join(_) => "in the condition of a join",
        LogicalPlan::Sort(_) => "in ORDER BY",
        LogicalPlan::Window(_) => "in a window function",
        LogicalPlan::Values(_) => "in VALUES",
        _ => "here",
    }
}

fn gap_fill(plan: &LogicalPlan) -> Option<&GapFill> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

fn extension(node: GapFill) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// A call of one of the bucket functions, with arguments as written.
struct Call<'a> {
    bucketer: Bucketer,
    width: &'a Expr,
    index: &'a Expr,
    bounds: Option<(&'a Expr, &'a Expr)>,
    time_zone: Option<&'a Expr>,
    origin: Option<&'a Expr>,
}

impl<'a> Call<'a> {
    fn of(expr: &'a Expr) -> Result<Option<Self>> {
        let expr = match expr {
            Expr::Alias(alias) => alias.expr.as_ref(),
            expr => expr,
        };
        let Some((Mark::Buckets(bucketer), args)) = Mark::of(expr) else { return Ok(None) };
        let (bounds, time_zone, origin) = match (bucketer, args) {
            (_, [_, _]) => (None, None, None),
            (Bucketer::TimeBucket, [_, _, time_zone]) => (None, Some(time_zone), None),
            (Bucketer::TimeBucket, [_, _, start, finish]) => (Some((start, finish)), None, None),
            (Bucketer::TimeBucket, [_, _, start, finish, time_zone]) => {
                (Some((start, finish)), Some(time_zone), None)
            }
            (Bucketer::DateBin, [_, _, origin]) => (None, None, Some(origin)),
            _ => {
                return Err(internal(format!("{} with {} arguments", bucketer.name(), args.len())));
            }
        };
        let [width, index, ..] = args else {
            return Err(internal(format!("{} with {} arguments", bucketer.name(), args.len())));
        };
        Ok(Some(Self { bucketer, width, index, bounds, time_zone, origin }))
    }
}

/// What planning with parameters that have no values can know of a constant.
enum Constant {
    Known(ScalarValue),
    Open,
}

/// Evaluates constants and simplifies expressions.
struct Simplifier<'a>(&'a dyn OptimizerConfig);

impl Simplifier<'_> {
    fn over(&self, expr: Expr, schema: &DFSchemaRef) -> Result<Expr> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(schema))
            .with_config_options(self.0.options())
            .with_query_execution_start_time(self.0.query_execution_start_time())
            .build();
        ExprSimplifier::new(context).simplify(expr)
    }

    fn constant(&self, what: &str, expr: &Expr, schema: &DFSchemaRef) -> Result<Constant> {
        if has_parameter(expr)? {
            return Ok(Constant::Open);
        }
        match self.over(expr.clone(), schema)? {
            Expr::Literal(value, _) if value.is_null() => {
                Err(refused(format!("the {what} is NULL; it must be a value")))
            }
            Expr::Literal(value, _) => Ok(Constant::Known(value)),
            other => Err(refused(format!("the {what} is {other}; it must be a constant"))),
        }
    }
}

/// Puts gap filling over an aggregation whose groups ask for it.
fn fill_aggregate(aggregate: Aggregate, config: &dyn OptimizerConfig) -> Result<LogicalPlan> {
    let mut calls = Vec::new();
    for (position, expr) in aggregate.group_expr.iter().enumerate() {
        if let Some(call) = Call::of(expr)? {
            calls.push((position, call));
        } else if let Expr::GroupingSet(sets) = expr
            && let Some(mark) = sets.distinct_expr().into_iter().find_map(|expr| Mark::of(expr))
        {
            return Err(refused(format!(
                "{} in ROLLUP, CUBE or GROUPING SETS is not supported; group by plain expressions",
                mark.0.name()
            )));
        }
    }
    let (bucket, call) = match (calls.pop(), calls.pop()) {
        (None, _) => return Ok(LogicalPlan::Aggregate(aggregate)),
        (Some(only), None) => only,
        (Some((_, one)), Some((_, other))) => {
            return Err(refused(format!(
                "GROUP BY has both {} and {}; gaps are filled along one of them: write the other as time_bucket or date_bin, or \
                 fill in a query of its own",
                other.bucketer.name(),
                one.bucketer.name()
            )));
        }
    };
    let group_count = aggregate.group_expr.len();
    let Some((window, filter)) = window(&call, &aggregate.input, &Simplifier(config))? else {
        return GapFill::try_new(LogicalPlan::Aggregate(aggregate), group_count, bucket, None)
            .map(extension);
    };
    let input = match filter {
        Some(predicate) => {
            Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, Arc::clone(&aggregate.input))?))
        }
        None => Arc::clone(&aggregate.input),
    };
    let start = window.buckets.function().call(vec![call.index.clone()]);
    let mut group_expr = aggregate.group_expr.clone();
    if let Some(expr) = group_expr.get_mut(bucket) {
        let name = expr.schema_name().to_string();
        *expr = start.alias(name);
    }
    let aggregate = Aggregate::try_new(input, group_expr, aggregate.aggr_expr)?;
    GapFill::try_new(LogicalPlan::Aggregate(aggregate), group_count, bucket, Some(window))
        .map(extension)
}

/// The buckets of every group, and the filter that leaves rows of no other, unless WHERE is one already. `None` while that
/// depends on parameters without values.
fn window(
    call: &Call<'_>,
    rows: &Arc<LogicalPlan>,
    simplifier: &Simplifier<'_>,
) -> Result<Option<(Window, Option<Expr>)>> {
    let name = call.bucketer.name();
    let schema = rows.schema();
    let constant =
        |what: &str, expr: &Expr| simplifier.constant(&format!("{what} of {name}"), expr, schema);
    let Constant::Known(width) = constant("width", call.width)? else { return Ok(None) };
    let zone = match call.time_zone {
        Some(expr) => match constant("time zone", expr)? {
            Constant::Known(zone) => zone,
            Constant::Open => return Ok(None),
        },
        None => ScalarValue::from("UTC"),
    };
    let zone = zone.try_as_str().flatten().ok_or_else(|| {
        refused(format!(
            "the time zone of {name} is {zone}; write an IANA name such as 'America/New_York', and bounds as start and finish \
             together"
        ))
    })?;
    let data_type = call.index.get_type(schema)?;
    let at = |origin| Buckets::try_new(call.bucketer, &width, &data_type, zone, origin);
    let mut buckets = at(0)?;
    let value = |what: &str, expr: &Expr| -> Result<Option<i64>> {
        match constant(what, expr)? {
            Constant::Open => Ok(None),
            Constant::Known(value) => at_or_after(&value, &buckets).map(Some).ok_or_else(|| {
                refused(format!(
                    "the {what} of {name} is {value}, which is no value of type {data_type}"
                ))
            }),
        }
    };
    let origin = match call.origin {
        Some(expr) => match value("origin", expr)? {
            Some(origin) => Some(origin),
            None => return Ok(None),
        },
        None => None,
    };
    let (first, last) = match call.bounds {
        Some((start, finish)) => {
            let (Some(start), Some(finish)) = (value("start", start)?, value("finish", finish)?)
            else {
                return Ok(None);
            };
            if order(buckets.index())(finish) <= order(buckets.index())(start) {
                return Err(refused(format!(
                    "{name} starts at {} and finishes at {}, not after that; the finish is exclusive",
                    buckets.format(start),
                    buckets.format(finish),
                )));
            }
            (start, finish.wrapping_sub(1))
        }
        None => {
            let simplify = |expr, plan: &LogicalPlan| simplifier.over(expr, plan.schema());
            let bounds = of_filters(rows, call.index, &buckets, &simplify)?;
            match (bounds.first, bounds.last) {
                _ if bounds.open => return Ok(None),
                (Some(first), Some(last)) => {
                    if order(buckets.index())(last) < order(buckets.index())(first) {
                        return Err(refused(format!(
                            "{name} has no bucket to fill: WHERE lets rows from {} through {} pass, which are none",
                            buckets.format(first),
                            buckets.format(last),
                        )));
                    }
                    (first, last)
                }
                (first, _) => return Err(refused(without_bounds(call, first.is_some(), &buckets))),
            }
        }
    };
    if let Some(origin) = origin {
        buckets = at(origin)?;
    }
    let bucket = |value: i64| {
        buckets.bucket_of(value).ok_or_else(|| {
            refused(format!(
                "{name} is to fill from or to {}, which is outside of the calendar",
                buckets.format(value)
            ))
        })
    };
    let window = Window { first: bucket(first)?, last: bucket(last)?, buckets: buckets.clone() };
    let count = buckets.count(window.first, window.last);
    if count > u128::from(GAPFILL_ROWS_MAX) {
        return Err(failed(
            ErrorKind::Exhausted,
            format!(
                "{name} would make {count} rows for each group, but at most {GAPFILL_ROWS_MAX} are made in one statement; take \
                 wider buckets or a shorter time"
            ),
        ));
    }
    let filter = match call.bounds {
        Some(_) => Some(inside(call.index, &window)?),
        None => None,
    };
    Ok(Some((window, filter)))
}

/// Rows whose bucket is in the window.
fn inside(index: &Expr, window: &Window) -> Result<Expr> {
    let Window { buckets, first, last } = window;
    let value = |value: i64| ScalarValue::try_from_array(&buckets.array(vec![value])?, 0);
    let from = index.clone().gt_eq(lit(value(buckets.start(*first))?));
    // Where the last bucket ends with its type, its end is a value of it.
    let order = order(buckets.index());
    let end = buckets.start(BucketId(last.0.saturating_add(1)));
    let endless = buckets.bucket_of(end) == Some(*last) || order(end) == i64::MAX;
    Ok(if endless { from } else { from.and(index.clone().lt(lit(value(end)?))) })
}

fn without_bounds(call: &Call<'_>, has_first: bool, buckets: &Buckets) -> String {
    let name = call.bucketer.name();
    let index = call.index.schema_name();
    let missing = if has_first { "last" } else { "first" };
    let (from, to) = match buckets.index() {
        IndexType::Timestamp(_) => ("'2026-01-01'", "'2026-02-01'"),
        IndexType::Int64 | IndexType::UInt64 => ("0", "1000"),
    };
    let arguments = match call.bucketer {
        Bucketer::TimeBucket => format!(", or {name}(width, {index}, {from}, {to})"),
        Bucketer::DateBin => String::new(),
    };
    format!(
        "gap filling without bounds: nothing says what the {missing} bucket of {name} is; write WHERE {index} >= {from} AND {index} < \
         {to} with constants in the same SELECT{arguments}"
    )
}

/// Has the fills in a node's expressions made by the gap filling below, and takes them from there.
fn place_fills(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut wanted = Vec::new();
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Some((Mark::Fill(filling), [Expr::Column(column)])) = Mark::of(part) {
                wanted.push((filling, column.clone(), part.schema_name().to_string()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if wanted.is_empty() {
        return Ok(node);
    }
    let shown = node.schema().columns();
    match node {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else { return refuse(&wanted) };
            let expr = expr.into_iter().map(|expr| taken(expr, &wanted)).collect::<Result<_>>()?;
            Projection::try_new(expr, Arc::new(input)).map(LogicalPlan::Projection)
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else {
                return Err(refused(misplaced(
                    Mark::Fill(wanted.first().map_or(Filling::Locf, |(filling, ..)| *filling)),
                    "in WHERE or HAVING",
                )));
            };
            let predicate = taken(predicate, &wanted)?;
            Filter::try_new(predicate, Arc::new(input)).map(LogicalPlan::Filter)
        }
        LogicalPlan::Window(WindowPlan { window_expr, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else { return refuse(&wanted) };
            let window_expr =
                window_expr.into_iter().map(|expr| taken(expr, &wanted)).collect::<Result<_>>()?;
            WindowPlan::try_new(window_expr, Arc::new(input)).map(LogicalPlan::Window)
        }
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let Some(input) = with_fills(&input, &wanted, true)? else { return refuse(&wanted) };
            let expr = expr
                .into_iter()
                .map(|mut sort| {
                    sort.expr = taken(sort.expr, &wanted)?;
                    Ok(sort)
                })
                .collect::<Result<_>>()?;
            let sorted = LogicalPlan::Sort(Sort { expr, input: Arc::new(input), fetch });
            // The fills came up with the rows to be sorted by, and end here.
            let shown = shown.into_iter().map(Expr::Column).collect();
            Projection::try_new(shown, Arc::new(sorted)).map(LogicalPlan::Projection)
        }
        // What is no place for a fill keeps it, and is refused for it.
        node => Ok(node),
    }
}

/// What is to be filled: how, which column, and the name of the expression that says so.
type Wanted = [(Filling, Column, String)];

fn refuse(wanted: &Wanted) -> Result<LogicalPlan> {
    let filling = wanted.first().map_or(Filling::Locf, |(filling, ..)| *filling);
    Err(refused(misplaced(Mark::Fill(filling), "outside of a SELECT with gap filling")))
}

/// The plan of rows with fills as further columns; `None` where no gap filling of the same SELECT is below. ORDER BY is
/// above the SELECT list, and looks through it.
fn with_fills(
    plan: &LogicalPlan,
    wanted: &Wanted,
    through_list: bool,
) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let Some(input) = with_fills(&filter.input, wanted, false)? else { return Ok(None) };
            Filter::try_new(filter.predicate.clone(), Arc::new(input))
                .map(LogicalPlan::Filter)
                .map(Some)
        }
        LogicalPlan::Window(window) => {
            let Some(input) = with_fills(&window.input, wanted, false)? else { return Ok(None) };
            WindowPlan::try_new(window.window_expr.clone(), Arc::new(input))
                .map(LogicalPlan::Window)
                .map(Some)
        }
        LogicalPlan::Projection(list) if through_list => {
            let mut below = Vec::new();
            for (filling, column, name) in wanted {
                let position = list.schema.maybe_index_of_column(column);
                let expr = position.and_then(|position| list.expr.get(position));
                let Some(Expr::Column(column)) = expr.map(|expr| expr.clone().unalias()) else {
                    return Ok(None);
                };
                below.push((*filling, column, name.clone()));
            }
            let Some(input) = with_fills(&list.input, &below, false)? else { return Ok(None) };
            let mut expr = list.expr.clone();
            for (_, _, name) in wanted {
                let fill = Expr::Column(Column::new_unqualified(name));
                if !list.schema.has_column(&Column::new_unqualified(name)) && !expr.contains(&fill)
                {
                    expr.push(fill);
                }
            }
            Projection::try_new(expr, Arc::new(input)).map(LogicalPlan::Projection).map(Some)
        }
        plan => {
            let Some(node) = gap_fill(plan) else { return Ok(None) };
            let mut node = node.clone();
            for (filling, column, name) in wanted {
                let position = node.schema.maybe_index_of_column(column);
                let aggregates = node.group_count..node.input.schema().fields().len();
                let Some(position) = position.filter(|position| aggregates.contains(position))
                else {
                    return Err(refused(format!(
                        "{name} fills what is never missing: \"{}\" is an expression of GROUP BY; {} takes an aggregate such as \
                         avg(price)",
                        column.name(),
                        filling.name()
                    )));
                };
                let data_type = match filling {
                    Filling::Locf => node.schema.field(position).data_type().clone(),
                    Filling::Interpolate => arrow::datatypes::DataType::Float64,
                };
                node = node.with_fill(Fill {
                    filling: *filling,
                    column: position,
                    name: name.clone(),
                    data_type,
                })?;
            }
            Ok(Some(extension(node)))
        }
    }
}

/// The expression with its fills taken from the rows below, under its old name.
fn taken(expr: Expr, wanted: &Wanted) -> Result<Expr> {
    let name = NamePreserver::new_for_projection().save(&expr);
    let taken = expr.transform_up(|part| {
        if let Some((Mark::Fill(_), [Expr::Column(_)])) = Mark::of(&part) {
            let name = part.schema_name().to_string();
            if wanted.iter().any(|(_, _, known)| *known == name) {
                return Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))));
            }
        }
        Ok(Transformed::no(part))
    })?;
    Ok(name.restore(taken.data))
}
