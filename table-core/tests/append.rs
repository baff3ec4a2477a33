//! Appends through the public API, over a real catalog on a temporary folder: what is committed can be read back from the
//! Parquet files that the log names, and nothing else is committed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array,
    LargeStringArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::{concat_batches, sort_to_indices, take};
use arrow::datatypes::{
    DataType, Field, Int8Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use table_core::append::{AppendRequest, OverlapPolicy, Receipt};
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::{BucketWidth, Version};
use table_core::{Catalog, CatalogOptions, Error, ErrorKind, Snapshot, Table};
use tempfile::TempDir;

const HOUR_US: i64 = 3_600_000_000;

struct Root {
    folder: TempDir,
    catalog: Arc<Catalog>,
}

impl Root {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let catalog = open(folder.path()).await;
        Self { folder, catalog }
    }

    async fn table(&self, spec: TableSpec, schema: Option<SchemaRef>) -> Arc<Table> {
        self.catalog.create_table("prices", spec, schema, "").await.unwrap()
    }

    /// The same root, opened anew.
    async fn reopened(self) -> Self {
        let Self { folder, catalog } = self;
        drop(catalog);
        let catalog = open(folder.path()).await;
        Self { folder, catalog }
    }

    fn segment_paths(&self, table: &Table, snapshot: &Snapshot) -> Vec<PathBuf> {
        let data = self.data_folder(table);
        let of = |id: table_core::types::SegmentId| data.join(format!("{id}.parquet"));
        snapshot.segments.iter().map(|segment| of(segment.id)).collect()
    }

    fn data_folder(&self, table: &Table) -> PathBuf {
        self.folder.path().join(format!("tables/{}/data", table.id()))
    }

    fn files(&self, table: &Table) -> usize {
        std::fs::read_dir(self.data_folder(table)).map_or(0, Iterator::count)
    }

    /// All rows of a version, segment after segment, with every promise of the metadata checked on the way.
    fn rows(&self, table: &Table, snapshot: &Snapshot) -> RecordBatch {
        let schema = snapshot.schema().unwrap();
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
            batches.push(rows);
        }
        let all = concat_batches(schema, &batches).unwrap();
        assert_eq!(all.num_rows() as u64, snapshot.row_count);
        all
    }
}

async fn open(folder: &Path) -> Arc<Catalog> {
    let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
    Catalog::open(folder, options).await.unwrap()
}

fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "ts".into(),
            bucket: BucketWidth::parse("1h").unwrap(),
            entity_columns: vec!["symbol".into()],
            time_zone: "UTC".into(),
        }),
    }
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Rows (symbol, timestamp in microseconds, price).
fn bars(rows: &[(&str, i64, f64)]) -> RecordBatch {
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

fn read_bars(rows: &RecordBatch) -> Vec<(String, i64, f64)> {
    let ts = rows.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
    let symbol = rows.column_by_name("symbol").unwrap().as_string::<i32>().clone();
    let price = rows.column_by_name("price").unwrap();
    let price = price.as_primitive::<arrow::datatypes::Float64Type>().clone();
    (0..rows.num_rows())
        .map(|row| (symbol.value(row).to_owned(), ts.value(row), price.value(row)))
        .collect()
}

async fn append_all(
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

async fn append(table: &Arc<Table>, batches: &[RecordBatch]) -> Result<Receipt, Error> {
    append_all(table, AppendRequest::default(), batches).await
}

fn skip() -> AppendRequest {
    AppendRequest { on_overlap: OverlapPolicy::Skip, ..AppendRequest::default() }
}

#[tokio::test]
async fn a_file_loads_once_and_the_second_time_says_what_is_there() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    // Two days of hourly rows in time order across entities, so that they have to be sorted.
    let day = |day: i64| {
        let hours = day * 24..(day + 1) * 24;
        let rows: Vec<_> = hours
            .flat_map(|hour| {
                ["NVDA", "AAPL", "MSFT"].map(|symbol| (symbol, hour * HOUR_US + 5, hour as f64))
            })
            .collect();
        bars(&rows)
    };
    let first = append(&table, &[day(0)]).await.unwrap();
    assert_eq!((first.version, first.row_count, first.buckets_covered), (Version(2), 72, 72));
    assert_eq!((first.segment_count, first.rows_skipped, first.repeated), (1, 0, false));
    append(&table, &[day(1)]).await.unwrap();

    let error = append(&table, &[day(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap);
    let overlap = error.overlap().unwrap();
    assert_eq!(overlap.overlap_count, 72, "{error}");
    assert_eq!(overlap.example_entity, "symbol=\"AAPL\"");
    assert_eq!(overlap.bucket_start, "1970-01-02T00:00:00Z");
    assert_eq!(overlap.bucket_end, "1970-01-02T01:00:00Z");
    assert_eq!((overlap.owner_version, overlap.table_version), (Some(3), 3));

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let snapshot = table.snapshot();
    assert_eq!(snapshot.version, Version(3));
    let rows = read_bars(&root.rows(&table, &snapshot));
    assert_eq!(rows.len(), 144);
    assert!(
        rows[..72].is_sorted_by_key(|row| (row.0.clone(), row.1)),
        "sorted by entity and index"
    );
    let segment = &snapshot.segments[0];
    assert_eq!(segment.index_range, Some((5, 23 * HOUR_US + 5)));
    assert!(segment.sorted);
    let (min, max) = segment.entity_range.clone().unwrap();
    let layout = snapshot.layout.clone().unwrap();
    let shown =
        |key: table_core::types::EntityKey| key.display(&layout.entity_names, &layout.entity_types);
    assert_eq!((shown(min), shown(max)), ("symbol=\"AAPL\"".into(), "symbol=\"NVDA\"".into()));
    let error = append(&table, &[day(0)]).await.unwrap_err();
    assert_eq!(error.overlap().unwrap().owner_version, Some(2));
}

#[tokio::test]
async fn skip_leaves_owned_rows_out() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("A", 0, 1.0), ("A", HOUR_US, 2.0)])]).await.unwrap();
    let more = bars(&[
        ("A", 1, 9.0),
        ("B", 1, 3.0),
        ("A", 2 * HOUR_US, 4.0),
        ("A", HOUR_US + 7, 9.0),
        ("B", 2, 5.0),
    ]);
    let receipt = append_all(&table, skip(), std::slice::from_ref(&more)).await.unwrap();
    assert_eq!((receipt.row_count, receipt.rows_skipped), (3, 2));
    assert_eq!((receipt.version, receipt.buckets_covered), (Version(3), 2));
    let rows = read_bars(&root.rows(&table, &table.snapshot()));
    let prices: Vec<f64> = rows.iter().map(|row| row.2).collect();
    assert_eq!(prices, [1.0, 2.0, 4.0, 3.0, 5.0]);

    let nothing = append_all(&table, skip(), &[more]).await.unwrap();
    assert_eq!((nothing.version, nothing.row_count, nothing.rows_skipped), (Version(3), 0, 5));
    assert_eq!(table.snapshot().version, Version(3), "nothing to commit makes no version");
}

