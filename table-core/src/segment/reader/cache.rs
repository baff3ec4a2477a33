//! [`SegmentCache`]: footers of segments and which of their row groups have been verified. Segments never change, so an
//! entry never becomes stale; the least recently used ones make room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use parquet::file::metadata::ParquetMetaData;

use crate::types::SegmentId;

/// Bytes of decoded footers and page indexes that a [`SegmentCache`] keeps by default.
pub const SEGMENT_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// What is known of a segment file once its footer has been read and verified.
#[derive(Debug)]
pub(super) struct CachedSegment {
    metadata: Arc<ParquetMetaData>,
    verified: Box<[AtomicBool]>,
}

impl CachedSegment {
    pub(super) fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    /// Whether the bytes of a row group have matched their checksum once in this process.
    pub(super) fn is_verified(&self, row_group: usize) -> bool {
        self.verified.get(row_group).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    pub(super) fn set_verified(&self, row_group: usize) {
        if let Some(flag) = self.verified.get(row_group) {
            flag.store(true, Ordering::Release);
        }
    }

    fn memory_bytes(&self) -> usize {
        self.metadata.memory_size() + self.verified.len() + size_of::<Self>()
    }
}

/// Footers of segments, shared by all scans of a catalog. Bounded by bytes.
#[derive(Debug)]
pub struct SegmentCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<SegmentId, Entry>,
    /// Least recently used first; the key is the entry's `used`.
    by_use: BTreeMap<u64, SegmentId>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    segment: Arc<CachedSegment>,
    bytes: usize,
    used: u64,
}

impl Default for SegmentCache {
    fn default() -> Self {
        Self::new(SEGMENT_CACHE_BYTES)
    }
}

impl SegmentCache {
    /// A cache that keeps at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::new(State::default()) }
    }

    /// Bytes in use.
    pub fn memory_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<Arc<CachedSegment>> {
        let mut state = self.state.lock();
        let used = state.tick();
        let entry = state.entries.get_mut(&id)?;
        let before = std::mem::replace(&mut entry.used, used);
        let segment = Arc::clone(&entry.segment);
        state.by_use.remove(&before);
        state.by_use.insert(used, id);
        Some(segment)
    }

    /// Keeps a footer. When another scan was faster, its entry stays and is returned, with what it has verified.
    pub(super) fn insert(
        &self,
        id: SegmentId,
        metadata: Arc<ParquetMetaData>,
        row_groups: usize,
    ) -> Arc<CachedSegment> {
        if let Some(there) = self.get(id) {
            return there;
        }
        let verified = (0..row_groups).map(|_| AtomicBool::new(false)).collect();
        let segment = Arc::new(CachedSegment { metadata, verified });
        let bytes = segment.memory_bytes();
        let mut state = self.state.lock();
        let used = state.tick();
        let entry = Entry { segment: Arc::clone(&segment), bytes, used };
        if let Some(replaced) = state.entries.insert(id, entry) {
            state.by_use.remove(&replaced.used);
            state.bytes -= replaced.bytes;
        }
        state.by_use.insert(used, id);
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some(evicted) = state.entries.remove(&oldest) {
                state.bytes -= evicted.bytes;
            }
        }
        segment
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}
