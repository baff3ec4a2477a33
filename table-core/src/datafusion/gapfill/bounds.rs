//! Between which values gaps are filled: what WHERE says of the index column, or what the call does. Pure.
//!
//! Only terms of a conjunction count, and only comparisons with constants: `ts >= a`, `ts < b`, `BETWEEN`, `ts = a`, also
//! where DataFusion compares in a finer unit (`now()` has nanoseconds).

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::buckets::{Buckets, order};
use crate::types::{IndexType, ticks_per_second};

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
                for term in split_conjunction(&filter.predicate) {
                    let term = simplify(term.clone(), &filter.input)?;
                    bounds.open |= has_parameter(&term)?;
                    for term in split_conjunction(&term) {
                        bounds.narrow(term, &index, buckets);
                    }
                }
                plan = &filter.input;
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Expr::Column(column) = &index else { break };
                let Some(position) = alias.schema.maybe_index_of_column(column) else { break };
                let (qualifier, field) = alias.input.schema().qualified_field(position);
                index = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                plan = &alias.input;
            }
            LogicalPlan::Projection(projection) => {
                let Expr::Column(column) = &index else { break };
                let Some(position) = projection.schema.maybe_index_of_column(column) else { break };
                let Some(expr) = projection.expr.get(position) else { break };
                plan = &projection.input;
                index = simplify(expr.clone().unalias(), plan)?;
            }
            _ => break,
        }
    }
    Ok(bounds)
}

/// Whether it has a parameter that has no value yet.
pub(super) fn has_parameter(expr: &Expr) -> Result<bool> {
    expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))
}

impl Bounds {
    fn narrow(&mut self, term: &Expr, index: &Expr, buckets: &Buckets) {
        match term {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let Some(scale) = scale_of(left, index, buckets) {
                    self.compare(*op, right, scale, buckets);
                } else if let Some(scale) = scale_of(right, index, buckets)
                    && let Some(op) = op.swap()
                {
                    self.compare(op, left, scale, buckets);
                }
            }
            Expr::Between(between) if !between.negated => {
                if let Some(scale) = scale_of(&between.expr, index, buckets) {
                    self.compare(Operator::GtEq, &between.low, scale, buckets);
                    self.compare(Operator::LtEq, &between.high, scale, buckets);
                }
            }
            _ => {}
        }
    }

    /// Takes `index * scale OP value` into account.
    fn compare(&mut self, op: Operator, value: &Expr, scale: i64, buckets: &Buckets) {
        let Expr::Literal(value, _) = value else { return };
        let Some(value) = raw(value, buckets.index()) else { return };
        let order = order(buckets.index());
        // In the order of the index as signed numbers, where unsigned ones are never scaled.
        let value = order(value);
        let floor = value.div_euclid(scale);
        let exact = value.rem_euclid(scale) == 0;
        let (first, last) = match op {
            Operator::Gt => (floor.checked_add(1), None),
            Operator::GtEq if exact => (Some(floor), None),
            Operator::GtEq => (floor.checked_add(1), None),
            Operator::Lt if exact => (None, floor.checked_sub(1)),
            Operator::Lt | Operator::LtEq => (None, Some(floor)),
            Operator::Eq if exact => (Some(floor), Some(floor)),
            _ => (None, None),
        };
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
