//! A physical rule: groups that are not the index itself do not need the order of the scan.
//!
//! A declared order is kept up to the last operator that could make use of it. Where rows are grouped by a function of the
//! index, DataFusion then merges the partitions in order, which lets them work only one after the other, and partitions
//! may not take each other's files. A hash table of the groups costs less than that. The order stays where it saves more
//! than it costs: below a limit, which it lets stop early; for aggregates that ask for it; and for groups by the index
//! itself, which can be as many as there are rows.
//!
//! Belongs in front of DataFusion's own rules, which then plan for a scan that never had an order.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use crate::segment::reader::ScanSegment;

/// See the module.
#[derive(Debug, Default)]
pub struct UnorderedGroups;

impl PhysicalOptimizerRule for UnorderedGroups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            if stops_early(&node)? {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            let unordered = match node.downcast_ref::<AggregateExec>().and_then(input_of) {
                Some(input) => without_order(input)?,
                None => None,
            };
            match unordered {
                Some(input) => {
                    Ok(Transformed::yes(replace_children_if_necessary(node, vec![input])?))
                }
                None => Ok(Transformed::no(node)),
            }
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "unordered_groups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether an operator may end before its input does, if that comes in order. A sort that the order does not spare must see
/// all of it.
fn stops_early(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    match node.downcast_ref::<SortExec>() {
        Some(sort) if sort.fetch().is_some() => {
            let known = sort.input().properties().equivalence_properties();
            known.ordering_satisfy(sort.expr().iter().cloned())
        }
        _ => Ok(node.fetch().is_some()),
    }
}

/// The rows of an aggregation that can do without their order.
fn input_of(aggregation: &AggregateExec) -> Option<&Arc<dyn ExecutionPlan>> {
    let wants_order = aggregation.limit_options().is_some()
        || aggregation.aggr_expr().iter().any(|aggregate| !aggregate.order_bys().is_empty());
    let input = aggregation.input();
    let reads_rows = aggregation.mode().input_mode() == AggregateInputMode::Raw;
    if wants_order || !reads_rows || groups_by_index(aggregation) {
        return None;
    }
    Some(input)
}

/// Whether one of the groups is the index column of a scan below; a name that is merely the same does no harm.
fn groups_by_index(aggregation: &AggregateExec) -> bool {
    let columns = aggregation.group_expr().expr().iter();
    let mut columns = columns.filter_map(|(expr, _)| expr.downcast_ref::<Column>());
    columns.any(|column| {
        aggregation.input().exists(|node| Ok(index_of(node) == Some(column.name()))).unwrap_or(true)
    })
}

/// Name of the index column of a scan of segments.
fn index_of(node: &Arc<dyn ExecutionPlan>) -> Option<&str> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    let (config, _) = scan.downcast_to_file_source::<ParquetSource>()?;
    let file = config.file_groups.iter().flat_map(FileGroup::iter).next()?;
    file.extension::<ScanSegment>()?.layout.index_name()
}

/// `plan` over scans without an order; `None` when they have none. Descends through operators that need none.
fn without_order(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some((config, _)) = scan.downcast_to_file_source::<ParquetSource>() else {
            return Ok(None);
        };
        if index_of(plan).is_none() || !config.preserve_order {
            return Ok(None);
        }
        let config = FileScanConfigBuilder::from(config.clone())
            .with_output_ordering(Vec::new())
            .with_preserve_order(false)
            .build();
        return Ok(Some(DataSourceExec::from_data_source(config)));
    }
    let passes_on = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnionExec>();
    if !passes_on {
        return Ok(None);
    }
    let mut changed = false;
    let mut children = Vec::new();
    for child in plan.children() {
        let found = without_order(child)?;
        changed |= found.is_some();
        children.push(found.unwrap_or_else(|| Arc::clone(child)));
    }
    if !changed {
        return Ok(None);
    }
    replace_children_if_necessary(Arc::clone(plan), children).map(Some)
}
