//! A table in a real catalog on a temporary folder, and rows of bars to append to it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use table_core::append::{AppendRequest, OverlapPolicy, Receipt};
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;
use table_core::{Catalog, CatalogOptions, Error, Snapshot, Table};
use tempfile::TempDir;

pub(crate) const HOUR_US: i64 = 3_600_000_000;

pub(crate) struct Root {
    pub folder: TempDir,
    pub catalog: Arc<Catalog>,
}

impl Root {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let catalog = open(folder.path()).await;
        Self { folder, catalog }
    }

    pub(crate) async fn table(&self, spec: TableSpec, schema: Option<SchemaRef>) -> Arc<Table> {
        self.catalog.create_table("prices", spec, schema, "").await.unwrap()
    }

    /// The same root, opened anew.
    pub(crate) async fn reopened(self) -> Self {
        let Self { folder, catalog } = self;
        drop(catalog);
        let catalog = open(folder.path()).await;
        Self { folder, catalog }
    }

    pub(crate) fn segment_paths(&self, table: &Table, snapshot: &Snapshot) -> Vec<PathBuf> {
        let data = self.data_folder(table);
        let of = |id: table_core::types::SegmentId| data.join(format!("{id}.parquet"));
        snapshot.segments.iter().map(|segment| of(segment.id)).collect()
    }

    pub(crate) fn data_folder(&self, table: &Table) -> PathBuf {
        self.folder.path().join(format!("tables/{}/data", table.id()))
    }

    pub(crate) fn files(&self, table: &Table) -> usize {
        std::fs::read_dir(self.data_folder(table)).map_or(0, Iterator::count)
    }

    /// All rows of a version, segment after segment and then the hot rows of one append after the other, with every promise of
    /// the metadata checked on the way.
    pub(crate) fn rows(&self, table: &Table, snapshot: &Snapshot) -> RecordBatch {
        let schema = snapshot.schema().unwrap();
        let query_schema = &snapshot.layout.as_ref().unwrap().query_schema;
        let mut batches = Vec::new();
        for (path, meta) in self.segment_paths(table, snapshot).iter().zip(&snapshot.segments) {
            let bytes = std::fs::read(path).unwrap();
            assert_eq!(bytes.len() as u64, meta.file_bytes);
            assert_eq!(blake3::hash(&bytes).as_bytes(), &meta.file_digest);
            let mut end = 4;
            for group in &meta.row_groups {
                assert_eq!(group.start, end);
                end = group.end;
                let range = group.start as usize..group.end as usize;
                assert_eq!(crc32c::crc32c(&bytes[range]), group.crc32c);
            }
            assert_eq!(crc32c::crc32c(&bytes[end as usize..]), meta.tail_crc32c);
            let footer = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap());
            assert_eq!(u64::from(footer) + 8, meta.footer_bytes);

            let reader =
                ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
            assert_eq!(reader.metadata().num_row_groups(), meta.row_groups.len());
            assert_eq!(reader.schema().fields(), schema.fields(), "stored with field ids");
            let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
            let rows = concat_batches(schema, &read).unwrap();
            assert_eq!(rows.num_rows() as u64, meta.row_count);
            let columns = rows.columns().iter().zip(query_schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
            batches
                .push(RecordBatch::try_new(Arc::clone(query_schema), columns.collect()).unwrap());
        }
        batches.extend(snapshot.hot.iter().map(|rows| rows.batch.clone()));
        let all = concat_batches(query_schema, &batches).unwrap();
        assert_eq!(all.num_rows() as u64, snapshot.row_count);
        all
    }
}

pub(crate) async fn open(folder: &Path) -> Arc<Catalog> {
    let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
    Catalog::open(folder, options).await.unwrap()
}

pub(crate) fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "ts".into(),
            bucket: BucketWidth::parse("1h").unwrap(),
            entity_columns: vec!["symbol".into()],
            time_zone: "UTC".into(),
        }),
    }
}

pub(crate) fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Rows (symbol, timestamp in microseconds, price).
pub(crate) fn bars(rows: &[(&str, i64, f64)]) -> RecordBatch {
    let ts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts.with_timezone("UTC"))),
        ("symbol", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)))),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// So many rows of one bucket that no record carries them inline.
pub(crate) fn many_bars(symbol: &str, hour: i64) -> RecordBatch {
    let rows: Vec<_> = (0..20_000).map(|row| (symbol, hour * HOUR_US + row, row as f64)).collect();
    bars(&rows)
}

pub(crate) fn read_bars(rows: &RecordBatch) -> Vec<(String, i64, f64)> {
    let ts = rows.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
    let symbol = rows.column_by_name("symbol").unwrap().as_string::<i32>().clone();
    let price = rows.column_by_name("price").unwrap();
    let price = price.as_primitive::<arrow::datatypes::Float64Type>().clone();
    (0..rows.num_rows())
        .map(|row| (symbol.value(row).to_owned(), ts.value(row), price.value(row)))
        .collect()
}

pub(crate) async fn append_all(
    table: &Arc<Table>,
    request: AppendRequest,
    batches: &[RecordBatch],
) -> Result<Receipt, Error> {
    let mut append = table.append(request);
    if let Some(first) = batches.first() {
        append.begin(&first.schema()).await?;
    }
    for batch in batches {
        append.write(batch.clone()).await?;
    }
    append.commit().await
}

pub(crate) async fn append(table: &Arc<Table>, batches: &[RecordBatch]) -> Result<Receipt, Error> {
    append_all(table, AppendRequest::default(), batches).await
}

pub(crate) fn skip() -> AppendRequest {
    AppendRequest { on_overlap: OverlapPolicy::Skip, ..AppendRequest::default() }
}
