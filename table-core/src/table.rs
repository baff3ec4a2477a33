//! [`Table`]: the centre. A handle on one table: where snapshots come from and appends go to. Thin; the work is in
//! `append`, `log`, `scan` and `maintenance`.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use coverline_proto::log as proto;
use futures::TryStreamExt;

use crate::append::{Append, AppendRequest};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::hot::Flusher;
use crate::log::record::{Action, time_text};
use crate::log::{
    CommitBody, Decision, Head, LogContext, LogStore, encode_schema, encode_spec, newest_at,
};
use crate::schema::TableSpec;
use crate::snapshot::Snapshot;
use crate::storage::{DiskSpace, DurableStore};
use crate::types::{TableId, Version};

/// Least room that a disk keeps by default, in bytes: 1 GiB ...
const DISK_FLOOR_BYTES: u64 = 1 << 30;

/// ... or this fraction of it, whichever is more: 5 %.
const DISK_FLOOR_FRACTION: u64 = 20;

/// What tables of one root share.
#[derive(Debug, Clone)]
pub(crate) struct TableContext {
    pub(crate) store: Arc<dyn DurableStore>,
    pub(crate) log: LogContext,
    pub(crate) disk_floor_bytes: Option<u64>,
}

/// A handle on one table of a [`Catalog`](crate::Catalog). Shared as `Arc<Table>`.
#[derive(Debug)]
pub struct Table {
    id: TableId,
    name: String,
    head: Arc<Head<Snapshot>>,
    flusher: Flusher,
    disk_floor_bytes: Option<u64>,
}

impl Table {
    /// Writes the first record of a new table.
    pub(crate) async fn create(
        context: &TableContext,
        id: TableId,
        name: &str,
        spec: &TableSpec,
        schema: Option<&SchemaRef>,
        principal: &str,
    ) -> Result<Self> {
        let ipc_schema = match schema {
            None => Bytes::new(),
            Some(schema) => {
                let layout = spec.bind(schema).map_err(|error| {
                    Error::new(
                        ErrorKind::Invalid,
                        format!("cannot create table \"{name}\": {error}"),
                    )
                    .with_source(error)
                })?;
                encode_schema(&layout.schema)
            }
        };
        let create = Action::CreateTable(proto::CreateTable {
            table_id: Bytes::copy_from_slice(id.as_bytes()),
            spec: Some(encode_spec(spec)),
            ipc_schema,
        });
        let body = CommitBody {
            operation: "create".to_owned(),
            principal: principal.to_owned(),
            append_ids: Vec::new(),
            actions: vec![create],
            shares_record: false,
        };
        let log = LogStore::of_table(Arc::clone(&context.store), id);
        let head = Head::create(log, context.log.clone(), label(name), body).await?;
        Ok(Self::over(context, id, name, head))
    }

