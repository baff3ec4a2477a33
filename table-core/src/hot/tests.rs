//! Inline rows: their bytes, what replay takes and refuses of them, checkpoints, and the merged view.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bytes::Bytes;
use coverline_proto::log as proto;
use datafusion::common::ScalarValue;

use super::codec::decode;
use super::*;
use crate::coverage::CoverageDelta;
use crate::log::record::Action;
use crate::log::replay::{ReplayError, State};
use crate::log::{Record, encode_schema, encode_spec};
use crate::schema::{IndexSpec, TableLayout, TableSpec};
use crate::snapshot::Snapshot;
use crate::types::{
    AttemptId, BucketId, BucketWidth, EntityKey, EntityValue, SegmentId, TableId, Version,
};

const TABLE: TableId = TableId(uuid::Uuid::from_u128(7));

fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse("10").unwrap(),
            entity_columns: vec!["name".into()],
            time_zone: "UTC".into(),
        }),
    }
}

/// Rows (name, n); `x` is n as a float, null for multiples of 3.
fn batch(rows: &[(&str, i64)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("x", DataType::Float64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Float64Array::from_iter(
            rows.iter().map(|row| (row.1 % 3 != 0).then_some(row.1 as f64)),
        )),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn id(number: u128) -> SegmentId {
    SegmentId(uuid::Uuid::from_u128(number))
}

fn bytes_of(id: SegmentId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn pairs(rows: &[(&str, i64)]) -> CoverageDelta {
    let mut delta = CoverageDelta::default();
    for (name, n) in rows {
        let key = EntityKey::encode(&[EntityValue::Utf8((*name).to_owned())]);
        delta.insert(&key, BucketId(n.div_euclid(10)));
    }
    delta
}

fn rows_action(number: u128, rows: &[(&str, i64)]) -> Action {
    Action::InlineRows(proto::InlineRows {
        segment_id: bytes_of(id(number)),
        ipc_stream: encode(&batch(rows)).unwrap(),
        row_count: rows.len() as u64,
        ..proto::InlineRows::default()
    })
}

fn pairs_action(number: u128, rows: &[(&str, i64)], version: u64) -> Action {
    Action::CoverageDelta(proto::CoverageDelta {
        segment_id: bytes_of(id(number)),
        encoded: pairs(rows).encode().into(),
        version,
        rows: None,
        entity_rows: Vec::new(),
    })
}

fn append(number: u128, rows: &[(&str, i64)]) -> Vec<Action> {
    vec![rows_action(number, rows), pairs_action(number, rows, 0)]
}

fn remove(number: u128) -> Action {
    Action::RemoveSegment(proto::RemoveSegment { segment_id: bytes_of(id(number)) })
}

fn created(spec: &TableSpec, with_schema: bool) -> Snapshot {
    let ipc_schema = match with_schema {
        true => encode_schema(&spec.bind(&batch(&[]).schema()).unwrap().schema),
        false => Bytes::new(),
    };
    let create = Action::CreateTable(proto::CreateTable {
        table_id: Bytes::copy_from_slice(TABLE.as_bytes()),
        spec: Some(encode_spec(spec)),
        ipc_schema,
    });
    Snapshot::first(&record(1, vec![create]), [1; 32]).unwrap()
}

fn record(version: u64, actions: Vec<Action>) -> Record {
    Record {
        version: Version(version),
        commit_time_us: i64::try_from(version).unwrap(),
        attempt_id: AttemptId(uuid::Uuid::from_u128(3)),
        operation: "append".to_owned(),
        principal: String::new(),
        append_ids: Vec::new(),
        actions,
    }
}

fn apply(snapshot: &Snapshot, actions: Vec<Action>) -> Result<Snapshot, ReplayError> {
    let version = snapshot.version.0 + 1;
    snapshot.apply(&record(version, actions), [u8::try_from(version).unwrap(); 32])
}

fn is_contradiction(outcome: Result<Snapshot, ReplayError>, why: &str) {
    match outcome {
        Err(ReplayError::Contradiction { what }) => assert!(what.contains(why), "{what}: {why}"),
        other => panic!("{why}: {other:?}"),
    }
}

fn layout(snapshot: &Snapshot) -> Arc<TableLayout> {
    Arc::clone(snapshot.layout.as_ref().unwrap())
}

#[test]
fn what_is_encoded_is_decoded() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(7)]),
    ]);
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("s", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("long enough")]))
            as ArrayRef,
    )]);
    let decimal = Decimal128Array::from(vec![Some(1), None, Some(i128::MIN / 2), Some(-1)])
        .with_precision_and_scale(38, 3)
        .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None]))),
        ("d", Arc::new(decimal)),
        ("l", Arc::new(list)),
        ("s", Arc::new(inner)),
        ("t", Arc::new(StringArray::from(vec![Some("x"), Some(""), None, Some("yz")]))),
    ];
    let whole = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    for (start, length) in [(0, 4), (1, 2), (3, 1), (0, 0)] {
        let rows = whole.slice(start, length);
        let encoded = encode(&rows).unwrap();
        let decoded = decode(&Buffer::from(encoded.as_ref()), &whole.schema()).unwrap();
        assert_eq!(decoded, rows, "{length} rows from {start}");
    }
}

