//! [`RemoteStore`]: a root in an object store.
//!
//! What a store has acknowledged is durable, so nothing is ever synced. Small objects are published by a conditional PUT
//! (`If-None-Match: *`), large ones by an upload to a name that nobody else uses (`upload`). How to reach a store is in
//! `connect`, what its errors mean in `failure`, whether its conditional PUT can be trusted in `probe`.

mod connect;
mod failure;
mod probe;
mod upload;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::time::Instant;

pub(crate) use self::connect::connect;
use self::failure::{Stored, into_io, what_was_stored};
pub(crate) use self::probe::{Verdict, probe};
use self::upload::Upload;
use super::{DiskSpace, DurableStore, PutError, PutOutcome, Staged, layout};

/// Objects read at the same time by [`DurableStore::read_many`]. A read spends nearly all of its time waiting.
const READS_IN_FLIGHT: usize = 32;

/// How often a conditional PUT is sent whose failure may pass. The log asks more often than that, after it has read the slot
/// back.
const PUT_TRIES_MAX: u32 = 4;

/// Wait before the second try; it doubles from try to try.
const PUT_WAIT_MIN: Duration = Duration::from_millis(100);

/// After this time no further try is begun.
const PUT_TIME_MAX: Duration = Duration::from_secs(20);

/// A root in an object store. Clones share everything.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    /// Repeats what fails by itself.
    store: Arc<dyn ObjectStore>,
    /// Sends each request once, so that it is known what became of it.
    once: Arc<dyn ObjectStore>,
}

impl RemoteStore {
    /// The root at `prefix` of a store.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &Path) -> Self {
        Self::with_single_tries(Arc::clone(&store), store, prefix)
    }

    /// The same with a client of its own for conditional PUTs, which must send a request no more than once.
    pub(crate) fn with_single_tries(
        store: Arc<dyn ObjectStore>,
        once: Arc<dyn ObjectStore>,
        prefix: &Path,
    ) -> Self {
        let below = |store| Arc::new(PrefixStore::new(store, prefix.clone()));
        Self { store: below(store), once: below(once) }
    }

    /// Sends the PUT until its outcome is known, the failure will not pass, or the tries are used up. A failure that leaves
    /// the object in doubt leaves it there, whatever a later try says: that may have met the effect of the first.
    async fn put(&self, path: &Path, bytes: Bytes) -> Result<PutOutcome, PutError> {
        let began = Instant::now();
        let (mut wait, mut tries, mut in_doubt) = (PUT_WAIT_MIN, 0, false);
        loop {
            tries += 1;
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from_bytes(bytes.clone());
            let Err(error) = self.once.put_opts(path, payload, options).await else {
                return Ok(PutOutcome::Created);
            };
            let may_pass = match what_was_stored(&error) {
                Stored::Another => return Ok(PutOutcome::Exists),
                Stored::Nothing { may_pass } => may_pass,
                Stored::Unknown => {
                    in_doubt = true;
                    true
                }
                Stored::Busy if tries == PUT_TRIES_MAX => return Ok(PutOutcome::Exists),
                Stored::Busy => true,
            };
            if !may_pass || tries == PUT_TRIES_MAX || began.elapsed() + wait > PUT_TIME_MAX {
                let error = into_io(error);
                return Err(match in_doubt {
                    true => PutError::Unknown(error),
                    false => PutError::NotStored(error),
                });
            }
            tracing::debug!(%path, %error, tries, "a conditional put is sent again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
}

#[async_trait]
impl DurableStore for RemoteStore {
    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        Ok(Box::new(Upload::begin(Arc::clone(&self.store), Path::from(path))?))
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.put(&Path::from(path), bytes).await
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        let found = self.store.get(&Path::from(path)).await.map_err(into_io)?;
        let size = found.meta.size;
        let bytes = found.bytes().await.map_err(into_io)?;
        // A connection that ends early is an error of the client for most stores, not for all.
        if bytes.len() as u64 != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} of {size} bytes came", bytes.len()),
            ));
        }
        Ok(bytes)
    }

    async fn read_many(&self, paths: Vec<String>) -> Vec<io::Result<Bytes>> {
        let reads = paths.into_iter().map(|path| async move { self.read(&path).await });
        futures::stream::iter(reads).buffered(READS_IN_FLIGHT).collect().await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let below = Path::from(folder);
        let listed = self.store.list_with_delimiter(Some(&below)).await.map_err(into_io)?;
        let folders = listed.common_prefixes.into_iter();
        let paths = folders.chain(listed.objects.into_iter().map(|object| object.location));
        let mut names: Vec<String> = paths
            .filter_map(|path| path.filename().map(str::to_owned))
            .filter(|name| !layout::is_staging(name))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Nothing to do: an object that can be read is durable.
    async fn sync(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> Option<DiskSpace> {
        None
    }

    fn settles_unknown(&self) -> bool {
        true
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }
}

#[cfg(test)]
mod tests;
