//! `lttb` against the definition in fractions, and against points that were picked by hand.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StructArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;
use proptest::prelude::*;

use super::harness::{merged, query, shuffled};

/// The points of sorted samples, with all areas multiplied by what they are divided by.
fn naive(samples: &[(i64, i64)], points: usize) -> Vec<(i64, i64)> {
    if samples.len() <= points {
        return samples.to_vec();
    }
    let (middle, end) = (&samples[1..samples.len() - 1], samples.len() - 1);
    let mut picked = vec![samples[0]];
    for bucket in 0..points - 2 {
        // The bucket of a sample: the last that starts at it or before.
        let of = |bucket: usize| {
            middle.iter().enumerate().filter(move |(at, _)| {
                let start = |bucket: usize| bucket * middle.len() / (points - 2);
                start(bucket) <= *at && *at < start(bucket + 1)
            })
        };
        let mut next: Vec<(i64, i64)> = of(bucket + 1).map(|(_, sample)| *sample).collect();
        if bucket == points - 3 {
            next = vec![samples[end]];
        }
        let count = next.len() as i64;
        let (x, y): (i64, i64) = (next.iter().map(|s| s.0).sum(), next.iter().map(|s| s.1).sum());
        let a = *picked.last().unwrap();
        let area = |s: (i64, i64)| {
            ((a.0 * count - x) * (s.1 - a.1) - (a.0 - s.0) * (y - a.1 * count)).abs()
        };
        let most = of(bucket).map(|(_, sample)| area(*sample)).max().unwrap();
        picked.push(*of(bucket).find(|(_, sample)| area(**sample) == most).unwrap().1);
    }
    picked.push(samples[end]);
    picked
}

/// Points as times and values.
fn points(answer: &ScalarValue) -> Option<(ArrayRef, ArrayRef)> {
    let answer = answer.to_array().unwrap();
    let lists = answer.as_list::<i32>();
    lists.is_valid(0).then(|| {
        let list = lists.value(0);
        let points: &StructArray = list.as_struct();
        assert_eq!(points.column_names(), ["time", "value"]);
        (Arc::clone(points.column(0)), Arc::clone(points.column(1)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Few different times and values, so that many samples share one and many areas are the same.
    #[test]
    fn points_are_the_naive_ones_however_rows_come(
        rows in shuffled((prop::option::weighted(0.95, -9..30_i64), prop::option::weighted(0.95, -4..5_i64))),
        wanted in 2..20_usize,
        at_once in 2..5_usize,
    ) {
        let places: Vec<(u16, usize)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let mut samples: Vec<(i64, i64)> = rows.iter().filter_map(|row| row.0.0.zip(row.0.1)).collect();
        samples.sort_unstable();
        let expected = naive(&samples, wanted);
        let times: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.0)));
        let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.1)));
        let constants = [ScalarValue::from(i64::try_from(wanted).unwrap())];
        for (time, value) in [
            (DataType::Int64, DataType::Int64),
            (DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())), DataType::Float64),
            (DataType::Timestamp(TimeUnit::Second, None), DataType::Decimal128(9, 3)),
            (DataType::Date32, DataType::Float64),
        ] {
            let narrow = if time == DataType::Date32 { cast(&times, &DataType::Int32).unwrap() } else { Arc::clone(&times) };
            let columns = [cast(&narrow, &time).unwrap(), cast(&values, &value).unwrap()];
            let found = points(&merged("lttb", &columns, &constants, &places, at_once));
            prop_assert_eq!(found.is_some(), !expected.is_empty());
            let Some((times, values)) = found else { continue };
            prop_assert_eq!((times.data_type(), values.data_type()), (&time, &value));
            let numbers = |column: ArrayRef| -> Vec<i64> {
                let column = if time == DataType::Date32 && column.data_type() == &time { cast(&column, &DataType::Int32).unwrap() } else { column };
                cast(&column, &DataType::Int64).unwrap().as_primitive::<Int64Type>().values().to_vec()
            };
            let found: Vec<(i64, i64)> = numbers(times).into_iter().zip(numbers(values)).collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}

fn table(times: Vec<i64>, values: ArrayRef) -> Vec<RecordBatch> {
    let times: ArrayRef = Arc::new(Int64Array::from(times));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("ts", times, true), ("v", values, true)]);
    vec![batch.unwrap()]
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// Eight samples and four points: (0, 0), then the buckets (1, 2) (2, 0) (3, 1) and (4, 5) (5, 1) (6, 0), then (7, 0).
///
/// The second bucket averages to (5, 2). Twice the areas from (0, 0): |5*2 - 1*2| = 8, |0 - 2*2| = 4, |5*1 - 3*2| = 1: the point is
/// (1, 2). From there the side to the last is (6, -2); twice the areas: (4, 5) |6*3 + 3*2| = 24, (5, 1) |-6 + 4*2| = 2,
/// (6, 0) |-12 + 5*2| = 2: the point is (4, 5).
#[test]
fn points_are_those_picked_by_hand() {
    let batch = || table((0..8).collect(), floats(&[0.0, 2.0, 0.0, 1.0, 5.0, 1.0, 0.0, 0.0]));
    for (select, expected) in [
        (
            "lttb(ts, v, 4)",
            "[{time: 0, value: 0.0}, {time: 1, value: 2.0}, {time: 4, value: 5.0}, {time: 7, value: 0.0}]",
        ),
        ("lttb(ts, v, 2)", "[{time: 0, value: 0.0}, {time: 7, value: 0.0}]"),
        ("array_length(lttb(ts, v, 8)), array_length(lttb(ts, v, 100000))", "8 8"),
        ("lttb(ts, v, 1 + 2) FILTER (WHERE ts < 1)", "[{time: 0, value: 0.0}]"),
        ("lttb(ts, v, 3) FILTER (WHERE ts > 9)", ""),
        ("lttb(NULL, v, 3)", ""),
        ("lttb(ts, NULL, 3)", ""),
        // Rows that are the same, and areas that are: the first.
        ("lttb(5, 7, 2)", "[{time: 5, value: 7}, {time: 5, value: 7}]"),
        ("lttb(ts, 3, 3)", "[{time: 0, value: 3}, {time: 1, value: 3}, {time: 7, value: 3}]"),
    ] {
        let found = query(&format!("SELECT {select} FROM t"), batch()).unwrap();
        assert_eq!(found, [expected], "{select}");
    }
    let sql = "SELECT p['time'], p['value'] FROM (SELECT unnest(lttb(ts, v, 4)) AS p FROM t)";
    assert_eq!(query(sql, batch()).unwrap(), ["0 0.0", "1 2.0", "4 5.0", "7 0.0"]);
}

