//! [`Table`]: the centre. A handle on one table: where snapshots come from and appends go to. Thin; the work is in
//! `append`, `log`, `scan` and `maintenance`.

use std::sync::Arc;

use coverline_proto::log as proto;

use crate::append::{Append, AppendRequest};
use crate::clock::Clock;
use crate::error::Result;
use crate::log::record::Action;
use crate::snapshot::Snapshot;
use crate::storage::DurableStore;
use crate::types::{TableId, Version};

/// How often the commit loop tries before it gives up with `Conflict` (C6).
pub const COMMIT_TRIES_MAX: u32 = 20;

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

/// A handle on one table of a [`Catalog`](crate::Catalog). Shared as `Arc<Table>`.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// Identity; stays when the table is renamed.
    pub fn id(&self) -> TableId {
        todo!()
    }

    /// Current name.
    pub fn name(&self) -> String {
        todo!()
    }

    /// The newest version this server knows. On the only server of a root that is the newest there is.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }

    /// The table as it was at `version`.
    ///
    /// # Errors
    /// `NotFound` naming the oldest and newest version; `Corrupt`.
    pub async fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>> {
        todo!()
    }

    /// Starts an append. Nothing is written until its first batch.
    pub fn append(self: &Arc<Self>, request: AppendRequest) -> Append {
        todo!()
    }

    /// The commit loop: shows `plan` the newest snapshot, publishes what it decides as the next version, swaps the snapshot
    /// and returns it. When a rival took the slot, its record is replayed and `plan` is asked again, at most
    /// [`COMMIT_TRIES_MAX`] times. One commit at a time per table; the whole loop runs detached from the caller (C16).
    ///
    /// # Errors
    /// What `plan` returns; `Conflict` when the tries are used up; `Exhausted`, `Unavailable` before publish;
    /// `Indeterminate` when the slot could not be read back.
    pub async fn commit<P>(self: &Arc<Self>, plan: P) -> Result<Arc<Snapshot>>
    where
        P: FnMut(&Arc<Snapshot>) -> Result<Decision> + Send + 'static,
    {
        todo!()
    }

    /// Storage of the root this table lives in.
    pub fn store(&self) -> &Arc<dyn DurableStore> {
        todo!()
    }

    /// Time and ids.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        todo!()
    }

    /// The commit records from `first` to `last`, both included, oldest first, as JSON values for `coverline log show`.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub async fn log_json(&self, first: Version, last: Version) -> Result<Vec<serde_json::Value>> {
        todo!()
    }
}
