//! How many rows each entity has in one append, counted while the stream runs.
//!
//! A table's counts are sums of these and live in [`Coverage`](super::Coverage), beside the runs of each entity.

use std::collections::HashMap;

use super::CoverageDelta;
use crate::types::EntityKey;

/// Rows of each entity of one append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityRows {
    rows: HashMap<EntityKey, u64>,
}

impl EntityRows {
    /// Counts a batch of `row_count` rows: row `i` belongs to `keys[rows[i]]`, or all to the one key there is when `rows` is empty.
    pub fn count(&mut self, keys: &[EntityKey], rows: &[u32], row_count: usize) {
        // Counted by position first: rows that alternate between entities then cost no hashing.
        let mut found = vec![0_u64; keys.len()];
        for row in rows {
            if let Some(count) = found.get_mut(*row as usize) {
                *count += 1;
            }
        }
        if let (true, [count]) = (rows.is_empty(), found.as_mut_slice()) {
            *count = row_count as u64;
        }
        for (key, count) in keys.iter().zip(found) {
            match self.rows.get_mut(key) {
                Some(rows) => *rows += count,
                None => {
                    self.rows.insert(key.clone(), count);
                }
            }
        }
    }

    /// The counts of the entities of `delta` in key order, as its record holds them: those that are in `counted` have 0, because
    /// an earlier delta of the append carries theirs.
    pub fn beside(&self, delta: &CoverageDelta, counted: &CoverageDelta) -> Vec<u64> {
        let rows = delta.iter_sorted().map(|(entity, _)| match counted.runs(entity) {
            Some(_) => 0,
            None => self.rows.get(entity).copied().unwrap_or_default(),
        });
        rows.collect()
    }
}
