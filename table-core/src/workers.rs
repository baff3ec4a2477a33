//! [`Workers`]: the one door to the threads for work that blocks or keeps a core busy, so that a simulation can close it.

use crate::sync::{self, JoinHandle};

/// Where work runs that must not hold up the tasks of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// On the runtime's pool of blocking threads.
    #[default]
    Pool,
    /// As a task like any other. On a runtime of one thread everything then happens in an order that can be repeated.
    Inline,
}

impl Workers {
    /// Starts work, which goes on whether anybody waits for it or not. Outside a runtime this panics, as
    /// [`tokio::spawn`] does.
    ///
    /// What the handle gives is an error when the work panicked or the runtime shuts down.
    pub fn start<T, F>(self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Pool => sync::spawn_blocking(work),
            Self::Inline => sync::spawn(async move { work() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inline_work_stays_on_the_thread_of_the_runtime() {
        let here = std::thread::current().id();
        let there = Workers::Inline.start(|| std::thread::current().id()).await;
        assert_eq!(there.ok(), Some(here));
        let there = Workers::Pool.start(|| std::thread::current().id()).await;
        assert_ne!(there.ok(), Some(here));
    }
}
