//! Queries that are being fetched, so that `CancelFlightInfo` and `CancelQuery` stop them on whatever connection they come.
//!
//! A query has an id from the FlightInfo on, in its ticket. Every DoGet of the ticket runs under it; a cancelled id is remembered
//! for a while, so that a DoGet that comes after the cancellation is refused.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::Stream;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use crate::limits;
use crate::service::Answer;
use crate::status;

/// The queries of one server.
#[derive(Debug, Default)]
pub(crate) struct RunningQueries {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By id, with how many DoGets run it.
    running: HashMap<Uuid, (CancellationToken, usize)>,
    /// When those were cancelled that nobody runs any more, or not yet.
    cancelled: HashMap<Uuid, Instant>,
}

impl Inner {
    fn forget_old(&mut self) {
        self.cancelled.retain(|_, at| at.elapsed() < limits::CANCELLED_QUERY_TIME);
    }
}

impl RunningQueries {
    /// Runs a query up to its stream, and the stream, until both end or somebody cancels the id. Queries without one, from tickets
    /// of older servers, cannot be cancelled.
    ///
    /// # Errors
    /// CANCELLED for an id that was cancelled; what `query` returns.
    pub(crate) async fn run<T: 'static>(
        &self,
        id: &[u8],
        query: impl Future<Output = Result<Answer<T>, Status>>,
    ) -> Result<Answer<T>, Status> {
        let Ok(id) = Uuid::from_slice(id) else { return query.await };
        let running = self.begin(id)?;
        let answer = tokio::select! {
            answer = query => answer?,
            () = running.token.cancelled() => return Err(cancelled()),
        };
        let cancellation = running.token.clone().cancelled_owned().boxed();
        Ok(Cancellable { answer: Some(answer), cancellation, _running: running }.boxed())
    }

    fn begin(&self, id: Uuid) -> Result<Running, Status> {
        let mut inner = self.inner.lock();
        inner.forget_old();
        if inner.cancelled.contains_key(&id) {
            return Err(cancelled());
        }
        let (token, count) = inner.running.entry(id).or_default();
        *count += 1;
        Ok(Running { id, token: token.clone(), all: Arc::clone(&self.inner) })
    }

    /// Stops every DoGet of these queries, and refuses those that come later. Says whether any of them was running.
    pub(crate) fn cancel(&self, ids: &[Uuid]) -> bool {
        let mut inner = self.inner.lock();
        inner.forget_old();
        let mut was_running = false;
        for id in ids {
            if let Some((token, _)) = inner.running.get(id) {
                token.cancel();
                was_running = true;
            }
            if inner.cancelled.len() < limits::CANCELLED_QUERIES_MAX {
                inner.cancelled.insert(*id, Instant::now());
            }
        }
        was_running
    }
}

fn cancelled() -> Status {
    status::cancelled(
        "the query was cancelled by CancelFlightInfo or CancelQuery; run it again if it is still wanted",
    )
}

/// One DoGet of a query.
struct Running {
    id: Uuid,
    token: CancellationToken,
    all: Arc<Mutex<Inner>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut inner = self.all.lock();
        if let Some((_, count)) = inner.running.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                inner.running.remove(&self.id);
            }
        }
    }
}

/// An answer that ends with an error when its query is cancelled. The query itself is dropped then.
struct Cancellable<T> {
    /// `None` once it was cancelled.
    answer: Option<Answer<T>>,
    cancellation: BoxFuture<'static, ()>,
    _running: Running,
}

impl<T> Stream for Cancellable<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(answer) = &mut this.answer else { return Poll::Ready(None) };
        if this.cancellation.poll_unpin(context).is_ready() {
            this.answer = None;
            return Poll::Ready(Some(Err(cancelled())));
        }
        answer.poll_next_unpin(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use futures::stream;
    use tonic::Code;

    use super::*;

    fn endless() -> Answer<u32> {
        stream::iter([Ok(1)]).chain(stream::pending()).boxed()
    }

    async fn run(queries: &RunningQueries, id: Uuid) -> Result<Answer<u32>, Status> {
        queries.run(id.as_bytes(), async { Ok(endless()) }).await
    }

    #[tokio::test]
    async fn every_fetch_of_a_cancelled_query_ends_and_others_go_on() {
        let queries = RunningQueries::default();
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut fetches = [run(&queries, id).await.unwrap(), run(&queries, id).await.unwrap()];
        let mut undisturbed = run(&queries, other).await.unwrap();
        for fetch in &mut fetches {
            assert_eq!(fetch.next().await.unwrap().unwrap(), 1);
        }
        assert!(queries.cancel(&[id]));
        for fetch in &mut fetches {
            assert_eq!(fetch.next().await.unwrap().unwrap_err().code(), Code::Cancelled);
            assert!(fetch.next().await.is_none());
        }
        assert_eq!(undisturbed.next().await.unwrap().unwrap(), 1);
        // Whoever asks again, or only now, is told the same.
        assert_eq!(run(&queries, id).await.err().unwrap().code(), Code::Cancelled);
        drop((fetches, undisturbed));
        assert!(queries.inner.lock().running.is_empty());
        assert!(!queries.cancel(&[other]));
    }

    #[tokio::test]
    async fn planning_is_cancelled_too_and_a_ticket_without_id_runs() {
        let queries = RunningQueries::default();
        let id = Uuid::from_u128(3);
        let planning = queries.run::<u32>(id.as_bytes(), std::future::pending());
        let cancelling = async { queries.cancel(&[id]) };
        let (planned, was_running) = tokio::join!(planning, cancelling);
        assert_eq!(planned.err().unwrap().code(), Code::Cancelled);
        assert!(was_running);
        let mut unnamed = queries.run(&[], async { Ok(endless()) }).await.unwrap();
        assert_eq!(unnamed.next().await.unwrap().unwrap(), 1);
    }
}
