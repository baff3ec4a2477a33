//! [`Catalog`]: the tables of one root, by name. Keeps its own log below `_catalog`; one server owns a local root (C11).

mod lock;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::schema::TableSpec;
use crate::table::Table;

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
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self { clock: SystemClock::shared(), owner_note: String::new(), disk_floor_bytes: None }
    }
}

/// The tables below one root. Shared as `Arc<Catalog>`.
///
/// Names are compared exactly; folding of unquoted SQL names happens before.
#[derive(Debug)]
pub struct Catalog {}

impl Catalog {
    /// Opens a local root, creating it when the folder is missing or empty. Takes the lock.
    ///
    /// # Errors
    /// `Precondition` when another process holds the root (naming its note), or when the folder holds other files;
    /// `Corrupt` when the catalog's log is damaged. A damaged table does not stop the catalog: it fails when used.
    pub async fn open(root: &Path, options: CatalogOptions) -> Result<Arc<Self>> {
        todo!()
    }

    /// Names of all tables, sorted.
    pub fn table_names(&self) -> Vec<String> {
        todo!()
    }

    /// A table by name; opened on first use.
    ///
    /// # Errors
    /// `NotFound` with the nearest names; `Corrupt`.
    pub async fn table(&self, name: &str) -> Result<Arc<Table>> {
        todo!()
    }

    /// Creates a table, durably.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` for a bad name or a spec that does not go with the schema.
    pub async fn create_table(
        &self,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        principal: &str,
    ) -> Result<Arc<Table>> {
        todo!()
    }

    /// Drops a table: its name is free at once, its files are left for vacuum.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn drop_table(&self, name: &str, principal: &str) -> Result<()> {
        todo!()
    }
}
