//! Threads that parse and plan: bounded in number, with large stacks and a deadline.
//!
//! Parsing and planning are recursive and cannot be interrupted. A thread that overruns the deadline is written off: its
//! caller gets an answer, and its place is free again when it ends.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tonic::Status;
use tracing::warn;

use crate::limits;
use crate::status;

/// The places of planner threads.
#[derive(Debug)]
pub(crate) struct Planner {
    places: Arc<Semaphore>,
}

impl Planner {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(limits::PLANNERS_MAX)) }
    }

    /// Runs `job` on a thread with a large stack.
    ///
    /// # Errors
    /// What `job` returns; DEADLINE_EXCEEDED when it takes too long; RESOURCE_EXHAUSTED when all places stay taken;
    /// INTERNAL when it panics.
    pub(crate) async fn run<T, J>(&self, job: J) -> Result<T, Status>
    where
        T: Send + 'static,
        J: FnOnce() -> Result<T, Status> + Send + 'static,
    {
        let place = timeout(limits::PLANNING_TIME, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| {
                status::exhausted("too many statements are being planned; try again later")
            })?
            .map_err(|_| status::internal("the planner is closed"))?;
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("planner".to_owned())
            .stack_size(limits::PLANNER_STACK_BYTES)
            .spawn(move || {
                let result = job();
                drop(place);
                // The caller may have given up.
                let _unheard = sender.send(result);
            })
            .map_err(|error| status::exhausted(format!("no thread for planning: {error}")))?;
        match timeout(limits::PLANNING_TIME, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(status::internal(
                "planning the statement panicked; the server's log says where",
            )),
            Err(_) => {
                warn!("a planner thread overran its deadline");
                Err(status::deadline(format!(
                    "planning the statement took more than {} s; simplify it",
                    limits::PLANNING_TIME.as_secs()
                )))
            }
        }
    }
}
