#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

/// Every group within bounds, all rows covered once, and no entity split that would have fitted.
fn check(ends: &[usize]) -> Vec<Range<usize>> {
    let groups = cut_row_groups(ends);
    let mut next = 0;
    for group in &groups {
        assert_eq!(group.start, next);
        assert!((1..=ROW_GROUP_ROWS_MAX).contains(&group.len()), "{group:?}");
        next = group.end;
    }
    assert_eq!(next, *ends.last().unwrap());
    groups
}

#[test]
fn row_groups_end_with_entities() {
    let small: Vec<usize> = (1..=1000).map(|entity| entity * 1000).collect();
    for group in &check(&small) {
        assert_eq!(group.end % 1000, 0, "{group:?}");
        assert!(group.len() >= ROW_GROUP_ROWS_MIN || group.end == 1_000_000);
    }
    // An entity that fits into one group is not split for the sake of a fuller one.
    assert_eq!(check(&[30_000, 150_000]), [0..30_000, 30_000..150_000]);
    // One that fits nowhere is.
    let long = check(&[10, 500_000]);
    assert_eq!(long[0], 0..ROW_GROUP_ROWS_MAX);
    assert_eq!(check(&[1]).as_slice(), std::slice::from_ref(&(0..1)));
    assert_eq!(check(&[ROW_GROUP_ROWS_MAX]).len(), 1);
    assert_eq!(check(&[ROW_GROUP_ROWS_MAX + 1]).len(), 2);
}

#[test]
fn entity_ends_are_where_the_entity_changes() {
    assert_eq!(entity_ends([3, 3, 1, 1, 1, 2].into_iter()), [2, 5, 6]);
    assert_eq!(entity_ends([7].into_iter()), [1]);
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
