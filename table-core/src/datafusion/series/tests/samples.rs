//! `delta`, `increase`, `rate` and `time_weighted_avg` against naive definitions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use proptest::prelude::*;

use super::harness::{merged, query, shuffled};

/// Values and times that are both there, in order.
fn sorted(rows: &[(Option<i64>, Option<i64>)]) -> Vec<(i64, i64)> {
    let mut samples: Vec<(i64, i64)> =
        rows.iter().filter_map(|(v, ts)| Some((*ts.as_ref()?, *v.as_ref()?))).collect();
    samples.sort_unstable();
    samples
}

/// The last value less the first, and before each drop the value that is lost by it.
fn increase(samples: &[(i64, i64)]) -> Option<i64> {
    let lost: i64 =
        samples.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1).sum();
    Some(samples.last()?.1 - samples.first()?.1 + lost)
}

/// The average of what holds in each unit of time.
fn average(samples: &[(i64, i64)]) -> Option<f64> {
    let (first, last) = (samples.first()?.0, samples.last()?.0);
    let holds = |at: i64| samples.iter().rfind(|sample| sample.0 <= at).unwrap().1;
    if first == last {
        return Some(holds(last) as f64);
    }
    Some((first..last).map(holds).sum::<i64>() as f64 / (last - first) as f64)
}

fn close(found: &ScalarValue, expected: Option<f64>) -> bool {
    match (found, expected) {
        (ScalarValue::Float64(Some(found)), Some(expected)) => {
            (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
        }
        (ScalarValue::Float64(None), None) => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_naive_ones_however_rows_come(
        rows in shuffled((prop::option::weighted(0.9, -3..20_i64), prop::option::weighted(0.9, -5..15_i64))),
        at_once in 2..5_usize,
    ) {
        let places: Vec<(u16, usize)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let rows: Vec<(Option<i64>, Option<i64>)> = rows.into_iter().map(|row| row.0).collect();
        let samples = sorted(&rows);
        let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let times: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
        let times = cast(&times, &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        let floats = cast(&values, &DataType::Float64).unwrap();
        let ends = samples.first().zip(samples.last());
        let delta = ends.map(|(first, last)| last.1 - first.1);
        let seconds = ends.map_or(0.0, |(first, last)| (last.0 - first.0) as f64 / 1_000.0);
        let rate = increase(&samples).filter(|_| seconds > 0.0).map(|total| total as f64 / seconds);
        let decimals = cast(&values, &DataType::Decimal128(5, 2)).unwrap();
        for (values, unit) in [(&values, ScalarValue::Int64(None)), (&floats, ScalarValue::Float64(None)), (&decimals, ScalarValue::Decimal128(None, 38, 2))] {
            let found = |name: &str| merged(name, &[Arc::clone(values), Arc::clone(&times)], &[], &places, at_once);
            let expected = |whole: Option<i64>| ScalarValue::Int64(whole).cast_to(&unit.data_type()).unwrap();
            prop_assert_eq!(found("delta"), expected(delta));
            prop_assert_eq!(found("increase"), expected(increase(&samples)));
            let found = found("rate");
            prop_assert!(close(&found, rate), "{} is not {:?}", found, rate);
        }
        let found = merged("time_weighted_avg", &[floats, times], &[], &places, at_once);
        prop_assert!(close(&found, average(&samples)), "{} is not {:?}", found, average(&samples));
    }

    /// Rows leave a window, and the first of it come again.
    #[test]
    fn windows_have_the_answers_of_their_rows(
        rows in prop::collection::vec((prop::option::weighted(0.9, 0..20_i64), 0..9_i64), 1..30),
        before in 0..5_usize,
    ) {
        let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
        let places: Vec<i64> = (0..).take(rows.len()).collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(places)) as ArrayRef, true),
            ("v", values, true),
            ("ts", times, true),
        ])
        .unwrap();
        let frame = format!("OVER (ORDER BY n ROWS BETWEEN {before} PRECEDING AND CURRENT ROW)");
        let grows = "OVER (ORDER BY n)";
        let sql = format!("SELECT delta(v, ts) {frame}, increase(v, ts) {frame}, increase(v, ts) {grows} FROM t ORDER BY n");
        let found = query(&sql, vec![batch]).unwrap();
        for (row, found) in found.iter().enumerate() {
            let of = |from: usize| {
                let rows: Vec<(Option<i64>, Option<i64>)> = rows[from..=row].iter().map(|row| (row.0, Some(row.1))).collect();
                sorted(&rows)
            };
            let window = of(row.saturating_sub(before));
            let delta = window.last().zip(window.first()).map(|(last, first)| last.1 - first.1);
            let expected: Vec<String> = [delta, increase(&window), increase(&of(0))]
                .map(|number| number.map_or(String::new(), |number| number.to_string()))
                .to_vec();
            prop_assert_eq!(found, &expected.join(" "), "row {} of {:?}", row, &rows);
        }
    }
}

