//! Appends CSV files of hourly prices to a table, each as one version. Run it twice: the second time every file is refused as already
//! loaded, and the table stays as it is.
//!
//! ```text
//! ingest HOST:PORT TABLE FILE.csv...
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use coverline_client_examples::Overlap;
use futures::stream;
use tonic::transport::{Channel, Endpoint};

type Client = FlightSqlServiceClient<Channel>;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, table, files @ ..] = arguments.as_slice() else {
        eprintln!("usage: ingest HOST:PORT TABLE FILE.csv...");
        return Ok(ExitCode::from(2));
    };
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = FlightSqlServiceClient::new(channel);
    let create = format!(
        "CREATE TABLE IF NOT EXISTS \"{}\" (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) \
         WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')",
        table.replace('"', "\"\"")
    );
    client.execute_update(create, None).await?;
    for file in files.iter().map(Path::new) {
        let name = file.file_name().unwrap_or_default().display();
        match append(&mut client, table, file).await {
            Ok(rows) => writeln!(stdout(), "{name}: {rows} rows")?,
            Err(error) => match Overlap::of(&error) {
                Some(overlap) => writeln!(
                    stdout(),
                    "{name}: already loaded, {} overlapping buckets (first {} [{}, {}), since version {})",
                    overlap.count,
                    overlap.entity,
                    overlap.bucket_start,
                    overlap.bucket_end,
                    overlap.owner_version
                )?,
                None => return Err(error.into()),
            },
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends one file as one append: all of it becomes one version, or nothing does.
async fn append(client: &mut Client, table: &str, file: &Path) -> Result<i64, FlightError> {
    let failed = |error: std::io::Error| FlightError::from_external_error(Box::new(error));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", utc, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("close", DataType::Float64, true),
    ]));
    let batches = ReaderBuilder::new(schema)
        .with_header(true)
        .build(File::open(file).map_err(failed)?)?
        .map(|batch| batch.map_err(FlightError::from));
    let command = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Fail as i32,
            if_exists: TableExistsOption::Append as i32,
        }),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: [].into(),
    };
    client.execute_ingest(command, stream::iter(batches)).await
}
