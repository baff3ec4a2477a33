//! `coverline append TABLE FILE...`: each file becomes one version, and none is loaded twice.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coverline_proto::flight::{AppendReceipt, OverlapPolicy};
use indicatif::ProgressBar;

use super::Outcome;
use super::error::CliError;
use super::progress;
use super::source::{self, CsvOptions};
use super::target::Target;
use crate::client::{AppendRequest, Client, ClientError, OverlapDetails};

/// How often the progress bar looks at the file being read.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file whose buckets are already loaded is reported and left out, and the next one follows. Exit codes: 0 when every file was
appended, 3 when at least one was already loaded, 1 on an error, which ends the command; files before it stay appended.

Examples:
  coverline append prices 2025-03-*.parquet
  coverline append weather today.csv --null NA --on-overlap skip")]
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
    /// A key for this append, kept by the server: sending it again returns the first receipt. One file only.
    #[arg(long, value_name = "ID")]
    append_id: Option<String>,
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

/// What became of one file.
#[derive(Debug)]
enum FileOutcome {
    Appended(AppendReceipt),
    AlreadyLoaded(OverlapDetails),
}

/// Counts for the last line.
#[derive(Debug, Default)]
struct Summary {
    appended: u64,
    already_loaded: u64,
    rows: i64,
    rows_skipped: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    arguments.target.with(async |client| append_all(client, &arguments).await).await
}

/// The rule that clap cannot express: an append id names one append.
pub(super) fn check(arguments: &Arguments) -> Result<(), &'static str> {
    match arguments.append_id.is_some() && arguments.files.len() > 1 {
        true => {
            Err("the argument '--append-id' names one append and cannot be used with several files")
        }
        false => Ok(()),
    }
}

