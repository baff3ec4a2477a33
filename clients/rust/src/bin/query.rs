//! Asks what a table holds since some moment, with a bound parameter, and what is missing in it.
//!
//! ```text
//! query HOST:PORT TABLE SINCE
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

type Client = FlightSqlServiceClient<Channel>;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, table, since] = arguments.as_slice() else {
        eprintln!("usage: query HOST:PORT TABLE SINCE");
        return Ok(ExitCode::from(2));
    };
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = FlightSqlServiceClient::new(channel);
    held(&mut client, table, since).await?;
    missing(&mut client, table).await?;
    Ok(ExitCode::SUCCESS)
}

async fn held(client: &mut Client, table: &str, since: &str) -> Result<(), Box<dyn Error>> {
    let sql = format!(
        "SELECT symbol, to_char(min(ts), '%Y-%m-%dT%H:%M:%SZ'), to_char(max(ts), '%Y-%m-%dT%H:%M:%SZ'), count(*) \
         FROM \"{}\" WHERE ts >= CAST($1 AS TIMESTAMP WITH TIME ZONE) GROUP BY symbol ORDER BY symbol",
        table.replace('"', "\"\"")
    );
    let mut statement = client.prepare(sql, None).await?;
    let since = Arc::new(StringArray::from(vec![since])) as _;
    statement.set_parameters(RecordBatch::try_from_iter([("since", since)])?)?;
    let info = statement.execute().await?;
    for batch in rows(client, &info).await? {
        let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row);
        let counts = batch.column(3).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (symbol, first, last) = (text(0, row), text(1, row), text(2, row));
            writeln!(stdout(), "{symbol}: {first} to {last}, {} rows", counts.value(row))?;
        }
    }
    statement.close().await?;
    Ok(())
}

async fn missing(client: &mut Client, table: &str) -> Result<(), Box<dyn Error>> {
    // The argument of a table function is part of the plan, so it is text of the statement and no parameter.
    let sql = format!(
        "SELECT symbol, to_char(gap_start, '%Y-%m-%dT%H:%M:%SZ'), to_char(gap_end, '%Y-%m-%dT%H:%M:%SZ'), \
         CAST(missing_buckets AS BIGINT) FROM gaps('{}') ORDER BY symbol, gap_start",
        table.replace('\'', "''")
    );
    let info = client.execute(sql, None).await?;
    for batch in rows(client, &info).await? {
        let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row);
        let buckets = batch.column(3).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (symbol, start, end) = (text(0, row), text(1, row), text(2, row));
            writeln!(
                stdout(),
                "{symbol}: nothing from {start} to {end}, {} buckets",
                buckets.value(row)
            )?;
        }
    }
    Ok(())
}

/// What is behind every endpoint of a result, in order.
async fn rows(client: &mut Client, info: &FlightInfo) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut batches = Vec::new();
    for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.clone()) {
        batches.extend(client.do_get(ticket).await?.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}
