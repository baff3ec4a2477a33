//! Rows in, rows with gaps filled out: everything but waiting. Pure.
//!
//! Rows come sorted by (keys, bucket). Those whose fate is known are written with the buckets missing before them, in batches
//! of bounded size: missing buckets are made as they are written, never kept. A row waits for the one behind it, which tells
//! whether its group ends, and where something is interpolated for the next row of its group with a value.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::{cast, concat, concat_batches, partition, take};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use datafusion::error::Result;

use super::buckets::order;
use super::functions::Filling;
use super::internal;
use super::node::{Fill, Window};
use crate::segment::buffer::index_values;
use crate::types::BucketId;

/// What the columns are: group expressions, aggregates, and in the output the fills.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of the output.
    pub(super) schema: SchemaRef,
    pub(super) group_count: usize,
    pub(super) bucket: usize,
    pub(super) window: Window,
    pub(super) fills: Vec<Fill>,
}

impl Layout {
    /// Positions of the group expressions that are no bucket.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> {
        (0..self.group_count).filter(|position| *position != self.bucket)
    }

    fn has_keys(&self) -> bool {
        self.group_count > 1
    }

    fn input_count(&self) -> usize {
        self.schema.fields().len() - self.fills.len()
    }
}

/// Fills the gaps of one partition.
#[derive(Debug)]
pub(super) struct Filler {
    layout: Arc<Layout>,
    batch_rows: usize,
    /// Rows not looked at yet; the first batch may be rows that were, and wait.
    pending: Vec<RecordBatch>,
    /// Rows that wait from before.
    waiting: usize,
    ended: bool,
    /// Whether a row was ever taken.
    any: bool,
    work: Option<Work>,
    place: Place,
}

/// Where writing is.
#[derive(Debug)]
struct Place {
    /// The next bucket of the group of the next row; `None` when all are written.
    next: Option<(BucketId, i64)>,
    /// Whether a group has begun that the next row belongs to.
    inside: bool,
    /// For each fill what is known from rows of the group that are gone.
    known: Vec<Known>,
}

/// The last value of a group, for one fill.
#[derive(Debug, Clone)]
enum Known {
    Nothing,
    /// To be carried: an array of one.
    Value(ArrayRef),
    /// To be interpolated from: where, and what.
    Point(i64, f64),
}

/// Rows whose fate is known.
#[derive(Debug)]
struct Work {
    rows: RecordBatch,
    /// Starts of their buckets.
    starts: ScalarBuffer<i64>,
    /// How many of them can be written; the others wait.
    resolved: usize,
    /// Rows that begin a group and are not the first row, in order.
    boundaries: Vec<usize>,
    /// How many of them have been passed.
    passed: usize,
    row: usize,
    /// For each fill where its values come from.
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
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

impl Filler {
    pub(super) fn new(layout: Arc<Layout>, batch_rows: usize) -> Self {
        let known = vec![Known::Nothing; layout.fills.len()];
        Self {
            layout,
            batch_rows: batch_rows.max(1),
            pending: Vec::new(),
            waiting: 0,
            ended: false,
            any: false,
            work: None,
            place: Place { next: None, inside: false, known },
        }
    }

    /// Takes the next rows.
    pub(super) fn push(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.any = true;
            self.pending.push(rows);
        }
    }

    /// No more rows will come.
    pub(super) fn finish(&mut self) {
        self.ended = true;
    }

    /// Bytes that are kept for later.
    pub(super) fn memory_bytes(&self) -> usize {
        let pending = self.pending.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        pending + self.work.as_ref().map_or(0, |work| work.rows.get_array_memory_size())
    }

