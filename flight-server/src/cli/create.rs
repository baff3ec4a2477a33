//! `coverline create NAME`: makes a time-series table or a plain one.

use std::io::{self, Write};
use std::path::PathBuf;

use coverline_proto::flight::OverlapPolicy;
use futures::stream;
use serde_json::{Value, json};

use super::Outcome;
use super::error::CliError;
use super::source::{self, CsvOptions};
use super::target::Target;
use crate::client::{AppendRequest, Client};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  coverline create prices --index ts --bucket 1h --entity symbol
  coverline create load --index at --bucket 1d --time-zone Europe/Berlin --entity plant,unit
  coverline create airports --plain")]
pub(crate) struct Arguments {
    /// Name of the table.
    #[arg(value_name = "NAME")]
    name: String,
    /// The ordered column: a timestamp, Int64 or UInt64.
    #[arg(long, value_name = "COLUMN", required_unless_present = "plain", requires = "bucket")]
    index: Option<String>,
    /// Width of a bucket: 1ns to 24h, 1d, 1w, 1mo, 1y, or a number of steps on an integer index.
    #[arg(long, value_name = "WIDTH", required_unless_present = "plain", requires = "index")]
    bucket: Option<String>,
    /// Columns that tell one series from another, in order; commas between them.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "index")]
    pub(super) entity: Vec<String>,
    /// IANA time zone that buckets of a day and more follow [default: UTC].
    #[arg(long, value_name = "ZONE", requires = "index")]
    time_zone: Option<String>,
    /// Make a plain table: no index, no coverage, never an overlap.
    #[arg(long, conflicts_with_all = ["index", "bucket", "entity", "time_zone"])]
    plain: bool,
    /// Take the columns from this file now, without its rows; otherwise the first append gives them.
    #[arg(long, value_name = "FILE")]
    schema_from: Option<PathBuf>,
    /// Leave a table of that name as it is.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    arguments.target.with(async |client| create(client, &arguments).await).await
}

async fn create(client: &Client, arguments: &Arguments) -> Result<Outcome, CliError> {
    // Read first: a file that cannot be read must not leave a table behind.
    let source = match &arguments.schema_from {
        Some(path) => Some(source::open(path.clone(), CsvOptions::default()).await?),
        None => None,
    };
    let name = &arguments.name;
    let created = client.create_table(&request(arguments)).await.map_err(|error| {
        let exists = error.reason() == Some("ALREADY_EXISTS");
        let error = CliError::from(error);
        match exists {
            true => error.hint("--if-not-exists leaves a table of that name as it is"),
            false => error,
        }
    })?;
    if let (true, Some(source)) = (created, source) {
        // An append without rows gives a table its columns and nothing else.
        let request = AppendRequest {
            table: name.clone(),
            on_overlap: OverlapPolicy::Reject,
            append_id: None,
        };
        client.append(request, source.schema, stream::empty()).await?;
    }
    match created {
        true => writeln!(io::stdout(), "created table \"{name}\"")?,
        false => writeln!(io::stdout(), "table \"{name}\" exists already, nothing done")?,
    }
    Ok(Outcome::Done)
}

/// The body of `coverline.CreateTable`, without a schema.
fn request(arguments: &Arguments) -> Value {
    json!({
        "name": arguments.name,
        "index_column": arguments.index,
        "bucket": arguments.bucket,
        "entity_columns": arguments.entity,
        "time_zone": arguments.time_zone,
        "if_not_exists": arguments.if_not_exists,
    })
}
