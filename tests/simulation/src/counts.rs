//! [`Counts`]: what a run reached. A simulator that is too tame finds nothing, so tests ask for each of these.

use std::ops::AddAssign;

use crate::store::StoreCounts;

/// How often things happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Runs.
    pub seeds: u64,
    /// Calls of clients that were answered.
    pub answered: u64,
    /// Appends that were acknowledged as new.
    pub acknowledged: u64,
    /// Of these, written as segments.
    pub as_segments: u64,
    /// Retries answered with the first receipt.
    pub first_receipts: u64,
    /// Appends refused for an overlap.
    pub overlaps: u64,
    /// Appends refused for another reason, for the time being.
    pub refused: u64,
    /// Append ids refused for other rows.
    pub ids_refused: u64,
    /// Appends whose outcome the client was not told.
    pub unknown: u64,
    /// Of these, those that are in the log in the end, though no try was acknowledged.
    pub unknown_and_committed: u64,
    /// Calls that clients gave up.
    pub given_up: u64,
    /// Reads of the newest version.
    pub reads: u64,
    /// Reads of older versions.
    pub old_reads: u64,
    /// Versions that hold more than one append.
    pub shared_versions: u64,
    /// Flushes that committed.
    pub flushes: u64,
    /// Checkpoints written on demand.
    pub checkpoints: u64,
    /// Tables created and dropped again.
    pub tables_dropped: u64,
    /// Servers killed while they served.
    pub crashes: u64,
    /// Servers killed while they opened the root.
    pub crashes_while_opening: u64,
    /// Starts that failed for want of the storage.
    pub failed_starts: u64,
    /// Servers that ended themselves since an outcome was unknown.
    pub servers_ended_themselves: u64,
    /// Starts that found versions which no client was told of.
    pub rolled_forward: u64,
    /// Tables that another server created at the same time.
    pub creations_lost: u64,
    /// Jumps of wall clocks.
    pub clock_jumps: u64,
    /// Times that the storage went down.
    pub storage_restarts: u64,
    /// Seen from the storage.
    pub store: StoreCounts,
}

/// Does the same to every field.
macro_rules! fields {
    ($each:ident) => {
        $each!(
            seeds,
            answered,
            acknowledged,
            as_segments,
            first_receipts,
            overlaps,
            refused,
            ids_refused,
            unknown,
            unknown_and_committed,
            given_up,
            reads,
            old_reads,
            shared_versions,
            flushes,
            checkpoints,
            tables_dropped,
            crashes,
            crashes_while_opening,
            failed_starts,
            servers_ended_themselves,
            rolled_forward,
            creations_lost,
            clock_jumps,
            storage_restarts,
            store.operations,
            store.conflicts,
            store.self_conflicts,
            store.ambiguous_puts,
            store.late_puts,
            store.met_outage,
            store.orphaned
        )
    };
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        macro_rules! add {
            ($($($field:ident).+),+) => { $(self.$($field).+ += other.$($field).+;)+ };
        }
        fields!(add);
    }
}

impl Counts {
    /// Every count with its name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        macro_rules! list {
            ($($($field:ident).+),+) => { vec![$((stringify!($($field).+), self.$($field).+)),+] };
        }
        fields!(list)
    }
}
