//! Real appends of one row each, and what everybody must see of them: rows, the coverage that guards them and the hot rows that
//! queries read belong to one version, whatever is appended, flushed and read meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use table_core::append::{AppendRequest, Receipt};
use table_core::schema::{IndexSpec, TableSpec};
use table_core::storage::layout;
use table_core::types::{BucketId, BucketWidth, EntityKey, EntityValue, Version};
use table_core::{Access, Error, ErrorKind, Snapshot};

use crate::scene::{Scene, Seat};

/// Index values in a bucket.
const BUCKET: u64 = 10;

/// Entity and bucket: what an append claims.
type Pair = (String, u64);

/// Entity and index value.
type Row = (String, i64);

pub(crate) fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse(&BUCKET.to_string()).unwrap(),
            entity_columns: vec!["name".into()],
            time_zone: "UTC".into(),
        }),
    }
}

/// All appends of one schedule.
#[derive(Default)]
pub(crate) struct Rows {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// The newest version that anybody was told of.
    answered: u64,
    /// Rows that were sent.
    sent: BTreeSet<Row>,
    told: Vec<Told>,
    refused: Vec<Refused>,
    /// Where the rows of each version were shown to be.
    shown: BTreeMap<u64, Vec<String>>,
}

struct Told {
    row: Row,
    pair: Pair,
    receipt: Receipt,
}

/// A refusal, and what it quotes.
struct Refused {
    pair: Pair,
    owner: Option<u64>,
    seen: u64,
}

impl Rows {
    /// Appends one row.
    pub(crate) async fn append(
        &self,
        seat: &Seat,
        entity: &str,
        bucket: u64,
        id: Option<&str>,
    ) -> Result<Receipt, ErrorKind> {
        let (row, floor) = {
            let mut book = self.book.lock();
            // A retry has the rows of the first try; everybody else has his own.
            let own = if id.is_some() { BUCKET - 1 } else { book.sent.len() as u64 % (BUCKET - 1) };
            let row = (entity.to_owned(), i64::try_from(bucket * BUCKET + own).unwrap());
            book.sent.insert(row.clone());
            (row, book.answered)
        };
        let pair = (entity.to_owned(), bucket);
        let append_id = id.map(ToOwned::to_owned);
        let mut append = seat.table.append(AppendRequest { append_id, ..AppendRequest::default() });
        let committed = async {
            append.write(batch(&row)).await?;
            append.commit().await
        };
        match committed.await {
            Ok(receipt) => {
                let version = receipt.version.0;
                assert!(
                    receipt.repeated || version > floor,
                    "{version} after {floor} was answered"
                );
                let newest = seat.table.snapshot();
                assert!(newest.version >= receipt.version && covers(&newest, &pair), "{receipt:?}");
                let mut book = self.book.lock();
                book.answered = book.answered.max(version);
                book.told.push(Told { row, pair, receipt: receipt.clone() });
                Ok(receipt)
            }
            Err(error) => {
                self.refuse(&error, pair);
                Err(error.kind())
            }
        }
    }

    fn refuse(&self, error: &Error, pair: Pair) {
        assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
        let overlap = error.overlap().unwrap();
        let (owner, seen) = (overlap.owner_version, overlap.table_version);
        self.book.lock().refused.push(Refused { pair, owner, seen });
    }

    /// Reads a few times what the server shows.
    pub(crate) async fn watch(&self, seat: &Seat) {
        let first = seat.table.snapshot();
        self.check(&first, 0);
        let mut last = first.version.0;
        for _ in 0..4 {
            let answered = self.book.lock().answered;
            let snapshot = seat.table.snapshot();
            assert!(snapshot.version.0 >= last, "{} is shown after {last}", snapshot.version);
            self.check(&snapshot, answered);
            last = snapshot.version.0;
            table_core::sync::turn();
        }
        self.check(&first, 0);
        let again = seat.table.snapshot_at(first.version).await.unwrap();
        self.check(&again, 0);
    }

    /// The pairs that were acknowledged as of a version or before.
    fn told_by(&self, version: Version) -> Vec<Pair> {
        let book = self.book.lock();
        let told = book.told.iter().filter(|told| told.receipt.version <= version);
        told.map(|told| told.pair.clone()).collect()
    }

