//! The one trait through which this crate touches storage.

use std::fmt;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is there, durable, and it is ours.
    Created,
    /// Another object has that name; ours was not stored.
    Exists,
}

/// A new immutable object being written. Nothing exists under its final name until [`Staged::publish`].
pub trait Staged: io::Write + Send + fmt::Debug {
    /// Makes the object durable under its final name, its directory entry included.
    ///
    /// # Errors
    /// Of the storage; then nothing exists under the final name, unless the error kind is
    /// [`io::ErrorKind::Other`] with unknown outcome.
    fn publish(self: Box<Self>) -> io::Result<()>;

    /// Removes what was written so far.
    fn discard(self: Box<Self>);
}

/// Durable objects under one root. Paths are relative, `/`-separated, made by `layout`.
///
/// Methods that wait run their system calls on the blocking pool.
#[async_trait]
pub trait DurableStore: fmt::Debug + Send + Sync {
    /// Starts a new object for a large payload written in pieces. Blocking: call it on the blocking pool.
    ///
    /// # Errors
    /// Of the storage.
    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>>;

    /// Stores a small object if none has that name: durable, directory entry included, when this returns.
    ///
    /// # Errors
    /// Of the storage. The outcome is then unknown: read the object back.
    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> io::Result<PutOutcome>;

    /// The whole object.
    ///
    /// # Errors
    /// `NotFound`, or of the storage.
    async fn read(&self, path: &str) -> io::Result<Bytes>;

    /// Names (not paths) directly below a folder, sorted; empty when there is no such folder. Unfinished objects are not
    /// listed.
    ///
    /// # Errors
    /// Of the storage.
    async fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes durable what exists already: the object and its directory entry (C8).
    ///
    /// # Errors
    /// Of the storage.
    async fn sync(&self, path: &str) -> io::Result<()>;

    /// Free bytes for new objects, or `None` when the storage cannot tell.
    fn free_bytes(&self) -> Option<u64>;

    /// The same root as DataFusion reads it.
    fn object_store(&self) -> std::sync::Arc<dyn object_store::ObjectStore>;
}
