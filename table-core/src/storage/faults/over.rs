//! [`Over`]: a store for tests over another one, which changes some of its calls and passes the others on.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;

use crate::storage::{DiskSpace, DurableStore, PutError, PutOutcome, Staged};
use crate::workers::Workers;

/// The calls of a [`DurableStore`] that such stores change; each goes to the store beneath unless it is written anew.
#[async_trait]
pub(super) trait Over: fmt::Debug + Send + Sync {
    /// The store beneath.
    fn inner(&self) -> &Arc<dyn DurableStore>;

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        self.inner().stage(path)
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.inner().put_if_absent(path, bytes).await
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        self.inner().read(path).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.inner().list(folder).await
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        self.inner().sync(path).await
    }

    fn settles_unknown(&self) -> bool {
        self.inner().settles_unknown()
    }
}

#[async_trait]
impl<T: Over> DurableStore for T {
    fn workers(&self) -> Workers {
        self.inner().workers()
    }

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        Over::stage(self, path)
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        Over::put_if_absent(self, path, bytes).await
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        Over::read(self, path).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        Over::list(self, folder).await
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        Over::sync(self, path).await
    }

    fn space(&self) -> Option<DiskSpace> {
        self.inner().space()
    }

    fn settles_unknown(&self) -> bool {
        Over::settles_unknown(self)
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.inner().object_store()
    }
}
