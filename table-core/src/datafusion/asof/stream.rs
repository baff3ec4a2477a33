//! One partition of an `ASOF JOIN` as it runs: feeds the merge, and puts the columns of both sides together.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, RecordOutput};
use futures::StreamExt;

use super::merge::{Merge, NONE, Need};
use super::ordinal::Ordinal;
use super::side::{Side, SideExprs};
use crate::schema::logical_bytes;

/// Right values of one output batch, bytes: one large value may be joined with many rows.
const OUTPUT_BYTES_MAX: u64 = 32 << 20;

/// Where a column of the output comes from: a position in its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Left(usize),
    Right(usize),
}

/// One side as it runs.
pub(super) struct Input {
    pub(super) stream: SendableRecordBatchStream,
    pub(super) exprs: SideExprs,
}

/// See the module.
pub(super) struct Joining<T: Ordinal> {
    pub(super) left: Input,
    pub(super) right: Input,
    pub(super) merge: Merge<T>,
    pub(super) output: Output,
    pub(super) reservation: MemoryReservation,
    pub(super) metrics: BaselineMetrics,
    /// Left rows that found a right one.
    pub(super) matched_rows: Count,
}

impl<T: Ordinal> Joining<T> {
    /// The next batch of the output.
    ///
    /// # Errors
    /// Of the sides; of the memory pool.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.output.ready.pop_front() {
                return Ok(Some(batch.record_output(&self.metrics)));
            }
            let need = self.advance()?;
            if !self.output.ready.is_empty() {
                continue;
            }
            match need {
                Need::Left => {
                    let Some(batch) = next_batch(&mut self.left.stream).await? else {
                        return Ok(None);
                    };
                    let _timer = self.metrics.elapsed_compute().timer();
                    self.merge.feed_left(Side::with_nulls(&self.left.exprs, batch)?)?;
                }
                Need::Right { carry } => {
                    let batch = next_batch(&mut self.right.stream).await?;
                    let _timer = self.metrics.elapsed_compute().timer();
                    let side = batch.map(|batch| {
                        let batch = match &carry {
                            Some(row) => concat_batches(row.schema_ref(), [row, &batch])?,
                            None => batch,
                        };
                        Side::without_nulls(&self.right.exprs, batch)
                    });
                    self.merge.feed_right(side.transpose()?)?;
                }
            }
            let held = self.merge.left().into_iter().chain(self.merge.window());
            let held: usize = held.map(RecordBatch::get_array_memory_size).sum();
            self.reservation.try_resize(held + self.output.held_bytes())?;
        }
    }

    /// Merges as far as it goes, and puts the columns of what is matched together.
    fn advance(&mut self) -> Result<Need> {
        let _timer = self.metrics.elapsed_compute().timer();
        let need = self.merge.run()?;
        let matched = self.merge.take_matched();
        self.matched_rows.add(matched.iter().filter(|row| **row != NONE).count());
        if let Some(left) = self.merge.left() {
            self.output.add(left, self.merge.window(), &matched)?;
            if need == Need::Left {
                self.output.finish(left)?;
            }
        }
        Ok(need)
    }
}

