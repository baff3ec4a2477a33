//! [`Catalog`]: the tables of one root, by name. Keeps its own log below `_catalog`; one server owns a local root (C11), others may
//! look; several may write to one in an object store ([`Access`]). How a root is reached is in `place`.
//!
//! A table is created by making its own first record durable and then naming it (`naming`): a crash between the two leaves a folder
//! that nothing names. One that must not be there without its first rows is named after those. The first record of the catalog is
//! written when the root is made, so that a root with tables and no catalog is known to be damaged and never taken for an empty
//! one.

mod lock;
mod name;
mod naming;
mod place;
mod state;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::OnceCell;

use self::lock::RootLock;
use crate::access::Access;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{Alarm, CommitBody, Head, LogContext, LogStore};
use crate::storage::{DurableStore, Root, layout};
use crate::sync::Mutex;
use crate::table::{Table, TableContext};
use crate::types::{TableId, Version};

pub(crate) use self::state::CatalogState;
pub use name::{RESERVED_PREFIX, TABLE_NAME_BYTES_MAX, check_table_name};
pub use naming::Namesake;

/// How to open a root.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// What to write into the lock file for people: the address served, if any.
    pub owner_note: String,
    /// New appends are refused while the disk has less room than this, in bytes; `None` for the greater of 1 GiB and 5 % of
    /// the disk.
    pub disk_floor_bytes: Option<u64>,
    /// How to hold the root: [`Access::ReadOnly`], or to write. Which way of writing is told by the storage, and a root that cannot
    /// take commits safely is open read-only whatever this says.
    pub access: Access,
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            owner_note: String::new(),
            disk_floor_bytes: None,
            access: Access::default(),
        }
    }
}

/// The tables below one root. Shared as `Arc<Catalog>`.
///
/// Names are compared exactly; folding of unquoted SQL names happens before.
#[derive(Debug)]
pub struct Catalog {
    context: TableContext,
    head: Arc<Head<CatalogState>>,
    tables: Mutex<Handles>,
    /// Creating and dropping, one at a time, across awaits.
    changes: tokio::sync::Mutex<()>,
    /// `None` over a store that is not a local folder, and where nothing is written.
    lock: Option<RootLock>,
}

/// The tables that this process has a handle on.
#[derive(Debug, Default)]
struct Handles {
    /// A cell is shared by everybody who opens that table at the same time.
    cells: HashMap<TableId, Arc<OnceCell<Arc<Table>>>>,
    /// Those of them that are being created and have no name yet.
    unnamed: HashSet<TableId>,
    /// Those that another took the place of, the latest last.
    replaced: VecDeque<TableId>,
}

impl Catalog {
    /// Opens a root, creating it when there is nothing: a local folder, whose lock it takes, or a prefix in an object store,
    /// which it probes: where two conditional PUTs of one name can both succeed, or none is allowed, the root is open
    /// read-only and [`Catalog::access`] says why (C12).
    ///
    /// # Errors
    /// `Precondition` when another process holds the root (naming its note), when the folder holds other files, or when the
    /// store refuses the credentials; `NotFound` when there is no such bucket; `Unavailable` when the storage cannot be
    /// reached; `Corrupt` when the catalog's log is damaged. A damaged table does not stop the catalog: it fails when used.
    pub async fn open(root: impl Into<Root>, mut options: CatalogOptions) -> Result<Arc<Self>> {
        let root = root.into();
        let place = place::reach(&root, &options).await?;
        options.access = place.access;
        Self::open_store(place.store, options, place.lock)
            .await
            .map_err(|error| place::explain(&root, error))
    }

    /// Opens a root through a store of one's own, without a lock.
    ///
    /// # Errors
    /// As [`Catalog::open`], but for the lock.
    #[cfg(any(test, feature = "testing"))]
    pub async fn over(store: Arc<dyn DurableStore>, options: CatalogOptions) -> Result<Arc<Self>> {
        Self::open_store(store, options, None).await
    }

