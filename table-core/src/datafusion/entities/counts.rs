//! Which entities there are, and how many rows each has, is answered from the coverage index.
//!
//! `SELECT DISTINCT symbol`, `count(*) GROUP BY symbol` and `count(*) WHERE symbol = 'A'` need nothing but the index, as long as
//! rows are picked and grouped by entity columns alone: the aggregation is then one over the entities, and opens no file.
//! Where counts stand beside values of the last or first row (`min(ts), max(ts), count(*) GROUP BY symbol`), they are taken out
//! of the aggregation, so that `latest` can read the few segments that the others need.
//!
//! A table that has records of before there were counts knows only which entities it has. All rows without any filter are
//! counted by DataFusion, from what the table says of itself.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, lit, utils::conjunction,
};

use super::row_count;
use super::rows::{Rows, has_subquery};
use crate::datafusion::functions::entity_rows;
use crate::datafusion::provider::SnapshotProvider;

/// The same answer with what the index knows; `None` where that is nothing.
pub(super) fn rewritten(
    aggregation: &Aggregate,
    rows: &Rows<'_>,
    table: &SnapshotProvider,
) -> Result<Option<LogicalPlan>> {
    let counts: Vec<bool> = aggregation.aggr_expr.iter().map(|one| rows.is_count(one)).collect();
    let are_known = !counts.contains(&true) || table.snapshot().coverage.row_count().is_some();
    if rows.layout.entity_names.is_empty() || !are_known {
        return Ok(None);
    }
    match (counts.contains(&false), counts.contains(&true)) {
        (false, _) => over_entities(aggregation, rows, table),
        (true, true) => beside_ends(aggregation, rows, table, &counts),
        (true, false) => Ok(None),
    }
}

/// An aggregation of nothing but counts, over one row for each entity.
fn over_entities(
    aggregation: &Aggregate,
    rows: &Rows<'_>,
    table: &SnapshotProvider,
) -> Result<Option<LogicalPlan>> {
    if aggregation.group_expr.is_empty() && rows.shown.filters.is_empty() {
        return Ok(None);
    }
    let entities = entity_rows(table.table(), table.snapshot())?;
    let schema = entities.schema();
    let Some(count) = schema.fields().last() else { return Ok(None) };
    let name = rows.shown.scan.table_name.clone();
    let entity = |column: &str| {
        let has_type = |field: &arrow::datatypes::Field| field.data_type().clone();
        let ours = schema.field_with_name(column).ok().map(has_type);
        let theirs = table_field(rows, column).map(has_type);
        (ours.is_some() && ours == theirs)
            .then(|| Expr::Column(Column::new(Some(name.clone()), column)))
    };

    let groups = aggregation.group_expr.iter();
    let groups = groups.map(|group| of_entities(group, &aggregation.input, &entity));
    let filters = rows.shown.filters.iter();
    let filters = filters.map(|(filter, plan)| of_entities(filter, plan, &entity));
    let (Some(groups), Some(filters)) =
        (groups.collect::<Option<Vec<_>>>(), filters.collect::<Option<Vec<_>>>())
    else {
        return Ok(None);
    };
    let count = Expr::Column(Column::new(Some(name.clone()), count.name()));
    let total = (!aggregation.aggr_expr.is_empty()).then(|| sum(count));

    let mut plan = LogicalPlanBuilder::scan(name, provider_as_source(entities), None)?;
    if let Some(filter) = conjunction(filters) {
        plan = plan.filter(filter)?;
    }
    let plan = Aggregate::try_new(Arc::new(plan.build()?), groups, total.into_iter().collect())?;
    let group_count = aggregation.group_expr.len();
    shown_as(aggregation, LogicalPlan::Aggregate(plan), |at, plan| {
        let column = |at| Expr::Column(Column::from(plan.schema().qualified_field(at)));
        // One sum is all counts. Of no entities at all it is null.
        if at < group_count { column(at) } else { coalesce(vec![column(group_count), lit(0_i64)]) }
    })
    .map(Some)
}

