//! A real server on a free port over a folder of its own, and the few calls that tests make of it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; not every one uses everything"
)]

pub(crate) mod flight;
pub(crate) mod sql;

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    CommandStatementIngest, ProstMessageExt, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{Action, FlightData, FlightDescriptor};
use coverline_proto::flight::{AppendCommand, AppendReceipt};
use flight_server::config::ServerConfig;
use flight_server::server::{self, ServeError};
use futures::stream;
use futures::{Stream, TryStreamExt};
use prost::{Message, Name};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::{ErrorInfo, StatusExt};

/// A server that lives as long as this value.
pub(crate) struct Server {
    pub client: FlightServiceClient<Channel>,
    pub channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
    pub folder: Arc<TempDir>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Over a folder that another one has left.
    pub(crate) async fn over(folder: Arc<TempDir>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ServerConfig { disk_floor_bytes: Some(0), ..ServerConfig::new(folder.path()) };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(server::serve(listener, config, shutdown));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = channel.connect().await.unwrap();
        let client = FlightServiceClient::new(channel.clone());
        Self { client, channel, stop: Some(stop), running, folder }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.client);
        drop(self.channel);
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }

    /// Calls a JSON action and collects its results.
    pub(crate) async fn action(&self, name: &str, body: Value) -> Result<Vec<Value>, Status> {
        let body = body.to_string().into_bytes();
        let results = self.raw_action(name, body).await?;
        Ok(results.iter().map(|body| serde_json::from_slice(body).unwrap()).collect())
    }

    pub(crate) async fn raw_action(
        &self,
        name: &str,
        body: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let action = Action { r#type: name.to_owned(), body: body.into() };
        let results = self.client.clone().do_action(action).await?.into_inner();
        results.map_ok(|result| result.body.to_vec()).try_collect().await
    }

    /// Creates `name` with index `ts`, bucket `1h`, entity `symbol`.
    pub(crate) async fn create_prices(&self, name: &str) {
        let body = json!({
            "name": name, "index_column": "ts", "bucket": "1h", "entity_columns": ["symbol"],
        });
        self.action("coverline.CreateTable", body).await.unwrap();
    }

    /// What ListTables says about one table; `None` when it is not there.
    pub(crate) async fn table(&self, name: &str) -> Option<Value> {
        let tables = self.action("coverline.ListTables", json!({})).await.unwrap();
        tables.into_iter().find(|table| table["name"] == name)
    }

    pub(crate) async fn row_count(&self, name: &str) -> u64 {
        self.table(name).await.expect(name)["row_count"].as_u64().unwrap()
    }

    /// One DoPut.
    pub(crate) async fn put(
        &self,
        headers: &[(&'static str, &str)],
        messages: impl Stream<Item = FlightData> + Send + 'static,
    ) -> Result<Vec<AppendReceipt>, Status> {
        let mut request = Request::new(messages);
        *request.metadata_mut() = metadata(headers);
        let results = self.client.clone().do_put(request).await?.into_inner();
        results
            .map_ok(|result| AppendReceipt::decode(result.app_metadata).unwrap())
            .try_collect()
            .await
    }

    /// Appends batches through a descriptor.
    pub(crate) async fn append(
        &self,
        descriptor: FlightDescriptor,
        batches: &[RecordBatch],
    ) -> Result<Vec<AppendReceipt>, Status> {
        self.put(&[], stream::iter(messages(descriptor, batches))).await
    }
}

fn metadata(headers: &[(&'static str, &str)]) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in headers {
        map.insert(*name, MetadataValue::try_from(*value).unwrap());
    }
    map
}

pub(crate) fn path(parts: &[&str]) -> FlightDescriptor {
    FlightDescriptor::new_path(parts.iter().map(|part| (*part).to_owned()).collect())
}

pub(crate) fn command(command: &AppendCommand) -> FlightDescriptor {
    let any = arrow_flight::sql::Any {
        type_url: AppendCommand::type_url(),
        value: command.encode_to_vec().into(),
    };
    FlightDescriptor::new_cmd(any.encode_to_vec())
}

/// An ingestion of Flight SQL, by what it does when the table is missing and when it is there.
pub(crate) fn ingest(
    table: &str,
    missing: TableNotExistOption,
    exists: TableExistsOption,
) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: missing as i32,
            if_exists: exists as i32,
        }),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: [].into(),
    }
}

pub(crate) fn descriptor(command: &CommandStatementIngest) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// Schema, dictionaries and batches, the descriptor on the first.
pub(crate) fn messages(descriptor: FlightDescriptor, batches: &[RecordBatch]) -> Vec<FlightData> {
    let mut messages = batches_to_flight_data(&batches[0].schema(), batches.to_vec()).unwrap();
    messages[0].flight_descriptor = Some(descriptor);
    messages
}

/// Rows of one symbol, one a minute from `hour` (since the epoch) on.
pub(crate) fn prices(symbol: &str, hour: i64, rows: i64) -> RecordBatch {
    let start = hour * 3_600_000_000;
    let ts =
        TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| start + row * 60_000_000));
    RecordBatch::try_from_iter([
        ("ts", Arc::new(ts.with_timezone("UTC")) as _),
        ("symbol", Arc::new(StringArray::from(vec![symbol; rows as usize])) as _),
        ("price", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64))) as _),
    ])
    .unwrap()
}

/// One column, `n`.
pub(crate) fn numbers(values: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values.to_vec())) as _)]).unwrap()
}

/// The structured detail of an error of ours.
#[track_caller]
pub(crate) fn info(status: &Status) -> ErrorInfo {
    status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"))
}

/// Asserts code and reason, and that nothing was committed.
#[track_caller]
pub(crate) fn check_refused<T: std::fmt::Debug>(
    result: Result<T, Status>,
    code: tonic::Code,
    reason: &str,
) -> Status {
    let status = result.expect_err(reason);
    assert_eq!(status.code(), code, "{status:?}");
    let info = info(&status);
    assert_eq!(info.reason, reason, "{status:?}");
    assert_eq!(info.domain, "coverline");
    assert_eq!(info.metadata.get("committed").map(String::as_str), Some("no"), "{status:?}");
    status
}
