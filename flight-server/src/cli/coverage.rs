//! `coverline coverage TABLE` and `coverline gaps TABLE`: what is there and what is missing, asked of the index alone.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use futures::TryStreamExt;

use super::Outcome;
use super::error::CliError;
use super::output::{Format, ResultWriter};
use super::picture::Picture;
use super::target::Target;
use crate::client::{Client, QueryStream};

/// When to look.
#[derive(Debug, clap::Args)]
struct Moment {
    /// What was known at this version [default: the newest].
    #[arg(long, value_name = "VERSION", conflicts_with = "at")]
    version: Option<u64>,
    /// What was known at this time, such as 2026-01-31T00:00:00Z; UTC unless it has an offset.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Where to look, and where to put what is found.
#[derive(Debug, clap::Args)]
struct Common {
    /// The table.
    #[arg(value_name = "TABLE")]
    table: String,
    #[command(flatten)]
    moment: Moment,
    /// File for the result; it appears when the result is complete [default: stdout].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  coverline coverage prices
  coverline coverage prices --version 41 --format csv")]
pub(crate) struct CoverageArguments {
    #[command(flatten)]
    common: Common,
    /// Format of the result: one row per run of covered buckets [default: a picture of entities and time].
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --from and --to, each entity is looked at between its first and last covered bucket.

Examples:
  coverline gaps prices
  coverline gaps prices --from 2026-01-01 --to 2026-02-01 --format json")]
pub(crate) struct GapsArguments {
    #[command(flatten)]
    common: Common,
    /// Where to look from: a time as in --at, or a number where the index is one.
    #[arg(long, value_name = "START", requires = "to")]
    from: Option<String>,
    /// Where to look to, exclusive.
    #[arg(long, value_name = "END", requires = "from")]
    to: Option<String>,
    /// Format of the result.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn coverage(arguments: CoverageArguments) -> Result<Outcome, CliError> {
    let CoverageArguments { common, format } = arguments;
    let sql = call("coverage", &common, &[]);
    match format {
        Some(format) => rows(&common, format, &sql).await,
        None if common.output.is_some() => Err(CliError::new("the picture is for terminals")
            .hint("name the format of the file with --format")),
        None => common.target.with_reading(async |client| picture(client, &sql).await).await,
    }
}

pub(crate) async fn gaps(arguments: GapsArguments) -> Result<Outcome, CliError> {
    let GapsArguments { common, from, to, format } = arguments;
    let range: Vec<&str> = from.iter().chain(&to).map(String::as_str).collect();
    rows(&common, format, &call("gaps", &common, &range)).await
}

/// The statement that asks one function.
fn call(function: &str, common: &Common, range: &[&str]) -> String {
    let mut arguments = vec![quoted(&common.table)];
    arguments.extend(range.iter().map(|bound| quoted(bound)));
    if let Some(version) = common.moment.version {
        arguments.push(format!("version => {version}"));
    }
    if let Some(time) = &common.moment.at {
        arguments.push(format!("timestamp => {}", quoted(time)));
    }
    format!("SELECT * FROM {function}({})", arguments.join(", "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn rows(common: &Common, format: Format, sql: &str) -> Result<Outcome, CliError> {
    let path = common.output.as_deref();
    ResultWriter::check(format, path)?;
    common
        .target
        .with_reading(async |client| {
            let QueryStream { schema, mut batches } = client.query(sql).await?;
            let mut writer = ResultWriter::open(format, path, &schema)?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch)?;
            }
            writer.finish()?;
            Ok(Outcome::Done)
        })
        .await
}

async fn picture(client: &Client, sql: &str) -> Result<Outcome, CliError> {
    let QueryStream { mut batches, .. } = client.query(sql).await?;
    let mut picture = Picture::default();
    while let Some(batch) = batches.try_next().await? {
        picture.add(&batch)?;
    }
    let mut out = BufWriter::new(io::stdout());
    picture.draw(&mut out)?;
    out.flush()?;
    Ok(Outcome::Done)
}
