//! [`BusyStore`]: listings that take a while, during which others write.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::over::Over;
use crate::storage::DurableStore;

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
impl Over for BusyStore {
    fn inner(&self) -> &Arc<dyn DurableStore> {
        &self.inner
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let before: BTreeSet<String> = self.inner.list(folder).await?.into_iter().collect();
        (self.meanwhile)().await;
        let mut names = self.inner.list(folder).await?;
        let mut random = self.random.lock();
        names.retain(|name| before.contains(name) || random.random());
        Ok(names)
    }
}
