//! `coverline query SQL`: runs a statement and writes its result as it arrives.
//!
//! A statement that changes something has run when its result begins, so an error before that may leave its outcome open, and one
//! after it comes too late to stop it.

use std::path::PathBuf;

use futures::TryStreamExt;

use super::Outcome;
use super::error::CliError;
use super::output::{Format, ResultWriter};
use super::target::Target;
use crate::client::{Client, QueryStream};
use crate::query::gate;
use crate::query::planner::Planner;

/// How to find out what became of a change.
const OPEN_HINT: &str = "look before you run it again: `coverline log show TABLE` tells of rows, `coverline tables` of tables";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  coverline query 'SELECT symbol, min(ts), max(ts), count(*) FROM prices GROUP BY symbol'
  coverline query \"SELECT * FROM gaps('prices')\" --format csv
  coverline query 'SELECT * FROM prices' --format parquet --output prices.parquet")]
pub(crate) struct Arguments {
    /// The statement.
    #[arg(value_name = "SQL")]
    sql: String,
    /// Format of the result.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File for the result; it appears when the result is complete [default: stdout].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    ResultWriter::check(arguments.format, arguments.output.as_deref())?;
    arguments.target.with(async |client| query(client, &arguments).await).await
}

async fn query(client: &Client, arguments: &Arguments) -> Result<Outcome, CliError> {
    let changes = may_change(&arguments.sql).await;
    let result = match client.query(&arguments.sql).await {
        Ok(result) => result,
        Err(error) if changes => return Err(CliError::of_change(error, OPEN_HINT)),
        Err(error) => return Err(error.into()),
    };
    match write(result, arguments).await {
        Err(error) if changes && !error.is_reader_gone() => Err(error
            .about("the statement has run and what it changes is committed, but its answer is incomplete")
            .hint("look at what it changed instead of running it again")
            .outcome_unknown()),
        written => written.map(|()| Outcome::Done),
    }
}

async fn write(mut result: QueryStream, arguments: &Arguments) -> Result<(), CliError> {
    let path = arguments.output.as_deref();
    let mut writer = ResultWriter::open(arguments.format, path, &result.schema)?;
    while let Some(batch) = result.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()
}

/// Whether the statement changes something. One that is not understood here may: the server may be a newer one.
async fn may_change(sql: &str) -> bool {
    let sql = sql.to_owned();
    // Parsing is recursive, so it wants the stack of a planner thread.
    let checked = Planner::new().run(move || gate::check(&sql)).await;
    checked.map_or(true, |gated| gated.statement.is_update())
}
