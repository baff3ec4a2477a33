//! The last (or first) row of each entity is read from the segments that can hold one.
//!
//! The coverage index knows the last bucket of every entity, and every row of that bucket lies in segments whose range of the
//! index and of entities touches it. So where rows are grouped by exactly the entity columns, and only the last row of each
//! group by the index is asked for, all other segments are left out: `DISTINCT ON (symbol) ... ORDER BY symbol, ts DESC`,
//! `last_value(close ORDER BY ts) GROUP BY symbol`, `max(ts) GROUP BY symbol`, and the same for the first row. The
//! aggregation stays, so this only ever leaves out rows that it would not have picked.
//!
//! A filter can make another row the last one, and then all segments are read; one of entities alone keeps all rows of an
//! entity or none.
//!
//! Values of one row are kept by one aggregate function, `end_row`.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, TableScan};

use super::rows::Rows;
use super::{End, end_row, holders};
use crate::datafusion::provider::SnapshotProvider;

/// An aggregation that asks for one row of each entity, or for both ends, over less; `None` for any other, or when there is nothing
/// to change.
pub(super) fn rewritten(
    aggregation: &Aggregate,
    rows: &Rows<'_>,
    table: &SnapshotProvider,
) -> Result<Option<LogicalPlan>> {
    let Some(ends) = rows.ends_of(aggregation) else { return Ok(None) };
    let whole = table.is_whole().then(|| holders::holders(table.snapshot(), &ends)).flatten();
    let input = match whole {
        Some(kept) => over(&aggregation.input, &table.only(kept))?,
        None => Arc::clone(&aggregation.input),
    };
    let narrowed = !Arc::ptr_eq(&input, &aggregation.input);
    if let (Some(end), 1) = (ends.first(), ends.len())
        && let Some(gathered) = gathered(aggregation, rows, *end, &input)?
    {
        return Ok(Some(gathered));
    }
    let (groups, aggregates) = (aggregation.group_expr.clone(), aggregation.aggr_expr.clone());
    let same = |input| Aggregate::try_new(input, groups, aggregates).map(LogicalPlan::Aggregate);
    narrowed.then(|| same(input)).transpose()
}

/// The same plan over another provider of its table.
fn over(plan: &Arc<LogicalPlan>, table: &SnapshotProvider) -> Result<Arc<LogicalPlan>> {
    let source = provider_as_source(Arc::new(table.clone()));
    let plan = plan.as_ref().clone().transform_down(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let source = Arc::clone(&source);
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(Arc::new(plan.data))
}

/// The aggregation over `input`, with one aggregate in the place of all that give values of the row at an end; `None` where
/// there are none.
fn gathered(
    aggregation: &Aggregate,
    rows: &Rows<'_>,
    end: End,
    input: &Arc<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    let aggregates = aggregation.aggr_expr.iter();
    let values: Vec<_> = aggregates.clone().map(|one| rows.value_at_end(one)).collect();
    let Some((index, _)) = values.iter().flatten().next() else { return Ok(None) };
    let arguments = values.iter().flatten().map(|(_, value)| *value);
    let arguments = std::iter::once(*index).chain(arguments).cloned().collect();
    let function = Arc::new(end_row::function(end));
    let end_row = AggregateFunction::new_udf(function, arguments, false, None, Vec::new(), None);
    let others = aggregates.zip(&values).filter(|(_, value)| value.is_none());
    let others = others.map(|(other, _)| other.clone());
    let together = others.chain([Expr::AggregateFunction(end_row)]).collect();
    let groups = aggregation.group_expr.clone();
    let together = Aggregate::try_new(Arc::clone(input), groups, together)?;

    let column = |position| Expr::Column(Column::from(together.schema.qualified_field(position)));
    let row = column(together.schema.fields().len().saturating_sub(1));
    let group_count = aggregation.schema.fields().len() - values.len();
    let mut shown: Vec<Expr> = (0..group_count).map(column).collect();
    let (mut other, mut position) = (group_count, 0_usize);
    for (at, value) in values.iter().enumerate() {
        if value.is_none() {
            shown.push(column(other));
            other += 1;
            continue;
        }
        let (qualifier, field) = aggregation.schema.qualified_field(group_count + at);
        let value = get_field(row.clone(), position.to_string());
        shown.push(value.alias_qualified(qualifier.cloned(), field.name()));
        position += 1;
    }
    let together = Arc::new(LogicalPlan::Aggregate(together));
    let shown = Projection::try_new(shown, together)?;
    Ok(Some(LogicalPlan::Projection(shown)))
}
