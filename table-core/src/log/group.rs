//! Group commit, the pure half: the queue of commits that wait, and the record that several of them share.
//!
//! Nobody waits for company: a group is what has queued up while the record before it was being published, so a lone commit
//! pays nothing. Every planner is shown the newest state with the commits before it in the group folded in; it may take them
//! for done, because nobody in the group is answered before the record is durable. Publishing is left to `head`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use coverline_proto::log as proto;
use prost::Message;

use super::Record;
use super::record::Action;
use super::replay::{ReplayError, State};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Mutex, oneshot};
use crate::types::AttemptId;

/// Commits that share one record at most.
pub(super) const GROUP_COMMITS_MAX: usize = 256;

/// Bytes of actions in a shared record, from which on no further commit joins it: 4 MiB.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Commits that wait for their turn at most, for one table.
const COMMITS_WAITING_MAX: usize = 16 << 10;

/// The content of one commit, decided against one snapshot; number, time and attempt id are added when it is published.
#[derive(Debug, Clone, Default)]
pub struct CommitBody {
    /// "append", "create", ...
    pub operation: String,
    /// Who asks; empty when authentication is off.
    pub principal: String,
    /// Append ids to remember. `version` inside them is filled in by the commit loop.
    pub append_ids: Vec<proto::AppendId>,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// Whether the record may hold other commits of the same operation and principal too, as appends may.
    pub shares_record: bool,
}

/// What a planner decides when it is shown the newest snapshot.
#[derive(Debug)]
pub enum Decision {
    /// Publish this as the next version.
    Commit(CommitBody),
    /// Nothing to publish.
    Nothing,
}

/// Decides on a commit against a state; asked again when that state turns out not to be the one to build on.
type Planner<S> = Box<dyn FnMut(&Arc<S>) -> Result<Decision> + Send>;

/// A commit that waits for its turn, or for the record that it is part of.
pub(super) struct Waiting<S> {
    plan: Planner<S>,
    answer: oneshot::Sender<Result<Arc<S>>>,
}

impl<S> Waiting<S> {
    /// Tells the caller how it ended. One that no longer waits has no need of it.
    pub(super) fn answer(self, outcome: Result<Arc<S>>) {
        let _gone = self.answer.send(outcome);
    }

    /// A planner that panics fails its own commit and none of its neighbours.
    fn decide(&mut self, state: &Arc<S>) -> Result<Decision> {
        catch_unwind(AssertUnwindSafe(|| (self.plan)(state)))
            .unwrap_or_else(|_| Err(Error::internal("planning a commit panicked")))
    }
}

/// Commits in the order in which they came.
pub(super) struct Queue<S> {
    waiting: Mutex<VecDeque<Waiting<S>>>,
}

impl<S> std::fmt::Debug for Queue<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.lock().len()).finish()
    }
}

impl<S> Default for Queue<S> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<S> Queue<S> {
    /// Takes a place in the queue. What comes out of the receiver is the outcome.
    pub(super) fn join(
        &self,
        label: &str,
        plan: impl FnMut(&Arc<S>) -> Result<Decision> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<Arc<S>>>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= COMMITS_WAITING_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "commit to {label} refused: {COMMITS_WAITING_MAX} others wait for their turn; nothing was committed, try \
                     again later"
                ),
            ));
        }
        let (answer, answered) = oneshot::channel();
        waiting.push_back(Waiting { plan: Box::new(plan), answer });
        Ok(answered)
    }

    /// The next commits, oldest first, at most as many as share a record.
    pub(super) fn take(&self) -> Vec<Waiting<S>> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(GROUP_COMMITS_MAX);
        waiting.drain(..count).collect()
    }

    /// Puts commits that did not fit back to the front, in their order.
    pub(super) fn put_back(&self, commits: Vec<Waiting<S>>) {
        let mut waiting = self.waiting.lock();
        for commit in commits.into_iter().rev() {
            waiting.push_front(commit);
        }
    }
}

/// What became of a commit that was planned.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is part of the record.
    Joined,
    /// It has nothing to publish.
    Nothing,
    /// It must not be.
    Refused(Error),
}

