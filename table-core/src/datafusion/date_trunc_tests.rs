#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use datafusion::execution::FunctionRegistry;
use datafusion::prelude::SessionContext;

use super::*;

const UNITS: [&str; 10] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
];

fn session() -> SessionContext {
    let mut state = SessionContext::new().state();
    let inner = state.udf("date_trunc").unwrap();
    state.register_udf(Arc::new(date_trunc(inner))).unwrap();
    SessionContext::new_with_state(state)
}

fn answer(session: &SessionContext, column: &ArrayRef, unit: &str) -> Result<ArrayRef> {
    let schema = Schema::new(vec![Field::new("ts", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(column)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = session.read_batch(batch)?;
        let sql = format!("date_trunc('{unit}', ts)");
        let expr = session.state().create_logical_expr(&sql, frame.schema())?;
        let batches = frame.select(vec![expr.alias("start")])?.collect().await?;
        Ok(Arc::clone(batches[0].column(0)))
    })
}

fn types() -> impl Iterator<Item = DataType> {
    let units =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let zones = [None, Some("UTC"), Some("+05:45"), Some("America/New_York")];
    units
        .into_iter()
        .flat_map(move |unit| zones.map(|zone| DataType::Timestamp(unit, zone.map(Into::into))))
}

/// Ticks, and the least of all integers under the nulls.
fn ticks(values: &[Option<i64>], data_type: &DataType) -> ArrayRef {
    let nulls = values.iter().map(Option::is_some).collect::<Vec<_>>().into();
    let values: Vec<i64> = values.iter().map(|value| value.unwrap_or(i64::MIN)).collect();
    cast(&Int64Array::new(values.into(), Some(nulls)), data_type).unwrap()
}

#[test]
fn what_lies_under_a_null_is_not_truncated() {
    let session = session();
    for data_type in types() {
        let DataType::Timestamp(unit, _) = &data_type else { panic!("{data_type}") };
        let second = 1_000_000_000 / nanos_per_tick(*unit);
        // 2026-03-29 was a Sunday.
        let time = 1_774_800_000 * second;
        let clean = ticks(&[Some(time + 59 * second), Some(time - 5 * second)], &data_type);
        let among_nulls =
            ticks(&[None, Some(time + 59 * second), None, Some(time - 5 * second)], &data_type);
        for step in UNITS {
            let clean = answer(&session, &clean, step).unwrap();
            let found = answer(&session, &among_nulls, step).unwrap();
            assert_eq!(found.data_type(), &data_type, "{step}");
            let found =
                arrow::compute::filter(&found, &arrow::compute::is_not_null(&found).unwrap());
            assert_eq!(&found.unwrap(), &clean, "{step} of {data_type}");
        }
    }
}

#[test]
fn a_timestamp_with_none_before_it_is_refused() {
    let session = session();
    for data_type in types() {
        for value in [i64::MIN, i64::MIN + 1] {
            let error =
                answer(&session, &ticks(&[None, Some(value)], &data_type), "hour").unwrap_err();
            assert!(error.to_string().contains("there is no earlier timestamp"), "{error}");
        }
    }
    let latest = ticks(&[None, Some(i64::MAX)], &DataType::Timestamp(TimeUnit::Nanosecond, None));
    let found = answer(&session, &latest, "day").unwrap();
    assert_eq!(found.null_count(), 1);
}

#[test]
fn other_types_are_left_to_the_engine() {
    let session = session();
    let times = |micros: i64| {
        let micros = Int64Array::from(vec![micros]);
        cast(&micros, &DataType::Time64(TimeUnit::Microsecond)).unwrap()
    };
    assert_eq!(&answer(&session, &times(3_661_000_000), "hour").unwrap(), &times(3_600_000_000));
}
