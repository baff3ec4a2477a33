//! [`AsofJoinExec`]: the operator. Both sides come sorted by their keys and the ordered column: the engine sorts what is not (and
//! spills while it does). What runs holds one batch of each side.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, JoinType, Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::equivalence::{ProjectionMapping, join_equivalence_properties};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning,
    PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::projection::{
    EmbeddedProjection, ProjectionExec, try_embed_projection,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, StatisticsArgs, apply_expression_roots,
};
use futures::stream::try_unfold;

use super::condition::Comparison;
use super::merge::Merge;
use super::nearness::Nearness;
use super::ordinal::{self, Ordinal};
use super::side::{SORT, SideExprs};
use super::stream::{Input, Joining, Output, Source};

/// Batches of a side that are made ready while others are merged.
const BATCHES_AHEAD: usize = 2;

/// What is compared, and how.
#[derive(Debug, Clone)]
pub(super) struct Matching {
    pub(super) left: SideExprs,
    pub(super) right: SideExprs,
    pub(super) comparison: Comparison,
    pub(super) nearness: Option<Nearness>,
    /// Of the ordered column on both sides.
    pub(super) value_type: DataType,
}

/// Which rows are in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// All of them: without keys there is one order for all, and rows that are in order stay so at no cost.
    Together,
    /// Those of the same keys.
    ByKeys,
}

