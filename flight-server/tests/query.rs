//! SQL over Flight, from a stock Flight SQL client to a server in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::{FlightSqlServiceClient, PreparedStatement};
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, Ticket};
use flight_server::config::ServerConfig;
use flight_server::server::serve;
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

type Client = FlightSqlServiceClient<Channel>;

/// Less than the server's drain time: what is cut off there has not ended by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server over a folder of its own; stops when dropped.
struct TestServer {
    endpoint: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    root: tempfile::TempDir,
}

impl TestServer {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ServerConfig::new(root.path().join("data"));
        config.disk_floor_bytes = Some(0);
        configure(&mut config);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            serve(listener, config, async { drop(stopped.await) }).await.unwrap();
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self { endpoint, stop: Some(stop), serving: Some(serving), root }
    }

    async fn client(&self) -> Client {
        FlightSqlServiceClient::new(self.endpoint.connect().await.unwrap())
    }

    async fn finish(mut self) {
        drop(self.stop.take());
        self.serving.take().unwrap().await.unwrap();
    }
}

async fn fetch(client: &mut Client, info: &FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let announced = info.clone().try_decode_schema().unwrap();
    assert_eq!(info.endpoint.len(), 1);
    assert!(info.endpoint[0].location.is_empty());
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    let sent = stream.schema().expect("a schema message even without rows");
    assert_eq!(sent.as_ref(), &announced, "what is sent is what was announced");
    Ok(batches)
}

async fn query(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    fetch(client, &info).await
}

