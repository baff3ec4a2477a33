//! What is asked of an append, and what it is answered: [`AppendRequest`] and [`Receipt`]. Pure.

use crate::types::Version;

/// Bytes of an append id at most: tables keep very many of them.
pub const APPEND_ID_BYTES_MAX: usize = 512;

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
    /// Client-chosen key that makes a retry return the first receipt. At most [`APPEND_ID_BYTES_MAX`] long.
    pub append_id: Option<String>,
    /// Who appends; empty when authentication is off.
    pub principal: String,
    /// The table is made for this append. Then the id is kept without rows too, since the table is what the append did.
    pub creates: bool,
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
    /// Segments written; 0 when the rows are so few that the commit record holds them.
    pub segment_count: u32,
    /// The append id was known: this is the receipt of the first try, and nothing new was written.
    pub repeated: bool,
}
