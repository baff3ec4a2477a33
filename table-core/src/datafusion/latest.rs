//! A physical rule: the last (or first) row of each entity is read from the segments that can hold one.
//!
//! The coverage index knows the last bucket of every entity, and every row of that bucket lies in segments whose range of the
//! index and of entities touches it. So where rows are grouped by exactly the entity columns, and only the last row of each
//! group by the index is asked for, all other segments are left out: `DISTINCT ON (symbol) ... ORDER BY symbol, ts DESC`,
//! `last_value(close ORDER BY ts) GROUP BY symbol`, `max(ts) GROUP BY symbol`, and the same for the first row. The
//! aggregation stays where it is, so this rule only ever leaves out rows that it would not have picked.
//!
//! A filter can make another row the last one, and then all segments are read. So they are where the log or a filter
//! has left out a part of the table before, which is known by the number of rows.
//!
//! Belongs in front of DataFusion's own rules.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::groups;
use super::memory::HotSource;
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::segment::reader::ScanSegment;
use crate::snapshot::Snapshot;
use crate::types::{BucketId, EntityKey, SegmentId};

/// Most entities that are gone through while a query is planned.
const ENTITIES_MAX: usize = 1 << 20;

/// What a scan attaches to each `PartitionedFile` for this rule: all of the table that the file is of.
#[derive(Debug, Clone)]
pub(super) struct ScanSnapshot(pub(super) Arc<Snapshot>);

/// See the module.
#[derive(Debug, Default)]
pub struct LatestRows;

impl PhysicalOptimizerRule for LatestRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let narrowed = match node.downcast_ref::<AggregateExec>() {
                Some(aggregation) => narrow(aggregation, config)?,
                None => None,
            };
            match narrowed {
                Some(input) => {
                    Ok(Transformed::yes(replace_children_if_necessary(node, vec![input])?))
                }
                None => Ok(Transformed::no(node)),
            }
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "latest_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Which row of each entity is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// The input of an aggregation without what it cannot pick a row from; `None` when there is nothing to leave out.
fn narrow(
    aggregation: &AggregateExec,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let reads_rows = aggregation.mode().input_mode() == AggregateInputMode::Raw;
    let filtered = aggregation.filter_expr().iter().any(Option::is_some);
    if !reads_rows || filtered || !aggregation.group_expr().is_single() {
        return Ok(None);
    }
    let Some(scan) = Scan::below(aggregation.input()) else { return Ok(None) };
    let Some(end) = scan.end_of(aggregation) else { return Ok(None) };
    let Some(kept) = scan.holders(end) else { return Ok(None) };
    scan.over(aggregation.input(), &kept, config)
}

/// The scan of all of a table.
struct Scan {
    snapshot: Arc<Snapshot>,
    layout: Arc<TableLayout>,
    /// For each column that it shows, the name of the table's column that it shows as it is.
    columns: Vec<Option<String>>,
}

impl Scan {
    /// The scan below operators that pass rows on as they are.
    fn below(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let mut leaves = Vec::new();
        collect(plan, &mut leaves)?;
        let (mut scan, mut rows, mut hot_rows) = (None, 0_u64, 0_u64);
        let mut hot_of = None;
        for leaf in leaves {
            if let Some(hot) = leaf.data_source().downcast_ref::<HotSource>() {
                if hot_of.is_some() || hot.has_limit() {
                    return None;
                }
                hot_of = Some(hot.snapshot());
                hot_rows = hot.row_count();
                continue;
            }
            let (config, source) = leaf.downcast_to_file_source::<ParquetSource>()?;
            let filter = source.filter();
            let filtered = filter.is_some_and(|filter| !filter.is::<DynamicFilterPhysicalExpr>());
            if scan.is_some() || filtered || config.limit.is_some() {
                return None;
            }
            let mut seen = HashSet::new();
            let mut snapshot: Option<Arc<Snapshot>> = None;
            let mut layout = None;
            for file in config.file_groups.iter().flat_map(FileGroup::iter) {
                let segment = file.extension::<ScanSegment>()?;
                if seen.insert(segment.meta.id) {
                    rows += segment.meta.row_count;
                }
                snapshot = Some(Arc::clone(&file.extension::<ScanSnapshot>()?.0));
                layout = Some(Arc::clone(&segment.layout));
            }
            let shown = source.projection()?.iter().map(|shown| {
                shown.expr.downcast_ref::<Column>().map(|column| column.name().to_owned())
            });
            scan = Some(Self { snapshot: snapshot?, layout: layout?, columns: shown.collect() });
        }
        let scan = scan?;
        let same_table = hot_of.is_none_or(|hot| Arc::ptr_eq(hot, &scan.snapshot));
        let whole = rows + hot_rows == scan.snapshot.row_count;
        (same_table && whole && scan.snapshot.segments.len() > 1).then_some(scan)
    }

    fn name_of(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
        let column = expr.downcast_ref::<Column>()?;
        self.columns.get(column.index())?.as_deref()
    }

