//! Real catalogs and tables on a simulated disk: opening, appending, and reading back everything that they show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use table_core::append::{AppendRequest, OverlapPolicy, Receipt};
use table_core::clock::SeededClock;
use table_core::hot::INLINE_BYTES_MAX;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::storage::faults::SimDisk;
use table_core::storage::layout;
use table_core::types::{BucketId, BucketWidth, EntityKey, EntityValue};
use table_core::{Catalog, CatalogOptions, Error, Snapshot, Table};

use crate::model::{ENTITIES, Facts, Known, Pair, Row, TableFacts};

pub(crate) fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse("10").unwrap(),
            entity_columns: vec!["name".into()],
            time_zone: "UTC".into(),
        }),
    }
}

/// Opens the root. A server that restarts draws other ids than before: `seed`.
pub(crate) async fn open(disk: &SimDisk, seed: u64) -> Result<Arc<Catalog>, Error> {
    let clock = Arc::new(SeededClock::new(seed));
    let options = CatalogOptions { clock: clock.clone(), ..CatalogOptions::default() };
    Catalog::over(Arc::new(disk.store(clock)), options).await
}

/// How to append.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    /// Too long for its record, so that it makes a segment.
    pub(crate) is_large: bool,
    pub(crate) skips: bool,
    pub(crate) key: Option<String>,
}

/// Rows with a note, which makes a large append too long for its record.
pub(crate) fn batch(rows: &[Row], is_large: bool) -> RecordBatch {
    let note = |row: usize| match is_large && row == 0 {
        true => "n".repeat(INLINE_BYTES_MAX),
        false => String::new(),
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.n)))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| ENTITIES[row.entity]))),
        ),
        ("tag", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.tag)))),
        ("note", Arc::new(StringArray::from_iter_values((0..rows.len()).map(note)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The append, its rows taken in and nothing committed.
pub(crate) async fn staged(
    table: &Arc<Table>,
    rows: &[Row],
    how: &How,
) -> Result<table_core::append::Append, Error> {
    let mut append = table.append(AppendRequest {
        on_overlap: if how.skips { OverlapPolicy::Skip } else { OverlapPolicy::Reject },
        append_id: how.key.clone(),
        ..AppendRequest::default()
    });
    append.write(batch(rows, how.is_large)).await?;
    Ok(append)
}

pub(crate) async fn append(table: &Arc<Table>, rows: &[Row], how: &How) -> Result<Receipt, Error> {
    staged(table, rows, how).await?.commit().await
}

/// Rows of segments that were read, by the digest of the file.
#[derive(Debug, Default)]
pub(crate) struct Segments(HashMap<[u8; 32], Vec<Row>>);

impl Segments {
    fn read(&mut self, disk: &SimDisk, snapshot: &Snapshot) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        for segment in &snapshot.segments {
            let path = layout::segment(snapshot.table_id, segment.id);
            let bytes = disk.peek(&path).ok_or_else(|| format!("{path} is missing"))?;
            let digest = *blake3::hash(&bytes).as_bytes();
            if digest != segment.file_digest {
                return Err(format!("{path} is damaged"));
            }
            rows.extend(
                self.0
                    .entry(digest)
                    .or_insert_with(|| {
                        let reader =
                            ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
                        reader.build().unwrap().flat_map(|batch| rows_in(&batch.unwrap())).collect()
                    })
                    .iter(),
            );
        }
        Ok(rows)
    }
}

fn rows_in(batch: &RecordBatch) -> Vec<Row> {
    let n = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    let name = batch.column_by_name("name").unwrap().as_string::<i32>();
    let tag = batch.column_by_name("tag").unwrap().as_primitive::<Int64Type>();
    let entity = |name: &str| ENTITIES.iter().position(|entity| *entity == name).unwrap();
    (0..batch.num_rows())
        .map(|row| Row { entity: entity(name.value(row)), n: n.value(row), tag: tag.value(row) })
        .collect()
}

pub(crate) fn key_of(entity: usize) -> EntityKey {
    EntityKey::encode(&[EntityValue::Utf8(ENTITIES[entity].to_owned())])
}

/// Everything that the catalog shows. A row that is there twice, or a table that cannot be read, is a violation.
pub(crate) async fn read(
    disk: &SimDisk,
    catalog: &Arc<Catalog>,
    segments: &mut Segments,
) -> Result<Facts, String> {
    let mut facts = Facts::new();
    for name in catalog.table_names() {
        let table = catalog.table(&name).await.map_err(|error| format!("{name}: {error}"))?;
        let snapshot = table.snapshot();
        let mut rows = segments.read(disk, &snapshot)?;
        for hot in snapshot.hot.iter() {
            rows.extend(rows_in(&hot.batch));
        }
        let count = rows.len();
        let rows: BTreeSet<Row> = rows.into_iter().collect();
        if rows.len() != count || snapshot.row_count != count as u64 {
            return Err(format!(
                "{name}: {} of {count} rows, said to be {}",
                rows.len(),
                snapshot.row_count
            ));
        }
        let mut pairs: BTreeSet<Pair> = BTreeSet::new();
        for (key, runs) in snapshot.coverage.iter() {
            let entity = (0..ENTITIES.len()).find(|entity| key_of(*entity) == key);
            let entity = entity.ok_or_else(|| format!("{name}: an unknown entity is covered"))?;
            for run in runs.iter() {
                pairs.extend((run.first.0..=run.last.0).map(|bucket| (entity, bucket)));
            }
        }
        // C17: the index is what the rows say.
        if snapshot.is_time_series() && pairs != rows.iter().map(Row::pair).collect() {
            return Err(format!("{name}: {pairs:?} are covered by {rows:?}"));
        }
        let keys: BTreeMap<String, Known> = snapshot
            .append_ids
            .iter()
            .map(|((_, key), id)| {
                let known = Known {
                    version: id.version,
                    row_count: id.row_count,
                    rows_skipped: id.rows_skipped,
                };
                (key.clone(), known)
            })
            .collect();
        let (version, hot_rows) = (snapshot.version.0, snapshot.hot.row_count());
        facts.insert(name, TableFacts { version, rows, hot_rows, pairs, keys });
    }
    Ok(facts)
}

/// C6: each pair is owned by the append that brought its rows.
pub(crate) async fn check_owners(
    table: &Arc<Table>,
    owners: &BTreeMap<Pair, u64>,
) -> Result<(), String> {
    let snapshot = table.snapshot();
    for ((entity, bucket), owner) in owners {
        let found = table.owner_of(&snapshot, &key_of(*entity), BucketId(*bucket)).await;
        let found = found.map_err(|error| error.to_string())?;
        if found.map(|version| version.0) != Some(*owner) {
            return Err(format!("{entity} {bucket} is owned by {found:?}, not by {owner}"));
        }
    }
    Ok(())
}
