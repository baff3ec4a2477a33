//! What a time becomes that is shifted by less than its unit. Pure.
//!
//! DataFusion calculates in the type of the time and cuts off the rest of the shift: half a second after a time of whole seconds was
//! that time, and six hours before a date was that date. Here the time is cast to a timestamp that can have what is asked for, while
//! the statement is planned, so that everything above knows its type. Where its own is enough it stays, and where the shift is
//! an interval that is no constant a timestamp stays, too.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Units of timestamps and the nanoseconds of their ticks, the coarsest first.
const UNITS: [(TimeUnit, i64); 4] = [
    (TimeUnit::Second, 1_000_000_000),
    (TimeUnit::Millisecond, 1_000_000),
    (TimeUnit::Microsecond, 1_000),
    (TimeUnit::Nanosecond, 1),
];

/// What a date becomes where nothing finer is asked for.
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
        let (op, sides) = match op {
            BinaryOperator::Plus => {
                let by_right = || shifted(right, left, schema).map(|(time, by)| (by, time));
                (Operator::Plus, shifted(left, right, schema).or_else(by_right))
            }
            BinaryOperator::Minus => (Operator::Minus, shifted(left, right, schema)),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(match sides {
            Some((left, right)) => PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left),
                op,
                Box::new(right),
            ))),
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

fn constant(by: &Expr) -> Option<IntervalMonthDayNano> {
    match by {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(interval), _) => *interval,
        Expr::Negative(by) => constant(by),
        _ => None,
    }
}

/// The coarsest unit in which an interval is whole.
fn unit_of(interval: IntervalMonthDayNano) -> Option<TimeUnit> {
    UNITS.into_iter().find(|(_, nanos)| interval.nanoseconds % nanos == 0).map(|(unit, _)| unit)
}
