//! Substrait plans through a stock Flight SQL client: each answers what the SQL it was made from answers, and what SQL may not do
//! they may not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest, Any,
    CommandPreparedStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt, SqlInfo,
    SubstraitPlan,
};
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use common::Server;
use common::sql::SqlClient;
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;
use datafusion_substrait::logical_plan::producer::to_substrait_plan;
use datafusion_substrait::substrait::proto;
use futures::TryStreamExt;
use prost::Message;
use proto::extensions::SimpleExtensionDeclaration;
use proto::extensions::simple_extension_declaration::{ExtensionFunction, MappingType};
use proto::read_rel::{ExtensionTable, LocalFiles, NamedTable, ReadType, local_files};
use proto::rel::RelType;
use proto::{Expression, FilterRel, Plan, PlanRel, ReadRel, Rel, expression, plan_rel};
use tonic::{Code, Status};

/// Ticks of A and B by the half hour, and where the two are traded.
async fn market(server: &Server) -> SqlClient {
    let mut client = SqlClient { empty: ".", ..SqlClient::of(server) };
    for sql in [
        "CREATE TABLE ticks (ts TIMESTAMP WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, price DOUBLE, size BIGINT) \
         WITH (index_column = 'ts', bucket = '1m', entity_columns = 'symbol')",
        "INSERT INTO ticks VALUES ('2026-03-01T00:00:00Z', 'A', 1.5, 10), ('2026-03-01T00:30:00Z', 'A', 2.5, NULL), \
         ('2026-03-01T01:00:00Z', 'A', 3.5, 30), ('2026-03-01T00:15:00Z', 'B', 7, 40), ('2026-03-01T02:15:00Z', 'B', 8, 50)",
        "CREATE TABLE venues (symbol TEXT, venue TEXT)",
        "INSERT INTO venues VALUES ('A', 'XETRA'), ('B', 'NYSE')",
    ] {
        client.update(sql).await;
    }
    client
}

/// The plan that DataFusion makes of SQL over these tables.
async fn planned(client: &mut SqlClient, sql: &str, is_optimized: bool) -> Bytes {
    let context = SessionContext::new();
    for function in table_core::datafusion::scalar_functions() {
        context.register_udf(function);
    }
    for function in table_core::datafusion::aggregate_functions() {
        context.register_udaf(function);
    }
    for table in ["ticks", "venues"] {
        let info = client.info(&format!("SELECT * FROM {table}")).await.unwrap();
        let provider = EmptyTable::new(Arc::new(info.try_decode_schema().unwrap()));
        context.register_table(table, Arc::new(provider)).unwrap();
    }
    let frame = context.sql(sql).await.unwrap();
    // Of tables known to be empty the optimiser leaves nothing.
    let plan = match is_optimized {
        true => context.state().analyzer().execute_and_check(
            frame.into_unoptimized_plan(),
            context.state().config_options(),
            |_, _| {},
        ),
        false => Ok(frame.into_unoptimized_plan()),
    };
    let plan = to_substrait_plan(&plan.unwrap(), &context.state()).unwrap();
    plan.encode_to_vec().into()
}

fn command(plan: Bytes) -> CommandStatementSubstraitPlan {
    let plan = Some(SubstraitPlan { plan, version: "0.85.0".to_owned() });
    CommandStatementSubstraitPlan { plan, transaction_id: None }
}

