//! The demo: the product's main job on a year of real weather, told step by step.
//!
//! A server on a folder of its own; 364 daily files over Flight DoPut; the same files again, every one refused as already
//! loaded; a join with a plain table; the gaps, found without reading a row. Every number is checked against what the data
//! is known to hold: a demo that shows wrong numbers fails.

mod data;
mod report;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coverline_proto::flight::{AppendReceipt, OverlapPolicy};
use table_core::storage::Root;

use self::data::{DAY_COUNT, ROW_COUNT};
use self::report::Report;
use crate::cli::CliError;
use crate::cli::embedded::Embedded;
use crate::cli::progress;
use crate::cli::source::{self, CsvOptions};
use crate::client::{AppendRequest, Client, ClientError, CreateRequest};
use crate::config::ServerConfig;

/// What the demo is asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where its server listens.
    pub listen: SocketAddr,
    /// Where its tables go; the demo's must not be there yet.
    pub root: Root,
    /// Colour the report.
    pub colours: bool,
}

/// Free disk that the demo leaves. Its tables take a few megabytes, and the folder for temporary files is often a small
/// memory disk, which the floor of a real server would refuse.
const DISK_FLOOR_BYTES: u64 = 32 << 20;

/// How to find out what a demo that did not hear the end of it has committed, and how to go on.
const OPEN_HINT: &str = "`coverline tables` and `coverline log show TABLE` with the demo's --data-dir show what is committed; run \
                         the demo again in a folder of its own";

/// The verification query of the main job, with a join.
const SUMMARY_SQL: &str = "\
SELECT w.origin, a.name, min(w.time_hour) AS first, max(w.time_hour) AS last, count(*) AS hours
FROM weather w JOIN airports a ON a.faa = w.origin
GROUP BY w.origin, a.name ORDER BY w.origin";

/// The holes in the data, from the coverage index alone.
const GAPS_SQL: &str = "\
SELECT origin, count(*) AS gaps, sum(missing_buckets) AS missing_hours
FROM gaps('weather') GROUP BY origin ORDER BY origin";

/// Runs the demo's steps and returns its server, still serving.
pub(crate) async fn run(options: &Options, out: impl Write) -> Result<Embedded, CliError> {
    let mut report = Report::new(out, options.colours);
    let server = Embedded::start(ServerConfig {
        listen: options.listen,
        disk_floor_bytes: Some(DISK_FLOOR_BYTES),
        ..ServerConfig::new(options.root.clone())
    })
    .await?;
    let client = Client::connect(&server.url()).await?;
    report.title(&format!("Coverline {} on {}", env!("CARGO_PKG_VERSION"), server.url()))?;
    report.note(&format!("tables in {}", options.root))?;

    let daily = tempfile::tempdir()?;
    let days = data::write_days(daily.path())?;

    report.step("create table weather: index time_hour, bucket 1h, entity origin")?;
    create_weather(&client).await?;

    report.step(&format!("append {DAY_COUNT} daily Parquet files, one Flight DoPut each"))?;
    let first = load(&client, &days).await?;
    first.expect(DAY_COUNT, 0)?;
    check("rows appended", first.rows, ROW_COUNT)?;
    report.done(&format!(
        "{} files appended, {} rows, version {}, {}",
        first.appended,
        first.rows,
        first.version,
        seconds(first.time)
    ))?;

    report.step("append the same files again")?;
    let second = load(&client, &days).await?;
    second.expect(0, DAY_COUNT)?;
    check("version after loading twice", second.version, first.version)?;
    let total = client.query_all("SELECT count(*) FROM weather").await?;
    check("rows after loading twice", data::single(&total)?, ROW_COUNT)?;
    report.done(&format!(
        "{} files already loaded, table unchanged at version {}, {}",
        second.already_loaded,
        second.version,
        seconds(second.time)
    ))?;
    if let Some(refusal) = &second.refusal {
        report.note(&format!(" the first: {refusal}"))?;
    }

    report.step("append the plain table airports")?;
    let airports = append_airports(&client, daily.path()).await?;
    report.done(&format!("{} rows", airports.record_count))?;

    report.step("verify: first, last and count per airport, joined with airports")?;
    report.sql(SUMMARY_SQL)?;
    let summary = client.query_all(SUMMARY_SQL).await?;
    report.table(&summary)?;
    data::check_counts(&summary, "hours", |airport| airport.hours)?;

    report.step("find what is missing, from the coverage index, without reading a row")?;
    report.sql(GAPS_SQL)?;
    let gaps = client.query_all(GAPS_SQL).await?;
    report.table(&gaps)?;
    data::check_counts(&gaps, "missing_hours", |airport| airport.missing_hours)?;
    report.done("every number is what the data is known to hold")?;

    report.connect(server.address)?;
    Ok(server)
}

