//! The output batch in the making. Pure.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;
use datafusion::error::Result;

use super::buckets::order;
use super::filler::Layout;
use super::functions::Filling;
use super::internal;
use super::work::{Source, Work};

/// An output batch in the making, as rows of the input and starts of buckets.
pub(super) struct Page {
    capacity: usize,
    pub(super) flip: i64,
    pub(super) starts: Vec<i64>,
    pub(super) keys: Vec<u32>,
    pub(super) rows: Vec<Option<u32>>,
    pub(super) fills: Vec<PageFill>,
    pub(super) made: usize,
}

pub(super) enum PageFill {
    Rows(Vec<Option<u32>>),
    Values(Vec<Option<f64>>),
}

impl Page {
    pub(super) fn new(layout: &Layout, capacity: usize) -> Self {
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

    pub(super) fn is_full(&self) -> bool {
        self.starts.len() >= self.capacity
    }

    pub(super) fn batch(self, layout: &Layout, work: &Work) -> Result<(RecordBatch, usize)> {
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
