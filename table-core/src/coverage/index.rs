//! The table-wide index: entity id -> runs, as a persistent value.

use super::{CodecError, Completeness, CoverageDelta, Gap, Run, Runs};
use crate::types::{BucketId, Bucketing, EntityKey};

/// All covered pairs of a table at one version. Clones share everything; an addition copies only what it touches.
#[derive(Debug, Clone, Default)]
pub struct Coverage {}

impl Coverage {
    /// Pairs of `delta` that are covered already; empty when there is no overlap.
    pub fn overlap(&self, delta: &CoverageDelta) -> CoverageDelta {
        todo!()
    }
    /// Whether one pair is covered.
    pub fn contains(&self, entity: &EntityKey, bucket: BucketId) -> bool {
        todo!()
    }
    /// Adds the pairs.
    pub fn add(&mut self, delta: &CoverageDelta) {
        todo!()
    }
    /// Buckets of one entity.
    pub fn runs(&self, entity: &EntityKey) -> Option<&Runs> {
        todo!()
    }
    /// Entities in key order with their runs.
    pub fn iter_sorted(&self) -> impl Iterator<Item = (EntityKey, Runs)> + '_ {
        std::iter::empty()
    }
    /// Number of entities.
    pub fn entity_count(&self) -> usize {
        todo!()
    }
    /// Number of covered pairs.
    pub fn pair_count(&self) -> u128 {
        todo!()
    }
    /// Missing buckets of each entity, in key order: between its first and last covered bucket, or inside `range`.
    pub fn gaps(&self, bucketing: &Bucketing, range: Option<Run>) -> Vec<Gap> {
        todo!()
    }
    /// Completeness of each entity over `range`, in key order.
    pub fn completeness(&self, bucketing: &Bucketing, range: Run) -> Vec<Completeness> {
        todo!()
    }
    /// The folded coverage for a checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    /// Reads a checkpoint's coverage back.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        todo!()
    }
    /// A 64-bit digest that does not depend on the order in which entities arrived (C17).
    pub fn digest(&self) -> u64 {
        todo!()
    }
    /// Bytes of heap memory, estimated.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}