#[tokio::test]
async fn rows_of_one_append_may_share_a_bucket() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let receipt = append(&table, &[bars(&[("A", 1, 1.0)]), bars(&[("A", 0, 2.0), ("A", 1, 3.0)])])
        .await
        .unwrap();
    assert_eq!((receipt.row_count, receipt.buckets_covered), (3, 1));
    let prices: Vec<f64> =
        read_bars(&root.rows(&table, &table.snapshot())).iter().map(|row| row.2).collect();
    assert_eq!(prices, [2.0, 1.0, 3.0], "by time, equal times in arrival order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_appends_exactly_one_wins() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("Z", 0, 0.0)])]).await.unwrap();
    for round in 0..5 {
        let mut open = Vec::new();
        // All have written before any commits: every check while streaming passes.
        for writer in 0..4 {
            let mut append = table.append(AppendRequest::default());
            append.write(bars(&[("A", round * HOUR_US, f64::from(writer))])).await.unwrap();
            open.push(append);
        }
        let commits: Vec<_> =
            open.into_iter().map(|append| tokio::spawn(append.commit())).collect();
        let mut winners = 0;
        for commit in commits {
            match commit.await.unwrap() {
                Ok(_) => winners += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
                    let overlap = error.overlap().unwrap();
                    assert_eq!(overlap.owner_version, Some(table.snapshot().version.0));
                    assert_eq!(overlap.overlap_count, 1);
                }
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
    assert_eq!(table.snapshot().row_count, 6);
    root.rows(&table, &table.snapshot());
}

#[tokio::test]
async fn rows_skipped_by_nobody_are_lost_to_nobody() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("Z", 0, 0.0)])]).await.unwrap();
    let mut late = table.append(skip());
    late.write(bars(&[("A", 0, 1.0), ("B", 0, 1.0)])).await.unwrap();
    append(&table, &[bars(&[("A", 0, 2.0)])]).await.unwrap();
    let error = late.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let again = append_all(&table, skip(), &[bars(&[("A", 0, 1.0), ("B", 0, 1.0)])]).await.unwrap();
    assert_eq!((again.row_count, again.rows_skipped), (1, 1));
}

