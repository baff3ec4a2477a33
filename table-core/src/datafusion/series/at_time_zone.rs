//! The scalar function `at_time_zone(time, zone)`, which `time AT TIME ZONE 'zone'` is: the moment when clocks of the zone show a time.
//! Pure.
//!
//! DataFusion casts to nanoseconds there, which end in 2262, and refuses times that clocks show twice or never. Here the unit stays.
//! Of two moments it is the later one, in standard time; a time that clocks skip is as long after the change as they would show without it.
//! PostgreSQL does the same. A time that has a zone stays the moment that it is.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{internal, refused};
use crate::types::ticks_per_second;

pub(crate) const NAME: &str = "at_time_zone";
const USAGE: &str = "write ts AT TIME ZONE 'Europe/Berlin'";

/// Steps back from a time that clocks skip to one that they show, and how long one is: clocks have skipped a whole day at most.
const STEPS_MAX: i32 = 200;
const STEP: TimeDelta = TimeDelta::minutes(15);

/// `at_time_zone`.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(AtTimeZone {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone {
    signature: Signature,
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// As it is written.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(match args {
            [time, zone] => format!("{} AT TIME ZONE {}", time.schema_name(), zone.schema_name()),
            _ => NAME.to_owned(),
        })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, zone] = arg_types else { return Err(usage(arg_types)) };
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            text if text.is_string() => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => return Err(usage(arg_types)),
        };
        match zone.is_string() {
            true => Ok(vec![time, DataType::Utf8]),
            false => Err(usage(arg_types)),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Err(usage(arg_types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let zone = args.scalar_arguments.get(1).copied().flatten();
        let zone = zone.and_then(|zone| zone.try_as_str().flatten());
        let (Some(zone), Some(time)) = (zone, args.arg_fields.first()) else {
            return Err(refused(format!("the zone of AT TIME ZONE is no text; {USAGE}")));
        };
        let DataType::Timestamp(unit, _) = time.data_type() else {
            return Err(usage(&[time.data_type().clone()]));
        };
        parse(zone)?;
        let data_type = DataType::Timestamp(*unit, Some(zone.into()));
        Ok(Arc::new(Field::new(NAME, data_type, time.is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_field.data_type();
        let Some(time) = args.args.first() else {
            return Err(internal("AT TIME ZONE without a time"));
        };
        match time {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(moments(array, data_type)?)),
            ColumnarValue::Scalar(scalar) => {
                let array = moments(&scalar.to_array()?, data_type)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

fn parse(zone: &str) -> Result<Tz> {
    zone.parse().map_err(|_| {
        refused(format!(
            "\"{zone}\" is no time zone; write one such as 'Europe/Berlin', 'UTC' or '+02:00'"
        ))
    })
}

fn usage(arg_types: &[DataType]) -> datafusion::error::DataFusionError {
    let types: Vec<String> = arg_types.iter().map(ToString::to_string).collect();
    refused(format!("AT TIME ZONE does not take ({}); {USAGE}", types.join(", ")))
}

/// The moments of times, in a type of the same unit that has a zone.
fn moments(times: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let (DataType::Timestamp(_, from_zone), DataType::Timestamp(unit, Some(zone))) =
        (times.data_type(), data_type)
    else {
        return Err(internal("AT TIME ZONE of another type"));
    };
    if from_zone.is_some() {
        return Ok(cast(times, data_type)?);
    }
    let (zone, per_second) = (parse(zone)?, ticks_per_second(*unit));
    let ticks = cast(times, &DataType::Int64)?;
    let moment = |ticks: i64| {
        moment(ticks, per_second, zone).ok_or_else(|| {
            refused(format!(
                "a time is too far away to have a moment in \"{zone:?}\": {ticks} ticks of {data_type}"
            ))
        })
    };
    let ticks = ticks.as_primitive::<Int64Type>().iter();
    let moments: Int64Array =
        ticks.map(|ticks| ticks.map(moment).transpose()).collect::<Result<_>>()?;
    Ok(cast(&moments, data_type)?)
}

/// `None` for what no calendar reaches.
fn moment(ticks: i64, per_second: i64, zone: Tz) -> Option<i64> {
    let shown = DateTime::from_timestamp(ticks.div_euclid(per_second), 0)?.naive_utc();
    let offset = i64::from(offset(shown, zone)?);
    ticks.checked_sub(offset.checked_mul(per_second)?)
}

/// How far clocks that show a time are ahead of UTC, in seconds.
fn offset(shown: NaiveDateTime, zone: Tz) -> Option<i32> {
    let mut before = shown;
    for _ in 0..STEPS_MAX {
        match zone.offset_from_local_datetime(&before) {
            LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => {
                return Some(offset.fix().local_minus_utc());
            }
            LocalResult::None => before = before.checked_sub_signed(STEP)?,
        }
    }
    None
}
