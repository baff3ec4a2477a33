//! Between which values gaps are filled: what WHERE says of the index column, or what the call does. Pure.
//!
//! Only terms of a conjunction count, and only comparisons with constants: `ts >= a`, `ts < b`, `BETWEEN`, `ts = a`, also
//! where DataFusion compares in a finer unit (`now()` has nanoseconds). A DATE column is filled as the midnights of its days, and
//! compared as days.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::buckets::{Buckets, order};
use crate::types::{IndexType, ticks_per_second};

const SECONDS_PER_DAY: i64 = 86_400;

/// A range of index values, each end if it is known. `last` is inclusive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    /// Whether a parameter without a value may bound it, too.
    pub(super) open: bool,
}

/// Simplifies an expression over the rows of a plan.
pub(super) type Simplify<'a> = dyn Fn(Expr, &LogicalPlan) -> Result<Expr> + 'a;

/// What the filters right above the rows say of `index`, an expression over the rows of `plan`.
pub(super) fn of_filters(
    plan: &LogicalPlan,
    index: &Expr,
    buckets: &Buckets,
    simplify: &Simplify<'_>,
) -> Result<Bounds> {
    let mut bounds = Bounds::default();
    let mut plan = plan;
    let mut index = simplify(index.clone(), plan)?;
    loop {
        match plan {
            LogicalPlan::Filter(filter) => {
                let index = Index::of(&index, plan)?;
                for term in split_conjunction(&filter.predicate) {
                    let term = simplify(term.clone(), &filter.input)?;
                    bounds.open |= has_parameter(&term)?;
                    for term in split_conjunction(&term) {
                        bounds.narrow(term, index, buckets);
                    }
                }
                plan = &filter.input;
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let below = through(index, |column| {
                    let position = alias.schema.maybe_index_of_column(column)?;
                    let (qualifier, field) = alias.input.schema().qualified_field(position);
                    Some(Expr::Column(Column::new(qualifier.cloned(), field.name())))
                })?;
                let Some(below) = below else { break };
                index = below;
                plan = &alias.input;
            }
            LogicalPlan::Projection(projection) => {
                let below = through(index, |column| {
                    let position = projection.schema.maybe_index_of_column(column)?;
                    Some(projection.expr.get(position)?.clone().unalias())
                })?;
                let Some(below) = below else { break };
                plan = &projection.input;
                index = simplify(below, plan)?;
            }
            _ => break,
        }
    }
    Ok(bounds)
}

/// `index` over the rows below, where its columns are what `below` says; `None` when one of them is not there.
fn through(index: Expr, below: impl Fn(&Column) -> Option<Expr>) -> Result<Option<Expr>> {
    let mut known = true;
    let below = index.transform_up(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        Ok(match below(column) {
            // What it is made of now is not looked at again.
            Some(expr) => Transformed::yes(expr),
            None => {
                known = false;
                Transformed::no(part)
            }
        })
    })?;
    Ok(known.then_some(below.data))
}

/// What gaps are filled along, as an expression over some rows.
#[derive(Clone, Copy)]
struct Index<'a> {
    expr: &'a Expr,
    /// The date that it is the midnight of.
    date: Option<&'a Expr>,
}

impl<'a> Index<'a> {
    fn of(expr: &'a Expr, rows: &LogicalPlan) -> Result<Self> {
        let date = match expr {
            Expr::Cast(Cast { expr, field })
                if matches!(field.data_type(), DataType::Timestamp(_, None))
                    && expr.get_type(rows.schema())? == DataType::Date32 =>
            {
                Some(expr.as_ref())
            }
            _ => None,
        };
        Ok(Self { expr, date })
    }

    /// How `expr` measures this, if it does.
    fn measure(&self, expr: &Expr, buckets: &Buckets) -> Option<Measure> {
        if let Some(date) = self.date {
            let steps = ticks_per_day(buckets.data_type())?;
            let per_step = match expr {
                expr if expr == date => 1,
                expr if expr == self.expr => steps,
                Expr::Cast(Cast { expr, field }) if **expr == *date => {
                    scale_between(buckets.data_type(), field.data_type())?.checked_mul(steps)?
                }
                _ => return None,
            };
            return Some(Measure { per_step, steps });
        }
        scale_of(expr, self.expr, buckets).map(|per_step| Measure { per_step, steps: 1 })
    }
}

/// How an expression counts what gaps are filled along, which is in steps of some ticks.
#[derive(Clone, Copy)]
struct Measure {
    /// What of the expression is one step.
    per_step: i64,
    /// Ticks of a step.
    steps: i64,
}

fn ticks_per_day(data_type: &DataType) -> Option<i64> {
    let DataType::Timestamp(unit, _) = data_type else { return None };
    ticks_per_second(*unit).checked_mul(SECONDS_PER_DAY)
}

