//! [`HotSource`]: hot rows as a data source: DataFusion's memory source, with the statistics and the order that it would
//! not know of.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::{groups, statistics};
use crate::hot::HotView;
use crate::scan::Part;
use crate::schema::TableLayout;

/// Rows per batch that a scan hands on: few enough to stay in a processor's cache.
const BATCH_ROWS: usize = 8192;

/// One partition of sorted rows.
#[derive(Debug, Clone)]
pub(super) struct HotSource {
    rows: MemorySourceConfig,
    /// Exact statistics of all columns of the table, as far as the scan needs to know them.
    statistics: Arc<Statistics>,
}

impl HotSource {
    /// The scan of a view of hot rows.
    pub(super) fn scan(
        view: Arc<HotView>,
        layout: &TableLayout,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = groups::columns_known(layout, projection);
        let statistics = statistics::of_part(Part::Hot(&view), layout, &wanted);
        let row_count = view.batch().num_rows();
        let batches = (0..row_count)
            .step_by(BATCH_ROWS)
            .map(|start| view.batch().slice(start, BATCH_ROWS.min(row_count - start)));
        let ordering = match layout.index {
            Some(_) if !groups::counts_only(projection) => groups::declared_ordering(layout),
            _ => None,
        };
        let rows = MemorySourceConfig::try_new(
            &[batches.collect()],
            view.batch().schema(),
            projection.cloned(),
        )?
        .try_with_sort_information(ordering.into_iter().collect())?
        .with_limit(limit);
        Ok(DataSourceExec::from_data_source(Self { rows, statistics: Arc::new(statistics) }))
    }

    /// The same over another form of the memory source; `None` when it is of some other kind.
    fn over(&self, rows: Arc<dyn DataSource>) -> Option<Arc<dyn DataSource>> {
        let rows: Arc<dyn Any + Send + Sync> = rows;
        let rows = rows.downcast_ref::<MemorySourceConfig>()?.clone();
        Some(Arc::new(Self { rows, statistics: Arc::clone(&self.statistics) }))
    }

    /// Statistics of the columns that are shown.
    fn shown(&self) -> Statistics {
        let known = self.statistics.as_ref().clone();
        match self.rows.projection() {
            None => known,
            Some(projection) => Statistics {
                column_statistics: projection
                    .iter()
                    .map(|position| known.column_statistics.get(*position).cloned())
                    .map(|column| column.unwrap_or_else(ColumnStatistics::new_unknown))
                    .collect(),
                ..known
            },
        }
    }
}

impl DataSource for HotSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.rows.open(partition, context)
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            // One property a line: the memory source says what there is.
            DisplayFormatType::TreeRender => {}
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "hot rows, ")?,
        }
        self.rows.fmt_as(format, f)
    }

    fn output_partitioning(&self) -> Partitioning {
        self.rows.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.rows.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.rows.scheduling_type()
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        let shown = self.shown();
        let Some(limit) = self.rows.fetch() else { return Ok(Arc::new(shown)) };
        match shown.num_rows {
            // The first rows have other bounds than all of them.
            Precision::Exact(row_count) if row_count > limit => {
                let shown = shown.to_inexact();
                Ok(Arc::new(Statistics { num_rows: Precision::Exact(limit), ..shown }))
            }
            _ => Ok(Arc::new(shown)),
        }
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        self.over(self.rows.with_fetch(limit)?)
    }

    fn fetch(&self) -> Option<usize> {
        self.rows.fetch()
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let swapped = self.rows.try_swapping_with_projection(projection)?;
        Ok(swapped.and_then(|rows| self.over(rows)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.rows.apply_expressions(f)
    }
}
