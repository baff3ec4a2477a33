//! Cutting a batch into pieces that are small once they are written out, however few bytes it took to send. Pure.

use arrow::record_batch::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::schema::logical_bytes;

/// Rows that are normalised and checked in one go.
const SLICE_ROWS_MAX: usize = 64 << 10;

/// Bytes, once written out, that are normalised and checked in one go: 16 MiB. A single row may be larger.
const SLICE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one row at most, once written out: 64 MiB.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// A batch in pieces that are small once they are written out.
pub(super) struct Slices<'a> {
    batch: &'a RecordBatch,
    start: usize,
    last_start: usize,
}

impl<'a> Slices<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Self {
        Self { batch, start: 0, last_start: 0 }
    }

    /// What is left of a batch behind the pieces already taken.
    pub(super) fn rest_of<'b>(&self, batch: &'b RecordBatch) -> Slices<'b> {
        Slices { batch, start: self.start, last_start: self.start }
    }

    /// Row of the batch at which the last piece began.
    pub(super) fn start_of_last(&self) -> usize {
        self.last_start
    }

    /// The next piece, and its bytes once written out.
    pub(super) fn next(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        let left = self.batch.num_rows() - self.start;
        if left == 0 {
            return Ok(None);
        }
        let mut row_count = left.min(SLICE_ROWS_MAX);
        loop {
            let slice = self.batch.slice(self.start, row_count);
            let bytes = slice
                .columns()
                .iter()
                .fold(0_u64, |sum, column| sum.saturating_add(logical_bytes(column.as_ref())));
            if bytes > SLICE_BYTES_MAX && row_count > 1 {
                // About as many rows as fit, and fewer than before in any case.
                let fitting = (row_count as u64).saturating_mul(SLICE_BYTES_MAX) / bytes;
                let fitting = usize::try_from(fitting).unwrap_or(row_count);
                row_count =
                    fitting.clamp(1, row_count - row_count / 4 - usize::from(row_count < 4));
                continue;
            }
            if bytes > ROW_BYTES_MAX {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!(
                        "row {} of a batch is {bytes} bytes long, more than the {ROW_BYTES_MAX} that a row may have",
                        self.start
                    ),
                ));
            }
            self.last_start = self.start;
            self.start += row_count;
            return Ok(Some((slice, bytes)));
        }
    }
}
