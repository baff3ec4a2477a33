//! `time_bucket` against another calendar library, `first` and `last` against a sort.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan, civil};
use proptest::prelude::*;

use super::*;

mod harness;
mod histogram;
mod lttb;
mod samples;
mod trades;

fn session(partitions: usize) -> SessionContext {
    let session =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    scalar_functions().into_iter().for_each(|function| session.register_udf(function));
    aggregate_functions().into_iter().for_each(|function| session.register_udaf(function));
    session
}

fn ticks(values: &[Option<i64>], data_type: &DataType) -> ArrayRef {
    cast(&Int64Array::from(values.to_vec()), data_type).unwrap()
}

/// The rows of `sql` over a table `t` of one column `ts`, as one column.
fn run(sql: &str, column: ArrayRef) -> Result<ArrayRef> {
    let schema = Schema::new(vec![Field::new("ts", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let session = session(1);
        session.register_batch("t", batch)?;
        let batches = session.sql(sql).await?.collect().await?;
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(0).as_ref()).collect();
        Ok(arrow::compute::concat(&columns)?)
    })
}

/// The first second of the calendar unit that a second is in, by `jiff`: the earliest instant at which clocks have reached its
/// first midnight.
fn expected(zone: &TimeZone, second: i64, unit: &str, count: i64) -> i64 {
    let epoch = civil::date(1970, 1, 1);
    let first_day = |number: i64| match unit {
        "d" => epoch + number.days(),
        "w" => civil::date(1969, 12, 29) + number.weeks(),
        "mo" => epoch + number.months(),
        _ => epoch + number.years(),
    };
    let start = |number: i64| {
        let midnight = first_day(number).at(0, 0, 0, 0);
        let ambiguous = zone.to_ambiguous_timestamp(midnight);
        match ambiguous.offset() {
            jiff::tz::AmbiguousOffset::Gap { before, .. } => {
                // Clocks jump over midnight: they have reached it once they have jumped.
                let near = before.to_timestamp(midnight).unwrap();
                let change = zone.preceding(near + 1.second()).next().unwrap();
                change.timestamp().as_second()
            }
            _ => ambiguous.earlier().unwrap().as_second(),
        }
    };
    let seconds = match unit {
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" => 30 * 86_400,
        _ => 365 * 86_400,
    };
    // Close by the average length; then step to the last one that has begun.
    let mut number = (second / seconds).div_euclid(count) * count + 2 * count;
    while start(number) > second {
        number -= count;
    }
    start(number)
}

