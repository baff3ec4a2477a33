//! [`Upload`]: a large object on its way into a store, written by blocking code.
//!
//! An object that fits into one part is a single PUT. Of a larger one each full part goes through a short queue to a task,
//! which sends a few of them at the same time, so that memory is bounded and the writer waits when the store is slower. The
//! object appears whole, when the upload is completed, or never.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::failure::into_io;
use crate::storage::Staged;

/// Bytes of a part, but for the last: 8 MiB. Stores want at least 5 MiB and all of the same size.
pub(super) const PART_BYTES: usize = 8 << 20;

/// Parts under way to the store at the same time.
const PARTS_IN_FLIGHT: usize = 2;

/// Full parts that wait for their turn.
const PARTS_QUEUED: usize = 1;

/// An object being written. Dropped, it is given up, and what was sent of it removed.
#[derive(Debug)]
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// The part that is being filled.
    part: Vec<u8>,
    /// There once a part is full.
    sending: Option<Sending>,
    runtime: Handle,
}

/// The task that sends parts.
#[derive(Debug)]
struct Sending {
    parts: mpsc::Sender<Step>,
    outcome: oneshot::Receiver<io::Result<()>>,
}

/// What the writer tells the task.
#[derive(Debug)]
enum Step {
    Part(Bytes),
    /// The last part; the object is whole with it.
    Last(Bytes),
}

impl Upload {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// Outside a runtime.
    pub(super) fn begin(store: Arc<dyn ObjectStore>, path: Path) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self { store, path, part: Vec::new(), sending: None, runtime })
    }

    fn send(&mut self, step: Step) -> io::Result<()> {
        let sending = self.sending.get_or_insert_with(|| {
            let (parts, steps) = mpsc::channel(PARTS_QUEUED);
            let (ended, outcome) = oneshot::channel();
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            self.runtime.spawn(async move {
                // A writer that is gone has given up.
                let _gone = ended.send(upload(&store, &path, steps).await);
            });
            Sending { parts, outcome }
        });
        match sending.parts.blocking_send(step) {
            Ok(()) => Ok(()),
            // The task takes no more: it has failed.
            Err(_) => Err(match self.ended() {
                Ok(()) => io::Error::other("the upload ended early"),
                Err(error) => error,
            }),
        }
    }

    /// Waits for the task to end.
    fn ended(&mut self) -> io::Result<()> {
        match self.sending.take() {
            Some(sending) => sending.outcome.blocking_recv().map_err(io::Error::other)?,
            None => Err(io::Error::other("the upload has failed before")),
        }
    }
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A part is only sent when there is more behind it, since the last one says so.
        if self.part.len() == PART_BYTES {
            let part = std::mem::take(&mut self.part);
            self.send(Step::Part(part.into()))?;
        }
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Nothing: a part is sent when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for Upload {
    fn publish(mut self: Box<Self>) -> io::Result<()> {
        let last = std::mem::take(&mut self.part);
        self.send(Step::Last(last.into()))?;
        self.ended()
    }

    fn discard(self: Box<Self>) {}
}

/// Sends what comes, and gives up when the writer goes away before the last part.
async fn upload(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    mut steps: mpsc::Receiver<Step>,
) -> io::Result<()> {
    let first = match steps.recv().await {
        None => return Ok(()),
        Some(Step::Last(bytes)) => {
            // The name is ours alone, so the PUT needs no condition and can be repeated.
            let put = store.put(path, PutPayload::from_bytes(bytes)).await;
            return put.map(|_| ()).map_err(into_io);
        }
        Some(Step::Part(bytes)) => bytes,
    };
    let mut multipart = store.put_multipart(path).await.map_err(into_io)?;
    let (sent, size) = match send_parts(multipart.as_mut(), first, &mut steps).await {
        Ok(Some(size)) => (multipart.complete().await, size),
        Ok(None) => {
            abort(multipart.as_mut(), path).await;
            return Ok(());
        }
        Err(error) => {
            abort(multipart.as_mut(), path).await;
            return Err(into_io(error));
        }
    };
    let Err(error) = sent else { return Ok(()) };
    // The answer may have been lost: an upload that is repeated after it was completed is unknown to the store.
    match store.head(path).await {
        Ok(found) if found.size == size => Ok(()),
        _ => {
            abort(multipart.as_mut(), path).await;
            Err(into_io(error))
        }
    }
}

/// The size of the object once all its parts are sent; `None` when the writer went away.
async fn send_parts(
    multipart: &mut dyn MultipartUpload,
    first: Bytes,
    steps: &mut mpsc::Receiver<Step>,
) -> object_store::Result<Option<u64>> {
    let mut in_flight = FuturesUnordered::new();
    let (mut part, mut is_last, mut size) = (first, false, 0);
    loop {
        size += part.len() as u64;
        in_flight.push(multipart.put_part(PutPayload::from_bytes(part)));
        let left_max = if is_last { 0 } else { PARTS_IN_FLIGHT - 1 };
        while in_flight.len() > left_max
            && let Some(sent) = in_flight.next().await
        {
            sent?;
        }
        if is_last {
            return Ok(Some(size));
        }
        // What is under way goes on while the writer is waited for.
        let step = loop {
            tokio::select! {
                step = steps.recv() => break step,
                Some(sent) = in_flight.next() => sent?,
            }
        };
        (part, is_last) = match step {
            Some(Step::Part(part)) => (part, false),
            Some(Step::Last(part)) => (part, true),
            None => return Ok(None),
        };
    }
}

/// Parts that cannot be removed are only litter, which a rule of the store's life cycle takes away.
async fn abort(multipart: &mut dyn MultipartUpload, path: &Path) {
    if let Err(error) = multipart.abort().await {
        let error = into_io(error);
        tracing::debug!(%path, %error, "cannot remove the parts of an upload that was given up");
    }
}
