//! A sorted set of buckets as maximal runs.

use crate::types::BucketId;

/// Consecutive buckets, both ends included. `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// First bucket.
    pub first: BucketId,
    /// Last bucket, included.
    pub last: BucketId,
}

/// A set of buckets: sorted, disjoint, never adjacent runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runs {
    // compact representation inside
}

impl Runs {
    /// Adds one bucket; `true` when it was not there.
    pub fn insert(&mut self, bucket: BucketId) -> bool {
        todo!()
    }
    /// Adds every bucket of `other`.
    pub fn union(&mut self, other: &Runs) {
        todo!()
    }
    /// Whether the bucket is in the set; logarithmic in the runs.
    pub fn contains(&self, bucket: BucketId) -> bool {
        todo!()
    }
    /// Buckets in both sets; costs in proportion to the smaller set (times a logarithm).
    pub fn intersection(&self, other: &Runs) -> Runs {
        todo!()
    }
    /// Number of buckets (a run of the whole of `i64` has 2^64, hence the type).
    pub fn bucket_count(&self) -> u128 {
        todo!()
    }
    /// The runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        std::iter::empty()
    }
    /// No bucket at all.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// First and last bucket.
    pub fn bounds(&self) -> Option<Run> {
        todo!()
    }
}
