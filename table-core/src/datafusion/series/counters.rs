//! The aggregate functions `delta(value, time)`, `increase(value, time)` and `rate(value, time)`. Pure.
//!
//! `delta` is the last value less the first. `increase` is how much a counter has counted: the sum of the steps from each sample
//! to the next, where a drop is a reset to 0, after which the value counts in full. `rate` is the increase per second of the
//! time from the first sample to the last. Nothing is extrapolated to the bounds of a bucket or window, and values of integers
//! and decimals are added exactly; what does not fit the type of the answer is an error.

use std::fmt::Debug;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, FieldRef, Float64Type, Int64Type,
    UInt64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::samples::{Answer, Keep, OverSamples, Sample, exact_type, state_fields};
use super::{call, internal, refused, time};

/// `delta`, `increase` and `rate`.
pub(super) fn functions() -> [AggregateUDF; 3] {
    [Kind::Delta, Kind::Increase, Kind::Rate].map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::new_from_impl(Counter { kind, signature })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Delta,
    Increase,
    Rate,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Increase => "increase",
            Self::Rate => "rate",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Counter {
    kind: Kind,
    signature: Signature,
}

impl Counter {
    fn usage(&self) -> DataFusionError {
        let name = self.kind.name();
        refused(format!(
            "{name} takes a number and its time, a timestamp, date or integer; write {name}(total, ts)"
        ))
    }

    fn over(&self, args: &AccumulatorArgs, keep: Keep) -> Result<Box<dyn Accumulator>> {
        call::plain(self.kind.name(), args)?;
        let [value, time] = args.expr_fields else { return Err(self.usage()) };
        let (value, time) = (value.data_type().clone(), time.data_type().clone());
        match value {
            DataType::Int64 => self.of::<Int64Type>(value, time, args, keep),
            DataType::UInt64 => self.of::<UInt64Type>(value, time, args, keep),
            DataType::Decimal128(..) => self.of::<Decimal128Type>(value, time, args, keep),
            DataType::Float64 => self.of::<Float64Type>(value, time, args, keep),
            _ => Err(internal("a counter of a type that was not coerced")),
        }
    }

    fn of<T: Counted>(
        &self,
        value: DataType,
        time: DataType,
        args: &AccumulatorArgs,
        keep: Keep,
    ) -> Result<Box<dyn Accumulator>> {
        let answer_type = args.return_field.data_type().clone();
        let nothing = ScalarValue::try_from(&answer_type)?;
        let total = T::Sum::default();
        let count = Count::<T> { kind: self.kind, value: value.clone(), time, answer_type, total };
        Ok(Box::new(OverSamples::<T, _>::new(value, keep, count, nothing)))
    }
}

impl AggregateUDFImpl for Counter {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, time] = arg_types else { return Err(self.usage()) };
        let value = exact_type(self.kind.name(), value)?.ok_or_else(|| self.usage())?;
        let time = time::taken_as(time).ok_or_else(|| self.usage())?;
        Ok(vec![value, time])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let value = arg_types.first().ok_or_else(|| self.usage())?;
        Ok(match (self.kind, value) {
            (Kind::Rate, _) => DataType::Float64,
            (_, DataType::Decimal128(_, scale)) => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)
            }
            // What was less at the end is a number below 0.
            (Kind::Delta, DataType::UInt64) => DataType::Int64,
            _ => value.clone(),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.input_fields.first().ok_or_else(|| self.usage())?;
        Ok(state_fields(args.name, value.data_type()))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let keep = if self.kind == Kind::Delta { Keep::Ends } else { Keep::All };
        self.over(&args, keep)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.over(&args, Keep::All)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// A type of values that counters have.
trait Counted: ArrowPrimitiveType + Debug {
    /// What differences and totals are added up in.
    type Sum: Sum + From<Self::Native>;
}

impl Counted for Int64Type {
    type Sum = i128;
}

impl Counted for UInt64Type {
    type Sum = i128;
}

impl Counted for Decimal128Type {
    type Sum = i128;
}

impl Counted for Float64Type {
    type Sum = f64;
}

/// A number that is added exactly, or as floats are.
trait Sum: Copy + Default + PartialOrd + Debug + Send + Sync {
    /// `None` when it does not fit.
    fn plus(self, other: Self) -> Option<Self>;

    /// `None` when it does not fit.
    fn minus(self, other: Self) -> Option<Self>;

    /// Of a total in units of a value type, as a plain number.
    fn to_double(self, value: &DataType) -> f64;

    /// `None` when it does not fit the type.
    fn to_scalar(self, data_type: &DataType) -> Option<ScalarValue>;
}

impl Sum for i128 {
    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }

    fn minus(self, other: Self) -> Option<Self> {
        self.checked_sub(other)
    }

    fn to_double(self, value: &DataType) -> f64 {
        match value {
            DataType::Decimal128(_, scale) => self as f64 / 10_f64.powi(i32::from(*scale)),
            _ => self as f64,
        }
    }

    fn to_scalar(self, data_type: &DataType) -> Option<ScalarValue> {
        match data_type {
            DataType::Int64 => i64::try_from(self).ok().map(ScalarValue::from),
            DataType::UInt64 => u64::try_from(self).ok().map(ScalarValue::from),
            DataType::Decimal128(precision, scale) => {
                let limit = 10_u128.checked_pow(u32::from(*precision))?;
                let fits = self.unsigned_abs() < limit;
                fits.then_some(ScalarValue::Decimal128(Some(self), *precision, *scale))
            }
            _ => None,
        }
    }
}

