//! The times of samples, whatever their type, as signed numbers in the same order. Pure.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::Result;

use super::buckets::SECONDS_PER_DAY;
use super::internal;
use crate::segment::buffer::index_values;
use crate::types::ticks_per_second;

/// The type that a time is taken in; `None` for what is no time.
pub(super) fn taken_as(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(..) | DataType::Date32 | DataType::UInt64 => Some(data_type.clone()),
        DataType::Null => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        integer if integer.is_integer() => Some(DataType::Int64),
        _ => None,
    }
}

/// Times as signed numbers that compare as they do and are as far apart.
pub(super) fn positions(times: &ArrayRef) -> Result<Int64Array> {
    let values = match times.data_type() {
        DataType::Date32 => return Ok(cast(times, &DataType::Int64)?.as_primitive().clone()),
        DataType::UInt64 => {
            index_values(times).map(|bits| bits.iter().map(|bits| bits ^ i64::MIN).collect())
        }
        _ => index_values(times),
    };
    let values = values.ok_or_else(|| internal("a time of a type without order"))?;
    Ok(Int64Array::new(values, times.nulls().cloned()))
}

/// The times of positions, in the type that they had.
pub(super) fn times(data_type: &DataType, positions: Vec<i64>) -> Result<ArrayRef> {
    let positions = Int64Array::from(positions);
    Ok(match data_type {
        DataType::UInt64 => {
            let bits = positions.values().iter().map(|at| (at ^ i64::MIN).cast_unsigned());
            Arc::new(UInt64Array::from_iter_values(bits))
        }
        DataType::Date32 => cast(&cast(&positions, &DataType::Int32)?, data_type)?,
        _ => cast(&positions, data_type)?,
    })
}

/// How far the second of two positions is behind the first: seconds, or plain numbers where times are integers.
pub(super) fn distance(data_type: &DataType, from: i64, to: i64) -> f64 {
    let ticks = (i128::from(to) - i128::from(from)) as f64;
    match data_type {
        DataType::Timestamp(unit, _) => ticks / ticks_per_second(*unit) as f64,
        DataType::Date32 => ticks * SECONDS_PER_DAY as f64,
        _ => ticks,
    }
}
