#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use datafusion::execution::FunctionRegistry;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;

/// Sessions with DataFusion's function and with ours.
fn sessions() -> [SessionContext; 2] {
    let (theirs, ours) = (SessionContext::new(), SessionContext::new());
    let mut state = ours.state();
    let inner = state.udf("date_bin").unwrap();
    state.register_udf(Arc::new(date_bin(inner))).unwrap();
    [theirs, SessionContext::new_with_state(state)]
}

fn answer(session: &SessionContext, column: &ArrayRef, sql: &str) -> Result<ArrayRef> {
    let schema = Schema::new(vec![Field::new("ts", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(column)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = session.read_batch(batch)?;
        let expr = session.state().create_logical_expr(sql, frame.schema())?;
        let batches = frame.select(vec![expr.alias("bin")])?.collect().await?;
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(0).as_ref()).collect();
        Ok(arrow::compute::concat(&columns)?)
    })
}

fn ticks(values: Vec<Option<i64>>, unit: TimeUnit, zone: Option<&str>) -> ArrayRef {
    let data_type = DataType::Timestamp(unit, zone.map(Into::into));
    cast(&Int64Array::from(values), &data_type).unwrap()
}

fn units() -> impl Strategy<Value = TimeUnit> {
    prop_oneof![
        Just(TimeUnit::Second),
        Just(TimeUnit::Millisecond),
        Just(TimeUnit::Microsecond),
        Just(TimeUnit::Nanosecond)
    ]
}

/// Values that DataFusion can turn into nanoseconds, near zero, spread, and in runs.
fn values(unit: TimeUnit) -> impl Strategy<Value = Vec<Option<i64>>> {
    let per_second: i64 = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let century = 3_000_000_000 * per_second;
    let value = prop_oneof![
        4 => (-5_i64..5).prop_map(Some),
        4 => (-century..century).prop_map(Some),
        1 => Just(None),
    ];
    let run = (value, 0..4_i64, 0..20_usize).prop_map(|(from, step, length)| {
        (0..length as i64).map(|n| from.map(|from| from + n * step)).collect::<Vec<_>>()
    });
    prop::collection::vec(run, 1..6).prop_map(|runs| runs.concat())
}

const WIDTHS: [&str; 12] = [
    "1 hour",
    "7 minutes",
    "1 day",
    "36 hours",
    "1 month",
    "5 months",
    "1 second",
    "1500 milliseconds",
    "7 microseconds",
    "3 nanoseconds",
    "-1 hour",
    "0 seconds",
];

const ORIGINS: [&str; 7] = [
    "",
    ", TIMESTAMP '1970-01-01'",
    ", TIMESTAMP '2025-01-31T01:02:03.5'",
    ", TIMESTAMP '1931-07-03T01:02:03.123456789'",
    ", '2001-01-01T00:00:00'",
    ", CAST('2025-01-31T01:02:03.5' AS TIMESTAMP(3))",
    ", CAST('2025-01-31T01:02:03.5Z' AS TIMESTAMP WITH TIME ZONE)",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn bins_are_those_of_datafusion(
        (unit, values) in units().prop_flat_map(|unit| (Just(unit), values(unit))),
        zone in prop_oneof![Just(None), Just(Some("UTC")), Just(Some("America/New_York"))],
        width in prop::sample::select(&WIDTHS[..]),
        origin in prop::sample::select(&ORIGINS[..]),
    ) {
        let column = ticks(values, unit, zone);
        let sql = format!("date_bin(INTERVAL '{width}', ts{origin})");
        let [theirs, ours] = sessions().map(|session| answer(&session, &column, &sql));
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                // With bins between ticks the finer unit of theirs shows where they begin.
                let comparable = cast(&theirs, ours.data_type()).unwrap();
                prop_assert_eq!(&comparable, &ours, "{} of {:?}", sql, column);
                let naive_meets_zone = zone.is_none() && origin.contains("ZONE");
                prop_assert!(
                    naive_meets_zone || ours.data_type() == column.data_type(),
                    "{sql}: {} gives {}, not {}", theirs.data_type(), ours.data_type(), column.data_type()
                );
            }
            (Err(_), Err(_)) => {}
            (theirs, ours) => prop_assert!(false, "{}: {:?} but {:?}", sql, theirs, ours),
        }
    }
}

#[test]
fn far_dates_have_bins_too() {
    // The year 10000 in microseconds is beyond what nanoseconds hold.
    let column = ticks(vec![Some(253_402_300_800_000_001), None], TimeUnit::Microsecond, None);
    let [_, ours] = sessions();
    let found = answer(&ours, &column, "date_bin(INTERVAL '1 day', ts)").unwrap();
    assert_eq!(
        &found,
        &ticks(vec![Some(253_402_300_800_000_000), None], TimeUnit::Microsecond, None)
    );
}

#[test]
fn the_ends_of_time_are_no_error() {
    let ends = vec![Some(i64::MIN), Some(i64::MAX), Some(0)];
    for unit in [TimeUnit::Second, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        let column = ticks(ends.clone(), unit, None);
        let [theirs, ours] = sessions()
            .map(|session| answer(&session, &column, "date_bin(INTERVAL '7 days', ts)").unwrap());
        // What has no bin is null, as in DataFusion, and then so is what DataFusion has no nanoseconds for.
        assert_eq!(&theirs, &ours, "{unit:?}");
    }
}

#[test]
fn what_lies_under_a_null_does_not_matter() {
    let nulls = arrow::buffer::NullBuffer::from(vec![true, false, true]);
    let values = vec![1, i64::MIN, 3_600_000_001];
    let column: ArrayRef =
        Arc::new(arrow::array::TimestampMicrosecondArray::new(values.into(), Some(nulls)));
    let [_, ours] = sessions();
    let found = answer(&ours, &column, "date_bin(INTERVAL '1 hour', ts)").unwrap();
    assert_eq!(
        &found,
        &ticks(vec![Some(0), None, Some(3_600_000_000)], TimeUnit::Microsecond, None)
    );
}