    fn is_index(&self, expr: &Arc<dyn PhysicalExpr>) -> bool {
        let name = self.name_of(expr);
        name.is_some() && name == self.layout.index_name()
    }

    /// Which row of each entity an aggregation asks for; `None` when it groups by something else, or asks for more.
    fn end_of(&self, aggregation: &AggregateExec) -> Option<End> {
        let groups: Option<HashSet<&str>> =
            aggregation.group_expr().expr().iter().map(|(expr, _)| self.name_of(expr)).collect();
        let groups = groups?;
        let entities: HashSet<&str> = self.layout.entity_names.iter().map(String::as_str).collect();
        if entities.is_empty() || groups != entities {
            return None;
        }
        let mut ends = aggregation.aggr_expr().iter().map(|aggregate| self.end_of_one(aggregate));
        let end = ends.next()??;
        ends.all(|other| other == Some(end)).then_some(end)
    }

    fn end_of_one(&self, aggregate: &AggregateFunctionExpr) -> Option<End> {
        let name = aggregate.fun().name();
        if aggregate.ignore_nulls() {
            // The last value that is there can be in an earlier row.
            return None;
        }
        match (name, aggregate.expressions().as_slice()) {
            ("max", [argument]) if self.is_index(argument) => return Some(End::Last),
            ("min", [argument]) if self.is_index(argument) => return Some(End::First),
            ("first_value" | "last_value", _) => {}
            _ => return None,
        }
        // Entity columns are the same in all rows of a group and order nothing.
        let is_entity = |expr: &Arc<dyn PhysicalExpr>| {
            self.name_of(expr)
                .is_some_and(|name| self.layout.entity_names.iter().any(|entity| entity == name))
        };
        let key = aggregate.order_bys().iter().find(|key| !is_entity(&key.expr))?;
        if !self.is_index(&key.expr) {
            return None;
        }
        match (name == "last_value", key.options.descending) {
            (true, false) | (false, true) => Some(End::Last),
            _ => Some(End::First),
        }
    }

    /// The segments that can hold the row at that end of some entity; `None` when those are all.
    fn holders(&self, end: End) -> Option<HashSet<SegmentId>> {
        let coverage = &self.snapshot.coverage;
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
        let segments = &self.snapshot.segments;
        let kept: HashSet<SegmentId> = segments
            .iter()
            .filter(|segment| self.may_hold(segment, &by_bucket).unwrap_or(true))
            .map(|segment| segment.id)
            .collect();
        (kept.len() < segments.len()).then_some(kept)
    }

    /// Whether a segment may hold rows of one of these (bucket, entity) pairs; `None` when its ranges are not known.
    fn may_hold(
        &self,
        segment: &SegmentMeta,
        pairs: &BTreeMap<BucketId, Vec<EntityKey>>,
    ) -> Option<bool> {
        let bucketing = self.layout.bucketing.as_ref()?;
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

    /// `plan` over a scan of no other segments than `kept`.
    fn over(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        kept: &HashSet<SegmentId>,
        options: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(scan) = plan.downcast_ref::<DataSourceExec>() else {
            let mut changed = false;
            let mut children = Vec::new();
            for child in plan.children() {
                let found = self.over(child, kept, options)?;
                changed |= found.is_some();
                children.push(found.unwrap_or_else(|| Arc::clone(child)));
            }
            if !changed {
                return Ok(None);
            }
            return replace_children_if_necessary(Arc::clone(plan), children).map(Some);
        };
        let Some((config, _)) = scan.downcast_to_file_source::<ParquetSource>() else {
            return Ok(None);
        };
        let mut seen = HashSet::new();
        let mut files: Vec<PartitionedFile> = Vec::new();
        for file in config.file_groups.iter().flat_map(FileGroup::iter) {
            let Some(segment) = file.extension::<ScanSegment>() else { return Ok(None) };
            // One file may be dealt out in several byte ranges.
            if kept.contains(&segment.meta.id) && seen.insert(segment.meta.id) {
                let mut whole = file.clone();
                whole.range = None;
                files.push(whole);
            }
        }
        let groups = match files.is_empty() {
            true => vec![FileGroup::new(Vec::new())],
            false => groups::split(files, options),
        };
        let statistics = config.partition_statistics(None)?.as_ref().clone().to_inexact();
        let config = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(groups)
            .with_statistics(statistics)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

/// The scans below operators that pass rows on as they are; `None` when there are others.
fn collect<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    leaves: &mut Vec<&'a DataSourceExec>,
) -> Option<()> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        leaves.push(scan);
        return Some(());
    }
    let sorts = plan.downcast_ref::<SortExec>().is_some_and(|sort| sort.fetch().is_none());
    let passes_on = sorts
        || plan.is::<UnionExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CooperativeExec>();
    if !passes_on {
        return None;
    }
    plan.children().into_iter().try_for_each(|child| collect(child, leaves))
}
