//! How far apart two matching values may be: the distance of a tolerance in the unit of the column. Pure.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;

use super::ordinal;
use crate::types::nanos_per_tick;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// A tolerance as the merge compares it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Nearness {
    /// At most this many units of the column.
    Units(i128),
    /// At most, or less than, this difference of floats.
    Float { distance: f64, inclusive: bool },
}

impl Nearness {
    /// From the value of a distance, for values of `column`.
    ///
    /// # Errors
    /// A plan error when the distance is null, does not fit the column, or has months in it, which have no length.
    pub(super) fn try_new(
        column: &DataType,
        distance: &ScalarValue,
        inclusive: bool,
    ) -> Result<Self> {
        check(column, &distance.data_type())?;
        if distance.is_null() {
            return plan_err!(
                "the distance of ASOF JOIN is null; leave it out where any distance will do"
            );
        }
        if let Some(unit) = nanos_per_unit(column) {
            let nanos = nanos(distance)?;
            return Ok(Self::Units(inclusive_units(nanos, unit, inclusive)));
        }
        if column.is_floating() {
            return match distance.cast_to(&DataType::Float64)? {
                ScalarValue::Float64(Some(distance)) => Ok(Self::Float { distance, inclusive }),
                other => plan_err!("the distance of ASOF JOIN is no number: {other}"),
            };
        }
        let scale = match column {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        };
        // With the digits of the column, and those that the distance has beyond them cut off: no two values are between.
        let exact = distance.cast_to(&DataType::Decimal128(38, EXACT_SCALE))?;
        let ScalarValue::Decimal128(Some(exact), _, _) = exact else {
            return plan_err!("the distance of ASOF JOIN is no number: {exact}");
        };
        let Some(unit) =
            u32::try_from(EXACT_SCALE - scale).ok().and_then(|zeros| 10_i128.checked_pow(zeros))
        else {
            return plan_err!(
                "ASOF JOIN takes no distance of {column}; cast both sides to fewer digits"
            );
        };
        Ok(Self::Units(inclusive_units(exact, unit, inclusive)))
    }

    /// Whether two values are near enough, the greater one first.
    pub(super) fn holds<T: ordinal::Ordinal>(&self, greater: T, lesser: T) -> bool {
        let (greater, lesser): (i128, i128) = (greater.into(), lesser.into());
        match *self {
            // The difference of two decimals may need more bits than there are.
            Self::Units(units) => greater.saturating_sub(lesser) <= units,
            Self::Float { distance, inclusive } => {
                let float =
                    |ordinal: i128| i64::try_from(ordinal).map_or(f64::NAN, ordinal::to_float);
                let apart = float(greater) - float(lesser);
                if inclusive { apart <= distance } else { apart < distance }
            }
        }
    }
}

/// Digits behind the point of a distance of whole numbers.
const EXACT_SCALE: i8 = 12;

/// Whether a distance of this type says how far values of `column` are apart.
///
/// # Errors
/// A plan error when it does not.
pub(super) fn check(column: &DataType, distance: &DataType) -> Result<()> {
    let fits = match distance {
        DataType::Null => true,
        DataType::Interval(_) | DataType::Duration(_) => nanos_per_unit(column).is_some(),
        numeric => numeric.is_numeric() && column.is_numeric(),
    };
    if fits {
        return Ok(());
    }
    match nanos_per_unit(column) {
        Some(_) => plan_err!(
            "ASOF JOIN takes no distance of {distance} between values of {column}; write an interval: INTERVAL '5 seconds'"
        ),
        None => plan_err!(
            "ASOF JOIN takes no distance of {distance} between values of {column}; write a number"
        ),
    }
}

/// Nanoseconds in one unit of a column of dates or times.
fn nanos_per_unit(column: &DataType) -> Option<i128> {
    match column {
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => Some(i128::from(nanos_per_tick(*unit))),
        DataType::Date32 => Some(NANOS_PER_DAY),
        DataType::Date64 => Some(1_000_000),
        _ => None,
    }
}

fn nanos(distance: &ScalarValue) -> Result<i128> {
    let exact = match distance.data_type() {
        DataType::Interval(_) => {
            distance.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))?
        }
        _ => distance.clone(),
    };
    match exact {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Ok(i128::from(interval.days) * NANOS_PER_DAY + i128::from(interval.nanoseconds))
        }
        ScalarValue::IntervalMonthDayNano(Some(_)) => {
            plan_err!(
                "months and years differ in length; write the distance of ASOF JOIN in days or less"
            )
        }
        ScalarValue::DurationSecond(Some(count)) => Ok(i128::from(count) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(count)) => Ok(i128::from(count) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(count)) => Ok(i128::from(count) * 1_000),
        ScalarValue::DurationNanosecond(Some(count)) => Ok(i128::from(count)),
        other => plan_err!("the distance of ASOF JOIN is no interval: {other}"),
    }
}

/// The most whole units that `apart * unit <= exact` allows, or `<` when it is not inclusive.
fn inclusive_units(exact: i128, unit: i128, inclusive: bool) -> i128 {
    let whole = exact.div_euclid(unit);
    if !inclusive && exact.rem_euclid(unit) == 0 { whole - 1 } else { whole }
}
