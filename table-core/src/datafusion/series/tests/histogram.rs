//! `histogram` against a count of each bucket by itself.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use proptest::prelude::*;

use super::harness::{merged, query, shuffled};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Values that are bounds, often.
    #[test]
    fn every_bucket_has_its_values_however_rows_come(
        rows in shuffled(prop::option::weighted(0.9, -4..40_i32)),
        lo in -2..5_i32,
        buckets in 1..30_i64,
        at_once in 2..5_usize,
    ) {
        let places: Vec<(u16, usize)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let values: Vec<Option<f64>> =
            rows.iter().map(|row| row.0.map(|value| f64::from(value) / 10.0)).collect();
        let (lo, hi) = (f64::from(lo) / 10.0, 2.9);
        let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let constants = [ScalarValue::from(lo), ScalarValue::from(hi), ScalarValue::from(buckets)];
        let found = merged("histogram", &[column], &constants, &places, at_once).to_array().unwrap();
        let found = found.as_list::<i32>();
        let known: Vec<f64> = values.into_iter().flatten().collect();
        prop_assert_eq!(found.is_null(0), known.is_empty());
        if !known.is_empty() {
            let start = |bucket: i64| match bucket {
                bucket if bucket == buckets => hi,
                _ => lo + (hi - lo) * bucket as f64 / buckets as f64,
            };
            let count = |is_in: &dyn Fn(f64) -> bool| known.iter().filter(|value| is_in(**value)).count() as i64;
            let mut expected = vec![count(&|value| value < lo)];
            for bucket in 0..buckets {
                expected.push(count(&|value| start(bucket) <= value && value < start(bucket + 1)));
            }
            expected.push(count(&|value| value >= hi));
            let found = found.value(0);
            prop_assert_eq!(found.as_primitive::<Int64Type>().values().to_vec(), expected);
        }
    }
}

#[test]
fn bounds_are_in_the_bucket_that_begins_there() {
    let batch = || {
        let values = [-0.1, 0.0, 0.29, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        vec![RecordBatch::try_from_iter_with_nullable([("v", values, true)]).unwrap()]
    };
    for (select, expected) in [
        ("histogram(v, 0, 1, 1)", "[2, 2, 3]"),
        // 0.29 * 100 is less than 29 in doubles.
        ("histogram(v, 0, 1, 100)[31]", "1"),
        ("histogram(CAST(0.5 AS DECIMAL(5, 2)), 0, 1, 2)", "[0, 0, 7, 0]"),
        ("histogram(v, 0, 1, 1) FILTER (WHERE v > 7 AND v < 8)", ""),
        ("histogram(NULL, 0, 1, 1)", ""),
    ] {
        let found = query(&format!("SELECT {select} FROM t"), batch()).unwrap();
        assert_eq!(found, [expected], "{select}");
    }
    for (call, words) in [
        ("histogram(v)", "write histogram(value, 0, 100, 10)"),
        ("histogram('x', 0, 1, 1)", "write histogram(value, 0, 100, 10)"),
        ("histogram(v, 0, 1, 1.5)", "write histogram(value, 0, 100, 10)"),
        ("histogram(v, NULL, 1, 1)", "write histogram(value, 0, 100, 10)"),
        ("histogram(v, v, 1, 1)", "with constants for all but the value"),
        ("histogram(v, 0, 1, 0)", "1 to 10000 buckets, and 0 are asked for"),
        ("histogram(v, 0, 1, 10001)", "1 to 10000 buckets, and 10001 are asked for"),
        ("histogram(v, 1, 1, 5)", "the bounds of histogram are 1 and 1"),
        ("histogram(v, 2, 1, 5)", "the bounds of histogram are 2 and 1"),
        ("histogram(v, -1e308, 1e308, 5)", "write a finite number and a greater one"),
        ("histogram(v, 0, CAST('NaN' AS DOUBLE), 5)", "write a finite number and a greater one"),
        ("histogram(v, 0, 1, 1 ORDER BY v)", "leave ORDER BY out of histogram"),
        ("histogram(DISTINCT v, 0, 1, 1)", "leave DISTINCT out of histogram"),
    ] {
        let error = query(&format!("SELECT {call} FROM t"), batch()).expect_err(call).to_string();
        assert!(error.contains(words), "{call}: {error}");
    }
}
