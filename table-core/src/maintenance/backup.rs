//! `backup`: a consistent copy of a root while it is being written, and the way back.
//!
//! What is published never changes, so a copy of the log up to some version, and of every segment that it names, is the
//! table as of that version. The catalog's log is copied last: a copy that was interrupted holds tables without a catalog,
//! which no server takes for a root. A backup is a root itself: it can be served, and restoring it is backing it up.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coverline_proto::log as proto;
use futures::TryStreamExt;

use super::scrub::segment_path;
use super::verify::read_segment;
use super::{Progress, made_root, reach};
use crate::catalog::CatalogState;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::record::Action;
use crate::log::{LogStore, Opened, State, open_newest};
use crate::snapshot::Snapshot;
use crate::storage::{
    DurableStore, LocalStore, ObjectRoot, PutError, PutOutcome, Root, create_root,
};
use crate::types::{TableId, Version};

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Each table with the version it was copied at, by name.
    pub tables: Vec<(String, Version)>,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Copies the root at `source` into `target`, a folder or a prefix in an object store that must be new or empty. Every file is
/// verified on the way and durable at the end. Of each table the copy holds the newest version that was there when its turn
/// came.
///
/// # Errors
/// `NotFound` when there is no root to copy; `Precondition` when the target is not empty or lies inside the source; `Corrupt`
/// when a file of the source is damaged or missing, naming it: the target is then no root and can be removed; `Exhausted` when
/// the target is full. The target is made only once there is something to copy.
pub async fn backup(
    source: impl Into<Root>,
    target: impl Into<Root>,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    let (source, target) = (source.into(), target.into());
    let from = made_root(&source).await?;
    refuse_inside(&source, &target)?;
    let to = match &target {
        Root::Folder(folder) => empty_folder(folder)?,
        Root::Objects(objects) => empty_prefix(objects).await?,
    };
    backup_store(&from, &to, progress).await
}

/// Refuses a target inside the root that is copied: it would be taken for a part of it.
fn refuse_inside(source: &Root, target: &Root) -> Result<()> {
    let is_inside = match (source, target) {
        (Root::Folder(source), Root::Folder(target)) => {
            resolved(target).starts_with(resolved(source))
        }
        (Root::Objects(source), Root::Objects(target)) => {
            (source.scheme(), source.container()) == (target.scheme(), target.container())
                && target.prefix().prefix_matches(source.prefix())
        }
        (Root::Folder(_), Root::Objects(_)) | (Root::Objects(_), Root::Folder(_)) => false,
    };
    match is_inside {
        true => Err(Error::new(
            ErrorKind::Precondition,
            format!(
                "\"{target}\" lies inside \"{source}\", which is to be copied; name a place outside of it"
            ),
        )),
        false => Ok(()),
    }
}

/// The place that a path names, links followed as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (there.canonicalize(), path.strip_prefix(there)) {
            return real.join(rest);
        }
    }
    path
}

fn empty_folder(target: &Path) -> Result<Arc<dyn DurableStore>> {
    let unusable = |error: io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot use folder \"{}\": {error}", target.display()),
        )
        .with_source(error)
    };
    create_root(target).map_err(unusable)?;
    if std::fs::read_dir(target).map_err(unusable)?.next().is_some() {
        return Err(Error::new(
            ErrorKind::Precondition,
            format!("folder \"{}\" is not empty; name a new one", target.display()),
        ));
    }
    let to = LocalStore::open(target, SystemClock::shared()).map_err(unusable)?;
    Ok(Arc::new(to))
}

async fn empty_prefix(target: &ObjectRoot) -> Result<Arc<dyn DurableStore>> {
    let to = reach(target)?;
    let found = to.list("").await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot use {target}: {error}"))
            .with_source(error)
    })?;
    match found.first() {
        None => Ok(to),
        Some(found) => Err(Error::new(
            ErrorKind::Precondition,
            format!("{target} is not empty (it holds \"{found}\"); name a new prefix"),
        )),
    }
}

/// The same between stores of one's own; `to` is taken for empty.
///
/// # Errors
/// As [`backup`].
pub async fn backup_store(
    from: &Arc<dyn DurableStore>,
    to: &Arc<dyn DurableStore>,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    let mut copy = Copy { from, to, progress, report: BackupReport::default() };
    let log = LogStore::of_catalog(Arc::clone(from));
    let catalog: Opened<CatalogState> = open_newest(&log)
        .await
        .map_err(|error| Error::from(error).context("cannot copy the catalog"))?;
    for (name, id) in &catalog.state.tables {
        let version = copy
            .table(*id)
            .await
            .map_err(|error| error.context(format!("cannot copy table \"{name}\"")))?;
        copy.report.tables.push((name.clone(), version));
    }
    copy.log(&log, &catalog).await.map_err(|error| error.context("cannot copy the catalog"))?;
    Ok(copy.report)
}

