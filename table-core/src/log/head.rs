//! [`Head`]: the newest state of a log, and the one door through which the log grows.
//!
//! One record at a time: the commits that wait are planned against the newest state and share a record as far as they can
//! (`group`), and the new state is visible before any of them is answered. Losing the slot to a rival means replaying the
//! rival's records (`follow`) and asking the planners again. The state never goes back, though commits and `follow` both move it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use super::checkpoint::CHECKPOINT_EVERY;
use super::follow::Probes;
use super::frame::{self, FrameKind};
use super::group::{CommitBody, Decision, Draft, Planned, Queue, Verdict, Waiting};
use super::open::{self, Opened};
use super::replay::State;
use super::store::{LogStore, PublishOutcome};
use super::{LogError, Record};
use crate::access::Access;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::Guard;
use crate::sync::{self, AtomicU64, Mutex, Ordering, RwLock};
use crate::types::{AttemptId, Version};

/// How often the commit loop tries before it gives up with `Conflict` (C6).
pub const COMMIT_TRIES_MAX: u32 = 20;

/// Replaced states kept for reads that pinned them.
pub(super) const RECENT_STATES_MAX: usize = 64;

/// Older states kept that had to be replayed.
const REPLAYED_STATES_MAX: usize = 16;

/// Commits after a failed checkpoint before the next is tried.
const CHECKPOINT_RETRY_EVERY: u64 = CHECKPOINT_EVERY / 10;

/// What the logs of one root share.
#[derive(Debug, Clone)]
pub(crate) struct LogContext {
    /// Time and ids.
    pub(crate) clock: Arc<dyn Clock>,
    /// Raised when the process must not go on.
    pub(crate) alarm: Alarm,
    /// How the root is held.
    pub(crate) access: Access,
}

/// The newest state of a log.
#[derive(Debug)]
pub(crate) struct Head<S> {
    log: LogStore,
    context: LogContext,
    /// What the log is of, for messages: `table "prices"`.
    label: String,
    current: RwLock<Arc<S>>,
    queue: Queue<S>,
    /// Held while a group is planned and published, across awaits.
    publishing: tokio::sync::Mutex<()>,
    pub(super) probes: Probes,
    /// The version of a record of which nobody knows whether it is in the log, until that can be read.
    pub(super) doubt: Mutex<Option<Version>>,
    /// Why writes are refused, once they are.
    closed: Mutex<Option<Closed>>,
    recent: Mutex<VecDeque<Arc<S>>>,
    replayed: Mutex<VecDeque<Arc<S>>>,
    /// Held while a checkpoint is written, so that there is one at a time.
    checkpoints: Arc<tokio::sync::Mutex<()>>,
    next_checkpoint: AtomicU64,
}

/// Kind and text of the error that every later commit is answered with.
type Closed = (ErrorKind, String);

impl<S: State> Head<S> {
    /// The head of an existing log.
    pub(crate) async fn open(log: LogStore, context: LogContext, label: String) -> Result<Self> {
        let opened: Opened<S> = open::open_newest(&log)
            .await
            .map_err(|error| Error::from(error).context(format!("cannot open {label}")))?;
        Ok(Self::at(log, context, label, opened.state, opened.checkpoint))
    }

