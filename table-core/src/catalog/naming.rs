//! Making tables and giving them names, and taking the names away: every change of the catalog. What is there, and handles on it,
//! are in the parent.
//!
//! A table is made without a name, and one record of the catalog gives it one. The same record takes the name from another table
//! where the new one replaces it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use coverline_proto::log as proto;
use tokio::sync::OnceCell;

use super::name::check_table_name;
use super::state::{CatalogState, SCHEMA_NAME};
use super::{Catalog, not_found};
use crate::error::{Error, ErrorKind, Result};
use crate::log::record::Action;
use crate::log::{CommitBody, Decision};
use crate::schema::TableSpec;
use crate::sync;
use crate::table::Table;
use crate::types::{TableId, Version};

/// Tables whose tickets can still be redeemed after another took their place. Their ids are what is kept.
const REPLACED_TABLES_MAX: usize = 1_000;

/// What becomes of a table whose name a new one is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namesake {
    /// It stays, and the new table is refused.
    Stays,
    /// This one is dropped by the record that names the new table: at every version of the catalog the name means one of the
    /// two. Any other stays.
    GivesWay(TableId),
}

impl Catalog {
    /// Creates a table, durably.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` for a bad name or a spec that does not go with the schema.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the creation.
    pub async fn create_table(
        self: &Arc<Self>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        principal: &str,
    ) -> Result<Arc<Table>> {
        self.create(NewTable::checked(name, spec, schema, principal)?, false).await
    }

    /// A table that another took the place of on this server, for those who know it from before: it can be read and takes no
    /// commits. `None` for any other, and when that was long ago.
    ///
    /// # Errors
    /// As [`Catalog::table`], but for `NotFound`.
    pub async fn replaced_table(&self, id: TableId, name: &str) -> Result<Option<Arc<Table>>> {
        if !self.tables.lock().replaced.contains(&id) {
            return Ok(None);
        }
        let table = Table::open(&self.context, id, name).await?;
        table.close_dropped();
        Ok(Some(Arc::new(table)))
    }

