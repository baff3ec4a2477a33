#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::schema::{IndexSpec, TableSpec};
use crate::types::BucketWidth;

fn layout() -> TableLayout {
    let fields = [("symbol", DataType::Utf8), ("ts", DataType::Int64)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, false));
    let index = IndexSpec {
        column: "ts".to_owned(),
        bucket: BucketWidth::parse("10").unwrap(),
        entity_columns: vec!["symbol".to_owned()],
        time_zone: "UTC".to_owned(),
    };
    TableSpec { index: Some(index) }.bind(&Arc::new(Schema::new(fields.to_vec()))).unwrap()
}

/// A buffer of rows (entity, index) that come in such batches.
fn buffer(layout: &TableLayout, batches: &[Vec<(u8, i64)>]) -> SegmentBuffer {
    let mut buffer = SegmentBuffer::new(layout);
    for rows in batches {
        let names: StringArray = rows.iter().map(|row| Some(row.0.to_string())).collect();
        let index: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
        let mut delta = CoverageDelta::default();
        let keys: Vec<_> = (0..=u8::MAX).map(|entity| EntityKey(vec![entity].into())).collect();
        for (entity, ts) in rows {
            delta.insert(&keys[usize::from(*entity)], BucketId(ts.div_euclid(10)));
        }
        let checked = CheckedBatch {
            keys,
            rows: rows.iter().map(|row| u32::from(row.0)).collect(),
            index: index_values(&index),
            batch: RecordBatch::try_new(Arc::clone(&layout.schema), vec![Arc::new(names), index])
                .unwrap(),
            delta,
        };
        buffer.push(checked, rows.len() * 16);
    }
    buffer
}

fn rows_of(rows: &SegmentRows) -> Vec<(u8, i64)> {
    let mut found = Vec::new();
    for batch in &rows.batches {
        let names = batch.column(0).as_string::<i32>();
        let index = batch.column(1).as_primitive::<Int64Type>();
        assert!(batch.num_rows() > 0);
        found.extend(
            names
                .iter()
                .zip(index.values())
                .map(|(name, ts)| (name.unwrap().parse::<u8>().unwrap(), *ts)),
        );
    }
    found
}

/// All that a part of these rows says of itself.
fn same(layout: &TableLayout, part: SegmentBuffer, rows: &[(u8, i64)]) {
    let whole = buffer(layout, &[rows.to_vec()]);
    assert_eq!((part.row_count(), part.is_empty()), (rows.len(), rows.is_empty()));
    let (part, whole) = (part.finish(), whole.finish());
    assert_eq!(rows_of(&part), rows);
    assert_eq!(part.places, whole.places);
    assert_eq!(part.index_range, whole.index_range);
    assert_eq!(part.entity_range, whole.entity_range);
    assert_eq!(part.entity_ends, whole.entity_ends);
    assert_eq!(part.delta, whole.delta);
}

proptest! {
    #[test]
    fn what_stays_ends_where_an_entity_does(
        mut rows in prop::collection::vec((0..6_u8, -30..30_i64), 0..40),
        cuts in prop::collection::vec(1..9_usize, 40),
        sorted in prop::bool::weighted(0.8),
    ) {
        if sorted {
            rows.sort_unstable();
        }
        let layout = layout();
        let (mut batches, mut left) = (Vec::new(), rows.as_slice());
        for cut in cuts {
            let (batch, rest) = left.split_at(cut.min(left.len()));
            batches.push(batch.to_vec());
            left = rest;
        }
        let mut stays = buffer(&layout, &batches);
        let bytes = stays.bytes();
        let goes = stays.split_off_last_entity(&layout);
        prop_assert_eq!(stays.bytes() + goes.bytes(), bytes);
        let start = match rows.last() {
            Some(last) if rows.is_sorted() => rows.partition_point(|row| row.0 < last.0),
            _ => 0,
        };
        if start == 0 {
            prop_assert!(goes.is_empty());
            prop_assert_eq!(stays.row_count(), rows.len());
        } else {
            same(&layout, stays, &rows[..start]);
            same(&layout, goes, &rows[start..]);
        }
    }
}

#[test]
fn entity_ends_are_where_the_entity_changes() {
    assert_eq!(entity_ends([3, 3, 1, 1, 1, 2].into_iter()), [2, 5]);
    assert!(entity_ends([7].into_iter()).is_empty());
}

#[test]
fn rows_in_owned_pairs_are_not_free() {
    let key = |byte: u8| EntityKey(vec![byte].into());
    let mut owned = CoverageDelta::default();
    owned.insert(&key(1), BucketId(5));
    let buckets: Vec<_> = [5, 5, 5, 6, 5].map(BucketId).to_vec();
    let free = free_rows(&[key(0), key(1)], &[0, 1, 1, 1, 0], &buckets, &owned);
    assert_eq!(free, [true, false, false, true, true]);
}