    /// Reads a table from its log.
    pub(crate) async fn open(context: &TableContext, id: TableId, name: &str) -> Result<Self> {
        let log = LogStore::of_table(Arc::clone(&context.store), id);
        let head = Head::open(log, context.log.clone(), label(name)).await?;
        let table = Self::over(context, id, name, head);
        let found = table.snapshot().table_id;
        if found != id {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "cannot open table \"{name}\": the log in {} is that of table {found}; restore it from a backup",
                    table.head.log().folder()
                ),
            ));
        }
        Ok(table)
    }

    fn over(context: &TableContext, id: TableId, name: &str, head: Head<Snapshot>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            head: Arc::new(head),
            flusher: Flusher::default(),
            disk_floor_bytes: context.disk_floor_bytes,
        }
    }

    /// Identity; stays when the table is renamed.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// Current name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The newest version this server knows. On the only server of a root that is the newest there is; where others write, see
    /// [`Table::refresh`].
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.head.current()
    }

    /// The newest version, others' commits included that were acknowledged before this was called (C7); or one that was the
    /// newest at most `max_staleness` ago. Costs a look at the storage, which those who ask at the same time share; nothing on
    /// the only server of a root. Never a version older than one shown before.
    ///
    /// # Errors
    /// `Unavailable` when the storage cannot be read; `Corrupt`, and `Precondition` for a newer format, for what was found.
    pub async fn refresh(&self, max_staleness: Duration) -> Result<Arc<Snapshot>> {
        self.head.refresh(max_staleness).await
    }

    /// The table as it was at `version`; one that this server does not know yet is looked for.
    ///
    /// # Errors
    /// `NotFound` naming the oldest and newest version; `Corrupt`; `Unavailable`.
    pub async fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>> {
        self.head.at_version(version).await
    }

    /// The version of the table that was the newest at `time_us`, in microseconds since the epoch by the times of the commits, among
    /// those that this server knows. The same for ever for a time that lies behind.
    ///
    /// # Errors
    /// `NotFound` when the table is younger, with the time of its first version; `Corrupt`; `Unavailable`.
    pub async fn version_at(&self, time_us: i64) -> Result<Version> {
        let newest = self.snapshot();
        if newest.commit_time_us <= time_us {
            return Ok(newest.version);
        }
        let found = newest_at(self.log(), newest.version, time_us).await?;
        found.map_err(|first_us| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "table \"{}\" has no version at {}: the oldest is of {}",
                    self.name,
                    time_text(time_us),
                    time_text(first_us)
                ),
            )
        })
    }

    /// Starts an append. Nothing is written until its first batch.
    pub fn append(self: &Arc<Self>, request: AppendRequest) -> Append {
        Append::new(Arc::clone(self), request)
    }

    /// The commit loop: shows `plan` the newest snapshot, publishes what it decides as the next version, swaps the snapshot
    /// and returns it. When a rival took the slot, its record is replayed and `plan` is asked again, at most
    /// [`COMMIT_TRIES_MAX`](crate::COMMIT_TRIES_MAX) times. One commit at a time per table; the whole loop runs detached from the caller (C16).
    ///
    /// # Errors
    /// What `plan` returns; `Conflict` when the tries are used up; `Exhausted`, `Unavailable` before publish;
    /// `Indeterminate` when the slot could not be read back: on a local disk the table refuses commits from then on until it is
    /// opened anew (C14), elsewhere until the slot can be read. `Precondition` on a read-only root.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the commit.
    pub async fn commit<P>(self: &Arc<Self>, plan: P) -> Result<Arc<Snapshot>>
    where
        P: FnMut(&Arc<Snapshot>) -> Result<Decision> + Send + 'static,
    {
        let committed = self.head.commit(plan).await?;
        self.flusher.start_when_due(self);
        Ok(committed)
    }

    /// Makes a segment of all hot rows now, and says as which version; `None` when there was nothing to do. Commits start a
    /// flush by themselves when one is due. Rows, coverage and owners stay what they are.
    ///
    /// # Errors
    /// As [`Table::commit`]; `Exhausted` when the disk is full. The rows stay hot then.
    pub async fn flush(self: &Arc<Self>) -> Result<Option<Version>> {
        self.flusher.flush(self).await
    }

    pub(crate) fn flusher(&self) -> &Flusher {
        &self.flusher
    }

    /// Why this handle refuses commits, when it does: the outcome of one is unknown, the table was dropped, or the root is
    /// read-only here.
    pub fn closed(&self) -> Option<Error> {
        self.head.closed()
    }

    /// Refuses every commit from now on: the table was dropped.
    pub(crate) fn close_dropped(&self) {
        self.head.close(
            ErrorKind::NotFound,
            format!("table \"{}\" was dropped or replaced; append to the one that is there now, or create it again", self.name),
        );
    }

    /// Whether the disk has room for another append (C13).
    ///
    /// # Errors
    /// `Exhausted` with the room there is and the room to keep.
    pub fn check_space(&self) -> Result<()> {
        let Some(DiskSpace { free, total }) = self.store().space() else { return Ok(()) };
        let floor = self
            .disk_floor_bytes
            .unwrap_or_else(|| DISK_FLOOR_BYTES.max(total / DISK_FLOOR_FRACTION));
        if free < floor {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "append to table \"{}\" refused: the disk has {free} bytes free, and {floor} are kept in reserve; make \
                     room, or lower the reserve",
                    self.name
                ),
            ));
        }
        Ok(())
    }

    /// Storage of the root this table lives in.
    pub fn store(&self) -> &Arc<dyn DurableStore> {
        self.head.log().store()
    }

    /// Time and ids.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.head.clock()
    }

    /// The log.
    pub fn log(&self) -> &LogStore {
        self.head.log()
    }

    /// Writes a checkpoint of the newest version now, and says which. Commits write one by themselves now and then.
    ///
    /// # Errors
    /// Of the storage; the table is none the worse for it.
    pub async fn checkpoint(&self) -> Result<Version> {
        self.head.checkpoint().await
    }

    /// The commit records from `first` to `last`, both included, oldest first, as JSON values for `coverline log show`.
    /// Bounds outside the log are moved to its ends.
    ///
    /// # Errors
    /// `NotFound` when `first` is beyond the newest version, `Corrupt`.
    pub async fn log_json(&self, first: Version, last: Version) -> Result<Vec<serde_json::Value>> {
        let snapshot = self.snapshot();
        let first = first.max(Version(1));
        let last = last.min(snapshot.version);
        if first > snapshot.version {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "table \"{}\" has no version {first}; its versions are 1 to {}",
                    self.name, snapshot.version
                ),
            ));
        }
        if first > last {
            return Ok(Vec::new());
        }
        let layout = snapshot.layout.as_deref();
        let records = self.log().read_records(first, last);
        let values = records.map_ok(|stored| stored.record.to_json(layout)).try_collect().await?;
        Ok(values)
    }
}

fn label(name: &str) -> String {
    format!("table \"{name}\"")
}
