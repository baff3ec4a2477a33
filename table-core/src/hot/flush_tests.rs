//! Flushes that fail, that race with a rival's, and hot rows that find no room.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use super::flush::FLUSH_RETRY_EVERY;
use super::sim::{Row, append, check, open, open_over, spec};
use super::*;
use crate::clock::SeededClock;
use crate::error::ErrorKind;
use crate::storage::faults::{FlakyStore, SimDisk};
use crate::table::Table;
use crate::types::Version;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn row(number: usize) -> Row {
    (NAMES[number % 4], i64::try_from(number / 4).unwrap() * 10)
}

/// Small appends of one row each, and as which versions they were committed.
async fn append_many(
    table: &Arc<Table>,
    numbers: std::ops::Range<usize>,
) -> Vec<(Version, Vec<Row>)> {
    let mut appends = Vec::new();
    for number in numbers {
        let receipt = append(table, &[row(number)], false).await.unwrap();
        assert_eq!(receipt.segment_count, 0);
        appends.push((receipt.version, vec![row(number)]));
    }
    appends
}

#[tokio::test]
async fn a_failed_flush_leaves_the_rows_hot_and_is_tried_again() {
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(Arc::new(disk.store(Arc::new(SeededClock::new(1)))));
    let catalog = open_over(flaky.clone(), 1).await.unwrap();
    let table = catalog.create_table("t", spec(), None, "").await.unwrap();
    flaky.stages_fail(true);
    let mut appends = append_many(&table, 0..3).await;
    let error = table.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("flush of table \"t\""), "{error}");
    check(&disk, &table, &table.snapshot(), &appends, "after an error").await;

    // As many as start a flush, which fails; until some versions later none is tried.
    let stages = || flaky.operations().iter().filter(|call| call.starts_with("stage")).count();
    appends.extend(append_many(&table, 3..FLUSH_APPENDS).await);
    while stages() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(table.flush().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let retry = usize::try_from(FLUSH_RETRY_EVERY).unwrap();
    appends.extend(append_many(&table, FLUSH_APPENDS..FLUSH_APPENDS + retry - 1).await);
    assert_eq!(stages(), 3, "one of each flush above, and no other");
    flaky.stages_fail(false);
    let last = FLUSH_APPENDS + retry - 1..FLUSH_APPENDS + retry;
    appends.extend(append_many(&table, last).await);
    // Waits for the flush that the last append has started.
    assert_eq!(table.flush().await.unwrap(), None);
    assert_eq!((stages(), table.snapshot().hot.append_count()), (4, 0));
    check(&disk, &table, &table.snapshot(), &appends, "flushed").await;
}

/// C6: whoever comes second finds nothing to do.
#[tokio::test]
async fn of_rival_flushes_one_wins_and_no_row_is_lost_or_doubled() {
    let disk = SimDisk::new();
    let first = open(&disk, 1).await.unwrap();
    let ours = first.create_table("t", spec(), None, "").await.unwrap();
    let mut appends = append_many(&ours, 0..5).await;
    let second = open(&disk, 2).await.unwrap();
    let theirs = second.table("t").await.unwrap();
    assert_eq!(theirs.flush().await.unwrap(), Some(Version(7)));
    // Ours still sees hot rows, writes a segment for nothing, and meets the rival's record.
    assert_eq!(ours.snapshot().version, Version(6));
    assert_eq!(ours.flush().await.unwrap(), None);
    assert_eq!(ours.snapshot().version, Version(7));
    check(&disk, &ours, &ours.snapshot(), &appends, "ours").await;
    // And with a small append among them that the other does not know.
    appends.extend(append_many(&ours, 5..7).await);
    let number = ours.snapshot().version;
    assert_eq!(ours.flush().await.unwrap(), Some(number.next()));
    let receipt = append(&theirs, &[row(7)], false).await.unwrap();
    appends.push((receipt.version, vec![row(7)]));
    check(&disk, &theirs, &theirs.snapshot(), &appends, "theirs").await;
    assert_eq!(theirs.snapshot().hot.append_count(), 1);
}

#[tokio::test]
async fn without_room_small_appends_are_segments() {
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(Arc::new(disk.store(Arc::new(SeededClock::new(1)))));
    let catalog = open_over(flaky.clone(), 1).await.unwrap();
    let table = catalog.create_table("t", spec(), None, "").await.unwrap();
    // No flush succeeds: hot rows pile up.
    flaky.stages_fail(true);
    let per_append = 10_000_i64;
    let rows = |hour: i64| -> Vec<Row> {
        (0..per_append).map(|number| ("a", hour * per_append + number)).collect()
    };
    let mut appends = Vec::new();
    let mut hour = 0;
    while table.snapshot().hot.row_count() + per_append.unsigned_abs() < HOT_ROWS_MAX {
        let receipt = append(&table, &rows(hour), false).await.unwrap();
        assert_eq!(receipt.segment_count, 0, "hour {hour}");
        appends.push((receipt.version, rows(hour)));
        hour += 1;
    }
    flaky.stages_fail(false);
    // Two at once: both find room, but only the first of the group still has it when it is planned.
    assert!(table.snapshot().hot.has_room());
    let (one, two) = (rows(hour), rows(hour + 1));
    let (first, second) = futures::join!(append(&table, &one, false), append(&table, &two, false));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.segment_count, second.segment_count), (0, 1));
    appends.extend([(first.version, one), (second.version, two)]);
    let hot_rows = table.snapshot().hot.row_count();
    assert!(!table.snapshot().hot.has_room() && hot_rows < HOT_ROWS_MAX + FLUSH_ROWS);
    let third = append(&table, &rows(hour + 2), false).await.unwrap();
    assert_eq!((third.segment_count, table.snapshot().hot.row_count()), (1, hot_rows));
    appends.push((third.version, rows(hour + 2)));

    table.flush().await.unwrap();
    assert!(table.snapshot().hot.is_empty());
    let fourth = append(&table, &rows(hour + 3), false).await.unwrap();
    assert_eq!(fourth.segment_count, 0);
    appends.push((fourth.version, rows(hour + 3)));
    let snapshot = table.snapshot();
    assert_eq!(snapshot.row_count, appends.len() as u64 * per_append.unsigned_abs());
    assert_eq!(
        snapshot.row_count,
        u64::try_from(super::sim::rows_of(&disk, &snapshot).len()).unwrap()
    );
}
