//! Following a log that others write to: [`Head::refresh`] looks for what they committed, and the commit loop comes here when
//! one of them was faster.
//!
//! A record that was found is made durable, with the names of those before it in the same folder, before anybody sees it (C8):
//! on a local disk its writer may not have come so far; in an object store what can be read is durable. The segments that it names are durable, since they are before the
//! record gets its name.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LogError;
use super::head::{Head, RECENT_STATES_MAX, again, keep_last};
use super::open;
use super::replay::State;
use super::store::{RECORDS_PER_READ, StoredRecord};
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// The looks at the next slot of one log, so that those who ask at the same time share one.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// How many have begun.
    begun: AtomicU64,
    /// Held while one runs, across awaits.
    last: tokio::sync::Mutex<Option<Finished>>,
    /// When the newest one that succeeded began.
    fresh_at: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Finished {
    number: u64,
    outcome: Result<()>,
}

impl Probes {
    fn is_fresh(&self, max_staleness: Duration) -> bool {
        let fresh_at = *self.fresh_at.lock();
        !max_staleness.is_zero() && fresh_at.is_some_and(|at| at.elapsed() <= max_staleness)
    }
}

impl<S: State> Head<S> {
    /// The newest state, of which others may know no newer one when this is called; or one that was the newest at most
    /// `max_staleness` ago. Looks at the storage only where others write. Waits for no commit that is on its way.
    ///
    /// # Errors
    /// `Unavailable` when the storage cannot be read; `Corrupt`, and `Precondition` for a newer format, when what was found
    /// cannot be followed.
    pub(crate) async fn refresh(self: &Arc<Self>, max_staleness: Duration) -> Result<Arc<S>> {
        if !self.access().has_rivals()
            || self.probes.is_fresh(max_staleness)
            || !Guard::FreshReads.stands()
        {
            return Ok(self.current());
        }
        let asked = self.probes.begun.load(Ordering::SeqCst);
        let mut last = self.probes.last.lock().await;
        // One that began after this call shows everything that was committed before it.
        if last.as_ref().is_none_or(|last| last.number <= asked) {
            let number = self.probes.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let began = Instant::now();
            let outcome = self.follow(None).await.map_err(|error| {
                let looking = format!("cannot look for newer versions of {}", self.label());
                Error::from(error).context(looking)
            });
            if outcome.is_ok() {
                *self.probes.fresh_at.lock() = Some(began);
            }
            *last = Some(Finished { number, outcome });
        }
        match last.as_ref().map(|last| &last.outcome) {
            Some(Err(error)) => Err(again(error)),
            _ => Ok(self.current()),
        }
    }

    /// Replays every record after the newest state that is known. `rival` is one of them, if one was read already. Settles a
    /// doubt: what is in that slot is followed like anything else; where there is nothing, a record that comes late after all
    /// finds the slot taken, or takes it and is followed then.
    pub(super) async fn follow(&self, rival: Option<StoredRecord>) -> Result<(), LogError> {
        let doubted = *self.doubt.lock();
        let mut newest = self.current();
        let next = newest.version().next();
        let mut found: Vec<_> =
            rival.into_iter().filter(|rival| rival.record.version == next).collect();
        let mut followed: VecDeque<Arc<S>> = VecDeque::new();
        let (mut reads, mut is_end) = (1, false);
        loop {
            for record in found {
                newest = Arc::new(open::follow(self.log(), Some(newest.as_ref()), &record)?);
                keep_last(&mut followed, Arc::clone(&newest), RECENT_STATES_MAX);
            }
            if is_end {
                break;
            }
            found = self.log().read_present(newest.version().next(), reads).await?;
            is_end = found.len() < reads;
            // Who is far behind reads many at once; usually there is none.
            reads = (reads * 2).min(RECORDS_PER_READ);
        }
        if !followed.is_empty() && !self.log().store().settles_unknown() {
            self.log().sync_record(newest.version()).await?;
        }
        for state in followed {
            self.advance(state);
        }
        let mut doubt = self.doubt.lock();
        if *doubt == doubted {
            *doubt = None;
        }
        Ok(())
    }
}
