//! The merge of two sides that are sorted by (keys, value): for each left row, the right row that it is joined with. Pure.
//!
//! The right side is seen through a window of one batch. Nothing but its last row with equal values can still be needed once the window
//! moves on; it is carried over as the first row of the next one. So of the right side one batch and one row are held, and of the left
//! side one batch.
//!
//! Right rows that tie in (keys, value) are one answer: the row whose other columns are the greatest, compared from left to right. The
//! order in which they arrive would be another answer with every number of partitions.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::error::Result;

use super::condition::Comparison;
use super::nearness::Nearness;
use super::ordinal::Ordinal;
use super::side::{Compare, Side};

/// Stands for no row.
pub(super) const NONE: u32 = u32::MAX;

/// What the merge cannot go on without.
#[derive(Debug, PartialEq)]
pub(super) enum Need {
    /// All left rows of the batch have their answer.
    Left,
    /// The next batch of the right side, behind this row of the window.
    Right { carry: Option<RecordBatch> },
}

/// The right side as far as it is seen.
struct Window<T: Ordinal> {
    side: Side<T>,
    run: usize,
    /// The first row of the run that does not come before the left row.
    row: usize,
    /// For each row the one that stands for all that tie with it; nothing when none do.
    ties: Option<Vec<u32>>,
}

/// See the module.
pub(super) struct Merge<T: Ordinal> {
    comparison: Comparison,
    nearness: Option<Nearness>,
    /// Positions of the right columns that decide between rows that tie.
    deciding: Vec<usize>,
    left: Option<Side<T>>,
    left_run: usize,
    left_row: usize,
    window: Option<Window<T>>,
    right_done: bool,
    /// Keys of the left batch against those of the window.
    compare: Compare,
    /// Rows of the window for the left rows since they were last taken.
    matched: Vec<u32>,
}

impl<T: Ordinal> Merge<T> {
    pub(super) fn new(
        comparison: Comparison,
        nearness: Option<Nearness>,
        deciding: Vec<usize>,
    ) -> Self {
        Self {
            comparison,
            nearness,
            deciding,
            left: None,
            left_run: 0,
            left_row: 0,
            window: None,
            right_done: false,
            compare: Compare::none(),
            matched: Vec::new(),
        }
    }

    /// The next batch of the left side.
    ///
    /// # Errors
    /// For keys without an order.
    pub(super) fn feed_left(&mut self, side: Side<T>) -> Result<()> {
        (self.left_run, self.left_row) = (0, 0);
        self.left = Some(side);
        self.compare_again()
    }

    /// The next batch of the right side, the row that was carried over in front of it; nothing when there is none. What was matched must
    /// have been taken before.
    ///
    /// # Errors
    /// For keys without an order.
    pub(super) fn feed_right(&mut self, side: Option<Side<T>>) -> Result<()> {
        let Some(side) = side else {
            self.right_done = true;
            return Ok(());
        };
        let row = side.runs.first().map_or(0, |run| run.rows.start);
        let ties = ties(&side, &self.deciding)?;
        self.window = Some(Window { side, run: 0, row, ties });
        self.compare_again()
    }

    fn compare_again(&mut self) -> Result<()> {
        if let (Some(left), Some(window)) = (&self.left, &self.window) {
            self.compare = Compare::try_new(left.keys.iter().zip(&window.side.keys))?;
        }
        Ok(())
    }

    pub(super) fn left(&self) -> Option<&RecordBatch> {
        self.left.as_ref().map(|side| &side.batch)
    }

    /// The batch that the matched rows are of.
    pub(super) fn window(&self) -> Option<&RecordBatch> {
        self.window.as_ref().map(|window| &window.side.batch)
    }

    /// For the left rows since the last call, in their order, the row of the window or [`NONE`].
    pub(super) fn take_matched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.matched)
    }

    /// Goes on as far as it can.
    ///
    /// # Errors
    /// Of Arrow.
    pub(super) fn run(&mut self) -> Result<Need> {
        let Some(left) = &self.left else { return Ok(Need::Left) };
        while let Some(run) = left.runs.get(self.left_run) {
            let (known, matched) = (run.known.clone(), &mut self.matched);
            let none_until = |row: usize, matched: &mut Vec<u32>, end: usize| {
                matched.resize(matched.len() + end.saturating_sub(row), NONE);
                end.max(row)
            };
            self.left_row = none_until(self.left_row, matched, known.start);
            if self.left_row >= known.end {
                self.left_row = none_until(self.left_row, matched, run.rows.end);
                self.left_run += 1;
                continue;
            }
            let ahead = self.window.as_mut().and_then(|window| {
                let run = window.side.runs.get(window.run)?.rows.clone();
                Some((window, run))
            });
            let Some((window, right_run)) = ahead else {
                if !self.right_done {
                    return Ok(Need::Right { carry: None });
                }
                self.left_row = none_until(self.left_row, matched, run.rows.end);
                self.left_run += 1;
                continue;
            };
            match self.compare.rows(self.left_row, right_run.start) {
                Ordering::Less => {
                    self.left_row = none_until(self.left_row, matched, run.rows.end);
                    self.left_run += 1;
                }
                Ordering::Greater => {
                    window.run += 1;
                    window.row = right_run.end;
                }
                Ordering::Equal => {
                    let left_values = &left.values[self.left_row..known.end];
                    let right_values = &window.side.values[right_run.clone()];
                    let scan = Scan {
                        passed: window.row - right_run.start,
                        complete: self.right_done || window.run + 1 < window.side.runs.len(),
                    };
                    let first = matched.len();
                    let scan = match self.comparison {
                        Comparison::AtOrAfter => scan.back(
                            left_values,
                            right_values,
                            |right, left| right <= left,
                            matched,
                        ),
                        Comparison::After => scan.back(
                            left_values,
                            right_values,
                            |right, left| right < left,
                            matched,
                        ),
                        Comparison::AtOrBefore => scan.forth(
                            left_values,
                            right_values,
                            |right, left| right < left,
                            matched,
                        ),
                        Comparison::Before => scan.forth(
                            left_values,
                            right_values,
                            |right, left| right <= left,
                            matched,
                        ),
                    };
                    window.row = right_run.start + scan.passed;
                    let answered = matched.len() - first;
                    let answers = &mut matched[first..];
                    window.settle(answers, right_run.start);
                    if let Some(nearness) = self.nearness {
                        window.drop_far(answers, left_values, nearness, self.comparison);
                    }
                    self.left_row += answered;
                    if self.left_row < known.end {
                        // The rows that tie at the end of the window may have more of them behind it.
                        let carry = match self.comparison.looks_back() {
                            true => right_run.len().checked_sub(1),
                            false => Some(scan.passed).filter(|row| *row < right_run.len()),
                        };
                        let carry = carry.map(|row| window.answer(right_run.start + row));
                        let carry = carry.map(|row| window.side.row(row)).transpose()?;
                        return Ok(Need::Right { carry });
                    }
                }
            }
        }
        Ok(Need::Left)
    }
}

