//! Exact statistics of columns, computed from Arrow while a segment is encoded. Pure.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;

use super::ColumnStats;

/// Strings and binaries with a longer extreme have no statistics, in bytes: a record must stay small, and a cut value would
/// not be exact.
const STATISTIC_BYTES_MAX: usize = 256;

/// Statistics of one whole column under its field id.
pub(crate) fn column_stats(array: &ArrayRef, field_id: i32) -> ColumnStats {
    Collected::of(array).finish(field_id)
}

/// Statistics of the rows of one column that were seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Collected {
    null_count: u64,
    /// Smallest and greatest value; `None` while all values were null.
    range: Option<(ScalarValue, ScalarValue)>,
    /// Some value allows no exact range.
    unknown: bool,
}

impl Collected {
    /// Statistics of one array.
    pub(super) fn of(array: &ArrayRef) -> Self {
        let null_count = array.null_count() as u64;
        let mut collected =
            Self { null_count, range: None, unknown: !is_ordered(array.data_type()) };
        if collected.unknown || array.null_count() == array.len() {
            return collected;
        }
        match range_of(array) {
            Ok((min, max)) if is_exact(&min) && is_exact(&max) => {
                collected.range = Some((min, max));
            }
            _ => collected.unknown = true,
        }
        collected
    }

    /// Adds what another part of the column says.
    pub(super) fn merge(&mut self, other: Self) {
        self.null_count += other.null_count;
        self.unknown |= other.unknown;
        let Some((other_min, other_max)) = other.range else { return };
        match &mut self.range {
            None => self.range = Some((other_min, other_max)),
            Some((min, max)) => {
                match other_min.partial_cmp(min) {
                    Some(Ordering::Less) => *min = other_min,
                    Some(_) => {}
                    None => self.unknown = true,
                }
                match other_max.partial_cmp(max) {
                    Some(Ordering::Greater) => *max = other_max,
                    Some(_) => {}
                    None => self.unknown = true,
                }
            }
        }
    }

    /// The statistics under the column's field id.
    pub(super) fn finish(self, field_id: i32) -> ColumnStats {
        let (min, max) = match self.range {
            Some((min, max)) if !self.unknown => (Some(min), Some(max)),
            _ => (None, None),
        };
        ColumnStats { field_id, null_count: self.null_count, min, max }
    }
}

/// Types whose extremes are kept.
fn is_ordered(data_type: &DataType) -> bool {
    !data_type.is_nested()
}

/// Smallest and greatest value, by arrow's kernels.
fn range_of(array: &ArrayRef) -> datafusion::error::Result<(ScalarValue, ScalarValue)> {
    let mut min = MinAccumulator::try_new(array.data_type())?;
    let mut max = MaxAccumulator::try_new(array.data_type())?;
    min.update_batch(std::slice::from_ref(array))?;
    max.update_batch(std::slice::from_ref(array))?;
    Ok((min.evaluate()?, max.evaluate()?))
}

fn is_exact(value: &ScalarValue) -> bool {
    match value {
        // A NaN takes part in no comparison, but sorts as an extreme: with one present nothing is said of the rest.
        ScalarValue::Float32(Some(value)) => !value.is_nan(),
        ScalarValue::Float64(Some(value)) => !value.is_nan(),
        ScalarValue::Utf8(Some(value)) => value.len() <= STATISTIC_BYTES_MAX,
        ScalarValue::Binary(Some(value)) | ScalarValue::FixedSizeBinary(_, Some(value)) => {
            value.len() <= STATISTIC_BYTES_MAX
        }
        other => !other.is_null(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn collect(arrays: Vec<ArrayRef>) -> ColumnStats {
        let mut all = Collected::default();
        for array in &arrays {
            all.merge(Collected::of(array));
        }
        all.finish(1)
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let stats = collect(vec![
            Arc::new(Int64Array::from(vec![None, None])),
            Arc::new(Int64Array::from(vec![Some(5), None])),
            Arc::new(Int64Array::from(vec![Some(-7), Some(9)])),
        ]);
        assert_eq!(stats.null_count, 3);
        assert_eq!(stats.min, Some(ScalarValue::Int64(Some(-7))));
        assert_eq!(stats.max, Some(ScalarValue::Int64(Some(9))));
    }

    #[test]
    fn what_cannot_be_exact_is_left_out() {
        for nan in [f64::NAN, -f64::NAN] {
            let stats = collect(vec![
                Arc::new(Float64Array::from(vec![1.0, 2.0])),
                Arc::new(Float64Array::from(vec![0.5, nan])),
                Arc::new(Float64Array::from(vec![3.0])),
            ]);
            assert_eq!((stats.min, stats.max), (None, None));
        }
        let long = "x".repeat(STATISTIC_BYTES_MAX + 1);
        let stats = collect(vec![Arc::new(StringArray::from(vec!["a", &long]))]);
        assert_eq!((stats.min, stats.max), (None, None));
        let stats = collect(vec![Arc::new(StringArray::from(vec![None::<&str>]))]);
        assert_eq!((stats.null_count, stats.min), (1, None));
    }
}