/// Joins each row of the left side with the nearest of the right one. Rows come in the order of the left side.
#[derive(Debug, Clone)]
pub(super) struct AsofJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    matching: Matching,
    spread: Spread,
    /// Columns of the output among those of both sides; all of them when it is not set.
    projection: Option<Vec<usize>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl AsofJoinExec {
    pub(super) fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        matching: Matching,
        spread: Spread,
        projection: Option<Vec<usize>>,
    ) -> Result<Self> {
        let properties = properties(&left, &right, spread, projection.as_deref())?;
        Ok(Self {
            left,
            right,
            matching,
            spread,
            projection,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        })
    }

    /// Where each column of the output comes from.
    fn sources(&self) -> Vec<Source> {
        let left_count = self.left.schema().fields().len();
        let count = left_count + self.right.schema().fields().len();
        let source = |column: usize| match column.checked_sub(left_count) {
            None => Source::Left(column),
            Some(column) => Source::Right(column),
        };
        match &self.projection {
            Some(projection) => projection.iter().copied().map(source).collect(),
            None => (0..count).map(source).collect(),
        }
    }

    /// Right columns that are no key and not compared.
    fn deciding(&self) -> Vec<usize> {
        let compared = &self.matching.right;
        let is_compared = |position: usize| {
            let mut columns = compared.keys.iter().chain([&compared.value]);
            columns.any(|expr| {
                expr.downcast_ref::<Column>().is_some_and(|column| column.index() == position)
            })
        };
        let count = self.right.schema().fields().len();
        (0..count).filter(|position| !is_compared(*position)).collect()
    }

    fn start<T: Ordinal>(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = |side: &Arc<dyn ExecutionPlan>, exprs: &SideExprs| -> Result<Input> {
            // The two sides and the merge each at their own pace.
            let stream =
                spawn_buffered(side.execute(partition, Arc::clone(context))?, BATCHES_AHEAD);
            Ok(Input { stream, exprs: exprs.clone() })
        };
        let Matching { left, right, comparison, nearness, .. } = &self.matching;
        let joining = Joining {
            left: input(&self.left, left)?,
            right: input(&self.right, right)?,
            merge: Merge::<T>::new(*comparison, *nearness, self.deciding()),
            output: Output::new(self.schema(), self.sources()),
            reservation: MemoryConsumer::new(format!("AsofJoinExec[{partition}]"))
                .register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            matched_rows: MetricBuilder::new(&self.metrics).counter("matched_rows", partition),
        };
        let batches = try_unfold(joining, |mut joining| async move {
            let batch = joining.next().await?;
            Ok(batch.map(|batch| (batch, joining)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// The order in which a side must come.
pub(super) fn ordering(exprs: &SideExprs) -> Option<LexOrdering> {
    let columns = exprs.keys.iter().chain([&exprs.value]);
    LexOrdering::new(columns.map(|expr| PhysicalSortExpr::new(Arc::clone(expr), SORT)))
}

fn properties(
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
    spread: Spread,
    projection: Option<&[usize]>,
) -> Result<PlanProperties> {
    let schema = joined_schema(left, right);
    // Nothing that holds for the right side holds for nulls in its place.
    let mut equivalence = join_equivalence_properties(
        left.equivalence_properties().clone(),
        EquivalenceProperties::new(right.schema()),
        &JoinType::Left,
        Arc::clone(&schema),
        &[true, false],
        None,
        &[],
    )?;
    let mut partitioning = match spread {
        Spread::Together => Partitioning::UnknownPartitioning(1),
        Spread::ByKeys => left.output_partitioning().clone(),
    };
    if let Some(projection) = projection {
        let mapping = ProjectionMapping::from_indices(projection, &schema)?;
        partitioning = partitioning.project(&mapping, &equivalence);
        equivalence = equivalence.project(&mapping, Arc::new(schema.project(projection)?));
    }
    // The left side decides when the join ends, but tables are never endless.
    let boundedness = left.boundedness();
    Ok(PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, boundedness))
}

/// The columns of both sides, those of the right one nullable.
fn joined_schema(left: &Arc<dyn ExecutionPlan>, right: &Arc<dyn ExecutionPlan>) -> SchemaRef {
    let (left, right) = (left.schema(), right.schema());
    let nullable = |field: &Arc<Field>| match field.is_nullable() {
        true => Arc::clone(field),
        false => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    let fields = left.fields().iter().map(Arc::clone).chain(right.fields().iter().map(nullable));
    let mut metadata = right.metadata().clone();
    metadata.extend(left.metadata().clone());
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata))
}

impl DisplayAs for AsofJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Matching { left, right, comparison, nearness, .. } = &self.matching;
        write!(f, "AsofJoinExec: match=[{} {comparison} {}", left.value, right.value)?;
        match nearness {
            Some(Nearness::Units(units)) => write!(f, ", distance <= {units} units")?,
            Some(Nearness::Float { distance, inclusive: true }) => {
                write!(f, ", distance <= {distance}")?
            }
            Some(Nearness::Float { distance, .. }) => write!(f, ", distance < {distance}")?,
            None => {}
        }
        let on =
            left.keys.iter().zip(&right.keys).map(|(left, right)| format!("({left}, {right})"));
        write!(f, "], on=[{}]", on.collect::<Vec<_>>().join(", "))?;
        if let Some(projection) = &self.projection {
            let schema = joined_schema(&self.left, &self.right);
            let names = projection
                .iter()
                .map(|column| format!("{}@{column}", schema.field(*column).name()));
            write!(f, ", projection=[{}]", names.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for AsofJoinExec {
    fn name(&self) -> &'static str {
        "AsofJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        match self.spread {
            Spread::Together => {
                InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2])
            }
            Spread::ByKeys => InputDistributionRequirements::co_partitioned(vec![
                Distribution::KeyPartitioned(self.matching.left.keys.clone()),
                Distribution::KeyPartitioned(self.matching.right.keys.clone()),
            ]),
        }
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let required = |exprs| ordering(exprs).map(OrderingRequirements::from);
        vec![required(&self.matching.left), required(&self.matching.right)]
    }

    /// That of the left side is kept and is among the properties; `true` would let any ORDER BY be pushed below, where the order
    /// of the keys is needed.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let Matching { left, right, .. } = &self.matching;
        let keys = left.keys.iter().chain(&right.keys);
        apply_expression_roots(keys.chain([&left.value, &right.value]), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("an ASOF JOIN has two sides");
        };
        let (matching, projection) = (self.matching.clone(), self.projection.clone());
        Ok(Arc::new(Self::try_new(left, right, matching, self.spread, projection)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions =
            [&self.left, &self.right].map(|side| side.output_partitioning().partition_count());
        if partitions[0] != partitions[1] {
            return internal_err!("the sides of an ASOF JOIN have {partitions:?} partitions");
        }
        match ordinal::is_wide(&self.matching.value_type) {
            true => self.start::<i128>(partition, &context),
            false => self.start::<i64>(partition, &context),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::Skip]
    }

    /// As many rows as the left side has, with its values; of the right side nothing is known.
    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let schema = self.schema();
        let Some(left) = input_stats.first() else {
            return Ok(Arc::new(Statistics::new_unknown(&schema)));
        };
        let column = |source: Source| match source {
            Source::Left(position) => left.column_statistics.get(position).cloned(),
            Source::Right(_) => None,
        };
        let columns = self
            .sources()
            .into_iter()
            .map(|source| column(source).unwrap_or_else(ColumnStatistics::new_unknown));
        Ok(Arc::new(Statistics {
            num_rows: left.num_rows,
            total_byte_size: Precision::Absent,
            column_statistics: columns.collect(),
        }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        // `Equal` would let a LIMIT be pushed through to groups of either side.
        CardinalityEffect::Unknown
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.projection.is_some() {
            return Ok(None);
        }
        try_embed_projection(projection, self)
    }
}

impl EmbeddedProjection for AsofJoinExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        Self::try_new(
            Arc::clone(&self.left),
            Arc::clone(&self.right),
            self.matching.clone(),
            self.spread,
            projection,
        )
    }
}
