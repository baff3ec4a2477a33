//! A call of a bucket function: its arguments, and the buckets that they and the rows ask for.

use std::sync::Arc;

use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, lit};
use datafusion::optimizer::OptimizerConfig;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::bounds::{at_or_after, has_parameter, of_filters};
use super::buckets::{Buckets, order};
use super::exec::GAPFILL_ROWS_MAX;
use super::functions::{Bucketer, Mark};
use super::node::Window;
use super::{failed, internal, refused};
use crate::error::ErrorKind;
use crate::types::{BucketId, IndexType};

/// A call of one of the bucket functions, with arguments as written.
pub(super) struct Call<'a> {
    pub(super) bucketer: Bucketer,
    width: &'a Expr,
    pub(super) index: &'a Expr,
    bounds: Option<(&'a Expr, &'a Expr)>,
    time_zone: Option<&'a Expr>,
    origin: Option<&'a Expr>,
}

impl<'a> Call<'a> {
    pub(super) fn of(expr: &'a Expr) -> Result<Option<Self>> {
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
pub(super) struct Simplifier<'a>(pub(super) &'a dyn OptimizerConfig);

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

/// The buckets of every group, and the filter that leaves rows of no other, unless WHERE is one already. `None` while that
/// depends on parameters without values.
pub(super) fn window(
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
                "{name} would make {count} rows for each group, but at most {GAPFILL_ROWS_MAX} are made over one GROUP BY; take \
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