/// Whether it has a parameter that has no value yet.
pub(super) fn has_parameter(expr: &Expr) -> Result<bool> {
    expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))
}

impl Bounds {
    fn narrow(&mut self, term: &Expr, index: Index<'_>, buckets: &Buckets) {
        match term {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let Some(measure) = index.measure(left, buckets) {
                    self.compare(*op, right, measure, buckets);
                } else if let Some(measure) = index.measure(right, buckets)
                    && let Some(op) = op.swap()
                {
                    self.compare(op, left, measure, buckets);
                }
            }
            Expr::Between(between) if !between.negated => {
                if let Some(measure) = index.measure(&between.expr, buckets) {
                    self.compare(Operator::GtEq, &between.low, measure, buckets);
                    self.compare(Operator::LtEq, &between.high, measure, buckets);
                }
            }
            _ => {}
        }
    }

    /// Takes `steps OP value` into account, where the value counts parts of a step.
    fn compare(&mut self, op: Operator, value: &Expr, measure: Measure, buckets: &Buckets) {
        let Expr::Literal(value, _) = value else { return };
        let Some(value) = raw(value, buckets.index()) else { return };
        let order = order(buckets.index());
        // In the order of the index as signed numbers, where unsigned ones are never scaled.
        let value = order(value);
        let floor = value.div_euclid(measure.per_step);
        let exact = value.rem_euclid(measure.per_step) == 0;
        let (first, last) = match op {
            Operator::Gt => (floor.checked_add(1), None),
            Operator::GtEq if exact => (Some(floor), None),
            Operator::GtEq => (floor.checked_add(1), None),
            Operator::Lt if exact => (None, floor.checked_sub(1)),
            Operator::Lt | Operator::LtEq => (None, Some(floor)),
            Operator::Eq if exact => (Some(floor), Some(floor)),
            _ => (None, None),
        };
        let ticks = |steps: Option<i64>| steps.and_then(|steps| steps.checked_mul(measure.steps));
        let (first, last) = (ticks(first), ticks(last));
        let tighter =
            |known: Option<i64>, new: Option<i64>, pick: fn(i64, i64) -> i64| match (known, new) {
                (Some(known), Some(new)) => Some(order(pick(order(known), new))),
                (known, new) => known.or(new.map(order)),
            };
        self.first = tighter(self.first, first, i64::max);
        self.last = tighter(self.last, last, i64::min);
    }
}

/// The first value that is not before a bound, in the unit of the buckets: what a call's `start` and `finish` mean.
pub(super) fn at_or_after(bound: &ScalarValue, buckets: &Buckets) -> Option<i64> {
    let value = raw(bound, buckets.index())?;
    let Some(scale) = scale_between(buckets.data_type(), &bound.data_type()) else {
        return value.checked_mul(scale_between(&bound.data_type(), buckets.data_type())?);
    };
    let floor = value.div_euclid(scale);
    if scale == 1 || value.rem_euclid(scale) == 0 { Some(floor) } else { floor.checked_add(1) }
}

/// By how much `expr` is finer than `index`, if it is that, or that in a finer unit.
fn scale_of(expr: &Expr, index: &Expr, buckets: &Buckets) -> Option<i64> {
    if expr == index {
        return Some(1);
    }
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    if **expr != *index {
        return None;
    }
    scale_between(buckets.data_type(), field.data_type())
}

/// How many ticks of the second type are one of the first, where both count from the same moment.
fn scale_between(from: &DataType, to: &DataType) -> Option<i64> {
    match (from, to) {
        (DataType::Timestamp(from, from_zone), DataType::Timestamp(to, to_zone)) => {
            let utc = |zone: &str| matches!(zone, "UTC" | "+00:00" | "Z");
            let same = match (from_zone, to_zone) {
                (Some(_), Some(_)) | (None, None) => true,
                (Some(zone), None) | (None, Some(zone)) => utc(zone),
            };
            let (from, to) = (ticks_per_second(*from), ticks_per_second(*to));
            (same && from <= to).then(|| to / from)
        }
        (from, to) => (from == to).then_some(1),
    }
}

/// A constant as an index value, in its own unit.
fn raw(value: &ScalarValue, index: IndexType) -> Option<i64> {
    match (value, index) {
        (ScalarValue::Int64(value), IndexType::Int64) => *value,
        (ScalarValue::UInt64(value), IndexType::UInt64) => value.map(u64::cast_signed),
        (ScalarValue::Date32(value), IndexType::Timestamp(_)) => value.map(i64::from),
        (
            ScalarValue::TimestampSecond(value, _)
            | ScalarValue::TimestampMillisecond(value, _)
            | ScalarValue::TimestampMicrosecond(value, _)
            | ScalarValue::TimestampNanosecond(value, _),
            IndexType::Timestamp(_),
        ) => *value,
        _ => None,
    }
}
