//! A logical rule: the last (or first) row of each entity is read from the segments that can hold one.
//!
//! The coverage index knows the last bucket of every entity, and every row of that bucket lies in segments whose range of the
//! index and of entities touches it. So where rows are grouped by exactly the entity columns, and only the last row of each
//! group by the index is asked for, all other segments are left out: `DISTINCT ON (symbol) ... ORDER BY symbol, ts DESC`,
//! `last_value(close ORDER BY ts) GROUP BY symbol`, `max(ts) GROUP BY symbol`, and the same for the first row. The
//! aggregation stays where it is, so this rule only ever leaves out rows that it would not have picked.
//!
//! A filter can make another row the last one, and then all segments are read; one of entities alone keeps all rows of an
//! entity or none.
//!
//! Belongs behind DataFusion's own rules: filters have come down to the scans then, and `DISTINCT ON` is an aggregation.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::provider::SnapshotProvider;
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::snapshot::Snapshot;
use crate::types::{BucketId, EntityKey, SegmentId};

/// Most entities that are gone through while a query is planned.
const ENTITIES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct LatestRows;

impl OptimizerRule for LatestRows {
    fn name(&self) -> &str {
        "latest_rows"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(mut aggregation) = plan else {
            return Ok(Transformed::no(plan));
        };
        let Some(narrowed) = narrow(&aggregation) else {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregation)));
        };
        let source = provider_as_source(Arc::new(narrowed));
        let input = Arc::unwrap_or_clone(aggregation.input).transform_down(|node| match node {
            LogicalPlan::TableScan(scan) => {
                let source = Arc::clone(&source);
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
            }
            node => Ok(Transformed::no(node)),
        })?;
        aggregation.input = Arc::new(input.data);
        Ok(Transformed::yes(LogicalPlan::Aggregate(aggregation)))
    }
}

/// Which row of each entity is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// The table below an aggregation without what it cannot pick a row from; `None` when there is nothing to leave out.
fn narrow(aggregation: &Aggregate) -> Option<SnapshotProvider> {
    let shown = Shown::by(&aggregation.input)?;
    let table = source_as_provider(&shown.scan.source).ok()?;
    let table = table.downcast_ref::<SnapshotProvider>().filter(|table| table.is_whole())?;
    let snapshot = table.snapshot();
    let rows = Rows { layout: snapshot.layout.as_deref()?, plan: &aggregation.input, shown };
    if !rows.are_all_of_some_entities() {
        return None;
    }
    let end = rows.end_of(aggregation)?;
    let kept = holders(snapshot, end)?;
    Some(table.only(kept))
}

/// The columns of a plan that hands on the rows of one scan, or some of them, as they are.
struct Shown<'a> {
    scan: &'a TableScan,
    /// For each column the name of the table's column that it shows as it is.
    columns: Vec<Option<&'a str>>,
    /// What rows are picked by, and the plan whose columns that names.
    filters: Vec<(&'a Expr, &'a LogicalPlan)>,
}

impl<'a> Shown<'a> {
    fn by(plan: &'a LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let fields = scan.projected_schema.fields().iter();
                let columns = fields.map(|field| Some(field.name().as_str())).collect();
                let filters = scan.filters.iter().map(|filter| (filter, plan)).collect();
                scan.fetch.is_none().then_some(Self { scan, columns, filters })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::by(&alias.input),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::by(&sort.input),
            LogicalPlan::Filter(filter) => {
                let mut shown = Self::by(&filter.input)?;
                shown.filters.push((&filter.predicate, &filter.input));
                Some(shown)
            }
            LogicalPlan::Projection(projection) => {
                let below = Self::by(&projection.input)?;
                let columns = projection.expr.iter();
                let columns = columns.map(|expr| below.name_of(expr, &projection.input)).collect();
                Some(Self { columns, ..below })
            }
            _ => None,
        }
    }

    /// The table's column that an expression over `plan`, which has these columns, is.
    fn name_of(&self, expr: &Expr, plan: &LogicalPlan) -> Option<&'a str> {
        match expr {
            Expr::Alias(alias) => self.name_of(&alias.expr, plan),
            Expr::Column(column) => {
                let position = plan.schema().maybe_index_of_column(column)?;
                self.columns.get(position).copied().flatten()
            }
            _ => None,
        }
    }
}

/// The rows that an aggregation is over.
struct Rows<'a> {
    layout: &'a TableLayout,
    plan: &'a LogicalPlan,
    shown: Shown<'a>,
}

