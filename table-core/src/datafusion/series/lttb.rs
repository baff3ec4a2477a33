//! The aggregate function `lttb(time, value, points)`: the samples of a group that a plot of so many points needs, as a list of
//! structs of time and value. Largest triangle three buckets, of Sveinn Steinarsson's "Downsampling Time Series for Visual
//! Representation" (2013). Pure.
//!
//! The first and the last sample are points. Those between them are dealt out to `points` - 2 buckets, as even in number as can
//! be, and of each the sample becomes a point that makes the largest triangle with the point before it and the average of the next
//! bucket; of several the first. A NaN or an infinity makes no triangle, so rows with one are left out as are nulls.
//!
//! Times and counts are calculated exactly and areas in doubles, of values scaled by a power of two, so none overflows. As
//! samples have an order of their own, the answer depends on the samples alone.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Fields, Float64Type, Int64Type, UInt64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::samples::{Answer, Keep, OverSamples, Sample, exact_type, state_fields};
use super::{call, internal, refused, time};

const NAME: &str = "lttb";

/// The first and the last sample.
const LTTB_POINTS_MIN: i64 = 2;
/// Most points of one answer, which becomes one value of one row.
const LTTB_POINTS_MAX: i64 = 100_000;

/// Where the exponent of a positive double is in its bits.
const EXPONENT_SHIFT: u32 = f64::MANTISSA_DIGITS - 1;
/// That of infinity.
const EXPONENT_MAX: u64 = f64::INFINITY.to_bits() >> EXPONENT_SHIFT;

/// `lttb`.
pub(super) fn function() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(Lttb { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lttb {
    signature: Signature,
}

fn usage() -> DataFusionError {
    refused(format!(
        "{NAME} takes a time, which is a timestamp, date or integer, a number, and how many points to keep; write \
         {NAME}(ts, value, 500) with a constant number of points"
    ))
}

fn fields(time: &DataType, value: &DataType) -> Fields {
    let field = |name: &str, data_type: &DataType| Field::new(name, data_type.clone(), true);
    [field("time", time), field("value", value)].into_iter().collect()
}

fn item(fields: Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields), true))
}

/// How many points an argument asks for.
fn points_of(argument: &ScalarValue) -> Result<usize> {
    let ScalarValue::Int64(Some(points)) = argument else {
        return Err(internal("a number of points that was not coerced"));
    };
    let points =
        Some(*points).filter(|points| (LTTB_POINTS_MIN..=LTTB_POINTS_MAX).contains(points));
    points.and_then(|points| usize::try_from(points).ok()).ok_or_else(|| {
        refused(format!(
            "{NAME} keeps {LTTB_POINTS_MIN} to {LTTB_POINTS_MAX} points, and {argument} are asked for; write {NAME}(ts, value, 500)"
        ))
    })
}

