//! Surroundings that are wrong: a file system that may not be written, a clock ten years off (C2, C13, C15).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use table_core::clock::{Clock, SeededClock};
use table_core::storage::faults::{FaultKind, FaultTime, Operation, SimDisk};
use table_core::{Catalog, CatalogOptions, ErrorKind};
use uuid::Uuid;

use crate::model::Row;
use crate::root::{How, Segments, append, open, read, spec};

fn row(n: i64) -> Row {
    Row { entity: 0, n, tag: n }
}

/// C2, C13: nothing was committed, the answer says what is missing, reads go on, and so do appends once it is there.
#[tokio::test]
async fn a_root_that_may_not_be_written_is_refused_by_name_and_read_on() {
    for (kind, expected) in [
        (FaultKind::Denied, ErrorKind::Precondition),
        (FaultKind::ReadOnly, ErrorKind::Precondition),
        (FaultKind::Full, ErrorKind::Exhausted),
    ] {
        for operation in [Operation::OpenStaged, Operation::LinkNew] {
            for is_large in [false, true] {
                let label = format!("{operation:?} fails as {kind:?}, large {is_large}");
                let disk = SimDisk::new();
                let catalog = open(&disk, 1).await.unwrap();
                let table = catalog.create_table("t", spec(), None, "").await.unwrap();
                let how = How { is_large, ..How::default() };
                append(&table, &[row(1)], &how).await.unwrap();
                let before = read(&disk, &catalog, &mut Segments::default()).await.unwrap();

                disk.fail_later(operation, 0, FaultTime::Before, kind);
                let refused = append(&table, &[row(20)], &how).await.unwrap_err();
                assert_eq!(refused.kind(), expected, "{label}: {refused}");
                assert!(refused.message().contains("tables/") || is_large, "{label}: {refused}");
                assert!(!disk.heal(), "{label}: not reached");
                let after = read(&disk, &catalog, &mut Segments::default()).await.unwrap();
                assert_eq!(after, before, "{label}");
                append(&table, &[row(20)], &how).await.unwrap();

                disk.fail_later(Operation::OpenStaged, 0, FaultTime::Before, kind);
                let refused = catalog.create_table("u", spec(), None, "").await.unwrap_err();
                assert_eq!(refused.kind(), expected, "{label}: {refused}");
            }
        }
    }
}

/// C8: what is there can be opened and read with no byte free and nothing writable.
#[tokio::test]
async fn a_root_that_may_not_be_written_opens() {
    for kind in [FaultKind::Denied, FaultKind::ReadOnly, FaultKind::Full] {
        let disk = SimDisk::new();
        let catalog = open(&disk, 1).await.unwrap();
        let table = catalog.create_table("t", spec(), None, "").await.unwrap();
        append(&table, &[row(1)], &How::default()).await.unwrap();
        append(&table, &[row(20)], &How { is_large: true, ..How::default() }).await.unwrap();
        let before = read(&disk, &catalog, &mut Segments::default()).await.unwrap();
        drop((catalog, table));
        let disk = disk.copy();
        disk.fail_writes(kind);
        let catalog = open(&disk, 2).await.unwrap();
        assert_eq!(read(&disk, &catalog, &mut Segments::default()).await.unwrap(), before);
        let table = catalog.table("t").await.unwrap();
        let refused = append(&table, &[row(40)], &How::default()).await.unwrap_err();
        assert_ne!(refused.kind(), ErrorKind::Indeterminate, "{kind:?}: {refused}");
        disk.heal();
        append(&table, &[row(40)], &How::default()).await.unwrap();
    }
}

/// A small file system, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where that is not allowed.
    fn read_only(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "ro,size=64k", "none"])
            .arg(folder)
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg(&self.0).status();
    }
}

/// The real calls of the operating system, where this test may mount.
#[tokio::test]
async fn a_read_only_file_system_is_named_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::read_only(folder.path()) else {
        println!("not run: mounting is not allowed here");
        return;
    };
    for root in [folder.path().to_owned(), folder.path().join("new")] {
        let refused = Catalog::open(&root, CatalogOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Precondition, "{refused}");
        let text = refused.message();
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
        assert!(text.contains("permission to write"), "{text}");
    }
    drop(mounted);
}

/// A clock that is set by hand.
#[derive(Debug)]
struct SetClock {
    now_us: AtomicI64,
    ids: SeededClock,
}

impl Clock for SetClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed)
    }

    fn new_id(&self) -> Uuid {
        self.ids.new_id()
    }
}

/// C15.
#[tokio::test]
async fn a_clock_ten_years_off_loses_nothing_and_orders_nothing() {
    const YEARS_US: i64 = 10 * 365 * 24 * 3600 * 1_000_000;
    const START_US: i64 = 1_750_000_000_000_000;
    let disk = SimDisk::new();
    let clock = Arc::new(SetClock { now_us: AtomicI64::new(START_US), ids: SeededClock::new(7) });
    let reopen = async || {
        let shared: Arc<dyn Clock> = clock.clone();
        let store = Arc::new(disk.store(Arc::clone(&shared)));
        let options = CatalogOptions { clock: shared, ..CatalogOptions::default() };
        Catalog::over(store, options).await.unwrap()
    };
    let mut catalog = reopen().await;
    catalog.create_table("t", spec(), None, "").await.unwrap();
    let key = |n: i64| How { key: Some(n.to_string()), ..How::default() };
    let mut times: Vec<i64> = Vec::new();
    let walls = [0, 1, YEARS_US, 2, -YEARS_US, 3, 3, i64::MIN / 2, 4 + YEARS_US, 2 * YEARS_US, 5];
    for (number, wall) in walls.into_iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        clock.now_us.store(START_US.saturating_add(wall), Ordering::Relaxed);
        if number % 2 == 1 {
            catalog = reopen().await;
        }
        let table = catalog.table("t").await.unwrap();
        let before = table.snapshot();
        let receipt = append(&table, &[row(number * 10)], &key(number)).await.unwrap();
        let after = table.snapshot();
        assert_eq!(receipt.version, before.version.next());
        let expected = START_US.saturating_add(wall).max(before.commit_time_us + 1);
        assert_eq!(after.commit_time_us, expected, "append {number}");
        times.push(after.commit_time_us);
        table.flush().await.unwrap();
        table.checkpoint().await.unwrap();
        // Every append so far is still known by its key.
        for known in 0..=number {
            let receipt = append(&table, &[row(known * 10)], &key(known)).await.unwrap();
            assert!(receipt.repeated, "append {known} at {wall}");
        }
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    catalog = reopen().await;
    let facts = read(&disk, &catalog, &mut Segments::default()).await.unwrap();
    assert_eq!(facts["t"].rows.len(), walls.len());
    assert_eq!(facts["t"].keys.len(), walls.len());
    catalog.drop_table("t", "").await.unwrap();
}