#[tokio::test]
async fn an_error_commits_nothing_and_leaves_nothing() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("A", 0, 1.0)])]).await.unwrap();
    let files = root.files(&table);

    let mut append = table.append(AppendRequest::default());
    append.write(bars(&[("B", 0, 1.0)])).await.unwrap();
    let error = append.write(bars(&[("B", HOUR_US, 1.0), ("A", 0, 1.0)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap);
    let error = append.write(bars(&[("C", 0, 1.0)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "poisoned: {error}");
    let error = append.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "poisoned: {error}");

    // A racing append that loses in the commit, and one that is dropped with a full segment in the encoder.
    let mut late = table.append(AppendRequest::default());
    late.write(bars(&[("D", 0, 1.0)])).await.unwrap();
    self::append(&table, &[bars(&[("D", 0, 1.0)])]).await.unwrap();
    assert_eq!(late.commit().await.unwrap_err().kind(), ErrorKind::Overlap);
    let mut dropped = table.append(AppendRequest::default());
    dropped.write(bars(&[("E", 0, 1.0)])).await.unwrap();
    drop(dropped);

    assert_eq!(table.snapshot().version, Version(3));
    assert_eq!(root.files(&table), files + 1, "one file per committed append");
    let taken = self::append(&table, &[bars(&[("B", 0, 1.0)])]).await.unwrap();
    assert_eq!(taken.version, Version(4), "what failed claims nothing");
}

#[tokio::test]
async fn append_id_makes_a_retry_harmless() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let request = |key: &str| AppendRequest {
        append_id: Some(key.to_owned()),
        principal: "ann".to_owned(),
        ..AppendRequest::default()
    };
    let rows = bars(&[("A", 0, 1.0), ("B", 0, 2.0), ("A", HOUR_US, 3.0)]);
    let first = append_all(&table, request("k1"), std::slice::from_ref(&rows)).await.unwrap();
    assert!(!first.repeated);
    // Cut differently: still the same rows.
    let pieces = [rows.slice(0, 1), rows.slice(1, 2)];
    let again = append_all(&table, request("k1"), &pieces).await.unwrap();
    assert_eq!(again, Receipt { repeated: true, ..first.clone() });
    assert_eq!(table.snapshot().version, first.version);

    let other = bars(&[("A", 0, 1.0), ("B", 0, 2.5), ("A", HOUR_US, 3.0)]);
    let error = append_all(&table, request("k1"), &[other]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert!(error.message().contains("k1"), "{error}");
    let error = append_all(&table, request("k2"), std::slice::from_ref(&rows)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "another key is another append");
    let stranger = AppendRequest { principal: "bob".into(), ..request("k1") };
    let error = append_all(&table, stranger, std::slice::from_ref(&rows)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "keys belong to their principal");

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let again = append_all(&table, request("k1"), &[rows]).await.unwrap();
    assert_eq!((again.repeated, again.version), (true, first.version));
}

#[tokio::test]
async fn a_retry_hears_of_its_first_try_however_full_the_disk_is() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let rows = bars(&[("NVDA", 0, 1.0)]);
    let request = || AppendRequest { append_id: Some("k1".into()), ..AppendRequest::default() };
    let first = append_all(&table, request(), std::slice::from_ref(&rows)).await.unwrap();
    drop(table);
    let Root { folder, catalog } = root;
    drop(catalog);
    let options = CatalogOptions { disk_floor_bytes: Some(u64::MAX), ..CatalogOptions::default() };
    let catalog = Catalog::open(folder.path(), options).await.unwrap();
    let table = catalog.table("prices").await.unwrap();
    let again = append_all(&table, request(), std::slice::from_ref(&rows)).await.unwrap();
    assert_eq!(again, Receipt { repeated: true, ..first });
    let refused = append(&table, &[bars(&[("NVDA", HOUR_US, 1.0)])]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn the_owner_is_found_across_the_middle_of_u64() {
    let root = Root::new().await;
    let index = IndexSpec {
        column: "block".into(),
        bucket: BucketWidth::parse("1").unwrap(),
        entity_columns: Vec::new(),
        time_zone: "UTC".into(),
    };
    let table = root.table(TableSpec { index: Some(index) }, None).await;
    let blocks = |values: Vec<u64>| {
        RecordBatch::try_from_iter([("block", Arc::new(UInt64Array::from(values)) as ArrayRef)])
            .unwrap()
    };
    let owner = append(&table, &[blocks(vec![5, 6, (1 << 63) + 10])]).await.unwrap().version;
    for block in [6, (1 << 63) + 10] {
        let error = append(&table, &[blocks(vec![block])]).await.unwrap_err();
        assert_eq!(error.overlap().unwrap().owner_version, Some(owner.0), "{block}");
    }
}

#[tokio::test]
async fn two_tries_of_one_append_at_once_are_one_append() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let request = AppendRequest { append_id: Some("k".into()), ..AppendRequest::default() };
    let (one, two) = (bars(&[("A", 0, 1.0)]), bars(&[("B", 0, 2.0)]));
    let mut slow = table.append(request.clone());
    slow.write(one.clone()).await.unwrap();
    let fast = append_all(&table, request.clone(), &[one.clone(), two.clone()]).await.unwrap();
    // The slow try meets its own rows from here on.
    slow.write(two.clone()).await.unwrap();
    let slow = slow.commit().await.unwrap();
    assert_eq!(slow, Receipt { repeated: true, ..fast.clone() });

    // And one that has read everything before the other commits.
    let request = AppendRequest { append_id: Some("k3".into()), ..AppendRequest::default() };
    let row = bars(&[("C", 0, 1.0)]);
    let mut slow = table.append(request.clone());
    slow.write(row.clone()).await.unwrap();
    let fast = append_all(&table, request, &[row]).await.unwrap();
    let slow = slow.commit().await.unwrap();
    assert_eq!((slow.repeated, slow.version), (true, fast.version));
    assert_eq!(table.snapshot().row_count, 3);
}

#[tokio::test]
async fn empty_streams_make_no_version() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let nothing = append(&table, &[]).await.unwrap();
    assert_eq!((nothing.version, nothing.row_count), (Version(1), 0));
    assert!(table.snapshot().schema().is_none());

    let empty = bars(&[]);
    let schema = append(&table, std::slice::from_ref(&empty)).await.unwrap();
    assert_eq!((schema.version, schema.row_count), (Version(2), 0), "the schema is adopted");
    let fields = Arc::clone(table.snapshot().schema().unwrap());
    assert!(!fields.field_with_name("ts").unwrap().is_nullable());
    assert!(!fields.field_with_name("symbol").unwrap().is_nullable());
    assert!(fields.field_with_name("price").unwrap().is_nullable());

    let nothing = append(&table, &[empty.clone(), empty]).await.unwrap();
    assert_eq!(nothing.version, Version(2));
    append(&table, &[bars(&[]), bars(&[("A", 0, 1.0)]), bars(&[])]).await.unwrap();
    assert_eq!(root.rows(&table, &table.snapshot()).num_rows(), 1);
}

#[tokio::test]
async fn two_first_appends_agree_on_the_schema_or_one_gives_way() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let wider = |batch: &RecordBatch| {
        let extra: ArrayRef = Arc::new(Int64Array::from_iter_values(0..batch.num_rows() as i64));
        let mut columns: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| (field.name().clone(), Arc::clone(column)))
            .collect();
        columns.push(("volume".into(), extra));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let mut winner = table.append(AppendRequest::default());
    let mut same = table.append(AppendRequest::default());
    let mut other = table.append(AppendRequest::default());
    winner.write(bars(&[("A", 0, 1.0)])).await.unwrap();
    same.write(bars(&[("B", 0, 1.0)])).await.unwrap();
    other.write(wider(&bars(&[("C", 0, 1.0)]))).await.unwrap();
    winner.commit().await.unwrap();
    same.commit().await.unwrap();
    let error = other.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(root.rows(&table, &table.snapshot()).num_rows(), 2);
}

