//! The Flight client behind the command line and the demo.
//!
//! Speaks to a server exactly as any other client does: statements as Flight SQL, appends as our
//! `AppendCommand`, maintenance as JSON actions. Turns statuses into a [`ClientError`] whose details can be read; how an
//! error looks to a person is the command line's business.
//!
//! Calls go through the generated stub and not through arrow-flight's `FlightSqlServiceClient`, which flattens a status
//! into text and with it loses the details of an overlap.

use std::collections::HashMap;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, FlightData, FlightDescriptor, IpcMessage, SchemaAsIpc};
use arrow_ipc::writer::IpcWriteOptions;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use coverline_proto::flight::{AppendCommand, AppendReceipt, OverlapPolicy};
use futures::future::Either;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::{Message, Name};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt;

use crate::status::Committed;
use crate::tls;

/// HTTP/2 flow-control window of a stream and of the connection, bytes: one window is several messages, so that a
/// stream does not wait for the peer after each.
const WINDOW_BYTES: u32 = 8 << 20;

/// Largest message accepted from a server, bytes. Servers of other make send whole batches in one message.
const DECODE_BYTES_MAX: usize = 256 << 20;

/// Largest message sent, bytes; what the server's own streams use, and below the 4 MiB that many gRPC peers accept.
const MESSAGE_BYTES: usize = 2 << 20;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Metadata of the message that gives an append up; see `AppendCommand` in `flight.proto`.
const ABORT_MARK: &[u8] = b"coverline:abort";

/// How long the server may take to confirm that an append is given up.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection to a server. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    flight: FlightServiceClient<Channel>,
}

/// Where an append met buckets that already hold rows, as the server reported it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OverlapDetails {
    /// Owned (entity, bucket) pairs that the append touches, as far as the server read it.
    pub overlap_count: u64,
    /// One such entity, `symbol="NVDA"`; empty on tables without entity columns.
    pub example_entity: String,
    /// Start of one such bucket.
    pub bucket_start: String,
    /// Its end, exclusive.
    pub bucket_end: String,
    /// The version that owns it, when known.
    pub owner_version: Option<u64>,
    /// The version that the append was checked against.
    pub table_version: Option<u64>,
    /// Whether the append repeats the one that owns the bucket, row for row; `None` when the server does not know.
    pub identical: Option<bool>,
}

/// What went wrong between this process and the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address is not one.
    #[error("server address \"{address}\" is not usable: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {server}: {reason}")]
    Connect {
        /// The address.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The append overlaps; nothing of it was committed.
    #[error("{message}")]
    Overlap {
        /// The server's text.
        message: String,
        /// Where.
        details: Box<OverlapDetails>,
    },
    /// The server answered with another error.
    #[error("{message}")]
    Refused {
        /// The gRPC code.
        code: Code,
        /// The server's text.
        message: String,
        /// `ErrorInfo.reason`, such as `NOT_FOUND`; empty when the server gave none.
        reason: String,
        /// What is known about the commit without looking at the code: what the server said, or that it was never asked.
        said: Option<Committed>,
    },
    /// The rows to append could not be read; the append was called off and nothing was committed.
    #[error("{0}")]
    Source(String),
    /// The server's answer makes no sense to this client.
    #[error("unexpected answer from the server: {what}")]
    Answer {
        /// What is wrong with it.
        what: String,
    },
}

/// A result: its schema, and its batches as they arrive.
pub(crate) struct QueryStream {
    /// Columns of the result.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: BoxStream<'static, Result<RecordBatch, ClientError>>,
}

/// What an append asks for, apart from its rows.
#[derive(Debug, Clone)]
pub(crate) struct AppendRequest {
    /// Table name.
    pub table: String,
    /// What to do with rows in owned buckets.
    pub on_overlap: OverlapPolicy,
    /// Makes a retry return the first receipt.
    pub append_id: Option<String>,
}

/// A table to create. Without an index column it is a plain one.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreateRequest {
    /// Its name.
    pub name: String,
    /// The ordered column.
    pub index_column: Option<String>,
    /// Width of a bucket.
    pub bucket: Option<String>,
    /// Entity columns, in order.
    pub entity_columns: Vec<String>,
    /// Zone of calendar buckets.
    pub time_zone: Option<String>,
    /// Its columns, when they are not to come from the first append.
    pub schema: Option<SchemaRef>,
    /// A table of that name and the same index is as good as a new one.
    pub if_not_exists: bool,
}

