//! The streaming half of an append.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::types::Version;

/// What to do with rows whose pair another append owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlapPolicy {
    /// Commit nothing (default).
    #[default]
    Reject,
    /// Leave those rows out and commit the rest.
    Skip,
}

/// How to append.
#[derive(Debug, Clone, Default)]
pub struct AppendRequest {
    /// See [`OverlapPolicy`].
    pub on_overlap: OverlapPolicy,
    /// Client-chosen key that makes a retry return the first receipt.
    pub append_id: Option<String>,
    /// Who appends; empty when authentication is off.
    pub principal: String,
}

/// What a committed append gets back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Table name.
    pub table: String,
    /// The version that holds the rows. When nothing was written (no rows, or all skipped), the version looked at.
    pub version: Version,
    /// Rows written.
    pub row_count: u64,
    /// Rows left out by [`OverlapPolicy::Skip`].
    pub rows_skipped: u64,
    /// (entity, bucket) pairs newly covered.
    pub buckets_covered: u64,
    /// Segments written.
    pub segment_count: u32,
    /// The append id was known: this is the receipt of the first try, and nothing new was written.
    pub repeated: bool,
}

/// An append under way. Dropping it commits nothing and removes what was staged.
#[derive(Debug)]
pub struct Append {}

impl Append {
    pub(crate) fn new(table: std::sync::Arc<crate::Table>, request: AppendRequest) -> Self {
        todo!()
    }

    /// The schema of the incoming stream, before its first batch. Adopts it when the table has none yet (on commit).
    ///
    /// # Errors
    /// `SchemaMismatch` naming the column and both types; `Invalid` when it breaks a limit.
    pub async fn begin(&mut self, incoming: &SchemaRef) -> Result<()> {
        todo!()
    }

    /// Takes one batch. The batch is checked whole before any of it is written.
    ///
    /// # Errors
    /// `Overlap` at the first batch that touches an owned pair (policy reject); `SchemaMismatch`, `Invalid` (nulls),
    /// `Exhausted` (disk, limits). After an error the append accepts nothing more and can only be dropped.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        todo!()
    }

    /// Commits everything taken so far as one version: durable when this returns.
    ///
    /// # Errors
    /// `Overlap`, `Conflict`, `Exhausted`, `Unavailable`: nothing was committed. `Indeterminate`: nobody knows.
    ///
    /// # Cancel safety
    /// Once publishing has started it runs to its end in a task of its own; dropping the future does not stop it (C16).
    pub async fn commit(self) -> Result<Receipt> {
        todo!()
    }
}
