//! `ORDER BY index LIMIT n`: reading only the ends of segments never changes which index values come back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::Fixture;
use table_core::datafusion::ReadEnds;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;

/// Random tables of the property test, and queries on each.
const TABLES: u64 = 24;
const QUERIES: usize = 6;

fn spec(index: &DataType, entities: &[&str]) -> TableSpec {
    let bucket = if index.is_integer() { "1" } else { "1us" };
    TableSpec {
        index: Some(IndexSpec {
            column: "ts".to_owned(),
            bucket: BucketWidth::parse(bucket).unwrap(),
            entity_columns: entities.iter().map(|&name| name.to_owned()).collect(),
            time_zone: "UTC".to_owned(),
        }),
    }
}

fn schema(index: &DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", index.clone(), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("id", DataType::Int64, false),
    ]))
}

fn segment(schema: &SchemaRef, ts: &[i64], symbols: i64, first_id: i64) -> RecordBatch {
    let ids = first_id..first_id + ts.len() as i64;
    let symbol = StringArray::from_iter_values(ids.clone().map(|id| format!("S{}", id % symbols)));
    let ts: ArrayRef = match schema.field(0).data_type() {
        // On both sides of 2^63.
        DataType::UInt64 => Arc::new(arrow::array::UInt64Array::from_iter_values(
            ts.iter().map(|value| (1_u64 << 63).wrapping_add_signed(*value - 1000)),
        )),
        other => cast(&Int64Array::from(ts.to_vec()), other).unwrap(),
    };
    let columns = vec![ts, Arc::new(symbol) as _, Arc::new(Int64Array::from_iter_values(ids)) as _];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn session(table: &Fixture, partitions: usize) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(partitions))
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(ReadEnds))
        .build();
    table.register(SessionContext::new_with_state(state))
}

async fn run(session: &SessionContext, sql: &str) -> RecordBatch {
    let frame = session.sql(sql).await.unwrap();
    let schema = Arc::clone(frame.schema().inner());
    concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
}

async fn plan(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}

/// The plan shows five files of each group at most; enough to tell one from many.
fn files_read(plan: &str) -> usize {
    plan.matches(".parquet").count()
}

#[tokio::test]
async fn the_last_rows_are_all_that_is_read() {
    let schema = schema(&DataType::Int64);
    let mut table = Fixture::new(spec(&DataType::Int64, &[]), &schema).await;
    for day in 0..9 {
        let ts: Vec<i64> = (day * 240..(day + 1) * 240).collect();
        table.add_segment(&segment(&schema, &ts, 3, day * 240), 80);
    }
    for partitions in [1, 2] {
        let session = session(&table, partitions);
        for (sql, files, rows) in [
            ("SELECT * FROM t ORDER BY ts DESC LIMIT 10", 1, 10),
            ("SELECT id FROM t ORDER BY ts DESC LIMIT 10 OFFSET 5", 1, 15),
            ("SELECT * FROM t ORDER BY ts DESC LIMIT 240", 1, 240),
            ("SELECT * FROM t ORDER BY ts DESC LIMIT 241", 2, 480),
            // Whole segments answer this filter, so no row is dropped by it.
            ("SELECT * FROM t WHERE ts < 480 ORDER BY ts DESC LIMIT 7", 1, 7),
        ] {
            let shown = plan(&session, sql).await;
            assert_eq!(files_read(&shown), files, "{sql}: {shown}");
            let analyzed = run(&session, &format!("EXPLAIN ANALYZE {sql}")).await;
            let shown = analyzed.column(1).as_string::<i32>().value(0).to_owned();
            let scan = shown.split("DataSourceExec").nth(1).unwrap();
            let read = scan.split("output_rows=").nth(1).unwrap().split(',').next().unwrap();
            assert!(read.parse::<usize>().unwrap() <= rows, "{sql}: {shown}");
        }
        for sql in [
            "SELECT * FROM t WHERE id % 7 = 3 ORDER BY ts DESC LIMIT 10",
            "SELECT * FROM t ORDER BY ts DESC, id LIMIT 10",
            "SELECT * FROM t ORDER BY id DESC LIMIT 10",
            "SELECT * FROM (SELECT -ts AS ts, id FROM t) ORDER BY ts DESC LIMIT 10",
            "SELECT * FROM t ORDER BY ts DESC LIMIT 70000",
            "SELECT * FROM t ORDER BY ts DESC",
        ] {
            let shown = plan(&session, sql).await;
            assert!(files_read(&shown) > 1, "{sql}: {shown}");
        }
    }
}

