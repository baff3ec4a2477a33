//! Walking a whole log to find everything that is wrong with it, where opening stops at the first thing.

use coverline_proto::log as proto;

use super::open::follow;
use super::record::Action;
use super::replay::State;
use super::store::{LogListing, LogStore, StoredRecord};
use super::{Digest, LogError};
use crate::types::Version;

/// A log, every file of it looked at.
#[derive(Debug)]
pub(crate) struct Walked<S> {
    /// The newest state, when it can be had from what is left.
    pub(crate) state: Option<S>,
    /// Records and checkpoints that were read.
    pub(crate) records: u64,
    pub(crate) checkpoints: u64,
    /// Every segment that any record added, live or not.
    pub(crate) segments: Vec<proto::AddSegment>,
    /// In the order of versions.
    pub(crate) problems: Vec<LogError>,
}

/// Reads every record and every checkpoint: frames, the chain of digests, the fold, and whether each checkpoint agrees with
/// the records below it. Behind a gap it goes on from the next checkpoint.
///
/// # Errors
/// `Io` when the folder cannot be listed.
pub(crate) async fn walk<S: State>(log: &LogStore) -> Result<Walked<S>, LogError> {
    let listing = log.list().await?;
    let newest = listing.records.last().max(listing.checkpoints.last()).copied();
    let mut walk = Walk {
        log,
        previous: None,
        found: Walked {
            state: None,
            records: 0,
            checkpoints: 0,
            segments: Vec::new(),
            problems: Vec::new(),
        },
    };
    for version in 1..=newest.unwrap_or_default().0 {
        walk.visit(Version(version), &listing).await;
    }
    Ok(walk.found)
}

struct Walk<'a, S> {
    log: &'a LogStore,
    /// Digest of the record before, when that could be read.
    previous: Option<Digest>,
    found: Walked<S>,
}

impl<S: State> Walk<'_, S> {
    async fn visit(&mut self, version: Version, listing: &LogListing) {
        let stored = match self.log.read_record(version).await {
            Ok(Some(stored)) => Some(stored),
            Ok(None) => {
                let file = self.log.record_file(version);
                self.found.problems.push(LogError::Missing { file });
                None
            }
            Err(error) => {
                self.found.problems.push(error);
                None
            }
        };
        match &stored {
            Some(stored) => self.record(stored),
            None => self.found.state = None,
        }
        self.previous = stored.map(|stored| stored.digest);
        if listing.checkpoints.binary_search(&version).is_ok() {
            self.checkpoint(version).await;
        }
    }

    fn record(&mut self, stored: &StoredRecord) {
        self.found.records += 1;
        self.found.segments.extend(stored.record.actions.iter().filter_map(
            |action| match action {
                Action::AddSegment(add) => Some(add.clone()),
                _ => None,
            },
        ));
        let before = self.found.state.take();
        if before.is_some() || stored.record.version == Version(1) {
            match follow(self.log, before.as_ref(), stored) {
                Ok(state) => self.found.state = Some(state),
                Err(error) => self.found.problems.push(error),
            }
        } else if self.previous.is_some_and(|digest| digest != stored.previous) {
            self.found.problems.push(LogError::Damaged {
                file: self.log.record_file(stored.record.version),
                what: "it follows another record than the one before it".to_owned(),
            });
        }
    }

    async fn checkpoint(&mut self, version: Version) {
        let file = self.log.checkpoint_file(version);
        let saved = match self.log.read_checkpoint::<S>(version).await {
            Ok(saved) => saved,
            Err(error) => {
                self.found.problems.push(error);
                return;
            }
        };
        self.found.checkpoints += 1;
        if self.previous.is_some_and(|digest| digest != *saved.record_digest()) {
            let what = format!("the checkpoint of version {version} names another record");
            self.found.problems.push(LogError::Damaged { file, what });
            return;
        }
        match &self.found.state {
            None => self.found.state = Some(saved),
            Some(folded) if folded.fold_digest() == saved.fold_digest() => {}
            Some(_) => {
                let what = "it differs from the fold of the records below it".to_owned();
                self.found.problems.push(LogError::Damaged { file, what });
            }
        }
    }
}
