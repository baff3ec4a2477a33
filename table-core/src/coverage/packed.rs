//! A few runs in one heap block: offsets from the first bucket, in the narrowest integer that holds them.
//!
//! The block is shared between clones and copied when a shared one changes. Which width to use is `runs`'.

use std::sync::Arc;

use super::runs::{PACKED_RUNS_MAX, Run};
use crate::types::BucketId;

/// Two to [`PACKED_RUNS_MAX`] runs.
#[derive(Clone)]
pub(super) struct Packed<T> {
    /// First bucket of the first run.
    base: i64,
    /// Slot 0 holds the number of runs (a field of its own would cost 8 bytes per entity); then per run the offset of its
    /// first bucket from `base`, and its length minus 1; then spare slots.
    slots: Arc<[(T, T)]>,
}

/// Heap bytes of an `Arc` besides its content.
const ARC_BYTES: usize = 16;

impl<T> Packed<T>
where
    T: Copy + Default + Into<u64> + TryFrom<u64>,
{
    /// The runs must fit; those that do not are cut off, which the caller rules out.
    pub(super) fn new(runs: &[Run], spare: bool) -> Self {
        let base = runs.first().map_or(0, |run| run.first.0);
        let spare = if spare { runs.len() / 2 } else { 0 };
        let count = T::try_from(runs.len() as u64).unwrap_or_default();
        let slots = std::iter::once((count, T::default()))
            .chain(runs.iter().filter_map(|run| slot_of(base, *run)))
            .chain(std::iter::repeat_n((T::default(), T::default()), spare));
        Self { base, slots: slots.collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.first().map_or(0, |slot| slot.0.into() as usize)
    }

    pub(super) fn get(&self, position: usize) -> Option<Run> {
        if position >= self.len() {
            return None;
        }
        self.slots.get(position + 1).map(|slot| self.run_of(*slot))
    }

    pub(super) fn last(&self) -> Option<Run> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Position of the first run that ends at `bucket` or after it.
    pub(super) fn position(&self, bucket: BucketId) -> usize {
        let runs = self.slots.get(1..=self.len()).unwrap_or_default();
        runs.partition_point(|slot| self.run_of(*slot).last < bucket)
    }

    /// Moves the end of the last run; `false` when it does not fit.
    pub(super) fn set_last(&mut self, to: BucketId) -> bool {
        let Some(slot) = self.last().and_then(|run| slot_of(self.base, Run { last: to, ..run }))
        else {
            return false;
        };
        // Without this check the end of the last run could lie beyond what the width was chosen for.
        if T::try_from(to.0.abs_diff(self.base)).is_err() {
            return false;
        }
        let len = self.len();
        match Arc::make_mut(&mut self.slots).get_mut(len) {
            Some(last) => *last = slot,
            None => return false,
        }
        true
    }

    /// Adds a run after the last one; `false` when it does not fit.
    pub(super) fn push(&mut self, run: Run) -> bool {
        let len = self.len();
        let (Some(slot), Ok(count)) = (slot_of(self.base, run), T::try_from(len as u64 + 1)) else {
            return false;
        };
        if len >= PACKED_RUNS_MAX || T::try_from(run.last.0.abs_diff(self.base)).is_err() {
            return false;
        }
        let slots = Arc::make_mut(&mut self.slots);
        let (Some(header), true) = (slots.first().copied(), slots.len() > len + 1) else {
            return false;
        };
        if let Some(free) = slots.get_mut(len + 1) {
            *free = slot;
        }
        if let Some(first) = slots.first_mut() {
            *first = (count, header.1);
        }
        true
    }

    pub(super) fn heap_bytes(&self) -> usize {
        ARC_BYTES + std::mem::size_of_val(&*self.slots)
    }

    fn run_of(&self, (offset, more): (T, T)) -> Run {
        // Wrapping is exact here: the true sums lie in i64, only the intermediate casts do not.
        let first = self.base.wrapping_add_unsigned(offset.into());
        Run { first: BucketId(first), last: BucketId(first.wrapping_add_unsigned(more.into())) }
    }
}

fn slot_of<T: TryFrom<u64>>(base: i64, run: Run) -> Option<(T, T)> {
    let offset = T::try_from(run.first.0.abs_diff(base)).ok()?;
    let more = T::try_from(run.last.0.abs_diff(run.first.0)).ok()?;
    Some((offset, more))
}
