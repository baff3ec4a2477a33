//! Entity keys to small numbers, append-only and shared by every clone of a table's coverage.
//!
//! Keys are packed into pages, so that a million entities cost their bytes, an offset and a slot each. Which of the
//! numbers a snapshot knows is the index's business: numbers are never taken back, also when a commit fails.

use std::hash::{BuildHasher, RandomState};

/// Number of an interned key.
pub(super) type EntityId = u32;

/// Keys in one page.
const PAGE_KEYS: usize = 1_024;
/// Marks a free slot; also the first number that cannot be given out.
const FREE: EntityId = EntityId::MAX;

#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
}

/// The keys, and an open-addressing hash table of their numbers: a map that owned its keys would store each twice.
#[derive(Debug, Default)]
pub(super) struct Interner {
    pages: Vec<Page>,
    count: usize,
    /// A power of two of slots, or none; at most three quarters are taken.
    slots: Vec<EntityId>,
    /// Keyed at random per process: clients choose entity names.
    hasher: RandomState,
    key_bytes: usize,
}

impl Interner {
    /// Number of a key, if it has one.
    pub(super) fn find(&self, key: &[u8]) -> Option<EntityId> {
        self.slots.get(self.slot(key)?).copied().filter(|id| *id != FREE)
    }

    /// Number of a key, given out now if it has none. `None` when all numbers are used up.
    pub(super) fn intern(&mut self, key: &[u8]) -> Option<EntityId> {
        if let Some(id) = self.find(key) {
            return Some(id);
        }
        let id = EntityId::try_from(self.count).ok().filter(|id| *id != FREE)?;
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        if self.count.is_multiple_of(PAGE_KEYS) {
            if let Some(full) = self.pages.last_mut() {
                full.bytes.shrink_to_fit();
            }
            self.pages.push(Page { bytes: Vec::new(), ends: Vec::with_capacity(PAGE_KEYS) });
        }
        if let Some(page) = self.pages.last_mut() {
            page.bytes.extend_from_slice(key);
            page.ends.push(page.bytes.len());
        }
        self.count += 1;
        self.key_bytes += key.len();
        let slot = self.slot(key)?;
        *self.slots.get_mut(slot)? = id;
        Some(id)
    }

    /// The key of a number; empty for one that was never given out.
    pub(super) fn key(&self, id: EntityId) -> &[u8] {
        let id = id as usize;
        let Some(page) = self.pages.get(id / PAGE_KEYS) else {
            return &[];
        };
        let position = id % PAGE_KEYS;
        let start = position.checked_sub(1).and_then(|before| page.ends.get(before)).unwrap_or(&0);
        let end = page.ends.get(position).unwrap_or(start);
        page.bytes.get(*start..*end).unwrap_or_default()
    }

    /// Bytes of heap memory.
    pub(super) fn heap_bytes(&self) -> usize {
        let last_spare =
            self.pages.last().map_or(0, |page| page.bytes.capacity() - page.bytes.len());
        self.key_bytes
            + last_spare
            + self.pages.len() * PAGE_KEYS * size_of::<usize>()
            + self.pages.capacity() * size_of::<Page>()
            + self.slots.capacity() * size_of::<EntityId>()
    }

    /// Slot that holds the key, or the free one where it belongs; `None` without slots.
    fn slot(&self, key: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = self.hasher.hash_one(key) as usize & mask;
        // Ends: a quarter of the slots is free.
        while let Some(id) = self.slots.get(slot)
            && *id != FREE
            && self.key(*id) != key
        {
            slot = (slot + 1) & mask;
        }
        Some(slot)
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(16);
        self.slots = vec![FREE; size];
        for id in 0..self.count as EntityId {
            // Keys are distinct, so only a free slot is needed; comparing them again would double the cost.
            let mut slot = self.hasher.hash_one(self.key(id)) as usize & (size - 1);
            while self.slots.get(slot).is_some_and(|taken| *taken != FREE) {
                slot = (slot + 1) & (size - 1);
            }
            if let Some(free) = self.slots.get_mut(slot) {
                *free = id;
            }
        }
    }
}