fn descriptor(command: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// The rows of a plan, in the schema that was announced, which is the one that GetSchema says.
async fn run(server: &Server, client: &mut SqlClient, plan: Bytes) -> Vec<RecordBatch> {
    let descriptor = descriptor(&command(plan));
    let mut flight = server.client.clone();
    let info = flight.get_flight_info(descriptor.clone()).await.unwrap().into_inner();
    let schema = flight.get_schema(descriptor).await.unwrap().into_inner().schema;
    assert_eq!(schema, info.schema);
    client.fetch(info).await.unwrap()
}

/// The refusal of a plan, by every call that takes one.
async fn refused(server: &Server, plan: Bytes, code: Code, words: &str) -> Status {
    let command = command(plan.clone());
    let mut flight = server.client.clone();
    let info = flight.get_flight_info(descriptor(&command)).await.unwrap_err();
    let schema = flight.get_schema(descriptor(&command)).await.unwrap_err();
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let rows = flight.do_get(ticket).await.unwrap_err();
    let request = ActionCreatePreparedSubstraitPlanRequest {
        plan: command.plan.clone(),
        transaction_id: None,
    };
    let prepare = request.as_any().encode_to_vec();
    let prepared = server.raw_action("CreatePreparedSubstraitPlan", prepare).await.unwrap_err();
    for status in [&info, &schema, &rows, &prepared] {
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{}", status.message());
        assert!(status.message().len() < 500, "{}", status.message());
    }
    info
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_answers_what_its_sql_answers() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    for sql in [
        "SELECT symbol, count(*) AS n, sum(price) AS total, avg(size) AS mean FROM ticks GROUP BY symbol ORDER BY symbol",
        "SELECT ts, price * 2 AS twice FROM ticks WHERE symbol = 'A' AND price > 1.5 ORDER BY ts DESC LIMIT 1",
        "SELECT t.ts, v.venue, t.price FROM ticks t JOIN venues v ON t.symbol = v.symbol WHERE t.price < 8 ORDER BY t.ts",
        "SELECT v.symbol, t.price FROM venues v LEFT JOIN ticks t ON t.symbol = v.symbol AND t.size > 35 ORDER BY v.symbol, t.price",
        "SELECT time_bucket(INTERVAL '1 hour', ts) AS hour, symbol, max(price) AS high, first(price, ts) AS open FROM ticks \
         GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT date_bin(INTERVAL '1 hour', ts) AS hour, count(DISTINCT symbol) AS n FROM ticks GROUP BY 1 ORDER BY 1",
        "SELECT symbol FROM ticks UNION ALL SELECT venue FROM venues ORDER BY 1",
        "SELECT symbol, price FROM ticks WHERE symbol IN (SELECT symbol FROM venues WHERE venue = 'NYSE') ORDER BY price",
        "SELECT ts, row_number() OVER (PARTITION BY symbol ORDER BY ts) AS n FROM ticks ORDER BY ts",
        "SELECT coalesce(size, 0) + 1 AS s, CASE WHEN price > 3 THEN 'high' ELSE 'low' END AS c FROM ticks ORDER BY s, c",
        "SELECT * FROM (VALUES (1, 'x'), (2, 'y')) AS v (a, b) ORDER BY a",
        "SELECT 1 AS one",
        "SELECT count(*) AS n FROM ticks WHERE ts >= TIMESTAMP '2026-03-01T00:30:00Z'",
    ] {
        let expected = pretty_format_batches(&client.query(sql).await).unwrap().to_string();
        for is_optimized in [false, true] {
            let plan = planned(&mut client, sql, is_optimized).await;
            let rows = run(&server, &mut client, plan).await;
            assert_eq!(pretty_format_batches(&rows).unwrap().to_string(), expected, "{sql}");
        }
    }
    server.stop().await;
}

/// The rest of a ticket and of a handle is in them, so another server can redeem them.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_and_handles_of_plans_outlive_the_server_and_keep_their_version() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    let plan = planned(&mut client, "SELECT count(*) AS n FROM ticks", false).await;
    let info = descriptor(&command(plan.clone()));
    let info = server.client.clone().get_flight_info(info).await.unwrap().into_inner();
    let request =
        ActionCreatePreparedSubstraitPlanRequest { plan: command(plan).plan, transaction_id: None };
    let request = request.as_any().encode_to_vec();
    let answer = server.raw_action("CreatePreparedSubstraitPlan", request).await.unwrap();
    let answer = Any::decode(answer[0].as_slice()).unwrap();
    // A query, and not an update: field 4.
    assert!(answer.value.ends_with(&[0x20, 0x00]));
    let answer = answer.unpack::<ActionCreatePreparedStatementResult>().unwrap().unwrap();
    assert!(!answer.dataset_schema.is_empty() && answer.parameter_schema.is_empty());
    client.update("INSERT INTO ticks VALUES ('2026-03-02T00:00:00Z', 'A', 1, 1)").await;

    let folder = Arc::clone(&server.folder);
    drop(client);
    server.stop().await;
    let server = Server::over(folder).await;
    let mut client = SqlClient::of(&server);
    let pinned = client.fetch(info).await.unwrap();
    assert_eq!(client.text(&pinned), ["5"]);
    let handle = CommandPreparedStatementQuery {
        prepared_statement_handle: answer.prepared_statement_handle,
    };
    let info = server.client.clone().get_flight_info(descriptor(&handle)).await.unwrap();
    let newest = client.fetch(info.into_inner()).await.unwrap();
    assert_eq!(client.text(&newest), ["6"]);
    server.stop().await;
}

fn rel(rel_type: RelType) -> Rel {
    Rel { rel_type: Some(rel_type) }
}

