//! Queries over hot rows, alone and beside segments: answers from statistics, order, projections, limits. That pruning
//! never changes a result is in `scan`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use arrow::array::{ArrayRef, RecordBatch};
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::fixture::Fixture;
use support::query::{DAY, HOUR, START, batch, files_read, plan, run, schema, spec, times, utc};

/// `days` daily segments of 240 rows, then `hours` small appends of 10 rows each on the days behind them.
async fn mixed(days: i64, hours: i64, entities: &[&str]) -> Fixture {
    let schema = schema(utc());
    let mut random = StdRng::seed_from_u64(7);
    let mut table = Fixture::new(spec(entities, "1h"), &schema).await;
    let mut rows = |from: i64, count: i64, step: i64| -> RecordBatch {
        let ts: ArrayRef = times(from, count, step, &utc());
        batch(&schema, ts, &mut random)
    };
    for day in 0..days {
        table.add_segment(&rows(START + day * DAY, 240, DAY / 240), 80);
    }
    for hour in 0..hours {
        table.add_hot(&rows(START + days * DAY + hour * HOUR, 10, HOUR / 10));
    }
    table
}

#[tokio::test]
async fn a_table_of_hot_rows_is_scanned_in_memory() {
    let table = mixed(0, 5, &[]).await;
    let shown = plan(&table.session(2), "SELECT * FROM t").await;
    assert!(shown.contains("DataSourceExec: hot rows"), "{shown}");
    assert!(!shown.contains("UnionExec") && files_read(&shown) == 0, "{shown}");
    let none = plan(&mixed(2, 0, &[]).await.session(2), "SELECT * FROM t").await;
    assert!(!none.contains("UnionExec") && !none.contains("hot rows"), "{none}");
}

#[tokio::test]
async fn count_min_and_max_need_no_scan() {
    for (days, hours, rows, last) in
        [(0, 5, 50, "2025-01-01T04:54:00Z"), (3, 5, 770, "2025-01-04T04:54:00Z")]
    {
        let table = mixed(days, hours, &[]).await;
        let session = table.session(2);
        let sql = "SELECT count(*), min(ts), max(ts), min(symbol), max(symbol) FROM t";
        let shown = plan(&session, sql).await;
        assert!(shown.contains("PlaceholderRowExec"), "{shown}");
        assert!(!shown.contains("DataSourceExec"), "{shown}");
        let answer = run(&session, sql).await.unwrap();
        assert!(answer.contains(&format!("| {rows} ")) && answer.contains(last), "{answer}");
        assert!(answer.contains("2025-01-01T00:00:00Z"), "{answer}");
    }
}

#[tokio::test]
async fn a_range_of_the_index_cuts_hot_rows_to_the_row() {
    let table = mixed(2, 5, &[]).await;
    let session = table.session(2);
    // From the second segment on, through the middle of a small append: still nothing to look at.
    let sql =
        "SELECT count(*), max(ts) FROM t WHERE ts >= '2025-01-02' AND ts < '2025-01-03T02:30:00Z'";
    let shown = plan(&session, sql).await;
    assert!(!shown.contains("DataSourceExec"), "{shown}");
    let answer = run(&session, sql).await.unwrap();
    assert!(answer.contains("| 265 ") && answer.contains("2025-01-03T02:24:00Z"), "{answer}");

    let shown = plan(&session, "SELECT * FROM t WHERE ts < '2025-01-02'").await;
    assert!(!shown.contains("hot rows") && files_read(&shown) == 1, "{shown}");
    let shown = plan(&session, "SELECT * FROM t WHERE ts >= '2025-01-03'").await;
    assert!(shown.contains("hot rows") && files_read(&shown) == 0, "{shown}");
    assert!(!shown.contains("FilterExec"), "{shown}");
    let shown = plan(&session, "SELECT * FROM t WHERE symbol = 'nobody'").await;
    assert!(!shown.contains("DataSourceExec"), "statistics prune both: {shown}");
}