fn table(values: ArrayRef, times: ArrayRef) -> Vec<RecordBatch> {
    let columns = [("v", values, true), ("ts", times, true)];
    vec![RecordBatch::try_from_iter_with_nullable(columns).unwrap()]
}

fn counts(values: [i64; 2]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn the_type_of_values_stays_and_no_digit_is_lost() {
    let all = "SELECT delta(v, ts), increase(v, ts), rate(v, ts) FROM t";
    let seconds = || cast(&counts([0, 4]), &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
    for (values, times, expected) in [
        (
            counts([(1 << 60) + 1, 1 << 60]),
            seconds(),
            "-1 1152921504606846976 2.8823037615171174e17",
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 1])) as ArrayRef,
            seconds(),
            "-1 18446744073709551614 4.611686018427388e18",
        ),
        (
            Arc::new(Decimal128Array::from(vec![125, 75]).with_precision_and_scale(4, 2).unwrap()),
            seconds(),
            "-0.50 0.75 0.1875",
        ),
        (Arc::new(Float64Array::from(vec![f64::NAN, 1.0])), seconds(), "NaN NaN NaN"),
        (Arc::new(Float64Array::from(vec![1.0, f64::INFINITY])), seconds(), "inf inf inf"),
        (
            counts([1, 3]),
            cast(&cast(&counts([0, 2]), &DataType::Int32).unwrap(), &DataType::Date32).unwrap(),
            "2 2 0.000011574074074074073",
        ),
        // Times of the whole range of numbers.
        (counts([0, 9]), counts([i64::MIN, i64::MAX]), "9 9 4.87890977618477e-19"),
        (counts([0, 8]), Arc::new(UInt64Array::from(vec![u64::MAX - 4, u64::MAX])), "8 8 2.0"),
        // One time: the greater value comes second, and no time passes.
        (counts([8, 5]), counts([1, 1]), "3 3 "),
    ] {
        let found = query(all, table(values, times)).unwrap();
        assert_eq!(found, [expected]);
    }
    let found = query(&format!("{all} WHERE ts = 0"), table(counts([8, 5]), counts([0, 1])));
    assert_eq!(found.unwrap(), ["0 0 "]);
    let sql = "SELECT delta(v, ts), increase(NULL, ts), rate(v, NULL), time_weighted_avg(v, ts) FROM t WHERE ts > 9";
    assert_eq!(query(sql, table(counts([8, 5]), counts([0, 1]))).unwrap(), ["   "]);
}

#[test]
fn averages_are_weighted_by_time_alone() {
    let floats = |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    for (values, times, expected) in [
        (floats([3.0, 9.0]), counts([0, 5]), "3.0"),
        (floats([f64::MAX, 0.0]), counts([i64::MIN, i64::MAX]), "1.7976931348623157e308"),
        // The last has no weight, whatever it is, and what holds for no time has none either.
        (floats([2.0, f64::NAN]), counts([0, 5]), "2.0"),
        (floats([f64::NEG_INFINITY, 2.0]), counts([5, 5]), "2.0"),
        (counts([7, 1]), counts([0, 1]), "7.0"),
    ] {
        let found = query("SELECT time_weighted_avg(v, ts) FROM t", table(values, times)).unwrap();
        assert_eq!(found, [expected]);
    }
    let sql = "SELECT time_weighted_avg(v, ts) FROM (VALUES (CAST('-Infinity' AS DOUBLE), 1), (2, 1), (4, 3)) s(v, ts)";
    assert_eq!(query(sql, table(counts([0, 0]), counts([0, 0]))).unwrap(), ["2.0"]);
}

#[test]
fn bad_calls_say_what_to_write() {
    let large = i64::MAX - 1;
    for (call, words) in [
        ("delta(v)", "write delta(total, ts)"),
        ("increase(v, ts, ts)", "write increase(total, ts)"),
        ("rate('x', ts)", "write rate(total, ts)"),
        ("rate(v, 1.5)", "write rate(total, ts)"),
        (
            "increase(arrow_cast(v, 'Decimal256(40, 2)'), ts)",
            "does not take Decimal256(40, 2); cast the value",
        ),
        ("increase(v, ts ORDER BY ts)", "leave ORDER BY out of increase"),
        ("increase(DISTINCT v, ts)", "leave DISTINCT out of increase"),
        ("increase(v, ts) IGNORE NULLS", "NULLS"),
        ("delta(-v, -ts)", "the delta of a group does not fit Int64; cast the value"),
        ("time_weighted_avg(v)", "write time_weighted_avg(level, ts)"),
        ("time_weighted_avg(v, 'noon')", "write time_weighted_avg(level, ts)"),
        ("time_weighted_avg('x', ts)", "write time_weighted_avg(level, ts)"),
        ("time_weighted_avg(DISTINCT v, ts)", "leave DISTINCT out of time_weighted_avg"),
        ("first(DISTINCT v, ts)", "leave DISTINCT out of first"),
    ] {
        let table = table(counts([-large, large]), counts([1, 2]));
        let error = query(&format!("SELECT {call} FROM t"), table).expect_err(call).to_string();
        assert!(error.contains(words), "{call}: {error}");
    }
}
