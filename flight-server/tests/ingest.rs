//! DoPut through all three doors of a real server: what is committed, what is refused, and what an error says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use bytes::Bytes;
use common::{
    Server, check_refused, command, descriptor, info, ingest, messages, numbers, path, prices,
};
use coverline_proto::flight::{AppendCommand, CommitMode, OverlapPolicy};
use futures::stream::{self, StreamExt};
use prost::Message;
use serde_json::json;
use tonic::Code;

/// Mutants sent to the server by `mutants_never_hurt_the_server`.
const MUTANTS: usize = 400;

/// How long anything that happens in the background may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn append_command(table: &str) -> AppendCommand {
    AppendCommand { table: table.to_owned(), ..AppendCommand::default() }
}

fn create(table: &str) -> CommandStatementIngest {
    ingest(table, TableNotExistOption::Create, TableExistsOption::Fail)
}

fn add(table: &str) -> CommandStatementIngest {
    ingest(table, TableNotExistOption::Fail, TableExistsOption::Append)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_appends_and_the_same_hour_twice_is_an_overlap() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let batches = [prices("NVDA", 1, 60), prices("AAPL", 1, 10)];
    let receipts = server.append(path(&["prices"]), &batches).await.unwrap();
    assert_eq!(receipts.len(), 1);
    let receipt = &receipts[0];
    assert_eq!((receipt.record_count, receipt.table.as_str()), (70, "prices"));
    assert_eq!((receipt.buckets_covered, receipt.rows_skipped), (2, 0));
    assert!(!receipt.repeated);
    let before = server.table("prices").await.unwrap();
    assert_eq!(before["version"], receipt.version);

    let again = server.append(path(&["public", "prices"]), &batches[..1]).await;
    let status = check_refused(again, Code::AlreadyExists, "COVERAGE_OVERLAP");
    let details = info(&status).metadata;
    assert_eq!(details["table"], "prices");
    assert_eq!(details["overlap_count"], "1");
    assert_eq!(details["example_entity"], "symbol=\"NVDA\"");
    assert_eq!(details["bucket_start"], "1970-01-01T01:00:00Z");
    assert_eq!(details["bucket_end"], "1970-01-01T02:00:00Z");
    assert_eq!(details["owner_version"], receipt.version.to_string());
    let trailer = |name: &str| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(trailer("x-coverline-error"), "COVERAGE_OVERLAP");
    assert_eq!(trailer("x-coverline-overlap-count"), "1");
    assert_eq!(trailer("x-arrow-status"), "45");
    assert_eq!(server.table("prices").await.unwrap(), before);

    let next =
        server.append(path(&["coverline", "public", "prices"]), &[prices("NVDA", 2, 5)]).await;
    assert_eq!(next.unwrap()[0].record_count, 5);
    assert_eq!(server.row_count("prices").await, 75);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_commits_the_rows_that_are_new() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 10)]).await.unwrap();
    let mixed = [prices("NVDA", 1, 10), prices("NVDA", 2, 4)];
    let messages_of = |descriptor| stream::iter(messages(descriptor, &mixed));
    let skip = [("x-coverline-on-overlap", "skip")];
    let receipts = server.put(&skip, messages_of(path(&["prices"]))).await.unwrap();
    assert_eq!((receipts[0].record_count, receipts[0].rows_skipped), (4, 10));

    let all_known =
        AppendCommand { on_overlap: OverlapPolicy::Skip.into(), ..append_command("prices") };
    let receipts = server.put(&[], messages_of(command(&all_known))).await.unwrap();
    assert_eq!((receipts[0].record_count, receipts[0].rows_skipped), (0, 14));
    assert_eq!(server.row_count("prices").await, 14);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_id_makes_a_retry_harmless() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let append = AppendCommand { append_id: "day-1".into(), ..append_command("prices") };
    let batches = [prices("NVDA", 1, 10)];
    let first = server.append(command(&append), &batches).await.unwrap();
    let second = server.append(command(&append), &batches).await.unwrap();
    assert!(!first[0].repeated && second[0].repeated);
    assert_eq!(
        (first[0].version, first[0].record_count),
        (second[0].version, second[0].record_count)
    );
    let other = server
        .put(
            &[("x-coverline-append-id", "day-1")],
            stream::iter(messages(path(&["prices"]), &[prices("NVDA", 5, 3)])),
        )
        .await;
    check_refused(other, Code::FailedPrecondition, "PRECONDITION");
    assert_eq!(server.row_count("prices").await, 10);
    server.stop().await;
}