#[test]
fn edges_of_numbers_keep_their_meaning() {
    let large = f64::MAX;
    for (times, values, expected) in [
        // What cannot be drawn is not there, also at the ends.
        (
            (0..6).collect(),
            floats(&[f64::NAN, 1.0, f64::INFINITY, 2.0, f64::NEG_INFINITY, f64::NAN]),
            "[{time: 1, value: 1.0}, {time: 3, value: 2.0}]",
        ),
        ((0..2).collect(), floats(&[f64::NAN, f64::INFINITY]), ""),
        // No area overflows, and none vanishes.
        (
            vec![i64::MIN, -1, 0, i64::MAX],
            floats(&[-large, large / 2.0, large, -large]),
            "[{time: -9223372036854775808, value: -1.7976931348623157e308}, {time: 0, value: 1.7976931348623157e308}, {time: \
             9223372036854775807, value: -1.7976931348623157e308}]",
        ),
        (
            vec![0, 1, 2, 3],
            floats(&[0.0, 5e-324, 1e-323, 0.0]),
            "[{time: 0, value: 0.0}, {time: 2, value: 1e-323}, {time: 3, value: 0.0}]",
        ),
        // Values stay what they are, however large.
        (
            vec![0, 1, 2],
            Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 1, u64::MAX])),
            "[{time: 0, value: 18446744073709551615}, {time: 1, value: 18446744073709551614}, {time: 2, value: 18446744073709551615}]",
        ),
    ] {
        let found = query("SELECT lttb(ts, v, 3) FROM t", table(times, values)).unwrap();
        assert_eq!(found, [expected]);
    }
    let sql = "SELECT lttb(arrow_cast(ts, 'UInt64'), v, 2) FROM (VALUES (18446744073709551615, 1), (0, 2), (3, 3)) s(ts, v)";
    let found = query(sql, table(vec![0], floats(&[0.0]))).unwrap();
    assert_eq!(found, ["[{time: 0, value: 2}, {time: 18446744073709551615, value: 1}]"]);
}

#[test]
fn windows_take_rows_out_that_leave() {
    let values = floats(&[1.0, f64::NAN, 3.0, 4.0]);
    let sql = "SELECT lttb(ts, v, 2) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t ORDER BY ts";
    let found = query(sql, table((0..4).collect(), values)).unwrap();
    let expected = [
        "[{time: 0, value: 1.0}]",
        "[{time: 0, value: 1.0}]",
        "[{time: 2, value: 3.0}]",
        "[{time: 2, value: 3.0}, {time: 3, value: 4.0}]",
    ];
    assert_eq!(found, expected);
}

#[test]
fn bad_calls_say_what_to_write_over_no_rows_too() {
    for (call, words) in [
        ("lttb(ts, v)", "write lttb(ts, value, 500)"),
        ("lttb(v, ts, 5)", "write lttb(ts, value, 500)"),
        ("lttb(ts, 'x', 5)", "write lttb(ts, value, 500)"),
        ("lttb(ts, v, 5.5)", "write lttb(ts, value, 500)"),
        ("lttb(ts, v, NULL)", "write lttb(ts, value, 500)"),
        ("lttb(ts, v, ts)", "with a constant number of points"),
        ("lttb(ts, v, 1)", "keeps 2 to 100000 points, and 1 are asked for"),
        ("lttb(ts, v, 99999 + 2)", "keeps 2 to 100000 points, and 100001 are asked for"),
        (
            "lttb(ts, arrow_cast(v, 'Decimal256(40, 2)'), 5)",
            "does not take Decimal256(40, 2); cast the value",
        ),
        ("histogram(v, 0, 1, 0)", "1 to 10000 buckets, and 0 are asked for"),
        ("histogram(v, 5, 2 + 2, 1)", "the bounds of histogram are 5 and 4"),
        ("histogram(v, NULL, 4, 1)", "write histogram(value, 0, 100, 10)"),
        ("histogram(v, v, 4, 1)", "write histogram(value, 0, 100, 10)"),
    ] {
        for over in ["", " GROUP BY ts", " WHERE ts < 0 GROUP BY ts", " WHERE false GROUP BY ts"] {
            let table = table(vec![0, 1], floats(&[1.0, 2.0]));
            let error =
                query(&format!("SELECT {call} FROM t{over}"), table).expect_err(call).to_string();
            assert!(error.contains(words), "{call}{over}: {error}");
        }
    }
}
