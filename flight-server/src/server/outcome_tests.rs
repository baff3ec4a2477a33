//! C2 at every door of a served catalog whose store fails as told: each error of a change says whether the change is there, and
//! says the truth.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, ProstMessageExt, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{Action, FlightData, FlightDescriptor};
use coverline_proto::flight::{AppendCommand, CommitMode};
use futures::{TryStreamExt, stream};
use prost::{Message, Name};
use table_core::clock::SystemClock;
use table_core::storage::faults::{FlakyStore, PutFault, SimDisk};
use table_core::types::Version;
use table_core::{Access, Catalog, CatalogOptions, ErrorKind};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;

/// A server over a store that fails as told, with a table `prices` that holds hour 1 of "A".
struct Served {
    client: FlightServiceClient<Channel>,
    catalog: Arc<Catalog>,
    store: Arc<FlakyStore>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl Served {
    async fn start() -> Self {
        Self::start_as(Access::Exclusive).await
    }

    async fn start_as(access: Access) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FlakyStore::over(Arc::new(SimDisk::new().store(SystemClock::shared())));
        let options =
            CatalogOptions { access, disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        let catalog = Catalog::over(store.clone(), options).await.unwrap();
        let config = ServerConfig::new(folder.path());
        let engine = Engine::over(Arc::clone(&catalog), &config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(async move {
            serve_engine(accepted(listener), engine, &config, shutdown).await
        });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let client = FlightServiceClient::new(channel.connect().await.unwrap());
        let served = Self { client, catalog, store, stop, running, _folder: folder };
        let create = "CREATE TABLE prices (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, price DOUBLE) \
                      WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')";
        served.call(Door::Update, &Change::Sql(create.to_owned())).await.unwrap();
        served.call(Door::Path, &Change::rows(1)).await.unwrap();
        served
    }

    async fn stop(self) {
        drop(self.client);
        let _ = self.stop.send(());
        let _ = self.running.await.unwrap();
    }

    async fn version(&self) -> Version {
        self.catalog.table("prices").await.unwrap().snapshot().version
    }

    async fn put(&self, messages: Vec<FlightData>) -> Result<usize, Status> {
        let answers = self.client.clone().do_put(stream::iter(messages)).await?.into_inner();
        Ok(answers.try_collect::<Vec<_>>().await?.len())
    }

    async fn act(&self, name: &str, body: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
        let action = Action { r#type: name.to_owned(), body: body.into() };
        let results = self.client.clone().do_action(action).await?.into_inner();
        results.map_ok(|result| result.body.to_vec()).try_collect().await
    }

    /// One change through one door.
    async fn call(&self, door: Door, change: &Change) -> Result<(), Status> {
        let sql = change.sql();
        match door {
            Door::Path => self.put(change.messages(path())).await.map(drop),
            Door::Append => self.put(change.messages(append(CommitMode::Stream))).await.map(drop),
            Door::Batches => self.put(change.messages(append(CommitMode::Batch))).await.map(drop),
            Door::Ingest => self.put(change.messages(ingest())).await.map(drop),
            Door::Update => {
                let command = CommandStatementUpdate { query: sql, transaction_id: None };
                self.put(vec![describing(command_descriptor(&command))]).await.map(drop)
            }
            Door::Prepared => {
                let create =
                    ActionCreatePreparedStatementRequest { query: sql, transaction_id: None };
                let body = create.as_any().encode_to_vec();
                let answers = self.act("CreatePreparedStatement", body).await?;
                let any = Any::decode(&*answers[0]).unwrap();
                let created: ActionCreatePreparedStatementResult = any.unpack().unwrap().unwrap();
                let prepared_statement_handle = created.prepared_statement_handle;
                let command = CommandPreparedStatementUpdate { prepared_statement_handle };
                self.put(vec![describing(command_descriptor(&command))]).await.map(drop)
            }
            Door::Info => {
                let command = CommandStatementQuery { query: sql, transaction_id: None };
                self.client.clone().get_flight_info(command_descriptor(&command)).await.map(drop)
            }
            Door::RawInfo => {
                let descriptor = FlightDescriptor::new_cmd(sql);
                self.client.clone().get_flight_info(descriptor).await.map(drop)
            }
            Door::RawPut => {
                self.put(vec![describing(FlightDescriptor::new_cmd(sql))]).await.map(drop)
            }
        }
    }
}

/// Where a change comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Path,
    Append,
    Batches,
    Ingest,
    Update,
    Prepared,
    Info,
    RawInfo,
    RawPut,
}

const DOORS_OF_ROWS: [Door; 4] = [Door::Path, Door::Append, Door::Batches, Door::Ingest];
const DOORS_OF_SQL: [Door; 5] =
    [Door::Update, Door::Prepared, Door::Info, Door::RawInfo, Door::RawPut];

/// What comes in.
enum Change {
    /// A row of "A" in this hour.
    Rows(Vec<RecordBatch>, i64),
    Sql(String),
}

impl Change {
    fn rows(hour: i64) -> Self {
        let ts = TimestampMicrosecondArray::from_iter_values([hour * 3_600_000_000]);
        let batch = RecordBatch::try_from_iter([
            ("ts", Arc::new(ts.with_timezone("UTC")) as _),
            ("symbol", Arc::new(StringArray::from(vec!["A"])) as _),
            ("price", Arc::new(Float64Array::from(vec![1.0])) as _),
        ]);
        Self::Rows(vec![batch.unwrap()], hour)
    }

    fn messages(&self, descriptor: FlightDescriptor) -> Vec<FlightData> {
        let Self::Rows(batches, _) = self else { panic!("rows go through doors of rows") };
        let mut messages = batches_to_flight_data(&batches[0].schema(), batches.clone()).unwrap();
        messages[0].flight_descriptor = Some(descriptor);
        messages
    }

    fn sql(&self) -> String {
        match self {
            Self::Sql(sql) => sql.clone(),
            Self::Rows(_, hour) => {
                format!("INSERT INTO prices VALUES ('1970-01-01T{hour:02}:00:00Z', 'A', 1.0)")
            }
        }
    }
}

fn path() -> FlightDescriptor {
    FlightDescriptor::new_path(vec!["prices".to_owned()])
}

fn append(commit: CommitMode) -> FlightDescriptor {
    let command =
        AppendCommand { table: "prices".into(), commit: commit.into(), ..AppendCommand::default() };
    let any = Any { type_url: AppendCommand::type_url(), value: command.encode_to_vec().into() };
    FlightDescriptor::new_cmd(any.encode_to_vec())
}

fn ingest() -> FlightDescriptor {
    let command = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Fail as i32,
            if_exists: TableExistsOption::Append as i32,
        }),
        table: "prices".to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: [].into(),
    };
    command_descriptor(&command)
}