/// One column of every encoding that clients use for the same values.
#[tokio::test]
async fn whatever_a_client_sends_for_a_type_is_stored_as_the_type_of_the_table() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", micros(), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(20, 4), true),
    ]));
    let root = Root::new().await;
    let table = root.table(spec(), Some(schema)).await;

    let symbols: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["A", "B"])),
        Arc::new(LargeStringArray::from(vec!["A", "B"])),
        Arc::new(StringViewArray::from(vec!["A", "B"])),
        Arc::new(DictionaryArray::<Int8Type>::from_iter(["A", "B"])),
        Arc::new(RunArray::<Int32Type>::from_iter(["A", "B"])),
    ];
    let numbers: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![Some(1), None])),
        Arc::new(Int32Array::from(vec![Some(1), None])),
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Arc::new(UInt64Array::from(vec![Some(1), None])),
        Arc::new(DictionaryArray::<Int32Type>::new(
            Int32Array::from(vec![Some(0), None]),
            Arc::new(Int64Array::from(vec![1])),
        )),
    ];
    let mut expected = 0;
    for (round, symbol) in symbols.iter().enumerate() {
        for (step, number) in numbers.iter().enumerate() {
            let ms = ((round * 10 + step) as i64) * HOUR_US / 1000;
            let ts =
                TimestampMillisecondArray::from(vec![ms, ms]).with_timezone("America/New_York");
            let float = if step % 2 == 0 {
                Arc::new(Int64Array::from(vec![1 << 53, -5])) as ArrayRef
            } else {
                Arc::new(arrow::array::Float32Array::from(vec![0.5, f32::NAN]))
            };
            // Another order, the decimal missing every second time.
            let mut columns: Vec<(&str, ArrayRef)> = vec![
                ("n", Arc::clone(number)),
                ("symbol", Arc::clone(symbol)),
                ("x", float),
                ("ts", Arc::new(ts)),
            ];
            if step % 2 == 0 {
                columns.push(("d", Arc::new(Int32Array::from(vec![7, -7]))));
            }
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let receipt = append(&table, &[batch]).await;
            let receipt = receipt.unwrap_or_else(|error| panic!("{round} {step}: {error}"));
            assert_eq!(receipt.row_count, 2);
            expected += 2;
        }
    }
    let rows = root.rows(&table, &table.snapshot());
    assert_eq!(rows.num_rows(), expected);
    let n = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
    assert!((0..expected).all(|row| if row % 2 == 0 { n.value(row) == 1 } else { n.is_null(row) }));
    let d = rows.column_by_name("d").unwrap();
    assert_eq!(d.null_count(), 2 * 5 * 2);
    let d = d.as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!((d.value(0), d.value(1)), (70_000, -70_000));

    let table_of_nulls: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC"))),
        ("symbol", Arc::new(StringArray::from(vec!["A"]))),
        ("n", Arc::new(NullArray::new(1))),
    ];
    append(&table, &[RecordBatch::try_from_iter(table_of_nulls).unwrap()]).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let root = Root::new().await;
    let table = root.table(spec(), Some(bars(&[]).schema())).await;
    let ts =
        || Arc::new(TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC")) as ArrayRef;
    let naive = || Arc::new(TimestampMicrosecondArray::from(vec![0, 1])) as ArrayRef;
    let symbol = || Arc::new(StringArray::from(vec!["A", "B"])) as ArrayRef;
    let hole = || Arc::new(StringArray::from(vec![Some("A"), None])) as ArrayRef;
    let ts_hole =
        || Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None]).with_timezone("UTC"));
    let text = || Arc::new(StringArray::from(vec!["1.5", "2"])) as ArrayRef;
    let wide = || Arc::new(Int64Array::from(vec![0, (1 << 53) + 1])) as ArrayRef;
    type Case<'a> = (Vec<(&'a str, ArrayRef)>, ErrorKind, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            vec![("ts", ts()), ("symbol", hole())],
            ErrorKind::Invalid,
            "\"symbol\" is null in row 1; entity",
        ),
        (
            vec![("ts", ts_hole()), ("symbol", symbol())],
            ErrorKind::Invalid,
            "\"ts\" is null in row 1; index",
        ),
        (vec![("symbol", symbol())], ErrorKind::SchemaMismatch, "\"ts\""),
        (vec![("ts", ts())], ErrorKind::SchemaMismatch, "\"symbol\""),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("Price", wide())],
            ErrorKind::SchemaMismatch,
            "did you mean \"price\"",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("size", wide())],
            ErrorKind::SchemaMismatch,
            "\"size\"",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("price", text())],
            ErrorKind::SchemaMismatch,
            "\"price\" has type Utf8",
        ),
        (vec![("ts", naive()), ("symbol", symbol())], ErrorKind::SchemaMismatch, "no time zone"),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("price", wide())],
            ErrorKind::Invalid,
            "9007199254740993",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("symbol", symbol())],
            ErrorKind::Invalid,
            "named twice",
        ),
    ];
    for (columns, kind, expected) in cases {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let error = append(&table, &[batch]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(expected), "{error} should say {expected}");
        assert!(error.message().contains("\"prices\""), "{error} should name the table");
    }
    assert_eq!(table.snapshot().version, Version(1));
    assert_eq!(root.files(&table), 0);
}

