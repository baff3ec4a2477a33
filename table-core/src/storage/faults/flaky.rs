//! [`FlakyStore`]: the answers of a remote store on a bad day, over any store.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::over::Over;
use crate::storage::{DurableStore, PutError, PutOutcome, Staged};

/// What a put does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFault {
    /// Nothing special.
    None,
    /// Stores nothing and says so.
    NotStored,
    /// Stores the object, and reports that nobody knows.
    StoredButUnknown,
    /// Stores nothing, and reports that nobody knows.
    AbsentAndUnknown,
    /// As `AbsentAndUnknown`, and the request may still arrive: see [`FlakyStore::deliver_late`].
    Late,
    /// Stores the object, and says that another one is there, as a retry inside a client library does.
    StoredButExists,
    /// Stores the object, but not durably.
    NotDurable,
}

/// A store whose next puts, reads and segments fail as told.
#[derive(Debug)]
pub struct FlakyStore {
    inner: Arc<dyn DurableStore>,
    puts: Mutex<VecDeque<PutFault>>,
    failing_reads: Mutex<u32>,
    stages_fail: AtomicBool,
    settles_unknown: AtomicBool,
    late: Mutex<Vec<(String, Bytes)>>,
    operations: Mutex<Vec<String>>,
}

impl FlakyStore {
    /// Over another store, well-behaved at first.
    pub fn over(inner: Arc<dyn DurableStore>) -> Arc<Self> {
        Arc::new(Self {
            settles_unknown: AtomicBool::new(inner.settles_unknown()),
            inner,
            puts: Mutex::default(),
            failing_reads: Mutex::default(),
            stages_fail: AtomicBool::default(),
            late: Mutex::default(),
            operations: Mutex::default(),
        })
    }

    /// What the next puts do, one after the other.
    pub fn next_puts(&self, faults: impl IntoIterator<Item = PutFault>) {
        self.puts.lock().extend(faults);
    }

    /// How many of the next reads fail.
    pub fn next_reads_fail(&self, count: u32) {
        *self.failing_reads.lock() = count;
    }

    /// Whether no segment can be written from now on.
    pub fn stages_fail(&self, fail: bool) {
        self.stages_fail.store(fail, Ordering::Relaxed);
    }

    /// Whether unknown outcomes can be settled by reading, as on an object store; at first what the store beneath says.
    pub fn settles_unknown(&self, settles: bool) {
        self.settles_unknown.store(settles, Ordering::Relaxed);
    }

    /// Lets the requests arrive that were late, and says how many of them stored their object.
    ///
    /// # Errors
    /// Of the store beneath.
    pub async fn deliver_late(&self) -> Result<usize, PutError> {
        let late = std::mem::take(&mut *self.late.lock());
        let mut stored = 0;
        for (path, bytes) in late {
            let outcome = self.inner.put_if_absent(&path, bytes).await?;
            stored += usize::from(outcome == PutOutcome::Created);
        }
        Ok(stored)
    }

    /// Every call so far, as `put path`, `read path`, ...
    pub fn operations(&self) -> Vec<String> {
        self.operations.lock().clone()
    }

    fn note(&self, call: &str, path: &str) {
        self.operations.lock().push(format!("{call} {path}"));
    }
}

fn fault() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "injected fault")
}

#[async_trait]
impl Over for FlakyStore {
    fn inner(&self) -> &Arc<dyn DurableStore> {
        &self.inner
    }

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        self.note("stage", path);
        if self.stages_fail.load(Ordering::Relaxed) {
            return Err(fault());
        }
        self.inner.stage(path)
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.note("put", path);
        let planned = self.puts.lock().pop_front().unwrap_or(PutFault::None);
        match planned {
            PutFault::None => self.inner.put_if_absent(path, bytes).await,
            PutFault::NotStored => Err(PutError::NotStored(fault())),
            PutFault::AbsentAndUnknown => Err(PutError::Unknown(fault())),
            PutFault::Late => {
                self.late.lock().push((path.to_owned(), bytes));
                Err(PutError::Unknown(fault()))
            }
            PutFault::StoredButUnknown => {
                self.inner.put_if_absent(path, bytes).await?;
                Err(PutError::Unknown(fault()))
            }
            PutFault::StoredButExists => {
                self.inner.put_if_absent(path, bytes).await?;
                Ok(PutOutcome::Exists)
            }
            PutFault::NotDurable => {
                self.inner.put_if_absent(path, bytes).await?;
                Err(PutError::NotDurable(fault()))
            }
        }
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        self.note("read", path);
        let fails = {
            let mut left = self.failing_reads.lock();
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        };
        if fails { Err(fault()) } else { self.inner.read(path).await }
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.note("list", folder);
        self.inner.list(folder).await
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        self.note("sync", path);
        self.inner.sync(path).await
    }

    fn settles_unknown(&self) -> bool {
        self.settles_unknown.load(Ordering::Relaxed)
    }
}
