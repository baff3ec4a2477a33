//! A table made of hand-written segments: tests decide which rows lie in which segment and how its row groups are cut.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use coverline_proto::log::InlineRows;
use datafusion::common::ScalarValue;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use table_core::datafusion::{
    PhysicalPlans, SegmentCache, SnapshotProvider, TABLE_STORE_URL, scalar_functions,
};
use table_core::hot::{self, HotRows, HotSet};
use table_core::schema::{TableLayout, TableSpec, field_id};
use table_core::segment::{ColumnStats, RowGroupMeta, SegmentMeta};
use table_core::storage::{DurableStore, layout};
use table_core::types::{EntityKey, EntityValue, SegmentId, TableId, Version};
use table_core::{Catalog, CatalogOptions, Snapshot};
use uuid::Uuid;

pub(crate) struct Fixture {
    pub root: tempfile::TempDir,
    pub store: Arc<dyn DurableStore>,
    pub table_id: TableId,
    pub empty: Snapshot,
    pub layout: Arc<TableLayout>,
    pub segments: Vec<Arc<SegmentMeta>>,
    pub hot: HotSet,
    pub cache: Arc<SegmentCache>,
}

impl Fixture {
    /// A table without rows. `schema` gets its field ids here.
    pub(crate) async fn new(spec: TableSpec, schema: &SchemaRef) -> Self {
        let root = tempfile::tempdir().unwrap();
        let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        let catalog = Catalog::open(root.path(), options).await.unwrap();
        let table = catalog.create_table("t", spec, Some(Arc::clone(schema)), "").await.unwrap();
        let empty = table.snapshot().as_ref().clone();
        let table_id = table.id();
        std::fs::create_dir_all(root.path().join(layout::table_data(table_id))).unwrap();
        Self {
            root,
            store: Arc::clone(table.store()),
            table_id,
            layout: Arc::clone(empty.layout.as_ref().unwrap()),
            empty,
            segments: Vec::new(),
            hot: HotSet::default(),
            cache: Arc::new(SegmentCache::default()),
        }
    }

    pub(crate) fn path(&self, segment: usize) -> PathBuf {
        self.root.path().join(layout::segment(self.table_id, self.segments[segment].id))
    }

    /// Sorts the rows by (entity, index).
    fn sorted(&self, batch: &RecordBatch) -> RecordBatch {
        let keys: Vec<SortColumn> = self
            .layout
            .entities
            .iter()
            .copied()
            .chain(self.layout.index)
            .map(|at| SortColumn { values: Arc::clone(batch.column(at)), options: None })
            .collect();
        let batch = match keys.is_empty() {
            true => batch.clone(),
            false => take_record_batch(batch, &lexsort_to_indices(&keys, None).unwrap()).unwrap(),
        };
        RecordBatch::try_new(Arc::clone(&self.layout.schema), batch.columns().to_vec()).unwrap()
    }

    /// Makes the rows those of one more small append.
    pub(crate) fn add_hot(&mut self, batch: &RecordBatch) {
        let rows = InlineRows {
            segment_id: Uuid::new_v4().into_bytes().to_vec().into(),
            ipc_stream: hot::encode(&self.sorted(batch)).unwrap(),
            row_count: batch.num_rows() as u64,
            ..InlineRows::default()
        };
        self.hot.push(HotRows::from_proto(&rows, Version(2), &self.layout).unwrap());
    }

