//! Tables in the place of others of the same name, by an ingestion and by `CREATE OR REPLACE TABLE`: when they are there, how
//! they are made, and what becomes of the old ones and of those who use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use arrow_flight::{FlightData, FlightDescriptor};
use coverline_proto::flight::{AppendCommand, AppendReceipt, CommitMode};
use futures::stream::{self, StreamExt};
use prost::Message;
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

/// C4: two tries of one append, as after a time limit of the client: the later one answers for the first and takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_tries_at_the_same_time_the_second_answers_for_the_first() {
    let server = Server::start().await;
    for exists in [TableExistsOption::Replace, TableExistsOption::Fail] {
        for is_there in [true, false] {
            if is_there && exists == TableExistsOption::Fail {
                continue;
            }
            let table = format!("n_{}_{is_there}", exists as i32);
            if is_there {
                server.append(replacing(&table, &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
            }
            let asked = descriptor(&CommandStatementIngest {
                options: [("append_id".to_owned(), "load-1".to_owned())].into(),
                ..ingest(&table, TableNotExistOption::Create, exists)
            });
            let start = |rows: RecordBatch| {
                let mut sent = messages(asked.clone(), &[numbers(&[4]), rows]);
                let last = sent.pop().unwrap();
                let (go, wait) = tokio::sync::oneshot::channel::<()>();
                let outgoing = stream::iter(sent).chain(stream::once(async {
                    wait.await.unwrap();
                    last
                }));
                let mut client = server.client.clone();
                (go, async move { client.do_put(outgoing).await })
            };
            let (first_go, first) = start(numbers(&[5]));
            let (second_go, second) = start(numbers(&[5]));
            let (third_go, third) = start(numbers(&[6]));
            let (first, second, third) = tokio::join!(first, second, third);
            let mut streams = [first, second, third].map(|answer| answer.unwrap().into_inner());
            first_go.send(()).unwrap();
            let first = streams[0].message().await.unwrap().unwrap();
            let first = AppendReceipt::decode(first.app_metadata).unwrap();
            assert!(!first.repeated);
            // What was acknowledged in between stays.
            server.append(path(&[&table]), &[numbers(&[99])]).await.unwrap();
            second_go.send(()).unwrap();
            let second = streams[1].message().await.unwrap().unwrap();
            let second = AppendReceipt::decode(second.app_metadata).unwrap();
            assert_eq!((second.repeated, second.record_count), (true, 2));
            assert_eq!(second.version, first.version);
            // The same id for other rows.
            third_go.send(()).unwrap();
            let refused = streams[2].message().await;
            check_refused(refused, Code::FailedPrecondition, "PRECONDITION");
            assert_eq!(server.row_count(&table).await, 3);
        }
    }
    server.stop().await;
}

/// C4: without rows, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_without_rows_replaces_nothing_either() {
    let server = Server::start().await;
    server.append(replacing("n", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
    let nobody = [numbers(&[])];
    let empty = || server.append(replacing("n", &[("append_id", "none")]), &nobody);
    let first = empty().await.unwrap();
    assert_eq!((first[0].record_count, first[0].repeated), (0, false));
    assert_eq!(server.row_count("n").await, 0);
    server.append(path(&["n"]), &[numbers(&[4])]).await.unwrap();
    assert!(empty().await.unwrap()[0].repeated);
    assert_eq!(server.row_count("n").await, 1);

    // Nothing at all says nothing of the new table.
    let nothing =
        FlightData { flight_descriptor: Some(replacing("n", &[])), ..FlightData::default() };
    let refused = server.put(&[], stream::iter([nothing])).await;
    let status = check_refused(refused, Code::InvalidArgument, "INVALID");
    assert!(status.message().contains("was not replaced"), "{status}");
    assert_eq!(server.row_count("n").await, 1);
    server.stop().await;
}

/// What the new table keeps of the old one must still be so when it gets the name.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_otherwise_meanwhile_is_not_replaced() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    server.append(replacing("t", &[]), &[numbers(&[1, 2, 3])]).await.unwrap();
    let mut sent = messages(replacing("t", &[]), &[numbers(&[4]), numbers(&[5])]);
    let last = sent.pop().unwrap();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let (begun, started) = tokio::sync::oneshot::channel::<()>();
    let outgoing = stream::iter(sent).chain(stream::once(async {
        begun.send(()).unwrap();
        wait.await.unwrap();
        last
    }));
    let meanwhile = async {
        started.await.unwrap();
        client.update("DROP TABLE t").await;
        client.update("CREATE TABLE t (n BIGINT) WITH (index_column = 'n', bucket = '1')").await;
        client.update("INSERT INTO t VALUES (7)").await;
        go.send(()).unwrap();
    };
    let (refused, ()) = tokio::join!(server.put(&[], outgoing), meanwhile);
    check_refused(refused, Code::Aborted, "CONFLICT");
    assert_eq!(client.rows("SELECT n FROM t").await, ["7"]);
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
    // C7: what was pinned is read on, twice as well.
    for _ in 0..2 {
        let pinned = client.fetch(info.clone()).await.unwrap();
        assert_eq!(client.text(&pinned), ["1", "2", "3"]);
    }

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
