//! The scalar function `time_bucket(width, value [, time_zone] [, origin])`: where the bucket of a value starts. Pure.
//!
//! The result has the type of the value. Fixed widths count from 1970-01-01T00:00:00Z or from the origin; days, weeks, months
//! and years are those of a time zone, exact across changes of its clocks. `date_bin` differs: all its widths are UTC's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::buckets::{Buckets, SECONDS_PER_DAY, zone_of};
use super::{internal, refused, width};
use crate::segment::buffer::index_values;
use crate::types::{IndexType, nanos_per_tick};

const NAME: &str = "time_bucket";
const USAGE: &str = "write time_bucket('1h', ts), time_bucket('1d', ts, 'America/New_York') or time_bucket('15m', ts, origin) with \
                     constants for all but ts";

/// `time_bucket`.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(TimeBucket {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [width, value, rest @ ..] = arg_types else { return Err(usage(arg_types)) };
        let value = match value {
            DataType::Timestamp(..) | DataType::Date32 | DataType::UInt64 => value.clone(),
            DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            text if text.is_string() => DataType::Timestamp(TimeUnit::Microsecond, None),
            integer if integer.is_integer() => DataType::Int64,
            _ => return Err(usage(arg_types)),
        };
        let width = match width {
            // A parameter that is not bound yet has no type.
            text if text.is_string() || text.is_null() => DataType::Utf8,
            DataType::Interval(_) | DataType::Duration(_) => {
                DataType::Interval(IntervalUnit::MonthDayNano)
            }
            DataType::UInt64 => DataType::UInt64,
            integer if integer.is_integer() => DataType::Int64,
            _ => return Err(usage(arg_types)),
        };
        let zone = |data_type: &DataType| data_type.is_string().then_some(DataType::Utf8);
        let origin = |data_type: &DataType| match (&value, data_type) {
            // Kept as it is: a cast to a coarser unit would leave out a part of it.
            (DataType::Timestamp(..), DataType::Timestamp(..)) => Some(data_type.clone()),
            (DataType::Date32, DataType::Date32) => Some(DataType::Date32),
            (DataType::Int64 | DataType::UInt64, integer) if integer.is_integer() => {
                Some(value.clone())
            }
            _ => None,
        };
        let rest = match rest {
            [] => Some(vec![]),
            [only] => zone(only).or_else(|| origin(only)).map(|only| vec![only]),
            [first, second] => zone(first).zip(origin(second)).map(|(zone, at)| vec![zone, at]),
            _ => None,
        };
        let rest = rest.ok_or_else(|| usage(arg_types))?;
        Ok([width, value].into_iter().chain(rest).collect())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.get(1).cloned().ok_or_else(|| usage(arg_types))
    }

    /// Starts of buckets are in the order of the values: everything else is constant.
    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(input.get(1).map_or(SortProperties::Unordered, |value| value.sort_properties))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |argument: &ColumnarValue| match argument {
            ColumnarValue::Scalar(constant) => Ok(constant.clone()),
            ColumnarValue::Array(_) => {
                Err(refused(format!("an argument of {NAME} changes from row to row; {USAGE}")))
            }
        };
        let [width, value, rest @ ..] = args.args.as_slice() else {
            return Err(internal("time_bucket without a value"));
        };
        let width = constant(width)?;
        let rest = rest.iter().map(constant).collect::<Result<Vec<_>>>()?;
        let buckets = buckets_of(&width, &value.data_type(), &rest)?;
        match value {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(bucketed(&buckets, array)?)),
            ColumnarValue::Scalar(scalar) => {
                let array = bucketed(&buckets, &scalar.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

/// The buckets of a call over values of a type, with its constants.
fn buckets_of(width: &ScalarValue, data_type: &DataType, rest: &[ScalarValue]) -> Result<Buckets> {
    if width.is_null() || rest.iter().any(ScalarValue::is_null) {
        return Err(refused(format!("an argument of {NAME} is null; {USAGE}")));
    }
    let index = match data_type {
        DataType::Date32 => Some(IndexType::Timestamp(TimeUnit::Second)),
        other => IndexType::from_arrow(other),
    };
    let index = index.ok_or_else(|| internal("time_bucket of a type without buckets"))?;
    let zone = rest.first().and_then(|first| first.try_as_str().flatten());
    if let (Some(zone), DataType::Date32) = (zone, data_type) {
        return Err(refused(format!(
            "{NAME} of a date is the same in every time zone; leave \"{zone}\" out"
        )));
    }
    let origin = rest.last().filter(|last| last.try_as_str().is_none());
    let origin = origin.map(|origin| ticks(origin, data_type)).transpose()?;
    let width = width::parse(NAME, width, width::Days::Local)?;
    Buckets::try_new(NAME, width, index, zone, zone_of(data_type), origin)
}

/// How long a bucket of a call with these arguments can be, over values of a type: nanoseconds, or steps of integers. `None` unless
/// all but the value are constants that it takes. Every value is in the bucket that its answer starts.
pub(crate) fn bucket_length(arguments: &[Expr], data_type: &DataType) -> Option<i128> {
    let constant = |argument: &Expr| match argument {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    let [width, _, rest @ ..] = arguments else { return None };
    let rest = rest.iter().map(constant).collect::<Option<Vec<_>>>()?;
    let buckets = buckets_of(&constant(width)?, data_type, &rest).ok()?;
    Some(buckets.longest())
}

fn usage(arg_types: &[DataType]) -> datafusion::error::DataFusionError {
    let types: Vec<String> = arg_types.iter().map(ToString::to_string).collect();
    refused(format!("{NAME} does not take ({}); {USAGE}", types.join(", ")))
}

/// An origin in ticks of the column.
fn ticks(origin: &ScalarValue, data_type: &DataType) -> Result<i64> {
    let (value, nanos) = match origin {
        ScalarValue::Int64(Some(value)) => return Ok(*value),
        ScalarValue::UInt64(Some(value)) => return Ok(value.cast_signed()),
        ScalarValue::Date32(Some(days)) => return Ok(i64::from(*days) * SECONDS_PER_DAY),
        ScalarValue::TimestampSecond(Some(value), _) => (*value, nanos_per_tick(TimeUnit::Second)),
        ScalarValue::TimestampMillisecond(Some(value), _) => {
            (*value, nanos_per_tick(TimeUnit::Millisecond))
        }
        ScalarValue::TimestampMicrosecond(Some(value), _) => {
            (*value, nanos_per_tick(TimeUnit::Microsecond))
        }
        ScalarValue::TimestampNanosecond(Some(value), _) => {
            (*value, nanos_per_tick(TimeUnit::Nanosecond))
        }
        _ => return Err(internal("time_bucket from an origin of another type")),
    };
    let DataType::Timestamp(unit, _) = data_type else {
        return Err(internal("time_bucket from an origin of another type"));
    };
    let tick = i128::from(nanos_per_tick(*unit));
    let nanos = i128::from(value) * i128::from(nanos);
    let whole = (nanos % tick == 0).then(|| i64::try_from(nanos / tick).ok()).flatten();
    whole.ok_or_else(|| {
        refused(format!(
            "the origin {origin} of {NAME} is no value of type {data_type}; name one that the column could hold"
        ))
    })
}

/// Starts of the buckets of a column, in its type; nulls stay.
fn bucketed(buckets: &Buckets, array: &ArrayRef) -> Result<ArrayRef> {
    let valid = |row: usize| array.is_valid(row);
    let starts: ArrayRef = if let Some(dates) = array.as_primitive_opt::<Date32Type>() {
        let seconds: Vec<i64> =
            dates.values().iter().map(|days| i64::from(*days) * SECONDS_PER_DAY).collect();
        let mut starts = buckets.starts(NAME, &seconds, valid)?;
        let mut between = false;
        for start in &mut starts {
            between |= *start % SECONDS_PER_DAY != 0;
            *start = start.div_euclid(SECONDS_PER_DAY);
        }
        if between {
            return Err(refused(format!(
                "{NAME} of a date cannot start within a day; take a width of whole days, or cast the date to a timestamp"
            )));
        }
        let days: ArrayRef = Arc::new(Int64Array::from(starts));
        cast(&cast(&days, &DataType::Int32)?, &DataType::Date32)?
    } else {
        let values =
            index_values(array).ok_or_else(|| internal("time_bucket of a type without buckets"))?;
        let starts = buckets.starts(NAME, &values, valid)?;
        if array.data_type() == &DataType::UInt64 {
            let starts = starts.into_iter().map(i64::cast_unsigned);
            Arc::new(arrow::array::UInt64Array::from_iter_values(starts))
        } else {
            cast(&Int64Array::from(starts), array.data_type())?
        }
    };
    let data = starts.to_data().into_builder().nulls(array.nulls().cloned()).build()?;
    Ok(make_array(data))
}