/// A commit that was planned.
pub(super) struct Planned<S> {
    pub(super) commit: Waiting<S>,
    pub(super) verdict: Verdict,
    /// Whether it was shown commits that are in the record and not in the log yet.
    pub(super) rests_on_group: bool,
}

/// A record in the making, and the state that it leads to.
#[derive(Clone)]
pub(super) struct Draft<S> {
    pub(super) record: Record,
    state: Arc<S>,
    bytes: usize,
    /// `None` while there is nothing in it; then whether more may join.
    shared: Option<bool>,
}

impl<S: State> Draft<S> {
    /// The empty record after `base`.
    pub(super) fn after(base: &Arc<S>, clock: &dyn Clock) -> Self {
        let record = Record {
            version: base.version().next(),
            commit_time_us: clock.now_us().max(base.commit_time_us().saturating_add(1)),
            attempt_id: AttemptId(clock.new_id()),
            operation: String::new(),
            principal: String::new(),
            append_ids: Vec::new(),
            actions: Vec::new(),
        };
        Self { record, state: Arc::clone(base), bytes: 0, shared: None }
    }

    /// Whether nothing is to be published.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_none()
    }

    /// The state at the record, to be sealed with the digest of that.
    pub(super) fn into_state(self) -> S {
        Arc::unwrap_or_clone(self.state)
    }

    /// Asks the planners one after the other. Those from the first on that does not fit into the record come back unasked.
    pub(super) fn plan(
        &mut self,
        group: Vec<Waiting<S>>,
        label: &str,
    ) -> (Vec<Planned<S>>, Vec<Waiting<S>>) {
        let mut planned = Vec::with_capacity(group.len());
        let mut group = group.into_iter();
        while let Some(mut commit) = group.next() {
            let rests_on_group = !self.is_empty();
            let verdict = match commit.decide(&self.state) {
                Ok(Decision::Commit(body)) if !self.admits(&body) => {
                    let mut left = vec![commit];
                    left.extend(group);
                    return (planned, left);
                }
                Ok(Decision::Commit(body)) => match self.add(body) {
                    Ok(()) => Verdict::Joined,
                    Err(error) => Verdict::Refused(Error::internal(format!(
                        "version {} of {label} is wrong: {error}",
                        self.record.version
                    ))),
                },
                Ok(Decision::Nothing) => Verdict::Nothing,
                Err(error) => Verdict::Refused(error),
            };
            planned.push(Planned { commit, verdict, rests_on_group });
        }
        (planned, Vec::new())
    }

    fn admits(&self, body: &CommitBody) -> bool {
        match self.shared {
            None => true,
            Some(shared) => {
                shared
                    && body.shares_record
                    && self.bytes < GROUP_BYTES_MAX
                    && body.operation == self.record.operation
                    && body.principal == self.record.principal
            }
        }
    }

    /// Folds a commit into the state before it gets into the record: what cannot be replayed never gets into the log.
    fn add(&mut self, body: CommitBody) -> Result<(), ReplayError> {
        let mut append_ids = body.append_ids;
        for id in &mut append_ids {
            id.version = self.record.version.0;
        }
        let part = Record {
            version: self.record.version,
            commit_time_us: self.record.commit_time_us,
            attempt_id: self.record.attempt_id,
            operation: body.operation,
            principal: body.principal,
            append_ids,
            actions: body.actions,
        };
        let mut next = S::clone(&self.state);
        next.fold(&part)?;
        self.state = Arc::new(next);
        self.shared.get_or_insert(body.shares_record);
        self.bytes += part.actions.iter().map(encoded_bytes).sum::<usize>();
        self.record.operation = part.operation;
        self.record.principal = part.principal;
        self.record.append_ids.extend(part.append_ids);
        self.record.actions.extend(part.actions);
        Ok(())
    }
}

fn encoded_bytes(action: &Action) -> usize {
    match action {
        Action::AddSegment(add) => add.encoded_len(),
        Action::CoverageDelta(delta) => delta.encoded_len(),
        Action::InlineRows(rows) => rows.ipc_stream.len(),
        // The rest never shares a record.
        _ => 0,
    }
}
