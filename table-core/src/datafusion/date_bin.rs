//! The scalar function `date_bin`, faster than DataFusion's and in the column's own unit. Pure.
//!
//! DataFusion takes an origin in nanoseconds only, so with an origin in any other unit it casts the whole column, and its
//! result is in nanoseconds too, and a duration is no width to it. Here the result has the type of the column whatever the unit of the origin is. A bin of a
//! fixed width that begins and ends on ticks of the column is found by integer arithmetic in the column's unit, and rows
//! that follow each other mostly share their bin, so it is kept from row to row. Everything else is left to DataFusion.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, FieldRef, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::types::nanos_per_tick;

const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// `date_bin(interval, timestamp [, origin])`, around DataFusion's own, which answers what this one does not.
pub fn date_bin(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(DateBin {
        inner,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateBin {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let inner = |types: &[DataType]| -> Result<Vec<DataType>> {
            let field = |data_type: &DataType| Arc::new(Field::new("", data_type.clone(), true));
            let fields: Vec<FieldRef> = types.iter().map(field).collect();
            let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
            Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
        };
        let mut known = arg_types.to_vec();
        if let Some(width @ DataType::Duration(_)) = known.first_mut() {
            *width = DataType::Interval(IntervalUnit::MonthDayNano);
        }
        let mut coerced = inner(&known)?;
        let column = (arg_types.get(1), coerced.get_mut(1));
        if let (Some(column), Some(coerced)) = column
            && same_instants(column, coerced)
        {
            coerced.clone_from(column);
        }
        Ok(coerced)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match binned(&args.args) {
            Some(array) => Ok(ColumnarValue::Array(array)),
            None => self.inner.invoke_with_args(args),
        }
    }
}

/// Whether a cast from one type to the other leaves instants what they are: then the column can do without it.
fn same_instants(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to)) => {
            from.is_some() == to.is_some()
        }
        _ => false,
    }
}

/// The answer, when all of it can be had by integer arithmetic in the column's unit.
fn binned(args: &[ColumnarValue]) -> Option<ArrayRef> {
    let (ColumnarValue::Scalar(stride), ColumnarValue::Array(column), origin) = (match args {
        [stride, column] => (stride, column, 0),
        [stride, column, ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(origin, _))] => {
            (stride, column, (*origin)?)
        }
        _ => return None,
    }) else {
        return None;
    };
    let stride = fixed_nanos(stride)?;
    let DataType::Timestamp(unit, _) = column.data_type() else { return None };
    match unit {
        TimeUnit::Second => bin::<TimestampSecondType>(column, stride, origin),
        TimeUnit::Millisecond => bin::<TimestampMillisecondType>(column, stride, origin),
        TimeUnit::Microsecond => bin::<TimestampMicrosecondType>(column, stride, origin),
        TimeUnit::Nanosecond => bin::<TimestampNanosecondType>(column, stride, origin),
    }
}

/// Width of an interval that always has the same; `None` for months and what is not positive.
fn fixed_nanos(interval: &ScalarValue) -> Option<i64> {
    let nanos = match interval {
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            let (months, days, nanos) = IntervalMonthDayNanoType::to_parts(*value);
            if months != 0 {
                return None;
            }
            i64::from(days).checked_mul(NANOS_PER_DAY)?.checked_add(nanos)?
        }
        ScalarValue::IntervalDayTime(Some(value)) => {
            let (days, millis) = IntervalDayTimeType::to_parts(*value);
            i64::from(days)
                .checked_mul(NANOS_PER_DAY)?
                .checked_add(i64::from(millis) * NANOS_PER_MILLI)?
        }
        _ => return None,
    };
    (nanos > 0).then_some(nanos)
}

/// `None` when bins do not begin on ticks, or some bin begins before the first of all ticks.
fn bin<T: ArrowTimestampType>(column: &ArrayRef, stride: i64, origin: i64) -> Option<ArrayRef> {
    let tick = nanos_per_tick(T::UNIT);
    if stride % tick != 0 || origin % tick != 0 {
        return None;
    }
    let (stride, origin) = (stride / tick, origin / tick);
    let array = column.as_primitive_opt::<T>()?;
    // What lies under nulls may be anything, and have no bin; it does not matter.
    let nullable = array.null_count() > 0;
    let mut bin = 0..0;
    let mut failed = false;
    let starts: Vec<i64> = array
        .values()
        .iter()
        .map(|value| {
            if !bin.contains(value) {
                match start_of(*value, stride, origin) {
                    Some(start) => bin = start..start.saturating_add(stride),
                    None => failed = true,
                }
            }
            bin.start
        })
        .collect();
    if failed && !nullable {
        return None;
    }
    if failed {
        return bin_nullable(array, stride, origin);
    }
    let binned = PrimitiveArray::<T>::new(starts.into(), array.nulls().cloned());
    Some(Arc::new(binned.with_data_type(array.data_type().clone())))
}

fn bin_nullable<T: ArrowTimestampType>(
    array: &PrimitiveArray<T>,
    stride: i64,
    origin: i64,
) -> Option<ArrayRef> {
    let starts = array.iter().map(|value| match value {
        Some(value) => start_of(value, stride, origin).map(Some),
        None => Some(None),
    });
    let binned: PrimitiveArray<T> = starts.collect::<Option<Vec<_>>>()?.into_iter().collect();
    Some(Arc::new(binned.with_data_type(array.data_type().clone())))
}

/// The greatest `origin + n * stride` that is not after `value`.
fn start_of(value: i64, stride: i64, origin: i64) -> Option<i64> {
    let distance = value.checked_sub(origin)?;
    origin.checked_add(distance.checked_sub(distance.rem_euclid(stride))?)
}

#[cfg(test)]
#[path = "date_bin_tests.rs"]
mod tests;
