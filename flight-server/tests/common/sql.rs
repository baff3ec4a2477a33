//! A stock Flight SQL client, and the few calls that tests of SQL make of it.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::Channel;

use super::Server;

/// A client of one server.
pub(crate) struct SqlClient {
    pub flight: FlightSqlServiceClient<Channel>,
    /// What stands for a cell without text.
    pub empty: &'static str,
}

impl SqlClient {
    pub(crate) fn of(server: &Server) -> Self {
        Self { flight: FlightSqlServiceClient::new(server.channel.clone()), empty: "" }
    }

    pub(crate) async fn info(&mut self, sql: &str) -> Result<FlightInfo, FlightError> {
        self.flight.execute(sql.to_owned(), None).await
    }

    /// The result of a query; its schema is the one that was announced.
    pub(crate) async fn fetch(
        &mut self,
        info: FlightInfo,
    ) -> Result<Vec<RecordBatch>, FlightError> {
        let announced = info.clone().try_decode_schema().unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut stream = self.flight.do_get(ticket).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            batches.push(batch);
        }
        assert_eq!(stream.schema().unwrap().as_ref(), &announced);
        Ok(batches)
    }

    async fn try_query(&mut self, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
        let info = self.info(sql).await?;
        self.fetch(info).await
    }

    pub(crate) async fn query(&mut self, sql: &str) -> Vec<RecordBatch> {
        self.try_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The rows of a query as `text` has them.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<String> {
        let batches = self.query(sql).await;
        self.text(&batches)
    }

    /// Rows as text: cells between blanks.
    pub(crate) fn text(&self, batches: &[RecordBatch]) -> Vec<String> {
        let text = pretty_format_batches(batches).unwrap().to_string();
        let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
        let cell =
            |cell: &str| if cell.trim().is_empty() { self.empty } else { cell.trim() }.to_owned();
        let cells = |line: &str| line.trim_matches('|').split('|').map(cell).collect::<Vec<_>>();
        lines.map(|line| cells(line).join(" ")).collect()
    }

    pub(crate) async fn int(&mut self, sql: &str) -> i64 {
        self.query(sql).await[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    pub(crate) async fn update(&mut self, sql: &str) -> i64 {
        let done = self.flight.execute_update(sql.to_owned(), None).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A query that is refused, at the latest when its rows are asked for.
    pub(crate) async fn refused(&mut self, sql: &str, code: Code, words: &str) {
        let error = self.try_query(sql).await.expect_err(sql);
        let FlightError::Tonic(status) = &error else { panic!("{sql}: {error:?}") };
        assert_eq!(status.code(), code, "{sql}: {status:?}");
        assert!(status.message().contains(words), "{sql}: {}", status.message());
    }
}
