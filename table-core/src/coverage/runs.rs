//! A sorted set of buckets as maximal runs.
//!
//! Owns the memory layout: nothing for an empty set, one run inline, then offsets from a base packed in 16, 32 or 64 bits
//! (in `packed`), then a persistent tree, so that neither a long history nor a shared one is copied whole.

use std::fmt;

use imbl::OrdMap;

use super::packed::Packed;
use crate::types::BucketId;

/// Consecutive buckets, both ends included. `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// First bucket.
    pub first: BucketId,
    /// Last bucket, included.
    pub last: BucketId,
}

impl Run {
    /// Number of buckets (the whole of `i64` has 2^64, hence the type).
    pub fn bucket_count(&self) -> u128 {
        u128::from(self.last.0.abs_diff(self.first.0)) + 1
    }

    /// The buckets in both runs.
    pub fn intersection(&self, other: Run) -> Option<Run> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        (first <= last).then_some(Run { first, last })
    }

    /// Whether the union of both is one run: they share a bucket or are neighbours.
    fn touches(&self, other: Run) -> bool {
        self.first.0 <= other.last.0.saturating_add(1)
            && other.first.0 <= self.last.0.saturating_add(1)
    }
}

/// Runs in one packed block; beyond it they move into a tree. Bounds what an insertion in the middle copies.
pub(super) const PACKED_RUNS_MAX: usize = 1_024;

/// A set of buckets: sorted, disjoint, never adjacent runs.
#[derive(Clone, Default)]
pub struct Runs(Form);

#[derive(Clone, Default)]
enum Form {
    #[default]
    Empty,
    One(Run),
    Narrow(Packed<u16>),
    Middle(Packed<u32>),
    Wide(Packed<u64>),
    /// First bucket -> last bucket.
    Tree(OrdMap<i64, i64>),
}

impl Runs {
    /// Adds one bucket; `true` when it was not there.
    pub fn insert(&mut self, bucket: BucketId) -> bool {
        self.insert_run(Run { first: bucket, last: bucket }) > 0
    }

    /// Adds a run; how many of its buckets were not there.
    pub fn insert_run(&mut self, run: Run) -> u128 {
        let Some(last) = self.last_run() else {
            self.0 = Form::One(run);
            return run.bucket_count();
        };
        if last.first <= run.first {
            // The common cases, all at the end of the set: nothing new, a longer last run, one more run.
            if run.last <= last.last {
                return 0;
            }
            if last.touches(run) {
                let added = u128::from(run.last.0.abs_diff(last.last.0));
                self.set_last(run.last);
                return added;
            }
            self.push(run);
            return run.bucket_count();
        }
        match &mut self.0 {
            Form::Tree(tree) => insert_in_tree(tree, run),
            _ => {
                let before = self.bucket_count();
                *self = merged(self.iter(), std::iter::once(run));
                self.bucket_count() - before
            }
        }
    }

    /// Adds every bucket of `other`; how many of them were not there.
    pub fn union(&mut self, other: &Runs) -> u128 {
        let Some(bounds) = other.bounds() else {
            return 0;
        };
        let appends = self.last_run().is_none_or(|last| last.first <= bounds.first);
        if appends || matches!(self.0, Form::Tree(_)) || other.run_count() == 1 {
            return other.iter().map(|run| self.insert_run(run)).sum();
        }
        let before = self.bucket_count();
        *self = merged(self.iter(), other.iter());
        self.bucket_count() - before
    }

    /// Whether the bucket is in the set; logarithmic in the runs.
    pub fn contains(&self, bucket: BucketId) -> bool {
        self.iter_from(bucket).next().is_some_and(|run| run.first <= bucket)
    }

    /// Buckets in both sets; costs in proportion to the smaller set (times a logarithm) and the result.
    pub fn intersection(&self, other: &Runs) -> Runs {
        let (small, large) =
            if self.run_count() <= other.run_count() { (self, other) } else { (other, self) };
        let mut shared = Runs::default();
        for run in small.iter() {
            for run in large.within(run) {
                shared.insert_run(run);
            }
        }
        shared
    }

