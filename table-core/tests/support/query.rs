//! Rows to query, and queries over them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;

use super::fixture::Fixture;

pub(crate) const HOUR: i64 = 3_600_000_000;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2025-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_735_689_600_000_000;

pub(crate) fn spec(entities: &[&str], bucket: &str) -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "ts".to_owned(),
            bucket: BucketWidth::parse(bucket).unwrap(),
            entity_columns: entities.iter().map(|&name| name.to_owned()).collect(),
            time_zone: "UTC".to_owned(),
        }),
    }
}

pub(crate) fn schema(index: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", index, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
    ]))
}

pub(crate) fn batch(schema: &SchemaRef, ts: ArrayRef, random: &mut StdRng) -> RecordBatch {
    let rows = ts.len();
    let all_null = random.random_ratio(1, 6);
    let base = random.random_range(0..100);
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            ts,
            Arc::new(StringArray::from_iter_values(
                (0..rows).map(|_| format!("S{}", random.random_range(0..6))),
            )),
            Arc::new(Float64Array::from_iter((0..rows).map(|_| {
                (!random.random_ratio(1, 8)).then(|| match random.random_ratio(1, 200) {
                    true => f64::NAN,
                    false => f64::from(base + random.random_range(0..20)),
                })
            }))),
            Arc::new(StringArray::from_iter((0..rows).map(|_| {
                (!all_null && random.random_bool(0.5))
                    .then(|| format!("n{}", random.random_range(base..base + 9)))
            }))),
            Arc::new(Int64Array::from_iter(
                (0..rows)
                    .map(|_| (!all_null).then(|| i64::from(base) + random.random_range(-5..5))),
            )),
        ],
    )
    .unwrap()
}

/// Microseconds `days` days of rows from `START`, one every `step`, as an array of `index`.
pub(crate) fn times(from: i64, rows: i64, step: i64, index: &DataType) -> ArrayRef {
    let ticks = TimestampMicrosecondArray::from_iter_values((0..rows).map(|n| from + n * step));
    cast(&ticks.with_timezone("UTC"), index).unwrap()
}

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `days` daily segments of 240 rows in 3 row groups each.
pub(crate) async fn daily(days: i64, entities: &[&str]) -> Fixture {
    let schema = schema(utc());
    let mut random = StdRng::seed_from_u64(7);
    let mut table = Fixture::new(spec(entities, "1h"), &schema).await;
    for day in 0..days {
        let ts = times(START + day * DAY, 240, DAY / 240, &utc());
        table.add_segment(&batch(&schema, ts, &mut random), 80);
    }
    table
}

pub(crate) async fn run(session: &SessionContext, sql: &str) -> Result<String, DataFusionError> {
    let batches = session.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

pub(crate) async fn plan(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}

pub(crate) fn files_read(plan: &str) -> usize {
    let mut ids: Vec<&str> =
        plan.split("/data/").skip(1).map(|rest| rest.split(".parquet").next().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}
