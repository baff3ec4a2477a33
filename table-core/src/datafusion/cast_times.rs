//! A logical rule: a time that is cast for a comparison with a constant is compared as what the cast makes of it.
//!
//! DataFusion takes such casts off and casts the constant in their place, which is right where each of the column's values has one
//! of its own in the other type and the constant has one in the column's. Of timestamps it does so always:
//!
//! - a column of whole seconds meets a constant of half a second in the finer unit of the two, and the constant is cut: `s <
//!   TIMESTAMP '2026-01-01 00:00:00.5'` becomes `s < TIMESTAMP '2026-01-01 00:00:00'` and loses a row. Here it becomes a comparison
//!   with the tick before the constant, which the column can be pruned by as well: `s <= TIMESTAMP '2026-01-01 00:00:00'`. No tick
//!   is equal to such a constant;
//! - a time without a zone that is cast to one that has one is another number than it was, and the constant stays the same: of New
//!   York's midnight, which is 05:00 in UTC, it makes 05:00. Here a [mark](super::lossy) hides the cast.
//!
//! The rule belongs before DataFusion's `SimplifyExpressions`, which takes casts off. Pure.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::{lossy, parts};
use crate::types::nanos_per_tick;

/// Functions that DataFusion makes casts of.
const CASTS: [&str; 2] = ["arrow_cast", "arrow_try_cast"];

/// See the module.
#[derive(Debug, Default)]
pub struct CastTimes;

impl OptimizerRule for CastTimes {
    fn name(&self) -> &str {
        "cast_times"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let context = SimplifyContext::builder()
            .with_config_options(config.options())
            .with_query_execution_start_time(config.query_execution_start_time())
            .build();
        parts::node_changed(plan, &|part, schema| Ok(compared(part, &context, schema)))
    }
}

fn compared(part: Expr, context: &SimplifyContext, schema: &DFSchema) -> Transformed<Expr> {
    let two = |left: &Expr, op, right: &Expr| {
        one_side(left, op, right, context, schema)
            .or_else(|| one_side(right, op.swap()?, left, context, schema))
    };
    let changed = match &part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => two(left, *op, right),
        Expr::Between(between) => range(between, two),
        Expr::InList(list) => members(list, context, schema),
        _ => None,
    };
    changed.map_or_else(|| Transformed::no(part), Transformed::yes)
}

/// A range as the two comparisons that it stands for; `None` where both can stay as they are.
fn range(between: &Between, two: impl Fn(&Expr, Operator, &Expr) -> Option<Expr>) -> Option<Expr> {
    let Between { expr, negated, low, high } = between;
    let (low_op, high_op) = match negated {
        true => (Operator::Lt, Operator::Gt),
        false => (Operator::GtEq, Operator::LtEq),
    };
    let (from, to) = (two(expr, low_op, low), two(expr, high_op, high));
    if from.is_none() && to.is_none() {
        return None;
    }
    let as_it_is = |op, bound: &Expr| binary(expr.as_ref().clone(), op, bound.clone());
    let from = from.unwrap_or_else(|| as_it_is(low_op, low));
    let to = to.unwrap_or_else(|| as_it_is(high_op, high));
    Some(if *negated { from.or(to) } else { from.and(to) })
}

/// A list without what nothing is equal to; `None` where it can stay as it is.
fn members(in_list: &InList, context: &SimplifyContext, schema: &DFSchema) -> Option<Expr> {
    let InList { expr, list, negated } = in_list;
    match CastTime::of(expr, schema)? {
        CastTime::Shifted => {
            let hidden = Box::new(lossy::hidden(expr.as_ref().clone()));
            Some(Expr::InList(InList::new(hidden, list.clone(), *negated)))
        }
        CastTime::Coarse { value, ratio, fine } => {
            let is_tick = |member: &&Expr| {
                let ticks = constant_value(member, context).and_then(|value| ticks(&value, fine));
                ticks.is_none_or(|ticks| ticks % ratio == 0)
            };
            let ticks: Vec<_> = list.iter().filter(is_tick).cloned().collect();
            match ticks.len() {
                0 => Some(equal_to_none(value.clone(), *negated)),
                count if count == list.len() => None,
                _ => Some(Expr::InList(InList::new(expr.clone(), ticks, *negated))),
            }
        }
    }
}

