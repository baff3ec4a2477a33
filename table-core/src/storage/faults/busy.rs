//! [`BusyStore`]: listings that take a while, during which others write.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::storage::{DiskSpace, DurableStore, PutError, PutOutcome, Staged};

/// A store over another whose listings are no snapshot, as those of a folder or of a bucket: they have every name that was there
/// when the call began, and of the names that came while it lasted some and not others, whichever came first.
pub struct BusyStore {
    inner: Arc<dyn DurableStore>,
    random: Mutex<StdRng>,
    meanwhile: Meanwhile,
}

/// What others do while a listing is made.
type Meanwhile = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl BusyStore {
    /// Over another store, to which `meanwhile` writes without this one.
    pub fn over(
        inner: Arc<dyn DurableStore>,
        seed: u64,
        meanwhile: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { inner, random, meanwhile: Box::new(meanwhile) })
    }
}

impl fmt::Debug for BusyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BusyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl DurableStore for BusyStore {
    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        self.inner.stage(path)
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.inner.put_if_absent(path, bytes).await
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        self.inner.read(path).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let before: BTreeSet<String> = self.inner.list(folder).await?.into_iter().collect();
        (self.meanwhile)().await;
        let mut names = self.inner.list(folder).await?;
        let mut random = self.random.lock();
        names.retain(|name| before.contains(name) || random.random());
        Ok(names)
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        self.inner.sync(path).await
    }

    fn settles_unknown(&self) -> bool {
        self.inner.settles_unknown()
    }

    fn space(&self) -> Option<DiskSpace> {
        self.inner.space()
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.inner.object_store()
    }
}
