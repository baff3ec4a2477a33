//! Table functions that are answered from the index and the log alone: no segment is opened.
//!
//! `runs` has `coverage` and `gaps`, `entities` has `completeness`, `covers` and `entities`, `table` has `segments` and
//! `table_properties`, `history` has `table_history`. `arguments` reads what they are called with, `rows` makes the rows of
//! those that have one per entity, `picks` finds the entities that a filter asks for. Planning only resolves the table and the bounds; rows are made while the query runs.

mod arguments;
mod entities;
mod history;
mod picks;
mod rows;
mod runs;
mod table;

pub(super) use entities::entity_rows;

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};

use crate::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::storage::DurableStore;

/// A table as one statement sees it.
#[derive(Debug, Clone)]
pub struct PinnedTable {
    /// Its name, for messages.
    pub name: String,
    /// The version that the statement sees.
    pub snapshot: Arc<Snapshot>,
    /// Where its log is.
    pub store: Arc<dyn DurableStore>,
}

/// Finds a table by the name that a statement uses.
pub trait SnapshotSource: fmt::Debug + Send + Sync {
    /// The table as the statement sees it.
    ///
    /// # Errors
    /// When the statement has no such table; the error names it.
    fn pinned(&self, table: &str) -> Result<PinnedTable>;
}

/// What one function answers with, given its arguments.
type Answer = fn(&dyn SnapshotSource, &TableFunctionArgs) -> Result<Arc<dyn TableProvider>>;

/// The functions and what they answer with.
const FUNCTIONS: [(&str, Answer); 8] = [
    ("coverage", runs::coverage),
    ("gaps", runs::gaps),
    ("completeness", entities::completeness),
    ("covers", entities::covers),
    ("entities", entities::entities),
    ("segments", table::segments),
    ("table_properties", table::table_properties),
    ("table_history", history::table_history),
];

/// Names of all table functions whose first argument names a table.
pub fn table_function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// All of them, over the tables that `source` finds.
pub fn table_functions(
    source: &Arc<dyn SnapshotSource>,
) -> impl Iterator<Item = (&'static str, Arc<dyn TableFunctionImpl>)> {
    FUNCTIONS.iter().map(|(name, answer)| {
        let function = TableFunction { name, answer: *answer, source: Arc::clone(source) };
        (*name, Arc::new(function) as Arc<dyn TableFunctionImpl>)
    })
}

/// One of them in one statement.
struct TableFunction {
    name: &'static str,
    answer: Answer,
    source: Arc<dyn SnapshotSource>,
}

impl fmt::Debug for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for TableFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        (self.answer)(self.source.as_ref(), &args)
    }
}

fn refused(message: String) -> DataFusionError {
    external(Error::new(ErrorKind::Invalid, message))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
