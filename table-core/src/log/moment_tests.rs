//! Every moment around every commit, against a list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use futures::TryStreamExt;

use super::newest_at;
use crate::log::LogError;
use crate::log::tests::{create, log_on, set};
use crate::storage::faults::SimDisk;
use crate::types::Version;

#[tokio::test]
async fn every_moment_has_the_version_that_was_newest_then() {
    for count in [1_u64, 2, 3, 7, 8, 20] {
        let disk = SimDisk::new();
        let head = create(log_on(&disk, 1), 2).await;
        for number in 1..count {
            set(&head, &format!("k{number}")).await.unwrap();
        }
        let log = log_on(&disk, 3);
        let records = log.read_records(Version(1), Version(count));
        let times: Vec<i64> =
            records.map_ok(|stored| stored.record.commit_time_us).try_collect().await.unwrap();
        assert_eq!(times.len() as u64, count);
        for moment in times.iter().flat_map(|time| [time - 1, *time, time + 1]) {
            let there = times.iter().filter(|time| **time <= moment).count() as u64;
            let expected = if there > 0 { Ok(Version(there)) } else { Err(times[0]) };
            let found = newest_at(&log, Version(count), moment).await.unwrap();
            assert_eq!(found, expected, "{count} versions, moment {moment}");
        }
        // An older version that is asked from knows nothing of what came later.
        let early = newest_at(&log, Version(1), i64::MAX).await.unwrap();
        assert_eq!(early, Ok(Version(1)));
    }
}

#[tokio::test]
async fn a_record_that_is_gone_is_named() {
    let disk = SimDisk::new();
    create(log_on(&disk, 1), 2).await;
    let error = newest_at(&log_on(&disk, 3), Version(9), i64::MAX).await.unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}
