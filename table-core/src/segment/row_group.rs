//! Where row groups end. Pure.
//!
//! Rows come in parts, and a row group may go on over several of them. It ends where an entity does, as far as its size allows
//! and the part at hand shows.

use std::ops::Range;

/// Rows from which on a row group ends where an entity does.
pub const ROW_GROUP_ROWS_MIN: usize = 64 << 10;

/// Rows that a row group holds at most.
pub const ROW_GROUP_ROWS_MAX: usize = 128 << 10;

/// Rows below which a row group is not ended early to keep the next entity together.
const ROW_GROUP_ROWS_LEAST: usize = 16 << 10;

/// Rows of one part that belong to one row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Which rows of the part.
    pub(super) rows: Range<usize>,
    /// The row group ends with them; otherwise it may go on in the next part.
    pub(super) ends: bool,
}

/// Deals the rows of a part out to row groups. `open` is the number of rows that the current row group has already, less than
/// [`ROW_GROUP_ROWS_MAX`]; `entity_ends` ascends and lies inside the part.
pub(super) fn cut(row_count: usize, entity_ends: &[usize], open: usize) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let (mut start, mut open) = (0, open);
    while start < row_count {
        // In rows of the part: where the group has so many rows, had it begun in it.
        let has = |rows: usize| (start + rows).saturating_sub(open);
        let longest = has(ROW_GROUP_ROWS_MAX);
        let fitting = &entity_ends[..entity_ends.partition_point(|end| *end <= longest)];
        let fitting = &fitting[fitting.partition_point(|end| *end <= start)..];
        let wanted = fitting.partition_point(|end| *end < has(ROW_GROUP_ROWS_MIN));
        let end = if let Some(end) = fitting.get(wanted) {
            // The first entity that ends with enough rows in the group ...
            *end
        } else if row_count < longest {
            stretches.push(Stretch { rows: start..row_count, ends: false });
            break;
        } else {
            // ... or one before, if the rest of the group would be a part of an entity only; else the entity is split.
            match fitting.last() {
                Some(end) if *end >= has(ROW_GROUP_ROWS_LEAST) && row_count > longest => *end,
                _ => longest,
            }
        };
        stretches.push(Stretch { rows: start..end, ends: true });
        (start, open) = (end, 0);
    }
    stretches
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Row groups of entities that end at `ends`, the last of which is the number of rows, when they come in parts that end
    /// at `parts`.
    fn groups(ends: &[usize], parts: &[usize]) -> Vec<Range<usize>> {
        let row_count = *ends.last().unwrap();
        let (mut groups, mut group_start, mut part_start) = (Vec::new(), 0, 0);
        for &part_end in parts.iter().chain([&row_count]) {
            let inside = ends.iter().filter(|end| (part_start + 1..part_end).contains(*end));
            let inside: Vec<usize> = inside.map(|end| end - part_start).collect();
            let mut next = 0;
            for stretch in cut(part_end - part_start, &inside, part_start - group_start) {
                assert_eq!(stretch.rows.start, next);
                assert!(!stretch.rows.is_empty());
                next = stretch.rows.end;
                if stretch.ends {
                    groups.push(group_start..part_start + next);
                    group_start = part_start + next;
                } else {
                    assert_eq!(
                        next,
                        part_end - part_start,
                        "only the end of a part leaves one open"
                    );
                }
            }
            assert_eq!(next, part_end - part_start);
            part_start = part_end;
        }
        if group_start < row_count {
            groups.push(group_start..row_count);
        }
        for group in &groups {
            assert!((1..=ROW_GROUP_ROWS_MAX).contains(&group.len()), "{group:?}");
        }
        groups
    }

    #[test]
    fn row_groups_end_with_entities() {
        let small: Vec<usize> = (1..=1000).map(|entity| entity * 1000).collect();
        for group in &groups(&small, &[]) {
            assert_eq!(group.end % 1000, 0, "{group:?}");
            assert!(group.len() >= ROW_GROUP_ROWS_MIN || group.end == 1_000_000);
        }
        // An entity that fits into one group is not split for the sake of a fuller one.
        assert_eq!(groups(&[30_000, 150_000], &[]), [0..30_000, 30_000..150_000]);
        // One that fits nowhere is.
        let long = groups(&[10, 500_000], &[]);
        assert_eq!(long[0], 0..ROW_GROUP_ROWS_MAX);
        assert_eq!(groups(&[1], &[]).as_slice(), std::slice::from_ref(&(0..1)));
        assert_eq!(groups(&[ROW_GROUP_ROWS_MAX], &[]).len(), 1);
        assert_eq!(groups(&[ROW_GROUP_ROWS_MAX + 1], &[]).len(), 2);
    }

    #[test]
    fn a_row_group_goes_on_in_the_next_part() {
        let parts: Vec<usize> = (1..8).map(|part| part * 65_536).collect();
        let whole: Vec<usize> = groups(&[524_288], &parts).iter().map(Range::len).collect();
        assert_eq!(whole, [ROW_GROUP_ROWS_MAX; 4]);
    }

    proptest! {
        #[test]
        fn parts_of_any_size_become_groups_within_bounds(
            entities in prop::collection::vec(prop_oneof![1..50_000_usize, 1..400_000_usize], 1..20),
            parts in prop::collection::vec(1..200_000_usize, 0..12),
        ) {
            let running = |lengths: &[usize]| -> Vec<usize> {
                lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }).collect()
            };
            let ends = running(&entities);
            let row_count = *ends.last().unwrap();
            let parts: Vec<usize> =
                running(&parts).into_iter().filter(|end| *end < row_count).collect();
            let groups = groups(&ends, &parts);
            prop_assert_eq!(groups.iter().map(Range::len).sum::<usize>(), row_count);
        }
    }
}
