//! `scrub`: reads every file that a log names, and says which are not what the log says (C10).

use std::collections::HashSet;
use std::sync::Arc;

use coverline_proto::log as proto;

use super::verify::read_segment;
use super::{Progress, made_root};
use crate::catalog::CatalogState;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{LogError, LogStore, Walked, walk};
use crate::snapshot::Snapshot;
use crate::storage::{DurableStore, Root, layout};
use crate::types::{SegmentId, TableId};

/// Findings that a report lists; the rest is counted.
pub const FINDINGS_MAX: usize = 1_000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the table; `None` for the catalog.
    pub table: Option<String>,
    /// What is wrong, led by the path of the file below the root.
    pub what: String,
    /// What it means until it is mended, and how to mend it.
    pub advice: &'static str,
}

/// What a scrub saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Tables looked at.
    pub tables: u64,
    /// Commit records that could be read.
    pub records: u64,
    /// Checkpoints that could be read.
    pub checkpoints: u64,
    /// Segments whose every byte was read.
    pub segments: u64,
    /// Files in the folders of segments that no record names: left over from appends that came to nothing. No damage.
    pub unnamed_files: u64,
    /// What is wrong; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond that.
    pub more_findings: u64,
}

impl ScrubReport {
    /// Whether anything is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, table: Option<&str>, what: String, advice: &'static str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { table: table.map(str::to_owned), what, advice });
        } else {
            self.more_findings += 1;
        }
    }

    fn add_walk<S>(&mut self, table: Option<&str>, walked: &Walked<S>) {
        self.records += walked.records;
        self.checkpoints += walked.checkpoints;
        for problem in &walked.problems {
            let in_checkpoint = match problem {
                LogError::Damaged { file, .. }
                | LogError::Missing { file }
                | LogError::Future { file, .. }
                | LogError::Io { file, .. } => layout::is_checkpoint(file),
            };
            let advice = match (problem, in_checkpoint) {
                (LogError::Future { .. }, _) => "use the newer coverline that wrote it",
                (LogError::Io { .. }, _) => "make the file readable, then scrub again",
                (_, true) => {
                    "opening reads the records below it instead; remove the file if those are all sound"
                }
                (_, false) if table.is_none() => {
                    "nothing can be served unless a checkpoint above stands in for it; restore the file from a backup"
                }
                (_, false) => {
                    "the table cannot be opened unless a checkpoint above stands in for it; restore the file from a backup"
                }
            };
            let what = match problem {
                LogError::Damaged { file, what } => format!("{file}: {what}"),
                LogError::Missing { file } => format!("{file}: it is missing"),
                LogError::Future { file, what } => {
                    format!("{file}: {what} is newer than this coverline")
                }
                LogError::Io { action, file, source } => {
                    format!("{file}: cannot {action} it: {source}")
                }
            };
            self.add(table, what, advice);
        }
    }
}

/// Reads all of a root, or the tables named. A server may be at work on it meanwhile; what it commits after the scrub
/// came by is not looked at.
///
/// # Errors
/// `NotFound` when there is no such root or table; `Unavailable` when a folder cannot be listed. Damage is no error: it is in
/// the report.
pub async fn scrub(
    root: impl Into<Root>,
    tables: &[String],
    progress: Progress<'_>,
) -> Result<ScrubReport> {
    scrub_store(&made_root(&root.into()).await?, tables, progress).await
}

/// The same through a store of one's own.
///
/// # Errors
/// As [`scrub`].
pub async fn scrub_store(
    store: &Arc<dyn DurableStore>,
    tables: &[String],
    progress: Progress<'_>,
) -> Result<ScrubReport> {
    let mut report = ScrubReport::default();
    let catalog = walk::<CatalogState>(&LogStore::of_catalog(Arc::clone(store))).await?;
    report.add_walk(None, &catalog);
    let Some(state) = catalog.state else {
        // A file that cannot be read is a finding already.
        if catalog.problems.is_empty() {
            report.add(
                None,
                format!("{}: it holds no catalog", layout::CATALOG_LOG),
                "nothing can be served, and the names of the tables are lost; restore the folder from a backup",
            );
        }
        return Ok(report);
    };
    if let Some(unknown) = tables.iter().find(|name| !state.tables.contains_key(*name)) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("table \"{unknown}\" does not exist in this root; correct the name"),
        ));
    }
    for (name, id) in &state.tables {
        if tables.is_empty() || tables.contains(name) {
            scrub_table(store, name, *id, &mut report, progress).await?;
        }
    }
    Ok(report)
}

async fn scrub_table(
    store: &Arc<dyn DurableStore>,
    name: &str,
    id: TableId,
    report: &mut ScrubReport,
    progress: Progress<'_>,
) -> Result<()> {
    report.tables += 1;
    let mut walked = walk::<Snapshot>(&LogStore::of_table(Arc::clone(store), id)).await?;
    report.add_walk(Some(name), &walked);
    let listed = |error: std::io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot list the files of table \"{name}\": {error}"),
        )
        .with_source(error)
    };
    match &walked.state {
        None if walked.records == 0 && walked.problems.is_empty() => {
            let what = format!("{}: it holds no commit record", layout::table_log(id));
            report.add(
                Some(name),
                what,
                "the table cannot be opened; restore its folder from a backup",
            );
        }
        // Live segments whose records are gone are known from a checkpoint.
        Some(state) => {
            let named: HashSet<Vec<u8>> =
                walked.segments.iter().map(|segment| segment.segment_id.to_vec()).collect();
            walked.segments.extend(
                state
                    .segments
                    .iter()
                    .filter(|segment| !named.contains(segment.id.as_bytes().as_slice()))
                    .map(|segment| segment.to_proto()),
            );
        }
        None => {}
    }
    let mut named = HashSet::new();
    for segment in &walked.segments {
        scrub_segment(store, name, id, segment, report, progress).await;
        named.insert(layout::file_name(&segment_path(id, segment)).to_owned());
    }
    let files = store.list(&layout::table_data(id)).await.map_err(listed)?;
    report.unnamed_files += files.iter().filter(|file| !named.contains(*file)).count() as u64;
    Ok(())
}

async fn scrub_segment(
    store: &Arc<dyn DurableStore>,
    name: &str,
    id: TableId,
    segment: &proto::AddSegment,
    report: &mut ScrubReport,
    progress: Progress<'_>,
) {
    const ADVICE: &str = "queries that need it fail, others do not; restore the file from a backup";
    let path = segment_path(id, segment);
    let counted = async |piece: bytes::Bytes| {
        progress(piece.len() as u64);
        Ok(())
    };
    match read_segment(&store.object_store(), &path, segment, counted).await {
        Ok(None) => report.segments += 1,
        Ok(Some(damage)) => report.add(Some(name), format!("{path}: {damage}"), ADVICE),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.add(Some(name), format!("{path}: it is missing"), ADVICE);
        }
        Err(error) => report.add(Some(name), format!("{path}: cannot read it: {error}"), ADVICE),
    }
}

/// Where a segment that a record names lies. An id that is none gives a path at which nothing can be.
pub(super) fn segment_path(table: TableId, segment: &proto::AddSegment) -> String {
    let id = SegmentId::from_slice(&segment.segment_id).unwrap_or(SegmentId(uuid::Uuid::nil()));
    layout::segment(table, id)
}