fn command_descriptor<C: ProstMessageExt>(command: &C) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

fn describing(descriptor: FlightDescriptor) -> FlightData {
    FlightData { flight_descriptor: Some(descriptor), ..FlightData::default() }
}

#[track_caller]
fn check(door: Door, error: Result<(), Status>, code: Code, committed: &str) -> Status {
    let status = error.expect_err("an error");
    assert_eq!(status.code(), code, "{door:?}: {status:?}");
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["committed"], committed, "{door:?}: {status:?}");
    assert_eq!(status.metadata().get("x-coverline-committed").unwrap(), committed, "{door:?}");
    let batches = metadata.get("batches_committed").map(String::as_str);
    let expected = (door == Door::Batches).then_some("0");
    assert_eq!(batches, expected, "{door:?}: {status:?}");
    status
}

/// Everything that is refused for what it is or for what there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_commits_nothing_at_any_door() {
    let served = Served::start().await;
    let before = served.version().await;
    for door in DOORS_OF_ROWS.into_iter().chain(DOORS_OF_SQL) {
        let status =
            check(door, served.call(door, &Change::rows(1)).await, Code::AlreadyExists, "no");
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!(metadata["identical"], "true", "{door:?}: the same row, whatever brings it");
    }
    let numbers: RecordBatch =
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    let misfit = Change::Rows(vec![numbers], 0);
    for door in DOORS_OF_ROWS {
        check(door, served.call(door, &misfit).await, Code::InvalidArgument, "no");
    }
    for door in DOORS_OF_SQL {
        let missing = Change::Sql("INSERT INTO prices SELECT * FROM nowhere".into());
        let status = served.call(door, &missing).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{door:?}");
        let failing = Change::Sql("INSERT INTO prices SELECT ts, symbol, 1 / 0 FROM prices".into());
        let result = served.call(door, &failing).await;
        check(door, result, Code::InvalidArgument, "no");
        let there = Change::Sql("CREATE TABLE prices (n BIGINT)".into());
        check(door, served.call(door, &there).await, Code::AlreadyExists, "no");
    }
    assert_eq!(served.version().await, before);
    served.stop().await;
}

