//! Buckets of a gap filling: their arithmetic, and the scalar function that puts rows into them. Pure.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::functions::Bucketer;
use super::{internal, refused};
use crate::datafusion::series::width::{self, Days};
use crate::segment::buffer::index_values;
use crate::types::{BucketId, BucketWidth, Bucketing, IndexType};

/// Buckets over values of one type.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    bucketing: Bucketing,
    /// Where a bucket of a fixed width starts, in ticks of the index; 0 for calendar widths.
    origin: i64,
    /// Of the values, and of the starts of buckets.
    data_type: DataType,
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Buckets {}

impl Hash for Buckets {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Buckets {
    /// `width` is text such as `1h`, an interval, or an integer on integers; `origin` is in the unit of the values.
    pub(super) fn try_new(
        bucketer: Bucketer,
        width: &ScalarValue,
        data_type: &DataType,
        time_zone: &str,
        origin: i64,
    ) -> Result<Self> {
        let name = bucketer.name();
        let index = IndexType::from_arrow(data_type)
            .ok_or_else(|| internal(format!("{name} over values of type {data_type}")))?;
        let days = match bucketer {
            // InfluxDB's days are 24 hours, wherever they are.
            Bucketer::DateBin => Days::Fixed,
            Bucketer::TimeBucket => Days::Local,
        };
        let width = width::parse(name, width, days)?;
        let bucketing = Bucketing::try_new(width, index, time_zone)
            .map_err(|error| refused(format!("{name}: {error}")))?;
        if origin != 0 && !matches!(width, BucketWidth::Nanos(_)) {
            return Err(refused(format!(
                "{name} takes no origin with a width of months, nor on integers; leave it out, or take a width of days or less"
            )));
        }
        Ok(Self { bucketing, origin, data_type: data_type.clone() })
    }

    pub(super) fn index(&self) -> IndexType {
        self.bucketing.index()
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub(super) fn bucket_of(&self, value: i64) -> Option<BucketId> {
        self.bucketing.bucket_of(value.checked_sub(self.origin)?)
    }

    /// First value of a bucket, saturating at the ends of the type.
    pub(super) fn start(&self, bucket: BucketId) -> i64 {
        self.bucketing.start(bucket).saturating_add(self.origin)
    }

    /// Whether no value falls into it.
    pub(super) fn is_empty(&self, bucket: BucketId) -> bool {
        self.bucketing.is_empty(bucket)
    }

    /// Buckets of `first..=last` that values can fall into.
    pub(super) fn count(&self, first: BucketId, last: BucketId) -> u128 {
        let all = i128::from(last.0) - i128::from(first.0) + 1;
        let empty = self.bucketing.empty_count(first, last);
        u128::try_from(all).unwrap_or(0).saturating_sub(u128::from(empty))
    }

    pub(super) fn format(&self, value: i64) -> String {
        self.bucketing.format(value)
    }

    /// How the buckets are written, for plans: `1d Europe/Berlin`.
    pub(super) fn describe(&self) -> String {
        let origin = match self.origin {
            0 => String::new(),
            origin => format!(" from {}", self.format(origin)),
        };
        format!("{} {}{origin}", self.bucketing.width(), self.bucketing.time_zone())
    }

    /// Values of the type as an array of it.
    pub(super) fn array(&self, values: Vec<i64>) -> Result<ArrayRef> {
        if self.index() == IndexType::UInt64 {
            let values = values.into_iter().map(i64::cast_unsigned);
            return Ok(Arc::new(UInt64Array::from_iter_values(values)));
        }
        Ok(cast(&Int64Array::from(values), &self.data_type)?)
    }

    /// The scalar function of one argument that answers with the start of its bucket.
    pub(super) fn function(&self) -> ScalarUDF {
        ScalarUDF::new_from_impl(BucketStart {
            buckets: self.clone(),
            signature: Signature::any(1, Volatility::Immutable),
        })
    }

    fn identity(&self) -> (BucketWidth, &'static str, i64, &DataType) {
        (self.bucketing.width(), self.bucketing.time_zone(), self.origin, &self.data_type)
    }

    /// Starts of the buckets of many values. Where `valid` says no, the answer means nothing.
    fn starts(&self, values: &[i64], valid: impl Fn(usize) -> bool) -> Result<Vec<i64>> {
        let mut known: Option<(i64, i64)> = None;
        let mut starts = Vec::with_capacity(values.len());
        let order = order(self.index());
        for (row, value) in values.iter().copied().enumerate() {
            let start = match known {
                Some((start, end)) if order(start) <= order(value) && order(value) < order(end) => {
                    start
                }
                _ if !valid(row) => value,
                _ => {
                    let bucket = self.bucket_of(value).ok_or_else(|| {
                        refused(format!(
                            "{} is outside of the calendar; leave such rows out",
                            self.format(value)
                        ))
                    })?;
                    let start = self.start(bucket);
                    known = Some((start, self.start(BucketId(bucket.0.saturating_add(1)))));
                    start
                }
            };
            starts.push(start);
        }
        Ok(starts)
    }
}

/// Makes numbers of index values that compare as they do.
pub(super) fn order(index: IndexType) -> impl Fn(i64) -> i64 + Copy {
    let flip = if index == IndexType::UInt64 { i64::MIN } else { 0 };
    move |value| value ^ flip
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BucketStart {
    buckets: Buckets,
    signature: Signature,
}

impl ScalarUDFImpl for BucketStart {
    fn name(&self) -> &'static str {
        "bucket_start"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.buckets.data_type.clone())
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(input.first().map_or(SortProperties::Unordered, |value| value.sort_properties))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = ColumnarValue::values_to_arrays(&args.args)?.try_into().map_err(
            |values: Vec<ArrayRef>| internal(format!("a bucket of {} values", values.len())),
        )?;
        let values = index_values(&value)
            .ok_or_else(|| internal(format!("buckets of values of type {}", value.data_type())))?;
        let starts = self.buckets.starts(&values, |row| value.is_valid(row))?;
        let starts = self.buckets.array(starts)?;
        let nulls = value.nulls().cloned();
        let data = starts.to_data().into_builder().nulls(nulls).build()?;
        Ok(ColumnarValue::Array(arrow::array::make_array(data)))
    }
}