    /// Starts a log with its first record. `Conflict` when another server did at the same time.
    pub(crate) async fn create(
        log: LogStore,
        context: LogContext,
        label: String,
        body: CommitBody,
    ) -> Result<Self> {
        if let Some(refusal) = context.access.refusal(&label) {
            return Err(refusal);
        }
        let record = Record {
            version: Version(1),
            commit_time_us: context.clock.now_us(),
            attempt_id: AttemptId(context.clock.new_id()),
            operation: body.operation,
            principal: body.principal,
            append_ids: body.append_ids,
            actions: body.actions,
        };
        let attempt = Attempt::new(&record, &frame::NO_RECORD);
        let state = S::first(&record, attempt.digest)
            .map_err(|error| Error::internal(format!("cannot create {label}: {error}")))?;
        match attempt.publish(&log).await? {
            PublishOutcome::Committed => {
                Ok(Self::at(log, context, label, Arc::new(state), Version(0)))
            }
            PublishOutcome::Lost(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!("{label} was being created by another server; try again"),
            )),
            // A log that nothing names yet is no log, whatever becomes of its first record.
            PublishOutcome::Unknown(error) if log.store().settles_unknown() => Err(Error::new(
                ErrorKind::Unavailable,
                format!("cannot create {label}: {error}; nothing was created, try again"),
            )
            .with_source(error)),
            PublishOutcome::Unknown(error) => {
                let unknown = indeterminate(&label, Version(1), error);
                context.alarm.raise(unknown.message());
                Err(unknown)
            }
        }
    }

    fn at(
        log: LogStore,
        context: LogContext,
        label: String,
        state: Arc<S>,
        checkpoint: Version,
    ) -> Self {
        Self {
            log,
            context,
            label,
            current: RwLock::new(state),
            queue: Queue::default(),
            publishing: tokio::sync::Mutex::default(),
            probes: Probes::default(),
            doubt: Mutex::default(),
            closed: Mutex::default(),
            recent: Mutex::default(),
            replayed: Mutex::default(),
            checkpoints: Arc::default(),
            next_checkpoint: AtomicU64::new(checkpoint.0.saturating_add(CHECKPOINT_EVERY)),
        }
    }

    /// The log.
    pub(crate) fn log(&self) -> &LogStore {
        &self.log
    }

    /// Time and ids.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.context.clock
    }

    /// How the root is held.
    pub(crate) fn access(&self) -> &Access {
        &self.context.access
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The newest state that is known.
    pub(crate) fn current(&self) -> Arc<S> {
        Arc::clone(&self.current.read())
    }

    /// Refuses every later commit with this error.
    pub(crate) fn close(&self, kind: ErrorKind, message: String) {
        self.closed.lock().get_or_insert((kind, message));
    }

    /// Why commits are refused, when they are.
    pub(crate) fn closed(&self) -> Option<Error> {
        let closed = self.closed.lock();
        let closed = closed.as_ref().map(|(kind, message)| Error::new(*kind, message.clone()));
        closed.or_else(|| self.access().refusal(&self.label))
    }

    /// The state at a version. One that is newer than those known may have been committed by others.
    pub(crate) async fn at_version(self: &Arc<Self>, version: Version) -> Result<Arc<S>> {
        let mut current = self.current();
        if version > current.version() {
            current = self.refresh(Duration::ZERO).await?;
        }
        if version == current.version() {
            return Ok(current);
        }
        if version > current.version() || version.0 == 0 {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "{} has no version {version}; its versions are 1 to {}",
                    self.label,
                    current.version()
                ),
            ));
        }
        let known = |states: &Mutex<VecDeque<Arc<S>>>| {
            states.lock().iter().find(|state| state.version() == version).cloned()
        };
        if let Some(state) = known(&self.recent).or_else(|| known(&self.replayed)) {
            return Ok(state);
        }
        let opened: Opened<S> = open::open_at(&self.log, version).await.map_err(|error| {
            Error::from(error).context(format!("cannot open {} at version {version}", self.label))
        })?;
        keep(&self.replayed, Arc::clone(&opened.state), REPLAYED_STATES_MAX);
        Ok(opened.state)
    }

    /// Queues a commit, sees to it in a task of its own and waits for the outcome (C16).
    pub(crate) async fn commit<P>(self: &Arc<Self>, plan: P) -> Result<Arc<S>>
    where
        P: FnMut(&Arc<S>) -> Result<Decision> + Send + 'static,
    {
        let answered = self.queue.join(&self.label, plan)?;
        // As many of these tasks as commits: each sees to one group, which has at least one commit while any waits.
        let head = Arc::clone(self);
        let turn = async move { head.commit_waiting().await };
        if Guard::DetachedCommits.stands() {
            sync::spawn(turn);
        } else {
            Box::pin(turn).await;
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Indeterminate,
                format!(
                    "commit to {} may or may not be done: its task ended early, as when the server shuts down; retry with the \
                     same append id",
                    self.label
                ),
            ))
        })
    }

    async fn commit_waiting(self: &Arc<Self>) {
        if !Guard::EveryTurn.stands() && self.publishing.try_lock().is_err() {
            return;
        }
        let _one_at_a_time = self.publishing.lock().await;
        let mut group = self.queue.take();
        for _ in 0..COMMIT_TRIES_MAX {
            if group.is_empty() {
                return;
            }
            group = self.commit_group(group).await;
        }
        for commit in group {
            commit.answer(Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "commit to {} lost against other writers {COMMIT_TRIES_MAX} times; nothing was committed, try again",
                    self.label
                ),
            )));
        }
    }

    /// Publishes one record of what the group decides, and answers. Those who must decide anew come back.
    async fn commit_group(self: &Arc<Self>, group: Vec<Waiting<S>>) -> Vec<Waiting<S>> {
        if self.closed().is_some() {
            self.refuse_closed(group);
            return Vec::new();
        }
        if let Err(error) = self.settle_doubt().await {
            answer_all(group, &error);
            return Vec::new();
        }
        let base = self.current();
        let mut draft = Draft::after(&base, self.clock().as_ref());
        let (planned, left) = draft.plan(group, &self.label);
        self.queue.put_back(left);
        if draft.is_empty() {
            settle(planned, &base);
            return Vec::new();
        }
        let attempt = Attempt::new(&draft.record, base.record_digest());
        let version = attempt.version;
        if !Guard::DurableBeforeVisible.stands() {
            let mut early = draft.clone().into_state();
            early.seal(attempt.digest);
            self.advance(Arc::new(early));
        }
        match attempt.publish(&self.log).await {
            Ok(PublishOutcome::Committed) => {
                let whole = cfg!(debug_assertions).then(|| {
                    base.apply(&draft.record, attempt.digest).map(|whole| whole.fold_digest())
                });
                let mut next = draft.into_state();
                next.seal(attempt.digest);
                debug_assert_eq!(
                    whole,
                    Some(Ok(next.fold_digest())),
                    "a record in parts folds into another state than the whole"
                );
                let next = Arc::new(next);
                let answers = || settle(planned, &next);
                if Guard::VisibleBeforeAnswered.stands() {
                    self.advance(Arc::clone(&next));
                    self.checkpoint_when_due(&next);
                    answers();
                } else {
                    answers();
                    self.advance(Arc::clone(&next));
                }
                Vec::new()
            }
            Ok(PublishOutcome::Lost(rival)) => {
                tracing::debug!(log = self.label, %version, "a rival took the slot");
                let group = planned.into_iter().map(|planned| planned.commit).collect();
                match self.follow(Some(*rival)).await {
                    Ok(()) => group,
                    Err(error) => {
                        answer_all(group, &Error::from(error));
                        Vec::new()
                    }
                }
            }
            Ok(PublishOutcome::Unknown(error)) if self.log.store().settles_unknown() => {
                *self.doubt.lock() = Some(version);
                tracing::debug!(log = self.label, %version, "nobody knows whether a record is there");
                let unknown = indeterminate(&self.label, version, error);
                settle_unknown(planned, &base, &unknown)
            }
            Ok(PublishOutcome::Unknown(error)) => {
                self.close(
                    ErrorKind::Unavailable,
                    format!(
                        "{} refuses writes since nobody knows whether version {version} is durable ({error}); restart the \
                         server, which verifies the log",
                        self.label
                    ),
                );
                let unknown = indeterminate(&self.label, version, error);
                self.context.alarm.raise(unknown.message());
                self.refuse_closed(settle_unknown(planned, &base, &unknown));
                Vec::new()
            }
            Err(error) => settle_unpublished(planned, &base, &Error::from(error)),
        }
    }

    fn refuse_closed(&self, group: Vec<Waiting<S>>) {
        for commit in group {
            let refusal = self.closed().unwrap_or_else(|| Error::internal("a log opened again"));
            commit.answer(Err(refusal));
        }
    }

    /// Reads the slot of a record of which nobody knows whether it is there, before anything is planned.
    async fn settle_doubt(&self) -> Result<()> {
        let Some(version) = *self.doubt.lock() else { return Ok(()) };
        self.follow(None).await.map_err(|error| {
            Error::from(error).context(format!(
                "commit to {} refused, and nothing of it committed: version {version} must be read first, of which nobody knows \
                 whether it is in the log",
                self.label
            ))
        })
    }

    /// Makes a state the newest, unless a newer one is known by now.
    pub(super) fn advance(&self, next: Arc<S>) {
        let replaced = {
            let mut current = self.current.write();
            if next.version() <= current.version() && Guard::NeverBack.stands() {
                return;
            }
            std::mem::replace(&mut *current, next)
        };
        keep(&self.recent, replaced, RECENT_STATES_MAX);
    }

    /// Starts a checkpoint when one is due. Left to those who commit: of several servers, one that only looks has no need of it.
    fn checkpoint_when_due(self: &Arc<Self>, newest: &Arc<S>) {
        if newest.version().0 < self.next_checkpoint.load(Ordering::Relaxed) {
            return;
        }
        let Ok(guard) = Arc::clone(&self.checkpoints).try_lock_owned() else { return };
        let (head, state) = (Arc::clone(self), Arc::clone(newest));
        sync::spawn(async move {
            let _one_at_a_time = guard;
            if let Err(error) = head.write_checkpoint(state).await {
                tracing::warn!(%error, "a checkpoint was not written; opening takes longer until the next one");
            }
        });
    }

    /// Writes a checkpoint of the newest version now, after any that is being written.
    pub(crate) async fn checkpoint(&self) -> Result<Version> {
        if let Some(refusal) = self.access().refusal(&self.label) {
            return Err(refusal);
        }
        let _one_at_a_time = self.checkpoints.lock().await;
        let state = self.current();
        let version = state.version();
        self.write_checkpoint(state).await?;
        Ok(version)
    }

    async fn write_checkpoint(&self, state: Arc<S>) -> Result<(), LogError> {
        let version = state.version();
        let written = self.log.write_checkpoint(state).await;
        let wait = if written.is_ok() { CHECKPOINT_EVERY } else { CHECKPOINT_RETRY_EVERY };
        self.next_checkpoint.store(version.0.saturating_add(wait), Ordering::Relaxed);
        written
    }
}

