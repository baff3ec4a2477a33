//! Gaps and completeness, computed from runs alone.
//!
//! Costs follow the runs, never the span: buckets that no instant falls into are counted by the bucketing, not visited.

use super::{Run, Runs};
use crate::types::{BucketId, Bucketing, EntityKey};

/// Buckets without rows between covered ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose gap.
    pub entity: EntityKey,
    /// The missing buckets, both ends included.
    pub missing: Run,
    /// How many they are; calendar buckets that no instant falls into do not count.
    pub bucket_count: u64,
}

/// How much of a range an entity covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// Whose.
    pub entity: EntityKey,
    /// Buckets in the range.
    pub expected: u64,
    /// Of those, covered.
    pub present: u64,
    /// Last bucket before the first missing one; `None` when the first bucket of the range is missing.
    pub complete_until: Option<BucketId>,
}

/// Buckets of a run that instants fall into; 2^64 (all of `i64`) counts as one less.
fn real_buckets(bucketing: &Bucketing, run: Run) -> u64 {
    let real = run.bucket_count() - u128::from(bucketing.empty_count(run.first, run.last));
    u64::try_from(real).unwrap_or(u64::MAX)
}

/// The runs between `runs` that lie inside `window` and hold at least one real bucket.
fn missing_runs(runs: &Runs, bucketing: &Bucketing, window: Run) -> impl Iterator<Item = Run> {
    // First bucket not looked at yet; `None` behind the last of i64.
    let mut next = Some(window.first);
    let mut covered = runs.within(window);
    let mut done = false;
    std::iter::from_fn(move || {
        while !done {
            let run = covered.next();
            let from = next;
            let until = match run {
                Some(run) => {
                    next = run.last.0.checked_add(1).map(BucketId);
                    run.first.0.checked_sub(1).map(BucketId)
                }
                None => {
                    done = true;
                    Some(window.last)
                }
            };
            if let (Some(first), Some(last)) = (from, until)
                && first <= last
                && real_buckets(bucketing, Run { first, last }) > 0
            {
                return Some(Run { first, last });
            }
        }
        None
    })
}

/// The gaps in the runs of one entity, with the number of their buckets: between its first and last bucket, or inside `range`.
pub fn gaps_of(
    runs: &Runs,
    bucketing: &Bucketing,
    range: Option<Run>,
) -> impl Iterator<Item = (Run, u64)> {
    let window = range.or_else(|| runs.bounds());
    let missing = window.into_iter().flat_map(|window| missing_runs(runs, bucketing, window));
    missing.map(|missing| (missing, real_buckets(bucketing, missing)))
}

/// How much of `range` one entity covers.
pub fn completeness_of(
    entity: EntityKey,
    runs: &Runs,
    bucketing: &Bucketing,
    range: Run,
) -> Completeness {
    let present: u128 =
        runs.within(range).map(|run| u128::from(real_buckets(bucketing, run))).sum();
    // Everything covered before the first missing bucket ends the complete part.
    let complete_until = match missing_runs(runs, bucketing, range).next() {
        Some(missing) => missing.first.0.checked_sub(1).and_then(|last| {
            let before = Run { first: range.first, last: BucketId(last) };
            (before.first <= before.last)
                .then(|| runs.within(before).last())
                .flatten()
                .map(|run| run.last)
        }),
        None => runs.within(range).last().map(|run| run.last),
    };
    Completeness {
        entity,
        expected: real_buckets(bucketing, range),
        present: u64::try_from(present).unwrap_or(u64::MAX),
        complete_until,
    }
}
