//! What a time becomes that is shifted by less than its unit. Pure.
//!
//! DataFusion calculates in the type of the time and cuts off the rest of the shift: half a second after a time of whole seconds was
//! that time, and six hours before a date was that date. Here the time is cast to a timestamp that can have what is asked for, while
//! the statement is planned, so that everything above knows its type. Where its own is enough it stays, and where the shift is
//! an interval that is no constant a timestamp stays, too. What is added to a time and not bound yet is a duration.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::BinaryOperator;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Units of timestamps and the nanoseconds of their ticks, the coarsest first.
const UNITS: [(TimeUnit, i64); 4] = [
    (TimeUnit::Second, 1_000_000_000),
    (TimeUnit::Millisecond, 1_000_000),
    (TimeUnit::Microsecond, 1_000),
    (TimeUnit::Nanosecond, 1),
];

/// What a date becomes, and what a parameter is, where nothing finer is asked for.
const USUAL_UNIT: TimeUnit = TimeUnit::Microsecond;

/// See the module.
#[derive(Debug)]
pub(crate) struct ExactShifts;

impl ExprPlanner for ExactShifts {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = &expr;
        // The left side of a long sum is long, and its type takes as long to find; that of the right side mostly tells enough.
        let is_shift = || right.get_type(schema).is_ok_and(|data_type| takes_part(&data_type));
        let (op, sides) = match op {
            BinaryOperator::Plus | BinaryOperator::Minus if !is_shift() => {
                return Ok(PlannerResult::Original(expr));
            }
            BinaryOperator::Plus => {
                let later = |time, by| {
                    shifted(time, by, schema).or_else(|| shifted_by_parameter(time, by, schema))
                };
                let by_right = || later(right, left).map(|(time, by)| (by, time));
                (Operator::Plus, later(left, right).or_else(by_right))
            }
            BinaryOperator::Minus => {
                let usual = || Some((in_usual_unit(left, right, schema)?, right.clone()));
                (Operator::Minus, shifted(left, right, schema).or_else(usual))
            }
            op => {
                let Some(op) = comparison(op) else { return Ok(PlannerResult::Original(expr)) };
                let by_left = earlier(left, right, schema).map(|left| (left, right.clone()));
                let by_right = || earlier(right, left, schema).map(|right| (left.clone(), right));
                (op, by_left.or_else(by_right))
            }
        };
        Ok(match sides {
            Some((left, right)) => PlannerResult::Planned(binary(left, op, right)),
            None => PlannerResult::Original(expr),
        })
    }
}

/// The time in a type that can be shifted so, and the shift; `None` where its own can, or they are something else.
fn shifted(time: &Expr, by: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let time_type = time.get_type(schema).ok()?;
    let needed = match by.get_type(schema).ok()? {
        DataType::Duration(unit) => Some(unit),
        DataType::Interval(_) => match constant(by) {
            Some(interval) => unit_of(interval),
            None => matches!(time_type, DataType::Date32 | DataType::Date64).then_some(USUAL_UNIT),
        },
        _ => None,
    }?;
    let needed = match &time_type {
        DataType::Timestamp(unit, zone) if *unit < needed => {
            DataType::Timestamp(needed, zone.clone())
        }
        DataType::Date32 | DataType::Date64 => {
            if constant(by).is_some_and(|interval| interval.nanoseconds % NANOS_PER_DAY == 0) {
                return None;
            }
            DataType::Timestamp(needed.max(USUAL_UNIT), None)
        }
        _ => return None,
    };
    Some((cast(time.clone(), needed), by.clone()))
}

/// A time and a parameter that is added to it.
fn shifted_by_parameter(time: &Expr, by: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let Expr::Placeholder(Placeholder { id, field: None }) = by else { return None };
    // What is added to a date may be a number of days.
    if !matches!(time.get_type(schema), Ok(DataType::Timestamp(..))) {
        return None;
    }
    let duration = Field::new("", DataType::Duration(USUAL_UNIT), true);
    let by = Placeholder::new_with_field(id.clone(), Some(Arc::new(duration)));
    let by = Expr::Placeholder(by);
    Some(shifted(time, &by, schema).unwrap_or_else(|| (time.clone(), by)))
}

/// A time of which a parameter is taken away, where what is left is compared with a time: then it was no time that was taken away.
fn earlier(side: &Expr, other: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ Operator::Minus, right }) = side else {
        return None;
    };
    if !matches!(**right, Expr::Placeholder(_)) || !is_time(other, schema) {
        return None;
    }
    shifted_by_parameter(left, right, schema).map(|(left, right)| binary(left, *op, right))
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// Whether a side of this type can be a time, or shift one. A parameter without a type is null.
fn takes_part(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::Null
    )
}

fn is_time(expr: &Expr, schema: &DFSchema) -> bool {
    let times = |data_type| {
        matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
    };
    expr.get_type(schema).is_ok_and(times)
}

/// A time of which something is taken away that is not bound yet: a duration, or a time, of which clients have microseconds.
fn in_usual_unit(time: &Expr, by: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::Placeholder(Placeholder { field: None, .. }) = by else { return None };
    match time.get_type(schema).ok()? {
        DataType::Timestamp(unit, zone) if unit < USUAL_UNIT => {
            Some(cast(time.clone(), DataType::Timestamp(USUAL_UNIT, zone)))
        }
        _ => None,
    }
}

/// The interval that this is in all rows.
fn constant(by: &Expr) -> Option<IntervalMonthDayNano> {
    let value = match by {
        Expr::Literal(value, _) => value.clone(),
        by if by.any_column_refs() => return None,
        by => {
            let simplifier = ExprSimplifier::new(SimplifyContext::default());
            match simplifier.simplify(by.clone()).ok()? {
                Expr::Literal(value, _) => value,
                _ => return None,
            }
        }
    };
    match value {
        ScalarValue::IntervalMonthDayNano(interval) => interval,
        _ => None,
    }
}

/// The coarsest unit in which an interval is whole.
fn unit_of(interval: IntervalMonthDayNano) -> Option<TimeUnit> {
    UNITS.into_iter().find(|(_, nanos)| interval.nanoseconds % nanos == 0).map(|(unit, _)| unit)
}