/// C10. A record has a checksum; this is what happens when the checksum agrees and the rows are wrong all the same.
#[test]
fn damaged_rows_are_refused_or_are_rows_and_never_a_panic() {
    let rows = batch(&[("a", 1), ("a", 3), ("b", 2)]);
    let good = encode(&rows).unwrap();
    let mut refused = 0;
    for bit in 0..good.len() * 8 {
        let mut damaged = good.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match decode(&Buffer::from(damaged.as_slice()), &rows.schema()) {
            Ok(read) => assert_eq!(read.schema(), rows.schema(), "bit {bit}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > good.len(), "{refused} of {} bits", good.len() * 8);
    for length in 0..good.len() {
        assert!(decode(&Buffer::from(&good[..length]), &rows.schema()).is_err(), "{length}");
    }
    let other = Arc::new(Schema::new(vec![Field::new("s", DataType::Utf8, true); 3]));
    assert!(decode(&Buffer::from(good.as_ref()), &other).is_err(), "rows of another schema");
}

#[test]
fn rows_are_part_of_the_snapshot_until_they_are_removed() {
    let empty = created(&spec(), true);
    let one = apply(&empty, append(1, &[("b", 1), ("b", 3)])).unwrap();
    assert_eq!((one.row_count, one.hot.row_count(), one.hot.append_count()), (2, 2, 1));
    assert_eq!((one.file_bytes, one.segments.len()), (0, 0));
    assert_eq!(one.coverage.pair_count(), 1);
    assert_eq!(one.segment_version(id(1)), Some(Version(2)));
    // Two appends in one record, as a group of them is committed.
    let group = [append(2, &[("a", 5)]), append(3, &[("a", 25), ("c", 7)])].concat();
    let three = apply(&one, group).unwrap();
    assert_eq!((three.row_count, three.hot.append_count()), (5, 3));
    assert_eq!(one.hot.append_count(), 1, "the snapshot before is what it was");
    let view = three.hot.view(&layout(&three)).unwrap().unwrap();
    assert_eq!(view.batch(), &batch(&[("a", 5), ("a", 25), ("b", 1), ("b", 3), ("c", 7)]));
    assert_eq!(view.index_range(), Some((1, 25)));
    let stats = view.column(&layout(&three), 2).unwrap();
    assert_eq!((stats.null_count, &stats.min), (1, &Some(ScalarValue::Float64(Some(1.0)))));
    assert_eq!(stats.max, Some(ScalarValue::Float64(Some(25.0))));
    let again = three.hot.view(&layout(&three)).unwrap().unwrap();
    assert!(Arc::ptr_eq(&view, &again), "made once");
    let before = one.hot.view(&layout(&one)).unwrap().unwrap();
    assert_eq!(before.batch(), &batch(&[("b", 1), ("b", 3)]), "each version has its own");
    assert_eq!(three.hot.view(&layout(&three)).unwrap().unwrap().batch(), view.batch());

    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let removed = apply(&three, order[..2].iter().map(|id| remove(*id)).collect()).unwrap();
        let left: Vec<_> = removed.hot.iter().map(|rows| rows.id).collect();
        assert_eq!(left, [id(order[2])]);
        let left = removed.hot.iter().next().unwrap();
        assert_eq!((removed.row_count, removed.hot.bytes()), (left.row_count(), left.bytes()));
        let gone = apply(&removed, vec![remove(order[2])]).unwrap();
        assert_eq!((gone.row_count, gone.hot.bytes(), gone.hot.is_empty()), (0, 0, true));
        assert!(gone.hot.view(&layout(&gone)).unwrap().is_none());
        assert_eq!(gone.coverage, three.coverage, "removing rows uncovers nothing");
        is_contradiction(apply(&gone, vec![remove(1)]), "not there");
    }
}

#[test]
fn plain_tables_keep_the_order_of_commits() {
    let plain = created(&TableSpec::plain(), true);
    let one = apply(&plain, vec![rows_action(1, &[("b", 1), ("a", 3)])]).unwrap();
    let two = apply(&one, vec![rows_action(2, &[("a", 2)])]).unwrap();
    let view = two.hot.view(&layout(&two)).unwrap().unwrap();
    assert_eq!(view.batch(), &batch(&[("b", 1), ("a", 3), ("a", 2)]));
    assert_eq!(view.index_range(), None);
    is_contradiction(apply(&one, append(2, &[("a", 2)])), "plain table");
}

#[test]
fn what_no_append_writes_is_refused() {
    let empty = created(&spec(), true);
    let one = apply(&empty, append(1, &[("a", 1)])).unwrap();
    let edited = |edit: fn(&mut proto::InlineRows)| {
        let Action::InlineRows(mut rows) = rows_action(2, &[("a", 11)]) else { panic!() };
        edit(&mut rows);
        vec![Action::InlineRows(rows), pairs_action(2, &[("a", 11)], 0)]
    };
    apply(&one, edited(|_| {})).unwrap();
    is_contradiction(apply(&one, edited(|rows| rows.row_count = 2)), "rows are 1");
    is_contradiction(apply(&one, edited(|rows| rows.segment_id.truncate(15))), "15 bytes");
    is_contradiction(apply(&one, edited(|rows| rows.ipc_stream.truncate(40))), "cannot be read");
    is_contradiction(apply(&one, edited(|rows| rows.ipc_stream.clear())), "cannot be read");
    let none = |rows: &mut proto::InlineRows| {
        (rows.ipc_stream, rows.row_count) = (encode(&batch(&[])).unwrap(), 0);
    };
    is_contradiction(apply(&one, edited(none)), "rows are 0");
    is_contradiction(apply(&one, append(1, &[("a", 11)])), "again");
    is_contradiction(apply(&one, append(2, &[("a", 2)])), "an earlier version owns");
    is_contradiction(apply(&one, vec![rows_action(2, &[("a", 11)])]), "does not fit the table");
    let other = vec![rows_action(2, &[("a", 11)]), pairs_action(3, &[("a", 11)], 0)];
    is_contradiction(apply(&one, other), "does not fit the table");
    is_contradiction(apply(&created(&spec(), false), append(1, &[("a", 1)])), "before a schema");
    let wider = Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
    ]);
    let ipc_schema = encode_schema(&spec().bind(&Arc::new(wider)).unwrap().schema);
    let changed = apply(&one, vec![Action::SetSchema(proto::SetSchema { ipc_schema })]);
    assert!(matches!(changed, Err(ReplayError::Future { .. })), "{changed:?}");
}

