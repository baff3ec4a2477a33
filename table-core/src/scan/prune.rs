//! Which segments, and which hot rows, can match.
//!
//! First by index range, a comparison of two integers per segment, so that one day out of ten thousand segments costs
//! little; then by DataFusion's `PruningPredicate` over the exact statistics of the parts that are left. Hot rows are in
//! memory: the index range cuts them to the row.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::predicate::{self, IndexColumn, Span};
use crate::hot::HotView;
use crate::schema::{TableLayout, field_id};
use crate::segment::buffer::index_values;
use crate::segment::{ColumnStats, SegmentMeta};
use crate::snapshot::Snapshot;
use crate::types::IndexType;

/// What of a snapshot a scan has to look at.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// In commit order.
    pub(crate) segments: Vec<Arc<SegmentMeta>>,
    /// Never empty.
    pub(crate) hot: Option<Arc<HotView>>,
}

/// What is read whole or not at all.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Segment(&'a SegmentMeta),
    Hot(&'a HotView),
}

impl Part<'_> {
    /// Rows.
    pub(crate) fn row_count(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.row_count,
            Self::Hot(view) => view.batch().num_rows() as u64,
        }
    }

    /// Bytes of the file, or in memory.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.file_bytes,
            Self::Hot(view) => view.batch().get_array_memory_size() as u64,
        }
    }

    /// What is known of one column.
    pub(crate) fn bounds(&self, layout: &TableLayout, column: usize) -> Option<ColumnStats> {
        match self {
            Self::Segment(segment) => column_bounds(segment, layout, column),
            Self::Hot(view) => view.column(layout, column).cloned(),
        }
    }
}

impl Pruned {
    /// Segments first, then the hot rows.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> + Clone {
        let segments = self.segments.iter().map(|segment| Part::Segment(segment));
        segments.chain(self.hot.as_deref().map(Part::Hot))
    }
}

/// The parts of `snapshot` that can hold a row for which every filter is true. Never drops one that can.
///
/// # Errors
/// When Arrow cannot put hot rows together.
pub(crate) fn prune(snapshot: &Snapshot, filters: &[Expr]) -> Result<Pruned, ArrowError> {
    let Some(layout) = &snapshot.layout else { return Ok(Pruned::default()) };
    let mut kept = Pruned::default();
    let index = IndexColumn::of(layout);
    let filters: Vec<Expr> = filters.iter().cloned().map(unnormalize_col).collect();
    let filters: Vec<Expr> = match &index {
        Some(index) => filters
            .into_iter()
            .map(|filter| predicate::rewrite(&filter, index).unwrap_or(filter))
            .collect(),
        None => filters,
    };
    let wanted = index.as_ref().map(|index| {
        let spans = filters.iter().map(|filter| predicate::index_span(filter, index));
        (index, spans.fold(Span::ALL, Span::and))
    });
    for segment in &snapshot.segments {
        if let Some((index, wanted)) = &wanted
            && segment_span(segment, index).is_some_and(|span| !span.overlaps(*wanted))
        {
            continue;
        }
        kept.segments.push(Arc::clone(segment));
    }
    kept.hot = snapshot.hot.view(layout)?;
    if let (Some(view), Some((index, wanted))) = (&kept.hot, &wanted) {
        kept.hot = cut(view, layout, index, *wanted)?;
    }
    if kept.parts().next().is_none() {
        return Ok(kept);
    }
    let Some(keep) = prune_by_statistics(layout, &kept, filters) else { return Ok(kept) };
    let mut keep = keep.into_iter();
    kept.segments.retain(|_| keep.next().unwrap_or(true));
    kept.hot = kept.hot.filter(|_| keep.next().unwrap_or(true));
    Ok(kept)
}

/// The rows of a view whose index value lies in `wanted`; `None` when there are none.
fn cut(
    view: &Arc<HotView>,
    layout: &TableLayout,
    index: &IndexColumn<'_>,
    wanted: Span,
) -> Result<Option<Arc<HotView>>, ArrowError> {
    let span = view.index_range().map(|range| span_of(range, index));
    match (span, layout.index.and_then(|at| index_values(view.batch().column(at)))) {
        (Some(span), Some(_)) if !wanted.overlaps(span) => Ok(None),
        (Some(span), Some(values)) if !wanted.contains(span) => {
            let inside = |value: &i64| {
                let number = index.number(*value);
                wanted.first <= number && number <= wanted.last
            };
            let mask: BooleanArray = values.iter().map(|value| Some(inside(value))).collect();
            let rows = filter_record_batch(view.batch(), &mask)?;
            Ok((rows.num_rows() > 0).then(|| Arc::new(HotView::of(rows, layout))))
        }
        _ => Ok(Some(Arc::clone(view))),
    }
}