#[tokio::test]
async fn plain_tables_take_the_same_rows_again() {
    let root = Root::new().await;
    let table = root.table(TableSpec::plain(), None).await;
    let rows = bars(&[("B", 5, 1.0), ("A", 0, 2.0)]);
    for _ in 0..2 {
        let receipt = append(&table, std::slice::from_ref(&rows)).await.unwrap();
        assert_eq!((receipt.row_count, receipt.buckets_covered), (2, 0));
    }
    let stored = read_bars(&root.rows(&table, &table.snapshot()));
    let prices: Vec<f64> = stored.iter().map(|row| row.2).collect();
    assert_eq!(prices, [1.0, 2.0, 1.0, 2.0], "in arrival order");
    assert!(!table.snapshot().segments[0].sorted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_becomes_sorted_segments_that_share_nothing() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    // 300 entities, in time order across them; more rows than one segment holds.
    let symbols: Vec<String> =
        (0..300).map(|number| format!("S{:03}", (number * 7) % 300)).collect();
    let minutes = 5000_i64;
    let mut append = table.append(AppendRequest::default());
    for first in (0..minutes).step_by(500) {
        let rows: Vec<(&str, i64, f64)> = (first..first + 500)
            .flat_map(|minute| {
                symbols
                    .iter()
                    .map(move |symbol| (symbol.as_str(), minute * 60_000_000, minute as f64))
            })
            .collect();
        append.write(bars(&rows)).await.unwrap();
    }
    let receipt = append.commit().await.unwrap();
    let row_count = minutes as u64 * 300;
    assert_eq!(receipt.row_count, row_count);
    assert!(receipt.segment_count > 1, "{receipt:?}");
    let hours = (minutes as u64).div_ceil(60);
    assert_eq!(receipt.buckets_covered, hours * 300, "pairs on a seam are counted once");

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let snapshot = table.snapshot();
    assert_eq!(snapshot.coverage.pair_count(), u128::from(hours * 300));
    let rows = root.rows(&table, &snapshot);
    let mut start = 0;
    let mut seen: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for segment in &snapshot.segments {
        let count = segment.row_count as usize;
        let part = read_bars(&rows.slice(start, count));
        assert!(part.windows(2).all(|pair| (&pair[0].0, pair[0].1) < (&pair[1].0, pair[1].1)));
        let mut row = 0;
        for group in &segment.row_groups {
            row += group.row_count as usize;
            assert!(group.row_count <= 128 << 10);
            assert!(row == count || part[row - 1].0 != part[row].0, "an entity stays together");
        }
        for (symbol, ts, _) in part {
            assert!(seen.entry(symbol).or_default().insert(ts));
        }
        start += count;
    }
    assert_eq!(seen.len(), 300);
    assert!(seen.values().all(|times| times.len() == minutes as usize));
}

#[tokio::test]
async fn a_small_message_cannot_ask_for_gigabytes() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(65 << 20)]));
    let note = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0; 100]), long);
    let ts = TimestampMicrosecondArray::from_iter_values(0..100).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts)),
        ("symbol", Arc::new(StringArray::from(vec!["A"; 100]))),
        ("note", Arc::new(note)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let error = append(&table, &[batch]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.message().contains("row 0"), "{error}");
}

