//! Reading and publishing log files through the durable store. The only I/O of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::frame::{self, FrameKind};
use super::replay::State;
use super::{Digest, LogError, Record, checkpoint};
use crate::guard::Guard;
use crate::storage::layout::{self, LogFile};
use crate::storage::{DurableStore, PutError, PutOutcome};
use crate::types::{AttemptId, TableId, Version};

/// Records read with one call at most while a log is replayed.
pub(super) const RECORDS_PER_READ: usize = 64;

/// Bytes read with one such call, if its records are as long as those before them: 8 MiB. A record may be longer.
const BYTES_PER_READ: u64 = 8 << 20;

/// Such calls under way at the same time: one is folded while the next is read.
const READS_IN_FLIGHT: usize = 2;

/// How often a record is written whose outcome was unknown and which is then found absent (C5).
const PUT_TRIES_MAX: u32 = 3;

/// A record as it is in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The commit.
    pub record: Record,
    /// Digest of its framed bytes.
    pub digest: Digest,
    /// Digest of the record before it, as its frame says.
    pub previous: Digest,
}

/// What became of an attempt to publish a record.
#[derive(Debug)]
pub enum PublishOutcome {
    /// It is in the log, durable.
    Committed,
    /// A rival's record is in that slot.
    Lost(Box<StoredRecord>),
    /// It may be in the log or not, or it is there and not durable: nobody knows.
    Unknown(io::Error),
}

/// What a log folder holds, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogListing {
    /// Versions that have a record, ascending.
    pub records: Vec<Version>,
    /// Versions that have a checkpoint, ascending.
    pub checkpoints: Vec<Version>,
}

/// The log of one table or of the catalog.
#[derive(Debug, Clone)]
pub struct LogStore {
    store: Arc<dyn DurableStore>,
    folder: String,
}

impl LogStore {
    /// The log of a table.
    pub fn of_table(store: Arc<dyn DurableStore>, table: TableId) -> Self {
        Self { store, folder: layout::table_log(table) }
    }

    /// The log of the catalog.
    pub fn of_catalog(store: Arc<dyn DurableStore>) -> Self {
        Self { store, folder: layout::CATALOG_LOG.to_owned() }
    }

    /// The storage beneath.
    pub fn store(&self) -> &Arc<dyn DurableStore> {
        &self.store
    }

    /// The log's folder, below the root.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// File of a record, below the root.
    pub fn record_file(&self, version: Version) -> String {
        layout::record(&self.folder, version)
    }

    /// File of a checkpoint, below the root.
    pub fn checkpoint_file(&self, version: Version) -> String {
        layout::checkpoint(&self.folder, version)
    }

