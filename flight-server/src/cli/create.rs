//! `coverline create NAME`: makes a time-series table or a plain one.

use std::io::{self, Write};
use std::path::PathBuf;

use super::Outcome;
use super::error::CliError;
use super::source::{self, CsvOptions};
use super::target::Target;
use crate::client::{Client, CreateRequest};

/// How to find out whether the table was made.
const OPEN_HINT: &str = "run it again with --if-not-exists: that makes the table, or finds it made";

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
    arguments.target.with_new(async |client| create(client, &arguments).await).await
}

async fn create(client: &Client, arguments: &Arguments) -> Result<Outcome, CliError> {
    let schema = match &arguments.schema_from {
        Some(path) => Some(source::open(path.clone(), CsvOptions::default()).await?.schema),
        None => None,
    };
    let name = &arguments.name;
    let mut request = CreateRequest {
        name: name.clone(),
        index_column: arguments.index.clone(),
        bucket: arguments.bucket.clone(),
        entity_columns: arguments.entity.clone(),
        time_zone: arguments.time_zone.clone(),
        schema,
        if_not_exists: false,
    };
    match client.create_table(&request).await {
        Ok(()) => writeln!(io::stdout(), "created table \"{name}\"")?,
        Err(error) if error.reason() != Some("ALREADY_EXISTS") => {
            return Err(CliError::of_change(error, OPEN_HINT));
        }
        Err(_) if arguments.if_not_exists => {
            // Asked again only because the answer does not tell a new table from an old one. A table of that name that
            // is set up otherwise is refused.
            request.if_not_exists = true;
            let found = client.create_table(&request).await;
            found.map_err(|error| CliError::of_change(error, OPEN_HINT))?;
            writeln!(io::stdout(), "table \"{name}\" exists already, nothing done")?;
        }
        Err(error) => {
            return Err(
                CliError::from(error).hint("--if-not-exists leaves a table of that name as it is")
            );
        }
    }
    Ok(Outcome::Done)
}