#[tokio::test]
async fn integer_indexes_order_by_value_up_to_the_end_of_u64() {
    let root = Root::new().await;
    let spec = TableSpec {
        index: Some(IndexSpec {
            column: "block".into(),
            bucket: BucketWidth::parse("100").unwrap(),
            entity_columns: Vec::new(),
            time_zone: "UTC".into(),
        }),
    };
    let table = root.table(spec, None).await;
    let blocks = |values: Vec<u64>| {
        RecordBatch::try_from_iter([("block", Arc::new(UInt64Array::from(values)) as ArrayRef)])
            .unwrap()
    };
    append(&table, &[blocks(vec![u64::MAX, 5, 1 << 63, 0])]).await.unwrap();
    let rows = root.rows(&table, &table.snapshot());
    let stored = rows.column(0).as_primitive::<arrow::datatypes::UInt64Type>();
    assert_eq!(stored.values(), &[0, 5, 1 << 63, u64::MAX]);
    assert_eq!(table.snapshot().segments[0].index_range, Some((0, -1)), "bit patterns");
    let error = append(&table, &[blocks(vec![(1 << 63) + 1])]).await.unwrap_err();
    assert_eq!(error.overlap().unwrap().bucket_start, "9223372036854775800");
    assert_eq!(error.overlap().unwrap().example_entity, "");
}

