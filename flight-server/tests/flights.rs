//! The life of a flight beyond GetFlightInfo and DoGet: cancelled, renewed, listed, prepared here and run elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandPreparedStatementUpdate,
    DoPutUpdateResult, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelStatus, FlightDescriptor, FlightInfo,
    RenewFlightEndpointRequest,
};
use bytes::Bytes;
use common::flight::{bind, close, code, flight, info, prepare, prepared, put, ticket};
use common::{Server, path, prices};
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Request};

/// Rows without end, and none for a long time.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 9000000000000000)";
const SILENT: &str = "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE random() < 2";

async fn cancel(server: &Server, info: &FlightInfo) -> Result<CancelStatus, FlightError> {
    let request = CancelFlightInfoRequest::new(info.clone());
    Ok(flight(server).cancel_flight_info(request).await?.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_while_it_is_fetched_from_another_connection() {
    let server = Server::start().await;
    let streaming = info(&server, ENDLESS).await;
    let mut rows = flight(&server).do_get(ticket(&streaming)).await.unwrap();
    assert!(rows.try_next().await.unwrap().unwrap().num_rows() > 0);
    assert_eq!(cancel(&server, &streaming).await.unwrap(), CancelStatus::Cancelled);
    // What was on its way still comes.
    let ended = loop {
        match rows.try_next().await {
            Ok(batch) => assert!(batch.is_some(), "it must not end as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(code(&ended), Code::Cancelled);
    let late = flight(&server).do_get(ticket(&streaming)).await.err().unwrap();
    assert_eq!(code(&late), Code::Cancelled, "a cancelled query does not come back");

    // One that says nothing, through the older action.
    let silent = info(&server, SILENT).await;
    let mut client = flight(&server);
    let asked = ticket(&silent);
    let fetching = tokio::spawn(async move {
        let rows = client.do_get(asked).await?;
        rows.try_collect::<Vec<_>>().await
    });
    let request = ActionCancelQueryRequest { info: silent.encode_to_vec().into() };
    let answer = server.raw_action("CancelQuery", request.as_any().encode_to_vec()).await.unwrap();
    let any = Any::decode(&*answer[0]).unwrap();
    let result: ActionCancelQueryResult = any.unpack().unwrap().unwrap();
    assert_eq!(result.result, CancelStatus::Cancelled as i32);
    assert_eq!(code(&fetching.await.unwrap().unwrap_err()), Code::Cancelled);

    // Others go on, and SqlInfo says that there is such a thing.
    let other = info(&server, "SELECT 1 AS n").await;
    let rows = flight(&server).do_get(ticket(&other)).await.unwrap();
    assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap()[0].num_rows(), 1);
    let mut sql = FlightSqlServiceClient::new(server.channel.clone());
    let codes = vec![
        SqlInfo::FlightSqlServerCancel,
        SqlInfo::FlightSqlServerBulkIngestion,
        SqlInfo::FlightSqlServerIngestTransactionsSupported,
    ];
    let asked = sql.get_sql_info(codes).await.unwrap();
    let rows = sql.do_get(ticket(&asked)).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let values = rows[0].column(1).as_union();
    let values = [0, 1, 2].map(|row| values.value(row).as_boolean().value(0));
    assert_eq!(values, [true, true, false]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_run_or_is_none_of_ours_is_not_cancelled() {
    let server = Server::start().await;
    let update = info(&server, "CREATE TABLE t (n BIGINT)").await;
    assert_eq!(cancel(&server, &update).await.unwrap(), CancelStatus::NotCancellable);
    assert!(server.table("t").await.is_some());
    for nothing in [FlightInfo::new(), FlightInfo::new().with_descriptor(path(&["t"]))] {
        let refused = cancel(&server, &nothing).await.unwrap_err();
        assert_eq!(code(&refused), Code::InvalidArgument);
    }
    for body in [&b""[..], b"\xff\xff"] {
        let refused = server.raw_action("CancelQuery", body.to_vec()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_renewed_as_long_as_it_can_be_redeemed() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 0, 60)]).await.unwrap();
    let endpoint = info(&server, "SELECT * FROM prices").await.endpoint.remove(0);
    let request = RenewFlightEndpointRequest::new(endpoint.clone());
    let renewed = flight(&server).renew_flight_endpoint(request.clone()).await.unwrap();
    assert_eq!(renewed, endpoint);
    let rows = flight(&server).do_get(renewed.ticket.unwrap()).await.unwrap();
    assert_eq!(count(rows.try_collect().await.unwrap()), 60);

    flight(&server).get_flight_info(FlightDescriptor::new_cmd("DROP TABLE prices")).await.unwrap();
    let gone = flight(&server).renew_flight_endpoint(request).await.unwrap_err();
    assert_eq!(code(&gone), Code::NotFound);
    let refused = server.raw_action("RenewFlightEndpoint", Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    server.stop().await;
}

fn count(batches: Vec<RecordBatch>) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_listed_as_flights_that_can_be_fetched() {
    let server = Server::start().await;
    server.create_prices("prices").await;
    server.append(path(&["prices"]), &[prices("NVDA", 0, 60)]).await.unwrap();
    server.create_prices("prices_of_2024").await;
    server.create_prices("Odd \"name\"").await;
    let list = async |pattern: &'static [u8]| {
        let listed = flight(&server).list_flights(Bytes::from_static(pattern)).await.unwrap();
        let listed: Vec<FlightInfo> = listed.try_collect().await.unwrap();
        listed
    };
    let name = |info: &FlightInfo| info.flight_descriptor.as_ref().unwrap().path.join("/");
    let all = list(b"").await;
    assert_eq!(
        all.iter().map(name).collect::<Vec<_>>(),
        ["Odd \"name\"", "prices", "prices_of_2024"]
    );
    assert_eq!(
        list(b"prices%").await.iter().map(name).collect::<Vec<_>>(),
        ["prices", "prices_of_2024"]
    );
    assert_eq!(list(b"none").await.len(), 0);

    let listed = &all[1];
    assert_eq!(listed.total_records, 60);
    let schema = listed.clone().try_decode_schema().unwrap();
    let mut rows = flight(&server).do_get(ticket(listed)).await.unwrap();
    let mut found = 0;
    while let Some(batch) = rows.try_next().await.unwrap() {
        assert_eq!(*batch.schema(), schema);
        found += batch.num_rows();
    }
    assert_eq!(found, 60);
    // One that its first append is to describe has no columns yet, and rows neither.
    assert_eq!(all[2].clone().try_decode_schema().unwrap(), Schema::empty());
    let quoted = flight(&server).do_get(ticket(&all[0])).await.unwrap();
    assert_eq!(count(quoted.try_collect().await.unwrap()), 0);

    let refused = flight(&server).list_flights(Bytes::from_static(b"\xff")).await.err().unwrap();
    assert_eq!(code(&refused), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_result_is_small_on_the_wire_and_only_for_who_asks() {
    let server = Server::start().await;
    let sql =
        "SELECT repeat('a text that repeats itself, ', 10) AS s FROM generate_series(1, 20000)";
    let bytes = async |asked: Option<&str>, read: Option<&str>| {
        let mut client = flight(&server);
        if let Some(kind) = asked {
            client.add_header("x-coverline-compression", kind).unwrap();
        }
        let info = client.get_flight_info(FlightDescriptor::new_cmd(sql)).await.unwrap();
        let mut request = tonic::Request::new(ticket(&info));
        if let Some(kind) = read {
            request.metadata_mut().insert("x-coverline-compression", kind.parse().unwrap());
        }
        let messages = server.client.clone().do_get(request).await.unwrap().into_inner();
        let messages: Vec<_> = messages.try_collect().await.unwrap();
        messages.iter().map(|message| message.data_body.len()).sum::<usize>()
    };
    let plain = bytes(None, None).await;
    assert!(plain > 20_000 * 250, "{plain}");
    for kind in ["lz4", "zstd"] {
        for (asked, read) in [(Some(kind), None), (None, Some(kind))] {
            let compressed = bytes(asked, read).await;
            assert!(compressed * 10 < plain, "{kind}: {compressed} of {plain}");
        }
        assert_eq!(bytes(Some(kind), Some("none")).await, plain);
    }
    server.stop().await;
}

fn numbers(values: Vec<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(values)) as _)]).unwrap()
}

async fn fetch(server: &Server, handle: &Bytes) -> Result<Vec<i64>, FlightError> {
    let info = flight(server).get_flight_info(prepared(handle)).await?;
    let rows = flight(server).do_get(ticket(&info)).await?;
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let columns = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>());
    Ok(columns.flat_map(|column| column.values().to_vec()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_runs_on_another_server_and_after_a_restart() {
    let server = Server::start().await;
    flight(&server)
        .get_flight_info(FlightDescriptor::new_cmd("CREATE TABLE t (n BIGINT)"))
        .await
        .unwrap();
    let select = prepare(&server, "SELECT $1 + 1 AS n").await;
    let counted = ticket(&info(&server, "SELECT count(*) AS n FROM t").await);
    info(&server, "INSERT INTO t VALUES (5)").await;
    let insert = prepare(&server, "INSERT INTO t VALUES (?)").await;
    let plain = prepare(&server, "SELECT 7").await;
    let bound = bind(&server, &select, numbers(vec![41, 1])).await;
    // Clients that do not take the new handle are served by what was bound under the old one.
    assert_eq!(fetch(&server, &select).await.unwrap(), [42, 2]);
    assert_eq!(fetch(&server, &bound).await.unwrap(), [42, 2]);
    let measure = prepare(&server, "SELECT CAST(character_length($1) AS BIGINT) AS n").await;
    let text = |length| {
        let column = Arc::new(StringArray::from(vec!["x".repeat(length)])) as _;
        RecordBatch::try_from_iter([("0", column)]).unwrap()
    };
    let long = bind(&server, &measure, text(50_000)).await;
    assert_eq!(fetch(&server, &long).await.unwrap(), [50_000]);

    let folder = Arc::clone(&server.folder);
    server.stop().await;
    let server = Server::over(folder).await;
    assert_eq!(fetch(&server, &bound).await.unwrap(), [42, 2]);
    assert_eq!(fetch(&server, &plain).await.unwrap(), [7]);
    // C7: a ticket too, at the version that it was made for.
    let rows = flight(&server).do_get(counted).await.unwrap();
    let rows: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 0);
    let command = CommandPreparedStatementUpdate { prepared_statement_handle: insert };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let inserted: DoPutUpdateResult = put(&server, descriptor, numbers(vec![1, 2])).await.unwrap();
    assert_eq!(inserted.record_count, 2);
    // What was bound elsewhere and is too much to travel has to be bound again, and then is.
    let unbound = fetch(&server, &long).await.unwrap_err();
    assert_eq!(code(&unbound), Code::InvalidArgument);
    assert!(unbound.to_string().contains("none are bound"), "{unbound}");
    let again = bind(&server, &long, text(3)).await;
    assert_eq!(fetch(&server, &again).await.unwrap(), [3]);

    // Closed is closed, under every handle that it had, and as often as one likes.
    for _ in 0..2 {
        close(&server, &again).await;
    }
    for handle in [&measure, &long, &again] {
        let refused = fetch(&server, handle).await.unwrap_err();
        assert_eq!(code(&refused), Code::NotFound, "{refused}");
    }
    assert_eq!(fetch(&server, &plain).await.unwrap(), [7]);
    let foreign = fetch(&server, &Bytes::from_static(b"SELECT 1")).await.unwrap_err();
    assert_eq!(code(&foreign), Code::NotFound);
    server.stop().await;
}

/// The values of one endpoint after the other.
async fn values(server: &Server, info: &FlightInfo) -> Vec<Vec<i64>> {
    let mut all = Vec::new();
    for endpoint in &info.endpoint {
        let rows = flight(server).do_get(endpoint.ticket.clone().unwrap()).await.unwrap();
        let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        let announced = info.clone().try_decode_schema().unwrap();
        assert!(batches.iter().all(|batch| batch.schema().as_ref() == &announced));
        let columns = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>());
        all.push(columns.flat_map(|column| column.values().to_vec()).collect());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_comes_in_as_many_endpoints_as_are_asked_for_and_is_the_same() {
    let server = Server::start().await;
    let run = async |sql: &str| {
        flight(&server).get_flight_info(FlightDescriptor::new_cmd(sql.to_owned())).await
    };
    run("CREATE TABLE t (n BIGINT NOT NULL, v BIGINT) WITH (index_column = 'n', bucket = '50')")
        .await
        .unwrap();
    // Appends in no order, some of which lie within others.
    for start in [400, 0, 800, 200, 600] {
        for part in ["n < 50 OR n >= 150", "n >= 50 AND n < 150"] {
            let insert = format!(
                "INSERT INTO t SELECT {start} + n, n % 7 FROM (SELECT value AS n FROM generate_series(0, 199)) AS s WHERE {part}"
            );
            run(&insert).await.unwrap();
        }
    }
    let info = async |sql: &str, endpoints: &str| {
        let mut client = flight(&server);
        client.add_header("x-coverline-endpoints", endpoints).unwrap();
        client.get_flight_info(FlightDescriptor::new_cmd(sql.to_owned())).await
    };
    let whole = "SELECT n FROM t ORDER BY n";
    let [expected] = &values(&server, &run(whole).await.unwrap()).await[..] else {
        panic!("one endpoint")
    };
    assert_eq!(expected.len(), 1000);
    for (sql, is_sorted) in [
        (whole, true),
        ("SELECT n FROM t", false),
        ("SELECT n AS m FROM (SELECT * FROM t WHERE v < 9) AS s ORDER BY m, v", true),
        ("SELECT n, v, n, v + 1, v + 1 FROM t ORDER BY n", true),
        ("SELECT *, v + 1 AS v FROM t ORDER BY t.n", true),
    ] {
        for count in [2, 3, 7, 64] {
            let info = info(sql, &count.to_string()).await.unwrap();
            assert!((2..=count).contains(&info.endpoint.len()), "{sql}: {}", info.endpoint.len());
            assert_eq!(info.ordered, is_sorted, "{sql}");
            let mut found = values(&server, &info).await.concat();
            if !is_sorted {
                found.sort_unstable();
            }
            assert_eq!(&found, expected, "{sql} in {count}");
        }
    }
    let descending = info("SELECT n FROM t WHERE n < 700 ORDER BY n DESC", "4").await.unwrap();
    let found = values(&server, &descending).await.concat();
    assert_eq!(found, expected.iter().copied().filter(|n| *n < 700).rev().collect::<Vec<_>>());

    // What looks at more than one row at a time stays whole.
    for sql in [
        "SELECT count(*) FROM t",
        "SELECT n FROM t ORDER BY n LIMIT 5",
        "SELECT n FROM t ORDER BY v, n",
        "SELECT -n AS n FROM t ORDER BY n",
        "SELECT n - lag(n) OVER (ORDER BY n) FROM t",
        "SELECT DISTINCT v FROM t",
        "SELECT a.n FROM t a JOIN t b ON a.n = b.n",
        "SELECT n FROM t WHERE n = (SELECT max(n) FROM t)",
        "SELECT value FROM generate_series(1, 10)",
    ] {
        let one = info(sql, "8").await.unwrap();
        assert_eq!(one.endpoint.len(), 1, "{sql}");
        // Some of them have no order of their own.
        let sorted = async |info| {
            let mut values = values(&server, info).await.concat();
            values.sort_unstable();
            values
        };
        assert_eq!(sorted(&one).await, sorted(&run(sql).await.unwrap()).await, "{sql}");
    }
    // One cancellation is for all of them.
    let parts = info(whole, "4").await.unwrap();
    assert_eq!(cancel(&server, &parts).await.unwrap(), CancelStatus::Cancelled);
    for endpoint in parts.endpoint {
        let refused = flight(&server).do_get(endpoint.ticket.unwrap()).await.err().unwrap();
        assert_eq!(code(&refused), Code::Cancelled);
    }
    for wrong in ["0", "65", "-1", "many"] {
        assert_eq!(code(&info(whole, wrong).await.unwrap_err()), Code::InvalidArgument, "{wrong}");
    }
    server.stop().await;
}

/// A `SetSessionOptionsRequest` with one option, a text.
fn session_option(name: &str, text: &str) -> Vec<u8> {
    let field =
        |tag: u8, body: &[u8]| [&[tag << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat();
    let value = field(1, text.as_bytes());
    field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
}

/// The cookies that a client with these ones is told to keep.
async fn set_option(server: &Server, kept: &str, name: &str, text: &str) -> (String, Vec<u8>) {
    let mut request = Request::new(Action::new("SetSessionOptions", session_option(name, text)));
    request.metadata_mut().insert("cookie", kept.parse().unwrap());
    let mut client = FlightServiceClient::new(server.channel.clone());
    let response = client.do_action(request).await.unwrap();
    let cookie = response.metadata().get("set-cookie").map(|value| value.to_str().unwrap());
    let cookie = cookie.and_then(|value| value.split(';').next()).unwrap_or_default().to_owned();
    let results: Vec<_> = response.into_inner().try_collect().await.unwrap();
    (cookie, results[0].body.to_vec())
}

/// Options add up in the cookie, which is all that a session is: it goes on over another connection and another server.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_divides_results_among_the_endpoints_it_asked_for() {
    let server = Server::start().await;
    for sql in [
        "CREATE TABLE t (n BIGINT NOT NULL) WITH (index_column = 'n', bucket = '1')",
        "INSERT INTO t SELECT value FROM generate_series(0, 99)",
        "INSERT INTO t SELECT value FROM generate_series(100, 199)",
    ] {
        info(&server, sql).await;
    }
    let (cookie, answer) = set_option(&server, "", "compression", "lz4").await;
    assert_eq!((cookie.as_str(), answer), ("coverline_form=lz4.portable.1", Vec::new()));
    let (cookie, answer) = set_option(&server, &cookie, "endpoints", "2").await;
    assert_eq!((cookie.as_str(), answer), ("coverline_form=lz4.portable.2", Vec::new()));
    let (refused, answer) = set_option(&server, &cookie, "endpoints", "65").await;
    assert!(refused.is_empty() || refused == cookie, "{refused}");
    assert!(!answer.is_empty(), "the answer says which option is wrong");

    let ordered = async |cookie: Option<&str>| {
        let mut client = flight(&server);
        if let Some(cookie) = cookie {
            client.add_header("cookie", cookie).unwrap();
        }
        let sql = FlightDescriptor::new_cmd("SELECT n FROM t ORDER BY n");
        client.get_flight_info(sql).await
    };
    let expected: Vec<i64> = (0..200).collect();
    for (cookie, endpoints) in [(Some(cookie.as_str()), 2), (None, 1)] {
        let info = ordered(cookie).await.unwrap();
        assert_eq!(info.endpoint.len(), endpoints);
        assert_eq!(values(&server, &info).await.concat(), expected);
    }
    let forged = ordered(Some("coverline_form=lz4.portable.65")).await.unwrap_err();
    assert_eq!(code(&forged), Code::InvalidArgument);
    server.stop().await;
}