fn keep<S>(states: &Mutex<VecDeque<Arc<S>>>, state: Arc<S>, states_max: usize) {
    keep_last(&mut states.lock(), state, states_max);
}

/// Adds a state, and forgets the oldest of too many.
pub(super) fn keep_last<S>(states: &mut VecDeque<Arc<S>>, state: Arc<S>, states_max: usize) {
    if states.len() == states_max {
        states.pop_front();
    }
    states.push_back(state);
}

/// Answers a group whose decisions hold at `state`.
fn settle<S>(planned: Vec<Planned<S>>, state: &Arc<S>) {
    for Planned { commit, verdict, .. } in planned {
        commit.answer(match verdict {
            Verdict::Joined | Verdict::Nothing => Ok(Arc::clone(state)),
            Verdict::Refused(error) => Err(error),
        });
    }
}

/// Answers a group whose record was certainly not published. Those whose decision rests on it come back.
fn settle_unpublished<S>(
    planned: Vec<Planned<S>>,
    base: &Arc<S>,
    error: &Error,
) -> Vec<Waiting<S>> {
    let mut again_later = Vec::new();
    for Planned { commit, verdict, rests_on_group } in planned {
        match verdict {
            Verdict::Joined => commit.answer(Err(again(error))),
            _ if rests_on_group => again_later.push(commit),
            Verdict::Nothing => commit.answer(Ok(Arc::clone(base))),
            Verdict::Refused(error) => commit.answer(Err(error)),
        }
    }
    again_later
}