    async fn open_store(
        store: Arc<dyn DurableStore>,
        options: CatalogOptions,
        lock: Option<RootLock>,
    ) -> Result<Arc<Self>> {
        let log = LogStore::of_catalog(Arc::clone(&store));
        let log_context =
            LogContext { clock: options.clock, alarm: Alarm::default(), access: options.access };
        let head = open_head(log, &log_context).await?;
        let context =
            TableContext { store, log: log_context, disk_floor_bytes: options.disk_floor_bytes };
        Ok(Arc::new(Self {
            context,
            head: Arc::new(head),
            tables: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            lock,
        }))
    }

    /// Says who holds the root, for people: what a second server that wants it is shown.
    pub fn set_owner_note(&self, note: &str) {
        if let Some(lock) = &self.lock {
            lock.write_note(note);
        }
    }

    /// Raised when the outcome of a commit to the catalog or to any table is unknown: the server has to end then, and the next
    /// start finds out (C14).
    pub fn alarm(&self) -> &Alarm {
        &self.context.log.alarm
    }

    /// How the root is held.
    pub fn access(&self) -> &Access {
        &self.context.log.access
    }

    /// Time and ids.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.context.log.clock
    }

    /// Storage of the root.
    pub fn store(&self) -> &Arc<dyn DurableStore> {
        &self.context.store
    }

    /// Learns which tables others created and dropped, all of them that were acknowledged before this was called, or up to at
    /// most `max_staleness` ago. Handles on tables that are gone refuse appends from then on. Does nothing on the only server of
    /// a root.
    ///
    /// # Errors
    /// As [`Table::refresh`].
    pub async fn refresh(&self, max_staleness: Duration) -> Result<()> {
        if self.access().has_rivals() {
            self.head.refresh(max_staleness).await?;
            self.close_dropped();
        }
        Ok(())
    }

    fn close_dropped(&self) {
        let mut handles = self.tables.lock();
        let Handles { cells, unnamed, .. } = &mut *handles;
        // Read with the handles locked: by the time that a new table is no longer unnamed, the newest state has its name.
        let state = self.head.current();
        cells.retain(|id, cell| {
            let stays = state.has_table(*id) || unnamed.contains(id);
            if let (false, Some(table)) = (stays, cell.get()) {
                table.close_dropped();
            }
            stays
        });
    }

    /// A table by name as [`Catalog::table`] gives it, with everything that others committed to it and to the catalog before this
    /// was called, or up to at most `max_staleness` ago (C7).
    ///
    /// # Errors
    /// As [`Catalog::table`] and [`Table::refresh`].
    pub async fn fresh_table(&self, name: &str, max_staleness: Duration) -> Result<Arc<Table>> {
        let mut tables = self.fresh_tables(&[name.to_owned()], max_staleness).await?;
        tables.pop().ok_or_else(|| Error::internal("a table that was found is gone"))
    }

    /// Several tables by name, in that order. They and the catalog are looked at all at the same time: for the few that one
    /// statement names.
    ///
    /// # Errors
    /// As [`Catalog::fresh_table`], for the first of `names` that has one.
    pub async fn fresh_tables(
        &self,
        names: &[String],
        max_staleness: Duration,
    ) -> Result<Vec<Arc<Table>>> {
        if !self.access().has_rivals() {
            let mut found = Vec::with_capacity(names.len());
            for name in names {
                found.push(self.table(name).await?);
            }
            return Ok(found);
        }
        let mut looks = Vec::new();
        for name in names {
            let Some(table) = self.known(name) else { continue };
            looks.push(async move {
                let followed = table.refresh(max_staleness).await;
                (table.id(), followed.map(|_| ()))
            });
        }
        let (listed, followed) = tokio::join!(self.refresh(max_staleness), join_all(looks));
        listed?;
        let mut followed: HashMap<_, _> = followed.into_iter().collect();
        let mut opened = Vec::new();
        for name in names {
            let followed = self.find(name).ok().and_then(|id| followed.remove(&id));
            opened.push(async move {
                let table = self.table(name).await?;
                match followed {
                    Some(outcome) => outcome?,
                    // Opened just now, or by somebody else a moment ago.
                    None => drop(table.refresh(max_staleness).await?),
                }
                Ok(table)
            });
        }
        try_join_all(opened).await
    }

    /// The handle on a table, when there is one.
    fn known(&self, name: &str) -> Option<Arc<Table>> {
        let id = self.find(name).ok()?;
        self.tables.lock().cells.get(&id)?.get().cloned()
    }

    /// The newest version that is known here of a table of that name; `None` when there is no handle on one. Looks at nothing.
    pub fn known_version(&self, name: &str) -> Option<Version> {
        self.known(name).map(|table| table.snapshot().version)
    }

    /// Names of all tables, sorted.
    pub fn table_names(&self) -> Vec<String> {
        self.head.current().tables.keys().cloned().collect()
    }

    /// Whether there is a table of that name; opens nothing.
    pub fn contains(&self, name: &str) -> bool {
        self.head.current().tables.contains_key(name)
    }

    /// A table by name; opened on first use.
    ///
    /// # Errors
    /// `NotFound` with the nearest names; `Corrupt`.
    pub async fn table(&self, name: &str) -> Result<Arc<Table>> {
        loop {
            let id = self.find(name)?;
            let cell = Arc::clone(self.tables.lock().cells.entry(id).or_default());
            let table = cell
                .get_or_try_init(|| async {
                    Table::open(&self.context, id, name).await.map(Arc::new)
                })
                .await?;
            if self.find(name).is_ok_and(|now| now == id) {
                return Ok(Arc::clone(table));
            }
            // Dropped meanwhile: the handle must not outlive the name. Another table may have it by now.
            table.close_dropped();
            self.tables.lock().cells.remove(&id);
        }
    }

    fn find(&self, name: &str) -> Result<TableId> {
        let state = self.head.current();
        state.tables.get(name).copied().ok_or_else(|| not_found(&state, name))
    }
}

