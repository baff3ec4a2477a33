//! A physical rule: rows of overlapping segments that are wanted in (entity, index) order are merged and not sorted.
//!
//! Each segment is in that order, but one append after the other fills a table with segments that overlap: every day has
//! every entity. The scan declares no order for those, since read one after the other they have none, and DataFusion sorts.
//! Where a sort is all that the rows are wanted for, each stretch of segments that follow one another becomes a partition of its own,
//! in order, and the partitions are merged: nothing is held but a batch and a row group of each, however many rows there are.
//!
//! Too many partitions, or too large row groups, are left to the sort, which has bounds of its own and can spill.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use super::groups;
use crate::segment::SegmentMeta;
use crate::segment::reader::ScanSegment;

/// Partitions of one scan that are merged at most: each has a file open.
const STRETCHES_MAX: usize = 64;

/// Bytes of row groups, as they are in the files, that the partitions of one scan may hold at once. Of a long row group a merge
/// holds a sixteenth of the rows besides, decoded: about as many bytes again.
const ROW_GROUPS_BYTES_MAX: u64 = 128 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct MergeSegments;

impl PhysicalOptimizerRule for MergeSegments {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let merged = if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
                let input = without_sorts(merge.input(), merge.expr())?;
                input
                    .map(|input| replace_children_if_necessary(Arc::clone(&node), vec![input]))
                    .transpose()?
            } else if let Some(sort) = node.downcast_ref::<SortExec>() {
                instead_of(sort)?
            } else {
                None
            };
            Ok(merged.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "merge_segments"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The input of a merge, in any number of partitions, without the sorts that it can do without; `None` when it needs all.
fn without_sorts(
    plan: &Arc<dyn ExecutionPlan>,
    order: &LexOrdering,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_none()) {
        return in_order(sort.input(), order);
    }
    let Some(below) = order_below(plan, order) else { return Ok(None) };
    let children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
    let found = children.iter().map(|child| without_sorts(child, &below));
    let found = found.collect::<Result<Vec<_>>>()?;
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let children = children.into_iter().zip(found).map(|(child, found)| found.unwrap_or(child));
    replace_children_if_necessary(Arc::clone(plan), children.collect()).map(Some)
}

/// What gives the rows of a sort in as many partitions; `None` when that takes the sort.
fn instead_of(sort: &SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if sort.fetch().is_some() {
        return Ok(None);
    }
    let Some(merged) = in_order(sort.input(), sort.expr())? else { return Ok(None) };
    let partitions = |plan: &dyn ExecutionPlan| plan.output_partitioning().partition_count();
    Ok(match partitions(sort) {
        wanted if wanted == partitions(merged.as_ref()) => Some(merged),
        1 => Some(Arc::new(SortPreservingMergeExec::new(sort.expr().clone(), merged))),
        _ => None,
    })
}

/// The same rows, such that each partition is in this order; `None` when that takes a sort. Descends through operators that keep
/// rows in order, or can be made to.
fn in_order(
    plan: &Arc<dyn ExecutionPlan>,
    order: &LexOrdering,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.equivalence_properties().ordering_satisfy(order.clone())? {
        return Ok(Some(Arc::clone(plan)));
    }
    // Each partition would have a limit of its own.
    if plan.fetch().is_some() {
        return Ok(None);
    }
    let ordered = if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        in_stretches(scan)
    } else if let Some(spread) = plan.downcast_ref::<RepartitionExec>() {
        match (in_order(spread.input(), order)?, spread.partitioning()) {
            (None, _) => None,
            // There to have more partitions; it would only mix them up.
            (Some(input), Partitioning::RoundRobinBatch(_)) => Some(input),
            (Some(input), partitioning) => {
                let spread = RepartitionExec::try_new(input, partitioning.clone())?;
                Some(Arc::new(spread.with_preserve_order()) as Arc<dyn ExecutionPlan>)
            }
        }
    } else if let Some(together) = plan.downcast_ref::<CoalescePartitionsExec>() {
        let input = in_order(together.input(), order)?;
        let merge =
            |input| SortPreservingMergeExec::new(order.clone(), input).with_fetch(together.fetch());
        // With a limit, other rows would be kept.
        input.filter(|_| together.fetch().is_none()).map(|input| Arc::new(merge(input)) as _)
    } else {
        match order_below(plan, order) {
            Some(below) => {
                let children = plan.children().into_iter().map(|child| in_order(child, &below));
                let children = children.collect::<Result<Option<Vec<_>>>>()?;
                children
                    .map(|children| replace_children_if_necessary(Arc::clone(plan), children))
                    .transpose()?
            }
            None => None,
        }
    };
    let Some(ordered) = ordered else { return Ok(None) };
    let is_in_order = ordered.equivalence_properties().ordering_satisfy(order.clone())?;
    Ok(is_in_order.then_some(ordered))
}