impl<T: Ordinal> Window<T> {
    /// The row that stands for one and those that tie with it.
    fn answer(&self, row: usize) -> u32 {
        match &self.ties {
            Some(ties) => ties[row],
            None => row as u32,
        }
    }

    /// From positions in a run to rows of the window.
    fn settle(&self, answers: &mut [u32], run_start: usize) {
        for answer in answers.iter_mut().filter(|answer| **answer != NONE) {
            *answer = self.answer(run_start + *answer as usize);
        }
    }

    /// Forgets matches that are too far apart.
    fn drop_far(
        &self,
        answers: &mut [u32],
        left_values: &[T],
        nearness: Nearness,
        comparison: Comparison,
    ) {
        for (answer, left) in answers.iter_mut().zip(left_values) {
            if *answer == NONE {
                continue;
            }
            let right = self.side.values[*answer as usize];
            let near = match comparison.looks_back() {
                true => nearness.holds(*left, right),
                false => nearness.holds(right, *left),
            };
            if !near {
                *answer = NONE;
            }
        }
    }
}

/// How far the right values of one key are passed.
#[derive(Debug, Clone, Copy)]
struct Scan {
    /// Right values that come before the left one.
    passed: usize,
    /// Whether there are no more of this key behind them.
    complete: bool,
}

impl Scan {
    /// Answers with the last value that is passed; stops where the next one is not known yet.
    #[inline]
    fn back<T: Ordinal>(
        mut self,
        left: &[T],
        right: &[T],
        passes: impl Fn(T, T) -> bool,
        matched: &mut Vec<u32>,
    ) -> Self {
        let wanted = matched.len() + left.len();
        matched.reserve(left.len());
        for value in left {
            while right.get(self.passed).is_some_and(|right| passes(*right, *value)) {
                self.passed += 1;
            }
            if self.passed == right.len() {
                break;
            }
            // Wraps to `NONE` where nothing is passed.
            matched.push((self.passed as u32).wrapping_sub(1));
        }
        if self.complete {
            matched.resize(wanted, (self.passed as u32).wrapping_sub(1));
        }
        self
    }

    /// Answers with the first value that is not passed; stops where others may tie with it that are not known yet.
    #[inline]
    fn forth<T: Ordinal>(
        mut self,
        left: &[T],
        right: &[T],
        passes: impl Fn(T, T) -> bool,
        matched: &mut Vec<u32>,
    ) -> Self {
        let wanted = matched.len() + left.len();
        matched.reserve(left.len());
        // Those of the last value are an answer only when they are complete.
        let open = right.last().filter(|_| !self.complete);
        for value in left {
            while right.get(self.passed).is_some_and(|right| passes(*right, *value)) {
                self.passed += 1;
            }
            match right.get(self.passed) {
                Some(right) if Some(right) != open => matched.push(self.passed as u32),
                _ => break,
            }
        }
        if self.complete {
            matched.resize(wanted, NONE);
        }
        self
    }
}

/// For each row the one that stands for all that tie with it; nothing when no rows tie, as is usual.
fn ties<T: Ordinal>(side: &Side<T>, deciding: &[usize]) -> Result<Option<Vec<u32>>> {
    let tie = |rows: &std::ops::Range<usize>| {
        side.values[rows.clone()].windows(2).any(|pair| pair[0] == pair[1])
    };
    if !side.runs.iter().any(|run| tie(&run.rows)) {
        return Ok(None);
    }
    let columns: Vec<&ArrayRef> =
        deciding.iter().map(|column| side.batch.column(*column)).collect();
    let compare = Compare::as_far_as_ordered(&columns);
    let mut answers: Vec<u32> = (0..side.row_count() as u32).collect();
    for run in &side.runs {
        let mut start = run.rows.start;
        while start < run.rows.end {
            let mut end = start + 1;
            let mut best = start;
            while end < run.rows.end && side.values[end] == side.values[start] {
                if compare.rows(end, best).is_ge() {
                    best = end;
                }
                end += 1;
            }
            answers[start..end].fill(best as u32);
            start = end;
        }
    }
    Ok(Some(answers))
}
