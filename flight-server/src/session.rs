//! Per-client state: prepared statements, bounded in number and in life.

use std::sync::Arc;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use dashmap::DashMap;
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

use crate::limits;
use crate::status;

/// A prepared statement. Its plan is made anew for every use, over the newest versions.
#[derive(Debug)]
pub(crate) struct PreparedStatement {
    /// The text.
    pub(crate) sql: String,
    /// How many parameters it has.
    pub(crate) parameter_count: usize,
    /// Rows of parameters, as bound last; none before the first bind.
    parameters: Mutex<Vec<RecordBatch>>,
    last_used: Mutex<Instant>,
}

impl PreparedStatement {
    /// The parameters bound last.
    pub(crate) fn parameters(&self) -> Vec<RecordBatch> {
        self.parameters.lock().clone()
    }

    /// Replaces the bound parameters.
    pub(crate) fn bind(&self, batches: Vec<RecordBatch>) {
        *self.parameters.lock() = batches;
    }
}

/// All prepared statements of a server, by handle: 128 random bits, which nobody can guess.
#[derive(Debug, Default)]
pub(crate) struct PreparedStatements {
    by_handle: DashMap<Uuid, Arc<PreparedStatement>>,
}

impl PreparedStatements {
    /// Remembers a statement and returns its handle.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when too many are alive.
    pub(crate) fn insert(
        &self,
        handle: Uuid,
        sql: String,
        parameter_count: usize,
    ) -> Result<(), Status> {
        if self.by_handle.len() >= limits::PREPARED_STATEMENTS_MAX {
            self.by_handle.retain(|_, statement| !expired(statement));
        }
        if self.by_handle.len() >= limits::PREPARED_STATEMENTS_MAX {
            return Err(status::exhausted(format!(
                "{} prepared statements are open; close those that are done",
                limits::PREPARED_STATEMENTS_MAX
            )));
        }
        let statement = PreparedStatement {
            sql,
            parameter_count,
            parameters: Mutex::new(Vec::new()),
            last_used: Mutex::new(Instant::now()),
        };
        self.by_handle.insert(handle, Arc::new(statement));
        Ok(())
    }

    /// A statement by its handle.
    ///
    /// # Errors
    /// NOT_FOUND for every handle that is not alive, whatever the reason.
    pub(crate) fn get(&self, handle: &[u8]) -> Result<Arc<PreparedStatement>, Status> {
        let found = Uuid::from_slice(handle)
            .ok()
            .and_then(|handle| self.by_handle.get(&handle).map(|entry| Arc::clone(entry.value())))
            .filter(|statement| !expired(statement));
        let Some(statement) = found else {
            return Err(status::not_found(
                "the prepared statement is not known here: it was closed, has expired, or belongs to another server; prepare it again",
            ));
        };
        *statement.last_used.lock() = Instant::now();
        Ok(statement)
    }

    /// Forgets a statement; unknown handles are forgotten already.
    pub(crate) fn remove(&self, handle: &[u8]) {
        if let Ok(handle) = Uuid::from_slice(handle) {
            self.by_handle.remove(&handle);
        }
    }
}

fn expired(statement: &PreparedStatement) -> bool {
    statement.last_used.lock().elapsed() > limits::PREPARED_STATEMENT_TTL
}
