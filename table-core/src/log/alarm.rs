//! [`Alarm`]: how a log tells the process that it must not go on (C14).

use std::sync::Arc;

use tokio::sync::watch;

/// Raised when nobody knows whether a commit is durable. What the operating system holds of it may differ from what is on the
/// disk from then on, and only a fresh start, which verifies the log, can tell. One alarm serves all logs of a root.
#[derive(Debug, Clone)]
pub struct Alarm(Arc<watch::Sender<Option<String>>>);

impl Default for Alarm {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Alarm {
    /// Says what happened. Only the first reason is kept.
    pub(super) fn raise(&self, reason: &str) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            raised.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    /// Waits until it is raised, and says why it was.
    pub async fn raised(&self) -> String {
        let mut raised = self.0.subscribe();
        let reason = raised.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The sender lives as long as `self`, so there is always one.
            None => std::future::pending().await,
        }
    }
}