struct Copy<'a> {
    from: &'a Arc<dyn DurableStore>,
    to: &'a Arc<dyn DurableStore>,
    progress: Progress<'a>,
    report: BackupReport,
}

impl Copy<'_> {
    async fn table(&mut self, id: TableId) -> Result<Version> {
        let log = LogStore::of_table(Arc::clone(self.from), id);
        let opened: Opened<Snapshot> = open_newest(&log).await?;
        let mut segments: Vec<proto::AddSegment> =
            opened.state.segments.iter().map(|segment| segment.to_proto()).collect();
        let mut named: HashSet<_> =
            segments.iter().map(|segment| segment.segment_id.clone()).collect();
        // Older versions name segments that the newest does not.
        let mut records = std::pin::pin!(log.read_records(Version(1), opened.state.version));
        while let Some(stored) = records.try_next().await? {
            for action in stored.record.actions {
                if let Action::AddSegment(add) = action
                    && named.insert(add.segment_id.clone())
                {
                    segments.push(add);
                }
            }
        }
        for segment in &segments {
            self.segment(id, segment).await?;
        }
        self.log(&log, &opened).await?;
        Ok(opened.state.version)
    }

    async fn segment(&mut self, table: TableId, segment: &proto::AddSegment) -> Result<()> {
        let path = segment_path(table, segment);
        let about = |error: io::Error| storage_error(&path, error);
        let (to, place) = (Arc::clone(self.to), path.clone());
        let mut staged = Some(blocking(move || to.stage(&place)).await.map_err(about)?);
        let progress = self.progress;
        let write = async |piece: bytes::Bytes| {
            progress(piece.len() as u64);
            let mut file = staged.take().ok_or_else(|| io::Error::other("a copy is gone"))?;
            staged = Some(
                blocking(move || {
                    file.write_all(&piece)?;
                    Ok(file)
                })
                .await?,
            );
            Ok(())
        };
        let damage = read_segment(&self.from.object_store(), &path, segment, write).await.map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => Error::new(
                    ErrorKind::Corrupt,
                    format!("{path} is missing; restore it from an older backup"),
                ),
                _ => storage_error(&path, error),
            },
        )?;
        if let Some(damage) = damage {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{path} is damaged: {damage}; restore it from an older backup"),
            ));
        }
        if let Some(file) = staged {
            blocking(move || file.publish()).await.map_err(about)?;
        }
        self.report.files += 1;
        self.report.bytes += segment.file_bytes;
        Ok(())
    }

    /// The records up to the state's version, verified when it was read, and the checkpoint that it was read from.
    async fn log<S: State>(&mut self, log: &LogStore, opened: &Opened<S>) -> Result<()> {
        if opened.checkpoint > Version(0) {
            self.file(log.checkpoint_file(opened.checkpoint)).await?;
        }
        for version in 1..=opened.state.version().0 {
            self.file(log.record_file(Version(version))).await?;
        }
        Ok(())
    }

    async fn file(&mut self, path: String) -> Result<()> {
        let bytes = self.from.read(&path).await.map_err(|error| storage_error(&path, error))?;
        let length = bytes.len() as u64;
        match self.to.put_if_absent(&path, bytes).await {
            Ok(PutOutcome::Created) => {}
            Ok(PutOutcome::Exists) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{path} came to be in the target meanwhile; copy into a folder of its own"
                    ),
                ));
            }
            Err(error) => return Err(storage_error(&path, PutError::into_source(error))),
        }
        (self.progress)(length);
        self.report.files += 1;
        self.report.bytes += length;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn storage_error(path: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::of_storage(&error), format!("cannot copy {path}: {error}"))
        .with_source(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_inside_another_by_its_steps() {
        for (source, target, expected) in [
            ("s3://lake/a", "s3://lake/a/b", true),
            ("s3://lake/a", "s3://lake/a", true),
            ("s3://lake", "s3://lake/a", true),
            ("s3://lake/a", "s3://lake/ab", false),
            ("s3://lake/a/b", "s3://lake/a", false),
            ("s3://lake/a", "s3://pond/a/b", false),
            ("s3://lake/a", "gs://lake/a/b", false),
            ("s3://lake/a", "/lake/a/b", false),
        ] {
            let refused = refuse_inside(&source.parse().unwrap(), &target.parse().unwrap());
            assert_eq!(refused.is_err(), expected, "{source} {target}");
        }
    }
}