impl AggregateUDFImpl for Lttb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, value, points] = arg_types else { return Err(usage()) };
        if !points.is_integer() {
            return Err(usage());
        }
        let time = time::taken_as(time).ok_or_else(usage)?;
        let value = exact_type(NAME, value)?.ok_or_else(usage)?;
        Ok(vec![time, value, DataType::Int64])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [time, value, _] = arg_types else { return Err(usage()) };
        Ok(DataType::List(item(fields(time, value))))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.input_fields.get(1).ok_or_else(usage)?;
        Ok(state_fields(args.name, value.data_type()))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(NAME, &args)?;
        let ([_, _, points], [time, value, _]) = (args.exprs, args.expr_fields) else {
            return Err(usage());
        };
        let points = points_of(&call::constant(points).ok_or_else(usage)?)?;
        let (time, value) = (time.data_type(), value.data_type());
        match value {
            DataType::Int64 => over::<Int64Type>(time, value, points, |value| value as f64),
            DataType::UInt64 => over::<UInt64Type>(time, value, points, |value| value as f64),
            // In units of the last digit: which area is the largest stays the same.
            DataType::Decimal128(..) => {
                over::<Decimal128Type>(time, value, points, |value| value as f64)
            }
            DataType::Float64 => over::<Float64Type>(time, value, points, |value| value),
            _ => Err(internal("a value of a type that was not coerced")),
        }
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        call::planned(usage, 2, |constants| {
            constants.iter().try_for_each(|points| points_of(points).map(drop))
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn over<T: ArrowPrimitiveType + Debug>(
    time: &DataType,
    value: &DataType,
    points: usize,
    number: fn(T::Native) -> f64,
) -> Result<Box<dyn Accumulator>> {
    let fields = fields(time, value);
    let nothing = ScalarValue::try_from(&DataType::List(item(fields.clone())))?;
    let plot = Plot::<T> { time: time.clone(), value: value.clone(), fields, points, number };
    Ok(Box::new(OverSamples::<T, _>::new(value.clone(), Keep::All, plot, nothing)))
}

#[derive(Debug)]
struct Plot<T: ArrowPrimitiveType> {
    time: DataType,
    value: DataType,
    /// Of a point.
    fields: Fields,
    /// At least 2.
    points: usize,
    number: fn(T::Native) -> f64,
}

impl<T: ArrowPrimitiveType + Debug> Plot<T> {
    /// The samples that become points.
    fn picked(&self, samples: &[Sample<T>]) -> Vec<Sample<T>> {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Vec::new();
        };
        if samples.len() <= self.points {
            return samples.to_vec();
        }
        let scale = self.scale(samples);
        let between = Buckets { samples: samples.len() - 2, buckets: self.points - 2 };
        let mut picked = Vec::with_capacity(self.points);
        let mut before = *first;
        picked.push(before);
        for bucket in 0..between.buckets {
            let next = samples.get(between.range(bucket + 1)).unwrap_or_default();
            let side = self.side(before, next, scale);
            let mut largest = None;
            for sample in samples.get(between.range(bucket)).unwrap_or_default() {
                let area = self.area(before, *sample, side, scale);
                if largest.is_none_or(|(most, _)| area > most) {
                    largest = Some((area, *sample));
                }
            }
            if let Some((_, sample)) = largest {
                before = sample;
                picked.push(before);
            }
        }
        picked.push(*last);
        picked
    }

    /// A power of two that brings all values to below 4.
    fn scale(&self, samples: &[Sample<T>]) -> f64 {
        let largest = samples.iter().map(|sample| (self.number)(sample.1).abs());
        let exponent = largest.fold(f64::MIN_POSITIVE, f64::max).to_bits() >> EXPONENT_SHIFT;
        f64::from_bits((EXPONENT_MAX - exponent) << EXPONENT_SHIFT)
    }

    /// From a point to the average of the next samples, how far in time and in value: as many times as there are of these.
    fn side(&self, point: Sample<T>, next: &[Sample<T>], scale: f64) -> (f64, f64) {
        let time: i128 = next.iter().map(|sample| i128::from(sample.0) - i128::from(point.0)).sum();
        let (from, number) = ((self.number)(point.1) * scale, self.number);
        (time as f64, next.iter().map(|sample| number(sample.1) * scale - from).sum())
    }

    /// Of the triangle with a side from the first point; as many times as that side is longer, and times 2.
    fn area(&self, from: Sample<T>, to: Sample<T>, side: (f64, f64), scale: f64) -> f64 {
        let time = (i128::from(to.0) - i128::from(from.0)) as f64;
        let value = (self.number)(to.1) * scale - (self.number)(from.1) * scale;
        (side.0 * value - time * side.1).abs()
    }
}

/// The buckets between the first and the last sample, and that of the last.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    /// Not fewer than the buckets.
    samples: usize,
    buckets: usize,
}

impl Buckets {
    /// Where the samples of a bucket are among all.
    fn range(self, bucket: usize) -> Range<usize> {
        self.start(bucket)..self.start(bucket + 1)
    }

    fn start(self, bucket: usize) -> usize {
        if bucket > self.buckets {
            return self.samples + 2;
        }
        let before = bucket as u128 * self.samples as u128 / self.buckets.max(1) as u128;
        usize::try_from(before).unwrap_or(self.samples) + 1
    }
}

impl<T: ArrowPrimitiveType + Debug> Answer<T> for Plot<T> {
    const TIME_FIRST: bool = true;

    fn keeps(&self, value: T::Native) -> bool {
        (self.number)(value).is_finite()
    }

    fn finish(&self, samples: &[Sample<T>]) -> Result<ScalarValue> {
        let points = self.picked(samples);
        let times = time::times(&self.time, points.iter().map(|point| point.0).collect())?;
        let values = PrimitiveArray::<T>::from_iter_values(points.iter().map(|point| point.1));
        let columns: Vec<ArrayRef> =
            vec![times, Arc::new(values.with_data_type(self.value.clone()))];
        let points = StructArray::try_new(self.fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths([points.len()]);
        let list = ListArray::try_new(item(self.fields.clone()), offsets, Arc::new(points), None)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }
}