/// Random appends against a map of who owns which pair. The seed is in every message.
#[tokio::test]
async fn coverage_agrees_with_a_model() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    for seed in 0..8_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut root = Root::new().await;
        root.table(spec(), None).await;
        let mut owners: BTreeMap<(String, i64), Version> = BTreeMap::new();
        let mut stored: Vec<(String, i64, i64)> = Vec::new();
        let mut next_price = 0_i64;
        for step in 0..30 {
            let at = format!("seed {seed}, step {step}");
            let table = root.catalog.table("prices").await.unwrap();
            let mut rows = Vec::new();
            for _ in 0..random.random_range(1..12) {
                let symbol = ["A", "B", "C", "D"][random.random_range(0..4)];
                let ts = random.random_range(-20..20) * HOUR_US + random.random_range(0..3);
                rows.push((symbol, ts, next_price as f64));
                next_price += 1;
            }
            let pair = |row: &(&str, i64, f64)| (row.0.to_owned(), row.1.div_euclid(HOUR_US));
            let skips = random.random_bool(0.5);
            let batch_count = random.random_range(1..=rows.len());
            let batches: Vec<_> = rows.chunks(rows.len().div_ceil(batch_count)).map(bars).collect();
            let request = if skips { skip() } else { AppendRequest::default() };
            let before = table.snapshot().version;
            let result = append_all(&table, request, &batches).await;

            let (owned, free): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| owners.contains_key(&pair(row)));
            match result {
                Err(error) => {
                    assert!(!skips && !owned.is_empty(), "{at}: {error}");
                    let overlap = error.overlap().unwrap();
                    let pairs: BTreeSet<_> = owned.iter().map(&pair).collect();
                    assert!(overlap.overlap_count >= 1, "{at}");
                    assert!(overlap.overlap_count <= pairs.len() as u64, "{at}: {error}");
                    let owner = Version(overlap.owner_version.unwrap());
                    assert!(pairs.iter().any(|pair| owners[pair] == owner), "{at}: {error}");
                    assert_eq!(table.snapshot().version, before, "{at}");
                }
                Ok(receipt) => {
                    assert!(skips || owned.is_empty(), "{at}: {receipt:?}");
                    assert_eq!(receipt.rows_skipped, owned.len() as u64, "{at}");
                    assert_eq!(receipt.row_count, free.len() as u64, "{at}");
                    let pairs: BTreeSet<_> = free.iter().map(&pair).collect();
                    assert_eq!(receipt.buckets_covered, pairs.len() as u64, "{at}");
                    let advanced = if free.is_empty() { before } else { before.next() };
                    assert_eq!(receipt.version, advanced, "{at}");
                    for row in &free {
                        owners.insert(pair(row), receipt.version);
                        stored.push((row.0.to_owned(), row.1, row.2 as i64));
                    }
                }
            }
            if random.random_bool(0.1) {
                drop(table);
                root = root.reopened().await;
            }
        }
        let table = root.catalog.table("prices").await.unwrap();
        let snapshot = table.snapshot();
        assert_eq!(snapshot.coverage.pair_count(), owners.len() as u128, "seed {seed}");
        let mut found: Vec<_> = read_bars(&root.rows(&table, &snapshot))
            .into_iter()
            .map(|(symbol, ts, price)| (symbol, ts, price as i64))
            .collect();
        found.sort();
        stored.sort();
        assert_eq!(found, stored, "seed {seed}");
    }
}

#[tokio::test]
async fn nested_columns_survive() {
    use arrow::array::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None]);
    list.append_null();
    list.append_value([]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(5);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    // Rows in reverse order, so that nested values are moved too.
    let ts = TimestampMicrosecondArray::from(vec![2, 1, 0]).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts)),
        ("symbol", Arc::new(StringArray::from(vec!["A"; 3]))),
        ("list", Arc::new(list.finish())),
        ("map", Arc::new(map.finish())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    append(&table, std::slice::from_ref(&batch)).await.unwrap();
    let rows = root.rows(&table, &table.snapshot());
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    for name in ["list", "map"] {
        let sent = take(batch.column_by_name(name).unwrap(), &order, None).unwrap();
        let stored = rows.column_by_name(name).unwrap();
        let text = |array: &ArrayRef, row| {
            arrow::util::display::array_value_to_string(array, row).unwrap()
        };
        for row in 0..3 {
            assert_eq!(text(stored, row), text(&sent, row), "{name} row {row}");
            assert_eq!(stored.is_null(row), sent.is_null(row), "{name} row {row}");
        }
    }
}
