//! `coverline log show TABLE`: a table's commit records, one JSON object per line.

use std::io::{self, BufWriter, Write};

use clap::error::ErrorKind;
use futures::TryStreamExt;
use serde_json::json;

use super::Outcome;
use super::error::CliError;
use super::target::Target;

/// What can be done with a log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print commit records as JSON, one per line, oldest first.
    Show(Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The table.
    #[arg(value_name = "TABLE")]
    table: String,
    /// First version to show [default: the oldest].
    #[arg(long, value_name = "VERSION")]
    first: Option<u64>,
    /// Last version to show [default: the newest].
    #[arg(long, value_name = "VERSION")]
    last: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// The rule that clap cannot express: bounds are in order.
pub(super) fn check(arguments: &Arguments) -> Result<(), (ErrorKind, &'static str)> {
    match (arguments.first, arguments.last) {
        (Some(first), Some(last)) if first > last => Err((
            ErrorKind::ValueValidation,
            "the version of '--first' must not be above that of '--last'",
        )),
        _ => Ok(()),
    }
}

pub(crate) async fn show(arguments: Arguments) -> Result<Outcome, CliError> {
    let Arguments { table, first, last, target } = arguments;
    target
        .with_reading(async |client| {
            let body = json!({ "table": table, "first": first, "last": last });
            let mut records = client.action("coverline.LogShow", &body).await?;
            let mut out = BufWriter::new(io::stdout());
            while let Some(record) = records.try_next().await? {
                writeln!(out, "{record}")?;
            }
            out.flush()?;
            Ok(Outcome::Done)
        })
        .await
}
