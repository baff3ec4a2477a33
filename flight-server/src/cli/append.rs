//! `coverline append TABLE FILE...`: each file becomes one version, and none is loaded twice.

mod identity;
mod report;
mod retry;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use clap::error::ErrorKind;
use coverline_proto::flight::{AppendReceipt, OverlapPolicy};
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use tracing::info;

use self::identity::{Reading, Stamp};
use self::report::{FileOutcome, Summary};
use self::retry::{Tries, Verdict};
use super::Outcome;
use super::error::CliError;
use super::progress;
use super::source::{self, CsvOptions, Position, SourceError};
use super::target::Target;
use crate::client::{AppendRequest, Client, ClientError};

/// How often the progress bar looks at the file being read.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file that the table has already is left out and reported, and the next one follows: run the
same job as often as you like. Each file has an append id made of its content, of --on-overlap
and, for CSV, of --null. Appending it again gets the first receipt, even when the first answer was
lost, so an append without an answer is tried again by itself. Tables keep ids for at least 7 days
and 100,000 commits (no more than a million ids). After that a table with an index still knows the
rows that it has; a plain table takes them again.

A file that was appended with --on-overlap skip has the receipt of that append, rows skipped and
all, whenever it is appended with skip again; without, it is refused as any other file whose
buckets hold other rows.

Exit codes: 0 when every file was appended or is there already with the same rows,
3 when at least one was refused because other rows hold its buckets,
5 when nobody knows whether a file was committed, 1 on any other error. Both of these end the
command; files before it stay appended.

Examples:
  coverline append prices 2025-03-*.parquet
  coverline append weather today.csv --null NA --on-overlap skip
  coverline append readings batch-17.csv --append-id plant-3/17")]
pub(crate) struct Arguments {
    /// The table.
    #[arg(value_name = "TABLE")]
    table: String,
    /// Parquet, CSV, Arrow IPC files or streams; the content tells which.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What to do with rows whose buckets are already loaded.
    #[arg(long, value_enum, default_value_t = OnOverlap::Reject)]
    on_overlap: OnOverlap,
    /// A key for this append instead of the one made of the file: sending it again returns the first receipt. One file only.
    #[arg(long, value_name = "ID")]
    append_id: Option<String>,
    /// Append without a key: a plain table then takes the same file twice.
    #[arg(long, conflicts_with = "append_id")]
    no_append_id: bool,
    /// Text that means null in CSV, besides the empty one; may be repeated.
    #[arg(long = "null", value_name = "TEXT")]
    null_texts: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// What to do with rows in buckets that another append owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnOverlap {
    /// Leave the whole file out.
    Reject,
    /// Leave out these rows, append the rest.
    Skip,
}

impl OnOverlap {
    fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Skip => "skip",
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    arguments.target.with(async |client| append_all(client, &arguments).await).await
}

/// The rules that clap cannot express: an append id is one, and names one append.
pub(super) fn check(arguments: &Arguments) -> Result<(), (ErrorKind, &'static str)> {
    match &arguments.append_id {
        // Servers take an empty id for none.
        Some(id) if id.is_empty() => Err((
            ErrorKind::InvalidValue,
            "the argument '--append-id' must not be empty; --no-append-id appends without one",
        )),
        Some(_) if arguments.files.len() > 1 => Err((
            ErrorKind::ArgumentConflict,
            "the argument '--append-id' names one append and cannot be used with several files",
        )),
        Some(_) | None => Ok(()),
    }
}