async fn rows(client: &mut Client, sql: &str) -> String {
    let batches = query(client, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

async fn int(client: &mut Client, sql: &str) -> i64 {
    let batches = query(client, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{sql}");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn update(client: &mut Client, sql: &str) -> i64 {
    client
        .execute_update(sql.to_owned(), None)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn has_code(error: &FlightError, code: Code) -> bool {
    matches!(error, FlightError::Tonic(status) if status.code() == code)
}

async fn refused(client: &mut Client, sql: &str, code: Code) -> String {
    let error = client.execute(sql.to_owned(), None).await.map(|_| ()).expect_err(sql);
    assert!(has_code(&error, code), "{sql}: {error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn select_one() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    assert_eq!(int(&mut client, "SELECT 1").await, 1);
    assert_eq!(int(&mut client, " -- why\n SELECT count(*) FROM (VALUES (1), (2)) ;").await, 2);
    assert_eq!(query(&mut client, "SELECT 1 WHERE false").await.unwrap().len(), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do_and_the_server_lives_on() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    refused(&mut client, "SELEKT 1", Code::InvalidArgument).await;
    refused(&mut client, "SELECT nothing FROM (VALUES (1)) t(a)", Code::InvalidArgument).await;
    refused(&mut client, "SELECT * FROM absent", Code::NotFound).await;
    refused(&mut client, "SELECT * FROM other.public.absent", Code::NotFound).await;
    refused(&mut client, "SELECT * FROM gaps('absent')", Code::NotFound).await;
    refused(&mut client, "DROP TABLE absent", Code::NotFound).await;
    refused(&mut client, "COPY (SELECT 1) TO '/tmp/x.csv'", Code::Unimplemented).await;
    refused(&mut client, "SET a = 1", Code::Unimplemented).await;
    refused(&mut client, "SELECT 1; SELECT 2", Code::InvalidArgument).await;
    refused(&mut client, "SELECT $1 + 1", Code::InvalidArgument).await;
    refused(&mut client, "SELECT * FROM range(1, 3) VERSION AS OF 3", Code::InvalidArgument).await;
    let long = format!("SELECT {}", vec!["1"; 5_000].join("+"));
    refused(&mut client, &long, Code::InvalidArgument).await;

    for sql in [
        "SELECT 1 / (SELECT max(x) FROM (VALUES (0)) t(x))",
        "SELECT repeat('x', 2000000000)",
        "SELECT lpad('x', 2000000000, 'y')",
    ] {
        let error = query(&mut client, sql).await.map(|_| ()).expect_err(sql);
        assert!(has_code(&error, Code::InvalidArgument), "{sql}: {error:?}");
    }
    let garbage = client.do_get(Ticket::new(vec![0xff, 0x00])).await.map(|_| ()).unwrap_err();
    assert!(has_code(&garbage, Code::InvalidArgument), "{garbage:?}");
    assert_eq!(int(&mut client, "SELECT 1").await, 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_sorted_by_the_time_of_day() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let options = "WITH (index_column = 'ts', bucket = '1h')";
    update(&mut client, &format!("CREATE TABLE days (ts TIMESTAMP NOT NULL, v BIGINT) {options}"))
        .await;
    let hours: Vec<_> =
        (0..24).map(|hour| format!("('2026-03-01T{hour:02}:00:00', {})", 23 - hour)).collect();
    update(&mut client, &format!("INSERT INTO days VALUES {}", hours.join(", "))).await;
    let day = "SELECT v FROM days WHERE ts::date = '2026-03-01' ORDER BY ts, v";
    let batches = query(&mut client, day).await.unwrap();
    let values: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(values, (0..24).rev().collect::<Vec<_>>());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_from_creation_to_drop() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let create = "CREATE TABLE prices (ts TIMESTAMP WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) \
                  WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')";
    assert_eq!(update(&mut client, create).await, 0);
    refused(&mut client, create, Code::AlreadyExists).await;
    assert_eq!(
        update(&mut client, &create.replace("TABLE prices", "TABLE IF NOT EXISTS prices")).await,
        0
    );

    let insert = "INSERT INTO prices VALUES ('2025-03-01T00:10:00Z', 'A', 1.5), \
                  ('2025-03-01T00:20:00Z', 'A', 2.5), ('2025-03-01T03:00:00Z', 'B', NULL)";
    assert_eq!(update(&mut client, insert).await, 3);
    let text = refused(&mut client, insert, Code::AlreadyExists).await;
    assert!(text.contains("2 buckets"), "{text}");
    assert_eq!(
        update(&mut client, "INSERT INTO prices (symbol, ts) VALUES ('A', '2025-03-01T05:00:00Z')")
            .await,
        1
    );
    assert_eq!(int(&mut client, "SELECT count(*) FROM prices").await, 4);

    let info = client.execute("SELECT * FROM Prices".into(), None).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(
        schema,
        Schema::new(vec![
            Field::new("ts", timestamp, false),
            Field::new("symbol", DataType::Utf8, false),
            Field::new("close", DataType::Float64, true),
        ])
    );
    fetch(&mut client, &info).await.unwrap();

    let gaps = rows(&mut client, "SELECT * FROM gaps('prices')").await;
    assert!(gaps.contains("2025-03-01T01:00:00Z") && gaps.contains("| A "), "{gaps}");
    let coverage = rows(&mut client, "SELECT symbol, buckets FROM coverage('prices')").await;
    assert!(coverage.contains("| B      | 1"), "{coverage}");

    let tables = rows(&mut client, "SHOW TABLES").await;
    assert!(tables.contains("prices"), "{tables}");
    let columns = rows(&mut client, "DESCRIBE prices").await;
    assert!(columns.contains("symbol"), "{columns}");
    let columns = rows(&mut client, "SHOW COLUMNS FROM prices").await;
    assert!(columns.contains("symbol"), "{columns}");
    let plan = rows(&mut client, "EXPLAIN SELECT max(close) FROM prices").await;
    assert!(plan.contains("Aggregate"), "{plan}");

    assert_eq!(update(&mut client, "DROP TABLE prices").await, 0);
    assert_eq!(update(&mut client, "DROP TABLE IF EXISTS prices").await, 0);
    refused(&mut client, "SELECT * FROM prices", Code::NotFound).await;
    server.finish().await;
}

/// The rows are what the query gives by itself, cast to the table only then.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_insert_selects_is_what_the_query_gives() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t (n BIGINT, s TEXT)").await;
    for (rows, expected) in [
        ("SELECT x * 2, 'a' FROM (VALUES (1.5)) v(x)", "3 a"),
        ("SELECT length(x), x FROM (VALUES ('007')) v(x)", "3 007"),
        ("WITH v(x, y, z) AS (VALUES (1.25, 2, 'c')) SELECT x * 4, z FROM v", "5 c"),
        ("VALUES (1, 'd') UNION ALL SELECT x * 2, 'd' FROM (VALUES (0.5)) v(x)", "1 d"),
        ("SELECT 9, NULL", "9 "),
    ] {
        let sql = format!("INSERT INTO t {rows}");
        update(&mut client, &sql).await;
        let found = query(&mut client, "SELECT DISTINCT n, s FROM t").await.unwrap();
        let columns = found[0].columns();
        let values = columns.iter().map(|column| array_value_to_string(column, 0).unwrap());
        assert_eq!(values.collect::<Vec<_>>().join(" "), expected, "{sql}");
        update(&mut client, "CREATE OR REPLACE TABLE t (n BIGINT, s TEXT)").await;
    }
    update(&mut client, "INSERT INTO t (s) SELECT x FROM (VALUES ('only')) v(x)").await;
    update(&mut client, "INSERT INTO t (s, n) SELECT x, y FROM (VALUES ('turned', 1.0)) v(x, y)")
        .await;
    assert_eq!(int(&mut client, "SELECT sum(n) FROM t").await, 1);
    assert_eq!(int(&mut client, "SELECT count(*) FROM t WHERE n IS NULL").await, 1);
    for (sql, words) in [
        ("INSERT INTO t SELECT x FROM (VALUES (1)) v(x)", "1 columns"),
        ("INSERT INTO t (n, n) SELECT x, x FROM (VALUES (1)) v(x)", "twice"),
        ("INSERT INTO t (n, o) SELECT x, x FROM (VALUES (1)) v(x)", "its columns are n, s"),
        ("INSERT INTO t SELECT x, 'a' FROM (VALUES ('soon')) v(x)", "soon"),
    ] {
        let refused = client.execute_update(sql.to_owned(), None).await.unwrap_err();
        assert!(has_code(&refused, Code::InvalidArgument), "{sql}: {refused:?}");
        assert!(refused.to_string().contains(words), "{sql}: {refused}");
    }
    assert_eq!(int(&mut client, "SELECT count(*) FROM t").await, 2);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_table_as_select_is_all_or_nothing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let sql = "CREATE TABLE plain AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(n, name)";
    assert_eq!(update(&mut client, sql).await, 2);
    assert_eq!(int(&mut client, "SELECT sum(n) FROM plain").await, 3);
    // Division by zero in the second row: the table must not stay.
    let bad = "CREATE TABLE bad AS SELECT 10 / n AS q FROM (VALUES (1), (0)) t(n)";
    let error = client.execute_update(bad.into(), None).await.unwrap_err();
    assert!(has_code(&error, Code::InvalidArgument), "{error:?}");
    refused(&mut client, "SELECT * FROM bad", Code::NotFound).await;
    server.finish().await;
}

/// Writes rows into one bucket until somebody stops it.
const ENDLESS: &str = "CREATE TABLE numbers WITH (index_column = 'n', bucket = '1000000000000') \
                       AS SELECT value AS n FROM generate_series(1, 900000000000)";

/// Until its last row is written nobody sees the table, and its name is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_table_as_under_way_is_nothing_to_others_and_leaves_nothing_when_its_client_goes()
{
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut creator = server.client().await;
    let creating = tokio::spawn(async move { creator.execute_update(ENDLESS.into(), None).await });
    let tables = server.root.path().join("data/tables");
    let is_under_way = || std::fs::read_dir(&tables).is_ok_and(|mut made| made.next().is_some());
    let waiting = async {
        while !is_under_way() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the first record of the table");
    refused(&mut client, "SELECT * FROM numbers", Code::NotFound).await;
    assert_eq!(update(&mut client, "CREATE TABLE numbers AS SELECT 7 AS n").await, 1);
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    assert_eq!(update(&mut client, "INSERT INTO numbers VALUES (8)").await, 1);
    assert_eq!(int(&mut client, "SELECT sum(n) FROM numbers").await, 15);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_create_table_as_at_once_one_is_there_whole() {
    let server = TestServer::start().await;
    let create = async |rows: i64| {
        let sql =
            format!("CREATE TABLE numbers AS SELECT value AS n FROM generate_series(1, {rows})");
        server.client().await.execute_update(sql, None).await
    };
    let (first, second) = tokio::join!(create(50_000), create(60_000));
    let (written, refused) = match (first, second) {
        (Ok(written), Err(refused)) | (Err(refused), Ok(written)) => (written, refused),
        both => panic!("one of two: {both:?}"),
    };
    assert!(has_code(&refused, Code::AlreadyExists), "{refused:?}");
    let mut client = server.client().await;
    assert_eq!(int(&mut client, "SELECT count(*) FROM numbers").await, written);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_table_refuses_what_it_cannot_keep() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (sql, code, hint) in [
        ("CREATE TABLE t WITH (index = 'ts')", Code::InvalidArgument, "index_column"),
        ("CREATE TABLE t WITH (index_column = 'ts')", Code::InvalidArgument, "bucket"),
        ("CREATE TABLE t WITH (index_column = 'ts', bucket = 'soon')", Code::InvalidArgument, "1d"),
        ("CREATE TABLE t", Code::InvalidArgument, ""),
        ("CREATE TABLE t (a INT PRIMARY KEY)", Code::Unimplemented, "NOT NULL"),
        ("CREATE TABLE t (a INT DEFAULT 3)", Code::Unimplemented, "NOT NULL"),
        ("CREATE OR REPLACE TABLE IF NOT EXISTS t (a INT)", Code::InvalidArgument, "one of them"),
        ("CREATE TEMPORARY TABLE t (a INT)", Code::Unimplemented, ""),
        (
            "CREATE TABLE t (ts TEXT) WITH (index_column = 'ts', bucket = '1h')",
            Code::InvalidArgument,
            "ts",
        ),
        ("CREATE TABLE \"a/b\" (a INT)", Code::InvalidArgument, "a/b"),
        ("CREATE TABLE x.y.t (a INT)", Code::NotFound, "coverline"),
    ] {
        let text = refused(&mut client, sql, code).await;
        assert!(text.contains(hint), "{sql}: {text}");
    }
    let left = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(int(&mut client, left).await, 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_through_get_flight_info_runs_exactly_once() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t (n BIGINT)").await;
    let info = client.execute("INSERT INTO t VALUES (1), (2)".into(), None).await.unwrap();
    assert_eq!(int(&mut client, "SELECT count(*) FROM t").await, 2);
    for _ in 0..3 {
        let batches = fetch(&mut client, &info).await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 2);
    }
    assert_eq!(int(&mut client, "SELECT count(*) FROM t").await, 2);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_shows_the_version_of_its_flight_info() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t (n BIGINT)").await;
    update(&mut client, "INSERT INTO t VALUES (1)").await;
    let info = client.execute("SELECT n FROM t".into(), None).await.unwrap();
    update(&mut client, "INSERT INTO t VALUES (2)").await;
    let count =
        |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let mut other = server.client().await;
    assert_eq!(count(fetch(&mut other, &info).await.unwrap()), 1);
    assert_eq!(count(query(&mut client, "SELECT n FROM t").await.unwrap()), 2);

    update(&mut client, "DROP TABLE t").await;
    update(&mut client, "CREATE TABLE t (n BIGINT)").await;
    let error = fetch(&mut client, &info).await.unwrap_err();
    assert!(has_code(&error, Code::NotFound), "{error:?}");
    server.finish().await;
}

async fn execute_bound(
    client: &mut Client,
    statement: &mut PreparedStatement<Channel>,
    columns: Vec<ArrayRef>,
) -> Vec<RecordBatch> {
    let names = (0..columns.len()).map(|n| n.to_string());
    let batch = RecordBatch::try_from_iter(names.zip(columns)).unwrap();
    statement.set_parameters(batch).unwrap();
    let info = statement.execute().await.unwrap();
    fetch(client, &info).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_bind_and_run_many_times() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t (n BIGINT, name TEXT)").await;

    let mut insert = client.prepare("INSERT INTO t VALUES (?, ?)".into(), None).await.unwrap();
    assert!(insert.dataset_schema().unwrap().fields().is_empty());
    let parameters = insert.parameter_schema().unwrap();
    let types: Vec<_> = parameters.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Int64, DataType::Utf8]);
    let batch = RecordBatch::try_from_iter([
        ("0", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("1", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]))),
    ])
    .unwrap();
    insert.set_parameters(batch).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3);
    assert_eq!(int(&mut client, "SELECT count(*) FROM t").await, 3);

    let mut select = client.prepare("SELECT name FROM t WHERE n = $1".into(), None).await.unwrap();
    assert_eq!(
        select.dataset_schema().unwrap(),
        &Schema::new(vec![Field::new("name", DataType::Utf8, true)])
    );
    let ids = |ids: Vec<i64>| vec![Arc::new(Int64Array::from(ids)) as ArrayRef];
    let one = execute_bound(&mut client, &mut select, ids(vec![3])).await;
    assert_eq!(one[0].column(0).as_string::<i32>().value(0), "c");
    let many = execute_bound(&mut client, &mut select, ids(vec![3, 9, 1])).await;
    let names: Vec<_> =
        many.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    assert_eq!(names, ["c", "a"]);
    select.close().await.unwrap();

    let mut plain = client.prepare("SELECT 7".into(), None).await.unwrap();
    let info = plain.execute().await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.unwrap()[0].num_rows(), 1);
    let error = client.prepare("SELECT * FROM absent".into(), None).await.map(|_| ()).unwrap_err();
    assert!(has_code(&error, Code::NotFound), "{error:?}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_sql_and_paths_serve_as_descriptors() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE \"Mixed Case\" (n BIGINT)").await;
    update(&mut client, "INSERT INTO \"Mixed Case\" VALUES (4)").await;
    let inner = client.inner_mut();
    let sql = FlightDescriptor::new_cmd("SELECT 1 AS one");
    let path = FlightDescriptor::new_path(vec!["Mixed Case".into()]);
    let info = inner.get_flight_info(sql.clone()).await.unwrap().into_inner();
    let whole = inner.get_flight_info(path).await.unwrap().into_inner();
    let schema = inner.get_schema(sql.clone()).await.unwrap().into_inner();
    let schema = Schema::try_from(&schema).unwrap();
    assert_eq!(schema, info.clone().try_decode_schema().unwrap());
    let poll = inner.poll_flight_info(sql).await.unwrap().into_inner();
    assert!(poll.flight_descriptor.is_none() && poll.info.is_some());
    assert_eq!(fetch(&mut client, &info).await.unwrap()[0].num_rows(), 1);
    assert_eq!(fetch(&mut client, &whole).await.unwrap()[0].num_rows(), 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_sql_can_be_turned_off() {
    let server = TestServer::with(|config| config.raw_sql = false).await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t (n BIGINT)").await;
    let inner = client.inner_mut();
    let sql = || FlightDescriptor::new_cmd("INSERT INTO t VALUES (1)");
    let put = FlightData::new().with_descriptor(sql());
    let refusals = [
        inner.get_flight_info(sql()).await.map(drop),
        inner.get_schema(sql()).await.map(drop),
        inner.poll_flight_info(sql()).await.map(drop),
        inner.do_get(Ticket::new("SELECT n FROM t")).await.map(drop),
        inner.do_put(futures::stream::iter([put])).await.map(drop),
    ];
    for (call, refused) in refusals.into_iter().enumerate() {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{call}: {refused}");
        assert!(refused.message().contains("--no-raw-sql"), "{call}: {refused}");
    }
    // A path is no SQL.
    let path = FlightDescriptor::new_path(vec!["t".into()]);
    client.inner_mut().get_flight_info(path).await.unwrap();
    assert_eq!(int(&mut client, "SELECT count(*) FROM t").await, 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_parameters_are_one_append() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(
        &mut client,
        "CREATE TABLE t (ts TIMESTAMP NOT NULL, n INT, name TEXT) WITH (index_column = 'ts', bucket = '1d')",
    )
    .await;
    let sql = "INSERT INTO t (name, n, ts) VALUES (upper(?), ? + 1, ?)";
    let mut insert = client.prepare(sql.into(), None).await.unwrap();
    let count = 3_000_i64;
    let batch = RecordBatch::try_from_iter([
        (
            "a",
            Arc::new(StringArray::from_iter((0..count).map(|n| Some(format!("x{n}"))))) as ArrayRef,
        ),
        ("b", Arc::new(Int64Array::from_iter_values(0..count))),
        (
            "c",
            Arc::new(StringArray::from_iter(
                (0..count).map(|n| Some(format!("2025-01-01T00:{:02}:{:02}", n / 60, n % 60))),
            )),
        ),
    ])
    .unwrap();
    insert.set_parameters(batch).unwrap();
    // All rows share one bucket: as separate appends, the second would be refused.
    assert_eq!(insert.execute_update().await.unwrap(), count);
    assert_eq!(int(&mut client, "SELECT sum(n) FROM t").await, count * (count + 1) / 2);
    let name =
        "SELECT count(*) FROM t WHERE name = 'X42' AND n = 43 AND ts = '2025-01-01T00:00:42'";
    assert_eq!(int(&mut client, name).await, 1);

    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["no number"]))),
        ("c", Arc::new(StringArray::from(vec!["2025-01-02T00:00:00"]))),
    ])
    .unwrap();
    insert.set_parameters(batch).unwrap();
    let error = insert.execute_update().await.unwrap_err();
    assert!(has_code(&error, Code::InvalidArgument), "{error:?}");
    server.finish().await;
}

