//! An analyzer rule: durations and intervals are compared by how long they are.
//!
//! DataFusion compares intervals by their months, then by their days, then by the rest, and makes an interval of a duration that
//! meets one. Two days that are the difference of two times have neither months nor days then, and so are less than `INTERVAL '1
//! day'`. Here a day has 24 hours and a month 30 days, as in PostgreSQL. A written interval becomes a duration beside one, so that a
//! comparison with a column as it is can be pruned by; elsewhere both sides become nanoseconds. Pure.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::parts;
use crate::types::ticks_per_second;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 24 * 3_600 * NANOS_PER_SECOND;
const DAYS_PER_MONTH: i128 = 30;

/// What a length in nanoseconds is.
const LENGTH: DataType = DataType::Decimal128(38, 0);

/// See the module.
#[derive(Debug, Default)]
pub struct LengthsOfTime;

impl AnalyzerRule for LengthsOfTime {
    fn name(&self) -> &str {
        "lengths_of_time"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        parts::changed(plan, compared)
    }
}

fn compared(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let sides = match &part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            vec![left.as_ref(), right.as_ref()]
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            vec![expr.as_ref(), low.as_ref(), high.as_ref()]
        }
        Expr::InList(InList { expr, list, .. }) => {
            std::iter::once(expr.as_ref()).chain(list).collect()
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, .. }) => {
            let whens = when_then_expr.iter().map(|(when, _)| when.as_ref());
            std::iter::once(expr.as_ref()).chain(whens).collect()
        }
        _ => return Ok(Transformed::no(part)),
    };
    let Some(lengths) = lengths(&sides, schema) else { return Ok(Transformed::no(part)) };
    let mut lengths = lengths.into_iter();
    let mut next = || {
        lengths.next().ok_or_else(|| {
            DataFusionError::Internal("a comparison has fewer sides than it had".to_owned())
        })
    };
    Ok(Transformed::yes(match part {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            Expr::BinaryExpr(BinaryExpr::new(next()?.into(), op, next()?.into()))
        }
        Expr::Between(Between { negated, .. }) => {
            Expr::Between(Between::new(next()?.into(), negated, next()?.into(), next()?.into()))
        }
        Expr::InList(InList { negated, .. }) => {
            Expr::InList(InList::new(next()?.into(), lengths.collect(), negated))
        }
        Expr::Case(Case { when_then_expr, else_expr, .. }) => {
            let expr = Some(next()?.into());
            let thens = when_then_expr.into_iter().map(|(_, then)| then);
            let pairs = lengths.map(Box::new).zip(thens).collect();
            Expr::Case(Case::new(expr, pairs, else_expr))
        }
        part => part,
    }))
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The sides of a comparison as they are compared; `None` where they can stay as they are, or are something else.
fn lengths(sides: &[&Expr], schema: &DFSchema) -> Option<Vec<Expr>> {
    let types = sides.iter().map(|side| side.get_type(schema).ok()).collect::<Option<Vec<_>>>()?;
    let is_length =
        |data_type: &DataType| matches!(data_type, DataType::Duration(_) | DataType::Interval(_));
    let is_known = |data_type: &DataType| is_length(data_type) || *data_type == DataType::Null;
    let is_interval = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
    if !types.iter().all(is_known) || !types.iter().any(is_interval) {
        return None;
    }
    // Durations of one unit, and what can be written in that.
    if let Some(DataType::Duration(unit)) = types.iter().find(|data_type| !is_interval(data_type)) {
        let written = sides.iter().zip(&types).map(|(side, data_type)| match data_type {
            DataType::Duration(other) if other == unit => Some(Expr::clone(side)),
            DataType::Null => Some(Expr::clone(side)),
            _ => duration(side, *unit).map(lit),
        });
        if let Some(written) = written.collect() {
            return Some(written);
        }
    }
    let length = ScalarUDF::new_from_impl(LengthOfTime::default());
    let lengths = sides.iter().zip(&types).map(|(side, data_type)| match data_type {
        DataType::Null => Expr::clone(side),
        _ => length.call(vec![Expr::clone(side)]),
    });
    Some(lengths.collect())
}

/// A written interval as a duration, if it is one of that unit.
fn duration(expr: &Expr, unit: TimeUnit) -> Option<ScalarValue> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) = expr else {
        return None;
    };
    let nanos = nanos_of(*interval);
    let nanos_per_tick = NANOS_PER_SECOND / i128::from(ticks_per_second(unit));
    let ticks = (nanos % nanos_per_tick == 0).then(|| i64::try_from(nanos / nanos_per_tick).ok());
    let ticks = Some(ticks.flatten()?);
    Some(match unit {
        TimeUnit::Second => ScalarValue::DurationSecond(ticks),
        TimeUnit::Millisecond => ScalarValue::DurationMillisecond(ticks),
        TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(ticks),
        TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(ticks),
    })
}

fn nanos_of(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * DAYS_PER_MONTH + i128::from(interval.days);
    days * NANOS_PER_DAY + i128::from(interval.nanoseconds)
}

/// A duration or an interval in nanoseconds, as a decimal: an interval can be longer than an i64 holds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LengthOfTime {
    signature: Signature,
}

impl Default for LengthOfTime {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LengthOfTime {
    fn name(&self) -> &str {
        "length_of_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(LENGTH)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        match args.args.as_slice() {
            [ColumnarValue::Scalar(value)] => {
                let lengths = lengths_of(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&lengths, 0)?))
            }
            [value] => Ok(ColumnarValue::Array(lengths_of(&value.to_array(rows)?)?)),
            others => Err(DataFusionError::Internal(format!(
                "the length of a time takes one argument, not {}",
                others.len()
            ))),
        }
    }
}

fn lengths_of(values: &ArrayRef) -> Result<ArrayRef> {
    let nanos: Decimal128Array = match values.data_type() {
        DataType::Duration(unit) => {
            let factor = NANOS_PER_SECOND / i128::from(ticks_per_second(*unit));
            let ticks = cast(values, &DataType::Int64)?;
            let ticks = ticks.as_primitive::<Int64Type>();
            ticks.iter().map(|ticks| ticks.map(|ticks| i128::from(ticks) * factor)).collect()
        }
        _ => {
            let intervals = cast(values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            intervals.iter().map(|interval| interval.map(nanos_of)).collect()
        }
    };
    Ok(Arc::new(nanos.with_data_type(LENGTH)))
}