#[tokio::test]
async fn renamed_columns_are_followed_to_the_file() {
    let schema = schema(&DataType::Int64);
    let mut table = Fixture::new(spec(&DataType::Int64, &[]), &schema).await;
    for day in 0..4 {
        let ts: Vec<i64> = (day * 50..(day + 1) * 50).collect();
        table.add_segment(&segment(&schema, &ts, 3, day * 50), 20);
    }
    let session = session(&table, 2);
    let renamed = "SELECT n FROM (SELECT ts AS n, id AS ts FROM t) ORDER BY n DESC LIMIT 3";
    assert_eq!(run(&session, renamed).await.column(0).as_primitive::<Int64Type>().value(0), 199);
    let swapped = "SELECT ts FROM (SELECT 1000 - id AS ts FROM t) ORDER BY ts DESC LIMIT 3";
    assert_eq!(run(&session, swapped).await.column(0).as_primitive::<Int64Type>().value(0), 1000);
}

#[tokio::test]
async fn reading_ends_never_changes_the_index_values() {
    let indexes =
        [DataType::Int64, DataType::UInt64, DataType::Timestamp(TimeUnit::Microsecond, None)];
    for seed in 0..TABLES {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let index = &indexes[seed as usize % indexes.len()];
        let schema = schema(index);
        let entities: &[&str] = if random.random_bool(0.3) { &["symbol"] } else { &[] };
        let mut table = Fixture::new(spec(index, entities), &schema).await;
        let (mut from, mut id) = (0, 0);
        for _ in 0..random.random_range(1..7) {
            let rows = random.random_range(1..120);
            let mut ts = Vec::new();
            let mut at: i64 = from;
            for _ in 0..rows {
                at += random.random_range(0..4);
                ts.push(at);
            }
            let symbols = random.random_range(1..4);
            let batch = segment(&schema, &ts, symbols, id);
            match random.random_bool(0.3) {
                true => table.add_hot(&batch),
                false => table.add_segment(&batch, random.random_range(8..50)),
            }
            id += rows;
            // Behind this one, touching it, or across it.
            from = match random.random_range(0..4) {
                0 => at + 5,
                1 => at,
                2 => (at - 30).max(0),
                _ => 0,
            };
        }
        let partitions = random.random_range(1..4);
        let plain = table.session(partitions);
        let narrowed = session(&table, partitions);
        let all = run(&plain, "SELECT id, ts FROM t ORDER BY id").await;
        for _ in 0..QUERIES {
            let order = ["", "DESC"][random.random_range(0..2)];
            let filter = match random.random_range(0..4) {
                0 => format!("WHERE id % 3 = {}", random.random_range(0..3)),
                1 => format!("WHERE id < {}", random.random_range(0..id + 1)),
                _ => String::new(),
            };
            let union = match random.random_range(0..5) {
                0 => "(SELECT ts, id FROM t UNION ALL SELECT ts, id + 1000000 FROM t)",
                _ => "t",
            };
            let (limit, offset) = (random.random_range(0..200), random.random_range(0..3) * 7);
            let sql = format!(
                "SELECT ts, id FROM {union} {filter} ORDER BY ts {order} LIMIT {limit} OFFSET {offset}"
            );
            let (expected, found) = (run(&plain, &sql).await, run(&narrowed, &sql).await);
            assert_eq!(expected.column(0), found.column(0), "seed {seed}: {sql}");
            // Rows that share an index value may be others, but each is a row of the table, and none comes twice.
            let ids = found.column(1).as_primitive::<Int64Type>();
            let mut seen: Vec<i64> = ids.values().to_vec();
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: {sql}");
            for row in 0..found.num_rows() {
                let original = usize::try_from(ids.value(row) % 1_000_000).unwrap();
                assert_eq!(
                    found.column(0).slice(row, 1).to_data(),
                    all.column(1).slice(original, 1).to_data(),
                    "seed {seed}: {sql}"
                );
            }
        }
    }
}
