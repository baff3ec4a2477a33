//! `ohlc` and `vwap` against naive definitions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use proptest::prelude::*;

use super::harness::{merged, query, shuffled};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn candles_are_the_naive_ones_however_rows_come(
        rows in shuffled((prop::option::weighted(0.8, -9..20_i64), prop::option::weighted(0.8, -5..9_i64))),
        at_once in 2..5_usize,
    ) {
        let places: Vec<(u16, usize)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let prices: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.0)));
        let times: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.1)));
        let mut known: Vec<(i64, i64)> = rows.iter().filter_map(|row| Some((row.0.1?, row.0.0?))).collect();
        known.sort_unstable();
        let expected = known.first().zip(known.last()).map(|(open, close)| {
            let prices = || known.iter().map(|sample| sample.1);
            [open.1, prices().max().unwrap(), prices().min().unwrap(), close.1]
        });
        for data_type in [DataType::Int64, DataType::Float64, DataType::Decimal256(50, 3)] {
            let prices = cast(&prices, &data_type).unwrap();
            let found = merged("ohlc", &[prices, Arc::clone(&times)], &[], &places, at_once).to_array().unwrap();
            let found = found.as_struct();
            prop_assert!(found.columns().iter().all(|column| column.data_type() == &data_type));
            prop_assert_eq!(found.is_null(0), expected.is_none());
            if let Some(expected) = expected {
                let prices = found.columns().iter().map(|column| cast(column, &DataType::Int64).unwrap().as_primitive::<Int64Type>().value(0));
                prop_assert_eq!(prices.collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn no_order_changes_a_bit_of_an_average(
        rows in shuffled((prop::option::weighted(0.9, -1e3..1e6_f64), prop::option::weighted(0.9, 0.0..1e12_f64))),
        at_once in 2..5_usize,
    ) {
        let places: Vec<(u16, usize)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let prices: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0.0)));
        let volumes: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0.1)));
        let known: Vec<(f64, f64)> = rows.iter().filter_map(|row| row.0.0.zip(row.0.1)).collect();
        let volume: f64 = known.iter().map(|trade| trade.1).sum();
        let turnover: f64 = known.iter().map(|trade| trade.0 * trade.1).sum();
        let size: f64 = known.iter().map(|trade| trade.0.abs() * trade.1).sum();
        let columns = [prices, volumes];
        let found = merged("vwap", &columns, &[], &places, at_once);
        let in_place: Vec<(u16, usize)> = (0..).take(rows.len()).map(|row| (row, 0)).collect();
        prop_assert_eq!(&found, &merged("vwap", &columns, &[], &in_place, 2));
        match found {
            ScalarValue::Float64(Some(found)) => {
                let error = (found - turnover / volume).abs();
                prop_assert!(error <= 1e-12 * size / volume, "{} {}", found, turnover / volume);
            }
            _ => prop_assert_eq!(volume, 0.0),
        }
    }
}

#[test]
fn edges_of_numbers_keep_their_meaning() {
    let batch = || {
        let floats =
            |values: [Option<f64>; 3]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("p", floats([Some(f64::NAN), Some(f64::NEG_INFINITY), Some(2.0)]), true),
            ("v", floats([Some(1.0), None, Some(-1.0)]), true),
            ("ts", times, true),
        ]);
        vec![batch.unwrap()]
    };
    for (select, expected) in [
        ("ohlc(p, ts)", "{open: NaN, high: NaN, low: -inf, close: 2.0}"),
        ("ohlc(arrow_cast(ts, 'UInt8'), -ts)['open']", "3"),
        ("ohlc(p, ts)['close'] + 1", "3.0"),
        ("ohlc(p, NULL)", ""),
        ("ohlc(NULL, ts)", ""),
        ("vwap(p, v)", ""),
        ("vwap(p, ts)", "NaN"),
        ("vwap(3, v) FILTER (WHERE v > 0)", "3.0"),
        ("vwap(NULL, v)", ""),
        // Three products of 0.1, each rounded.
        ("vwap(CAST(0.1 AS DECIMAL(3, 1)), ts)", "0.10000000000000002"),
    ] {
        let found = query(&format!("SELECT {select} FROM t"), batch()).unwrap();
        assert_eq!(found, [expected], "{select}");
    }
    for (call, words) in [
        ("ohlc(p)", "write ohlc(price, ts)"),
        ("ohlc('x', ts)", "write ohlc(price, ts)"),
        ("ohlc(p, p)", "write ohlc(price, ts)"),
        ("ohlc(p, ts ORDER BY ts)", "leave ORDER BY out of ohlc"),
        ("vwap(p)", "write vwap(price, volume)"),
        ("vwap(p, 'x')", "write vwap(price, volume)"),
        ("vwap(DISTINCT p, v)", "leave DISTINCT out of vwap"),
    ] {
        let error = query(&format!("SELECT {call} FROM t"), batch()).expect_err(call).to_string();
        assert!(error.contains(words), "{call}: {error}");
    }
}
