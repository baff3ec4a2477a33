//! The rows of appends, and finding them again in a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use end_to_end::history::{Append, Key, Pair};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use table_core::Snapshot;
use table_core::hot::INLINE_BYTES_MAX;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::storage::{DurableStore, layout};
use table_core::types::BucketWidth;

use crate::world::World;

/// Width of a bucket.
pub const BUCKET: i64 = 10;

/// Rows of one append at most.
const ROWS_MAX: u64 = 3;

/// One row: entity, index value, and the append that it belongs to.
pub type Row = (String, i64, Key);

/// How the table is made.
pub fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse(&BUCKET.to_string()).unwrap(),
            entity_columns: vec!["entity".into()],
            time_zone: "UTC".into(),
        }),
    }
}

/// The append with this key.
pub fn append(key: Key, pair: Pair) -> Append {
    Append { pair, row_count: 1 + key % ROWS_MAX }
}

/// Its rows.
pub fn rows(key: Key, append: &Append) -> impl Iterator<Item = Row> {
    let Pair { entity, bucket } = append.pair;
    (0..append.row_count as i64).map(move |row| (format!("e{entity}"), bucket * BUCKET + row, key))
}

/// The same as they are sent. A large one is too long for a record, so it becomes a segment.
pub fn batch(key: Key, append: &Append, is_large: bool) -> RecordBatch {
    let rows: Vec<Row> = rows(key, append).collect();
    let note = |row: usize| match is_large && row == 0 {
        true => "n".repeat(INLINE_BYTES_MAX),
        false => "short".to_owned(),
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("entity", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)))),
        ("key", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2 as i64)))),
        ("note", Arc::new(StringArray::from_iter_values((0..rows.len()).map(note)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The rows of a batch.
pub fn rows_in(batch: &RecordBatch) -> Vec<Row> {
    let numbers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
    let entities = batch.column_by_name("entity").unwrap().as_string::<i32>().iter();
    let (index, keys) = (numbers("n").values(), numbers("key").values());
    entities
        .zip(index.iter().zip(keys))
        .map(|(entity, (index, key))| (entity.unwrap().to_owned(), *index, *key as Key))
        .collect()
}

/// The rows of a segment's file.
pub fn rows_in_segment(file: Bytes) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let columns = ["n", "entity", "key"];
    let mask = ProjectionMask::columns(reader.parquet_schema(), columns);
    let batches = reader.with_projection(mask).build().unwrap();
    batches.flat_map(|batch| rows_in(&batch.unwrap())).collect()
}

/// Adds rows by append.
pub fn count_rows(rows: impl IntoIterator<Item = Row>, counts: &mut BTreeMap<Key, u64>) {
    for (_, _, key) in rows {
        *counts.entry(key).or_default() += 1;
    }
}

/// Rows of a snapshot by append, its segments read through a server's own storage.
///
/// # Errors
/// When a segment cannot be read.
pub async fn rows_of(
    world: &World,
    store: &Arc<dyn DurableStore>,
    snapshot: &Snapshot,
) -> std::io::Result<BTreeMap<Key, u64>> {
    let mut counts = BTreeMap::new();
    for segment in &snapshot.segments {
        let path = layout::segment(snapshot.table_id, segment.id);
        let file = store.read(&path).await?;
        let known = world.segments.lock().get(&path).cloned();
        let rows = known.unwrap_or_else(|| {
            let mut counts = BTreeMap::new();
            count_rows(rows_in_segment(file), &mut counts);
            let rows = Arc::new(counts);
            world.segments.lock().insert(path, Arc::clone(&rows));
            rows
        });
        for (key, count) in rows.iter() {
            *counts.entry(*key).or_default() += count;
        }
    }
    for hot in snapshot.hot.iter() {
        count_rows(rows_in(&hot.batch), &mut counts);
    }
    Ok(counts)
}