    /// Creates a table in the place of the one that has the name, if there is one: see [`Namesake::GivesWay`].
    ///
    /// # Errors
    /// As [`Catalog::create_table`], but for `AlreadyExists`; `Conflict` when another server was faster.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn replace_table(
        self: &Arc<Self>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        principal: &str,
    ) -> Result<Arc<Table>> {
        self.create(NewTable::checked(name, spec, schema, principal)?, true).await
    }

    async fn create(self: &Arc<Self>, new: NewTable, replaces: bool) -> Result<Arc<Table>> {
        let catalog = Arc::clone(self);
        detached(async move {
            let _one_at_a_time = catalog.changes.lock().await;
            let table = catalog.make(&new, replaces).await?;
            let namesake = match catalog.find(&new.name) {
                Ok(id) if replaces => Namesake::GivesWay(id),
                _ => Namesake::Stays,
            };
            catalog.put(&table, namesake, new.principal).await?;
            Ok(table)
        })
        .await
    }

    /// Makes a table that nobody finds before [`Catalog::name_table`] names it: for a table that must not be there without its
    /// first rows. Without a name it is a folder that means nothing, however full.
    ///
    /// # Errors
    /// As [`Catalog::create_table`]; `AlreadyExists` unless it `replaces`.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn create_unnamed(
        self: &Arc<Self>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        replaces: bool,
        principal: &str,
    ) -> Result<Arc<Table>> {
        let (catalog, new) = (Arc::clone(self), NewTable::checked(name, spec, schema, principal)?);
        detached(async move { catalog.make(&new, replaces).await }).await
    }

    /// Gives a table of [`Catalog::create_unnamed`] its name, durably and with everything that was committed to it. A namesake
    /// that gives way ends as by [`Catalog::drop_table`]; when it is gone already, nothing has to.
    ///
    /// # Errors
    /// `AlreadyExists` when another table has the name and stays, or `Conflict` where the one that was to give way had it before;
    /// as [`Table::commit`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn name_table(
        self: &Arc<Self>,
        table: &Arc<Table>,
        namesake: Namesake,
        principal: &str,
    ) -> Result<()> {
        let (catalog, principal) = (Arc::clone(self), principal.to_owned());
        let table = Arc::clone(table);
        detached(async move {
            let _one_at_a_time = catalog.changes.lock().await;
            catalog.put(&table, namesake, principal).await
        })
        .await
    }

    /// Makes a table that has no name yet.
    async fn make(&self, new: &NewTable, replaces: bool) -> Result<Arc<Table>> {
        let NewTable { name, spec, schema, principal } = new;
        self.refuse_closed()?;
        self.refresh(Duration::ZERO).await?;
        if !replaces && self.contains(name) {
            return Err(exists(name));
        }
        let id = TableId(self.context.log.clock.new_id());
        Table::create(&self.context, id, name, spec, schema.as_ref(), principal).await.map(Arc::new)
    }

    /// Names a table. With `changes` held.
    async fn put(&self, table: &Arc<Table>, namesake: Namesake, principal: String) -> Result<()> {
        let (id, name) = (table.id(), table.name());
        // In place before the name can be found: two handles on one table would not see each other's commits.
        let cell = Arc::new(OnceCell::new_with(Some(Arc::clone(table))));
        {
            let mut handles = self.tables.lock();
            handles.unnamed.insert(id);
            handles.cells.insert(id, cell);
        }
        let put = proto::PutTable {
            table_id: Bytes::copy_from_slice(id.as_bytes()),
            schema_name: SCHEMA_NAME.to_owned(),
            name: name.clone(),
        };
        let named = self
            .head
            .commit(move |state| {
                let put = Action::PutTable(put.clone());
                let (operation, actions) = match state.tables.get(&name) {
                    None => ("create", vec![put]),
                    Some(old) if namesake == Namesake::GivesWay(*old) => {
                        ("replace", vec![drop_of(*old), put])
                    }
                    Some(_) if namesake == Namesake::Stays => return Err(exists(&name)),
                    Some(_) => return Err(made_anew(&name)),
                };
                Ok(Decision::Commit(CommitBody {
                    operation: operation.to_owned(),
                    principal: principal.clone(),
                    append_ids: Vec::new(),
                    actions,
                    shares_record: false,
                }))
            })
            .await;
        {
            let mut handles = self.tables.lock();
            handles.unnamed.remove(&id);
            if let Err(error) = named {
                handles.cells.remove(&id);
                return Err(error);
            }
        }
        if let Namesake::GivesWay(old) = namesake {
            self.close_dropped();
            let replaced = &mut self.tables.lock().replaced;
            replaced.push_back(old);
            if replaced.len() > REPLACED_TABLES_MAX {
                replaced.pop_front();
            }
        }
        Ok(())
    }

    /// Before anything is written: a table's own first record comes before its name.
    fn refuse_closed(&self) -> Result<()> {
        self.head.closed().map_or(Ok(()), Err)
    }

    /// Drops a table: its name is free at once, its files are left for vacuum. Handles that are still held read on and
    /// refuse appends.
    ///
    /// # Errors
    /// `NotFound`.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn drop_table(self: &Arc<Self>, name: &str, principal: &str) -> Result<()> {
        let (catalog, name, principal) = (Arc::clone(self), name.to_owned(), principal.to_owned());
        detached(async move {
            let _one_at_a_time = catalog.changes.lock().await;
            catalog.refuse_closed()?;
            catalog.refresh(Duration::ZERO).await?;
            let id = catalog.find(&name)?;
            catalog.remove(id, name, principal).await
        })
        .await
    }

    /// Drops a table that nobody has committed to since `version`, and says whether it did: for whoever made a table and
    /// then has no use for it. A commit of somebody else is never lost with it: where other servers write they may commit to it
    /// at any moment, so there it stays.
    ///
    /// # Errors
    /// As [`Catalog::drop_table`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn drop_unchanged(
        self: &Arc<Self>,
        table: &Arc<Table>,
        version: Version,
        principal: &str,
    ) -> Result<bool> {
        if self.access().has_rivals() {
            return Ok(false);
        }
        let (catalog, principal) = (Arc::clone(self), principal.to_owned());
        let table = Arc::clone(table);
        detached(async move {
            let _one_at_a_time = catalog.changes.lock().await;
            // Decided where commits are decided: after this either the table takes none, or one came before.
            let closing = Arc::clone(&table);
            let seen = table.commit(move |snapshot| {
                if snapshot.version == version {
                    closing.close_dropped();
                }
                Ok(Decision::Nothing)
            });
            if seen.await?.version != version {
                return Ok(false);
            }
            if let Err(error) = catalog.remove(table.id(), table.name(), principal).await {
                // Still there, but this handle is closed for good: whoever asks next opens the log anew.
                catalog.tables.lock().cells.remove(&table.id());
                return Err(error);
            }
            Ok(true)
        })
        .await
    }

    /// With `changes` held.
    async fn remove(&self, id: TableId, name: String, principal: String) -> Result<()> {
        let plan = {
            let name = name.clone();
            move |state: &Arc<CatalogState>| {
                if state.tables.get(&name) != Some(&id) {
                    return Err(not_found(state, &name));
                }
                Ok(Decision::Commit(CommitBody {
                    operation: "drop".to_owned(),
                    principal: principal.clone(),
                    append_ids: Vec::new(),
                    actions: vec![drop_of(id)],
                    shares_record: false,
                }))
            }
        };
        self.head.commit(plan).await?;
        let cell = self.tables.lock().cells.remove(&id);
        if let Some(table) = cell.as_ref().and_then(|cell| cell.get()) {
            table.close_dropped();
        }
        Ok(())
    }
}

/// Runs to its end whatever becomes of the caller.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    sync::spawn(work).await.map_err(|ended| {
        if ended.is_panic() {
            Error::internal("a change of the catalog panicked")
        } else {
            Error::new(
                ErrorKind::Indeterminate,
                "the change may or may not be done: the server is shutting down; look before trying again",
            )
        }
    })?
}

/// A table that is to be made, and by whom. Its name is one, and its spec makes sense.
#[derive(Debug)]
struct NewTable {
    name: String,
    spec: TableSpec,
    schema: Option<SchemaRef>,
    principal: String,
}

impl NewTable {
    fn checked(
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        principal: &str,
    ) -> Result<Self> {
        check_table_name(name)?;
        spec.validate().map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("cannot create table \"{name}\": {error}"))
                .with_source(error)
        })?;
        Ok(Self { name: name.to_owned(), spec, schema, principal: principal.to_owned() })
    }
}

fn drop_of(id: TableId) -> Action {
    Action::DropTable(proto::DropTable { table_id: Bytes::copy_from_slice(id.as_bytes()) })
}

fn exists(name: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("table \"{name}\" exists already; use it, or choose another name"),
    )
}

fn made_anew(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("another table got the name \"{name}\" meanwhile; nothing was changed, try again"),
    )
}