async fn append_all(client: &Client, arguments: &Arguments) -> Result<Outcome, CliError> {
    for path in &arguments.files {
        // A name that is mistyped shows before anything is appended.
        Stamp::of(path).map_err(|source| SourceError::Open { path: path.clone(), source })?;
    }
    let passes = 1 + u64::from(arguments.derives_ids());
    let bar = progress::bytes(&arguments.files, passes);
    let mut summary = Summary::default();
    let mut failure = None;
    let mut table_schema = None;
    for path in &arguments.files {
        bar.set_message(progress::file_name(path));
        let file_bytes = path.metadata().map_or(0, |metadata| metadata.len());
        let done_bytes = bar.position();
        match append_file(client, arguments, path, &mut table_schema, &bar).await {
            Ok(outcome) => {
                let line = summary.add(&outcome, path);
                bar.suspend(|| say(&line));
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        bar.set_position(done_bytes + passes * file_bytes);
    }
    bar.finish_and_clear();
    if arguments.files.len() > 1 {
        say(&summary.to_string());
    }
    match failure {
        Some(error) => Err(error),
        None if summary.has_refusals() => Ok(Outcome::Refused),
        None => Ok(Outcome::Done),
    }
}

/// Prints a line. Appending goes on when nobody reads: the exit code tells the outcome too.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Appends one file, in as many tries as it takes. Learns the table's schema on the way.
async fn append_file(
    client: &Client,
    arguments: &Arguments,
    path: &Path,
    table_schema: &mut Option<SchemaRef>,
    bar: &ProgressBar,
) -> Result<FileOutcome, CliError> {
    if table_schema.is_none() {
        // Asked again until the table has one: the first file may be what gives it.
        *table_schema = ask_schema(client, &arguments.table)
            .await
            .map_err(|error| CliError::from(error).about(path.display()))?;
    }
    let csv =
        CsvOptions { null_texts: arguments.null_texts.clone(), table_schema: table_schema.clone() };
    let unreadable = |source| SourceError::Open { path: path.to_owned(), source };
    let stamp = Stamp::of(path).map_err(unreadable)?;
    let append_id = append_id(arguments, path, &csv, bar).await?;
    let start = bar.position();
    let mut tries = Tries::new(append_id.is_some());
    loop {
        let request = AppendRequest {
            table: arguments.table.clone(),
            on_overlap: arguments.on_overlap.into(),
            append_id: append_id.clone(),
        };
        bar.set_position(start);
        let error = match send(client, request, path, stamp, csv.clone(), bar).await {
            Ok(receipt) => return Ok(FileOutcome::Received(receipt)),
            Err(ClientError::Overlap { details, .. }) => {
                return Ok(FileOutcome::Overlapped(*details));
            }
            Err(error) => error,
        };
        match tries.failed(error) {
            Verdict::Again(delay) => {
                bar.set_message(format!("{} (trying again)", progress::file_name(path)));
                info!(file = %path.display(), "trying again");
                tokio::time::sleep(delay).await;
            }
            // The text names the file already.
            Verdict::NotCommitted(error @ ClientError::Source(_)) => return Err(error.into()),
            Verdict::NotCommitted(error) => {
                return Err(CliError::from(error).about(path.display()));
            }
            Verdict::Unknown(error) => {
                return Err(unknown(&error, append_id.is_some()).about(path.display()));
            }
        }
    }
}

/// The table's schema, asked for as patiently as an append is sent: asking changes nothing.
async fn ask_schema(client: &Client, table: &str) -> Result<Option<SchemaRef>, ClientError> {
    let mut tries = Tries::new(true);
    loop {
        let error = match client.table_schema(table).await {
            Ok(schema) => return Ok(schema),
            Err(error) => error,
        };
        match tries.failed(error) {
            Verdict::Again(delay) => tokio::time::sleep(delay).await,
            Verdict::NotCommitted(error) | Verdict::Unknown(error) => return Err(error),
        }
    }
}

/// The append id that was given, or else the one of the file.
async fn append_id(
    arguments: &Arguments,
    path: &Path,
    csv: &CsvOptions,
    bar: &ProgressBar,
) -> Result<Option<String>, CliError> {
    if !arguments.derives_ids() {
        return Ok(arguments.append_id.clone());
    }
    let source = source::open(path.to_owned(), csv.clone()).await?;
    let reading = Reading::new(&source, arguments.on_overlap, &arguments.null_texts);
    drop(source);
    let position = Position::default();
    let id = identity::append_id(path.to_owned(), reading, Arc::clone(&position));
    Ok(Some(watched(id, &position, bar).await?))
}

/// One try.
///
/// # Errors
/// `Source` when the file cannot be read any more; else what the server made of it, or what became of the connection.
async fn send(
    client: &Client,
    request: AppendRequest,
    path: &Path,
    stamp: Stamp,
    csv: CsvOptions,
    bar: &ProgressBar,
) -> Result<AppendReceipt, ClientError> {
    let opened = source::open(path.to_owned(), csv).await;
    let source = opened.map_err(|error| ClientError::Source(error.to_string()))?;
    let position = source.position();
    let schema = Arc::clone(&source.schema);
    // An id stands for what the file held when it was looked at, and for nothing else.
    let read = path.to_owned();
    let changed = stream::once(async move { Stamp::of(&read).is_ok_and(|now| now == stamp) })
        .filter_map({
            let path = path.to_owned();
            move |is_same| {
                let error = (!is_same).then(|| SourceError::Changed { path: path.clone() });
                async move { error.map(|error| Err(ArrowError::ExternalError(Box::new(error)))) }
            }
        });
    let append = client.append(request, schema, source.into_stream().chain(changed));
    watched(append, &position, bar).await
}

/// Waits for `work` while the bar shows how far the file has been read.
async fn watched<T>(work: impl Future<Output = T>, position: &Position, bar: &ProgressBar) -> T {
    let start = bar.position();
    tokio::pin!(work);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            result = &mut work => {
                bar.set_position(start + position.load(Ordering::Relaxed));
                return result;
            }
            _ = tick.tick() => bar.set_position(start + position.load(Ordering::Relaxed)),
        }
    }
}

/// The error of an append of which nobody knows whether it was committed.
fn unknown(error: &ClientError, has_id: bool) -> CliError {
    const WHAT: &str = "it may or may not be committed";
    match error {
        ClientError::Source(_) => CliError::open(
            error,
            "an earlier try of it got no answer and may or may not be committed, and another cannot be made",
            "look for it with `coverline log show TABLE` before you append it again: a file that changed has another append id",
        ),
        _ if has_id => CliError::open(
            error,
            WHAT,
            "run the same command again: the append id makes that harmless",
        ),
        _ => CliError::open(
            error,
            WHAT,
            "without an append id, look for it with `coverline log show TABLE` before you run the command again",
        ),
    }
}

impl Arguments {
    fn derives_ids(&self) -> bool {
        self.append_id.is_none() && !self.no_append_id
    }
}

impl From<OnOverlap> for OverlapPolicy {
    fn from(on_overlap: OnOverlap) -> Self {
        match on_overlap {
            OnOverlap::Reject => Self::Reject,
            OnOverlap::Skip => Self::Skip,
        }
    }
}
