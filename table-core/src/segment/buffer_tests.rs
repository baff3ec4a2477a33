#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

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
