//! [`Head`]: the newest state of a log, and the one door through which the log grows.
//!
//! One commit at a time: the planner is shown the newest state, its record is applied to that state before it is published
//! (what cannot be replayed never gets into the log), and the new state is visible before the caller is answered. Losing the
//! slot to a rival means replaying the rival's records and asking the planner again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::checkpoint::CHECKPOINT_EVERY;
use super::frame::{self, FrameKind};
use super::open::{self, Opened};
use super::record::Action;
use super::replay::State;
use super::store::{LogStore, PublishOutcome, StoredRecord};
use super::{LogError, Record};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{AttemptId, Version};
use coverline_proto::log as proto;

/// How often the commit loop tries before it gives up with `Conflict` (C6).
pub const COMMIT_TRIES_MAX: u32 = 20;

/// Replaced states kept for reads that pinned them.
const RECENT_STATES_MAX: usize = 64;

/// Older states kept that had to be replayed.
const REPLAYED_STATES_MAX: usize = 16;

/// Commits after a failed checkpoint before the next is tried.
const CHECKPOINT_RETRY_EVERY: u64 = CHECKPOINT_EVERY / 10;

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
}

/// What a planner decides when it is shown the newest snapshot.
#[derive(Debug)]
pub enum Decision {
    /// Publish this as the next version.
    Commit(CommitBody),
    /// Nothing to publish.
    Nothing,
}

/// The newest state of a log.
#[derive(Debug)]
pub(crate) struct Head<S> {
    log: LogStore,
    clock: Arc<dyn Clock>,
    /// What the log is of, for messages: `table "prices"`.
    label: String,
    current: RwLock<Arc<S>>,
    /// Held for a whole commit, across awaits.
    commits: tokio::sync::Mutex<()>,
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
    pub(crate) async fn open(log: LogStore, clock: Arc<dyn Clock>, label: String) -> Result<Self> {
        let opened: Opened<S> = open::open_newest(&log)
            .await
            .map_err(|error| Error::from(error).context(format!("cannot open {label}")))?;
        Ok(Self::at(log, clock, label, opened.state, opened.checkpoint))
    }