#[tokio::test]
async fn order_by_index_needs_no_sort() {
    for (days, hours) in [(0, 4), (1, 4), (5, 4)] {
        let table = mixed(days, hours, &[]).await;
        for partitions in [1, 2, 4] {
            let session = table.session(partitions);
            let sql = "SELECT ts, price FROM t ORDER BY ts";
            let shown = plan(&session, sql).await;
            assert!(!shown.contains("SortExec"), "{days} days, {partitions} partitions: {shown}");
            let sorted = run(&session, sql).await.unwrap();
            let lines: Vec<&str> = sorted.lines().filter(|line| line.contains("2025")).collect();
            assert_eq!(lines.len() as i64, days * 240 + hours * 10);
            assert!(lines.is_sorted());
        }
    }
    let table = mixed(1, 4, &["symbol"]).await;
    let shown = plan(&table.session(2), "SELECT * FROM t ORDER BY symbol, ts").await;
    assert!(!shown.contains("SortExec"), "{shown}");
    let shown = plan(&table.session(2), "SELECT ts FROM t WHERE symbol = 'S3' ORDER BY ts").await;
    assert!(!shown.contains("SortExec"), "{shown}");
}

#[tokio::test]
async fn the_first_and_the_last_rows_are_found_on_either_side() {
    // Segments on days 1 and 2, hot rows before, among and behind them.
    let mut table = mixed(2, 3, &["symbol"]).await;
    let mut random = StdRng::seed_from_u64(9);
    for from in [START - HOUR, START + 90_000_000, START + DAY + 3 * HOUR + 1_000_000] {
        table.add_hot(&batch(&schema(utc()), times(from, 5, 1_000_000, &utc()), &mut random));
    }
    let session = table.session(2);
    let every = run(&session, "SELECT ts FROM t").await.unwrap();
    let mut every: Vec<&str> = every.lines().filter(|line| line.contains('Z')).collect();
    every.sort_unstable();
    assert_eq!(every.len(), 480 + 30 + 15);
    for limit in [1, 7, 260, 600] {
        for direction in ["ASC", "DESC"] {
            let sql = format!("SELECT ts FROM t ORDER BY ts {direction} LIMIT {limit}");
            let found = run(&session, &sql).await.unwrap();
            let found: Vec<&str> = found.lines().filter(|line| line.contains('Z')).collect();
            let mut expected = every.clone();
            if direction == "DESC" {
                expected.reverse();
            }
            expected.truncate(limit);
            assert_eq!(found, expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn limits_and_projections_reach_both_sides() {
    for (days, hours) in [(0, 5), (1, 5)] {
        let table = mixed(days, hours, &[]).await;
        let session = table.session(1);
        let all = days * 240 + hours * 10;
        for limit in [0, 3, 45, 1000] {
            let sql = format!("SELECT size, ts FROM t LIMIT {limit}");
            let found = run(&session, &sql).await.unwrap();
            let found = found.lines().filter(|line| line.contains("2025")).count() as i64;
            assert_eq!(found, all.min(limit), "{sql}");
            let counted = format!("SELECT count(*) FROM (SELECT ts FROM t LIMIT {limit})");
            let counted = run(&session, &counted).await.unwrap();
            assert!(counted.contains(&format!("| {} ", all.min(limit))), "{limit}: {counted}");
        }
        // No column at all, though the rows have to be counted one by one.
        let sql = "SELECT count(*) FROM t WHERE price >= 0 OR price IS NULL OR isnan(price)";
        assert!(run(&session, sql).await.unwrap().contains(&format!("| {all} ")));
        let sql = "SELECT 1 FROM t";
        let found = run(&session, sql).await.unwrap();
        assert_eq!(found.lines().filter(|line| line.contains("| 1 ")).count() as i64, all);
        let swapped = run(&session, "SELECT note, ts, note AS again FROM t ORDER BY ts LIMIT 2");
        assert!(swapped.await.unwrap().contains("again"));
    }
}

#[tokio::test]
async fn clients_see_one_schema_whichever_side_rows_come_from() {
    for (days, hours) in [(1, 0), (0, 1), (1, 1)] {
        let table = mixed(days, hours, &[]).await;
        let session = table.session(1);
        let shown = session.table("t").await.unwrap().schema().inner().clone();
        let batches = session.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap();
        assert!(batches.iter().all(|batch| batch.schema() == shown), "{days} {hours}");
        assert!(shown.fields().iter().all(|field| field.metadata().is_empty()));
        assert!(!shown.field(0).is_nullable() && shown.field(2).is_nullable());
    }
}
