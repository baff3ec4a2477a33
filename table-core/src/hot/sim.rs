//! Real appends to a table on a simulated disk, and everything that a snapshot of it shows. For tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::INLINE_BYTES_MAX;
use crate::append::{AppendRequest, Receipt};
use crate::catalog::{Catalog, CatalogOptions};
use crate::clock::SeededClock;
use crate::coverage::CoverageDelta;
use crate::error::Result;
use crate::schema::{IndexSpec, TableSpec};
use crate::snapshot::Snapshot;
use crate::storage::faults::SimDisk;
use crate::storage::{DurableStore, layout};
use crate::table::Table;
use crate::types::{BucketId, BucketWidth, EntityKey, EntityValue, Version};

/// One row: entity and index value.
pub(super) type Row = (&'static str, i64);

/// Index values in a bucket.
const BUCKET: i64 = 10;

pub(super) fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse("10").unwrap(),
            entity_columns: vec!["name".into()],
            time_zone: "UTC".into(),
        }),
    }
}

pub(super) async fn open(disk: &SimDisk, seed: u64) -> Result<Arc<Catalog>> {
    // A server that restarts draws other ids than before.
    open_over(Arc::new(disk.store(Arc::new(SeededClock::new(seed)))), seed).await
}

pub(super) async fn open_over(store: Arc<dyn DurableStore>, seed: u64) -> Result<Arc<Catalog>> {
    let clock = Arc::new(SeededClock::new(seed));
    Catalog::over(store, CatalogOptions { clock, ..CatalogOptions::default() }).await
}

/// Rows with a note, which makes a large append too long for its record.
fn batch(rows: &[Row], is_large: bool) -> RecordBatch {
    let note = |row: usize| match is_large && row == 0 {
        true => "n".repeat(INLINE_BYTES_MAX),
        false => "short".to_owned(),
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("note", Arc::new(StringArray::from_iter_values((0..rows.len()).map(note)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(super) async fn append(table: &Arc<Table>, rows: &[Row], is_large: bool) -> Result<Receipt> {
    let mut append = table.append(AppendRequest::default());
    append.write(batch(rows, is_large)).await?;
    append.commit().await
}

fn rows_in(batch: &RecordBatch) -> Vec<(String, i64)> {
    let n = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    let name = batch.column_by_name("name").unwrap().as_string::<i32>();
    name.iter().map(|name| name.unwrap().to_owned()).zip(n.values().iter().copied()).collect()
}

/// All rows of a snapshot, sorted, read from the files that the log names and from the log.
pub(super) fn rows_of(disk: &SimDisk, snapshot: &Snapshot) -> Vec<(String, i64)> {
    rows_from(snapshot, |path| disk.peek(path).map(Bytes::from))
}

/// The same, its files read by `read`.
pub(super) fn rows_from(
    snapshot: &Snapshot,
    read: impl Fn(&str) -> Option<Bytes>,
) -> Vec<(String, i64)> {
    let mut rows = Vec::new();
    for segment in &snapshot.segments {
        let path = layout::segment(snapshot.table_id, segment.id);
        let bytes = read(&path).unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(blake3::hash(&bytes).as_bytes(), &segment.file_digest, "{path}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            rows.extend(rows_in(&batch.unwrap()));
        }
    }
    for hot in snapshot.hot.iter() {
        rows.extend(rows_in(&hot.batch));
    }
    rows.sort();
    rows
}

/// Holds a snapshot against the appends that it should show: every row once, coverage the pairs of the rows and nothing
/// else, and each pair owned by its append.
pub(super) async fn check(
    disk: &SimDisk,
    table: &Table,
    snapshot: &Snapshot,
    appends: &[(Version, Vec<Row>)],
    label: &str,
) {
    let mut expected: Vec<(String, i64)> = appends
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(|row| (row.0.to_owned(), row.1)))
        .collect();
    expected.sort();
    assert_eq!(rows_of(disk, snapshot), expected, "{label}");
    assert_eq!(snapshot.row_count, expected.len() as u64, "{label}");
    let mut owners: BTreeMap<(EntityKey, BucketId), Version> = BTreeMap::new();
    let mut pairs = CoverageDelta::default();
    for (version, rows) in appends {
        for (name, n) in rows {
            let entity = EntityKey::encode(&[EntityValue::Utf8((*name).to_owned())]);
            let bucket = BucketId(n.div_euclid(BUCKET));
            pairs.insert(&entity, bucket);
            owners.insert((entity, bucket), *version);
        }
    }
    assert_eq!(snapshot.coverage.pair_count(), pairs.pair_count(), "{label}");
    for ((entity, bucket), owner) in owners {
        let found = table.owner_of(snapshot, &entity, bucket).await;
        assert_eq!(found.unwrap(), Some(owner), "{label}: owner of {entity:?} {bucket:?}");
    }
}
