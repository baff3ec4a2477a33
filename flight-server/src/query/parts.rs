//! One query in several endpoints, each with the rows of one range of the index, so that a client can fetch them side by side. Only
//! for who asks: some clients read the first endpoint and no other.
//!
//! A plan is cut where its rows come from: a scan of one table behind filters, projections and at most a sort. The parts of a sort by
//! the index, one after the other, are then the sorted whole. Anything that looks at more than one row at a time has one part.

use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute::cast;
use coverline_proto::flight::IndexRange;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, TableScan, lit};
use datafusion::scalar::ScalarValue;
use table_core::Snapshot;
use table_core::datafusion::SnapshotProvider;
use table_core::types::IndexType;
use tonic::Status;

use crate::status;

/// The parts of a query in the order of its rows, and whether they have one.
#[derive(Debug, PartialEq)]
pub(crate) struct Parts {
    /// Ranges that do not overlap and leave nothing out; one, of everything, for a plan that is not cut.
    pub(crate) ranges: Vec<IndexRange>,
    /// Whether the rows of a part come before those of the next.
    pub(crate) ordered: bool,
}

/// Cuts a plan into `count` parts, or fewer.
///
/// # Errors
/// Of the query engine.
pub(crate) fn cut(plan: &LogicalPlan, count: usize) -> Result<Parts, Status> {
    let whole = Parts { ranges: vec![IndexRange::default()], ordered: false };
    let cuttable = Cuttable::of(plan).map_err(|error| status::query(&error))?;
    let Some(cuttable) = cuttable.filter(|_| count > 1) else { return Ok(whole) };
    let mut ranges = ranges(&cuttable.snapshot, count);
    if cuttable.sort == Some(Direction::Descending) {
        ranges.reverse();
    }
    Ok(Parts { ordered: cuttable.sort.is_some(), ranges })
}

/// The same plan for the rows of one range.
///
/// # Errors
/// INVALID_ARGUMENT for a plan that cannot be cut, from a ticket that nobody here made.
pub(crate) fn restrict(plan: &LogicalPlan, range: &IndexRange) -> Result<LogicalPlan, Status> {
    let forged = || status::invalid("the ticket names a part of a query that has none");
    let failed = |error| status::query(&error);
    let Cuttable { snapshot, .. } = Cuttable::of(plan).map_err(failed)?.ok_or_else(forged)?;
    let index = index_of(&snapshot).ok_or_else(forged)?;
    let restricted = plan.clone().transform_up(|node| match &node {
        LogicalPlan::TableScan(scan) => {
            let column = Expr::Column(Column::new(Some(scan.table_name.clone()), &index.column));
            let mut builder = LogicalPlanBuilder::from(node.clone());
            if let Some(from) = range.from {
                builder = builder.filter(column.clone().gt_eq(lit(index.value(from)?)))?;
            }
            if let Some(to) = range.to {
                builder = builder.filter(column.lt(lit(index.value(to)?)))?;
            }
            builder.build().map(Transformed::yes)
        }
        _ => Ok(Transformed::no(node)),
    });
    restricted.map(|restricted| restricted.data).map_err(failed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// A plan that can be cut.
struct Cuttable {
    snapshot: Arc<Snapshot>,
    /// The direction of a sort by the index.
    sort: Option<Direction>,
}

impl Cuttable {
    fn of(plan: &LogicalPlan) -> DfResult<Option<Self>> {
        let mut sort = None;
        let mut node = plan;
        loop {
            if node.expressions().iter().any(looks_further) {
                return Ok(None);
            }
            match node {
                LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_) => {}
                LogicalPlan::Sort(by) if by.fetch.is_none() && sort.is_none() => {
                    let Some(direction) =
                        by.expr.first().and_then(|first| by_index(first, &by.input))
                    else {
                        return Ok(None);
                    };
                    sort = Some(direction);
                }
                LogicalPlan::TableScan(scan) => {
                    return Ok(snapshot_of(scan)?.map(|snapshot| Self { snapshot, sort }));
                }
                _ => return Ok(None),
            }
            let [input] = node.inputs()[..] else { return Ok(None) };
            node = input;
        }
    }
}

/// Whether an expression has a query of its own.
fn looks_further(expr: &Expr) -> bool {
    let found = expr.exists(|expr| {
        let has_plan =
            matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_));
        Ok(has_plan)
    });
    !matches!(found, Ok(false))
}

