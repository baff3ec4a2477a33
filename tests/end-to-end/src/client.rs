//! A small pipeline-style client: appends with our `AppendCommand`, SQL over Flight SQL.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{Any, TicketStatementQuery};
use arrow_flight::{Action, FlightClient, FlightDescriptor, Ticket};
use coverline_proto::flight::{
    AppendCommand, AppendReceipt, CommitMode, OverlapPolicy, QueryTicket,
};
use futures::{StreamExt, TryStreamExt, stream};
use prost::{Message, Name};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::TestResult;

/// Longest wait for a connection; generous, since a busy machine starts slowly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// What an append answered.
pub type Receipt = AppendReceipt;

/// Why an append, or another change, was not acknowledged.
#[derive(Debug)]
pub enum AppendError {
    /// The server said no, with this code; C2 lists which codes mean "not committed".
    Refused {
        /// gRPC code.
        code: Code,
        /// Text.
        message: String,
        /// `google.rpc.ErrorInfo.reason`.
        reason: String,
        /// `google.rpc.ErrorInfo.metadata`.
        details: std::collections::HashMap<String, String>,
    },
    /// The answer did not arrive: committed or not.
    Unknown(String),
}

/// A connection to one server.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    /// Sent with every SQL call.
    headers: Vec<(String, String)>,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: &str) -> TestResult<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .connect()
            .await?;
        Ok(Self { channel, headers: Vec::new() })
    }

    /// The same connection, with one more header on every SQL call.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    fn flight_sql(&self) -> FlightSqlServiceClient<Channel> {
        let mut client = FlightSqlServiceClient::new(self.channel.clone());
        for (name, value) in &self.headers {
            client.set_header(name, value);
        }
        client
    }

    /// Where to get the rows of a statement, at the versions of now.
    ///
    /// # Errors
    /// Of the server.
    pub async fn ticket(&self, sql: &str) -> TestResult<Ticket> {
        let info = self.flight_sql().execute(sql.to_owned(), None).await?;
        let [endpoint] = &info.endpoint[..] else { return Err("not one endpoint".into()) };
        Ok(endpoint.ticket.clone().ok_or("an endpoint without a ticket")?)
    }

    /// The rows behind a ticket, which another server may have made.
    ///
    /// # Errors
    /// Of the server.
    pub async fn redeem(&self, ticket: Ticket) -> TestResult<Vec<RecordBatch>> {
        Ok(self.flight_sql().do_get(ticket).await?.try_collect().await?)
    }

    /// Over a connection made elsewhere.
    pub fn over(channel: Channel) -> Self {
        Self { channel, headers: Vec::new() }
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// Of the server.
    pub async fn sql(&self, sql: &str) -> TestResult<Vec<RecordBatch>> {
        let mut client = self.flight_sql();
        let info = client.execute(sql.to_owned(), None).await?;
        let mut batches = Vec::new();
        for endpoint in info.endpoint {
            let ticket = endpoint.ticket.ok_or("an endpoint without a ticket")?;
            batches.extend(client.do_get(ticket).await?.try_collect::<Vec<_>>().await?);
        }
        Ok(batches)
    }

    /// The same for a statement about one table, with the version of it that the rows are of.
    ///
    /// # Errors
    /// Of the server.
    pub async fn sql_at_version(&self, sql: &str) -> TestResult<(u64, Vec<RecordBatch>)> {
        let mut client = self.flight_sql();
        let info = client.execute(sql.to_owned(), None).await?;
        let [endpoint] = &info.endpoint[..] else { return Err("not one endpoint".into()) };
        let ticket = endpoint.ticket.clone().ok_or("an endpoint without a ticket")?;
        let command: TicketStatementQuery =
            Any::decode(&*ticket.ticket)?.unpack()?.ok_or("not a statement's ticket")?;
        let handle = Any::decode(&*command.statement_handle)?;
        let [pin] = &QueryTicket::decode(&*handle.value)?.pins[..] else {
            return Err("not one table".into());
        };
        let version = pin.version;
        Ok((version, client.do_get(ticket).await?.try_collect().await?))
    }

    /// The commit records of a table, oldest first.
    ///
    /// # Errors
    /// Of the server.
    pub async fn log(&self, table: &str) -> TestResult<Vec<serde_json::Value>> {
        let action = Action::new("coverline.LogShow", format!("{{\"table\": \"{table}\"}}"));
        let mut client = FlightClient::new(self.channel.clone());
        let records: Vec<_> = client.do_action(action).await?.try_collect().await?;
        Ok(records.iter().map(|record| serde_json::from_slice(record)).collect::<Result<_, _>>()?)
    }

    /// Runs a statement that changes something.
    ///
    /// # Errors
    /// Of the server.
    pub async fn execute(&self, sql: &str) -> TestResult<i64> {
        let mut client = FlightSqlServiceClient::new(self.channel.clone());
        Ok(client.execute_update(sql.to_owned(), None).await?)
    }

    /// The same, telling a refusal from a lost answer.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn change(&self, sql: &str) -> Result<i64, AppendError> {
        let mut client = FlightSqlServiceClient::new(self.channel.clone());
        client.execute_update(sql.to_owned(), None).await.map_err(append_error)
    }

    /// One append of some batches (at least one, for their schema).
    ///
    /// # Errors
    /// [`AppendError`] tells a refusal from a lost answer.
    pub async fn append(
        &self,
        table: &str,
        policy: OverlapPolicy,
        append_id: &str,
        batches: Vec<RecordBatch>,
    ) -> Result<Receipt, AppendError> {
        let command = AppendCommand {
            table: table.to_owned(),
            on_overlap: policy.into(),
            commit: CommitMode::Stream.into(),
            append_id: append_id.to_owned(),
        };
        let mut receipts = self.put(command, batches).await?;
        receipts.pop().ok_or_else(|| AppendError::Unknown("no receipt came".to_owned()))
    }

    /// Appends each batch (at least one) as a version of its own. Returns their receipts.
    ///
    /// # Errors
    /// See [`Client::append`]; the batches before the one that failed are committed.
    pub async fn append_each(
        &self,
        table: &str,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Receipt>, AppendError> {
        let command = AppendCommand {
            table: table.to_owned(),
            commit: CommitMode::Batch.into(),
            ..AppendCommand::default()
        };
        self.put(command, batches).await
    }

    async fn put(
        &self,
        command: AppendCommand,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Receipt>, AppendError> {
        let any =
            Any { type_url: AppendCommand::type_url(), value: command.encode_to_vec().into() };
        let stream = FlightDataEncoderBuilder::new()
            .with_schema(batches[0].schema())
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(any.encode_to_vec())))
            .build(stream::iter(batches.into_iter().map(Ok)));
        let mut client = FlightClient::new(self.channel.clone());
        let mut answers = client.do_put(stream).await.map_err(append_error)?;
        let mut receipts = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(append_error)?;
            let receipt = AppendReceipt::decode(answer.app_metadata)
                .map_err(|error| AppendError::Unknown(error.to_string()))?;
            receipts.push(receipt);
        }
        Ok(receipts)
    }
}

fn append_error(error: FlightError) -> AppendError {
    let FlightError::Tonic(status) = error else {
        return AppendError::Unknown(error.to_string());
    };
    let info = status.get_details_error_info();
    match (status.code(), info) {
        // Without our details it is the transport that speaks, not the server.
        (_, None) => AppendError::Unknown(status.to_string()),
        (code, Some(info)) => AppendError::Refused {
            code,
            message: status.message().to_owned(),
            reason: info.reason,
            details: info.metadata,
        },
    }
}

/// The code of an error that the server sent; `None` for a lost connection, and for errors of the test itself.
pub fn code_of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Code> {
    match error.downcast_ref::<FlightError>()? {
        FlightError::Tonic(status) => status.get_details_error_info().map(|_| status.code()),
        _ => None,
    }
}
