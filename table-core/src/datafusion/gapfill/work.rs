//! Rows bucket by bucket: how many of them can be written, what is missing between them, and what a fill knows there. Pure.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{cast, concat, partition};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;

use super::buckets::order;
use super::filler::Layout;
use super::functions::Filling;
use super::internal;
use super::node::Window;
use super::page::{Page, PageFill};
use crate::segment::buffer::index_values;
use crate::types::BucketId;

/// Where writing is.
#[derive(Debug)]
pub(super) struct Place {
    /// The next bucket of the group of the next row; `None` when all are written.
    pub(super) next: Option<(BucketId, i64)>,
    /// Whether a group has begun that the next row belongs to.
    pub(super) inside: bool,
    /// For each fill what is known from rows of the group that are gone.
    pub(super) known: Vec<Known>,
}

/// The last value of a group, for one fill.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Nothing,
    /// To be carried: an array of one.
    Value(ArrayRef),
    /// To be interpolated from: where, and what.
    Point(i64, f64),
}

/// Rows whose fate is known.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) rows: RecordBatch,
    /// Starts of their buckets.
    starts: ScalarBuffer<i64>,
    /// How many of them can be written; the others wait.
    pub(super) resolved: usize,
    /// Rows that begin a group and are not the first row, in order.
    boundaries: Vec<usize>,
    /// How many of them have been passed.
    passed: usize,
    row: usize,
    /// For each fill where its values come from.
    pub(super) sources: Vec<Source>,
}

#[derive(Debug)]
pub(super) enum Source {
    Locf {
        /// The column, behind the value known from before, if there is one.
        values: ArrayRef,
        offset: u32,
        /// What is carried at the moment.
        carried: Option<u32>,
    },
    Interpolate {
        values: Float64Array,
        /// For each row the first with a value from there on, in its group.
        next: Vec<Option<u32>>,
        before: Option<(i64, f64)>,
    },
}

impl Source {
    /// Bytes beside those of the rows.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Locf { offset: 0, .. } => 0,
            Self::Locf { values, .. } => values.get_array_memory_size(),
            Self::Interpolate { values, next, .. } => {
                values.get_array_memory_size() + next.capacity() * size_of::<Option<u32>>()
            }
        }
    }
}

impl Work {
    /// Bytes that are kept.
    pub(super) fn memory_bytes(&self) -> usize {
        let sources = self.sources.iter().map(Source::memory_bytes).sum::<usize>();
        self.rows.get_array_memory_size()
            + sources
            + self.boundaries.capacity() * size_of::<usize>()
    }

    pub(super) fn new(
        layout: &Layout,
        rows: RecordBatch,
        place: &Place,
        ended: bool,
    ) -> Result<Self> {
        let count = rows.num_rows();
        let starts = index_values(rows.column(layout.bucket))
            .filter(|_| rows.column(layout.bucket).null_count() == 0)
            .ok_or_else(|| internal("a row without a bucket came to gap filling"))?;
        let keys: Vec<ArrayRef> =
            layout.keys().map(|position| Arc::clone(rows.column(position))).collect();
        let groups: Vec<Range<usize>> = match (keys.is_empty(), count) {
            (_, 0) => Vec::new(),
            (true, _) => std::iter::once(0..count).collect(),
            (false, _) => partition(&keys)?.ranges(),
        };
        // Without the row behind it, or the end, nobody knows whether a group goes on.
        let mut resolved = if ended { count } else { count.saturating_sub(1) };
        let mut sources = Vec::with_capacity(layout.fills.len());
        for (fill, known) in layout.fills.iter().zip(&place.known) {
            let column = rows.column(fill.column);
            sources.push(match fill.filling {
                Filling::Locf => match known {
                    Known::Value(value) => Source::Locf {
                        values: concat(&[value.as_ref(), column.as_ref()])?,
                        offset: 1,
                        carried: Some(0),
                    },
                    _ => Source::Locf { values: Arc::clone(column), offset: 0, carried: None },
                },
                Filling::Interpolate => {
                    let values = cast(column, &DataType::Float64)?;
                    let values = values.as_primitive::<Float64Type>().clone();
                    let (next, open_from) = following(&values, &groups);
                    if !ended {
                        resolved = resolved.min(open_from);
                    }
                    let before = match known {
                        Known::Point(at, value) => Some((*at, *value)),
                        _ => None,
                    };
                    Source::Interpolate { values, next, before }
                }
            });
        }
        let boundaries = groups.iter().skip(1).map(|group| group.start).collect();
        Ok(Self { rows, starts, resolved, boundaries, passed: 0, row: 0, sources })
    }

    /// Writes until the page is full (`false`) or nothing can be written any more (`true`).
    pub(super) fn write(
        &mut self,
        layout: &Layout,
        place: &mut Place,
        page: &mut Page,
        ended: bool,
    ) -> Result<bool> {
        let window = &layout.window;
        let order = order(window.buckets.index());
        if self.rows.num_rows() == 0 && !place.inside {
            self.open(window, place);
        }
        loop {
            let begins = self.boundaries.get(self.passed) == Some(&self.row);
            if self.row < self.resolved || (begins && self.row == self.resolved) {
                if begins && place.inside {
                    // What the group before lacks at its end.
                    while let Some((_, start)) = place.next {
                        if page.is_full() {
                            return Ok(false);
                        }
                        self.write_missing(page, start, Some(self.row - 1), None);
                        place.next = advance(window, place.next);
                    }
                    place.inside = false;
                }
                if self.row == self.resolved {
                    return Ok(true);
                }
                if !place.inside {
                    self.open(window, place);
                    if begins {
                        self.passed += 1;
                    }
                }
                let row_start = self.starts.get(self.row).copied().unwrap_or_default();
                while let Some((_, start)) = place.next
                    && order(start) < order(row_start)
                {
                    if page.is_full() {
                        return Ok(false);
                    }
                    self.write_missing(page, start, Some(self.row), Some(self.row));
                    place.next = advance(window, place.next);
                }
                if page.is_full() {
                    return Ok(false);
                }
                if place.next.is_none_or(|(_, start)| start != row_start) {
                    return Err(internal(format!(
                        "gap filling got bucket {} where it is not next",
                        window.buckets.format(row_start)
                    )));
                }
                self.write_row(page, row_start);
                place.next = advance(window, place.next);
                self.row += 1;
                continue;
            }
            if ended && self.resolved == self.rows.num_rows() {
                while let Some((_, start)) = place.next {
                    if page.is_full() {
                        return Ok(false);
                    }
                    self.write_missing(page, start, self.row.checked_sub(1), None);
                    place.next = advance(window, place.next);
                }
            }
            return Ok(true);
        }
    }