    /// Starts a log with its first record.
    pub(crate) async fn create(
        log: LogStore,
        clock: Arc<dyn Clock>,
        label: String,
        body: CommitBody,
    ) -> Result<Self> {
        let attempt = Attempt::new(body, Version(1), i64::MIN, &frame::NO_RECORD, clock.as_ref());
        let state = S::first(&attempt.record, attempt.digest)
            .map_err(|error| Error::internal(format!("cannot create {label}: {error}")))?;
        match attempt.publish(&log).await? {
            PublishOutcome::Committed => {
                Ok(Self::at(log, clock, label, Arc::new(state), Version(0)))
            }
            PublishOutcome::Lost(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!("{label} was being created by another server; try again"),
            )),
            PublishOutcome::Unknown(error) => Err(indeterminate(&label, Version(1), error)),
        }
    }

    fn at(
        log: LogStore,
        clock: Arc<dyn Clock>,
        label: String,
        state: Arc<S>,
        checkpoint: Version,
    ) -> Self {
        Self {
            log,
            clock,
            label,
            current: RwLock::new(state),
            commits: tokio::sync::Mutex::default(),
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
        &self.clock
    }

    /// The newest state.
    pub(crate) fn current(&self) -> Arc<S> {
        Arc::clone(&self.current.read())
    }

    /// Refuses every later commit with this error.
    pub(crate) fn close(&self, kind: ErrorKind, message: String) {
        self.closed.lock().get_or_insert((kind, message));
    }

    /// Why commits are refused, when they are.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.closed.lock().as_ref().map(|(kind, message)| Error::new(*kind, message.clone()))
    }

    /// The state at an older version.
    pub(crate) async fn at_version(&self, version: Version) -> Result<Arc<S>> {
        let current = self.current();
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

    /// Runs the commit loop in a task of its own and waits for it (C16).
    pub(crate) async fn commit<P>(self: &Arc<Self>, plan: P) -> Result<Arc<S>>
    where
        P: FnMut(&Arc<S>) -> Result<Decision> + Send + 'static,
    {
        let head = Arc::clone(self);
        let running = tokio::spawn(async move { head.commit_loop(plan).await });
        match running.await {
            Ok(outcome) => outcome,
            Err(ended) if ended.is_panic() => {
                Err(Error::internal(format!("a commit to {} panicked", self.label)))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Indeterminate,
                format!(
                    "commit to {} may or may not be done: the server is shutting down; retry with the same append id",
                    self.label
                ),
            )),
        }
    }

    async fn commit_loop<P>(self: &Arc<Self>, mut plan: P) -> Result<Arc<S>>
    where
        P: FnMut(&Arc<S>) -> Result<Decision> + Send + 'static,
    {
        let _one_at_a_time = self.commits.lock().await;
        for _ in 0..COMMIT_TRIES_MAX {
            if let Some(closed) = self.closed() {
                return Err(closed);
            }
            let base = self.current();
            let body = match plan(&base)? {
                Decision::Commit(body) => body,
                Decision::Nothing => return Ok(base),
            };
            let version = base.version().next();
            let attempt = Attempt::new(
                body,
                version,
                base.commit_time_us(),
                base.record_digest(),
                self.clock.as_ref(),
            );
            let next = base.apply(&attempt.record, attempt.digest).map_err(|error| {
                Error::internal(format!("version {version} of {} is wrong: {error}", self.label))
            })?;
            match attempt.publish(&self.log).await? {
                PublishOutcome::Committed => return Ok(self.advance(Arc::new(next))),
                PublishOutcome::Lost(rival) => self.follow(*rival).await?,
                PublishOutcome::Unknown(error) => {
                    self.close(
                        ErrorKind::Unavailable,
                        format!(
                            "{} refuses writes since nobody knows whether version {version} is durable ({error}); \
                             restart the server, which verifies the log",
                            self.label
                        ),
                    );
                    return Err(indeterminate(&self.label, version, error));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "commit to {} lost against other writers {COMMIT_TRIES_MAX} times; nothing was committed, try again",
                self.label
            ),
        ))
    }

    /// Replays the rival's record and those after it.
    async fn follow(self: &Arc<Self>, rival: StoredRecord) -> Result<()> {
        let mut stored = Some(rival);
        while let Some(record) = stored {
            let base = self.current();
            let next = open::follow(&self.log, Some(base.as_ref()), &record)?;
            let version = next.version();
            self.advance(Arc::new(next));
            stored = self.log.read_record(version.next()).await?;
        }
        Ok(())
    }

    /// Makes a state the newest, and starts a checkpoint when one is due.
    fn advance(self: &Arc<Self>, next: Arc<S>) -> Arc<S> {
        let replaced = std::mem::replace(&mut *self.current.write(), Arc::clone(&next));
        keep(&self.recent, replaced, RECENT_STATES_MAX);
        if next.version().0 >= self.next_checkpoint.load(Ordering::Relaxed)
            && let Ok(guard) = Arc::clone(&self.checkpoints).try_lock_owned()
        {
            let (head, state) = (Arc::clone(self), Arc::clone(&next));
            tokio::spawn(async move {
                let _one_at_a_time = guard;
                if let Err(error) = head.write_checkpoint(state).await {
                    tracing::warn!(%error, "a checkpoint was not written; opening takes longer until the next one");
                }
            });
        }
        next
    }

    /// Writes a checkpoint of the newest version now, after any that is being written.
    pub(crate) async fn checkpoint(&self) -> Result<Version> {
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
    let mut states = states.lock();
    if states.len() == states_max {
        states.pop_front();
    }
    states.push_back(state);
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
    record: Record,
    framed: bytes::Bytes,
    digest: super::Digest,
}

impl Attempt {
    fn new(
        body: CommitBody,
        version: Version,
        commit_time_before_us: i64,
        previous: &super::Digest,
        clock: &dyn Clock,
    ) -> Self {
        let mut append_ids = body.append_ids;
        for id in &mut append_ids {
            id.version = version.0;
        }
        let record = Record {
            version,
            commit_time_us: clock.now_us().max(commit_time_before_us.saturating_add(1)),
            attempt_id: AttemptId(clock.new_id()),
            operation: body.operation,
            principal: body.principal,
            append_ids,
            actions: body.actions,
        };
        let framed = frame::encode(FrameKind::Record, previous, &record.encode());
        let digest = frame::digest(&framed);
        Self { record, framed, digest }
    }

    async fn publish(&self, log: &LogStore) -> Result<PublishOutcome, LogError> {
        log.publish(self.record.version, self.framed.clone(), self.record.attempt_id).await
    }
}
