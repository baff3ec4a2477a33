//! The table-wide index: entity id -> runs, as a persistent value.
//!
//! Clones share the interner, so an id means the same key in all of them; each clone has its own vector of runs. A clone
//! that was grown and dropped (a commit that failed) leaves ids behind: for every other clone they are out of range or
//! hold no runs, and neither counts as an entity.

use std::sync::Arc;

use imbl::Vector;

use super::intern::{EntityId, Interner};
use super::{CodecError, Completeness, CoverageDelta, Gap, Run, Runs, codec, gaps};
use crate::sync::RwLock;
use crate::types::{BucketId, Bucketing, EntityKey};

/// All covered pairs of a table at one version. Clones share everything; an addition copies only what it touches.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    interner: Arc<RwLock<Interner>>,
    runs: Vector<Runs>,
    entity_count: usize,
    pair_count: u128,
    /// Heap bytes of the runs, kept up to date because a table-wide sum would be too slow to ask for often.
    runs_bytes: usize,
}

impl Coverage {
    /// Pairs of `delta` that are covered already; empty when there is no overlap.
    pub fn overlap(&self, delta: &CoverageDelta) -> CoverageDelta {
        let mut overlap = CoverageDelta::default();
        for (entity, runs) in delta.iter() {
            if let Some(covered) = self.runs(entity) {
                overlap.insert_runs(entity, &covered.intersection(runs));
            }
        }
        overlap
    }

    /// Whether one pair is covered.
    pub fn contains(&self, entity: &EntityKey, bucket: BucketId) -> bool {
        self.runs(entity).is_some_and(|runs| runs.contains(bucket))
    }

    /// Adds the pairs.
    pub fn add(&mut self, delta: &CoverageDelta) {
        for (entity, runs) in delta.iter() {
            self.add_runs(&entity.0, runs);
        }
    }

    /// Adds the pairs of an encoded delta, entity by entity: a delta of a million entities is never in memory as a whole.
    /// Returns how many of them were covered already. After an error the coverage holds some of them.
    ///
    /// # Errors
    /// When the bytes are not what [`CoverageDelta::encode`] writes.
    pub fn add_encoded(&mut self, delta: &[u8]) -> Result<u128, CodecError> {
        let mut pairs: u128 = 0;
        let before = self.pair_count;
        codec::decode(delta, |entity, runs| {
            pairs += runs.bucket_count();
            self.add_runs(entity, &runs);
        })?;
        Ok(pairs - (self.pair_count - before))
    }

    fn add_runs(&mut self, entity: &[u8], runs: &Runs) {
        if runs.is_empty() {
            return;
        }
        // The read lock first: most appends name known entities, and readers must not wait for them.
        let known = self.interner.read().find(entity);
        let Some(id) = known.or_else(|| self.interner.write().intern(entity)) else {
            // 2^32 entities need 200 GB of index; the process is gone before this line is reached.
            return;
        };
        while self.runs.len() <= id as usize {
            self.runs.push_back(Runs::default());
        }
        let Some(covered) = self.runs.get_mut(id as usize) else {
            return;
        };
        let bytes_before = covered.heap_bytes();
        if covered.is_empty() {
            self.entity_count += 1;
        }
        self.pair_count += covered.union(runs);
        self.runs_bytes = (self.runs_bytes + covered.heap_bytes()).saturating_sub(bytes_before);
    }

    /// Buckets of one entity.
    pub fn runs(&self, entity: &EntityKey) -> Option<&Runs> {
        let id = self.interner.read().find(&entity.0)?;
        self.runs.get(id as usize).filter(|runs| !runs.is_empty())
    }

    /// Entities in no particular order with their runs; the cheap way to visit all of them.
    pub fn iter(&self) -> impl Iterator<Item = (EntityKey, &Runs)> + '_ {
        self.runs.iter().enumerate().filter(|(_, runs)| !runs.is_empty()).map(|(id, runs)| {
            let key = EntityKey(self.interner.read().key(id as EntityId).into());
            (key, runs)
        })
    }

    /// Entities in key order with their runs.
    pub fn iter_sorted(&self) -> impl Iterator<Item = (EntityKey, Runs)> + '_ {
        self.sorted().into_iter().map(|(key, runs)| (key, runs.clone()))
    }

    fn sorted(&self) -> Vec<(EntityKey, &Runs)> {
        let mut entities: Vec<_> = self.iter().collect();
        entities.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        entities
    }

    /// Number of entities.
    pub fn entity_count(&self) -> usize {
        self.entity_count
    }

    /// Number of covered pairs.
    pub fn pair_count(&self) -> u128 {
        self.pair_count
    }

    /// No pair at all.
    pub fn is_empty(&self) -> bool {
        self.entity_count == 0
    }

    /// Missing buckets of each entity, in key order: between its first and last covered bucket, or inside `range` (where an
    /// entity without any bucket in the range shows as one gap over it).
    pub fn gaps(&self, bucketing: &Bucketing, range: Option<Run>) -> Vec<Gap> {
        let mut found = Vec::new();
        for (entity, runs) in self.sorted() {
            let gaps = gaps::gaps_of(runs, bucketing, range);
            found.extend(gaps.map(|(missing, bucket_count)| Gap {
                entity: entity.clone(),
                missing,
                bucket_count,
            }));
        }
        found
    }

    /// Completeness of each entity over `range`, in key order.
    pub fn completeness(&self, bucketing: &Bucketing, range: Run) -> Vec<Completeness> {
        self.sorted()
            .into_iter()
            .map(|(entity, runs)| gaps::completeness_of(entity, runs, bucketing, range))
            .collect()
    }

    /// The folded coverage for a checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        let entities = self.sorted();
        codec::encode(entities.iter().map(|(key, runs)| (&*key.0, *runs)))
    }

    /// Reads a checkpoint's coverage back; refuses anything not canonical, and never allocates more than the input can
    /// justify.
    ///
    /// # Errors
    /// When the bytes are not what [`Coverage::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut coverage = Self::default();
        codec::decode(bytes, |key, runs| coverage.add_runs(key, &runs))?;
        Ok(coverage)
    }

    /// A 64-bit digest that does not depend on the order in which entities arrived (C17).
    pub fn digest(&self) -> u64 {
        let mut digest: u64 = 0;
        let mut bytes = Vec::new();
        for (id, runs) in self.runs.iter().enumerate().filter(|(_, runs)| !runs.is_empty()) {
            bytes.clear();
            codec::put_entity(&mut bytes, self.interner.read().key(id as EntityId), runs);
            let hash = blake3::hash(&bytes);
            let word = hash.as_bytes().first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            digest = digest.wrapping_add(word);
        }
        digest
    }

    /// Bytes of heap memory, estimated: runs, keys and hash table. Keys are shared with every clone.
    pub fn memory_bytes(&self) -> usize {
        // Leaves of the vector hold 64 values, inner nodes a pointer to each; both may be partly empty.
        let leaves = self.runs.len().div_ceil(64) * (64 * size_of::<Runs>() + 64);
        self.runs_bytes + leaves + self.interner.read().heap_bytes()
    }
}

impl PartialEq for Coverage {
    /// The same pairs, whatever the ids.
    fn eq(&self, other: &Self) -> bool {
        self.entity_count == other.entity_count
            && self.pair_count == other.pair_count
            && self.iter().all(|(entity, runs)| other.runs(&entity) == Some(runs))
    }
}

impl Eq for Coverage {}
