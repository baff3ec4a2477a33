//! Values of the ordered column as integers that compare as the values do. Pure.

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type,
};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::utils::can_hash;

/// An integer that stands for a value.
pub(super) trait Ordinal: ArrowNativeType + Ord + Into<i128> + Debug + Unpin {
    /// Integers for the values of an array; of nulls, any.
    ///
    /// # Errors
    /// An internal error for a type that has none of this width.
    fn of(values: &ArrayRef) -> Result<ScalarBuffer<Self>>;
}

/// Whether equal values of this type can be brought together.
pub(super) fn is_key(data_type: &DataType) -> bool {
    !data_type.is_nested() && can_hash(data_type)
}

/// Whether values of this type have integers.
pub(super) fn is_ordered(data_type: &DataType) -> bool {
    is_narrow(data_type) || is_wide(data_type)
}

/// Whether they need 128 bits.
pub(super) fn is_wide(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(_, _))
}

fn is_narrow(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(
            data_type,
            DataType::Timestamp(_, _)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Duration(_)
        )
}

impl Ordinal for i64 {
    fn of(values: &ArrayRef) -> Result<ScalarBuffer<Self>> {
        let integers = match values.data_type() {
            DataType::UInt64 => {
                let values = values.as_primitive::<UInt64Type>().values();
                return Ok(values.iter().map(|value| value.cast_signed() ^ Self::MIN).collect());
            }
            floating if floating.is_floating() => {
                let values = cast(values, &DataType::Float64)?;
                let values = values.as_primitive::<Float64Type>().values();
                return Ok(values.iter().map(|value| of_float(*value)).collect());
            }
            narrow if is_narrow(narrow) => cast_through(values)?,
            other => return internal_err!("{other} has no order of 64 bits"),
        };
        Ok(integers.as_primitive::<Int64Type>().values().clone())
    }
}

impl Ordinal for i128 {
    fn of(values: &ArrayRef) -> Result<ScalarBuffer<Self>> {
        match values.data_type() {
            DataType::Decimal128(_, _) => {
                Ok(values.as_primitive::<Decimal128Type>().values().clone())
            }
            other => internal_err!("{other} has no order of 128 bits"),
        }
    }
}

/// Dates and times of day go to 64 bits through 32 in some types.
fn cast_through(values: &ArrayRef) -> Result<ArrayRef> {
    let values = match values.data_type() {
        DataType::Date32 | DataType::Time32(_) => &cast(values, &DataType::Int32)?,
        _ => values,
    };
    Ok(cast(values, &DataType::Int64)?)
}

/// In the order in which the engine sorts and compares floats: -0 before 0, NaN last.
fn of_float(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The float that an integer stands for.
pub(super) fn to_float(ordinal: i64) -> f64 {
    let bits = ordinal ^ ((ordinal >> 63).cast_unsigned() >> 1).cast_signed();
    f64::from_bits(bits.cast_unsigned())
}