/// What came of loading every daily file once.
#[derive(Debug, Default)]
struct Load {
    appended: u64,
    already_loaded: u64,
    rows: u64,
    /// The table's version as the last answer told it.
    version: u64,
    time: Duration,
    /// The server's words for the first refusal.
    refusal: Option<String>,
}

impl Load {
    fn expect(&self, appended: u64, already_loaded: u64) -> Result<(), CliError> {
        check("files appended", self.appended, appended)?;
        check("files refused as already loaded", self.already_loaded, already_loaded)
    }
}

async fn create_weather(client: &Client) -> Result<(), CliError> {
    let request = CreateRequest {
        name: "weather".to_owned(),
        index_column: Some("time_hour".to_owned()),
        bucket: Some("1h".to_owned()),
        entity_columns: vec!["origin".to_owned()],
        ..CreateRequest::default()
    };
    create_table(client, &request).await
}

/// Appends every file, one after the other, as a daily job does.
async fn load(client: &Client, files: &[PathBuf]) -> Result<Load, CliError> {
    let start = Instant::now();
    let bar = progress::files(files.len());
    let mut load = Load::default();
    for file in files {
        bar.set_message(progress::file_name(file));
        match append(client, "weather", file).await? {
            Ok(receipt) => {
                load.appended += 1;
                load.rows += receipt.record_count.unsigned_abs();
                load.version = receipt.version;
            }
            Err(refused) => {
                load.already_loaded += 1;
                load.version = refused.version;
                load.refusal.get_or_insert(refused.message);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    load.time = start.elapsed();
    Ok(load)
}

/// A file refused because the table holds its buckets.
struct Refused {
    message: String,
    version: u64,
}

async fn append(
    client: &Client,
    table: &str,
    file: &Path,
) -> Result<Result<AppendReceipt, Refused>, CliError> {
    let source = source::open(file.to_owned(), CsvOptions::default()).await?;
    let request = AppendRequest {
        table: table.to_owned(),
        on_overlap: OverlapPolicy::Reject,
        append_id: None,
    };
    let schema = Arc::clone(&source.schema);
    match client.append(request, schema, source.into_stream()).await {
        Ok(receipt) => Ok(Ok(receipt)),
        Err(ClientError::Overlap { message, details }) => {
            let version = details.table_version.unwrap_or_default();
            Ok(Err(Refused { message, version }))
        }
        Err(error) => Err(CliError::of_change(error, OPEN_HINT)),
    }
}

async fn append_airports(client: &Client, folder: &Path) -> Result<AppendReceipt, CliError> {
    let plain = CreateRequest { name: "airports".to_owned(), ..CreateRequest::default() };
    create_table(client, &plain).await?;
    let file = data::write_airports(folder)?;
    append(client, "airports", &file).await?.map_err(|refused| CliError::new(refused.message))
}

async fn create_table(client: &Client, request: &CreateRequest) -> Result<(), CliError> {
    client.create_table(request).await.map_err(|error| match error.reason() {
        Some("ALREADY_EXISTS") => CliError::from(error)
            .hint("the demo needs a folder of its own: name an empty one with --data-dir, or none"),
        _ => CliError::of_change(error, OPEN_HINT),
    })
}

/// Ends the demo when a number is not what the data is known to hold.
fn check(what: &str, found: u64, expected: u64) -> Result<(), CliError> {
    match found == expected {
        true => Ok(()),
        false => Err(CliError::new(format!(
            "the demo found {found} {what} and knows that there are {expected}; this is a bug, please report this text"
        ))),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