/// The catalog's log: the one that is there, or a new one in a root that holds nothing yet.
async fn open_head(log: LogStore, context: &LogContext) -> Result<Head<CatalogState>> {
    let label = || "the catalog".to_owned();
    if is_empty(&log).await? {
        let tables = log.store().list(layout::TABLES).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot list {}: {error}", layout::TABLES))
                .with_source(error)
        })?;
        // Asked again, since another server may have made the root and a table between the two answers.
        if !tables.is_empty() && is_empty(&log).await? {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "cannot open the catalog: {} holds no commit record, but {} holds data files: the log is missing; restore it \
                     from a backup",
                    layout::CATALOG_LOG,
                    layout::TABLES
                ),
            ));
        }
        if let Access::ReadOnly { reason } = &context.access {
            return Err(Error::new(
                ErrorKind::Precondition,
                format!("there are no tables at this root, and none are made: {reason}"),
            ));
        }
        let body = CommitBody { operation: "create".to_owned(), ..CommitBody::default() };
        match Head::create(log.clone(), context.clone(), label(), body).await {
            // Another server made the root at the same time.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            created => return created,
        }
    }
    Head::open(log, context.clone(), label()).await
}

async fn is_empty(log: &LogStore) -> Result<bool> {
    let listing = log.list().await?;
    Ok(listing.records.is_empty() && listing.checkpoints.is_empty())
}

fn not_found(state: &CatalogState, name: &str) -> Error {
    // Debug quoting: the name comes from outside and was not checked.
    let shown: String = name.chars().take(name::TABLE_NAME_BYTES_MAX).collect();
    let near = name::near(name, state.tables.keys().map(String::as_str));
    let advice = if !near.is_empty() {
        let names: Vec<_> = near.iter().map(|name| format!("\"{name}\"")).collect();
        format!("did you mean {}?", names.join(" or "))
    } else if state.tables.is_empty() {
        "there are no tables yet; create it first".to_owned()
    } else {
        "create it, or correct the name".to_owned()
    };
    Error::new(ErrorKind::NotFound, format!("table {shown:?} does not exist; {advice}"))
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