#[test]
fn pairs_that_move_must_be_covered_and_stay_as_they_are() {
    let empty = created(&spec(), true);
    let one = apply(&empty, append(1, &[("a", 1)])).unwrap();
    let two = apply(&one, append(2, &[("a", 11), ("b", 1)])).unwrap();
    let moved = [pairs_action(9, &[("a", 1)], 2), pairs_action(9, &[("a", 11), ("b", 1)], 3)];
    let after = apply(&two, moved.to_vec()).unwrap();
    assert_eq!(after.coverage, two.coverage);
    for (rows, version, why) in [
        (&[("c", 1)], 2, "of which 0 are covered"),
        (&[("a", 1)], 4, "version 4 owns rows that it moves"),
        (&[("a", 1)], u64::MAX, "owns rows that it moves"),
    ] {
        is_contradiction(apply(&two, vec![pairs_action(9, rows, version)]), why);
    }
}

/// C8, C17.
#[test]
fn a_checkpoint_keeps_the_rows_and_who_owns_them() {
    let mut snapshot = created(&spec(), true);
    for number in 1..40_i64 {
        let rows = [("a", number * 10), ("b", number * 10 + 1)];
        snapshot = apply(&snapshot, append(number.unsigned_abs().into(), &rows)).unwrap();
    }
    let saved = snapshot.save();
    assert_eq!(saved.inline_rows.len(), 39);
    let restored = Snapshot::restore(saved.clone()).unwrap();
    assert_eq!(restored.fold_digest(), snapshot.fold_digest());
    assert_eq!((restored.row_count, restored.hot.bytes()), (78, snapshot.hot.bytes()));
    for (ours, theirs) in snapshot.hot.iter().zip(restored.hot.iter()) {
        assert_eq!(
            (ours.id, ours.version, &ours.batch),
            (theirs.id, theirs.version, &theirs.batch)
        );
        assert_eq!(ours.owned, theirs.owned);
        assert_eq!(restored.segment_version(ours.id), Some(ours.version));
    }
    let fewer = apply(&restored, vec![remove(7), remove(1), remove(39)]).unwrap();
    assert_eq!(fewer.row_count, 72);
    assert_ne!(fewer.fold_digest(), snapshot.fold_digest(), "rows are part of the digest");

    let wrong = |edit: fn(&mut proto::Checkpoint)| {
        let mut saved = saved.clone();
        edit(&mut saved);
        Snapshot::restore(saved)
    };
    is_contradiction(wrong(|saved| saved.inline_rows.swap(0, 1)), "out of order");
    is_contradiction(wrong(|saved| saved.inline_rows[38].version = 41), "out of order");
    is_contradiction(wrong(|saved| saved.inline_rows[0].version = 0), "out of order");
    is_contradiction(wrong(|saved| saved.inline_rows[0].coverage.clear()), "does not fit");
    is_contradiction(wrong(|saved| saved.inline_rows[0].ipc_stream.truncate(9)), "cannot be read");
    is_contradiction(
        wrong(|saved| {
            let first = saved.inline_rows[0].clone();
            saved.inline_rows.insert(0, first);
        }),
        "again",
    );
}

#[test]
fn bounds_say_when_to_flush_and_when_there_is_no_room() {
    let layout = layout(&created(&spec(), true));
    let stored = |row_count: usize| proto::InlineRows {
        segment_id: bytes_of(id(1)),
        ipc_stream: encode(&batch(&vec![("a", 1); row_count])).unwrap(),
        row_count: row_count as u64,
        ..proto::InlineRows::default()
    };
    let rows =
        |row_count: usize| HotRows::from_proto(&stored(row_count), Version(2), &layout).unwrap();
    let one = rows(1);
    let mut many = HotSet::default();
    for count in 1..=HOT_APPENDS_MAX {
        many.push(one.clone());
        assert_eq!(many.is_flush_due(), count >= FLUSH_APPENDS, "{count} appends");
        assert_eq!(many.has_room(), count < HOT_APPENDS_MAX, "{count} appends");
    }
    let large = rows(usize::try_from(FLUSH_ROWS).unwrap() - 1);
    let mut few = HotSet::default();
    few.push(large.clone());
    assert!(!few.is_flush_due() && few.has_room());
    few.push(one);
    assert!(few.is_flush_due() && few.has_room());
    for _ in 0..4 {
        few.push(large.clone());
    }
    assert!(!few.has_room());
}
