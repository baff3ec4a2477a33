//! What one append adds: entities and their buckets, collected while the stream runs.

use std::collections::HashMap;

use super::{CodecError, Run, Runs, codec};
use crate::types::{BucketId, EntityKey};

/// Pairs that one append (or one segment) covers: entity -> buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoverageDelta {
    /// No entity is without buckets.
    entities: HashMap<EntityKey, Runs>,
}

impl CoverageDelta {
    /// Adds one pair.
    pub fn insert(&mut self, entity: &EntityKey, bucket: BucketId) {
        self.of(entity).insert(bucket);
    }

    /// Adds buckets of one entity.
    pub fn insert_runs(&mut self, entity: &EntityKey, runs: &Runs) {
        if !runs.is_empty() {
            self.of(entity).union(runs);
        }
    }

    /// Adds a batch: row `i` is in `buckets[i]` and belongs to `keys[rows[i]]`. Fast for neighbours that repeat.
    pub fn insert_rows(&mut self, keys: &[EntityKey], rows: &[u32], buckets: &[BucketId]) {
        // Collected by position first: rows that alternate between entities then cost no hashing.
        let mut found = vec![Runs::default(); keys.len()];
        let mut rows = rows.iter().copied().zip(buckets.iter().copied());
        let mut current = rows.next();
        while let Some((row, first)) = current {
            // The stretch of rows of one entity whose buckets repeat or move to the next bucket is one run.
            let mut run = Run { first, last: first };
            current = rows.next();
            while let Some((next_row, bucket)) = current
                && next_row == row
                && (bucket == run.last || run.last.0.checked_add(1) == Some(bucket.0))
            {
                run.last = bucket;
                current = rows.next();
            }
            if let Some(runs) = found.get_mut(row as usize) {
                runs.insert_run(run);
            }
        }
        for (key, runs) in keys.iter().zip(&found) {
            self.insert_runs(key, runs);
        }
    }

    /// Adds every pair of `other`.
    pub fn union(&mut self, other: &CoverageDelta) {
        for (entity, runs) in other.iter() {
            self.insert_runs(entity, runs);
        }
    }

    /// Takes an entity out, with its buckets.
    pub fn remove(&mut self, entity: &EntityKey) -> Runs {
        self.entities.remove(entity).unwrap_or_default()
    }

    /// The buckets of an entity, to add to.
    fn of(&mut self, entity: &EntityKey) -> &mut Runs {
        self.entities.entry(entity.clone()).or_default()
    }

    /// Entities with their buckets, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&EntityKey, &Runs)> {
        self.entities.iter()
    }

    /// Entities with their buckets, in key order.
    pub fn iter_sorted(&self) -> impl Iterator<Item = (&EntityKey, &Runs)> {
        let mut entities: Vec<_> = self.entities.iter().collect();
        entities.sort_unstable_by_key(|(key, _)| *key);
        entities.into_iter()
    }

    /// Buckets of one entity.
    pub fn runs(&self, entity: &EntityKey) -> Option<&Runs> {
        self.entities.get(entity)
    }

    /// Whether one pair is in it.
    pub fn contains(&self, entity: &EntityKey, bucket: BucketId) -> bool {
        self.runs(entity).is_some_and(|runs| runs.contains(bucket))
    }

    /// The first pair in key and bucket order: the example that messages show.
    pub fn first(&self) -> Option<(&EntityKey, BucketId)> {
        let (entity, runs) = self.entities.iter().min_by_key(|(key, _)| *key)?;
        Some((entity, runs.bounds()?.first))
    }

    /// Number of pairs.
    pub fn pair_count(&self) -> u128 {
        self.entities.values().map(Runs::bucket_count).sum()
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
        let entities: Vec<_> = self.iter_sorted().collect();
        codec::encode(entities.into_iter().map(|(key, runs)| (&*key.0, runs)))
    }

    /// Reads the binary form back; refuses anything not canonical, and never allocates more than the input can justify.
    ///
    /// # Errors
    /// When the bytes are not what [`CoverageDelta::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut entities = HashMap::new();
        codec::decode(bytes, |key, runs| {
            entities.insert(EntityKey(key.into()), runs);
        })?;
        Ok(Self { entities })
    }
}