/// The order that the input of an operator must have for its output to have this one; `None` when that is not known.
fn order_below(plan: &Arc<dyn ExecutionPlan>, order: &LexOrdering) -> Option<LexOrdering> {
    if plan.is::<UnionExec>() || plan.is::<CooperativeExec>() {
        return Some(order.clone());
    }
    let shown: Box<dyn Fn(usize) -> Option<Column>> =
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let input = filter.input().schema();
            let projection = filter.projection().clone();
            Box::new(move |at| {
                let at = projection.as_ref().map_or(Some(at), |shown| shown.get(at).copied())?;
                Some(Column::new(input.fields().get(at)?.name(), at))
            })
        } else {
            let projection = plan.downcast_ref::<ProjectionExec>()?;
            Box::new(|at| projection.expr().get(at)?.expr.downcast_ref::<Column>().cloned())
        };
    let keys = order.iter().map(|key| {
        let column = shown(key.expr.downcast_ref::<Column>()?.index())?;
        Some(PhysicalSortExpr::new(Arc::new(column), key.options))
    });
    LexOrdering::new(keys.collect::<Option<Vec<_>>>()?)
}

/// A scan whose partitions are stretches of segments that follow one another; `None` when there are too many, or too large ones.
fn in_stretches(scan: &DataSourceExec) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, _) = scan.downcast_to_file_source::<ParquetSource>()?;
    let mut seen = HashSet::new();
    let (mut files, mut segments) = (Vec::new(), Vec::new());
    for file in config.file_groups.iter().flat_map(FileGroup::iter) {
        let ScanSegment { meta, .. } = file.extension::<ScanSegment>()?;
        // One file may be dealt out in several byte ranges.
        if seen.insert(meta.id) {
            files.push(file);
            segments.push(Arc::clone(meta));
        }
    }
    let layout = &files.first()?.extension::<ScanSegment>()?.layout;
    let stretches = groups::stretches(&segments, layout, STRETCHES_MAX)?;
    let held = stretches.iter().filter_map(|stretch| {
        stretch.iter().filter_map(|at| segments.get(*at)).map(|segment| largest(segment)).max()
    });
    if held.fold(0, u64::saturating_add) > ROW_GROUPS_BYTES_MAX {
        return None;
    }
    let whole = |at: &usize| PartitionedFile { range: None, ..files[*at].clone() };
    let groups =
        stretches.iter().map(|stretch| FileGroup::new(stretch.iter().map(whole).collect()));
    let config = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(groups.collect())
        .with_output_ordering(groups::declared_ordering(layout).into_iter().collect())
        .build();
    Some(DataSourceExec::from_data_source(config))
}

/// Bytes of the largest row group of a segment.
fn largest(segment: &SegmentMeta) -> u64 {
    let bytes = segment.row_groups.iter().map(|group| group.end.saturating_sub(group.start));
    bytes.max().unwrap_or_default()
}