impl Rows<'_> {
    fn name_of(&self, expr: &Expr) -> Option<&str> {
        self.shown.name_of(expr, self.plan)
    }

    fn is_index(&self, expr: &Expr) -> bool {
        let name = self.name_of(expr);
        name.is_some() && name == self.layout.index_name()
    }

    fn is_entity(&self, name: &str) -> bool {
        self.layout.entity_names.iter().any(|entity| entity == name)
    }

    /// Whether all rows of an entity are among them or none.
    fn are_all_of_some_entities(&self) -> bool {
        self.shown.filters.iter().all(|(filter, plan)| {
            let Some(below) = Shown::by(plan) else { return false };
            let mut columns = filter.column_refs().into_iter();
            let by_entity = columns.all(|column| {
                let position = plan.schema().maybe_index_of_column(column);
                let name = position.and_then(|position| *below.columns.get(position)?);
                name.is_some_and(|name| self.is_entity(name))
            });
            by_entity && !filter.is_volatile() && !has_subquery(filter)
        })
    }

    /// Which row of each entity an aggregation asks for; `None` when it groups by something else, or asks for more.
    fn end_of(&self, aggregation: &Aggregate) -> Option<End> {
        let groups: Option<HashSet<&str>> =
            aggregation.group_expr.iter().map(|expr| self.name_of(expr)).collect();
        let groups = groups?;
        let entities: HashSet<&str> = self.layout.entity_names.iter().map(String::as_str).collect();
        if entities.is_empty() || groups != entities {
            return None;
        }
        let mut ends = aggregation.aggr_expr.iter().map(|aggregate| self.end_of_one(aggregate));
        let end = ends.next()??;
        ends.all(|other| other == Some(end)).then_some(end)
    }

    fn end_of_one(&self, aggregate: &Expr) -> Option<End> {
        let AggregateFunction { func, params } = match aggregate {
            Expr::Alias(alias) => return self.end_of_one(&alias.expr),
            Expr::AggregateFunction(function) => function,
            _ => return None,
        };
        let AggregateFunctionParams { args, filter, order_by, null_treatment, .. } = params;
        // With IGNORE NULLS the last value that is there can be in an earlier row.
        if filter.is_some() || *null_treatment == Some(NullTreatment::IgnoreNulls) {
            return None;
        }
        match (func.name(), args.as_slice()) {
            ("max", [argument]) if self.is_index(argument) => return Some(End::Last),
            ("min", [argument]) if self.is_index(argument) => return Some(End::First),
            ("first_value" | "last_value", _) => {}
            _ => return None,
        }
        // Entity columns are the same in all rows of a group and order nothing.
        let orders = |expr: &Expr| !self.name_of(expr).is_some_and(|name| self.is_entity(name));
        let key = order_by.iter().find(|key| orders(&key.expr))?;
        if !self.is_index(&key.expr) {
            return None;
        }
        match (func.name() == "last_value", key.asc) {
            (true, true) | (false, false) => Some(End::Last),
            _ => Some(End::First),
        }
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
        ))
    };
    expr.exists(is_subquery).unwrap_or(true)
}

/// The segments that can hold the row at that end of some entity; `None` when those are all.
fn holders(snapshot: &Snapshot, end: End) -> Option<HashSet<SegmentId>> {
    let coverage = &snapshot.coverage;
    if coverage.entity_count() > ENTITIES_MAX {
        return None;
    }
    let mut by_bucket: BTreeMap<BucketId, Vec<EntityKey>> = BTreeMap::new();
    for (entity, runs) in coverage.iter() {
        let bounds = runs.bounds()?;
        let bucket = if end == End::Last { bounds.last } else { bounds.first };
        by_bucket.entry(bucket).or_default().push(entity);
    }
    for entities in by_bucket.values_mut() {
        entities.sort_unstable();
    }
    let layout = snapshot.layout.as_deref()?;
    let kept: HashSet<SegmentId> = snapshot
        .segments
        .iter()
        .filter(|segment| may_hold(layout, segment, &by_bucket).unwrap_or(true))
        .map(|segment| segment.id)
        .collect();
    (kept.len() < snapshot.segments.len()).then_some(kept)
}

/// Whether a segment may hold rows of one of these (bucket, entity) pairs; `None` when its ranges are not known.
fn may_hold(
    layout: &TableLayout,
    segment: &SegmentMeta,
    pairs: &BTreeMap<BucketId, Vec<EntityKey>>,
) -> Option<bool> {
    let bucketing = layout.bucketing.as_ref()?;
    let (first, last) = segment.index_range?;
    let (first, last) = (bucketing.bucket_of(first)?, bucketing.bucket_of(last)?);
    let (from, to) = segment.entity_range.as_ref()?;
    if first > last {
        return None;
    }
    Some(pairs.range(first..=last).any(|(_, entities)| {
        let at = entities.partition_point(|entity| entity < from);
        entities.get(at).is_some_and(|entity| entity <= to)
    }))
}