/// The snapshot of a scan of a whole table whose index can be cut.
fn snapshot_of(scan: &TableScan) -> DfResult<Option<Arc<Snapshot>>> {
    if scan.projection.is_some() || scan.fetch.is_some() {
        return Ok(None);
    }
    let provider = source_as_provider(&scan.source)?;
    let snapshot = provider.downcast_ref::<SnapshotProvider>().map(SnapshotProvider::snapshot);
    Ok(snapshot.filter(|snapshot| index_of(snapshot).is_some()).cloned())
}

/// The direction of a sort by the index of the table beneath, whatever it is called by then.
fn by_index(first: &SortExpr, input: &LogicalPlan) -> Option<Direction> {
    let Expr::Column(column) = &first.expr else { return None };
    let mut name = column.name.clone();
    let mut node = input;
    loop {
        match node {
            LogicalPlan::Projection(projection) => {
                let at =
                    projection.schema.fields().iter().position(|field| *field.name() == name)?;
                let Expr::Column(inner) = projection.expr.get(at)?.clone().unalias() else {
                    return None;
                };
                name = inner.name;
            }
            LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::TableScan(scan) => {
                let snapshot = snapshot_of(scan).ok()??;
                let is_index = snapshot.spec.index.as_ref()?.column == name;
                return is_index.then_some(match first.asc {
                    true => Direction::Ascending,
                    false => Direction::Descending,
                });
            }
            _ => return None,
        }
        node = node.inputs().first().copied()?;
    }
}

/// The index of a table as a filter compares it.
struct Index {
    column: String,
    data_type: arrow::datatypes::DataType,
}

impl Index {
    fn value(&self, value: i64) -> DfResult<ScalarValue> {
        let values = cast(&Int64Array::from(vec![value]), &self.data_type)?;
        ScalarValue::try_from_array(&values, 0)
    }
}

/// `None` for a plain table, and for an unsigned index, whose values travel as something else.
fn index_of(snapshot: &Snapshot) -> Option<Index> {
    if snapshot.bucketing()?.index() == IndexType::UInt64 {
        return None;
    }
    let column = &snapshot.spec.index.as_ref()?.column;
    let data_type = snapshot.schema()?.field_with_name(column).ok()?.data_type().clone();
    Some(Index { column: column.clone(), data_type })
}

/// Ranges of the index, ascending, with about as many rows each: cut where segments begin, or evenly where those do not tell.
fn ranges(snapshot: &Snapshot, count: usize) -> Vec<IndexRange> {
    let segments = snapshot.segments.iter().map(|segment| (segment.index_range, segment.row_count));
    let hot = snapshot.hot.iter().map(|rows| (rows.index_range, rows.row_count()));
    let mut pieces: Vec<((i64, i64), u64)> =
        segments.chain(hot).filter_map(|(range, rows)| Some((range?, rows))).collect();
    pieces.sort_unstable();
    let mut cuts = by_rows(&pieces, count);
    if cuts.len() + 1 < count {
        cuts = evenly(&pieces, count);
    }
    let from = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let to = cuts.iter().copied().map(Some).chain(std::iter::once(None));
    from.zip(to).map(|(from, to)| IndexRange { from, to }).collect()
}

fn by_rows(pieces: &[((i64, i64), u64)], count: usize) -> Vec<i64> {
    let total: u64 = pieces.iter().map(|(_, rows)| rows).sum();
    let first = pieces.first().map(|((start, _), _)| *start);
    let mut cuts: Vec<i64> = Vec::new();
    let mut before = 0;
    for ((start, _), rows) in pieces {
        // Rows of this piece and later ones belong to the part after the cut.
        let due = total * (cuts.len() as u64 + 1) / count as u64;
        if cuts.len() + 1 < count
            && before >= due
            && Some(*start) > first
            && cuts.last().is_none_or(|last| last < start)
        {
            cuts.push(*start);
        }
        before += rows;
    }
    cuts
}

fn evenly(pieces: &[((i64, i64), u64)], count: usize) -> Vec<i64> {
    let starts = pieces.iter().map(|((start, _), _)| i128::from(*start));
    let ends = pieces.iter().map(|((_, end), _)| i128::from(*end));
    let (Some(first), Some(last)) = (starts.min(), ends.max()) else { return Vec::new() };
    let width = last - first + 1;
    let mut cuts: Vec<i64> = (1..count as i128)
        .filter_map(|part| i64::try_from(first + width * part / count as i128).ok())
        .collect();
    cuts.dedup();
    cuts.retain(|cut| i128::from(*cut) > first);
    cuts
}