/// `value op constant`, where `value` is a time that was cast; `None` where it can stay as it is.
fn one_side(
    value: &Expr,
    op: Operator,
    constant: &Expr,
    context: &SimplifyContext,
    schema: &DFSchema,
) -> Option<Expr> {
    match CastTime::of(value, schema)? {
        CastTime::Shifted => {
            if !op.supports_propagation() || constant.any_column_refs() {
                return None;
            }
            Some(binary(lossy::hidden(value.clone()), op, constant.clone()))
        }
        CastTime::Coarse { value, ratio, fine } => {
            let ticks = ticks(&constant_value(constant, context)?, fine)?;
            if ticks % ratio == 0 {
                return None;
            }
            let before = timestamp(ticks.div_euclid(ratio), &value.get_type(schema).ok()?)?;
            match op {
                Operator::Lt | Operator::LtEq => {
                    Some(binary(value.clone(), Operator::LtEq, lit(before)))
                }
                Operator::Gt | Operator::GtEq => {
                    Some(binary(value.clone(), Operator::Gt, lit(before)))
                }
                Operator::Eq => Some(equal_to_none(value.clone(), false)),
                Operator::NotEq => Some(equal_to_none(value.clone(), true)),
                Operator::IsDistinctFrom => Some(lit(true)),
                Operator::IsNotDistinctFrom => Some(lit(false)),
                _ => None,
            }
        }
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// Whether a value is equal to what it never is; of a null nobody knows.
fn equal_to_none(value: Expr, negated: bool) -> Expr {
    let unknown = lit(ScalarValue::Boolean(None));
    match negated {
        false => value.is_null().and(unknown),
        true => value.is_not_null().or(unknown),
    }
}

/// A timestamp that was cast to another type of timestamps, be it in several steps.
enum CastTime<'a> {
    /// To another number, as it was given a zone.
    Shifted,
    /// To a finer unit, of which so many ticks are one of the value's.
    Coarse { value: &'a Expr, ratio: i64, fine: TimeUnit },
}

impl<'a> CastTime<'a> {
    /// `None` for everything else, and for what loses ticks: such casts stay on anyway.
    fn of(expr: &'a Expr, schema: &DFSchema) -> Option<Self> {
        let DataType::Timestamp(fine, mut zone) = expr.get_type(schema).ok()? else { return None };
        let (mut value, mut unit) = (expr, fine);
        while let Some(inner) = cast_from(value)
            && let DataType::Timestamp(inner_unit, inner_zone) = inner.get_type(schema).ok()?
            && nanos_per_tick(inner_unit) >= nanos_per_tick(unit)
        {
            // Arrow takes a time without a zone for a local one; one whose zone is taken away keeps its ticks.
            if inner_zone.is_none() && zone.as_deref().is_some_and(|zone| zone != "UTC") {
                return Some(Self::Shifted);
            }
            (value, unit, zone) = (inner, inner_unit, inner_zone);
        }
        let ratio = nanos_per_tick(unit) / nanos_per_tick(fine);
        (ratio > 1).then_some(Self::Coarse { value, ratio, fine })
    }
}

/// What is cast.
fn cast_from(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => Some(expr),
        Expr::ScalarFunction(call) if CASTS.contains(&call.name()) => call.args.first(),
        Expr::Alias(alias) => Some(&alias.expr),
        _ => None,
    }
}

/// The value of an expression that has the same one for all rows.
fn constant_value(expr: &Expr, context: &SimplifyContext) -> Option<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Some(value.clone());
    }
    let depends = |part: &Expr| {
        let depends = part.is_volatile_node()
            || matches!(
                part,
                Expr::Column(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::Placeholder(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
                    | Expr::AggregateFunction(_)
                    | Expr::WindowFunction(_)
            );
        Ok(depends)
    };
    if expr.exists(depends).unwrap_or(true) {
        return None;
    }
    let simplifier = ExprSimplifier::new(context.clone());
    match simplifier.simplify(expr.clone()).ok()? {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// The ticks of a timestamp of this unit; `None` for a null, and what is something else.
fn ticks(value: &ScalarValue, unit: TimeUnit) -> Option<i64> {
    match (value, unit) {
        (ScalarValue::TimestampSecond(ticks, _), TimeUnit::Second)
        | (ScalarValue::TimestampMillisecond(ticks, _), TimeUnit::Millisecond)
        | (ScalarValue::TimestampMicrosecond(ticks, _), TimeUnit::Microsecond)
        | (ScalarValue::TimestampNanosecond(ticks, _), TimeUnit::Nanosecond) => *ticks,
        _ => None,
    }
}

/// A timestamp of this type.
fn timestamp(ticks: i64, data_type: &DataType) -> Option<ScalarValue> {
    let DataType::Timestamp(unit, zone) = data_type else { return None };
    let (ticks, zone) = (Some(ticks), zone.clone());
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(ticks, zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(ticks, zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(ticks, zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(ticks, zone),
    })
}

#[cfg(test)]
#[path = "cast_times_tests.rs"]
mod tests;
