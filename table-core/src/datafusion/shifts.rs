//! An analyzer rule: a time that is shifted by less than its unit becomes a time of a finer one.
//!
//! DataFusion calculates in the unit of the timestamp and cuts off the rest of the shift: half a second later than a time in
//! seconds was that time. Python's timedelta is microseconds, whatever the column has. Intervals that are no constants are left to
//! DataFusion. Pure.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::types::ticks_per_second;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct ExactShifts;

impl AnalyzerRule for ExactShifts {
    fn name(&self) -> &str {
        "exact_shifts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(shifted).map(|plan| plan.data)
    }
}

fn shifted(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|part| Ok(shifted_part(part, &schema)))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}

fn shifted_part(part: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) =
        part
    else {
        return Transformed::no(part);
    };
    let by_left = finer(&left, &right, schema).map(|time| (time.into(), right.clone()));
    let by_right = || match op {
        Operator::Plus => finer(&right, &left, schema).map(|time| (left.clone(), time.into())),
        _ => None,
    };
    match by_left.or_else(by_right) {
        Some((left, right)) => Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, op, right))),
        None => Transformed::no(Expr::BinaryExpr(BinaryExpr::new(left, op, right))),
    }
}

/// The time in a unit that the shift needs; `None` where its own is enough, or they are something else.
fn finer(time: &Expr, shift: &Expr, schema: &DFSchema) -> Option<Expr> {
    let DataType::Timestamp(unit, zone) = time.get_type(schema).ok()? else { return None };
    let needed = match shift.get_type(schema).ok()? {
        DataType::Duration(unit) => unit,
        DataType::Interval(_) => unit_of(shift)?,
        _ => return None,
    };
    (unit < needed).then(|| cast(time.clone(), DataType::Timestamp(needed, zone)))
}

/// The coarsest unit that a written interval is whole in.
fn unit_of(shift: &Expr) -> Option<TimeUnit> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) = shift else {
        return None;
    };
    let units =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let is_whole =
        |unit: &TimeUnit| interval.nanoseconds % (NANOS_PER_SECOND / ticks_per_second(*unit)) == 0;
    units.into_iter().find(is_whole)
}