impl Client {
    /// Connects to `grpc://host:port`, or to `grpc+tls://host:port`.
    pub(crate) async fn connect(server: &str) -> Result<Self, ClientError> {
        let unusable = |reason| ClientError::Address { address: server.to_owned(), reason };
        let uri = http_uri(server)?;
        let is_encrypted = uri.starts_with("https://");
        let mut endpoint =
            Endpoint::from_shared(uri).map_err(|error| unusable(error.to_string()))?;
        if is_encrypted {
            let configured = endpoint.tls_config(tls::of_commands().map_err(unusable)?);
            endpoint = configured.map_err(|error| unusable(tls::innermost(&error)))?;
        }
        let endpoint = endpoint
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| ClientError::Connect {
            server: server.to_owned(),
            reason: tls::innermost(&error),
        })?;
        let flight = FlightServiceClient::new(channel).max_decoding_message_size(DECODE_BYTES_MAX);
        Ok(Self { flight })
    }

    /// Runs a statement and streams its result. A statement that changes something has run when this returns.
    pub(crate) async fn query(&self, sql: &str) -> Result<QueryStream, ClientError> {
        let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let mut flight = self.flight.clone();
        let info = flight.get_flight_info(descriptor).await?.into_inner();
        let tickets: Vec<_> =
            info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.clone()).collect();
        let schema = info.try_decode_schema().map_err(|error| ClientError::Answer {
            what: format!("the schema of the result cannot be read: {error}"),
        })?;
        let batches = stream::iter(tickets)
            .then(move |ticket| {
                let mut flight = flight.clone();
                async move {
                    let data = flight.do_get(ticket).await?.into_inner();
                    let data = data.map_err(|status| FlightError::Tonic(Box::new(status)));
                    let batches = FlightRecordBatchStream::new_from_flight_data(data);
                    Ok::<_, ClientError>(batches.map_err(ClientError::from))
                }
            })
            .try_flatten();
        Ok(QueryStream { schema: schema.into(), batches: batches.boxed() })
    }

    /// Runs a query whose result is small and returns all of it.
    pub(crate) async fn query_all(&self, sql: &str) -> Result<Vec<RecordBatch>, ClientError> {
        self.query(sql).await?.batches.try_collect().await
    }

    /// The columns of a table; `None` while its first append is still to come.
    pub(crate) async fn table_schema(&self, table: &str) -> Result<Option<SchemaRef>, ClientError> {
        let descriptor = FlightDescriptor::new_path(vec![table.to_owned()]);
        let result = self.flight.clone().get_schema(descriptor).await?.into_inner();
        let schema = Schema::try_from(&result).map_err(|error| ClientError::Answer {
            what: format!("the schema of table \"{table}\" cannot be read: {error}"),
        })?;
        Ok((!schema.fields().is_empty()).then(|| schema.into()))
    }

    /// Appends a stream of batches as one version, or nothing.
    ///
    /// When `batches` yields an error the append is given up: the stream says so and never ends, because a stream that
    /// ends is one that the server commits.
    pub(crate) async fn append(
        &self,
        request: AppendRequest,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    ) -> Result<AppendReceipt, ClientError> {
        let command = AppendCommand {
            table: request.table,
            on_overlap: request.on_overlap.into(),
            append_id: request.append_id.unwrap_or_default(),
            ..AppendCommand::default()
        };
        let command = prost_types::Any {
            type_url: AppendCommand::type_url(),
            value: command.encode_to_vec(),
        };
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let data = FlightDataEncoderBuilder::new()
            .with_max_flight_data_size(MESSAGE_BYTES)
            .with_schema(schema)
            .with_flight_descriptor(Some(descriptor))
            .build(batches.map_err(FlightError::Arrow));
        let (failed, failure) = oneshot::channel();
        let mut failed = Some(failed);
        let data = data.flat_map(move |data| match data {
            Ok(data) => Either::Left(stream::iter([data])),
            Err(error) => {
                if let Some(failed) = failed.take() {
                    // The receiver is gone only when the call is over, and then the error is of no interest.
                    let _ = failed.send(error);
                }
                let give_up =
                    FlightData { app_metadata: ABORT_MARK.into(), ..FlightData::default() };
                Either::Right(stream::iter([give_up]).chain(stream::pending()))
            }
        });
        let answer = self.put(data);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            Ok(error) = failure => {
                // The answer means that the server has seen the mark. Without one the call is cancelled.
                let _ = tokio::time::timeout(ABORT_TIMEOUT, answer).await;
                Err(ClientError::Source(source_text(error)))
            }
            receipt = &mut answer => receipt,
        }
    }

    /// Sends an append and waits for its last receipt.
    async fn put(
        &self,
        data: impl Stream<Item = FlightData> + Send + 'static,
    ) -> Result<AppendReceipt, ClientError> {
        let mut flight = self.flight.clone();
        let mut results = flight.do_put(data).await?.into_inner();
        let mut receipt = None;
        while let Some(result) = results.message().await? {
            receipt = Some(AppendReceipt::decode(result.app_metadata).map_err(undecodable)?);
        }
        receipt
            .ok_or_else(|| ClientError::Answer { what: "an append without a receipt".to_owned() })
    }

    /// Creates a table.
    pub(crate) async fn create_table(&self, request: &CreateRequest) -> Result<(), ClientError> {
        let schema = request.schema.as_ref().map(|schema| encode_schema(schema)).transpose()?;
        let body = json!({
            "name": request.name,
            "index_column": request.index_column,
            "bucket": request.bucket,
            "entity_columns": request.entity_columns,
            "time_zone": request.time_zone,
            "schema_ipc": schema,
            "if_not_exists": request.if_not_exists,
        });
        let mut results = self.action("coverline.CreateTable", &body).await?;
        while results.try_next().await?.is_some() {}
        Ok(())
    }

    /// Calls one of the server's JSON actions and returns each result as it arrives.
    pub(crate) async fn action(
        &self,
        name: &str,
        body: &Value,
    ) -> Result<BoxStream<'static, Result<Value, ClientError>>, ClientError> {
        let action = Action { r#type: name.to_owned(), body: body.to_string().into() };
        let mut flight = self.flight.clone();
        let results = flight.do_action(action).await?.into_inner();
        let values = results.map(|result| {
            serde_json::from_slice(&result?.body).map_err(|error| ClientError::Answer {
                what: format!("a result that is not JSON: {error}"),
            })
        });
        Ok(values.boxed())
    }
}