/// A store that certainly stored nothing: the change can be sent again, and then is there.
#[tokio::test(flavor = "multi_thread")]
async fn before_publish_nothing_is_committed_at_any_door() {
    let served = Served::start().await;
    for (hour, door) in (2..).zip(DOORS_OF_ROWS.into_iter().chain(DOORS_OF_SQL)) {
        let before = served.version().await;
        served.store.next_puts([PutFault::NotStored]);
        let result = served.call(door, &Change::rows(hour)).await;
        check(door, result, Code::Unavailable, "no");
        assert_eq!(served.version().await, before, "{door:?}");
        served.call(door, &Change::rows(hour)).await.unwrap();
        assert_eq!(served.version().await, before.next(), "{door:?}");
    }
    for (number, door) in DOORS_OF_SQL.into_iter().enumerate() {
        served.store.next_puts([PutFault::NotStored]);
        let create = Change::Sql(format!("CREATE TABLE t{number} (n BIGINT)"));
        check(door, served.call(door, &create).await, Code::Unavailable, "no");
        served.call(door, &create).await.unwrap();
    }
    let body = || br#"{"name": "made"}"#.to_vec();
    served.store.next_puts([PutFault::NotStored]);
    let refused = served.act("coverline.CreateTable", body()).await.map(drop);
    check(Door::Info, refused, Code::Unavailable, "no");
    served.act("coverline.CreateTable", body()).await.unwrap();
    served.stop().await;
}

/// A table that is made with its rows is there with them or not at all, whether or not others may write to the root.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_from_a_query_is_there_with_its_rows_or_not_at_all() {
    for access in [Access::Exclusive, Access::Shared] {
        let served = Served::start_as(access.clone()).await;
        for (number, door) in DOORS_OF_SQL.into_iter().enumerate() {
            let name = format!("copy{number}");
            let create = |column: &str| {
                Change::Sql(format!("CREATE TABLE {name} AS SELECT symbol, {column} FROM prices"))
            };
            let is_absent = async || {
                let found = served.catalog.fresh_table(&name, Duration::ZERO).await;
                found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
            };
            let failing = served.call(door, &create("CAST(symbol AS BIGINT) AS n")).await;
            check(door, failing, Code::InvalidArgument, "no");
            assert!(is_absent().await, "{access:?} {door:?}");
            // The record that makes it, the one of its rows, and its name.
            for puts_before in 0..3 {
                let mut puts = vec![PutFault::None; puts_before];
                puts.push(PutFault::NotStored);
                served.store.next_puts(puts);
                let refused = served.call(door, &create("price")).await;
                check(door, refused, Code::Unavailable, "no");
                assert!(is_absent().await, "{access:?} {door:?} {puts_before}");
            }
            served.call(door, &create("price")).await.unwrap();
            let made = served.catalog.table(&name).await.unwrap().snapshot();
            assert_eq!((made.version, made.row_count), (Version(2), 1), "{access:?} {door:?}");
        }
        served.store.next_puts([PutFault::None, PutFault::None, PutFault::NotDurable]);
        let create = Change::Sql("CREATE TABLE unknown AS SELECT symbol FROM prices".to_owned());
        check(Door::Update, served.call(Door::Update, &create).await, Code::Unknown, "unknown");
        served.stop().await;
    }
}

/// A record that is in the log, or not: nobody says more than is known, and what is refused afterwards is refused for sure.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_unknown_at_every_door() {
    for door in DOORS_OF_ROWS.into_iter().chain(DOORS_OF_SQL) {
        let served = Served::start().await;
        served.store.next_puts([PutFault::NotDurable]);
        let result = served.call(door, &Change::rows(2)).await;
        check(door, result, Code::Unknown, "unknown");
        let table = served.catalog.table("prices").await.unwrap();
        assert!(table.closed().is_some(), "{door:?}");
        served.stop().await;
    }
}

/// What a stream of commits had acknowledged stays, and the error says how much that is.
#[tokio::test(flavor = "multi_thread")]
async fn the_batches_before_a_failure_are_told_and_stay() {
    for (fault, code, committed) in [
        (PutFault::NotStored, Code::Unavailable, "no"),
        (PutFault::NotDurable, Code::Unknown, "unknown"),
    ] {
        let served = Served::start().await;
        let before = served.version().await;
        served.store.next_puts([PutFault::None, PutFault::None, fault]);
        let batches = (2..6).flat_map(|hour| match Change::rows(hour) {
            Change::Rows(batches, _) => batches,
            Change::Sql(_) => Vec::new(),
        });
        let messages = Change::Rows(batches.collect(), 0).messages(append(CommitMode::Batch));
        let status = served.put(messages).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!(metadata["batches_committed"], "2");
        assert_eq!(metadata["committed"], committed);
        assert_eq!(served.version().await, before.next().next());
        served.stop().await;
    }
}
