//! Flushes through the public API: when they start, what they leave unchanged, and appends that go on meanwhile. Failures,
//! rivals and crashes are in `hot::flush_tests` and `hot::crash_tests`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use support::root::{HOUR_US, Root, append, bars, read_bars, spec};
use table_core::hot::FLUSH_ROWS;
use table_core::types::Version;
use table_core::{Snapshot, Table};

/// Rows of one small append: as many as fit into a record.
const ROWS: i64 = 10_000;

/// One small append of many rows in an hour of its own.
async fn fill(table: &Arc<Table>, hour: i64) -> u32 {
    let rows: Vec<_> =
        (0..ROWS).map(|row| ("A", hour * HOUR_US + row, (hour * ROWS + row) as f64)).collect();
    append(table, &[bars(&rows)]).await.unwrap().segment_count
}

async fn operations(table: &Table) -> Vec<String> {
    let records = table.log_json(Version(1), table.snapshot().version).await.unwrap();
    records.iter().map(|record| record["operation"].as_str().unwrap().to_owned()).collect()
}

fn sorted_rows(root: &Root, table: &Table, snapshot: &Snapshot) -> Vec<(String, i64, f64)> {
    let mut rows = read_bars(&root.rows(table, snapshot));
    rows.sort_by_key(|row| (row.0.clone(), row.1));
    rows
}

#[tokio::test]
async fn a_flush_starts_by_itself_and_changes_nothing_that_a_query_shows() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let mut hour = 0;
    while ((hour + 1) * ROWS) as u64 <= FLUSH_ROWS + ROWS.unsigned_abs() {
        assert_eq!(fill(&table, hour).await, 0, "inline");
        hour += 1;
    }
    // Waits for the flush that the last append started, and finds nothing left to do.
    assert_eq!(table.flush().await.unwrap(), None);
    let newest = table.snapshot();
    let appends = usize::try_from(hour).unwrap();
    let mut expected = vec!["append"; appends];
    expected.insert(0, "create");
    expected.push("flush");
    assert_eq!(operations(&table).await, expected);
    assert_eq!((newest.segments.len(), newest.hot.append_count()), (1, 0));
    assert_eq!(root.files(&table), 1);

    let before = table.snapshot_at(Version(newest.version.0 - 1)).await.unwrap();
    assert_eq!(before.hot.append_count(), appends);
    assert_eq!((before.row_count, &before.coverage), (newest.row_count, &newest.coverage));
    assert_eq!(sorted_rows(&root, &table, &before), sorted_rows(&root, &table, &newest));
    for hour in [0, 3] {
        let error = append(&table, &[bars(&[("A", hour * HOUR_US, 0.0)])]).await.unwrap_err();
        assert_eq!(error.overlap().unwrap().owner_version, Some(hour.unsigned_abs() + 2));
    }
    let record = &table.log_json(newest.version, newest.version).await.unwrap()[0];
    let actions = record["actions"].as_array().unwrap();
    let kinds = |kind: &str| actions.iter().filter(|action| !action[kind].is_null()).count();
    assert_eq!((kinds("remove_segment"), kinds("add_segment")), (appends, 1));
    assert_eq!(actions.last().unwrap()["coverage_delta"]["owner_version"], appends + 1);

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    assert_eq!(table.snapshot().version, newest.version);
    assert_eq!(sorted_rows(&root, &table, &table.snapshot()).len(), appends * ROWS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_while_flushes_run() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let flushing = {
        let table = Arc::clone(&table);
        tokio::spawn(async move {
            let mut flushes = 0;
            while table.snapshot().row_count < 400 {
                flushes += u32::from(table.flush().await.unwrap().is_some());
            }
            flushes
        })
    };
    let writers = ["A", "B", "C", "D"].map(|symbol| {
        let table = Arc::clone(&table);
        tokio::spawn(async move {
            for hour in 0..100 {
                let rows = bars(&[(symbol, hour * HOUR_US, hour as f64)]);
                append(&table, &[rows]).await.unwrap();
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let flushes = flushing.await.unwrap();
    assert!(flushes > 0);
    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let snapshot = table.snapshot();
    assert_eq!((snapshot.row_count, snapshot.coverage.pair_count()), (400, 400));
    let rows = sorted_rows(&root, &table, &snapshot);
    let expected = ["A", "B", "C", "D"].into_iter().flat_map(|symbol| {
        (0..100).map(move |hour| (symbol.to_owned(), hour * HOUR_US, hour as f64))
    });
    assert_eq!(rows, expected.collect::<Vec<_>>());
}