impl ClientError {
    /// What is known about the commit of a change that ended like this (C2).
    pub(crate) fn committed(&self) -> Committed {
        match self {
            // A source that failed called the append off.
            Self::Address { .. }
            | Self::Connect { .. }
            | Self::Overlap { .. }
            | Self::Source(_) => Committed::No,
            Self::Answer { .. } => Committed::Unknown,
            Self::Refused { said: Some(said), .. } => *said,
            // A server of ours gives a reason. Without one it is the connection that broke.
            Self::Refused { code: Code::Unavailable, reason, .. } if reason.is_empty() => {
                Committed::Unknown
            }
            Self::Refused { code, .. } => Committed::by_code(*code),
        }
    }

    /// `ErrorInfo.reason` of the server's answer, such as `NOT_FOUND`.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Overlap { .. } => Some("COVERAGE_OVERLAP"),
            _ => None,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let message = match status.message() {
            "" => format!("the server answered {:?}", status.code()),
            message => message.to_owned(),
        };
        let code = status.code();
        let Some(info) = status.get_details_error_info() else {
            let said = was_never_sent(&status).then_some(Committed::No);
            return Self::Refused { code, message, reason: String::new(), said };
        };
        let said = match info.metadata.get("committed").map(String::as_str) {
            Some("no") => Some(Committed::No),
            Some(_) => Some(Committed::Unknown),
            None => None,
        };
        match info.reason.as_str() {
            "COVERAGE_OVERLAP" => {
                let details = Box::new(OverlapDetails::from_metadata(&info.metadata));
                Self::Overlap { message, details }
            }
            reason => Self::Refused { code, message, reason: reason.to_owned(), said },
        }
    }
}

impl From<FlightError> for ClientError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => (*status).into(),
            other => Self::Answer { what: other.to_string() },
        }
    }
}

impl OverlapDetails {
    fn from_metadata(metadata: &HashMap<String, String>) -> Self {
        let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        let number = |key: &str| metadata.get(key).and_then(|value| value.parse().ok());
        Self {
            overlap_count: number("overlap_count").unwrap_or_default(),
            example_entity: text("example_entity"),
            bucket_start: text("bucket_start"),
            bucket_end: text("bucket_end"),
            owner_version: number("owner_version"),
            table_version: number("table_version"),
            identical: metadata.get("identical").and_then(|value| value.parse().ok()),
        }
    }
}

/// A schema as base64 of its Arrow IPC message, the form that it has in a JSON body.
fn encode_schema(schema: &Schema) -> Result<String, ClientError> {
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()))
        .map_err(|error| ClientError::Source(error.to_string()))?;
    Ok(BASE64_STANDARD.encode(&message.0))
}

/// The URI that tonic connects to, from the address forms that Arrow clients use.
fn http_uri(server: &str) -> Result<String, ClientError> {
    let unusable = |reason: &str| ClientError::Address {
        address: server.to_owned(),
        reason: reason.to_owned(),
    };
    let (scheme, authority) = match server.split_once("://") {
        Some(("grpc" | "grpc+tcp" | "http", authority)) => ("http", authority),
        Some(("grpc+tls" | "https", authority)) => ("https", authority),
        Some(_) => return Err(unusable("write grpc://HOST:PORT or grpc+tls://HOST:PORT")),
        None => ("http", server),
    };
    let authority = authority.trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(unusable("a host and a port are needed; write grpc://HOST:PORT")),
    }
}