/// A plan of one relation.
fn whole(rel: Rel) -> Plan {
    let root = PlanRel { rel_type: Some(plan_rel::RelType::Rel(rel)) };
    Plan { relations: vec![root], ..Plan::default() }
}

fn read(read_type: ReadType) -> Rel {
    let base_schema = Some(proto::NamedStruct {
        names: vec!["symbol".to_owned()],
        r#struct: Some(proto::r#type::Struct {
            types: vec![proto::Type {
                kind: Some(proto::r#type::Kind::String(proto::r#type::String {
                    nullability: proto::r#type::Nullability::Nullable as i32,
                    ..Default::default()
                })),
            }],
            ..Default::default()
        }),
    });
    let read_type = Some(read_type);
    rel(RelType::Read(Box::new(ReadRel { base_schema, read_type, ..ReadRel::default() })))
}

fn named(names: &[&str]) -> Rel {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    read(ReadType::NamedTable(NamedTable { names, ..NamedTable::default() }))
}

fn literal(value: bool) -> Expression {
    let literal_type = Some(expression::literal::LiteralType::Boolean(value));
    let literal = expression::Literal { literal_type, ..expression::Literal::default() };
    Expression { rex_type: Some(expression::RexType::Literal(literal)) }
}

fn filtered(input: Rel, condition: Expression) -> Rel {
    let (input, condition) = (Some(Box::new(input)), Some(Box::new(condition)));
    rel(RelType::Filter(Box::new(FilterRel { input, condition, ..FilterRel::default() })))
}

fn call(arguments: Vec<Expression>) -> Expression {
    let arguments = arguments.into_iter().map(|argument| proto::FunctionArgument {
        arg_type: Some(proto::function_argument::ArgType::Value(argument)),
    });
    let function = expression::ScalarFunction {
        function_reference: 7,
        arguments: arguments.collect(),
        ..expression::ScalarFunction::default()
    };
    Expression { rex_type: Some(expression::RexType::ScalarFunction(function)) }
}

/// A plan that may call function 7 by this name.
fn calling(name: &str, rel: Rel) -> Bytes {
    let function =
        ExtensionFunction { function_anchor: 7, name: name.to_owned(), ..Default::default() };
    let declaration =
        SimpleExtensionDeclaration { mapping_type: Some(MappingType::ExtensionFunction(function)) };
    encoded(&Plan { extensions: vec![declaration], ..whole(rel) })
}

fn encoded(plan: &Plan) -> Bytes {
    plan.encode_to_vec().into()
}

