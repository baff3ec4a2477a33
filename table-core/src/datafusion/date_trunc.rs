//! The scalar function `date_trunc` around DataFusion's own, which truncates what lies under nulls, too. Pure.
//!
//! Under a null may lie anything: `max` leaves the least of all integers there. Truncated to hours or days that is less than any
//! integer, where DataFusion panics, or wraps around in a build without checks. So nulls are made harmless before, and a
//! timestamp that is too early to be truncated is an error instead of one far in the future.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::types::nanos_per_tick;

/// The longest step that is truncated to without regard to the calendar; longer ones are checked.
const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// Position of the timestamps among the arguments.
const COLUMN: usize = 1;

/// `date_trunc(unit, timestamp)`, around DataFusion's own.
pub fn date_trunc(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(DateTrunc { inner })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(ColumnarValue::Array(column)) = args.args.get_mut(COLUMN)
            && let Some(harmless) = harmless(column)?
        {
            *column = harmless;
        }
        self.inner.invoke_with_args(args)
    }
}

/// The column with other values under its nulls; `None` when it can stay as it is.
fn harmless(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => cleared::<TimestampSecondType>(column),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            cleared::<TimestampMillisecondType>(column)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            cleared::<TimestampMicrosecondType>(column)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => cleared::<TimestampNanosecondType>(column),
        _ => Ok(None),
    }
}

fn cleared<T: ArrowTimestampType>(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    let Some(array) = column.as_primitive_opt::<T>() else { return Ok(None) };
    let first = i64::MIN + NANOS_PER_DAY / nanos_per_tick(T::UNIT);
    let too_early = |value: &i64| *value < first;
    if !array.values().iter().any(too_early) {
        return Ok(None);
    }
    if let Some(value) = array.iter().flatten().find(too_early) {
        return exec_err!(
            "date_trunc cannot go back from {value} {:?}s since 1970: there is no earlier timestamp",
            T::UNIT
        );
    }
    let values: Vec<i64> = array.iter().map(Option::unwrap_or_default).collect();
    let cleared = PrimitiveArray::<T>::new(values.into(), array.nulls().cloned());
    Ok(Some(Arc::new(cleared.with_data_type(array.data_type().clone()))))
}

#[cfg(test)]
#[path = "date_trunc_tests.rs"]
mod tests;