    /// Number of buckets (a run of the whole of `i64` has 2^64, hence the type).
    pub fn bucket_count(&self) -> u128 {
        self.iter().map(|run| run.bucket_count()).sum()
    }

    /// Number of runs.
    pub fn run_count(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::One(_) => 1,
            Form::Narrow(packed) => packed.len(),
            Form::Middle(packed) => packed.len(),
            Form::Wide(packed) => packed.len(),
            Form::Tree(tree) => tree.len(),
        }
    }

    /// The runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        self.iter_from(BucketId(i64::MIN))
    }

    /// The parts of the runs that lie inside `window`, in order; costs a logarithm and the result.
    pub fn within(&self, window: Run) -> impl Iterator<Item = Run> + '_ {
        self.iter_from(window.first).map_while(move |run| run.intersection(window))
    }

    /// The runs that end at `bucket` or after it, in order.
    fn iter_from(&self, bucket: BucketId) -> RunIter<'_> {
        match &self.0 {
            Form::Empty => RunIter::One(None),
            Form::One(run) => RunIter::One(Some(*run).filter(|run| run.last >= bucket)),
            Form::Narrow(packed) => RunIter::Narrow(packed, packed.position(bucket)),
            Form::Middle(packed) => RunIter::Middle(packed, packed.position(bucket)),
            Form::Wide(packed) => RunIter::Wide(packed, packed.position(bucket)),
            Form::Tree(tree) => {
                let from = match tree.get_prev(&bucket.0) {
                    Some((first, last)) if *last >= bucket.0 => *first,
                    _ => bucket.0,
                };
                RunIter::Tree(tree.range(from..))
            }
        }
    }

    /// No bucket at all.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Form::Empty)
    }

    /// First and last bucket.
    pub fn bounds(&self) -> Option<Run> {
        let first = self.iter().next()?.first;
        Some(Run { first, last: self.last_run()?.last })
    }

    /// Bytes on the heap, estimated; blocks shared with other sets are counted in full.
    pub fn heap_bytes(&self) -> usize {
        /// A tree node holds up to 32 entries of 16 bytes and is at least half full after splits.
        const TREE_RUN_BYTES: usize = 32;
        match &self.0 {
            Form::Empty | Form::One(_) => 0,
            Form::Narrow(packed) => packed.heap_bytes(),
            Form::Middle(packed) => packed.heap_bytes(),
            Form::Wide(packed) => packed.heap_bytes(),
            Form::Tree(tree) => tree.len() * TREE_RUN_BYTES,
        }
    }

    fn last_run(&self) -> Option<Run> {
        match &self.0 {
            Form::Empty => None,
            Form::One(run) => Some(*run),
            Form::Narrow(packed) => packed.last(),
            Form::Middle(packed) => packed.last(),
            Form::Wide(packed) => packed.last(),
            Form::Tree(tree) => tree.get_max().map(|(first, last)| run_of(*first, *last)),
        }
    }

    /// Moves the end of the last run.
    fn set_last(&mut self, to: BucketId) {
        let fits = match &mut self.0 {
            Form::Empty => true,
            Form::One(run) => {
                run.last = to;
                true
            }
            Form::Narrow(packed) => packed.set_last(to),
            Form::Middle(packed) => packed.set_last(to),
            Form::Wide(packed) => packed.set_last(to),
            Form::Tree(tree) => {
                if let Some((first, _)) = tree.get_max().copied() {
                    tree.insert(first, to.0);
                }
                true
            }
        };
        if !fits {
            let mut runs: Vec<Run> = self.iter().collect();
            if let Some(run) = runs.last_mut() {
                run.last = to;
            }
            *self = Self::from_sorted(runs, true);
        }
    }

    /// Adds a run after the last one.
    fn push(&mut self, run: Run) {
        let fits = match &mut self.0 {
            Form::Empty | Form::One(_) => false,
            Form::Narrow(packed) => packed.push(run),
            Form::Middle(packed) => packed.push(run),
            Form::Wide(packed) => packed.push(run),
            Form::Tree(tree) => {
                tree.insert(run.first.0, run.last.0);
                true
            }
        };
        if !fits {
            *self = Self::from_sorted(self.iter().chain([run]).collect(), true);
        }
    }

    /// The smallest form of sorted, disjoint, non-adjacent runs; with room to grow at the end if `spare`.
    pub(super) fn from_sorted(runs: Vec<Run>, spare: bool) -> Self {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Self::default();
        };
        if runs.len() == 1 {
            return Self(Form::One(*first));
        }
        if runs.len() > PACKED_RUNS_MAX {
            return Self(Form::Tree(
                runs.into_iter().map(|run| (run.first.0, run.last.0)).collect(),
            ));
        }
        let span = last.last.0.abs_diff(first.first.0);
        Self(if u16::try_from(span).is_ok() {
            Form::Narrow(Packed::new(&runs, spare))
        } else if u32::try_from(span).is_ok() {
            Form::Middle(Packed::new(&runs, spare))
        } else {
            Form::Wide(Packed::new(&runs, spare))
        })
    }
}