    /// Publishes a framed record as `version`, if that slot is free.
    ///
    /// A slot that is taken, or an outcome that is unknown, is read back: the attempt id tells whether the record in it is
    /// this very one (C5).
    ///
    /// # Errors
    /// Of the storage: then nothing was published. `Future` when the slot holds a newer version's record.
    pub async fn publish(
        &self,
        version: Version,
        framed: Bytes,
        attempt: AttemptId,
    ) -> Result<PublishOutcome, LogError> {
        let file = self.record_file(version);
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.store.put_if_absent(&file, framed.clone()).await {
                Ok(PutOutcome::Created) => return Ok(PublishOutcome::Committed),
                Ok(PutOutcome::Exists) => None,
                Err(PutError::NotStored(source)) if tries == 1 => {
                    return Err(LogError::Io { action: "write", file, source });
                }
                Err(PutError::NotStored(error) | PutError::NotDurable(error)) => {
                    return Ok(PublishOutcome::Unknown(error));
                }
                Err(PutError::Unknown(error)) => Some(error),
            };
            match (self.read_record(version).await, failure) {
                (Ok(Some(found)), _)
                    if found.record.attempt_id == attempt && Guard::SelfRecognition.stands() =>
                {
                    tracing::debug!(file, "a record that was read back is our own");
                    return Ok(match self.store.sync(&file).await {
                        Ok(()) => PublishOutcome::Committed,
                        Err(error) => PublishOutcome::Unknown(error),
                    });
                }
                (Ok(Some(found)), _) => return Ok(PublishOutcome::Lost(Box::new(found))),
                (Ok(None), Some(error)) if tries == PUT_TRIES_MAX => {
                    return Ok(PublishOutcome::Unknown(error));
                }
                (Ok(None), None) if tries == PUT_TRIES_MAX => {
                    return Ok(PublishOutcome::Unknown(io::Error::other(format!(
                        "{file} is said to exist and cannot be found"
                    ))));
                }
                (Ok(None), _) => {}
                (Err(error @ LogError::Future { .. }), _) => return Err(error),
                (Err(error), _) => {
                    return Ok(PublishOutcome::Unknown(io::Error::other(error)));
                }
            }
        }
    }

    /// The record of `version`; `None` when there is none.
    ///
    /// # Errors
    /// `Damaged`, `Future`, or of the storage.
    pub async fn read_record(&self, version: Version) -> Result<Option<StoredRecord>, LogError> {
        let file = self.record_file(version);
        let framed = self.store.read(&file).await;
        Self::decode_record(version, file, framed)
    }

    /// The record of `version` from what reading its file gave; `None` when there is no file.
    fn decode_record(
        version: Version,
        file: String,
        framed: io::Result<Bytes>,
    ) -> Result<Option<StoredRecord>, LogError> {
        let framed = match framed {
            Ok(framed) => framed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LogError::Io { action: "read", file, source }),
        };
        let frame = frame::decode(FrameKind::Record, &framed, &file)?;
        let record = Record::decode(frame.payload, &file)?;
        if record.version != version {
            return Err(LogError::Damaged {
                file,
                what: format!("it is the record of version {}", record.version),
            });
        }
        Ok(Some(StoredRecord { record, digest: frame::digest(&framed), previous: frame.previous }))
    }

    /// The records from `first` on, at most `count`, up to the first that is not there.
    ///
    /// # Errors
    /// As [`Self::read_record`].
    pub(super) async fn read_present(
        &self,
        first: Version,
        count: usize,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let versions = || (first.0..).take(count).map(Version);
        let files: Vec<_> = versions().map(|version| self.record_file(version)).collect();
        let read = match files.as_slice() {
            [file] => vec![self.store.read(file).await],
            _ => self.store.read_many(files).await,
        };
        let mut present = Vec::new();
        for (version, framed) in versions().zip(read) {
            match Self::decode_record(version, self.record_file(version), framed)? {
                Some(stored) => present.push(stored),
                None => break,
            }
        }
        Ok(present)
    }

    /// The records from `first` to `last`, both included, in order, read ahead with bounded concurrency. The chain of
    /// digests is for the reader to check.
    pub fn read_records(
        &self,
        first: Version,
        last: Version,
    ) -> impl Stream<Item = Result<StoredRecord, LogError>> + Send + '_ {
        // How many records the next call reads: at first one, then up to twice as many each time, as their length allows.
        let stretch = Arc::new(AtomicU64::new(1));
        let (planned, mut next) = (Arc::clone(&stretch), first.0);
        let stretches = std::iter::from_fn(move || {
            let start = next;
            let end = start.saturating_add(planned.load(Ordering::Relaxed));
            next = end.min(last.0.saturating_add(1));
            (start < next).then_some(start..next)
        });
        futures::stream::iter(stretches)
            .map(move |versions| {
                let stretch = Arc::clone(&stretch);
                async move {
                    let files = versions.clone().map(|version| self.record_file(Version(version)));
                    let found = self.store.read_many(files.collect()).await;
                    let bytes: u64 = found.iter().flatten().map(|framed| framed.len() as u64).sum();
                    let count = versions.end - versions.start;
                    let fitting = BYTES_PER_READ.saturating_mul(count) / bytes.max(1);
                    let next = fitting.min(count * 2).clamp(1, RECORDS_PER_READ as u64);
                    stretch.store(next, Ordering::Relaxed);
                    let records = versions.zip(found).map(|(version, framed)| {
                        let version = Version(version);
                        Self::decode_record(version, self.record_file(version), framed)?
                            .ok_or_else(|| LogError::Missing { file: self.record_file(version) })
                    });
                    futures::stream::iter(records.collect::<Vec<_>>())
                }
            })
            .buffered(READS_IN_FLIGHT)
            .flatten()
    }

    /// What the folder holds.
    ///
    /// # Errors
    /// Of the storage.
    pub async fn list(&self) -> Result<LogListing, LogError> {
        let names = self.store.list(&self.folder).await.map_err(|source| LogError::Io {
            action: "list",
            file: self.folder.clone(),
            source,
        })?;
        let mut listing = LogListing::default();
        for name in names {
            match layout::parse_log_file(&name) {
                Some(LogFile::Record(version)) => listing.records.push(version),
                Some(LogFile::Checkpoint(version)) => listing.checkpoints.push(version),
                None => {}
            }
        }
        listing.records.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }

    /// The state that the checkpoint of `version` keeps.
    pub(super) async fn read_checkpoint<S: State>(&self, version: Version) -> Result<S, LogError> {
        let file = self.checkpoint_file(version);
        let framed = self.store.read(&file).await.map_err(|source| LogError::Io {
            action: "read",
            file: file.clone(),
            source,
        })?;
        // A large checkpoint takes a while to decode.
        self.store
            .workers()
            .start(move || checkpoint::decode(&framed, version, &file))
            .await
            .map_err(|error| LogError::Io {
                action: "read",
                file: self.checkpoint_file(version),
                source: io::Error::other(error),
            })?
    }

    /// Saves a state; a checkpoint that is there already is left alone.
    pub(super) async fn write_checkpoint<S: State>(&self, state: Arc<S>) -> Result<(), LogError> {
        let file = self.checkpoint_file(state.version());
        let failed = |source: io::Error| LogError::Io {
            action: "write",
            file: self.checkpoint_file(state.version()),
            source,
        };
        let saved = Arc::clone(&state);
        let framed = self
            .store
            .workers()
            .start(move || checkpoint::encode(saved.as_ref()))
            .await
            .map_err(|error| failed(io::Error::other(error)))?;
        let put = self.store.put_if_absent(&file, framed).await;
        put.map(|_| ()).map_err(|error| failed(error.into_source()))
    }

    /// Makes a record durable, and the names of all those in the folder.
    pub(super) async fn sync_record(&self, version: Version) -> Result<(), LogError> {
        let file = self.record_file(version);
        let synced = self.store.sync(&file).await;
        synced.map_err(|source| LogError::Io { action: "sync", file, source })
    }

    /// Makes durable what is about to be served (C8): the newest record and the folder, and the segments it names.
    pub(super) async fn sync_newest(&self, newest: &Record) -> Result<(), LogError> {
        let mut files = vec![self.record_file(newest.version)];
        if let Some(table_folder) = self.folder.strip_suffix("/_log") {
            files.extend(newest.added_segments().map(|id| layout::segment_in(table_folder, id)));
        }
        for file in files {
            match self.store.sync(&file).await {
                Ok(()) => {}
                // A missing segment fails the queries that need it; the table stays usable (C10).
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && file != self.record_file(newest.version) =>
                {
                    tracing::error!(file, "a segment that the newest version names is missing");
                }
                Err(source) => return Err(LogError::Io { action: "sync", file, source }),
            }
        }
        Ok(())
    }
}
