//! An analyzer rule: a RANGE frame that reaches a part of a tick further reaches to the last tick within it.
//!
//! DataFusion adds the distance of a bound to the time of a row, or takes it away, and cuts off what is less than a tick of the
//! column: half a second before a time of whole seconds was the second before, and a tick of dates is a day. Of such a column the frames of whole ticks are the
//! same rows, so the distance is made one: shorter where the bound may not go beyond it, longer where it has to.
//!
//! The rule belongs behind DataFusion's own, which make intervals of the bounds. Pure.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use super::parts;
use crate::types::nanos_per_tick;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct WholeTickFrames;

impl AnalyzerRule for WholeTickFrames {
    fn name(&self) -> &str {
        "whole_tick_frames"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        parts::changed(plan, |part, schema| Ok(of_whole_ticks(part, schema)))
    }
}

fn of_whole_ticks(part: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::WindowFunction(mut window) = part else { return Transformed::no(part) };
    match whole_frame(&window, schema) {
        Some(frame) => {
            window.params.window_frame = frame;
            Transformed::yes(Expr::WindowFunction(window))
        }
        None => Transformed::no(Expr::WindowFunction(window)),
    }
}

/// `None` where the frame can stay as it is.
fn whole_frame(window: &WindowFunction, schema: &DFSchema) -> Option<WindowFrame> {
    let frame = &window.params.window_frame;
    let [key] = window.params.order_by.as_slice() else { return None };
    let tick = match key.expr.get_type(schema).ok()? {
        DataType::Timestamp(unit, _) => nanos_per_tick(unit),
        DataType::Date32 => NANOS_PER_DAY,
        _ => return None,
    };
    if frame.units != WindowFrameUnits::Range {
        return None;
    }
    let start = whole_bound(&frame.start_bound, tick, true);
    let end = whole_bound(&frame.end_bound, tick, false);
    if start.is_none() && end.is_none() {
        return None;
    }
    let mut whole = frame.clone();
    whole.start_bound = start.unwrap_or(whole.start_bound);
    whole.end_bound = end.unwrap_or(whole.end_bound);
    Some(whole)
}

/// A bound at a distance of whole ticks, where that of this one is not. A frame starts at the first row that is within, and ends
/// at the last.
fn whole_bound(bound: &WindowFrameBound, tick: i64, starts: bool) -> Option<WindowFrameBound> {
    match bound {
        WindowFrameBound::Preceding(distance) => {
            whole(distance, tick, !starts).map(WindowFrameBound::Preceding)
        }
        WindowFrameBound::Following(distance) => {
            whole(distance, tick, starts).map(WindowFrameBound::Following)
        }
        WindowFrameBound::CurrentRow => None,
    }
}

/// The next greater distance of whole ticks, or the next smaller one; `None` of what is one, or is nothing like it.
fn whole(distance: &ScalarValue, tick: i64, greater: bool) -> Option<ScalarValue> {
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = distance else { return None };
    let IntervalMonthDayNano { months, days, nanoseconds } = *interval;
    let rest = nanoseconds.rem_euclid(tick);
    if rest == 0 {
        return None;
    }
    let smaller = nanoseconds.checked_sub(rest)?;
    let nanoseconds = if greater { smaller.checked_add(tick)? } else { smaller };
    let interval = IntervalMonthDayNano { months, days, nanoseconds };
    Some(ScalarValue::IntervalMonthDayNano(Some(interval)))
}
