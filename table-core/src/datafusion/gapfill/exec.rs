//! The operator: its place in a plan, and the stream of one partition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, LexRequirement, OrderingRequirements,
    PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;

use super::filler::{Filler, Layout};
use super::node::GapFill;
use super::{failed, one_input, refused};
use crate::error::ErrorKind;

/// Rows that gap filling may make over one GROUP BY, those that have data not counted. What is made streams, so this bounds
/// time and what a client has to take, not memory.
pub const GAPFILL_ROWS_MAX: u64 = 100_000_000;

/// Plans gap filling; belongs into the query planner of a session.
#[derive(Debug, Default)]
pub(crate) struct GapFillPlanner;

#[async_trait]
impl ExtensionPlanner for GapFillPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<GapFill>() else { return Ok(None) };
        let input = one_input(physical_inputs.to_vec())?;
        let window = node.window.clone().ok_or_else(|| {
            refused(
                "gap filling needs values for all parameters of its width, bounds and time zone",
            )
        })?;
        let layout = Layout {
            schema: Arc::clone(node.schema.inner()),
            group_count: node.group_count,
            bucket: node.bucket,
            window,
            fills: node.fills.clone(),
        };
        let filled: Arc<dyn ExecutionPlan> =
            Arc::new(GapFillExec::new(input, Arc::new(layout), GAPFILL_ROWS_MAX));
        let Some(predicate) = conjunction(node.filters.iter().cloned()) else {
            return Ok(Some(filled));
        };
        let predicate =
            planner.create_physical_expr(&predicate, &node.schema, session, planning)?;
        Ok(Some(Arc::new(FilterExec::try_new(predicate, filled)?)))
    }
}

/// Fills gaps in rows sorted by (keys, bucket), partition by partition. Keeps that order.
#[derive(Debug)]
pub(super) struct GapFillExec {
    input: Arc<dyn ExecutionPlan>,
    layout: Arc<Layout>,
    /// Rows that all partitions together may make.
    rows_max: u64,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    made: Arc<AtomicU64>,
}

impl GapFillExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, layout: Arc<Layout>, rows_max: u64) -> Self {
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&layout.schema));
        if let Some(ordering) = ordering(&layout) {
            equivalences.add_ordering(ordering);
        }
        let partitioning = match input.output_partitioning() {
            // Keys stand where they stood, and stay in their partitions.
            Partitioning::Hash(keys, count) => Partitioning::Hash(keys.clone(), *count),
            other => Partitioning::UnknownPartitioning(other.partition_count()),
        };
        let properties = PlanProperties::new(
            equivalences,
            partitioning,
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            layout,
            rows_max,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            made: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_rows_max(&self, rows_max: u64) -> Self {
        Self::new(Arc::clone(&self.input), Arc::clone(&self.layout), rows_max)
    }
}

/// By keys, then by bucket: as segments are sorted, so that their order can be used.
fn ordering(layout: &Layout) -> Option<LexOrdering> {
    let options = SortOptions { descending: false, nulls_first: false };
    let sorted = layout
        .keys()
        .chain([layout.bucket])
        .map(|position| PhysicalSortExpr::new(column(layout, position), options));
    LexOrdering::new(sorted)
}

fn column(layout: &Layout, position: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(layout.schema.field(position).name(), position))
}

impl DisplayAs for GapFillExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { window, fills, .. } = self.layout.as_ref();
        let text = |bucket| window.buckets.format(window.buckets.start(bucket));
        write!(
            f,
            "GapFillExec: buckets=[{}], from={}, through={}",
            window.buckets.describe(),
            text(window.first),
            text(window.last)
        )?;
        let names: Vec<&str> = fills.iter().map(|fill| fill.name.as_str()).collect();
        if names.is_empty() { Ok(()) } else { write!(f, ", fills=[{}]", names.join(", ")) }
    }
}

impl ExecutionPlan for GapFillExec {
    fn name(&self) -> &'static str {
        "GapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys: Vec<_> =
            self.layout.keys().map(|position| column(&self.layout, position)).collect();
        InputDistributionRequirements::new(vec![if keys.is_empty() {
            Distribution::SinglePartition
        } else {
            Distribution::KeyPartitioned(keys)
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let ordering = ordering(&self.layout).map(LexRequirement::from);
        vec![ordering.map(OrderingRequirements::from)]
    }

    /// Only the order of [`ordering`] is kept, as no other is required of the input; `true` would let an ORDER BY be pushed
    /// below.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = one_input(children)?;
        Ok(Arc::new(Self::new(input, Arc::clone(&self.layout), self.rows_max)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let consumer = MemoryConsumer::new(format!("GapFillExec[{partition}]"));
        let run = Run {
            input,
            filler: Filler::new(Arc::clone(&self.layout), context.session_config().batch_size()),
            ended: false,
            memory: consumer.register(context.memory_pool()),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            rows_made: MetricBuilder::new(&self.metrics).counter("rows_made", partition),
            made: Arc::clone(&self.made),
            rows_max: self.rows_max,
        };
        let stream = futures::stream::try_unfold(run, |mut run| async move {
            Ok(run.next().await?.map(|batch| (batch, run)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.layout.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        // Whatever is known lets a LIMIT be pushed through to the groups below.
        CardinalityEffect::Unknown
    }
}

/// One partition on its way.
struct Run {
    input: SendableRecordBatchStream,
    filler: Filler,
    ended: bool,
    memory: MemoryReservation,
    baseline: BaselineMetrics,
    rows_made: Count,
    made: Arc<AtomicU64>,
    rows_max: u64,
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let timer = self.baseline.elapsed_compute().timer();
            let filled = self.filler.next()?;
            self.memory.try_resize(self.filler.memory_bytes())?;
            timer.done();
            if let Some((batch, made)) = filled {
                self.count(made)?;
                self.baseline.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            match self.input.next().await.transpose()? {
                Some(batch) => self.filler.push(batch),
                None => {
                    self.ended = true;
                    self.filler.finish();
                }
            }
        }
    }

    fn count(&self, made: usize) -> Result<()> {
        self.rows_made.add(made);
        let made = made as u64;
        if self.made.fetch_add(made, Ordering::Relaxed).saturating_add(made) > self.rows_max {
            return Err(failed(
                ErrorKind::Exhausted,
                format!(
                    "gap filling made more than {} rows that have no data, which is the most over one GROUP BY; take wider \
                     buckets, a shorter time or fewer groups",
                    self.rows_max
                ),
            ));
        }
        Ok(())
    }
}
