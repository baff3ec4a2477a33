//! Small appends seen from outside: no file for each, the same answers, and the flush that makes one file of many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Server, check_refused, info, path, prices};
use serde_json::json;
use tonic::Code;

/// How long anything that happens in the background may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows that just fit into a record.
const ROWS: i64 = 10_000;

/// Hours between two appends of that many rows, one a minute.
const HOURS: i64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_append_makes_no_file_and_a_large_one_does() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let receipt = &server.append(path(&["prices"]), &[prices("NVDA", 1, 90)]).await.unwrap()[0];
    assert_eq!((receipt.record_count, receipt.segment_count), (90, 0));
    let listed = server.table("prices").await.unwrap();
    assert_eq!((&listed["row_count"], &listed["inline_row_count"]), (&json!(90), &json!(90)));
    assert_eq!((&listed["segment_count"], &listed["file_bytes"]), (&json!(0), &json!(0)));
    assert!(listed["inline_bytes"].as_u64().unwrap() > 90 * 16, "{listed}");
    assert_eq!(listed["first_index"], "1970-01-01T01:00:00Z");
    assert_eq!(listed["last_index"], "1970-01-01T02:29:00Z");

    let large = prices("AAPL", 0, 2 * ROWS);
    let receipt = &server.append(path(&["prices"]), &[large]).await.unwrap()[0];
    assert_eq!(receipt.segment_count, 1);
    let listed = server.table("prices").await.unwrap();
    assert_eq!((&listed["segment_count"], &listed["inline_row_count"]), (&json!(1), &json!(90)));
    assert_eq!(listed["row_count"], 2 * ROWS + 90);
    assert_eq!(listed["first_index"], "1970-01-01T00:00:00Z");

    let log = server.action("coverline.LogShow", json!({ "table": "prices" })).await.unwrap();
    let small = log.iter().find(|record| record["version"] == 2).unwrap();
    let rows = small["actions"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|action| action["inline_rows"]["row_count"].as_u64());
    assert_eq!(rows, Some(90), "{small}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_appends_become_one_file_by_themselves() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let mut appends = 0;
    while appends * ROWS < i64::try_from(table_core::hot::FLUSH_ROWS).unwrap() {
        let rows = prices("NVDA", appends * HOURS, ROWS);
        let receipt = &server.append(path(&["prices"]), &[rows]).await.unwrap()[0];
        assert_eq!((receipt.segment_count, receipt.version), (0, appends.unsigned_abs() + 2));
        appends += 1;
    }
    let flushed = async {
        loop {
            let listed = server.table("prices").await.unwrap();
            if listed["inline_row_count"] == 0 {
                return listed;
            }
            tokio::task::yield_now().await;
        }
    };
    let listed = tokio::time::timeout(PATIENCE, flushed).await.expect("a flush");
    assert_eq!(
        (&listed["segment_count"], &listed["row_count"]),
        (&json!(1), &json!(appends * ROWS))
    );
    assert_eq!(listed["version"], appends + 2, "a flush has a version of its own");
    assert_eq!((&listed["inline_bytes"], listed["file_bytes"] == 0), (&json!(0), false));

    // Who owns what is still who brought it.
    for append in [0, appends - 1] {
        let again = server.append(path(&["prices"]), &[prices("NVDA", append * HOURS, 1)]).await;
        let status = check_refused(again, Code::AlreadyExists, "COVERAGE_OVERLAP");
        assert_eq!(info(&status).metadata["owner_version"], (append + 2).to_string());
    }
    let next = prices("NVDA", appends * HOURS, 5);
    let receipt = &server.append(path(&["prices"]), &[next]).await.unwrap()[0];
    assert_eq!(receipt.version, appends.unsigned_abs() + 3);
    server.stop().await;
}
