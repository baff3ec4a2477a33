//! Finding a version of a log: the newest usable checkpoint at or below it, then the records after that.
//!
//! A listing only says where to begin. Others may add files while it is made, and then it may show a name and not the one before
//! it; so the newest version is the newest name in it, of a record or of a checkpoint, and what is missing is told by
//! reading. Records that came too late for the listing are found by following the log.

use std::sync::Arc;

use futures::TryStreamExt;

use super::replay::{ReplayError, State};
use super::store::{LogListing, LogStore, StoredRecord};
use super::{LogError, frame};
use crate::types::Version;

/// Logs up to this version are folded once more from their first record in debug builds, to hold checkpoints and coverage
/// against the records (C17).
const FOLD_CHECK_VERSIONS_MAX: u64 = 2_000;

/// A log read to one version.
#[derive(Debug)]
pub(crate) struct Opened<S> {
    /// The fold.
    pub(crate) state: Arc<S>,
    /// Version of the checkpoint it started from; 0 for none.
    pub(crate) checkpoint: Version,
}

/// Reads a log to its newest version and makes that durable before anybody sees it (C8).
pub(crate) async fn open_newest<S: State>(log: &LogStore) -> Result<Opened<S>, LogError> {
    let listing = log.list().await?;
    // Where there is a checkpoint there was a record of its version before.
    let newest = listing.records.last().max(listing.checkpoints.last()).copied();
    let newest = newest.ok_or_else(|| no_records(log))?;
    let opened: Opened<S> = open_listed(log, &listing, newest).await?;
    let file = log.record_file(newest);
    let last = log.read_record(newest).await?.ok_or(LogError::Missing { file: file.clone() })?;
    if last.digest != *opened.state.record_digest() {
        let what = format!("the checkpoint of version {newest} names another record");
        return Err(LogError::Damaged { file, what });
    }
    log.sync_newest(&last.record).await?;
    if cfg!(debug_assertions) && newest.0 <= FOLD_CHECK_VERSIONS_MAX && opened.checkpoint.0 > 0 {
        check_fold(log, &opened).await?;
    }
    Ok(opened)
}

/// Reads a log to an older version.
pub(crate) async fn open_at<S: State>(
    log: &LogStore,
    version: Version,
) -> Result<Opened<S>, LogError> {
    let listing = log.list().await?;
    open_listed(log, &listing, version).await
}

fn no_records(log: &LogStore) -> LogError {
    LogError::Damaged {
        file: log.folder().to_owned(),
        what: "it holds no commit record".to_owned(),
    }
}

async fn open_listed<S: State>(
    log: &LogStore,
    listing: &LogListing,
    target: Version,
) -> Result<Opened<S>, LogError> {
    let mut unusable = None;
    for checkpoint in listing.checkpoints.iter().rev().filter(|version| **version <= target) {
        match log.read_checkpoint::<S>(*checkpoint).await {
            Ok(state) => {
                let state = replay(log, Some(state), target).await?;
                return Ok(Opened { state: Arc::new(state), checkpoint: *checkpoint });
            }
            Err(error @ LogError::Io { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint is skipped; older records are read instead");
                unusable.get_or_insert(error);
            }
        }
    }
    match (replay(log, None, target).await, unusable) {
        (Ok(state), _) => Ok(Opened { state: Arc::new(state), checkpoint: Version(0) }),
        // What cannot be replayed for want of old records is the checkpoint's fault, not theirs.
        (Err(LogError::Missing { .. }), Some(checkpoint)) => Err(checkpoint),
        (Err(error), _) => Err(error),
    }
}

/// Folds the records after `state` up to `target`.
async fn replay<S: State>(
    log: &LogStore,
    mut state: Option<S>,
    target: Version,
) -> Result<S, LogError> {
    let start = state.as_ref().map_or(Version(0), S::version);
    if start < target {
        let mut records = std::pin::pin!(log.read_records(start.next(), target));
        while let Some(stored) = records.try_next().await? {
            state = Some(advance(log, state, &stored)?);
        }
    }
    state.ok_or_else(|| no_records(log))
}

/// The state after one more record, whose frame must name the record before it.
pub(crate) fn follow<S: State>(
    log: &LogStore,
    state: Option<&S>,
    stored: &StoredRecord,
) -> Result<S, LogError> {
    advance(log, state.cloned(), stored)
}

/// The same from a state that nobody needs any longer.
fn advance<S: State>(
    log: &LogStore,
    state: Option<S>,
    stored: &StoredRecord,
) -> Result<S, LogError> {
    let file = log.record_file(stored.record.version);
    let before = state.as_ref().map_or(&frame::NO_RECORD, S::record_digest);
    if stored.previous != *before {
        let what = "it follows another record than the one before it".to_owned();
        return Err(LogError::Damaged { file, what });
    }
    match state {
        None => S::first(&stored.record, stored.digest),
        Some(state) => state.advance(&stored.record, stored.digest),
    }
    .map_err(|error: ReplayError| error.in_file(&file))
}

/// Folds everything from the first record and compares. Damage below the checkpoint is not what is looked for here.
async fn check_fold<S: State>(log: &LogStore, opened: &Opened<S>) -> Result<(), LogError> {
    let target = opened.state.version();
    let Ok(folded) = replay::<S>(log, None, target).await else { return Ok(()) };
    if folded.fold_digest() != opened.state.fold_digest() {
        return Err(LogError::Damaged {
            file: log.checkpoint_file(opened.checkpoint),
            what: "it differs from the fold of the records below it".to_owned(),
        });
    }
    Ok(())
}