/// Statements just inside the gate's limits must neither overflow a stack nor take forever.
#[test]
fn the_largest_statements_that_pass_also_run() {
    flight_server::server::runtime().unwrap().block_on(run_the_largest_statements());
}

async fn run_the_largest_statements() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    update(&mut client, "CREATE TABLE t AS SELECT 1 AS x, 'a' AS s").await;
    let join = |term: &str, operator: &str, count: usize| vec![term; count].join(operator);
    for sql in [
        format!("SELECT count(*) FROM t WHERE {} > 0", join("x", " + ", 490)),
        format!("SELECT count(*) FROM t WHERE {}", join("x > 0", " AND ", 240)),
        format!(
            "SELECT count(*) FROM t WHERE {}",
            (0..240).map(|n| format!("x = {n}")).collect::<Vec<_>>().join(" OR ")
        ),
        format!("SELECT count(*) FROM t WHERE {} <> ''", join("s", " || ", 490)),
        format!("SELECT count(*) FROM ({})", join("SELECT x FROM t", " UNION ALL ", 65)),
        (1..=32).fold("SELECT count(*) FROM t t0".to_owned(), |sql, n| {
            sql + &format!(" JOIN t t{n} ON t{n}.x = t0.x")
        }),
        format!("SELECT count(*) FROM t WHERE {}x{} > 0", "abs(".repeat(20), ")".repeat(20)),
        format!(
            "SELECT count(*) FROM t WHERE x IN ({})",
            (0..9_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
        ),
    ] {
        if let Err(error) = query(&mut client, &sql).await {
            assert!(has_code(&error, Code::DeadlineExceeded), "{}: {error:?}", &sql[..60]);
        }
    }
    assert_eq!(int(&mut client, "SELECT 1").await, 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_nobody_waits_for_ends() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let table = "generate_series(1, 1000)";
    let sql = format!("SELECT count(*) FROM {table} AS first");
    let joins: String = (0..7).map(|n| format!(" CROSS JOIN {table} AS t{n}")).collect();
    let info = client.execute(format!("{sql}{joins}"), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut abandoned = server.client().await;
    let call = tokio::spawn(async move {
        let rows = abandoned.do_get(ticket).await?;
        rows.try_collect::<Vec<_>>().await
    });
    // The query runs while another statement is answered, and then its client goes away.
    assert_eq!(int(&mut client, "SELECT 1").await, 1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(client);
    tokio::time::timeout(PATIENCE, server.finish()).await.expect("the query has ended");
}

/// A query that needs more than it may have ends by itself, and gives it back.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_queries_is_bounded_and_given_back() {
    let server = TestServer::with(|config| config.query_memory_bytes = 64 << 20).await;
    let mut client = server.client().await;
    let much = "SELECT array_agg(repeat('x', 1000) || value) FROM generate_series(1, 1000000)";
    let refused = query(&mut client, much).await.unwrap_err();
    assert!(has_code(&refused, Code::ResourceExhausted), "{refused:?}");
    assert!(refused.to_string().contains("memory"), "{refused}");
    // This one takes most of it.
    let most = "SELECT count(*) FROM (SELECT DISTINCT value FROM generate_series(1, 500000))";
    assert_eq!(int(&mut client, most).await, 500_000);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_takes_any_credentials() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.handshake("any", "thing: at all").await.unwrap();
    assert!(client.token().is_some_and(|token| !token.is_empty()));
    assert_eq!(int(&mut client, "SELECT 1").await, 1);
    server.finish().await;
}
