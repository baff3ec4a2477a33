//! Gaps and completeness, computed from runs alone.

use super::Run;
use crate::types::EntityKey;

/// Buckets without rows between covered ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose gap.
    pub entity: EntityKey,
    /// The missing buckets, both ends included.
    pub missing: Run,
    /// How many they are; calendar buckets that no instant falls into do not count.
    pub bucket_count: u64,
}

/// How much of a range an entity covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// Whose.
    pub entity: EntityKey,
    /// Buckets in the range.
    pub expected: u64,
    /// Of those, covered.
    pub present: u64,
    /// Last bucket before the first missing one; `None` when the first bucket of the range is missing.
    pub complete_until: Option<crate::types::BucketId>,
}