async fn append_all(client: &Client, arguments: &Arguments) -> Result<Outcome, CliError> {
    let bar = progress::bytes(&arguments.files);
    let mut summary = Summary::default();
    let mut failure = None;
    let mut table_schema = None;
    for path in &arguments.files {
        bar.set_message(progress::file_name(path));
        let file_bytes = path.metadata().map_or(0, |metadata| metadata.len());
        let done_bytes = bar.position();
        if table_schema.is_none() {
            // Asked again until the table has one: the first file may be what gives it.
            table_schema = client.table_schema(&arguments.table).await?;
        }
        let csv = CsvOptions {
            null_texts: arguments.null_texts.clone(),
            table_schema: table_schema.clone(),
        };
        match append_file(client, arguments, path, csv, &bar).await {
            Ok(outcome) => {
                let line = summary.add(&outcome, path);
                bar.suspend(|| say(&line));
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        bar.set_position(done_bytes + file_bytes);
    }
    bar.finish_and_clear();
    if arguments.files.len() > 1 {
        say(&summary.to_string());
    }
    match failure {
        Some(error) => Err(error),
        None if summary.already_loaded > 0 => Ok(Outcome::AlreadyLoaded),
        None => Ok(Outcome::Done),
    }
}

/// Prints a line. Appending goes on when nobody reads: the exit code tells the outcome too.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

async fn append_file(
    client: &Client,
    arguments: &Arguments,
    path: &Path,
    csv: CsvOptions,
    bar: &ProgressBar,
) -> Result<FileOutcome, CliError> {
    let source = source::open(path.to_owned(), csv).await?;
    let request = AppendRequest {
        table: arguments.table.clone(),
        on_overlap: arguments.on_overlap.into(),
        append_id: arguments.append_id.clone(),
    };
    let position = source.position();
    let start = bar.position();
    let schema = Arc::clone(&source.schema);
    let append = client.append(request, schema, source.into_stream());
    tokio::pin!(append);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    let result = loop {
        tokio::select! {
            result = &mut append => break result,
            _ = tick.tick() => bar.set_position(start + position.load(Ordering::Relaxed)),
        }
    };
    match result {
        Ok(receipt) => Ok(FileOutcome::Appended(receipt)),
        Err(ClientError::Overlap { details, .. }) => Ok(FileOutcome::AlreadyLoaded(*details)),
        // The text names the file already.
        Err(error @ ClientError::Source(_)) => Err(error.into()),
        Err(error) => Err(CliError::from(error).about(path.display())),
    }
}

impl Summary {
    /// Counts one file and says in a line what became of it.
    fn add(&mut self, outcome: &FileOutcome, path: &Path) -> String {
        let path = path.display();
        match outcome {
            FileOutcome::Appended(receipt) => {
                self.appended += 1;
                self.rows += receipt.record_count;
                self.rows_skipped += receipt.rows_skipped;
                format!("{path}: {}", describe(receipt))
            }
            FileOutcome::AlreadyLoaded(overlap) => {
                self.already_loaded += 1;
                format!("{path}: already loaded, {}", describe_overlap(overlap))
            }
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = plural(self.appended + self.already_loaded, "file");
        let rows = plural(self.rows.unsigned_abs(), "row");
        write!(f, "{files}: {} appended ({rows}", self.appended)?;
        if self.rows_skipped > 0 {
            write!(f, ", {} skipped", self.rows_skipped)?;
        }
        write!(f, "), {} already loaded", self.already_loaded)
    }
}

fn describe(receipt: &AppendReceipt) -> String {
    let version = receipt.version;
    let rows = plural(receipt.record_count.unsigned_abs(), "row");
    if receipt.repeated {
        return format!("appended before under this id as version {version}, {rows}");
    }
    if receipt.record_count == 0 {
        let skipped = plural(receipt.rows_skipped, "row");
        return format!("nothing new, {skipped} skipped, still at version {version}");
    }
    let mut text = format!("version {version}, {rows}");
    if receipt.buckets_covered > 0 {
        text += &format!(", {}", plural(receipt.buckets_covered, "bucket"));
    }
    if receipt.rows_skipped > 0 {
        text += &format!(", {} skipped as already loaded", plural(receipt.rows_skipped, "row"));
    }
    text
}

fn describe_overlap(overlap: &OverlapDetails) -> String {
    let buckets = plural(overlap.overlap_count, "overlapping bucket");
    let OverlapDetails { example_entity, bucket_start, bucket_end, .. } = overlap;
    let separator = if example_entity.is_empty() { "" } else { " " };
    let since = match overlap.owner_version {
        Some(version) => format!(", since version {version}"),
        None => String::new(),
    };
    format!("{buckets} (first {example_entity}{separator}[{bucket_start}, {bucket_end}){since})")
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl From<OnOverlap> for OverlapPolicy {
    fn from(on_overlap: OnOverlap) -> Self {
        match on_overlap {
            OnOverlap::Reject => Self::Reject,
            OnOverlap::Skip => Self::Skip,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn overlap() -> OverlapDetails {
        OverlapDetails {
            overlap_count: 24,
            example_entity: "symbol=\"NVDA\"".to_owned(),
            bucket_start: "2025-03-01T00:00:00Z".to_owned(),
            bucket_end: "2025-03-01T01:00:00Z".to_owned(),
            owner_version: Some(41),
            table_version: Some(58),
        }
    }

    #[test]
    fn an_overlap_is_told_in_one_line() {
        let mut summary = Summary::default();
        let line = summary.add(&FileOutcome::AlreadyLoaded(overlap()), Path::new("a.parquet"));
        assert_eq!(
            line,
            "a.parquet: already loaded, 24 overlapping buckets (first symbol=\"NVDA\" \
             [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z), since version 41)"
        );
        let unknown = OverlapDetails {
            overlap_count: 1,
            example_entity: String::new(),
            owner_version: None,
            ..overlap()
        };
        assert_eq!(
            describe_overlap(&unknown),
            "1 overlapping bucket (first [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z))"
        );
    }

    #[test]
    fn receipts_and_the_summary_count_what_happened() {
        let receipt = AppendReceipt {
            record_count: 70,
            version: 3,
            rows_skipped: 2,
            buckets_covered: 70,
            ..AppendReceipt::default()
        };
        let mut summary = Summary::default();
        let line = summary.add(&FileOutcome::Appended(receipt), Path::new("b.csv"));
        assert_eq!(line, "b.csv: version 3, 70 rows, 70 buckets, 2 rows skipped as already loaded");
        let nothing = AppendReceipt { version: 3, rows_skipped: 72, ..AppendReceipt::default() };
        let line = summary.add(&FileOutcome::Appended(nothing), Path::new("b.csv"));
        assert_eq!(line, "b.csv: nothing new, 72 rows skipped, still at version 3");
        summary.add(&FileOutcome::AlreadyLoaded(overlap()), Path::new("c.csv"));
        assert_eq!(
            summary.to_string(),
            "3 files: 2 appended (70 rows, 74 skipped), 1 already loaded"
        );
    }
}
