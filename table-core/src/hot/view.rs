//! [`HotView`]: hot rows as one sorted batch with exact statistics, which is what queries read and flushes write. Pure.

use std::sync::{Arc, OnceLock};

use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::HotRows;
use super::set::index_range;
use crate::coverage::CoverageDelta;
use crate::schema::{TableLayout, field_id};
use crate::segment::buffer::{CheckedBatch, SegmentBuffer, SegmentRows, index_values};
use crate::segment::{ColumnStats, column_stats};
use crate::types::encode_entities;

/// Hot rows of several appends in (entity, index) order; on plain tables in commit order.
#[derive(Debug)]
pub struct HotView {
    batch: RecordBatch,
    index_range: Option<(i64, i64)>,
    /// One for each column, computed when it is asked for.
    columns: Vec<OnceLock<ColumnStats>>,
}

impl HotView {
    /// All rows of these appends, which come in commit order.
    pub(super) fn merge<'a>(
        appends: impl Iterator<Item = &'a Arc<HotRows>>,
        layout: &TableLayout,
    ) -> Result<Self, ArrowError> {
        Ok(Self::of(merge(appends, layout)?.to_batch(&layout.query_schema)?, layout))
    }

    /// A view of rows that are in order already.
    pub(crate) fn of(batch: RecordBatch, layout: &TableLayout) -> Self {
        let index_range = index_range(&batch, layout);
        let columns = batch.columns().iter().map(|_| OnceLock::new()).collect();
        Self { batch, index_range, columns }
    }

    /// The rows, in the table's query schema.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Smallest and greatest index value (bit pattern for UInt64); `None` on plain tables.
    pub fn index_range(&self) -> Option<(i64, i64)> {
        self.index_range
    }

    /// Exact statistics of the column at this position.
    pub fn column(&self, layout: &TableLayout, position: usize) -> Option<&ColumnStats> {
        let id = field_id(layout.schema.fields().get(position)?)?;
        let column = self.batch.columns().get(position)?;
        Some(self.columns.get(position)?.get_or_init(|| column_stats(column, id)))
    }
}

/// Rows of several appends, ready to be written as one segment.
pub(super) fn merge<'a>(
    appends: impl Iterator<Item = &'a Arc<HotRows>>,
    layout: &TableLayout,
) -> Result<SegmentRows, ArrowError> {
    let mut bytes = 0;
    let batches = appends.map(|rows| {
        bytes += rows.bytes();
        &rows.batch
    });
    let batch = concat_batches(&layout.query_schema, batches)?;
    let columns: Vec<_> =
        layout.entities.iter().map(|&position| Arc::clone(batch.column(position))).collect();
    let (keys, rows) = match columns.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => encode_entities(&columns, batch.num_rows())?,
    };
    let index = layout.index.and_then(|index| index_values(batch.column(index)));
    let mut buffer = SegmentBuffer::new(layout);
    let delta = CoverageDelta::default();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    buffer.push(CheckedBatch { batch, keys, rows, index, delta }, bytes);
    Ok(buffer.finish())
}