/// What an unset variable of the caller's would make of an id; taken for none, its retry would not be harmless.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_append_id_is_refused_at_every_door_that_can_tell() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let rows = [prices("NVDA", 0, 60)];
    let doors = [path(&["prices"]), command(&append_command("prices")), descriptor(&add("prices"))];
    for door in doors {
        for empty in ["", " "] {
            let headers = [("x-coverline-append-id", empty)];
            let sent = stream::iter(messages(door.clone(), &rows));
            let refused = server.put(&headers, sent).await;
            let status = check_refused(refused, Code::InvalidArgument, "INVALID");
            assert!(status.message().contains("append id is empty"), "{status}");
        }
    }
    let mut optioned = add("prices");
    optioned.options.insert("append_id".to_owned(), String::new());
    let refused = server.append(descriptor(&optioned), &rows).await;
    check_refused(refused, Code::InvalidArgument, "INVALID");
    assert_eq!(server.row_count("prices").await, 0);

    // A field of a protobuf message is empty where it is left out.
    let left_out = AppendCommand { append_id: String::new(), ..append_command("prices") };
    server.append(command(&left_out), &rows).await.unwrap();
    assert_eq!(server.row_count("prices").await, 60);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_of_an_ingestion_that_created_its_table_gets_the_first_receipt() {
    let server = Server::start().await;
    let options = [("append_id".to_owned(), "load-1".to_owned())];
    let create = CommandStatementIngest { options: options.clone().into(), ..create("n") };
    let replace = ingest("n", TableNotExistOption::Create, TableExistsOption::Replace);
    let replace = CommandStatementIngest { options: options.into(), ..replace };
    let rows = [numbers(&[1, 2, 3])];
    let first = server.append(descriptor(&create), &rows).await.unwrap();
    assert!(!first[0].repeated);
    for retry in [&create, &replace] {
        let second = server.append(descriptor(retry), &rows).await.unwrap();
        assert!(second[0].repeated);
        assert_eq!((second[0].version, second[0].record_count), (first[0].version, 3));
        let other = server.append(descriptor(retry), &[numbers(&[4])]).await;
        check_refused(other, Code::FailedPrecondition, "PRECONDITION");
    }
    // An id that the table does not know is no retry.
    let options = [("append_id".to_owned(), "load-2".to_owned())].into();
    let later = CommandStatementIngest { options, ..create };
    let result = server.append(descriptor(&later), &rows).await;
    check_refused(result, Code::AlreadyExists, "ALREADY_EXISTS");
    assert_eq!(server.row_count("n").await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_batch_can_be_a_commit_of_its_own() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let append = AppendCommand { commit: CommitMode::Batch.into(), ..append_command("prices") };
    let batches = [prices("NVDA", 1, 10), prices("NVDA", 2, 20), prices("NVDA", 3, 30)];
    let receipts = server.append(command(&append), &batches).await.unwrap();
    let counts: Vec<_> = receipts.iter().map(|receipt| receipt.record_count).collect();
    assert_eq!(counts, [10, 20, 30]);
    assert!(receipts.windows(2).all(|pair| pair[0].version < pair[1].version));

    // The first of these is new, the second is not: what was acknowledged stays.
    let batches = [prices("NVDA", 4, 1), prices("NVDA", 1, 1), prices("NVDA", 5, 1)];
    let result = server.append(command(&append), &batches).await;
    check_refused(result, Code::AlreadyExists, "COVERAGE_OVERLAP");
    assert_eq!(server.row_count("prices").await, 61);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_a_batch_comes_before_the_next_batch_is_sent() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let append = AppendCommand { commit: CommitMode::Batch.into(), ..append_command("prices") };
    let batches = [prices("NVDA", 1, 1), prices("NVDA", 2, 2)];
    let mut sent = messages(command(&append), &batches);
    let last = sent.pop().unwrap();
    let (next, wait) = tokio::sync::oneshot::channel::<FlightData>();
    let outgoing = stream::iter(sent).chain(stream::once(async { wait.await.unwrap() }));
    let mut results = server.client.clone().do_put(outgoing).await.unwrap().into_inner();
    let first = results.message().await.unwrap().unwrap();
    assert_eq!(
        coverline_proto::flight::AppendReceipt::decode(first.app_metadata).unwrap().record_count,
        1
    );
    next.send(last).unwrap();
    assert!(results.message().await.unwrap().is_some());
    assert!(results.message().await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_does_what_its_mode_says() {
    let server = Server::start().await;
    let rows = [numbers(&[1, 2, 3])];
    let put = |command: CommandStatementIngest| {
        let (server, rows) = (&server, rows.clone());
        async move { server.append(descriptor(&command), &rows).await }
    };
    check_refused(put(add("n")).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(put(create("n")).await.unwrap()[0].record_count, 3);
    check_refused(put(create("n")).await, Code::AlreadyExists, "ALREADY_EXISTS");
    assert_eq!(put(add("n")).await.unwrap()[0].record_count, 3);
    let create_or_add = ingest("n", TableNotExistOption::Create, TableExistsOption::Append);
    assert_eq!(put(create_or_add).await.unwrap()[0].record_count, 3);
    assert_eq!(server.row_count("n").await, 9);

    let replace = |table| ingest(table, TableNotExistOption::Create, TableExistsOption::Replace);
    for table in ["n", "m"] {
        assert_eq!(put(replace(table)).await.unwrap()[0].record_count, 3);
        assert_eq!(server.row_count(table).await, 3);
    }
    let only_replace = |table| ingest(table, TableNotExistOption::Fail, TableExistsOption::Replace);
    check_refused(put(only_replace("o")).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(put(only_replace("n")).await.unwrap()[0].record_count, 3);
    assert_eq!(server.row_count("n").await, 3);

    let undecided = ingest("n", TableNotExistOption::Unspecified, TableExistsOption::Append);
    check_refused(put(undecided).await, Code::InvalidArgument, "INVALID");
    let temporary = CommandStatementIngest { temporary: true, ..create("t") };
    check_refused(put(temporary).await, Code::Unimplemented, "UNSUPPORTED");
    let elsewhere = CommandStatementIngest { schema: Some("main".into()), ..create("t") };
    check_refused(put(elsewhere).await, Code::NotFound, "NOT_FOUND");
    let elsewhere = CommandStatementIngest { catalog: Some("other".into()), ..create("t") };
    check_refused(put(elsewhere).await, Code::NotFound, "NOT_FOUND");
    let here = CommandStatementIngest {
        catalog: Some("coverline".into()),
        schema: Some("public".into()),
        ..add("n")
    };
    assert_eq!(put(here).await.unwrap()[0].record_count, 3);
    assert!(server.table("t").await.is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_rust_client_ingests() {
    let server = Server::start().await;
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    let batches = stream::iter([Ok(numbers(&[1, 2])), Ok(numbers(&[3]))]);
    assert_eq!(client.execute_ingest(create("n"), batches).await.unwrap(), 3);
    let none = stream::iter([]);
    assert_eq!(client.execute_ingest(add("n"), none).await.unwrap(), 0);
    let wrong =
        RecordBatch::try_from_iter([("other", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    let error = client.execute_ingest(add("n"), stream::iter([Ok(wrong)])).await.unwrap_err();
    assert!(error.to_string().contains("other"), "{error}");
    assert_eq!(server.row_count("n").await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_can_create_a_time_series_table() {
    let server = Server::start().await;
    let options = [("index_column", "ts"), ("bucket", "1h"), ("entity_columns", "symbol")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let command = CommandStatementIngest {
        options: options.into(),
        ..ingest("prices", TableNotExistOption::Create, TableExistsOption::Append)
    };
    let put = |hour| {
        server.append(
            descriptor(&command),
            std::slice::from_ref(Box::leak(Box::new(prices("NVDA", hour, 10)))),
        )
    };
    put(1).await.unwrap();
    check_refused(put(1).await, Code::AlreadyExists, "COVERAGE_OVERLAP");
    put(2).await.unwrap();
    let table = server.table("prices").await.unwrap();
    assert_eq!(table["index_column"], "ts");
    assert_eq!(table["bucket"], "1h");
    assert_eq!(table["entity_columns"], json!(["symbol"]));
    assert_eq!(table["first_index"], "1970-01-01T01:00:00Z");
    assert_eq!(table["last_index"], "1970-01-01T02:09:00Z");

    // Headers say the same where a driver has no options; another bucket is another table.
    let headers = [
        ("x-coverline-index-column", "ts"),
        ("x-coverline-bucket", "1d"),
        ("x-coverline-entity-columns", "symbol"),
    ];
    let plain = ingest("prices", TableNotExistOption::Create, TableExistsOption::Append);
    let sent = messages(descriptor(&plain), &[prices("NVDA", 3, 1)]);
    let result = server.put(&headers, stream::iter(sent)).await;
    check_refused(result, Code::FailedPrecondition, "PRECONDITION");
    let sent = messages(descriptor(&create("days")), &[prices("NVDA", 3, 1)]);
    server.put(&headers, stream::iter(sent)).await.unwrap();
    assert_eq!(server.table("days").await.unwrap()["bucket"], "1d");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_never_created_by_an_append() {
    let server = Server::start().await;
    for descriptor in [path(&["nowhere"]), command(&append_command("nowhere"))] {
        let result = server.append(descriptor, &[numbers(&[1])]).await;
        check_refused(result, Code::NotFound, "NOT_FOUND");
    }
    for parts in [&["main", "t"][..], &["other", "public", "t"]] {
        let status = server.append(path(parts), &[numbers(&[1])]).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
    assert!(server.action("coverline.ListTables", json!({})).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_rows_count_zero() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let nothing = server.put(&[], stream::empty()).await.unwrap();
    assert_eq!(nothing.iter().map(|receipt| receipt.record_count).collect::<Vec<_>>(), [0]);

    let only_descriptor =
        FlightData { flight_descriptor: Some(path(&["prices"])), ..FlightData::default() };
    let receipts = server.put(&[], stream::iter([only_descriptor])).await.unwrap();
    assert_eq!(receipts[0].record_count, 0);

    let schema = prices("NVDA", 1, 0).schema();
    let schema_only = |descriptor| {
        let mut messages = batches_to_flight_data(&schema, vec![]).unwrap();
        messages[0].flight_descriptor = Some(descriptor);
        messages
    };
    let created =
        server.put(&[], stream::iter(schema_only(descriptor(&create("empty"))))).await.unwrap();
    assert_eq!(created[0].record_count, 0);
    assert_eq!(server.row_count("empty").await, 0);

    let no_rows =
        server.append(path(&["prices"]), &[prices("NVDA", 1, 0), prices("NVDA", 1, 0)]).await;
    assert_eq!(no_rows.unwrap()[0].record_count, 0);
    let rows_between = [prices("NVDA", 1, 0), prices("NVDA", 1, 7), prices("NVDA", 1, 0)];
    let receipts = server.append(path(&["prices"]), &rows_between).await.unwrap();
    assert_eq!(receipts[0].record_count, 7);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_cannot_be_tables_are_refused_before_anything_exists() {
    let server = Server::start().await;
    let column = |name: &str| Field::new(name, DataType::Int64, true);
    let twice = Schema::new(vec![column("a"), column("a")]);
    let extension = Schema::new(vec![
        column("a")
            .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into()),
    ]);
    for schema in [twice, extension] {
        let columns: Vec<_> =
            schema.fields().iter().map(|_| Arc::new(Int64Array::from(vec![1])) as _).collect();
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let status = server.append(descriptor(&create("t")), &[batch]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(server.table("t").await.is_none());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_fit_names_its_column() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 1)]).await.unwrap();
    let before = server.table("prices").await.unwrap();
    let strings = prices("NVDA", 2, 1);
    let mut columns = strings.columns().to_vec();
    columns[2] = Arc::new(StringArray::from(vec!["much"]));
    let fields = ["ts", "symbol", "price"];
    let batch = RecordBatch::try_from_iter(fields.into_iter().zip(columns)).unwrap();
    let result = server.append(path(&["prices"]), &[batch]).await;
    let status = check_refused(result, Code::InvalidArgument, "SCHEMA_MISMATCH");
    assert!(status.message().contains("\"price\""), "{}", status.message());
    assert_eq!(server.table("prices").await.unwrap(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_a_stream_leaves_nothing_of_it() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 10)]).await.unwrap();
    let before = server.table("prices").await.unwrap();
    let good = messages(path(&["prices"]), &[prices("NVDA", 2, 10)]);
    let damaged =
        FlightData { data_header: Bytes::from_static(b"no flatbuffer"), ..FlightData::default() };
    let given_up = FlightData {
        app_metadata: Bytes::from_static(b"coverline:abort"),
        ..FlightData::default()
    };
    let second_schema = FlightData { flight_descriptor: None, ..good[0].clone() };
    for bad in [damaged, given_up, second_schema] {
        let messages = good.iter().cloned().chain([bad]).collect::<Vec<_>>();
        let result = server.put(&[], stream::iter(messages)).await;
        check_refused(result, Code::InvalidArgument, "INVALID");
        assert_eq!(server.table("prices").await.unwrap(), before);
    }
    // Nothing of the failed streams stays reserved, and the connection is as good as new.
    let receipts = server.put(&[], stream::iter(good)).await.unwrap();
    assert_eq!(receipts[0].record_count, 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_for_a_stream_that_fails_goes_with_it() {
    let server = Server::start().await;
    let mut sent = messages(descriptor(&create("n")), &[numbers(&[1]), numbers(&[2])]);
    sent[2].data_header = Bytes::from_static(b"no flatbuffer");
    let result = server.put(&[], stream::iter(sent)).await;
    check_refused(result, Code::InvalidArgument, "INVALID");
    // At once: a client tries again as soon as it has the error.
    let receipts = server.append(descriptor(&create("n")), &[numbers(&[1])]).await.unwrap();
    assert_eq!(receipts[0].record_count, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_a_stream_that_its_client_never_ends() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 10)]).await.unwrap();
    let first = messages(path(&["prices"]), &[prices("NVDA", 1, 10)]);
    let batch = FlightData { flight_descriptor: None, ..first[1].clone() };
    let endless = stream::iter(first).chain(stream::repeat(batch));
    let result = tokio::time::timeout(PATIENCE, server.put(&[], endless)).await.expect("an answer");
    check_refused(result, Code::AlreadyExists, "COVERAGE_OVERLAP");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_commits_nothing() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    let before = server.table("prices").await.unwrap();
    let batches = [prices("NVDA", 1, 10), prices("NVDA", 2, 10)];
    let (all_sent, sent) = tokio::sync::oneshot::channel();
    let outgoing = stream::iter(messages(path(&["prices"]), &batches)).chain(stream::once(async {
        all_sent.send(()).unwrap();
        std::future::pending().await
    }));
    let mut client = server.client.clone();
    let call = tokio::spawn(async move {
        let mut results = client.do_put(outgoing).await?.into_inner();
        results.message().await
    });
    sent.await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The pairs are free for the next append, and it is the only one that counts.
    let receipts = server.append(path(&["prices"]), &batches).await.unwrap();
    assert_eq!(receipts[0].version, before["version"].as_u64().unwrap() + 1);
    assert_eq!(server.row_count("prices").await, 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_many_megabytes_is_taken() {
    let server = Server::start().await;
    let values: Vec<i64> = (0..3 << 20).collect();
    let receipts = server.append(descriptor(&create("n")), &[numbers(&values)]).await.unwrap();
    assert_eq!(receipts[0].record_count, 3 << 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_batches_are_taken_and_bombs_are_not() {
    let server = Server::start().await;
    server.append(descriptor(&create("n")), &[numbers(&[0])]).await.unwrap();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let mut sent = compressed(path(&["n"]), &numbers(&vec![7; 10_000]), compression);
        assert_eq!(
            server.put(&[], stream::iter(sent.clone())).await.unwrap()[0].record_count,
            10_000
        );
        let mut body = sent[1].data_body.to_vec();
        body[..8].copy_from_slice(&(1i64 << 46).to_le_bytes());
        sent[1].data_body = body.into();
        let result = server.put(&[], stream::iter(sent)).await;
        check_refused(result, Code::ResourceExhausted, "EXHAUSTED");
    }
    assert_eq!(server.row_count("n").await, 20_001);
    server.stop().await;
}

fn compressed(
    descriptor: FlightDescriptor,
    batch: &RecordBatch,
    compression: CompressionType,
) -> Vec<FlightData> {
    let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
    let mut sent = messages(descriptor, std::slice::from_ref(batch));
    let (_, encoded) = IpcDataGenerator::default()
        .encode(
            batch,
            &mut DictionaryTracker::new(false),
            &options,
            &mut IpcWriteContext::default(),
        )
        .unwrap();
    sent[1] = encoded.into();
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn mutants_never_hurt_the_server() {
    let seed: u64 =
        std::env::var("COVERLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |bound: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    let server = Server::start().await;
    server.create_prices("prices").await;
    let rows = prices("NVDA", 1, 50);
    let mut expected = server.append(path(&["prices"]), std::slice::from_ref(&rows)).await.unwrap()
        [0]
    .record_count;
    let corpus = [
        messages(path(&["prices"]), &[rows.clone(), rows.clone()]),
        compressed(path(&["prices"]), &rows, CompressionType::LZ4_FRAME),
        compressed(path(&["prices"]), &rows, CompressionType::ZSTD),
    ];
    for _ in 0..MUTANTS {
        let mut sent = corpus[random(corpus.len())].clone();
        for _ in 0..=random(3) {
            let which = random(sent.len());
            let message = &mut sent[which];
            let in_header = random(3) > 0;
            let mut bytes =
                if in_header { &message.data_header } else { &message.data_body }.to_vec();
            if !bytes.is_empty() {
                match random(5) {
                    0 => bytes.truncate(random(bytes.len())),
                    _ => {
                        let at = random(bytes.len());
                        bytes[at] = random(256) as u8;
                    }
                }
            }
            *(if in_header { &mut message.data_header } else { &mut message.data_body }) =
                bytes.into();
        }
        let outcome = tokio::time::timeout(PATIENCE, server.put(&[], stream::iter(sent))).await;
        match outcome.expect("an answer") {
            // A changed timestamp makes an honest append of another hour.
            Ok(receipts) => {
                expected += receipts.iter().map(|receipt| receipt.record_count).sum::<i64>()
            }
            Err(status) => {
                let known = [Code::InvalidArgument, Code::ResourceExhausted, Code::AlreadyExists];
                assert!(known.contains(&status.code()), "{status:?}");
                assert_eq!(info(&status).metadata["committed"], "no", "{status:?}");
            }
        }
    }
    assert_eq!(server.row_count("prices").await, u64::try_from(expected).unwrap());
    server.stop().await;
}
