//! Rows in, rows with gaps filled out: everything but waiting. Pure.
//!
//! Rows come sorted by (keys, bucket). Those whose fate is known are written with the buckets missing before them, in batches
//! of bounded size: missing buckets are made as they are written, never kept. A row waits for the one behind it, which tells
//! whether its group ends, and where something is interpolated for the next row of its group with a value.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;

use super::node::{Fill, Window};
use super::page::Page;
use super::work::{Known, Place, Source, Work};

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

    pub(super) fn input_count(&self) -> usize {
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
        pending + self.work.as_ref().map_or(0, Work::memory_bytes)
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
