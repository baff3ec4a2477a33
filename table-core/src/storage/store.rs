//! The one trait through which this crate touches storage.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStore;

use super::DiskSpace;
use crate::workers::Workers;

/// Objects read at the same time where a storage has nothing better for many.
const READS_IN_FLIGHT: usize = 16;

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is there, durable, and it is ours.
    Created,
    /// Another object has that name; ours was not stored.
    Exists,
}

/// Why a put-if-absent did not end well, sorted by what is known of the object.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Nothing was stored and never will be.
    #[error("not stored")]
    NotStored(#[source] io::Error),
    /// Nobody knows whether it was stored: read it back.
    #[error("stored or not, unknown")]
    Unknown(#[source] io::Error),
    /// It can be read, but a power loss may take it away, and asking for durability again would prove nothing (C14).
    #[error("stored, not durable")]
    NotDurable(#[source] io::Error),
}

impl PutError {
    /// The cause.
    pub fn into_source(self) -> io::Error {
        match self {
            Self::NotStored(error) | Self::Unknown(error) | Self::NotDurable(error) => error,
        }
    }
}

/// A new immutable object being written. Nothing exists under its final name until [`Staged::publish`]; dropping it removes
/// what was written.
pub trait Staged: io::Write + Send + fmt::Debug {
    /// Makes the object durable under its final name, its directory entry included.
    ///
    /// # Errors
    /// Of the storage, with the kind of its cause. The object may then be there or not; nothing may name it.
    fn publish(self: Box<Self>) -> io::Result<()>;

    /// Removes what was written so far.
    fn discard(self: Box<Self>);
}

/// Durable objects under one root. Paths are relative, `/`-separated, made by `layout`.
///
/// Methods that wait run their system calls on the blocking pool.
#[async_trait]
pub trait DurableStore: fmt::Debug + Send + Sync {
    /// Where blocking calls of this storage run, and the encoding that leads to them.
    fn workers(&self) -> Workers {
        Workers::Pool
    }

    /// Starts a new object for a large payload written in pieces. Blocking: call it on [`DurableStore::workers`].
    ///
    /// # Errors
    /// Of the storage.
    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>>;

    /// Stores a small object if none has that name: durable, directory entry included, when this returns.
    ///
    /// # Errors
    /// [`PutError`], which says what is known of the object.
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError>;

    /// The whole object.
    ///
    /// # Errors
    /// `NotFound`, or of the storage.
    async fn read(&self, path: &str) -> io::Result<Bytes>;

    /// Several whole objects, in the order of `paths`. An object that cannot be read fails alone.
    ///
    /// Many small objects cost less this way where a call has a price of its own, such as a thread.
    async fn read_many(&self, paths: Vec<String>) -> Vec<io::Result<Bytes>> {
        let reads = paths.into_iter().map(|path| async move { self.read(&path).await });
        futures::stream::iter(reads).buffered(READS_IN_FLIGHT).collect().await
    }

    /// Names (not paths) directly below a folder, sorted; empty when there is no such folder. Unfinished objects are not
    /// listed.
    ///
    /// # Errors
    /// Of the storage.
    async fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes durable what exists already: the object and its directory entry (C8).
    ///
    /// # Errors
    /// Of the storage; `NotFound` where there is something to do and no such object.
    async fn sync(&self, path: &str) -> io::Result<()>;

    /// Room for new objects, or `None` when the storage cannot tell.
    fn space(&self) -> Option<DiskSpace>;

    /// Free bytes for new objects, or `None` when the storage cannot tell.
    fn free_bytes(&self) -> Option<u64> {
        self.space().map(|space| space.free)
    }

    /// Whether a put whose outcome is unknown can be settled later by reading the object: what can be read is durable, and
    /// nothing else can have taken the name meanwhile. So it is in an object store with an atomic conditional PUT. On a local
    /// disk it is not: what the operating system shows of a file may be lost by the next power cut (C14).
    fn settles_unknown(&self) -> bool {
        false
    }

    /// The same root as DataFusion reads it.
    fn object_store(&self) -> Arc<dyn ObjectStore>;
}
