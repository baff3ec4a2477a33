//! [`SnapshotProvider`]: one table at one version, as DataFusion sees it.
//!
//! A scan is a plain `DataSourceExec` over explicit Parquet files, beside one over the hot rows when there are any. Which
//! files and rows is decided by `scan`; how files are grouped and ordered by `groups`; what is known of them without a read
//! by `statistics`; their bytes come through `segment::reader`, the hot rows through `memory`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use super::memory::HotSource;
use super::{groups, statistics};
use crate::scan::{self, Part};
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::segment::reader::{ScanSegment, SegmentCache, SegmentReaderFactory};
use crate::snapshot::Snapshot;
use crate::storage::{DurableStore, layout as paths};
use crate::types::SegmentId;

/// URL under which the session registers the root's object store.
pub const TABLE_STORE_URL: &str = "coverline://root";

/// One table at one version. Scans are a plain `DataSourceExec` over explicit Parquet files, and one over hot rows.
#[derive(Debug, Clone)]
pub struct SnapshotProvider {
    snapshot: Arc<Snapshot>,
    /// The segments to read, where the answer needs no others.
    only: Option<Arc<HashSet<SegmentId>>>,
    table: Arc<str>,
    store: Arc<dyn DurableStore>,
    cache: Arc<SegmentCache>,
    schema: SchemaRef,
}

impl SnapshotProvider {
    /// A provider of exactly this snapshot. `table` is the name that errors give it; `cache` is shared by all tables of a
    /// root.
    pub fn new(
        snapshot: Arc<Snapshot>,
        table: impl Into<Arc<str>>,
        store: Arc<dyn DurableStore>,
        cache: Arc<SegmentCache>,
    ) -> Self {
        let schema = snapshot
            .layout
            .as_ref()
            .map_or_else(|| Arc::new(Schema::empty()), |layout| Arc::clone(&layout.query_schema));
        Self { snapshot, only: None, table: table.into(), store, cache, schema }
    }

    /// The version that it shows.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The name that errors give the table.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Whether it shows all rows.
    pub(super) fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    /// The same without the rows of other segments than these.
    pub(super) fn only(&self, segments: HashSet<SegmentId>) -> Self {
        Self { only: Some(Arc::new(segments)), ..self.clone() }
    }

    fn reads(&self, segment: &SegmentMeta) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&segment.id))
    }

    fn file(
        table_folder: &str,
        segment: &Arc<SegmentMeta>,
        layout: &Arc<TableLayout>,
        columns: &[bool],
    ) -> PartitionedFile {
        let path = paths::segment_in(table_folder, segment.id);
        let known = ScanSegment { meta: Arc::clone(segment), layout: Arc::clone(layout) };
        let file = PartitionedFile::new(path, segment.file_bytes).with_extension(known);
        if !columns.contains(&true) {
            return file;
        }
        let known = statistics::of_part(Part::Segment(segment), layout, columns);
        file.with_statistics(Arc::new(known))
    }

    /// The scan of some segments.
    fn scan_segments(
        &self,
        state: &dyn Session,
        layout: &Arc<TableLayout>,
        segments: &[Arc<SegmentMeta>],
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = groups::columns_known(layout, projection);
        let mut options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        if statistics::may_hold_nan(segments, layout, &columns) {
            // Parquet's own bounds leave NaN out, but NaN is the greatest float to a filter: they would lose rows.
            options.global.pruning = false;
            options.global.enable_page_index = false;
        }
        let reader_factory = SegmentReaderFactory::new(
            Arc::clone(&self.table),
            self.store.object_store(),
            Arc::clone(&self.cache),
        );
        let late = options.global.pushdown_filters || selects_entities(filters, layout);
        let mut source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(options)
            .with_pushdown_filters(late)
            .with_parquet_file_reader_factory(Arc::new(reader_factory));
        let implied = scan::implied_filters(layout, filters);
        if let Some(implied) = scan::physical_filter(implied, &self.schema) {
            source = source.with_predicate(implied);
        }

        let segment_statistics = statistics::of_segments(segments.iter(), layout, &columns);
        let arranged = groups::arrange(segments, layout, projection);
        let table_folder = paths::table(self.snapshot.table_id);
        let files = arranged
            .segments
            .iter()
            .map(|segment| Self::file(&table_folder, segment, layout, &columns))
            .collect();
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(TABLE_STORE_URL)?, Arc::new(source))
                .with_file_groups(groups::split(files, state.config_options()))
                .with_output_ordering(arranged.ordering)
                .with_statistics(segment_statistics)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

#[async_trait]
impl TableProvider for SnapshotProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(scan::filter_support(&self.snapshot, filters))
    }

    fn statistics(&self) -> Option<Statistics> {
        let layout = self.snapshot.layout.as_ref()?;
        let columns = vec![true; layout.schema.fields().len()];
        let hot = self.snapshot.hot.view(layout).ok()?;
        let segments = self.snapshot.segments.iter().filter(|segment| self.reads(segment));
        let segments = segments.map(|segment| Part::Segment(segment));
        let parts = segments.chain(hot.as_deref().map(Part::Hot));
        Some(statistics::of_parts(parts, layout, &columns))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let empty = || -> Result<Arc<dyn ExecutionPlan>> {
            let schema = match projection {
                Some(projection) => Arc::new(self.schema.project(projection)?),
                None => Arc::clone(&self.schema),
            };
            Ok(Arc::new(EmptyExec::new(schema)))
        };
        let Some(layout) = self.snapshot.layout.as_ref() else { return empty() };
        let mut pruned = scan::prune(&self.snapshot, filters)?;
        pruned.segments.retain(|segment| self.reads(segment));
        let segments = (!pruned.segments.is_empty()).then(|| {
            self.scan_segments(state, layout, &pruned.segments, projection, filters, limit)
        });
        let hot = pruned.hot.map(|view| HotSource::scan(view, layout, projection, limit));
        match (segments.transpose()?, hot.transpose()?) {
            (Some(segments), Some(hot)) => UnionExec::try_new(vec![segments, hot]),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => empty(),
        }
    }
}

/// Whether a filter picks entities by equality. Only then decoding the other columns late pays: time ranges are already cut
/// out by the row groups and pages, and filtering while decoding costs them more than it saves.
fn selects_entities(filters: &[Expr], layout: &TableLayout) -> bool {
    let is_entity = |expr: &Expr| match expr {
        Expr::Column(column) => layout.entity_names.contains(&column.name),
        _ => false,
    };
    filters.iter().any(|filter| match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            matches!(
                (&**left, &**right),
                (entity, Expr::Literal(..)) | (Expr::Literal(..), entity) if is_entity(entity)
            )
        }
        Expr::InList(list) => !list.negated && is_entity(&list.expr),
        _ => false,
    })
}