/// Counts beside values that need only the ends of each entity: the aggregation of those, and the counts by the entity.
fn beside_ends(
    aggregation: &Aggregate,
    rows: &Rows<'_>,
    table: &SnapshotProvider,
    counts: &[bool],
) -> Result<Option<LogicalPlan>> {
    let kept = aggregation.aggr_expr.iter().zip(counts).filter(|(_, is_count)| !**is_count);
    let kept = kept.map(|(aggregate, _)| aggregate.clone()).collect();
    let input = Arc::clone(&aggregation.input);
    let kept = Aggregate::try_new(input, aggregation.group_expr.clone(), kept)?;
    if rows.ends_of(&kept).is_none() {
        return Ok(None);
    }
    let groups: HashMap<&str, usize> = aggregation
        .group_expr
        .iter()
        .enumerate()
        .filter_map(|(at, group)| Some((rows.name_of(group)?, at)))
        .collect();
    let keys = rows.layout.entity_names.iter().map(|entity| groups.get(entity.as_str()).copied());
    let Some(keys) = keys.collect::<Option<Vec<usize>>>() else { return Ok(None) };
    let function = row_count::function(table.snapshot(), keys.len());
    let group_count = aggregation.group_expr.len();
    shown_as(aggregation, LogicalPlan::Aggregate(kept), |at, plan| {
        let column = |at| Expr::Column(Column::from(plan.schema().qualified_field(at)));
        let Some(aggregate) = at.checked_sub(group_count) else { return column(at) };
        match counts.get(aggregate) {
            Some(true) => function.call(keys.iter().map(|key| column(*key)).collect()),
            _ => {
                let before = counts.iter().take(aggregate).filter(|is_count| !**is_count);
                column(group_count + before.count())
            }
        }
    })
    .map(Some)
}

/// `plan`, with the columns that `value` makes of it under the names that the aggregation's have.
fn shown_as(
    aggregation: &Aggregate,
    plan: LogicalPlan,
    value: impl Fn(usize, &LogicalPlan) -> Expr,
) -> Result<LogicalPlan> {
    let columns = aggregation.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        let value = value(at, &plan);
        let same = matches!(&value, Expr::Column(column)
            if column.relation.as_ref() == qualifier && column.name == *field.name());
        if same { value } else { value.alias_qualified(qualifier.cloned(), field.name()) }
    });
    let columns = columns.collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// An expression over `plan`, as one over entities; `None` when it depends on more than those.
fn of_entities(
    expr: &Expr,
    plan: &LogicalPlan,
    entity: &impl Fn(&str) -> Option<Expr>,
) -> Option<Expr> {
    if expr.is_volatile() || has_subquery(expr) || has_grouping_sets(expr) {
        return None;
    }
    let mut is_known = true;
    let over = expr.clone().transform_up(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        match column_of_entities(column, plan, entity) {
            Some(known) => Ok(Transformed::yes(known)),
            None => {
                is_known = false;
                Ok(Transformed::new(part, false, TreeNodeRecursion::Stop))
            }
        }
    });
    over.ok().map(|over| over.data).filter(|_| is_known)
}

/// The same of a column: one of the table's, or what a projection makes of those.
fn column_of_entities(
    column: &Column,
    plan: &LogicalPlan,
    entity: &impl Fn(&str) -> Option<Expr>,
) -> Option<Expr> {
    let position = plan.schema().maybe_index_of_column(column)?;
    let mut below = plan;
    loop {
        below = match below {
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Projection(projection) => {
                let value = projection.expr.get(position)?.clone().unalias();
                return of_entities(&value, &projection.input, entity);
            }
            LogicalPlan::TableScan(scan) => {
                return entity(scan.projected_schema.fields().get(position)?.name());
            }
            _ => return None,
        };
    }
}

fn has_grouping_sets(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::GroupingSet(_)))).unwrap_or(true)
}

/// An entity column of the table, as queries see it; `None` for any other.
fn table_field<'a>(rows: &Rows<'a>, name: &str) -> Option<&'a arrow::datatypes::Field> {
    rows.is_entity(name).then(|| rows.layout.query_schema.field_with_name(name).ok()).flatten()
}