    fn check(&self, snapshot: &Snapshot, answered: u64) {
        let version = snapshot.version;
        assert!(version.0 >= answered, "{version} is shown after {answered} was answered");
        let hot = snapshot.hot.row_count();
        let stored: u64 = snapshot.segments.iter().map(|segment| segment.row_count).sum();
        assert_eq!(snapshot.row_count, hot + stored, "rows of {version}");
        let pairs = snapshot.coverage.pair_count();
        assert_eq!(pairs, u128::from(snapshot.row_count), "pairs of {version}, one for each row");
        let view = snapshot.hot.view(snapshot.layout.as_ref().unwrap()).unwrap();
        let in_view = view.map_or(0, |view| view.batch().num_rows() as u64);
        assert_eq!(in_view, hot, "hot rows of {version} as queries read them");
        // Looked up without the book, since looking up gives others their turn.
        let told = self.told_by(version);
        for pair in &told {
            assert!(covers(snapshot, pair), "{pair:?} was acknowledged, and {version} is without");
        }
        let places = places(snapshot);
        let mut book = self.book.lock();
        let before = book.shown.entry(version.0).or_insert_with(|| places.clone());
        assert_eq!(before, &places, "version {version} looks different now");
    }

    /// Once nobody is under way any more: the table goes on, and it holds every row that was acknowledged once.
    pub(crate) async fn settle(&self, scene: &Scene, seat: &Seat) {
        self.append(seat, "z", 0, None).await.unwrap();
        let newest = seat.table.snapshot();
        let answered = self.book.lock().answered;
        self.check(&newest, answered);
        let rows = rows(scene, &newest);
        let reopened = scene.another(9, Access::Exclusive).await.table.snapshot();
        assert_eq!(self::rows(scene, &reopened), rows, "the rows as they are opened");
        assert_eq!(reopened.coverage, newest.coverage);
        let book = self.book.lock();
        let mut pairs = BTreeSet::new();
        for row in &rows {
            assert!(book.sent.contains(row), "nobody sent {row:?}");
            let bucket = u64::try_from(row.1).unwrap() / BUCKET;
            assert!(pairs.insert((row.0.clone(), bucket)), "two appends own the pair of {row:?}");
        }
        let mut owners: BTreeMap<&Pair, u64> = BTreeMap::new();
        for Told { row, pair, receipt } in &book.told {
            assert!(rows.contains(row), "{row:?} was acknowledged: {receipt:?}");
            scene.tally.add(if receipt.repeated {
                "first receipts"
            } else {
                "appends acknowledged"
            });
            let before = owners.insert(pair, receipt.version.0);
            assert!(
                before.is_none_or(|version| version == receipt.version.0),
                "one row in two versions: {receipt:?}"
            );
        }
        let firsts = |pair: &Pair| {
            let told = book.told.iter().filter(|told| told.pair == *pair);
            told.filter(|told| !told.receipt.repeated).count()
        };
        for pair in owners.keys() {
            assert!(firsts(pair) <= 1, "two appends own {pair:?}");
        }
        for Refused { pair, owner, seen } in &book.refused {
            scene.tally.add("appends refused");
            assert!(pairs.contains(pair), "{pair:?} was refused, and nobody has it");
            let owner = owner.unwrap();
            assert!(owner <= *seen, "{pair:?} was refused at {seen} for a later version, {owner}");
            if let Some(told) = owners.get(pair) {
                assert_eq!(*told, owner, "the owner of {pair:?}");
            }
        }
    }
}

fn batch((name, n): &Row) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![*n]))),
        ("name", Arc::new(StringArray::from(vec![name.as_str()]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn covers(snapshot: &Snapshot, (entity, bucket): &Pair) -> bool {
    let entity = EntityKey::encode(&[EntityValue::Utf8(entity.clone())]);
    snapshot.coverage.contains(&entity, BucketId(i64::try_from(*bucket).unwrap()))
}

/// What holds the rows of a snapshot.
fn places(snapshot: &Snapshot) -> Vec<String> {
    let hot = snapshot.hot.iter().map(|rows| rows.id.to_string());
    hot.chain(snapshot.segments.iter().map(|segment| segment.id.to_string())).collect()
}

/// All rows of a snapshot, sorted.
fn rows(scene: &Scene, snapshot: &Snapshot) -> Vec<Row> {
    let mut batches: Vec<RecordBatch> =
        snapshot.hot.iter().map(|rows| rows.batch.clone()).collect();
    for segment in &snapshot.segments {
        let path = layout::segment(snapshot.table_id, segment.id);
        let bytes = bytes::Bytes::from(scene.disk.peek(&path).unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    let mut rows = Vec::new();
    for batch in batches {
        let n = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
        let name = batch.column_by_name("name").unwrap().as_string::<i32>().clone();
        rows.extend(n.into_iter().zip(name.iter()).map(|(n, name)| (name.unwrap().to_owned(), n)));
    }
    rows.sort();
    rows
}
