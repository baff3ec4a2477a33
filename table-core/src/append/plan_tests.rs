#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::schema::TableSpec;
use crate::types::{EntityKey, TableId};

fn runs_of(buckets: &BTreeSet<i64>) -> Runs {
    let mut runs = Runs::default();
    for bucket in buckets {
        runs.insert(BucketId(*bucket));
    }
    runs
}

fn buckets_of(runs: &Runs) -> BTreeSet<i64> {
    runs.iter().flat_map(|run| run.first.0..=run.last.0).collect()
}

proptest! {
    #[test]
    fn what_is_left_is_what_a_set_would_leave(
        all in prop::collection::btree_set(-30_i64..30, 0..40),
        taken in prop::collection::btree_set(-30_i64..30, 0..40),
    ) {
        let left = difference(&runs_of(&all), &runs_of(&taken));
        let expected: BTreeSet<i64> = all.difference(&taken).copied().collect();
        prop_assert_eq!(buckets_of(&left), expected);
    }
}

#[test]
fn the_ends_of_the_index_do_not_overflow() {
    let whole = |first: i64, last: i64| {
        let mut runs = Runs::default();
        runs.insert_run(Run { first: BucketId(first), last: BucketId(last) });
        runs
    };
    let all = whole(i64::MIN, i64::MAX);
    assert!(difference(&all, &all).is_empty());
    let left = difference(&all, &whole(i64::MIN + 1, i64::MAX - 1));
    assert_eq!(left.bucket_count(), 2);
    assert_eq!(difference(&all, &Runs::default()), all);
}

#[test]
fn a_pair_of_two_segments_belongs_to_the_first() {
    let key = |byte: u8| EntityKey(vec![byte].into());
    let mut first = CoverageDelta::default();
    first.insert(&key(1), BucketId(1));
    first.insert(&key(1), BucketId(2));
    let mut second = first.clone();
    second.insert(&key(1), BucketId(3));
    second.insert(&key(2), BucketId(1));
    let left = unclaimed(&second, &first);
    assert_eq!(left.pair_count(), 2);
    assert!(left.runs(&key(1)).unwrap().contains(BucketId(3)));
    assert!(unclaimed(&first, &second).is_empty());
}

/// C2, C4: what was recognised by its id has kept no rows, so without the id there is nothing that could be acknowledged.
#[test]
fn a_retry_whose_id_was_forgotten_is_refused() {
    let payload = KeyedPayload { key: "k".to_owned(), digest: [7; 32] };
    let plan = |is_retry| AppendPlan {
        principal: String::new(),
        on_overlap: OverlapPolicy::Reject,
        append_id: Some(payload.clone()),
        creates: false,
        is_retry,
        schema: None,
        fingerprint: None,
        actions: Vec::new(),
        is_inline: false,
        claimed: CoverageDelta::default(),
        row_count: 0,
        rows_skipped: 0,
        segment_count: 0,
    };
    let id = TableId(uuid::Uuid::from_u128(7));
    let mut snapshot = Snapshot::empty(id, Arc::new(TableSpec::plain()), None);
    assert!(matches!(plan(true).against(&snapshot), Err(Refusal::KeyForgotten)));
    assert!(matches!(plan(false).against(&snapshot), Ok(Planned::Publish(Decision::Nothing))));
    let known = Arc::new(plan(false).remembered(&payload));
    snapshot.append_ids.insert((String::new(), payload.key.clone()), known);
    assert!(matches!(plan(true).against(&snapshot), Ok(Planned::Repeated(_))));
}