/// Why the rows of an append could not be read, in the reader's words alone.
fn source_text(error: FlightError) -> String {
    match error {
        FlightError::Arrow(ArrowError::ExternalError(error)) => error.to_string(),
        other => other.to_string(),
    }
}

/// Whether there was no connection to send the call on.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn undecodable(error: prost::DecodeError) -> ClientError {
    ClientError::Answer { what: format!("a receipt that cannot be decoded: {error}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn addresses_of_every_client_family_are_understood() {
        for address in ["grpc://db:50051", "grpc+tcp://db:50051/", "http://db:50051", "db:50051"] {
            assert_eq!(http_uri(address).unwrap(), "http://db:50051", "{address}");
        }
        for address in ["grpc+tls://db:50051", "https://db:50051/"] {
            assert_eq!(http_uri(address).unwrap(), "https://db:50051", "{address}");
        }
        assert_eq!(http_uri("grpc://[::1]:7").unwrap(), "http://[::1]:7");
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_with_a_form_to_write() {
        for address in ["grpc+tls://db", "db", "grpc://:1", "grpc://db:port", "ftp://db:1", ""] {
            let error = http_uri(address).unwrap_err();
            assert!(matches!(error, ClientError::Address { .. }), "{address}");
            assert!(error.to_string().contains("grpc://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn overlap_details_survive_the_status() {
        let metadata = [
            ("overlap_count", "3"),
            ("example_entity", "symbol=\"NVDA\""),
            ("bucket_start", "2025-03-01T00:00:00Z"),
            ("bucket_end", "2025-03-01T01:00:00Z"),
            ("owner_version", "41"),
            ("table_version", "58"),
            ("identical", "true"),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let status = Status::with_error_details(
            Code::AlreadyExists,
            "append rejected",
            ErrorDetails::with_error_info(
                "COVERAGE_OVERLAP",
                "coverline",
                metadata.into_iter().collect::<HashMap<_, _>>(),
            ),
        );
        let ClientError::Overlap { message, details } = ClientError::from(status) else {
            panic!("not an overlap");
        };
        assert_eq!(message, "append rejected");
        assert_eq!(
            *details,
            OverlapDetails {
                overlap_count: 3,
                example_entity: "symbol=\"NVDA\"".to_owned(),
                bucket_start: "2025-03-01T00:00:00Z".to_owned(),
                bucket_end: "2025-03-01T01:00:00Z".to_owned(),
                owner_version: Some(41),
                table_version: Some(58),
                identical: Some(true),
            }
        );
    }

    #[test]
    fn a_status_without_details_keeps_code_and_text() {
        let error = ClientError::from(Status::not_found("no table \"x\""));
        assert_eq!(error.committed(), Committed::No);
        let ClientError::Refused { code, message, reason, .. } = error else {
            panic!("not a refusal");
        };
        assert_eq!(
            (code, message.as_str(), reason.as_str()),
            (Code::NotFound, "no table \"x\"", "")
        );
    }

    /// C2, as seen from here.
    #[test]
    fn what_the_server_said_counts_and_then_the_code() {
        let said = |code: Code, committed: &str| {
            let metadata = HashMap::from([("committed".to_owned(), committed.to_owned())]);
            let details = ErrorDetails::with_error_info("INTERNAL", "coverline", metadata);
            ClientError::from(Status::with_error_details(code, "x", details)).committed()
        };
        assert_eq!(said(Code::Internal, "no"), Committed::No);
        assert_eq!(said(Code::Aborted, "unknown"), Committed::Unknown);
        let bare = |code: Code| ClientError::from(Status::new(code, "x")).committed();
        for code in [Code::Unknown, Code::Internal, Code::Cancelled, Code::DeadlineExceeded] {
            assert_eq!(bare(code), Committed::Unknown, "{code:?}");
        }
        for code in [Code::Aborted, Code::InvalidArgument, Code::AlreadyExists, Code::OutOfRange] {
            assert_eq!(bare(code), Committed::No, "{code:?}");
        }
        assert_eq!(bare(Code::Unavailable), Committed::Unknown, "a connection that broke");
    }

    #[tokio::test]
    async fn a_call_that_found_nobody_was_not_committed() {
        // A port that nobody listens on any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let client = Client { flight: FlightServiceClient::new(channel) };
        let Err(error) = client.query("SELECT 1").await else { panic!("somebody answered") };
        assert!(
            matches!(&error, ClientError::Refused { code: Code::Unavailable, .. }),
            "{error:?}"
        );
        assert_eq!(error.committed(), Committed::No);
    }
}
