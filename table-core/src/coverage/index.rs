//! The table-wide index: entity id -> runs and number of rows, as a persistent value.
//!
//! Clones share the interner, so an id means the same key in all of them; each clone has its own vector of entities. A clone
//! that was grown and dropped (a commit that failed) leaves ids behind: for every other clone they are out of range or
//! hold no runs, and neither counts as an entity.

use std::num::NonZeroU64;
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
    entities: Vector<Covered>,
    entity_count: usize,
    pair_count: u128,
    /// Rows of the entities whose rows are known.
    row_count: u64,
    /// Entities whose rows are not known.
    uncounted: usize,
    /// Heap bytes of the runs, kept up to date because a table-wide sum would be too slow to ask for often.
    runs_bytes: usize,
}

/// What is known of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Covered {
    /// Empty when the entity is none of this clone's.
    runs: Runs,
    /// `None` when a record did not say how many it brought, as those of the first releases did not.
    rows: Option<NonZeroU64>,
}

/// Coverage as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedCoverage {
    /// Pairs, see [`CoverageDelta::encode`].
    pub pairs: Vec<u8>,
    /// Rows of each entity in key order, 0 where they are not known; empty when none are.
    pub rows: Vec<u64>,
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

    /// Adds the pairs. How many rows they hold is not known then.
    pub fn add(&mut self, delta: &CoverageDelta) {
        for (entity, runs) in delta.iter() {
            self.add_runs(&entity.0, runs, None);
        }
    }

    /// Adds the pairs of an encoded delta, entity by entity: a delta of a million entities is never in memory as a whole.
    /// `rows` are the rows that come with each entity, in key order (0 for one whose rows came with an earlier delta), or
    /// nothing when they are not known. Returns how many of the pairs were covered already. After an error the coverage holds
    /// some of them.
    ///
    /// # Errors
    /// When the bytes are not what [`CoverageDelta::encode`] writes, or the rows do not fit to them.
    pub fn add_encoded(&mut self, delta: &[u8], rows: &[u64]) -> Result<u128, CodecError> {
        let mut pairs: u128 = 0;
        let before = self.pair_count;
        let (mut entities, mut bare) = (0, None);
        codec::decode(delta, |entity, runs| {
            pairs += runs.bucket_count();
            let known = self.add_runs(entity, &runs, rows.get(entities).copied());
            if !known && rows.get(entities) == Some(&0) {
                bare.get_or_insert(entities);
            }
            entities += 1;
        })?;
        check_counts(rows, entities)?;
        match bare {
            Some(entity) => Err(CodecError::NoRows { entity }),
            None => Ok(pairs - (self.pair_count - before)),
        }
    }

    /// Adds buckets of an entity and the rows in them, as far as those are known. Returns whether the entity was there before.
    fn add_runs(&mut self, entity: &[u8], runs: &Runs, rows: Option<u64>) -> bool {
        if runs.is_empty() {
            return true;
        }
        // The read lock first: most appends name known entities, and readers must not wait for them.
        let known = self.interner.read().find(entity);
        let Some(id) = known.or_else(|| self.interner.write().intern(entity)) else {
            // 2^32 entities need 200 GB of index; the process is gone before this line is reached.
            return true;
        };
        while self.entities.len() <= id as usize {
            self.entities.push_back(Covered::default());
        }
        let Some(covered) = self.entities.get_mut(id as usize) else {
            return true;
        };
        let bytes_before = covered.runs.heap_bytes();
        let is_known = !covered.runs.is_empty();
        let before = if is_known { covered.rows.map(NonZeroU64::get) } else { Some(0) };
        let after = before.zip(rows).and_then(|(before, more)| before.checked_add(more));
        covered.rows = after.and_then(NonZeroU64::new);
        self.uncounted -= usize::from(is_known && before.is_none());
        self.uncounted += usize::from(covered.rows.is_none());
        // What one entity has never is more than what all have, whose sum the table checks.
        self.row_count = self
            .row_count
            .wrapping_sub(before.unwrap_or_default())
            .wrapping_add(covered.rows.map_or(0, NonZeroU64::get));
        self.entity_count += usize::from(!is_known);
        self.pair_count += covered.runs.union(runs);
        self.runs_bytes =
            (self.runs_bytes + covered.runs.heap_bytes()).saturating_sub(bytes_before);
        is_known
    }

    /// Buckets of one entity.
    pub fn runs(&self, entity: &EntityKey) -> Option<&Runs> {
        self.covered(entity).map(|covered| &covered.runs)
    }

    /// Rows of one entity; `None` when it has no bucket, or when its rows are not known.
    pub fn rows(&self, entity: &EntityKey) -> Option<u64> {
        self.covered(entity)?.rows.map(NonZeroU64::get)
    }

    /// Rows of all entities; `None` when those of one are not known.
    pub fn row_count(&self) -> Option<u64> {
        (self.uncounted == 0).then_some(self.row_count)
    }

    fn covered(&self, entity: &EntityKey) -> Option<&Covered> {
        let id = self.interner.read().find(&entity.0)?;
        self.entities.get(id as usize).filter(|covered| !covered.runs.is_empty())
    }

    /// Entities in no particular order with their runs; the cheap way to visit all of them.
    pub fn iter(&self) -> impl Iterator<Item = (EntityKey, &Runs)> + '_ {
        self.iter_covered().map(|(key, covered)| (key, &covered.runs))
    }

    fn iter_covered(&self) -> impl Iterator<Item = (EntityKey, &Covered)> + '_ {
        let present = |(_, covered): &(usize, &Covered)| !covered.runs.is_empty();
        self.entities.iter().enumerate().filter(present).map(|(id, covered)| {
            let key = EntityKey(self.interner.read().key(id as EntityId).into());
            (key, covered)
        })
    }

    /// Entities in key order with their runs.
    pub fn iter_sorted(&self) -> impl Iterator<Item = (EntityKey, Runs)> + '_ {
        self.sorted().into_iter().map(|(key, covered)| (key, covered.runs.clone()))
    }

    /// Entities in key order with their rows, as far as those are known.
    pub fn rows_sorted(&self) -> impl Iterator<Item = (EntityKey, Option<u64>)> + '_ {
        let rows = |covered: &Covered| covered.rows.map(NonZeroU64::get);
        self.sorted().into_iter().map(move |(key, covered)| (key, rows(covered)))
    }

    fn sorted(&self) -> Vec<(EntityKey, &Covered)> {
        let mut entities: Vec<_> = self.iter_covered().collect();
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
        for (entity, covered) in self.sorted() {
            let gaps = gaps::gaps_of(&covered.runs, bucketing, range);
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
            .map(|(entity, covered)| gaps::completeness_of(entity, &covered.runs, bucketing, range))
            .collect()
    }

    /// All pairs in their binary form, see [`CoverageDelta::encode`].
    pub fn encode(&self) -> Vec<u8> {
        encode_pairs(&self.sorted())
    }

    /// The folded coverage for a checkpoint.
    pub fn fold(&self) -> FoldedCoverage {
        let entities = self.sorted();
        let pairs = encode_pairs(&entities);
        let all_unknown = self.uncounted == self.entity_count;
        let counted = if all_unknown { &[][..] } else { &entities[..] };
        let rows = |(_, covered): &(EntityKey, &Covered)| covered.rows.map_or(0, NonZeroU64::get);
        FoldedCoverage { pairs, rows: counted.iter().map(rows).collect() }
    }

    /// Reads the binary form of all pairs back, and beside it the rows of each entity as [`FoldedCoverage`] has them; refuses
    /// anything not canonical, and never allocates more than the input can justify.
    ///
    /// # Errors
    /// When the bytes are not what [`Coverage::encode`] writes, or the rows do not fit to them.
    pub fn decode(pairs: &[u8], rows: &[u64]) -> Result<Self, CodecError> {
        let mut coverage = Self::default();
        let mut entities = 0;
        codec::decode(pairs, |key, runs| {
            let rows = rows.get(entities).copied().filter(|rows| *rows > 0);
            coverage.add_runs(key, &runs, rows);
            entities += 1;
        })?;
        check_counts(rows, entities)?;
        Ok(coverage)
    }

    /// A 64-bit digest of the pairs that does not depend on the order in which entities arrived (C17).
    pub fn digest(&self) -> u64 {
        self.digest_of(|bytes, key, covered| codec::put_entity(bytes, key, &covered.runs))
    }

    /// The same of the rows of each entity; 0 when none are known.
    pub fn rows_digest(&self) -> u64 {
        self.digest_of(|bytes, key, covered| {
            if let Some(rows) = covered.rows {
                bytes.extend_from_slice(&rows.get().to_le_bytes());
                bytes.extend_from_slice(key);
            }
        })
    }

    /// The sum of the hashes of what `put` writes of each entity, but for those of which it writes nothing.
    fn digest_of(&self, put: impl Fn(&mut Vec<u8>, &[u8], &Covered)) -> u64 {
        let mut digest: u64 = 0;
        let mut bytes = Vec::new();
        let entities = self.entities.iter().enumerate();
        for (id, covered) in entities.filter(|(_, covered)| !covered.runs.is_empty()) {
            bytes.clear();
            put(&mut bytes, self.interner.read().key(id as EntityId), covered);
            if bytes.is_empty() {
                continue;
            }
            let hash = blake3::hash(&bytes);
            let word = hash.as_bytes().first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            digest = digest.wrapping_add(word);
        }
        digest
    }

    /// Bytes of heap memory, estimated: runs, counts, keys and hash table. Keys are shared with every clone.
    pub fn memory_bytes(&self) -> usize {
        // Leaves of the vector hold 64 values, inner nodes a pointer to each; both may be partly empty.
        let leaves = self.entities.len().div_ceil(64) * (64 * size_of::<Covered>() + 64);
        self.runs_bytes + leaves + self.interner.read().heap_bytes()
    }
}

impl PartialEq for Coverage {
    /// The same pairs and rows, whatever the ids.
    fn eq(&self, other: &Self) -> bool {
        self.entity_count == other.entity_count
            && self.pair_count == other.pair_count
            && self.iter_covered().all(|(entity, covered)| other.covered(&entity) == Some(covered))
    }
}

impl Eq for Coverage {}

fn encode_pairs(entities: &[(EntityKey, &Covered)]) -> Vec<u8> {
    codec::encode(entities.iter().map(|(key, covered)| (&*key.0, &covered.runs)))
}

/// There are as many counts as entities, or none at all.
fn check_counts(rows: &[u64], entities: usize) -> Result<(), CodecError> {
    match rows.len() {
        counts if counts == entities || counts == 0 => Ok(()),
        counts => Err(CodecError::RowCounts { counts, entities }),
    }
}
