//! `coverline query SQL`: runs a statement and writes its result as it arrives.

use std::path::PathBuf;

use futures::TryStreamExt;

use super::Outcome;
use super::error::CliError;
use super::output::{Format, ResultWriter};
use super::target::Target;

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
    let path = arguments.output.as_deref();
    ResultWriter::check(arguments.format, path)?;
    arguments
        .target
        .with(async |client| {
            let mut result = client.query(&arguments.sql).await?;
            let mut writer = ResultWriter::open(arguments.format, path, &result.schema)?;
            while let Some(batch) = result.batches.try_next().await? {
                writer.write(&batch)?;
            }
            writer.finish()?;
            Ok(Outcome::Done)
        })
        .await
}