impl Sum for f64 {
    fn plus(self, other: Self) -> Option<Self> {
        Some(self + other)
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(self - other)
    }

    fn to_double(self, _value: &DataType) -> f64 {
        self
    }

    fn to_scalar(self, _data_type: &DataType) -> Option<ScalarValue> {
        Some(ScalarValue::from(self))
    }
}

/// What has been counted so far.
#[derive(Debug)]
struct Count<T: Counted> {
    kind: Kind,
    value: DataType,
    time: DataType,
    answer_type: DataType,
    /// Stays as it is for `delta`.
    total: T::Sum,
}

impl<T: Counted> Count<T> {
    fn too_large(&self) -> DataFusionError {
        let (name, data_type) = (self.kind.name(), &self.answer_type);
        refused(format!(
            "the {name} of a group does not fit {data_type}; cast the value to DOUBLE inside {name}(...)"
        ))
    }
}

impl<T: Counted> Answer<T> for Count<T> {
    fn begin(&mut self) {
        self.total = T::Sum::default();
    }

    fn step(&mut self, from: &Sample<T>, to: &Sample<T>) -> Result<()> {
        if self.kind == Kind::Delta {
            return Ok(());
        }
        let (from, to) = (T::Sum::from(from.1), T::Sum::from(to.1));
        let counted = if to < from { Some(to) } else { to.minus(from) };
        let total = counted.and_then(|counted| self.total.plus(counted));
        self.total = total.ok_or_else(|| self.too_large())?;
        Ok(())
    }

    fn finish(&self, samples: &[Sample<T>]) -> Result<ScalarValue> {
        let [first, ..] = samples else { return Err(internal("an answer to no samples")) };
        let last = samples.last().unwrap_or(first);
        let total = match self.kind {
            Kind::Delta => T::Sum::from(last.1).minus(T::Sum::from(first.1)),
            Kind::Increase => Some(self.total),
            Kind::Rate if first.0 == last.0 => return Ok(ScalarValue::Float64(None)),
            Kind::Rate => {
                let time = time::distance(&self.time, first.0, last.0);
                return Ok(ScalarValue::from(self.total.to_double(&self.value) / time));
            }
        };
        let answer = total.and_then(|total| total.to_scalar(&self.answer_type));
        answer.ok_or_else(|| self.too_large())
    }
}