impl PartialEq for Runs {
    /// The same buckets, in whatever form.
    fn eq(&self, other: &Self) -> bool {
        self.run_count() == other.run_count() && self.iter().eq(other.iter())
    }
}

impl Eq for Runs {}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|run| run.first.0..=run.last.0)).finish()
    }
}

impl FromIterator<BucketId> for Runs {
    fn from_iter<I: IntoIterator<Item = BucketId>>(buckets: I) -> Self {
        let mut runs = Self::default();
        for bucket in buckets {
            runs.insert(bucket);
        }
        runs
    }
}

fn run_of(first: i64, last: i64) -> Run {
    Run { first: BucketId(first), last: BucketId(last) }
}

fn insert_in_tree(tree: &mut OrdMap<i64, i64>, run: Run) -> u128 {
    let (mut first, mut last) = (run.first.0, run.last.0);
    let mut known = 0;
    if let Some((before, end)) = tree.get_prev(&first).map(|(first, last)| (*first, *last))
        && run_of(before, end).touches(run)
    {
        known += run_of(before, end).bucket_count();
        first = before;
        last = last.max(end);
        tree.remove(&before);
    }
    while let Some((next, end)) = tree.get_next(&first).map(|(first, last)| (*first, *last))
        && next <= last.saturating_add(1)
    {
        known += run_of(next, end).bucket_count();
        last = last.max(end);
        tree.remove(&next);
    }
    tree.insert(first, last);
    run_of(first, last).bucket_count() - known
}

/// Both sorted sequences as one set.
fn merged(left: impl Iterator<Item = Run>, right: impl Iterator<Item = Run>) -> Runs {
    let mut left = left.peekable();
    let mut right = right.peekable();
    let mut runs: Vec<Run> = Vec::new();
    loop {
        let run = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if b.first < a.first => right.next(),
            (Some(_), _) => left.next(),
            (None, _) => right.next(),
        };
        let Some(run) = run else {
            return Runs::from_sorted(runs, true);
        };
        match runs.last_mut() {
            Some(last) if last.touches(run) => last.last = last.last.max(run.last),
            _ => runs.push(run),
        }
    }
}

enum RunIter<'a> {
    One(Option<Run>),
    Narrow(&'a Packed<u16>, usize),
    Middle(&'a Packed<u32>, usize),
    Wide(&'a Packed<u64>, usize),
    Tree(imbl::ordmap::RangedIter<'a, i64, i64, imbl::shared_ptr::DefaultSharedPtr>),
}

impl Iterator for RunIter<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let run = match self {
            Self::One(run) => return run.take(),
            Self::Tree(iter) => return iter.next().map(|(first, last)| run_of(*first, *last)),
            Self::Narrow(packed, next) => (packed.get(*next), next),
            Self::Middle(packed, next) => (packed.get(*next), next),
            Self::Wide(packed, next) => (packed.get(*next), next),
        };
        *run.1 += usize::from(run.0.is_some());
        run.0
    }
}
