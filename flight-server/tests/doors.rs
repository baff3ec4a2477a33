//! What holds whichever door of Flight SQL a call comes through: a change is done once, transactions are refused in words, parameters
//! have the shape of the statement, and what another server made is not found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate,
    DoPutPreparedStatementResult, DoPutUpdateResult, ProstMessageExt, SubstraitPlan,
    TableExistsOption, TableNotExistOption, TicketStatementQuery,
};
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use prost::Message;
use tonic::Code;

use common::Server;
use common::flight::{bind, close, code, flight, info, prepare, prepared, put, ticket};
use common::{descriptor, ingest, numbers};

/// One row of a column for each of the values.
fn row(values: &[i64]) -> RecordBatch {
    let column = |value: &i64| Arc::new(Int64Array::from(vec![*value])) as _;
    let columns = values.iter().enumerate();
    RecordBatch::try_from_iter(columns.map(|(at, value)| (at.to_string(), column(value)))).unwrap()
}

async fn ints(server: &Server, asked: Ticket) -> Vec<i64> {
    let rows = flight(server).do_get(asked).await.unwrap();
    let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    let columns = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>());
    columns.flat_map(|column| column.values().to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_done_once_by_whichever_call_runs_it_and_by_no_other() {
    let server = Server::start().await;
    info(&server, "CREATE TABLE t (n BIGINT)").await;
    let sql = "INSERT INTO t VALUES (1)";
    let insert = prepare(&server, sql).await;
    for asks in [prepared(&insert), FlightDescriptor::new_cmd(sql)] {
        flight(&server).get_schema(asks).await.unwrap();
    }
    assert_eq!(server.row_count("t").await, 0, "what it answers is known without");

    let done = flight(&server).get_flight_info(prepared(&insert)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ints(&server, ticket(&done)).await, [1]);
    }
    assert_eq!(server.row_count("t").await, 1);
    let polled = server.client.clone().poll_flight_info(FlightDescriptor::new_cmd(sql)).await;
    let polled = polled.unwrap().into_inner().info.unwrap();
    assert_eq!(ints(&server, ticket(&polled)).await, [1]);
    assert_eq!(server.row_count("t").await, 2);
    let refused = flight(&server).do_get(Ticket::new(sql)).await.err().unwrap();
    assert_eq!(code(&refused), Code::InvalidArgument, "text for rows is a query");
    assert_eq!(server.row_count("t").await, 2);

    // One answer, and then the end.
    let update = CommandStatementUpdate { query: sql.to_owned(), transaction_id: None };
    let handle = CommandPreparedStatementUpdate { prepared_statement_handle: insert };
    for command in [update.as_any(), handle.as_any()] {
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let asked = FlightData::new().with_descriptor(descriptor);
        let answers = server.client.clone().do_put(stream::iter([asked])).await.unwrap();
        let answers: Vec<_> = answers.into_inner().try_collect().await.unwrap();
        assert_eq!(answers.len(), 1);
        let count = DoPutUpdateResult::decode(answers[0].app_metadata.clone()).unwrap();
        assert_eq!(count.record_count, 1);
    }
    assert_eq!(server.row_count("t").await, 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_another_shape_are_refused_and_change_nothing() {
    let server = Server::start().await;
    info(&server, "CREATE TABLE t (n BIGINT)").await;
    let select = prepare(&server, "SELECT $1 + 1 AS n").await;
    bind(&server, &select, row(&[41])).await;
    let refused = put::<DoPutPreparedStatementResult>(&server, prepared(&select), row(&[1, 2]));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for words in ["1 parameter", "2 columns"] {
        assert!(refused.message().contains(words), "{refused}");
    }
    let bound = flight(&server).get_flight_info(prepared(&select)).await.unwrap();
    assert_eq!(ints(&server, ticket(&bound)).await, [42], "what was bound before is");

    let insert = prepare(&server, "INSERT INTO t VALUES (?)").await;
    let command = CommandPreparedStatementUpdate { prepared_statement_handle: insert };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let refused = put::<DoPutUpdateResult>(&server, descriptor, row(&[1, 2])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(server.row_count("t").await, 0);
    // Closing what never was is fine.
    close(&server, &Bytes::from_static(b"never ours")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_refused_at_every_door() {
    let server = Server::start().await;
    info(&server, "CREATE TABLE n (n BIGINT)").await;
    let id = || Some(Bytes::from_static(b"x"));
    let sql = || "INSERT INTO n VALUES (1)".to_owned();
    let mut refusals = Vec::new();
    let plan = SubstraitPlan { plan: Bytes::new(), version: String::new() };
    for command in [
        CommandStatementQuery { query: sql(), transaction_id: id() }.as_any(),
        CommandStatementSubstraitPlan { plan: Some(plan), transaction_id: id() }.as_any(),
    ] {
        let asked = FlightDescriptor::new_cmd(command.encode_to_vec());
        refusals.push(server.client.clone().get_flight_info(asked).await.map(drop));
    }
    let update = CommandStatementUpdate { query: sql(), transaction_id: id() };
    let asked = FlightDescriptor::new_cmd(update.as_any().encode_to_vec());
    let sent = stream::iter([FlightData::new().with_descriptor(asked)]);
    let put = async {
        let answers = server.client.clone().do_put(sent).await?.into_inner();
        answers.try_collect::<Vec<_>>().await.map(drop)
    };
    refusals.push(put.await);
    let create = ActionCreatePreparedStatementRequest { query: sql(), transaction_id: id() };
    let body = create.as_any().encode_to_vec();
    refusals.push(server.raw_action("CreatePreparedStatement", body).await.map(drop));
    let load = CommandStatementIngest {
        transaction_id: id(),
        ..ingest("n", TableNotExistOption::Fail, TableExistsOption::Append)
    };
    refusals.push(server.append(descriptor(&load), &[numbers(&[1])]).await.map(drop));
    for (door, refused) in refusals.into_iter().enumerate() {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{door}: {refused}");
        assert!(refused.message().contains("ransactions"), "{door}: {refused}");
    }
    assert_eq!(server.row_count("n").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ticket_of_another_server_is_not_found() {
    let (ours, theirs) = (Server::start().await, Server::start().await);
    info(&theirs, "CREATE TABLE t (n BIGINT)").await;
    let foreign = ticket(&info(&theirs, "SELECT * FROM t").await);
    for has_namesake in [false, true] {
        if has_namesake {
            info(&ours, "CREATE TABLE t (n BIGINT)").await;
        }
        let refused = flight(&ours).do_get(foreign.clone()).await.err().unwrap();
        assert_eq!(code(&refused), Code::NotFound, "{refused}");
    }
    let other = TicketStatementQuery { statement_handle: Bytes::from_static(b"\x01other") };
    let other = Ticket::new(other.as_any().encode_to_vec());
    let refused = flight(&ours).do_get(other).await.err().unwrap();
    assert_eq!(code(&refused), Code::NotFound, "{refused}");
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_that_does_not_say_all_of_its_mode_is_refused() {
    let server = Server::start().await;
    info(&server, "CREATE TABLE n (n BIGINT)").await;
    let half = ingest("n", TableNotExistOption::Create, TableExistsOption::Unspecified);
    let none = CommandStatementIngest { table_definition_options: None, ..half.clone() };
    for command in [half, none] {
        let refused = server.append(descriptor(&command), &[numbers(&[1])]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    // An option that nobody knows is for somebody else.
    let command = CommandStatementIngest {
        options: [("colour".to_owned(), "red".to_owned())].into(),
        ..ingest("n", TableNotExistOption::Fail, TableExistsOption::Append)
    };
    server.append(descriptor(&command), &[numbers(&[1, 2])]).await.unwrap();
    assert_eq!(server.row_count("n").await, 2);
    server.stop().await;
}