    /// Writes the rows as one more segment.
    pub(crate) fn add_segment(&mut self, batch: &RecordBatch, rows_per_group: usize) {
        let id = SegmentId(Uuid::new_v4());
        let batch = self.sorted(batch);
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(rows_per_group))
            .set_data_page_row_count_limit(rows_per_group.div_ceil(4))
            .set_write_batch_size(16)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, Arc::clone(&self.layout.schema), Some(properties))
                .unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let path = self.root.path().join(layout::segment(self.table_id, id));
        std::fs::write(path, &bytes).unwrap();
        self.segments.push(Arc::new(self.describe(id, &batch, &bytes)));
    }

    fn describe(&self, id: SegmentId, batch: &RecordBatch, bytes: &[u8]) -> SegmentMeta {
        let parsed = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&bytes::Bytes::copy_from_slice(bytes))
            .unwrap();
        let mut start = 4;
        let row_groups: Vec<RowGroupMeta> = parsed
            .row_groups()
            .iter()
            .map(|group| {
                let end = group.columns().iter().map(|c| c.byte_range()).map(|(a, n)| a + n).max();
                let range = start..end.unwrap();
                start = range.end;
                RowGroupMeta {
                    row_count: group.num_rows() as u64,
                    start: range.start,
                    end: range.end,
                    crc32c: crc32c::crc32c(&bytes[range.start as usize..range.end as usize]),
                }
            })
            .collect();
        let columns = batch
            .columns()
            .iter()
            .zip(self.layout.schema.fields())
            .map(|(values, field)| {
                let (min, max) = bounds(values);
                let null_count = values.null_count() as u64;
                ColumnStats { field_id: field_id(field).unwrap(), null_count, min, max }
            })
            .collect();
        let index_range = self.layout.index.map(|at| {
            let (min, max) = bounds(batch.column(at));
            (index_value(&min.unwrap()), index_value(&max.unwrap()))
        });
        let entity_range = (!self.layout.entities.is_empty())
            .then(|| (self.entity(batch, 0), self.entity(batch, batch.num_rows() - 1)));
        SegmentMeta {
            id,
            file_bytes: bytes.len() as u64,
            footer_bytes: u64::from(u32::from_le_bytes(
                bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap(),
            )) + 8,
            row_count: batch.num_rows() as u64,
            index_range,
            entity_range,
            columns,
            row_groups,
            tail_crc32c: crc32c::crc32c(&bytes[start as usize..]),
            file_digest: *blake3::hash(bytes).as_bytes(),
            sorted: true,
        }
    }

    fn entity(&self, batch: &RecordBatch, row: usize) -> EntityKey {
        let values: Vec<EntityValue> = self
            .layout
            .entities
            .iter()
            .map(|at| match ScalarValue::try_from_array(batch.column(*at), row).unwrap() {
                ScalarValue::Utf8(Some(text)) => EntityValue::Utf8(text),
                ScalarValue::Int64(Some(number)) => EntityValue::Int(number),
                other => panic!("no entity type for {other:?}"),
            })
            .collect();
        EntityKey::encode(&values)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.empty.clone();
        snapshot.segments = self.segments.iter().cloned().collect();
        snapshot.hot = self.hot.clone();
        snapshot.row_count = self.segments.iter().map(|segment| segment.row_count).sum();
        snapshot.row_count += self.hot.row_count();
        snapshot.file_bytes = self.segments.iter().map(|segment| segment.file_bytes).sum();
        snapshot
    }

    /// A session in which the table is called `t`.
    pub(crate) fn session(&self, partitions: usize) -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(partitions);
        self.register(SessionContext::new_with_config(config))
    }

    /// A session over this table that plans with a rule of ours before those of the engine.
    pub(crate) fn session_with(
        &self,
        rule: impl PhysicalOptimizerRule + Send + Sync + 'static,
    ) -> SessionContext {
        let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(rule)];
        rules.extend(PhysicalOptimizer::new().rules);
        let state = SessionStateBuilder::new()
            .with_config(SessionConfig::new().with_target_partitions(2))
            .with_default_features()
            .with_query_planner(Arc::new(PhysicalPlans))
            .with_physical_optimizer_rules(rules)
            .build();
        self.register(SessionContext::new_with_state(state))
    }

    /// `session` with the table in it.
    pub(crate) fn register(&self, session: SessionContext) -> SessionContext {
        let url = ObjectStoreUrl::parse(TABLE_STORE_URL).unwrap();
        session.register_object_store(url.as_ref(), self.store.object_store());
        let provider = SnapshotProvider::new(
            Arc::new(self.snapshot()),
            "t",
            Arc::clone(&self.store),
            Arc::clone(&self.cache),
        );
        session.register_table("t", Arc::new(provider)).unwrap();
        scalar_functions().into_iter().for_each(|function| session.register_udf(function));
        session
    }
}

/// Smallest and greatest value by DataFusion's own comparison; nothing for all nulls or a NaN.
fn bounds(values: &ArrayRef) -> (Option<ScalarValue>, Option<ScalarValue>) {
    let (mut min, mut max): (Option<ScalarValue>, Option<ScalarValue>) = (None, None);
    for row in 0..values.len() {
        let value = ScalarValue::try_from_array(values, row).unwrap();
        if value.is_null() {
            continue;
        }
        if matches!(value, ScalarValue::Float64(Some(number)) if number.is_nan()) {
            return (None, None);
        }
        if min.as_ref().is_none_or(|min| value < *min) {
            min = Some(value.clone());
        }
        if max.as_ref().is_none_or(|max| value > *max) {
            max = Some(value);
        }
    }
    (min, max)
}

fn index_value(value: &ScalarValue) -> i64 {
    match value {
        ScalarValue::UInt64(Some(value)) => value.cast_signed(),
        ScalarValue::Int64(Some(value))
        | ScalarValue::TimestampSecond(Some(value), _)
        | ScalarValue::TimestampMillisecond(Some(value), _)
        | ScalarValue::TimestampMicrosecond(Some(value), _)
        | ScalarValue::TimestampNanosecond(Some(value), _) => *value,
        other => panic!("no index type for {other:?}"),
    }
}