/// What is right for the zones whose data the two libraries share; `types::calendar` names the others.
#[test]
fn calendar_buckets_are_those_of_another_library() {
    let database = TimeZoneDatabase::bundled();
    let mut compared = 0;
    for name in [
        "America/New_York",
        "America/Sao_Paulo",
        "Europe/Berlin",
        "Europe/London",
        "Asia/Kolkata",
        "Asia/Beirut",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Pacific/Auckland",
        "UTC",
    ] {
        let zone = database.get(name).unwrap();
        let from = civil::date(1970, 3, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let until = civil::date(2037, 12, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let changes = zone.following(from).map(|change| change.timestamp());
        let mut seconds: Vec<Option<i64>> = changes
            .take_while(|change: &Timestamp| *change < until)
            .flat_map(|change| {
                let at = change.as_second();
                [-90_000, -3_601, -3_600, -1, 0, 1, 3_599, 3_600, 40_000].map(|d| Some(at + d))
            })
            .collect();
        seconds.extend([Some(20_000_000), Some(1_772_323_200), None]);
        let column = ticks(&seconds, &DataType::Timestamp(TimeUnit::Second, None));
        for (unit, count) in
            [("d", 1), ("d", 3), ("w", 1), ("w", 2), ("mo", 1), ("mo", 5), ("y", 1)]
        {
            let sql = format!("SELECT time_bucket('{count}{unit}', ts, '{name}') FROM t");
            let found = run(&sql, Arc::clone(&column)).unwrap();
            let found = cast(&found, &DataType::Int64).unwrap();
            for (second, found) in seconds.iter().zip(found.as_primitive::<Int64Type>()) {
                let expected = second.map(|second| expected(&zone, second, unit, count));
                assert_eq!(found, expected, "{count}{unit} of {second:?} in {name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn the_type_of_the_value_stays_and_nulls_stay() {
    let zone = || Some("America/New_York".into());
    for (data_type, width, values, starts) in [
        (DataType::Timestamp(TimeUnit::Second, None), "'1m'", [Some(-1), None], [Some(-60), None]),
        (
            DataType::Timestamp(TimeUnit::Millisecond, zone()),
            "INTERVAL '1 hour'",
            [Some(3_600_001), None],
            [Some(3_600_000), None],
        ),
        // Local midnight of New York is 5 hours behind.
        (
            DataType::Timestamp(TimeUnit::Microsecond, zone()),
            "INTERVAL '1 day'",
            [Some(0), None],
            [Some(-68_400_000_000), None],
        ),
        (
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
            "'1y'",
            [Some(5), Some(-1)],
            [Some(0), Some(-31_536_000_000_000_000)],
        ),
        (DataType::Int64, "10", [Some(-1), Some(25)], [Some(-10), Some(20)]),
        (DataType::UInt64, "'10'", [Some(9), None], [Some(0), None]),
    ] {
        let sql = format!("SELECT time_bucket({width}, ts) FROM t");
        let found = run(&sql, ticks(&values, &data_type)).unwrap();
        assert_eq!(&found, &ticks(&starts, &data_type), "{sql} of {data_type}");
    }
    let dates =
        |days: [i32; 2]| -> ArrayRef { Arc::new(arrow::array::Date32Array::from(days.to_vec())) };
    for (width, starts) in [("'1mo'", [0, 31]), ("'48h'", [30, 32])] {
        let found = run(&format!("SELECT time_bucket({width}, ts) FROM t"), dates([30, 33]));
        assert_eq!(&found.unwrap(), &dates(starts), "{width}");
    }
    let large: ArrayRef = Arc::new(arrow::array::UInt64Array::from(vec![u64::MAX]));
    let found = run("SELECT time_bucket(10, ts, 7) FROM t", large).unwrap();
    assert_eq!(found.as_primitive::<arrow::datatypes::UInt64Type>().value(0), u64::MAX - 8);
}

#[test]
fn bad_calls_say_what_to_write() {
    let column = || ticks(&[Some(1), None], &DataType::Timestamp(TimeUnit::Second, None));
    for (call, words) in [
        ("time_bucket('1d', ts, 'Mars/Olympus')", "time zone \"Mars/Olympus\" is not known"),
        ("time_bucket('0h', ts)", "is not a width"),
        ("time_bucket('-1h', ts)", "is not a width"),
        ("time_bucket('1ms', ts)", "does not fit"),
        ("time_bucket(10, ts)", "does not fit"),
        ("time_bucket(INTERVAL '1 month 1 hour', ts)", "1 mons 1 hours, which"),
        ("time_bucket(INTERVAL '1 month 1 day', ts)", "1 mons 1 days, which"),
        ("time_bucket(INTERVAL '0 hours', ts)", "no positive number"),
        ("time_bucket(INTERVAL '-2 days', ts)", "no positive number"),
        ("time_bucket('1h', ts, 'Europe/Berlin')", "the same in every time zone"),
        ("time_bucket('1mo', ts, TIMESTAMP '2026-01-02')", "no month begins there"),
        ("time_bucket('1d', ts, 'Asia/Kolkata', TIMESTAMP '2026-01-02')", "no day begins there"),
        ("time_bucket('1h', ts, TIMESTAMP '2026-01-02T00:00:00.5')", "is no value of type"),
        ("time_bucket('1h', ts, NULL)", ""),
        ("time_bucket('1h', ts, ts)", "changes from row to row"),
        ("time_bucket('1h', 1.5)", "does not take"),
        ("time_bucket('1h')", "write time_bucket"),
        ("time_bucket('1h', ts, TIMESTAMP '2026-01-02', 'UTC')", "does not take"),
        ("first(ts)", "write first(price, ts)"),
        ("last(ts, 'x')", "write last(price, ts)"),
        ("first(ts, ts ORDER BY ts)", "leave ORDER BY out"),
    ] {
        let error = run(&format!("SELECT {call} FROM t"), column()).expect_err(call).to_string();
        assert!(error.contains(words), "{call}: {error}");
    }
}

#[test]
fn sorted_rows_are_grouped_without_a_sort() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let plan = runtime.block_on(async {
        let session = session(1);
        let sql = "EXPLAIN SELECT time_bucket('1d', ts, 'Europe/Berlin') AS day, count(*) FROM \
                   (SELECT ts FROM (VALUES (TIMESTAMP '2026-01-01'), (TIMESTAMP '2026-01-02')) v(ts) ORDER BY ts LIMIT 9) GROUP BY 1";
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    });
    assert!(plan.contains("ordering_mode=Sorted"), "{plan}");
}

/// A group, a value and a time.
type Row = (i64, Option<i64>, Option<i64>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn fixed_buckets_hold_their_values(
        values in prop::collection::vec(prop::option::of(any::<i32>()), 1..50),
        width in 1_i64..100_000,
        origin in any::<i32>(),
    ) {
        let values: Vec<Option<i64>> = values.into_iter().map(|v| v.map(i64::from)).collect();
        let data_type = DataType::Int64;
        let sql = format!("SELECT time_bucket({width}, ts, {origin}) FROM t");
        let found = run(&sql, ticks(&values, &data_type)).unwrap();
        for (value, start) in values.iter().zip(found.as_primitive::<Int64Type>()) {
            prop_assert_eq!(value.is_some(), start.is_some());
            if let (Some(value), Some(start)) = (value, start) {
                prop_assert!((start..start + width).contains(value), "{} of {}", sql, value);
                prop_assert_eq!((start - i64::from(origin)) % width, 0);
            }
        }
    }

    #[test]
    fn ends_are_those_of_a_sort(
        rows in prop::collection::vec(
            (0..4_i64, prop::option::weighted(0.8, 0..9_i64), prop::option::weighted(0.8, 0..9_i64)),
            1..60,
        ),
        batch_rows in 1..20_usize,
    ) {
        let batches: Vec<RecordBatch> = rows
            .chunks(batch_rows)
            .map(|rows| {
                let column = |part: fn(&Row) -> Option<i64>| -> ArrayRef {
                    Arc::new(Int64Array::from_iter(rows.iter().map(part)))
                };
                RecordBatch::try_from_iter_with_nullable([
                    ("g", column(|row| Some(row.0)), true),
                    ("v", column(|row| row.1), true),
                    ("ts", column(|row| row.2), true),
                ])
                .unwrap()
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(async {
            let session = session(3);
            let parts = batches.iter().map(|batch| vec![batch.clone()]).collect();
            let table = datafusion::datasource::MemTable::try_new(batches[0].schema(), parts).unwrap();
            session.register_table("t", Arc::new(table)).unwrap();
            let sql = "SELECT g, first(v, ts), last(v, ts) FROM t GROUP BY g ORDER BY g";
            let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
            let schema = batches[0].schema();
            arrow::compute::concat_batches(&schema, &batches).unwrap()
        });
        let cell = |column: usize, row: usize| {
            let column = found.column(column).as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        for row in 0..found.num_rows() {
            let group = cell(0, row).unwrap();
            let of_group = || {
                rows.iter().filter(move |row| row.0 == group).filter_map(|row| Some((row.2?, row.1)))
            };
            // Null behind the values of its time, on either side.
            let first = of_group().min_by_key(|(ts, value)| (*ts, value.is_none(), *value));
            let last = of_group().max_by_key(|(ts, value)| (*ts, *value));
            prop_assert_eq!(cell(1, row), first.and_then(|first| first.1));
            prop_assert_eq!(cell(2, row), last.and_then(|last| last.1));
        }
    }
}
