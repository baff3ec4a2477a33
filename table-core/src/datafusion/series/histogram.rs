//! The aggregate function `histogram(value, lo, hi, buckets)`: how many values lie in each of `buckets` equal parts of `lo` to `hi`,
//! as a list of counts that begins with those below and ends with those from `hi` on. Pure.
//!
//! Bucket `i` begins at `lo + (hi - lo) * i / buckets`, calculated in doubles, and a value is in the last one that does not begin
//! behind it, so a value that equals a bound is never on the wrong side of it. NaN is above all numbers. Nulls are left out, and
//! without values the answer is null.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::{call, internal, refused};

const NAME: &str = "histogram";

/// Most buckets of one histogram: each group has a count for every one.
const HISTOGRAM_BUCKETS_MAX: i64 = 10_000;

/// `histogram`.
pub(super) fn function() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(Histogram { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Histogram {
    signature: Signature,
}

fn usage() -> DataFusionError {
    refused(format!(
        "{NAME} takes a number, its bounds and how many buckets lie between them; write {NAME}(value, 0, 100, 10) with constants for \
         all but the value"
    ))
}

fn counts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, lo, hi, buckets] = arg_types else { return Err(usage()) };
        let is_number = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
        if ![value, lo, hi].into_iter().all(is_number) || !buckets.is_integer() {
            return Err(usage());
        }
        Ok(vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(counts_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "counts"), counts_type(), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(NAME, &args)?;
        let [_, lo, hi, buckets] = args.exprs else { return Err(usage()) };
        let constant = |argument| call::constant(argument).ok_or_else(usage);
        let bounds = Bounds::try_new(&constant(lo)?, &constant(hi)?, &constant(buckets)?)?;
        Ok(Box::new(Counts { bounds, counts: Vec::new() }))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        call::planned(usage, 1, |constants| match constants {
            [lo, hi, buckets] => Bounds::try_new(lo, hi, buckets).map(drop),
            _ => Err(usage()),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Buckets between two bounds. `lo` < `hi`, both and their difference are finite, and there is a bucket at least.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    lo: f64,
    hi: f64,
    buckets: usize,
}

impl Bounds {
    fn try_new(lo: &ScalarValue, hi: &ScalarValue, buckets: &ScalarValue) -> Result<Self> {
        let (
            ScalarValue::Float64(Some(lo)),
            ScalarValue::Float64(Some(hi)),
            ScalarValue::Int64(Some(buckets)),
        ) = (lo, hi, buckets)
        else {
            return Err(internal("a histogram with arguments that were not coerced"));
        };
        let (lo, hi, buckets) = (*lo, *hi, *buckets);
        if !(1..=HISTOGRAM_BUCKETS_MAX).contains(&buckets) {
            return Err(refused(format!(
                "{NAME} has 1 to {HISTOGRAM_BUCKETS_MAX} buckets, and {buckets} are asked for; write {NAME}(value, 0, 100, 10)"
            )));
        }
        if !(lo < hi && (hi - lo).is_finite()) {
            return Err(refused(format!(
                "the bounds of {NAME} are {lo} and {hi}; write a finite number and a greater one, such as {NAME}(value, 0, 100, 10)"
            )));
        }
        Ok(Self { lo, hi, buckets: usize::try_from(buckets).unwrap_or_default() })
    }

    /// Where a bucket begins; behind the last one, where it ends.
    fn start(&self, bucket: usize) -> f64 {
        if bucket == self.buckets {
            return self.hi;
        }
        self.lo + (self.hi - self.lo) * bucket as f64 / self.buckets as f64
    }

    /// Place of a value in the list of counts.
    fn place(&self, value: f64) -> usize {
        // How many of the bounds are not greater.
        let (mut least, mut most) = (0, self.buckets + 1);
        while least < most {
            let bound = least.midpoint(most);
            if value < self.start(bound) {
                most = bound;
            } else {
                least = bound + 1;
            }
        }
        least
    }
}

#[derive(Debug)]
struct Counts {
    bounds: Bounds,
    /// Empty before the first value.
    counts: Vec<i64>,
}

impl Counts {
    fn add(&mut self, place: usize, count: i64) {
        if self.counts.is_empty() {
            self.counts = vec![0; self.bounds.buckets + 2];
        }
        if let Some(sum) = self.counts.get_mut(place) {
            *sum += count;
        }
    }

    fn add_each(&mut self, values: &[ArrayRef], count: i64) -> Result<()> {
        let values = values.first().ok_or_else(|| internal("a histogram without values"))?;
        for value in values.as_primitive::<Float64Type>().iter().flatten() {
            self.add(self.bounds.place(value), count);
        }
        Ok(())
    }

    fn list(&self) -> Result<ScalarValue> {
        if self.counts.iter().all(|count| *count == 0) {
            return ScalarValue::try_from(&counts_type());
        }
        let counts = Arc::new(Int64Array::from(self.counts.clone()));
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        let offsets = OffsetBuffer::from_lengths([counts.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, offsets, counts, None)?)))
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_each(values, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.list()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<i64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().ok_or_else(|| internal("a partial histogram without counts"))?;
        for counts in lists.as_list::<i32>().iter().flatten() {
            for (place, count) in counts.as_primitive::<Int64Type>().values().iter().enumerate() {
                self.add(place, *count);
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_each(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}
