//! Opening a log that others write to: a listing is no snapshot, and what it leaves out is not missing (C7, C8, C10).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::{clock, filled, log_over, open_as, record_file, set};
use crate::access::Access;
use crate::error::ErrorKind;
use crate::storage::faults::{BusyStore, SimDisk};
use crate::types::Version;

/// Listings that were torn in another way each.
const SEEDS: u64 = 200;

/// Commits while one listing is made, at most.
const MEANWHILE_MAX: u64 = 12;

/// A store over `disk` in whose listings `head` commits, and now and then writes a checkpoint.
fn busy(disk: &SimDisk, head: &super::tests::TableHead, seed: u64) -> Arc<BusyStore> {
    let (head, listings) = (Arc::clone(head), AtomicU64::new(0));
    BusyStore::over(Arc::new(disk.store(clock(seed + 1_000))), seed, move || {
        let listing = listings.fetch_add(1, Ordering::Relaxed);
        let head = Arc::clone(&head);
        let mut random = StdRng::seed_from_u64(seed << 8 | listing);
        async move {
            for _ in 0..random.random_range(1..=MEANWHILE_MAX) {
                set(&head, &format!("{seed}/{}", head.current().version)).await.unwrap();
                if random.random_bool(0.2) {
                    head.checkpoint().await.unwrap();
                }
            }
        }
        .boxed()
    })
}

#[tokio::test]
async fn a_log_that_grows_while_it_is_listed_opens_at_what_was_there_or_later() {
    let mut newer = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new();
        let writer = filled(&disk, 1 + seed % 7).await;
        let before = writer.current().version;
        let log = log_over(busy(&disk, &writer, seed));
        let reader = open_as(log, seed, Access::Shared).await;
        let reader = reader.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let opened = reader.current();
        assert!(opened.version >= before, "seed {seed}: {} is gone", before);
        newer += u64::from(opened.version > before);
        assert_eq!(
            opened.properties,
            writer.at_version(opened.version).await.unwrap().properties,
            "seed {seed}"
        );
        // What the listing left out is found by looking.
        let newest = reader.refresh(Duration::ZERO).await.unwrap();
        assert_eq!(newest.version, writer.current().version, "seed {seed}");
        assert_eq!(newest.properties, writer.current().properties, "seed {seed}");
        let first = reader.at_version(Version(1)).await.unwrap();
        assert_eq!(first.version, Version(1), "seed {seed}");
    }
    assert!(newer > SEEDS / 4, "too tame: {newer} of {SEEDS} saw any new name");
}

#[tokio::test]
async fn a_record_that_is_really_missing_is_named_however_it_is_listed() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new();
        let writer = filled(&disk, 6).await;
        let missing = record_file(1 + seed % 5);
        disk.tamper(&missing, |_| None);
        let store = BusyStore::over(Arc::new(disk.store(clock(seed))), seed, move || {
            let writer = Arc::clone(&writer);
            async move { drop(set(&writer, "k").await.unwrap()) }.boxed()
        });
        let refused = open_as(log_over(store), seed, Access::Shared).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "seed {seed}: {refused}");
        assert!(refused.message().contains(&missing), "seed {seed}: {refused}");
    }
}