async fn next_batch(stream: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>> {
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Output batches in the making.
pub(super) struct Output {
    schema: SchemaRef,
    sources: Vec<Source>,
    /// Rows of the left batch that are in `ready` already.
    done: usize,
    /// Rows behind them that are in `pieces`.
    rows: usize,
    /// For each right column of the output its values for these rows.
    pieces: Vec<Vec<ArrayRef>>,
    pieces_bytes: u64,
    ready: VecDeque<RecordBatch>,
}

impl Output {
    pub(super) fn new(schema: SchemaRef, sources: Vec<Source>) -> Self {
        let rights = sources.iter().filter(|source| matches!(source, Source::Right(_))).count();
        Self {
            schema,
            sources,
            done: 0,
            rows: 0,
            pieces: vec![Vec::new(); rights],
            pieces_bytes: 0,
            ready: VecDeque::new(),
        }
    }

    fn held_bytes(&self) -> usize {
        usize::try_from(self.pieces_bytes).unwrap_or(usize::MAX)
    }

    /// Adds rows of the right side, or nulls, for the next rows of the left batch.
    fn add(
        &mut self,
        left: &RecordBatch,
        window: Option<&RecordBatch>,
        matched: &[u32],
    ) -> Result<()> {
        let columns = self.right_columns(window);
        let mut rest = matched;
        while !rest.is_empty() {
            let (count, bytes) =
                fitting(&columns, rest, OUTPUT_BYTES_MAX.saturating_sub(self.pieces_bytes));
            if count == 0 && self.rows > 0 {
                self.emit(left)?;
                continue;
            }
            // One row always fits: it is there already.
            let (now, later) = rest.split_at(count.max(1));
            self.add_piece(&columns, now)?;
            self.pieces_bytes += bytes;
            self.rows += now.len();
            rest = later;
        }
        Ok(())
    }

    fn right_columns(&self, window: Option<&RecordBatch>) -> Vec<ArrayRef> {
        let positions = self.sources.iter().enumerate().filter_map(|(at, source)| match source {
            Source::Right(position) => Some((at, *position)),
            Source::Left(_) => None,
        });
        let column = |(at, position): (usize, usize)| match window {
            Some(window) => Arc::clone(window.column(position)),
            None => new_null_array(self.schema.field(at).data_type(), 0),
        };
        positions.map(column).collect()
    }

    fn add_piece(&mut self, columns: &[ArrayRef], matched: &[u32]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        if matched.iter().all(|row| *row == NONE) {
            for (pieces, column) in self.pieces.iter_mut().zip(columns) {
                pieces.push(new_null_array(column.data_type(), matched.len()));
            }
            return Ok(());
        }
        let rows = rows_of(matched);
        for (pieces, column) in self.pieces.iter_mut().zip(columns) {
            pieces.push(take(column, &rows, None)?);
        }
        Ok(())
    }

    /// Makes a batch of the rows so far.
    fn emit(&mut self, left: &RecordBatch) -> Result<()> {
        let mut pieces = self.pieces.iter_mut().map(std::mem::take);
        let columns = self.sources.iter().map(|source| match source {
            Source::Left(position) => Ok(left.column(*position).slice(self.done, self.rows)),
            Source::Right(_) => match pieces.next().unwrap_or_default().as_slice() {
                [one] => Ok(Arc::clone(one)),
                several => concat(&several.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
            },
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.ready.push_back(batch);
        self.done += self.rows;
        (self.rows, self.pieces_bytes) = (0, 0);
        Ok(())
    }

    /// Makes a batch of what is left of a left batch.
    fn finish(&mut self, left: &RecordBatch) -> Result<()> {
        if self.rows > 0 {
            self.emit(left)?;
        }
        self.done = 0;
        Ok(())
    }
}

/// Positions to take, null where there is no row.
fn rows_of(matched: &[u32]) -> UInt32Array {
    if !matched.contains(&NONE) {
        return UInt32Array::new(ScalarBuffer::from(matched.to_vec()), None);
    }
    let nulls = matched.iter().map(|row| *row != NONE).collect::<NullBuffer>();
    // A null is not looked up, but its position is checked.
    let rows = matched.iter().map(|row| if *row == NONE { 0 } else { *row }).collect();
    UInt32Array::new(rows, Some(nulls))
}

/// How many of the first rows have at most so many bytes on the right side, and how many they have about.
fn fitting(columns: &[ArrayRef], matched: &[u32], bytes_max: u64) -> (usize, u64) {
    // Every value at most as often as the one that is matched most often.
    let total: u64 = columns.iter().map(|column| logical_bytes(column)).sum();
    let often =
        matched.chunk_by(|a, b| a == b).filter(|same| same[0] != NONE).map(<[u32]>::len).max();
    let at_most = total.saturating_mul(often.unwrap_or(0) as u64);
    if at_most <= bytes_max {
        return (matched.len(), at_most);
    }
    let (mut count, mut bytes) = (0, 0_u64);
    for same in matched.chunk_by(|a, b| a == b) {
        let each = match same[0] {
            NONE => 0,
            row => columns.iter().map(|column| logical_bytes(&column.slice(row as usize, 1))).sum(),
        };
        let fit = bytes_max.saturating_sub(bytes).checked_div(each).unwrap_or(u64::MAX);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX).min(same.len());
        count += fit;
        bytes += each * fit as u64;
        if fit < same.len() {
            break;
        }
    }
    (count, bytes)
}
