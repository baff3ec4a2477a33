//! Tables in the place of others of the same name, by an ingestion and by `CREATE OR REPLACE TABLE`: when they are there, how
//! they are made, and what becomes of the old ones and of those who use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow_flight::FlightDescriptor;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use coverline_proto::flight::{AppendCommand, CommitMode};
use futures::stream::{self, StreamExt};
use serde_json::json;
use tonic::Code;

use common::sql::SqlClient;
use common::{Server, check_refused, command, descriptor, ingest, messages, numbers, path, prices};

/// An ingestion that replaces, with options.
fn replacing(table: &str, options: &[(&str, &str)]) -> FlightDescriptor {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    descriptor(&CommandStatementIngest {
        options: options.collect(),
        ..ingest(table, TableNotExistOption::Create, TableExistsOption::Replace)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_replaces_columns_and_rows_and_keeps_how_the_table_is_made() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 60)]).await.unwrap();
    server.append(path(&["prices"]), &[prices("NVDA", 2, 60)]).await.unwrap();

    // Without a column that is there, and the hours are free again.
    let narrow = |hour| prices("AAPL", hour, 10).project(&[0, 1]).unwrap();
    let receipts = server.append(replacing("prices", &[]), &[narrow(1)]).await.unwrap();
    assert_eq!((receipts[0].record_count, receipts[0].repeated), (10, false));
    let table = server.table("prices").await.unwrap();
    assert_eq!((&table["row_count"], &table["version"]), (&json!(10), &json!(receipts[0].version)));
    assert_eq!((&table["index_column"], &table["bucket"]), (&json!("ts"), &json!("1h")));
    assert_eq!(table["entity_columns"], json!(["symbol"]));
    let again = server.append(path(&["prices"]), &[narrow(1)]).await;
    check_refused(again, Code::AlreadyExists, "COVERAGE_OVERLAP");
    server.append(path(&["prices"]), &[narrow(2)]).await.unwrap();
    let mut client = SqlClient::of(&server);
    let described = client.rows("SELECT * FROM prices ORDER BY ts LIMIT 1").await;
    assert_eq!(described, ["1970-01-01T01:00:00Z AAPL"]);

    // Rows that do not go with it are refused, and everything stays.
    let refused = server.append(replacing("prices", &[]), &[numbers(&[1])]).await;
    let status = check_refused(refused, Code::InvalidArgument, "INVALID");
    for words in ["\"ts\"", "bucket 1h", "options", "drop"] {
        assert!(status.message().contains(words), "{words}: {status}");
    }
    assert_eq!(server.row_count("prices").await, 20);

    // Said otherwise, it is made otherwise.
    let options = [("index_column", "ts"), ("bucket", "1d")];
    server.append(replacing("prices", &options), &[narrow(1)]).await.unwrap();
    let table = server.table("prices").await.unwrap();
    assert_eq!((&table["bucket"], &table["entity_columns"]), (&json!("1d"), &json!([])));

    // Durably.
    let folder = Arc::clone(&server.folder);
    server.stop().await;
    let server = Server::over(folder).await;
    assert_eq!(server.table("prices").await.unwrap(), table);
    let again = server.append(path(&["prices"]), &[narrow(2)]).await;
    check_refused(again, Code::AlreadyExists, "COVERAGE_OVERLAP");
    server.stop().await;
}

