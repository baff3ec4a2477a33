//! The seam under everything that several threads share: locks, atomics, answers to those who wait, and tasks.
//!
//! An ordinary build has here what it would use anyway, at no cost. With the feature `schedules` the locks, atomics and tasks are
//! those of `shuttle`, which runs all tasks on one thread and decides at each of these calls who goes on: the package
//! `tests/schedules` explores so in which orders things can happen. `watch`, `OnceCell` and the mutex that is held across awaits
//! stay tokio's own in both: they know no runtime, wake whoever polls them, and so need no model.
//!
//! Left out: the object store (`storage::object`), whose uploads have threads of their own, and locks that are held for a moment
//! and never while another of these calls is made.

#[cfg(not(feature = "schedules"))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(feature = "schedules"))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(not(feature = "schedules"))]
pub(crate) use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn, spawn_blocking},
};

#[cfg(feature = "schedules")]
pub use explored::*;

#[cfg(feature = "schedules")]
mod explored {
    use std::cell::RefCell;
    use std::fmt;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use shuttle::future::AbortHandle;
    pub use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub use shuttle_parking_lot::{Mutex, RwLock};

    thread_local! {
        /// The tasks of the schedule that this thread explores.
        static TASKS: RefCell<Vec<AbortHandle>> = const { RefCell::new(Vec::new()) };
    }

    /// A task that was started. It goes on when this is dropped, as those of tokio do.
    #[derive(Debug)]
    pub struct JoinHandle<T>(shuttle::future::JoinHandle<T>);

    /// A task that did not come to its end: the runtime was shut down. One that panics fails the whole schedule.
    #[derive(Debug)]
    pub struct JoinError(shuttle::future::JoinError);

    impl JoinError {
        /// Never.
        pub fn is_panic(&self) -> bool {
            false
        }
    }

    impl fmt::Display for JoinError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    impl std::error::Error for JoinError {}

    impl<T> Future for JoinHandle<T> {
        type Output = Result<T, JoinError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut self.0).poll(context).map_err(JoinError)
        }
    }

    /// As [`tokio::spawn`].
    pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = shuttle::future::spawn(work);
        TASKS.with_borrow_mut(|tasks| tasks.push(task.abort_handle()));
        JoinHandle(task)
    }

    /// As [`tokio::task::spawn_blocking`]: nothing ends such work but itself.
    pub fn spawn_blocking<T, F>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        JoinHandle(shuttle::future::spawn(async move { work() }))
    }

    /// Ends all tasks where they wait next, as a runtime that is dropped does.
    pub fn end_tasks() {
        for task in TASKS.take() {
            task.abort();
        }
    }

    /// Forgets the tasks of the schedule before.
    pub fn forget_tasks() {
        TASKS.take();
    }

    /// Lets others have their turn, or not: unlike a yield it says nothing of who should.
    pub fn turn() {
        AtomicU64::new(0).load(Ordering::SeqCst);
    }

    /// tokio's, but others may have their turn before an answer is given.
    pub mod oneshot {
        pub use tokio::sync::oneshot::Receiver;

        /// Gives the answer.
        #[derive(Debug)]
        pub struct Sender<T>(tokio::sync::oneshot::Sender<T>);

        impl<T> Sender<T> {
            /// As that of tokio.
            ///
            /// # Errors
            /// The answer, when nobody waits for it.
            pub fn send(self, answer: T) -> Result<(), T> {
                super::turn();
                self.0.send(answer)
            }
        }

        /// As that of tokio.
        pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            (Sender(sender), receiver)
        }
    }
}