/// For each filter, whether pruning alone applies it: `Exact` when each segment holds only rows for which it is true or
/// only rows for which it is not, so that nobody has to look at the rows again. Hot rows are always cut to such a filter.
pub(crate) fn filter_support(
    snapshot: &Snapshot,
    filters: &[&Expr],
) -> Vec<TableProviderFilterPushDown> {
    let index = snapshot.layout.as_ref().and_then(|layout| IndexColumn::of(layout));
    let applied = |filter: &Expr| -> bool {
        let Some(index) = &index else { return false };
        let Some(wanted) = predicate::exact_span(&unnormalize_col(filter.clone()), index) else {
            return false;
        };
        snapshot.segments.iter().all(|segment| {
            segment_span(segment, index)
                .is_some_and(|span| wanted.contains(span) || !wanted.overlaps(span))
        })
    };
    filters
        .iter()
        .map(|filter| match applied(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        })
        .collect()
}

/// Filters on the plain index column that time functions imply, for pruning inside files, where DataFusion would not find
/// them. Empty when there is nothing to add.
pub(crate) fn implied_filters(layout: &TableLayout, filters: &[Expr]) -> Vec<Expr> {
    let Some(index) = IndexColumn::of(layout) else { return Vec::new() };
    filters
        .iter()
        .filter_map(|filter| predicate::rewrite(&unnormalize_col(filter.clone()), &index))
        .collect()
}

/// A filter as a physical expression over the columns of `schema`; `None` when DataFusion refuses.
pub(crate) fn physical_filter(
    filters: Vec<Expr>,
    schema: &SchemaRef,
) -> Option<Arc<dyn PhysicalExpr>> {
    let filter = conjunction(filters)?;
    let df_schema = DFSchema::try_from(Arc::clone(schema)).ok()?;
    create_physical_expr(
        &filter,
        &df_schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .ok()
}

/// What the log knows of one column of a segment. The index column's bounds are known even without statistics.
fn column_bounds(
    segment: &SegmentMeta,
    layout: &TableLayout,
    column: usize,
) -> Option<ColumnStats> {
    let field = layout.schema.fields().get(column)?;
    let id = field_id(field)?;
    // Statistics come in schema order, so the column's own position is tried first.
    let found = match segment.columns.get(column) {
        Some(stats) if stats.field_id == id => Some(stats),
        _ => segment.columns.iter().find(|stats| stats.field_id == id),
    };
    if layout.index == Some(column)
        && found.is_none_or(|stats| stats.min.is_none() || stats.max.is_none())
        && let Some((min, max)) = segment.index_range
    {
        let scalar = |value| index_scalar(layout.index_type, field, value);
        return Some(ColumnStats {
            field_id: id,
            null_count: 0,
            min: scalar(min),
            max: scalar(max),
        });
    }
    let typed = |value: &Option<ScalarValue>| {
        value.clone().filter(|value| value.data_type() == *field.data_type())
    };
    found.map(|stats| ColumnStats {
        field_id: id,
        null_count: stats.null_count,
        min: typed(&stats.min),
        max: typed(&stats.max),
    })
}

fn index_scalar(index: Option<IndexType>, field: &Field, value: i64) -> Option<ScalarValue> {
    let number = match index? {
        IndexType::UInt64 => return Some(ScalarValue::UInt64(Some(value.cast_unsigned()))),
        IndexType::Timestamp(_) | IndexType::Int64 => ScalarValue::Int64(Some(value)),
    };
    number.cast_to(field.data_type()).ok()
}

fn segment_span(segment: &SegmentMeta, index: &IndexColumn<'_>) -> Option<Span> {
    segment.index_range.map(|range| span_of(range, index))
}

fn span_of((first, last): (i64, i64), index: &IndexColumn<'_>) -> Span {
    Span { first: index.number(first), last: index.number(last) }
}

/// Which parts to keep, or `None` when the filters say nothing that statistics could answer.
fn prune_by_statistics(
    layout: &TableLayout,
    kept: &Pruned,
    filters: Vec<Expr>,
) -> Option<Vec<bool>> {
    let filter = physical_filter(filters, &layout.schema)?;
    let predicate = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(&layout.schema))
        .build(filter)?;
    predicate.prune(&PartStatistics { layout, parts: kept.parts().collect() }).ok()
}

/// Statistics of a list of parts, as DataFusion asks for them.
struct PartStatistics<'a> {
    layout: &'a TableLayout,
    parts: Vec<Part<'a>>,
}

impl PartStatistics<'_> {
    fn values(
        &self,
        column: &Column,
        pick: impl Fn(ColumnStats) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let position = self.layout.schema.index_of(&column.name).ok()?;
        let unknown = ScalarValue::try_from(self.layout.schema.field(position).data_type()).ok()?;
        ScalarValue::iter_to_array(self.parts.iter().map(|part| {
            part.bounds(self.layout, position).and_then(&pick).unwrap_or_else(|| unknown.clone())
        }))
        .ok()
    }
}

impl PruningStatistics for PartStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |stats| stats.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |stats| stats.max)
    }

    fn num_containers(&self) -> usize {
        self.parts.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let position = self.layout.schema.index_of(&column.name).ok()?;
        let counts: UInt64Array = self
            .parts
            .iter()
            .map(|part| part.bounds(self.layout, position).map(|stats| stats.null_count))
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = self.parts.iter().map(|part| Some(part.row_count())).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