    /// Begins a group: all buckets are to come, and nothing is known.
    fn open(&mut self, window: &Window, place: &mut Place) {
        place.inside = true;
        place.next = first_from(window, window.first);
        for source in &mut self.sources {
            match source {
                Source::Locf { carried, .. } => *carried = None,
                Source::Interpolate { before, .. } => *before = None,
            }
        }
    }

    /// Writes a bucket without a row. `keys` is a row of its group, `ahead` the row behind it in its group.
    fn write_missing(
        &self,
        page: &mut Page,
        start: i64,
        keys: Option<usize>,
        ahead: Option<usize>,
    ) {
        page.starts.push(start);
        page.keys.push(keys.map_or(0, index));
        page.rows.push(None);
        page.made += 1;
        for (source, column) in self.sources.iter().zip(&mut page.fills) {
            match (source, column) {
                (Source::Locf { carried, .. }, PageFill::Rows(rows)) => rows.push(*carried),
                (Source::Interpolate { values, next, before }, PageFill::Values(filled)) => {
                    let after = ahead.and_then(|row| next.get(row).copied().flatten());
                    let after = after.and_then(|row| self.point(values, row));
                    filled.push(between(*before, after, start, page.flip));
                }
                _ => {}
            }
        }
    }

    fn write_row(&mut self, page: &mut Page, start: i64) {
        let row = self.row;
        page.starts.push(start);
        page.keys.push(index(row));
        page.rows.push(Some(index(row)));
        for (source, column) in self.sources.iter_mut().zip(&mut page.fills) {
            match (source, column) {
                (Source::Locf { values, offset, carried }, PageFill::Rows(rows)) => {
                    let at = index(row) + *offset;
                    if values.is_valid(at as usize) {
                        *carried = Some(at);
                    }
                    rows.push(*carried);
                }
                (Source::Interpolate { values, next, before }, PageFill::Values(filled)) => {
                    if values.is_valid(row) {
                        let value = values.value(row);
                        *before = Some((start, value));
                        filled.push(Some(value));
                    } else {
                        let after = next.get(row).copied().flatten();
                        let after = after.and_then(|row| {
                            let at = *self.starts.get(row as usize)?;
                            Some((at, values.value(row as usize)))
                        });
                        filled.push(between(*before, after, start, page.flip));
                    }
                }
                _ => {}
            }
        }
    }

    fn point(&self, values: &Float64Array, row: u32) -> Option<(i64, f64)> {
        let row = row as usize;
        Some((*self.starts.get(row)?, values.value(row)))
    }
}

/// Row numbers of batches, which Arrow's kernels take as 32 bits; a batch has fewer rows than that.
fn index(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// For each row the first with a value from there on in its group; and from which row on that is open, because the last group
/// may go on.
fn following(values: &Float64Array, groups: &[Range<usize>]) -> (Vec<Option<u32>>, usize) {
    let mut next = vec![None; values.len()];
    let mut open_from = values.len();
    for (number, group) in groups.iter().enumerate().rev() {
        let mut found = None;
        for row in group.clone().rev() {
            if values.is_valid(row) {
                found = Some(index(row));
            } else if found.is_none() && number + 1 == groups.len() {
                open_from = row;
            }
            if let Some(slot) = next.get_mut(row) {
                *slot = found;
            }
        }
    }
    (next, open_from)
}

/// On the line between two points; `None` unless both are there.
#[allow(
    clippy::cast_precision_loss,
    reason = "a share of a distance: more digits than a float has do not matter"
)]
fn between(
    before: Option<(i64, f64)>,
    after: Option<(i64, f64)>,
    at: i64,
    flip: i64,
) -> Option<f64> {
    let ((from, low), (to, high)) = (before?, after?);
    let distance = |a: i64, b: i64| (i128::from(b ^ flip) - i128::from(a ^ flip)) as f64;
    if low == high {
        // A share of it and the rest of it may add up to a neighbour of it.
        return Some(low);
    }
    let share = distance(from, at) / distance(from, to);
    // Not `low + (high - low) * share`: the difference may be infinite where both values are not.
    Some(low * (1.0 - share) + high * share)
}

fn first_from(window: &Window, from: BucketId) -> Option<(BucketId, i64)> {
    let mut bucket = from;
    while bucket <= window.last {
        if !window.buckets.is_empty(bucket) {
            return Some((bucket, window.buckets.start(bucket)));
        }
        bucket = BucketId(bucket.0.checked_add(1)?);
    }
    None
}

fn advance(window: &Window, place: Option<(BucketId, i64)>) -> Option<(BucketId, i64)> {
    first_from(window, BucketId(place?.0.0.checked_add(1)?))
}
