//! [`TurningStore`]: storage at whose every call others may have their turn, and whose puts of records fail as planned.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use parking_lot::Mutex;
use shuttle::future::yield_now;
use table_core::Workers;
use table_core::storage::faults::{FlakyStore, PutFault};
use table_core::storage::{DiskSpace, DurableStore, PutError, PutOutcome, Staged, layout};

/// A store that waits before and after everything that it does.
#[derive(Debug)]
pub(crate) struct TurningStore {
    inner: Arc<FlakyStore>,
    records: Mutex<Records>,
}

/// The puts of records, counted from 0.
#[derive(Debug, Default)]
struct Records {
    begun: u64,
    planned: BTreeMap<u64, PutFault>,
    not_stored: BTreeSet<u64>,
}

impl TurningStore {
    pub(crate) fn over(inner: Arc<FlakyStore>) -> Arc<Self> {
        Arc::new(Self { inner, records: Mutex::default() })
    }

    /// Lets the put of a record fail, this many records from now on.
    pub(crate) fn fail_record(&self, later: u64, fault: PutFault) {
        let mut records = self.records.lock();
        let number = records.begun + later;
        records.planned.insert(number, fault);
    }

    /// Lets nothing fail any more.
    pub(crate) fn calm(&self) {
        self.records.lock().planned.clear();
    }

    /// The number of the next record that is put.
    pub(crate) fn next_record(&self) -> u64 {
        self.records.lock().begun
    }

    /// The records of which certainly nothing was stored.
    pub(crate) fn not_stored(&self) -> BTreeSet<u64> {
        self.records.lock().not_stored.clone()
    }

    fn begin(&self, path: &str) {
        if !path.starts_with(layout::TABLES) || layout::is_checkpoint(path) {
            return;
        }
        let mut records = self.records.lock();
        let number = records.begun;
        records.begun += 1;
        if let Some(fault) = records.planned.remove(&number) {
            if fault == PutFault::NotStored {
                records.not_stored.insert(number);
            }
            // Taken by the very next put, which comes before anybody else's turn.
            self.inner.next_puts([fault]);
        }
    }
}

#[async_trait]
impl DurableStore for TurningStore {
    fn workers(&self) -> Workers {
        Workers::Inline
    }

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        self.inner.stage(path)
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        yield_now().await;
        self.begin(path);
        let outcome = self.inner.put_if_absent(path, bytes).await;
        yield_now().await;
        outcome
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        yield_now().await;
        let bytes = self.inner.read(path).await;
        yield_now().await;
        bytes
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        yield_now().await;
        self.inner.list(folder).await
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        yield_now().await;
        self.inner.sync(path).await
    }

    fn settles_unknown(&self) -> bool {
        DurableStore::settles_unknown(self.inner.as_ref())
    }

    fn space(&self) -> Option<DiskSpace> {
        self.inner.space()
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.inner.object_store()
    }
}
