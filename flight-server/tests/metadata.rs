//! Metadata commands and actions of a real server, asked by the stock Rust client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, IpcMessage, Location, PollInfo, PutResult, SchemaResult, Ticket,
};
use common::{Server, path, prices};
use futures::TryStreamExt;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::FileDescriptorProto;
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Reads the answer behind a FlightInfo and checks that its schema is the one announced.
async fn read(client: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> RecordBatch {
    assert_eq!(info.endpoint.len(), 1);
    assert!(info.endpoint[0].location.is_empty());
    let announced = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    let schema = stream.schema().unwrap().clone();
    assert_eq!(*schema, announced);
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<String> {
    batch
        .column(column)
        .as_string::<i32>()
        .iter()
        .map(|text| text.unwrap_or_default().to_owned())
        .collect()
}

fn tables(pattern: Option<&str>) -> CommandGetTables {
    CommandGetTables {
        table_name_filter_pattern: pattern.map(str::to_owned),
        ..CommandGetTables::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_catalog_with_one_schema() {
    let server = Server::start().await;
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&read(&mut client, info).await, 0), ["coverline"]);
    for (catalog, pattern, expected) in [
        (None, None, 1),
        (Some("coverline"), Some("pub%"), 1),
        (Some("other"), None, 0),
        (Some(""), None, 0),
        (None, Some("x%"), 0),
    ] {
        let command = CommandGetDbSchemas {
            catalog: catalog.map(str::to_owned),
            db_schema_filter_pattern: pattern.map(str::to_owned),
        };
        let info = client.get_db_schemas(command).await.unwrap();
        assert_eq!(read(&mut client, info).await.num_rows(), expected, "{catalog:?} {pattern:?}");
    }
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&read(&mut client, info).await, 0), ["TABLE"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_found_by_pattern_and_type() {
    let server = Server::start().await;
    for name in ["prices", "axb", "a_b"] {
        server.create_prices(name).await;
    }
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    for (pattern, expected) in [
        (None, &["a_b", "axb", "prices"][..]),
        (Some("a_b"), &["a_b", "axb"]),
        (Some("a\\_b"), &["a_b"]),
        (Some("%ric%"), &["prices"]),
        (Some("PRICES"), &[]),
        (Some(""), &[]),
    ] {
        let info = client.get_tables(tables(pattern)).await.unwrap();
        let batch = read(&mut client, info).await;
        assert_eq!(batch.num_columns(), 4);
        assert_eq!(texts(&batch, 2), expected, "{pattern:?}");
    }
    for (types, expected) in
        [(vec!["table"], 3), (vec!["VIEW", "BASE TABLE"], 3), (vec!["VIEW"], 0)]
    {
        let command = CommandGetTables {
            table_types: types.into_iter().map(str::to_owned).collect(),
            ..CommandGetTables::default()
        };
        let info = client.get_tables(command).await.unwrap();
        let batch = read(&mut client, info).await;
        assert_eq!(batch.num_rows(), expected);
        assert!(texts(&batch, 3).iter().all(|kind| kind == "TABLE"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_described_as_clients_will_read_it() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.create_prices("unused").await;
    server.append(path(&["prices"]), &[prices("NVDA", 1, 1)]).await.unwrap();
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    let command = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = client.get_tables(command).await.unwrap();
    let batch = read(&mut client, info).await;
    assert_eq!(texts(&batch, 2), ["prices", "unused"]);
    let schema_of = |row: usize| -> Schema {
        let bytes = batch.column(4).as_binary::<i32>().value(row).to_vec();
        IpcMessage(bytes.into()).try_into().unwrap()
    };
    let schema = schema_of(0);
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["ts", "symbol", "price"]);
    let nullable: Vec<_> = schema.fields().iter().map(|field| field.is_nullable()).collect();
    assert_eq!(nullable, [false, false, true]);
    assert_eq!(*schema.field(1).data_type(), DataType::Utf8);
    let metadata = schema.field(2).metadata();
    for (key, value) in [
        ("TYPE_NAME", "DOUBLE"),
        ("CATALOG_NAME", "coverline"),
        ("SCHEMA_NAME", "public"),
        ("TABLE_NAME", "prices"),
        ("IS_READ_ONLY", "0"),
        ("IS_SEARCHABLE", "1"),
    ] {
        assert_eq!(metadata[&format!("ARROW:FLIGHT:SQL:{key}")], value, "{key}");
    }
    assert!(!metadata.contains_key("PARQUET:field_id"));
    assert!(schema_of(1).fields().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_types_are_answered_never_refused() {
    let server = Server::start().await;
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    let primary = CommandGetPrimaryKeys { table: "t".into(), ..Default::default() };
    let exported = CommandGetExportedKeys { table: "t".into(), ..Default::default() };
    let imported = CommandGetImportedKeys { table: "t".into(), ..Default::default() };
    let cross = CommandGetCrossReference::default();
    for (info, columns) in [
        (client.get_primary_keys(primary).await.unwrap(), 6),
        (client.get_exported_keys(exported).await.unwrap(), 13),
        (client.get_imported_keys(imported).await.unwrap(), 13),
        (client.get_cross_reference(cross).await.unwrap(), 13),
    ] {
        let batch = read(&mut client, info).await;
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, columns));
    }
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo::default()).await.unwrap();
    assert!(read(&mut client, info).await.num_rows() > 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_info_answers_what_drivers_ask_at_connect() {
    let server = Server::start().await;
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerTransaction]).await.unwrap();
    let batch = read(&mut client, info).await;
    let values = batch.column(1).as_union();
    let none = values.value(0);
    assert_eq!(none.as_primitive::<arrow::datatypes::Int32Type>().value(0), 0);
    let info = client.get_sql_info(vec![]).await.unwrap();
    let all = read(&mut client, info).await;
    assert_eq!(all.num_rows(), 12 + 2 + 77);
    assert_eq!(all.column(1).len(), all.num_rows());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_schema_agrees_with_flight_info() {
    let server = Server::start().await;
    let command = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let mut client = server.client.clone();
    let result = client.get_schema(descriptor.clone()).await.unwrap().into_inner();
    let schema: Schema = (&result).try_into().unwrap();
    let info = client.get_flight_info(descriptor).await.unwrap().into_inner();
    assert_eq!(info.total_records, -1);
    assert_eq!(schema, info.try_decode_schema().unwrap());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_listed_and_dropped_by_actions() {
    let server = Server::start().await;
    let create = json!({ "name": "t", "index_column": "ts", "bucket": "1d", "time_zone": "America/New_York" });
    let call = async |name: &str, body: &Value| server.action(name, body.clone()).await;
    let made = call("coverline.CreateTable", &create).await.unwrap();
    assert_eq!(made, [json!({ "table": "t", "version": 1 })]);
    let again = call("coverline.CreateTable", &create).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let mut idempotent = create.clone();
    idempotent["if_not_exists"] = json!(true);
    assert_eq!(call("coverline.CreateTable", &idempotent).await.unwrap(), made);
    idempotent["bucket"] = json!("1h");
    let other = call("coverline.CreateTable", &idempotent).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    let advice = "as asked; use it as it is, or choose another name";
    assert!(other.message().ends_with(advice), "{other}");

    let table = server.table("t").await.unwrap();
    assert_eq!(table["time_zone"], "America/New_York");
    assert_eq!(table["entity_columns"], json!([]));
    assert_eq!((&table["row_count"], &table["first_index"]), (&json!(0), &Value::Null));
    let log = call("coverline.LogShow", &json!({ "table": "t" })).await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["version"], 1);

    let dropped = call("coverline.DropTable", &json!({ "table": "t" })).await.unwrap();
    assert_eq!(dropped, [json!({ "table": "t", "dropped": true })]);
    assert!(server.table("t").await.is_none());
    let gone = call("coverline.DropTable", &json!({ "table": "t" })).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let body = json!({ "table": "t", "if_exists": true });
    assert_eq!(call("coverline.DropTable", &body).await.unwrap()[0]["dropped"], false);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shown_between_its_bounds() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    for hour in 0..70 {
        server.append(path(&["prices"]), &[prices("NVDA", hour, 1)]).await.unwrap();
    }
    let show = async |first: Value, last: Value| {
        let body = json!({ "table": "prices", "first": first, "last": last });
        let records = server.action("coverline.LogShow", body).await?;
        Ok::<_, tonic::Status>(
            records.iter().map(|record| record["version"].as_u64().unwrap()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(show(Value::Null, Value::Null).await.unwrap(), (1..=71).collect::<Vec<_>>());
    assert_eq!(show(json!(3), json!(5)).await.unwrap(), [3, 4, 5]);
    assert_eq!(show(json!(70), json!(u64::MAX)).await.unwrap(), [70, 71]);
    assert_eq!(show(json!(5), json!(3)).await.unwrap(), [0u64; 0]);
    assert_eq!(show(json!(72), Value::Null).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_make_no_sense_are_refused_in_words() {
    let server = Server::start().await;
    for (name, body) in [
        ("coverline.CreateTable", "not json"),
        ("coverline.CreateTable", "[]"),
        ("coverline.CreateTable", "{}"),
        ("coverline.CreateTable", r#"{"name": 5}"#),
        ("coverline.CreateTable", r#"{"name": "t", "nmae": "u"}"#),
        ("coverline.CreateTable", r#"{"name": "t", "index_column": "ts"}"#),
        ("coverline.CreateTable", r#"{"name": "t", "bucket": "1h"}"#),
        ("coverline.CreateTable", r#"{"name": "t", "index_column": "ts", "bucket": "soon"}"#),
        ("coverline.CreateTable", r#"{"name": "../t"}"#),
        ("coverline.CreateTable", r#"{"name": "t", "schema_ipc": "!!"}"#),
        ("coverline.CreateTable", r#"{"name": "t", "schema_ipc": "AAAA"}"#),
        ("coverline.DropTable", r#"{"table": "t", "if_exists": "yes"}"#),
        ("coverline.LogShow", r#"{"table": "t", "first": -1}"#),
    ] {
        let error = server.raw_action(name, body.as_bytes().to_vec()).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{name} {body}: {error:?}");
    }
    assert!(server.table("t").await.is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listed_action_is_served_and_the_others_are_refused() {
    let server = Server::start().await;
    let listed: Vec<_> = server
        .client
        .clone()
        .list_actions(Empty {})
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    let names: HashSet<_> = listed.iter().map(|action| action.r#type.as_str()).collect();
    assert_eq!(names.len(), listed.len());
    for name in [
        "CloseSession",
        "SetSessionOptions",
        "GetSessionOptions",
        "CancelFlightInfo",
        "CreatePreparedStatement",
        "CreatePreparedSubstraitPlan",
    ] {
        assert!(names.contains(name), "{name}");
    }
    for name in &names {
        if let Err(error) = server.raw_action(name, Vec::new()).await {
            assert_ne!(error.code(), Code::Unimplemented, "{name}: {error:?}");
        }
    }
    for name in ["BeginTransaction", "EndTransaction", "NoSuchAction", ""] {
        let error = server.raw_action(name, Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{name}");
    }
    assert_eq!(server.raw_action("CloseSession", Vec::new()).await.unwrap(), [vec![0x08, 0x01]]);
    server.stop().await;
}

/// SqlInfo says what ListActions does.
#[tokio::test(flavor = "multi_thread")]
async fn what_sql_info_says_of_actions_is_what_is_served() {
    let server = Server::start().await;
    let listed = server.client.clone().list_actions(Empty {}).await.unwrap().into_inner();
    let listed: Vec<_> = listed.try_collect().await.unwrap();
    let serves = |name: &str| listed.iter().any(|action| action.r#type == name);
    let mut client = FlightSqlServiceClient::new(server.channel.clone());
    for (code, action) in [
        (SqlInfo::FlightSqlServerCancel, "CancelQuery"),
        (SqlInfo::FlightSqlServerSubstrait, "CreatePreparedSubstraitPlan"),
        (SqlInfo::FlightSqlServerIngestTransactionsSupported, "BeginTransaction"),
        (SqlInfo::SqlTransactionsSupported, "BeginTransaction"),
    ] {
        let info = client.get_sql_info(vec![code]).await.unwrap();
        let batch = read(&mut client, info).await;
        let value = batch.column(1).as_union().value(0);
        assert_eq!(value.as_boolean().value(0), serves(action), "{code:?}");
    }
    server.stop().await;
}

/// What the server answers to a question about its services, by the newest version of the protocol.
async fn reflected(server: &Server, question: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    answers.try_next().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_speaks() {
    let server = Server::start().await;
    let MessageResponse::ListServicesResponse(listed) =
        reflected(&server, MessageRequest::ListServices(String::new())).await
    else {
        panic!()
    };
    let names: Vec<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "arrow.flight.protocol.FlightService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let mut pool = DescriptorPool::global();
    for symbol in ["arrow.flight.protocol.FlightService", "coverline.flight.v1.AppendCommand"] {
        let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let MessageResponse::FileDescriptorResponse(found) = reflected(&server, question).await
        else {
            panic!("{symbol}")
        };
        let files = found.file_descriptor_proto.iter();
        let files = files.map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap());
        pool.add_file_descriptor_protos(files).unwrap();
    }
    let service = pool.get_service_by_name("arrow.flight.protocol.FlightService").unwrap();
    assert_eq!(service.methods().len(), 10);

    // Messages of the library that speaks it have no field that the descriptors do not know, nor another type.
    let descriptor =
        FlightDescriptor { r#type: 1, cmd: vec![1].into(), path: vec!["a".to_owned()] };
    let time = prost_types::Timestamp { seconds: 1, nanos: 2 };
    let endpoint = FlightEndpoint {
        ticket: Some(Ticket { ticket: vec![1].into() }),
        location: vec![Location { uri: "grpc://a".to_owned() }],
        expiration_time: Some(time),
        app_metadata: vec![2].into(),
    };
    let info = FlightInfo {
        schema: vec![1].into(),
        flight_descriptor: Some(descriptor.clone()),
        endpoint: vec![endpoint],
        total_records: 3,
        total_bytes: 4,
        ordered: true,
        app_metadata: vec![5].into(),
    };
    let poll = PollInfo {
        info: Some(info),
        flight_descriptor: Some(descriptor.clone()),
        progress: Some(0.5),
        expiration_time: Some(time),
    };
    let data = FlightData {
        flight_descriptor: Some(descriptor),
        data_header: vec![1].into(),
        app_metadata: vec![2].into(),
        data_body: vec![3].into(),
    };
    let action = Action { r#type: "a".to_owned(), body: vec![1].into() };
    let kind = ActionType { r#type: "a".to_owned(), description: "b".to_owned() };
    let hello = HandshakeRequest { protocol_version: 1, payload: vec![1].into() };
    for (name, bytes) in [
        ("PollInfo", poll.encode_to_vec()),
        ("FlightData", data.encode_to_vec()),
        ("Action", action.encode_to_vec()),
        ("ActionType", kind.encode_to_vec()),
        ("HandshakeRequest", hello.encode_to_vec()),
        ("Criteria", Criteria { expression: vec![1].into() }.encode_to_vec()),
        ("Result", arrow_flight::Result { body: vec![1].into() }.encode_to_vec()),
        ("SchemaResult", SchemaResult { schema: vec![1].into() }.encode_to_vec()),
        ("PutResult", PutResult { app_metadata: vec![1].into() }.encode_to_vec()),
    ] {
        let message = pool.get_message_by_name(&format!("arrow.flight.protocol.{name}")).unwrap();
        let read = DynamicMessage::decode(message.clone(), bytes.as_slice()).unwrap();
        assert_known(&read);
        assert_eq!(read.fields().count(), message.fields().len(), "{name}");
        assert_eq!(read.encode_to_vec(), bytes, "{name}");
    }
    server.stop().await;
}

/// Neither a message nor one in it has a field that its descriptor does not know.
fn assert_known(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message}");
    for (_, value) in message.fields() {
        let inner: Vec<_> = match value {
            prost_reflect::Value::Message(inner) => vec![inner],
            prost_reflect::Value::List(all) => {
                all.iter().filter_map(prost_reflect::Value::as_message).collect()
            }
            _ => Vec::new(),
        };
        inner.into_iter().for_each(assert_known);
    }
}