/// C1: until the new table is there with its rows the old one is, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_table_is_there_until_the_new_one_is_and_stays_when_that_fails() {
    let server = Server::start().await;
    server.append(replacing("n", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
    let before = server.table("n").await.unwrap();
    for ends in [true, false] {
        let mut sent = messages(replacing("n", &[]), &[numbers(&[4]), numbers(&[5])]);
        let mut last = sent.pop().unwrap();
        if !ends {
            last.data_body = last.data_body.slice(..1);
        }
        let (go, wait) = tokio::sync::oneshot::channel();
        let (begun, started) = tokio::sync::oneshot::channel();
        let outgoing = stream::iter(sent).chain(stream::once(async {
            begun.send(()).unwrap();
            wait.await.unwrap();
            last
        }));
        let put = server.put(&[], outgoing);
        let meanwhile = async {
            started.await.unwrap();
            assert_eq!(server.table("n").await.unwrap(), before);
            go.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(put, meanwhile);
        if ends {
            assert_eq!(answer.unwrap()[0].record_count, 2);
            assert_eq!(server.row_count("n").await, 2);
            server.append(replacing("n", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
        } else {
            check_refused(answer, Code::InvalidArgument, "INVALID");
            assert_eq!(server.row_count("n").await, 3);
        }
    }
    server.stop().await;
}

/// C4: what came after the first try is not replaced by the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_id_replaces_nothing() {
    let server = Server::start().await;
    server.append(replacing("n", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
    let with_id = |id| replacing("n", &[("append_id", id)]);
    let first = server.append(with_id("load-1"), &[numbers(&[4, 5])]).await.unwrap();
    assert!(!first[0].repeated);
    server.append(path(&["n"]), &[numbers(&[6])]).await.unwrap();
    let second = server.append(with_id("load-1"), &[numbers(&[4, 5])]).await.unwrap();
    assert_eq!((second[0].repeated, second[0].version), (true, first[0].version));
    assert_eq!(server.row_count("n").await, 3);
    let third = server.append(with_id("load-2"), &[numbers(&[4, 5])]).await.unwrap();
    assert!(!third[0].repeated);
    assert_eq!(server.row_count("n").await, 2);
    server.stop().await;
}

/// C2: an append that was under way when its table was replaced is committed to neither of the two.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_table_that_is_replaced_meanwhile_is_refused() {
    let server = Server::start().await;
    server.append(replacing("n", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
    let each = AppendCommand {
        table: "n".to_owned(),
        commit: CommitMode::Batch.into(),
        ..AppendCommand::default()
    };
    let mut sent = messages(command(&each), &[numbers(&[4]), numbers(&[5])]);
    let last = sent.pop().unwrap();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let outgoing = stream::iter(sent).chain(stream::once(async {
        wait.await.unwrap();
        last
    }));
    let mut results = server.client.clone().do_put(outgoing).await.unwrap().into_inner();
    results.message().await.unwrap().unwrap();
    assert_eq!(server.row_count("n").await, 4);
    server.append(replacing("n", &[]), &[numbers(&[7])]).await.unwrap();
    go.send(()).unwrap();
    let refused = results.message().await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    assert_eq!(server.row_count("n").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_replacements_is_there_whole() {
    let server = Server::start().await;
    server.append(replacing("n", &[]), &[numbers(&[0])]).await.unwrap();
    let rows: Vec<_> = (1..=8).map(|count| numbers(&vec![count; count as usize])).collect();
    let puts =
        rows.iter().map(|rows| server.append(replacing("n", &[]), std::slice::from_ref(rows)));
    for answer in futures::future::join_all(puts).await {
        answer.unwrap();
    }
    let mut client = SqlClient::of(&server);
    let left = client.rows("SELECT count(*) = max(n) AND min(n) = max(n) FROM n").await;
    assert_eq!(left, ["true"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_or_replace_makes_what_it_says() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    client.update("CREATE OR REPLACE TABLE t (n BIGINT)").await;
    assert_eq!(client.update("INSERT INTO t VALUES (1), (2), (3)").await, 3);
    let info = client.info("SELECT n FROM t").await.unwrap();

    // From itself.
    let created =
        client.update("CREATE OR REPLACE TABLE t AS SELECT n, n * 10 AS tens FROM t").await;
    assert_eq!(created, 3);
    assert_eq!(client.rows("SELECT sum(n), sum(tens) FROM t").await, ["6 60"]);
    let gone = client.fetch(info).await.unwrap_err();
    assert!(
        matches!(&gone, FlightError::Tonic(status) if status.code() == Code::NotFound),
        "{gone:?}"
    );

    // What fails changes nothing.
    let failing = "CREATE OR REPLACE TABLE t AS SELECT 1 / (n - 3) AS q FROM t";
    client.refused(failing, Code::InvalidArgument, "ivide").await;
    let refused = "CREATE OR REPLACE TABLE t (a INT) WITH (index_column = 'ts', bucket = '1h')";
    client.refused(refused, Code::InvalidArgument, "ts").await;
    assert_eq!(client.rows("SELECT sum(n), sum(tens) FROM t").await, ["6 60"]);

    // A statement says all of a table: nothing is kept of the old one.
    let series = "CREATE OR REPLACE TABLE t (ts TIMESTAMP, n BIGINT) WITH (index_column = 'ts', bucket = '1h')";
    client.update(series).await;
    assert_eq!(server.table("t").await.unwrap()["bucket"], "1h");
    client.update("CREATE OR REPLACE TABLE t (n BIGINT)").await;
    assert!(server.table("t").await.unwrap()["bucket"].is_null());
    assert_eq!(client.int("SELECT count(*) FROM t").await, 0);
    let both = "CREATE OR REPLACE TABLE IF NOT EXISTS t (n BIGINT)";
    client.refused(both, Code::InvalidArgument, "one of them").await;

    // Through the door of queries it is done once too.
    let info = client.info("CREATE OR REPLACE TABLE t AS SELECT 7 AS n").await.unwrap();
    client.update("INSERT INTO t VALUES (8)").await;
    client.fetch(info).await.unwrap();
    assert_eq!(client.rows("SELECT n FROM t ORDER BY n").await, ["7", "8"]);
    server.stop().await;
}