/// What the library would hand to the provider as a mere hint, and what it would build anew with each side twice.
#[tokio::test(flavor = "multi_thread")]
async fn filters_of_reads_and_chains_of_xor_mean_what_they_say() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    for (value, expected) in [(true, 2), (false, 0)] {
        let mut venues = named(&["public", "venues"]);
        let Some(RelType::Read(read)) = &mut venues.rel_type else { panic!() };
        read.filter = Some(Box::new(literal(value)));
        let rows = run(&server, &mut client, encoded(&whole(venues))).await;
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), expected);
    }
    let odd = (0..25).fold(literal(false), |so_far, _| call(vec![so_far, literal(true)]));
    let plan = calling("xor:bool", filtered(named(&["venues"]), odd));
    let rows = run(&server, &mut client, plan).await;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_may_not_do_is_refused_and_the_server_lives() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    let venues = || named(&["coverline", "public", "venues"]);
    let file = |path: &str| {
        let path_type = Some(local_files::file_or_files::PathType::UriFile(path.to_owned()));
        let item = local_files::FileOrFiles { path_type, ..Default::default() };
        let files = LocalFiles { items: vec![item], ..LocalFiles::default() };
        encoded(&whole(read(ReadType::LocalFiles(files))))
    };
    let write = proto::WriteRel { input: Some(Box::new(venues())), ..Default::default() };
    let invalid = Code::InvalidArgument;
    for (plan, code, words) in [
        (Bytes::new(), invalid, "no Substrait plan"),
        (Bytes::from_static(b"\xff\xff\xff garbage"), invalid, "not a Substrait plan"),
        (Bytes::from_static(b"SELECT 1"), invalid, "not a Substrait plan"),
        (encoded(&whole(named(&["nowhere"]))), Code::NotFound, "nowhere"),
        (encoded(&whole(named(&["main", "venues"]))), Code::NotFound, "main"),
        (encoded(&whole(named(&["a", "b", "c", "d"]))), invalid, "4 names"),
        (calling("frobnicate", filtered(venues(), call(vec![]))), invalid, "frobnicate"),
        (encoded(&whole(filtered(venues(), call(vec![])))), invalid, "does not declare"),
        (file("/etc/passwd"), Code::Unimplemented, "reads no files"),
        (file("file:///venues"), Code::Unimplemented, "reads no files"),
        (
            encoded(&whole(read(ReadType::ExtensionTable(ExtensionTable::default())))),
            Code::Unimplemented,
            "extension tables",
        ),
        (
            encoded(&whole(rel(RelType::Write(Box::new(write))))),
            Code::Unimplemented,
            "cannot write",
        ),
        (
            encoded(&whole(rel(RelType::ExtensionLeaf(Default::default())))),
            Code::Unimplemented,
            "kind of Substrait relation",
        ),
        // Where the library takes for granted that there is something.
        (encoded(&whole(rel(RelType::Cross(Default::default())))), invalid, "not well formed"),
        (encoded(&whole(Rel::default())), invalid, "is empty"),
        (
            encoded(&Plan {
                version: Some(proto::Version { major_number: 3, ..Default::default() }),
                ..whole(venues())
            }),
            invalid,
            "Substrait 3.0.0",
        ),
        (Bytes::from(vec![0; (64 << 10) + 1]), invalid, "65536"),
        (
            calling("or", filtered(venues(), call(vec![literal(false); 2_001]))),
            invalid,
            "2001 arguments",
        ),
        (emitting(venues(), 60_000), invalid, "too many"),
        (deep(10_000), invalid, "65536"),
        (deep(3_000), invalid, "too deep"),
    ] {
        refused(&server, plan, code, words).await;
    }
    // As deep as can be: the limit is that of the decoder, and nothing overflows before it.
    let most = (1..100).rev().find(|depth| Plan::decode(deep(*depth)).is_ok()).unwrap();
    refused(&server, deep(most + 1), invalid, "too deep").await;
    assert_eq!(run(&server, &mut client, deep(most)).await[0].num_rows(), 2);

    for version in ["banana", "1.0.0", "0.9999.0", "0.1.0", "0.85"] {
        let mut command = command(encoded(&whole(venues())));
        command.plan.as_mut().unwrap().version = version.to_owned();
        let refused = server.client.clone().get_flight_info(descriptor(&command)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), invalid, "{version}");
        assert!(refused.message().contains("0.20.0 to 0.85.0"), "{}", refused.message());
    }
    let put = FlightData::new().with_descriptor(descriptor(&command(encoded(&whole(venues())))));
    let error = server.put(&[], futures::stream::iter([put])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("GetFlightInfo"), "{}", error.message());
    assert_eq!(client.int("SELECT count(*) FROM venues").await, 2);
    server.stop().await;
}

/// Filters around one another, written from the inside out: what has no recursion to build has none to encode.
fn deep(depth: usize) -> Bytes {
    let condition = literal(true).encode_to_vec();
    let mut bytes = named(&["venues"]).encode_to_vec();
    for _ in 0..depth {
        let mut filter = field(2, &bytes);
        filter.extend(field(3, &condition));
        bytes = field(2, &filter);
    }
    field(3, &field(1, &bytes)).into()
}

/// A field of bytes: its number, their length, themselves.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut encoded);
    encoded.extend_from_slice(bytes);
    encoded
}

/// A filter that emits its column so often.
fn emitting(input: Rel, copies: usize) -> Bytes {
    let emit = proto::rel_common::Emit { output_mapping: vec![0; copies] };
    let common = proto::RelCommon {
        emit_kind: Some(proto::rel_common::EmitKind::Emit(emit)),
        ..Default::default()
    };
    let mut outer = filtered(input, literal(true));
    let Some(RelType::Filter(filter)) = &mut outer.rel_type else { panic!() };
    filter.common = Some(common);
    encoded(&whole(outer))
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_info_says_that_plans_are_taken_and_of_which_releases() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    let codes = [
        SqlInfo::FlightSqlServerSubstrait,
        SqlInfo::FlightSqlServerSubstraitMinVersion,
        SqlInfo::FlightSqlServerSubstraitMaxVersion,
    ];
    let info = client.flight.get_sql_info(codes.to_vec()).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows = client.flight.do_get(ticket).await.unwrap();
    let rows: Result<Vec<RecordBatch>, FlightError> = rows.try_collect().await;
    let text = pretty_format_batches(&rows.unwrap()).unwrap().to_string();
    for word in ["bool_value=true", "string_value=0.20.0", "string_value=0.85.0"] {
        assert!(text.contains(word), "{text}");
    }
    server.stop().await;
}
