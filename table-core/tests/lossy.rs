//! Filters through functions that lose something: sorts, groups and windows below them see all of the column.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use support::fixture::Fixture;
use table_core::datafusion::OneWayFilters;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;

const HOUR: i64 = 3_600_000_000;

/// Five rows an hour for four days, in arrival order within the hour.
async fn table() -> Fixture {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("n", DataType::Int64, false),
        Field::new("x", DataType::Float64, false),
    ]));
    let spec = TableSpec {
        index: Some(IndexSpec {
            column: "ts".to_owned(),
            bucket: BucketWidth::parse("1h").unwrap(),
            entity_columns: Vec::new(),
            time_zone: "UTC".to_owned(),
        }),
    };
    let mut table = Fixture::new(spec, &schema).await;
    let rows: Vec<i64> = (0..4 * 24 * 5).collect();
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows.iter().map(|row| row / 5 * HOUR),
            )),
            // Neither ascends with the index.
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row * 7 % 31))),
            Arc::new(Float64Array::from_iter_values(
                rows.iter().map(|row| (row * 11 % 37) as f64 / 4.0),
            )),
        ],
    );
    table.add_segment(&batch.unwrap(), 100);
    table
}

async fn shown(session: &SessionContext, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// A filter through a lossy function, and one that picks the same rows without.
const FILTERS: [(&str, &str); 17] = [
    ("ts::date = '1970-01-02'", "ts >= '1970-01-02' AND ts < '1970-01-03'"),
    (
        "'1970-01-02'::date = ts::date AND n > 3",
        "ts >= '1970-01-02' AND ts < '1970-01-03' AND n > 3",
    ),
    (
        "arrow_cast(ts, 'Timestamp(Second, None)') = '1970-01-02T03:00:00'",
        "ts >= '1970-01-02T03:00:00' AND ts < '1970-01-02T03:00:01'",
    ),
    ("n / 10 = 2", "n >= 20 AND n < 30"),
    ("(n + 1) / 10 = 2", "n >= 19 AND n < 29"),
    ("x::bigint = 3", "x > 2.75 AND x < 4"),
    ("x + 1e17 = 1e17", "x <= 8"),
    ("x + 1e17 = 1e17 AND n / 10 = 1", "x <= 8 AND n >= 10 AND n < 20"),
    ("n % 7 = n", "n < 7"),
    ("x - x + 2e0 = x", "x = 2"),
    ("abs(n) = n AND n - 1 = abs(n - 1)", "n >= 1"),
    ("n = x AND x = n + 0", "n = x"),
    // Bounds of which DataFusion makes wider ones.
    ("x::int >= 1 AND x > 2", "x > 2"),
    ("x::int <= 1 AND x > 2", "x > 2 AND x < 2"),
    ("x::int > n AND n > 2", "floor(x) > n AND n > 2"),
    (
        "ts::date > '1970-01-01'::date + x::int - x::int AND ts < '1970-01-03'",
        "ts >= '1970-01-02' AND ts < '1970-01-03'",
    ),
    (
        "t.n IN (SELECT u.n FROM t AS u WHERE u.x::int >= 1 AND u.x > 9)",
        "t.n IN (SELECT u.n FROM t AS u WHERE u.x > 9)",
    ),
];

#[tokio::test]
async fn what_is_sorted_grouped_and_numbered_is_all_of_the_column() {
    let table = table().await;
    let session = table.session_with(OneWayFilters);
    for (lossy, plain) in FILTERS {
        for sql in [
            "SELECT ts, n, x FROM t WHERE {} ORDER BY ts, n, x",
            "SELECT ts, n, x FROM t WHERE {} ORDER BY n DESC, x, ts",
            "SELECT ts, n, x FROM t WHERE {} ORDER BY x, n, ts LIMIT 7",
            "SELECT n, count(*), sum(x) FROM t WHERE {} GROUP BY n ORDER BY n",
            "SELECT x, n, count(*) FROM t WHERE {} GROUP BY x, n ORDER BY x, n",
            "SELECT ts, n, row_number() OVER (PARTITION BY ts ORDER BY n, x) FROM t WHERE {} ORDER BY ts, n, x",
            "SELECT n, x, ts, lag(ts) OVER (PARTITION BY n ORDER BY x, ts) FROM t WHERE {} ORDER BY n, x, ts",
        ] {
            let (lossy, plain) = (sql.replace("{}", lossy), sql.replace("{}", plain));
            assert_eq!(shown(&session, &lossy).await, shown(&session, &plain).await, "{lossy}");
        }
    }
}

#[tokio::test]
async fn a_plan_shows_the_filter_as_it_was_written() {
    let table = table().await;
    let sql = "SELECT n FROM t WHERE ts::date = '1970-01-02' AND n / 10 = 2";
    let plan = table
        .session_with(OneWayFilters)
        .sql(sql)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(plan.contains("CAST(ts@0 AS Date32) = 1970-01-02 AND n@1 / 10 = 2"), "{plan}");
}
