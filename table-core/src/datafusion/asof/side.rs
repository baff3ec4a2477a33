//! A batch of one side of the join, ready to be compared: its keys, its ordered values as integers, and where keys change. Pure.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, DynComparator, RecordBatch, UInt32Array, make_comparator,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::kernels::partition::partition;
use arrow::compute::{SortOptions, filter, filter_record_batch, take_record_batch};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::ordinal::Ordinal;

/// How both sides are sorted by their keys and by the ordered column. Nulls match nothing, so their place does not matter to the
/// merge; it is where tables declare it.
pub(super) const SORT: SortOptions = SortOptions { descending: false, nulls_first: false };

/// What one side is compared by.
#[derive(Debug, Clone)]
pub(super) struct SideExprs {
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) value: Arc<dyn PhysicalExpr>,
}

/// Rows with the same keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) rows: Range<usize>,
    /// Those of them that can match.
    pub(super) known: Range<usize>,
}

/// A batch of one side.
#[derive(Debug)]
pub(super) struct Side<T: Ordinal> {
    pub(super) batch: RecordBatch,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) values: ScalarBuffer<T>,
    /// One after the other, all rows together.
    pub(super) runs: Vec<Run>,
}

impl<T: Ordinal> Side<T> {
    /// All rows of a batch.
    ///
    /// # Errors
    /// Of the expressions.
    pub(super) fn with_nulls(exprs: &SideExprs, batch: RecordBatch) -> Result<Self> {
        let (keys, value) = evaluate(exprs, &batch)?;
        let nulls = value.logical_nulls();
        let key_nulls = NullBuffer::union_many(
            keys.iter()
                .map(|key| key.logical_nulls())
                .collect::<Vec<_>>()
                .iter()
                .map(Option::as_ref),
        );
        let runs = runs(&keys, batch.num_rows())?;
        let runs = runs.into_iter().map(|rows| {
            let known = match &key_nulls {
                Some(nulls) if nulls.is_null(rows.start) => rows.start..rows.start,
                _ => without_nulls(rows.clone(), nulls.as_ref()),
            };
            Run { rows, known }
        });
        let runs = runs.collect();
        Ok(Self { values: T::of(&value)?, batch, keys, runs })
    }

    /// The rows of a batch that can match.
    ///
    /// # Errors
    /// Of the expressions.
    pub(super) fn without_nulls(exprs: &SideExprs, mut batch: RecordBatch) -> Result<Self> {
        let (mut keys, mut value) = evaluate(exprs, &batch)?;
        let nulls: Vec<_> =
            keys.iter().chain([&value]).map(|column| column.logical_nulls()).collect();
        if let Some(nulls) = NullBuffer::union_many(nulls.iter().map(Option::as_ref))
            && nulls.null_count() > 0
        {
            let known = BooleanArray::new(nulls.into_inner(), None);
            batch = filter_record_batch(&batch, &known)?;
            keys = keys.iter().map(|key| filter(key, &known)).collect::<Result<_, _>>()?;
            value = filter(&value, &known)?;
        }
        let runs = runs(&keys, batch.num_rows())?;
        let runs = runs.into_iter().map(|rows| Run { known: rows.clone(), rows }).collect();
        Ok(Self { values: T::of(&value)?, batch, keys, runs })
    }

    pub(super) fn row_count(&self) -> usize {
        self.batch.num_rows()
    }

    /// A batch of one row of this one, which holds nothing of the others.
    ///
    /// # Errors
    /// Of Arrow.
    pub(super) fn row(&self, row: u32) -> Result<RecordBatch> {
        Ok(take_record_batch(&self.batch, &UInt32Array::from(vec![row]))?)
    }
}

/// Compares rows by several columns, one after the other.
pub(super) struct Compare(Vec<DynComparator>);

impl Compare {
    /// # Errors
    /// For types without an order.
    pub(super) fn try_new<'a>(
        pairs: impl Iterator<Item = (&'a ArrayRef, &'a ArrayRef)>,
    ) -> Result<Self> {
        let columns = pairs.map(|(left, right)| make_comparator(left, right, SORT));
        Ok(Self(columns.collect::<Result<_, _>>()?))
    }

    /// Finds all rows equal.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Rows of one batch by those of its columns whose types have an order; a null comes before any value.
    pub(super) fn as_far_as_ordered(columns: &[&ArrayRef]) -> Self {
        let options = SortOptions { nulls_first: true, ..SORT };
        let compare = |column: &&ArrayRef| make_comparator(column, column, options).ok();
        Self(columns.iter().filter_map(compare).collect())
    }

    pub(super) fn rows(&self, left: usize, right: usize) -> Ordering {
        let orders = self.0.iter().map(|compare| compare(left, right));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

fn evaluate(exprs: &SideExprs, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, ArrayRef)> {
    let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
    Ok((exprs.keys.iter().map(array).collect::<Result<_>>()?, array(&exprs.value)?))
}

/// Rows with the same keys, in the order of the rows.
fn runs(keys: &[ArrayRef], row_count: usize) -> Result<Vec<Range<usize>>> {
    match (keys.is_empty(), row_count) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Ok(std::iter::once(0..row_count).collect()),
        (false, _) => Ok(partition(keys)?.ranges()),
    }
}

/// Rows of one key are sorted, so that their nulls are at one end.
fn without_nulls(mut rows: Range<usize>, nulls: Option<&NullBuffer>) -> Range<usize> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return rows };
    while !rows.is_empty() && nulls.is_null(rows.start) {
        rows.start += 1;
    }
    while !rows.is_empty() && nulls.is_null(rows.end - 1) {
        rows.end -= 1;
    }
    rows
}
