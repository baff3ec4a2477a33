//! `coverline scrub`: reads every file of a root and says which are damaged.

use std::io::{self, Write};

use serde_json::json;
use table_core::maintenance::{self, ScrubReport};

use super::Outcome;
use super::error::CliError;
use super::progress;
use super::render::plural;
use super::root::RootArgument;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the files itself, so it needs no server and does not mind one that is at work on them. Exit codes: 0 when every file is
what the log says, 4 when one is not, 1 when they cannot be read.

Examples:
  coverline scrub --root ./coverline-data
  coverline scrub prices --root s3://lake/coverline --json")]
pub(crate) struct Arguments {
    /// Tables to look at [default: all].
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    place: RootArgument,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    let Arguments { tables, place, json } = arguments;
    let bar = progress::bytes_read();
    let report = maintenance::scrub(place.root, &tables, &|bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    let report = report?;
    let mut out = io::stdout();
    match json {
        true => writeln!(out, "{}", as_json(&report))?,
        false => write!(out, "{}", as_text(&report))?,
    }
    out.flush()?;
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::Damaged })
}

fn as_text(report: &ScrubReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let of = match &finding.table {
            Some(table) => format!("table {table}"),
            None => "catalog".to_owned(),
        };
        text += &format!("damaged: {of}: {}\n         {}\n", finding.what, finding.advice);
    }
    if report.more_findings > 0 {
        text += &format!("... and {} more\n", report.more_findings);
    }
    text += &format!(
        "{}, {}, {}, {} read: {}\n",
        plural(report.tables, "table"),
        plural(report.records, "record"),
        plural(report.checkpoints, "checkpoint"),
        plural(report.segments, "segment"),
        match report.findings.len() as u64 + report.more_findings {
            0 => "all sound".to_owned(),
            1 => "1 file is damaged".to_owned(),
            count => format!("{count} files are damaged"),
        }
    );
    text += &match report.unnamed_files {
        0 => String::new(),
        1 => "1 file belongs to no version, left over from an append that came to nothing; it does no harm\n".to_owned(),
        count => format!(
            "{count} files belong to no version, left over from appends that came to nothing; they do no harm\n"
        ),
    };
    text
}

fn as_json(report: &ScrubReport) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({ "table": finding.table, "what": finding.what, "advice": finding.advice })
        })
        .collect();
    json!({
        "tables": report.tables,
        "records": report.records,
        "checkpoints": report.checkpoints,
        "segments": report.segments,
        "unnamed_files": report.unnamed_files,
        "findings": findings,
        "more_findings": report.more_findings,
    })
}
