//! The statements and answers in `tests/sql/*.slt`, through a stock Flight SQL client. `tests/sql/README.md` says how to write them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use async_trait::async_trait;
use common::Server;
use futures::TryStreamExt;
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Runner, default_normalizer, default_validator,
    strict_column_validator,
};
use tonic::transport::Channel;

/// What statements begin with that answer with rows.
const QUERIES: [&str; 6] = ["SELECT", "WITH", "VALUES", "SHOW", "DESCRIBE", "EXPLAIN"];

/// One connection.
struct Database(FlightSqlServiceClient<Channel>);

/// A refusal, with the code and the message that a client sees.
#[derive(Debug)]
struct Refused(FlightError);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            FlightError::Tonic(status) => write!(f, "{:?}: {}", status.code(), status.message()),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

#[async_trait]
impl AsyncDB for Database {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !QUERIES.contains(&first.as_str()) {
            let count = self.0.execute_update(sql.to_owned(), None).await.map_err(Refused)?;
            return Ok(DBOutput::StatementComplete(u64::try_from(count).unwrap()));
        }
        let info = self.0.execute(sql.to_owned(), None).await.map_err(Refused)?;
        let schema = info.clone().try_decode_schema().unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let stream = self.0.do_get(ticket).await.map_err(Refused)?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Refused)?;
        Ok(DBOutput::Rows { types: types(&schema), rows: batches.iter().flat_map(cells).collect() })
    }

    async fn shutdown(&mut self) {}
}

fn types(schema: &Schema) -> Vec<DefaultColumnType> {
    let letter = |data_type: &DataType| match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => DefaultColumnType::FloatingPoint,
        number if number.is_floating() => DefaultColumnType::FloatingPoint,
        number if number.is_integer() => DefaultColumnType::Integer,
        _ => DefaultColumnType::Text,
    };
    schema.fields().iter().map(|field| letter(field.data_type())).collect()
}

fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let formatters: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let cell = |column: usize, row: usize| {
        if batch.column(column).is_null(row) {
            return "NULL".to_owned();
        }
        let text = formatters[column].value(row).to_string();
        if text.is_empty() { "(empty)".to_owned() } else { text }
    };
    (0..batch.num_rows())
        .map(|row| (0..formatters.len()).map(|column| cell(column, row)).collect())
        .collect()
}

/// One file on a server of its own.
async fn run(file: &Path) -> Result<(), String> {
    let server = Server::start().await;
    let mut runner = Runner::new(|| {
        let channel = server.channel.clone();
        async move { Ok(Database(FlightSqlServiceClient::new(channel))) }
    });
    runner.with_column_validator(strict_column_validator);
    let outcome = if std::env::var_os("COVERLINE_WRITE_GOLDENS").is_some() {
        let written = runner.update_test_file(
            file,
            " ",
            default_validator,
            default_normalizer,
            strict_column_validator,
        );
        written.await.map_err(|error| error.to_string())
    } else {
        runner.run_file_async(file).await.map_err(|error| error.display(false).to_string())
    };
    drop(runner);
    server.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_the_answers_that_are_written_down() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/sql");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "slt")).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {folder}");
    let mut failed = Vec::new();
    for file in &files {
        if let Err(error) = run(file).await {
            failed.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
