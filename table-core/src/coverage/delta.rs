//! What one append adds: entities and their buckets, collected while the stream runs.

use std::collections::HashMap;

use super::{CodecError, Runs};
use crate::types::{BucketId, EntityKey};

/// Pairs that one append (or one segment) covers: entity -> buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoverageDelta {
    entities: HashMap<EntityKey, Runs>,
}

impl CoverageDelta {
    /// Adds one pair.
    pub fn insert(&mut self, entity: &EntityKey, bucket: BucketId) {
        todo!()
    }
    /// Adds a batch: row `i` is in `buckets[i]` and belongs to `keys[rows[i]]`. Fast for neighbours that repeat.
    pub fn insert_rows(&mut self, keys: &[EntityKey], rows: &[u32], buckets: &[BucketId]) {
        todo!()
    }
    /// Adds every pair of `other`.
    pub fn union(&mut self, other: &CoverageDelta) {
        todo!()
    }
    /// Entities with their buckets, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&EntityKey, &Runs)> {
        self.entities.iter()
    }
    /// Buckets of one entity.
    pub fn runs(&self, entity: &EntityKey) -> Option<&Runs> {
        self.entities.get(entity)
    }
    /// Number of pairs.
    pub fn pair_count(&self) -> u128 {
        todo!()
    }
    /// Number of entities.
    pub fn entity_count(&self) -> usize {
        self.entities.len()
    }
    /// No pair at all.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }
    /// The stable binary form: entities in key order, runs as zig-zag varint gaps and lengths.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    /// Reads the binary form back; refuses anything not canonical, and never allocates more than the input can justify.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        todo!()
    }
}