    /// The next batch, and how many of its rows have no data; `None` when more rows are needed, or nothing is left.
    pub(super) fn next(&mut self) -> Result<Option<(RecordBatch, usize)>> {
        loop {
            if self.work.is_none() && !self.begin()? {
                return Ok(None);
            }
            let Some(mut work) = self.work.take() else { return Ok(None) };
            let mut page = Page::new(&self.layout, self.batch_rows);
            let all = work.write(&self.layout, &mut self.place, &mut page, self.ended)?;
            let batch = page.batch(&self.layout, &work)?;
            if all {
                self.end(work);
            } else {
                self.work = Some(work);
            }
            if batch.0.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    /// Looks at the rows that came; whether some can be written.
    fn begin(&mut self) -> Result<bool> {
        let rows: usize = self.pending.iter().map(RecordBatch::num_rows).sum();
        let new = rows - self.waiting;
        if rows == 0 {
            // Without other keys there is one group, whether it has rows or not.
            if self.ended && !self.any && !self.layout.has_keys() {
                self.any = true;
                let fields: Vec<_> = self
                    .layout
                    .schema
                    .fields()
                    .iter()
                    .take(self.layout.input_count())
                    .cloned()
                    .collect();
                let schema = Arc::new(arrow::datatypes::Schema::new(fields));
                self.work = Some(Work::new(
                    &self.layout,
                    RecordBatch::new_empty(schema),
                    &self.place,
                    true,
                )?);
                return Ok(true);
            }
            return Ok(false);
        }
        // Looking again at what waits costs as much as looking at what is new, so it is done when there is as much of that.
        if !self.ended && (new == 0 || new < self.waiting) {
            return Ok(false);
        }
        let Some(first) = self.pending.first() else { return Ok(false) };
        let rows = concat_batches(&first.schema(), &self.pending)?;
        self.pending.clear();
        let work = Work::new(&self.layout, rows, &self.place, self.ended)?;
        if work.resolved == 0 {
            self.waiting = work.rows.num_rows();
            self.pending.push(work.rows);
            return Ok(false);
        }
        self.work = Some(work);
        Ok(true)
    }

    /// Keeps the rows that wait, and what they need to know.
    fn end(&mut self, work: Work) {
        let left = work.rows.num_rows() - work.resolved;
        self.waiting = left;
        for (known, source) in self.place.known.iter_mut().zip(&work.sources) {
            *known = match source {
                Source::Locf { values, carried: Some(row), .. } => {
                    Known::Value(values.slice(*row as usize, 1))
                }
                Source::Interpolate { before: Some((at, value)), .. } => Known::Point(*at, *value),
                _ => Known::Nothing,
            };
        }
        if left > 0 {
            self.pending.insert(0, work.rows.slice(work.resolved, left));
        }
    }
}

impl Work {
    fn new(layout: &Layout, rows: RecordBatch, place: &Place, ended: bool) -> Result<Self> {
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
    fn write(
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

/// An output batch in the making, as rows of the input and starts of buckets.
struct Page {
    capacity: usize,
    flip: i64,
    starts: Vec<i64>,
    keys: Vec<u32>,
    rows: Vec<Option<u32>>,
    fills: Vec<PageFill>,
    made: usize,
}

enum PageFill {
    Rows(Vec<Option<u32>>),
    Values(Vec<Option<f64>>),
}

impl Page {
    fn new(layout: &Layout, capacity: usize) -> Self {
        let fills = layout.fills.iter().map(|fill| match fill.filling {
            Filling::Locf => PageFill::Rows(Vec::new()),
            Filling::Interpolate => PageFill::Values(Vec::new()),
        });
        Self {
            capacity,
            flip: order(layout.window.buckets.index())(0),
            starts: Vec::new(),
            keys: Vec::new(),
            rows: Vec::new(),
            fills: fills.collect(),
            made: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.starts.len() >= self.capacity
    }

    fn batch(self, layout: &Layout, work: &Work) -> Result<(RecordBatch, usize)> {
        let count = self.starts.len();
        let keys = UInt32Array::from(self.keys);
        let rows = optional(&self.rows);
        let mut starts = Some(self.starts);
        let mut columns = Vec::with_capacity(layout.schema.fields().len());
        for position in 0..layout.input_count() {
            let column = work.rows.columns().get(position);
            columns.push(match (starts.take_if(|_| position == layout.bucket), column) {
                (Some(starts), _) => layout.window.buckets.array(starts)?,
                (None, Some(column)) if position < layout.group_count => take(column, &keys, None)?,
                (None, Some(column)) => taken(column, &rows)?,
                (None, None) => return Err(internal("gap filling lacks a column")),
            });
        }
        for (fill, source) in self.fills.into_iter().zip(&work.sources) {
            columns.push(match (fill, source) {
                (PageFill::Rows(rows), Source::Locf { values, .. }) => {
                    taken(values, &optional(&rows))?
                }
                (PageFill::Values(values), _) => Arc::new(Float64Array::from(values)),
                (PageFill::Rows(_), Source::Interpolate { .. }) => {
                    return Err(internal("a fill has values of another"));
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&layout.schema), columns, &options)?;
        Ok((batch, self.made))
    }
}

fn optional(rows: &[Option<u32>]) -> UInt32Array {
    let valid =
        BooleanBuffer::collect_bool(rows.len(), |at| rows.get(at).is_some_and(Option::is_some));
    let values: Vec<u32> = rows.iter().map(|row| row.unwrap_or(0)).collect();
    UInt32Array::new(
        values.into(),
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0),
    )
}

fn taken(column: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    if rows.null_count() == rows.len() {
        return Ok(new_null_array(column.data_type(), rows.len()));
    }
    Ok(take(column, rows, None)?)
}