/// Nobody knows whether the record is in the log: nor does anybody whose commit is part of it. What was refused because of such
/// a commit is not in the record whatever became of it; it comes back, since the reason can be learnt later.
fn settle_unknown<S>(planned: Vec<Planned<S>>, base: &Arc<S>, unknown: &Error) -> Vec<Waiting<S>> {
    let mut refused = Vec::new();
    for Planned { commit, verdict, rests_on_group } in planned {
        match verdict {
            Verdict::Refused(_) if rests_on_group => refused.push(commit),
            Verdict::Refused(error) => commit.answer(Err(error)),
            Verdict::Nothing if !rests_on_group => commit.answer(Ok(Arc::clone(base))),
            Verdict::Nothing | Verdict::Joined => commit.answer(Err(again(unknown))),
        }
    }
    refused
}

fn answer_all<S>(group: Vec<Waiting<S>>, error: &Error) {
    for commit in group {
        commit.answer(Err(again(error)));
    }
}

/// One error for each of a group.
pub(super) fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.message())
}

fn indeterminate(label: &str, version: Version, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Indeterminate,
        format!(
            "commit to {label} may or may not be in the log as version {version}: {error}; retry with the same append id, or \
             look at that version"
        ),
    )
    .with_source(error)
}

/// One try to publish one record.
struct Attempt {
    version: Version,
    id: AttemptId,
    framed: bytes::Bytes,
    digest: super::Digest,
}

impl Attempt {
    fn new(record: &Record, previous: &super::Digest) -> Self {
        let framed = frame::encode(FrameKind::Record, previous, &record.encode());
        let digest = frame::digest(&framed);
        Self { version: record.version, id: record.attempt_id, framed, digest }
    }

    async fn publish(&self, log: &LogStore) -> Result<PublishOutcome, LogError> {
        match log.publish(self.version, self.framed.clone(), self.id).await {
            Ok(PublishOutcome::Unknown(_)) if !Guard::KnownOutcome.stands() => {
                Ok(PublishOutcome::Committed)
            }
            outcome => outcome,
        }
    }
}
