//! Groups without the order of the scan: which plans give it up, and that no result changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use support::fixture::Fixture;
use support::query::plan;
use table_core::datafusion::UnorderedGroups;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;

const MINUTE: i64 = 60_000_000;

/// Twelve segments of four hours each, a row a minute.
async fn table(entities: &[&str]) -> Fixture {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Float64, true),
    ]));
    let spec = TableSpec {
        index: Some(IndexSpec {
            column: "ts".to_owned(),
            bucket: BucketWidth::parse("1m").unwrap(),
            entity_columns: entities.iter().map(|&name| name.to_owned()).collect(),
            time_zone: "UTC".to_owned(),
        }),
    };
    let mut table = Fixture::new(spec, &schema).await;
    for segment in 0..12 {
        let rows = segment * 240..(segment + 1) * 240;
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    rows.clone().map(|row| row * MINUTE),
                )),
                Arc::new(StringArray::from_iter_values(
                    rows.clone().map(|r| format!("S{}", r % 5)),
                )),
                Arc::new(Float64Array::from_iter(rows.map(|r| (r % 11 > 0).then_some(r as f64)))),
            ],
        );
        table.add_segment(&batch.unwrap(), 100);
    }
    table
}

/// The rows in an order of their own.
async fn rows(session: &SessionContext, sql: &str) -> Vec<String> {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let mut lines: Vec<String> =
        pretty_format_batches(&batches).unwrap().to_string().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

const UNORDERED: [&str; 7] = [
    "SELECT date_trunc('hour', ts), count(*), sum(price) FROM t GROUP BY 1",
    "SELECT date_trunc('hour', ts) AS h, count(*) FROM t WHERE price > 50 GROUP BY 1 ORDER BY h",
    "SELECT date_bin(INTERVAL '2 hours', ts) AS h, avg(price) FROM t GROUP BY 1 ORDER BY 2 DESC LIMIT 3",
    "SELECT n, count(*) FROM (SELECT date_trunc('day', ts) AS n FROM t) GROUP BY n",
    "SELECT avg(price), max(symbol) FROM t WHERE price < 900",
    "SELECT h, sum(price) FROM (SELECT date_trunc('hour', ts) AS h, price FROM t UNION ALL \
     SELECT date_trunc('day', ts), price FROM t) GROUP BY h",
    "SELECT count(*) FROM (SELECT date_trunc('hour', ts) FROM t GROUP BY 1)",
];

const ORDERED: [&str; 5] = [
    "SELECT ts, count(*) FROM t GROUP BY ts",
    "SELECT date_trunc('hour', ts) AS h, count(*) FROM t GROUP BY 1 ORDER BY h LIMIT 3",
    "SELECT date_trunc('hour', ts), array_agg(price ORDER BY ts) FROM t GROUP BY 1",
    "SELECT DISTINCT ts FROM t",
    "SELECT ts, price FROM t ORDER BY ts",
];

#[tokio::test]
async fn order_is_given_up_where_nothing_is_gained_by_it() {
    let table = table(&[]).await;
    let session = table.session_with(UnorderedGroups);
    for sql in UNORDERED {
        let shown = plan(&session, sql).await;
        assert!(!shown.contains("output_ordering"), "{sql}: {shown}");
        assert!(!shown.contains("preserve_order"), "{sql}: {shown}");
    }
    for sql in ORDERED {
        let shown = plan(&session, sql).await;
        assert!(shown.contains("output_ordering"), "{sql}: {shown}");
    }
}

#[tokio::test]
async fn results_are_the_same() {
    for entities in [&[][..], &["symbol"]] {
        let table = table(entities).await;
        let (ours, theirs) = (table.session_with(UnorderedGroups), table.session(2));
        for sql in UNORDERED.iter().chain(&ORDERED) {
            assert_eq!(rows(&ours, sql).await, rows(&theirs, sql).await, "{sql}");
        }
        let grouped =
            "SELECT symbol, date_trunc('hour', ts), count(*), sum(price) FROM t GROUP BY 1, 2";
        assert_eq!(rows(&ours, grouped).await, rows(&theirs, grouped).await);
    }
}
