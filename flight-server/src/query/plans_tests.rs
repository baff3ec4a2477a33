#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use table_core::schema::TableSpec;
use tempfile::TempDir;

use super::*;
use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::query::min_versions::MinVersions;
use crate::query::{plan, statement};

async fn engine() -> (TempDir, Arc<Engine>) {
    let root = tempfile::tempdir().unwrap();
    let config = ServerConfig { disk_floor_bytes: Some(0), ..ServerConfig::new(root.path()) };
    let engine = Engine::open(&config).await.unwrap();
    (root, engine)
}

async fn create(engine: &Arc<Engine>, column: &str) {
    let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Int64, true)]));
    engine.catalog().create_table("t", TableSpec::plain(), Some(schema), "").await.unwrap();
}

/// Plans a text; whether it had been kept, and its plan.
async fn planned(engine: &Arc<Engine>, sql: &str) -> (bool, Prepared) {
    let gated = plan::gated(engine, sql).await.unwrap();
    let pins = Pins::newest(engine, &gated, &MinVersions::Any).await.unwrap();
    let kept = engine.plans().get(&sql.into(), &pins).is_some();
    let prepared = Prepared::newest(engine, gated, &MinVersions::Any).await.unwrap();
    prepared.own_query(engine).await.unwrap();
    (kept, prepared)
}

#[tokio::test]
async fn a_text_is_planned_once_for_one_version() {
    let (_root, engine) = engine().await;
    create(&engine, "a").await;
    for sql in [
        "SELECT a FROM t",
        "SELECT count(*), sum(a) FROM t WHERE a > 3 GROUP BY a % 2",
        "SELECT * FROM t x JOIN t y ON x.a = y.a WHERE x.a IN (SELECT a FROM t)",
        "SELECT a FROM t WHERE a = $1",
        "SELECT x.a, y.a FROM t x ASOF JOIN t y MATCH_CONDITION (x.a > y.a)",
        "SELECT 1",
    ] {
        assert!(!planned(&engine, sql).await.0, "{sql}");
        assert!(planned(&engine, sql).await.0, "{sql}");
    }
    statement::update(&engine, "INSERT INTO t VALUES (1)", &MinVersions::Any).await.unwrap();
    let (kept, prepared) = planned(&engine, "SELECT a FROM t").await;
    assert!(!kept, "the table has moved on");
    let plan = prepared.own_query(&engine).await.unwrap();
    let (_, rows) = prepared.execute(&engine, plan).await.unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
}

#[tokio::test]
async fn what_time_chance_or_the_catalog_decide_is_planned_each_time() {
    let (_root, engine) = engine().await;
    create(&engine, "a").await;
    for sql in [
        "SELECT now()",
        "SELECT a FROM t WHERE a > (SELECT random())",
        "SELECT a, CASE WHEN a > 1 THEN current_date END FROM t",
        "SELECT table_name FROM information_schema.tables",
        "SELECT * FROM generate_series(1, 3)",
        "EXPLAIN SELECT a FROM t",
        "SHOW TABLES",
        "DESCRIBE t",
    ] {
        for _ in 0..2 {
            assert!(!planned(&engine, sql).await.0, "{sql}");
        }
    }
}

#[tokio::test]
async fn another_table_of_the_same_name_is_another_table() {
    let (_root, engine) = engine().await;
    create(&engine, "a").await;
    let sql = "SELECT * FROM t";
    planned(&engine, sql).await;
    statement::update(&engine, "DROP TABLE t", &MinVersions::Any).await.unwrap();
    create(&engine, "b").await;
    let (kept, prepared) = planned(&engine, sql).await;
    assert!(!kept);
    let plan = prepared.own_query(&engine).await.unwrap();
    let schema = prepared.schema(&engine, &plan).await.unwrap();
    assert_eq!(schema.field(0).name(), "b");
}

#[tokio::test]
async fn plans_are_bounded_in_number_and_size() {
    let (_root, engine) = engine().await;
    create(&engine, "a").await;
    let sql = |number: usize| format!("SELECT a + {number} FROM t");
    for number in 0..=limits::PLANS_MAX {
        planned(&engine, &sql(number)).await;
    }
    assert!(!planned(&engine, &sql(0)).await.0, "the oldest made room");
    assert!(planned(&engine, &sql(limits::PLANS_MAX)).await.0);
    assert_eq!(engine.plans().kept.lock().len(), limits::PLANS_MAX);

    let long = format!("SELECT a FROM t -- {}", "x".repeat(limits::PLAN_SOURCE_BYTES_MAX));
    planned(&engine, &long).await;
    assert!(!planned(&engine, &long).await.0);
}
