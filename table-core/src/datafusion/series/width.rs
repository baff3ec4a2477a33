//! Widths of buckets as SQL writes them: text, intervals, and whole numbers on integer columns. Pure.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::{DataType, IntervalDayTimeType, IntervalMonthDayNano};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::refused;
use crate::types::{BucketWidth, CalendarUnit};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// What a day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datafusion) enum Days {
    /// From one local midnight to the next.
    Local,
    /// 24 hours, as in `date_bin`.
    Fixed,
}

/// Reads a width: `'15m'`, `'2 hours'`, `INTERVAL '3 months'`, `10`.
///
/// # Errors
/// `Invalid` for what is not positive, has a fraction of its unit, or mixes months, days and times; `function` is named.
pub(in crate::datafusion) fn parse(
    function: &str,
    width: &ScalarValue,
    days: Days,
) -> Result<BucketWidth> {
    let wrong = |why: &str| {
        // As text, where an interval has units and not the names of fields.
        let shown = width.cast_to(&DataType::Utf8).unwrap_or_else(|_| width.clone());
        refused(format!(
            "the width of {function} is {shown}{why}; write '15m', '1d', '1mo' or INTERVAL '1 hour', or a whole number above 0 on \
             integers"
        ))
    };
    if let Some(text) = width.try_as_str() {
        let text = text.ok_or_else(|| wrong(""))?;
        return match BucketWidth::parse(text) {
            Ok(BucketWidth::Calendar { count, unit }) if days == Days::Fixed => match unit {
                CalendarUnit::Day => fixed_days(i64::from(count), 0),
                CalendarUnit::Week => fixed_days(i64::from(count) * 7, 0),
                CalendarUnit::Month | CalendarUnit::Year => {
                    Some(BucketWidth::Calendar { count, unit })
                }
            }
            .ok_or_else(|| wrong(", which is too much")),
            Ok(parsed) => Ok(parsed),
            Err(refusal) => match parse_interval_month_day_nano(text) {
                // `15m` is fifteen minutes here and months there, so only what has a space is one; and half a month has no length.
                Ok(interval) if text.contains(' ') && !text.contains('.') => {
                    of_interval(days, interval).ok_or_else(|| wrong(MIXED))
                }
                _ => Err(refused(format!("{function}: {refusal}"))),
            },
        };
    }
    let interval = match width {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => *interval,
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let (days, millis) = IntervalDayTimeType::to_parts(*interval);
            IntervalMonthDayNano::new(0, days, i64::from(millis) * NANOS_PER_MILLI)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => IntervalMonthDayNano::new(*months, 0, 0),
        number if number.data_type().is_integer() => {
            return match number.cast_to(&DataType::UInt64) {
                Ok(ScalarValue::UInt64(Some(steps))) if steps > 0 => Ok(BucketWidth::Steps(steps)),
                _ => Err(wrong("")),
            };
        }
        _ => return Err(wrong("")),
    };
    of_interval(days, interval).ok_or_else(|| wrong(MIXED))
}

const MIXED: &str = ", which is no positive number of months, of days, or of a fixed time alone";

/// `None` unless it is positive and has one kind of unit; fixed days and times are of one kind.
fn of_interval(days_are: Days, interval: IntervalMonthDayNano) -> Option<BucketWidth> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let calendar = |count: i32, unit| {
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        Some(BucketWidth::Calendar { count, unit })
    };
    match (months, days, nanoseconds) {
        (months, 0, 0) if months != 0 => calendar(months, CalendarUnit::Month),
        (0, days, nanos) if days_are == Days::Fixed => fixed_days(i64::from(days), nanos),
        (0, days, 0) => calendar(days, CalendarUnit::Day),
        (0, 0, nanos) if nanos > 0 => Some(BucketWidth::Nanos(nanos)),
        _ => None,
    }
}

fn fixed_days(days: i64, nanos: i64) -> Option<BucketWidth> {
    let nanos = days.checked_mul(NANOS_PER_DAY)?.checked_add(nanos)?;
    (nanos > 0).then_some(BucketWidth::Nanos(nanos))
}
