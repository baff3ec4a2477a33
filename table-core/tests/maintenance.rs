//! `scrub` finds every kind of damage and says where; `backup` copies what is sound while it is being written, and nothing
//! else (C8, C10).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use support::root::{HOUR_US, Root, append, bars, open, spec};
use table_core::maintenance::{ScrubReport, backup, is_root, scrub};
use table_core::{ErrorKind, Table};

/// Rows enough for a segment of their own, in hours that no other `day` has.
fn day(number: i64) -> RecordBatch {
    let rows: Vec<_> = (0..20_000)
        .map(|row| ("NVDA", number * 24 * HOUR_US + row * 1_000_000, row as f64))
        .collect();
    bars(&rows)
}

/// A row so small that nobody makes a file of it alone.
fn tick(number: i64) -> RecordBatch {
    bars(&[("AMD", number * 24 * HOUR_US, 1.0)])
}

/// Two large appends, a checkpoint, one small append and one large one.
async fn filled() -> (Root, Arc<Table>) {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[day(1)]).await.unwrap();
    append(&table, &[day(2)]).await.unwrap();
    table.checkpoint().await.unwrap();
    append(&table, &[tick(3)]).await.unwrap();
    append(&table, &[day(4)]).await.unwrap();
    (root, table)
}

async fn look(root: &Path) -> ScrubReport {
    scrub(root, &[], &|_| {}).await.unwrap()
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    let position = position.min(bytes.len() - 1);
    bytes[position] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[tokio::test]
async fn a_sound_root_is_clean_while_a_server_holds_it() {
    let (root, table) = filled().await;
    let bytes = AtomicU64::new(0);
    let report = scrub(root.folder.path(), &["prices".to_owned()], &|more| {
        bytes.fetch_add(more, Ordering::Relaxed);
    })
    .await
    .unwrap();
    let snapshot = table.snapshot();
    let expected = ScrubReport {
        tables: 1,
        // Of the table, and of the catalog: made, and a table put into it.
        records: snapshot.version.0 + 2,
        checkpoints: 1,
        segments: snapshot.segments.len() as u64,
        ..ScrubReport::default()
    };
    assert_eq!(report, expected);
    assert!(snapshot.segments.len() >= 3);
    assert_eq!(bytes.into_inner(), snapshot.file_bytes);

    fs::write(root.data_folder(&table).join("left over.parquet"), b"x").unwrap();
    let report = look(root.folder.path()).await;
    assert!(report.is_clean());
    assert_eq!(report.unnamed_files, 1);
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_named() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("flipped", |path| flip(path, 100)),
        ("truncated", truncate),
        ("emptied", |path| fs::write(path, b"").unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, damage) in damages {
        let (root, table) = filled().await;
        let folder = root.folder.path().to_owned();
        let log = folder.join(format!("tables/{}/_log", table.id()));
        let segment = root.segment_paths(&table, &table.snapshot()).pop().unwrap();
        drop((root.catalog, table));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();

        let files = [
            (log.join("00000000000000000002"), "restore the file from a backup"),
            (log.join("00000000000000000003.checkpoint"), "records below it"),
            (segment, "queries that need it fail"),
        ];
        for (file, advice) in files {
            let kept = fs::read(&file).unwrap();
            damage(&file);
            // A checkpoint that is gone is not missed: it is a shortcut.
            let is_gone_checkpoint = what == "removed" && name(&file).ends_with("checkpoint");
            let report = look(&folder).await;
            assert_eq!(report.findings.len(), usize::from(!is_gone_checkpoint), "{what} {file:?}");
            for finding in &report.findings {
                assert_eq!(finding.table.as_deref(), Some("prices"));
                assert!(finding.what.contains(&name(&file)), "{what}: {finding:?}");
                assert!(finding.advice.contains(advice), "{what}: {finding:?}");
            }
            fs::write(&file, kept).unwrap();
        }
        assert!(look(&folder).await.is_clean());
        damage(&folder.join("_catalog/log/00000000000000000001"));
        let report = look(&folder).await;
        let [finding] = report.findings.as_slice() else { panic!("{what}: {report:?}") };
        assert_eq!(finding.table, None, "{what}");
        assert!(
            finding.what.starts_with("_catalog/log/00000000000000000001"),
            "{what}: {finding:?}"
        );
        assert!(finding.advice.starts_with("nothing can be served unless"), "{what}: {finding:?}");
    }
}

/// C10: a catalog that is gone while tables are there is damage, never an empty root.
#[tokio::test]
async fn tables_without_a_catalog_are_damage() {
    let (root, _table) = filled().await;
    fs::remove_dir_all(root.folder.path().join("_catalog")).unwrap();
    let report = look(root.folder.path()).await;
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(
        (&finding.table, finding.what.as_str()),
        (&None, "_catalog/log: it holds no catalog")
    );
    assert!(is_root(&root.folder.path().into()).await.unwrap());
    let target = tempfile::tempdir().unwrap();
    let error = backup(root.folder.path(), target.path(), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_place_that_never_was_a_root_is_not_found_and_no_target_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let days = folder.path().join("days");
    let copy = folder.path().join("copy");
    for what in ["missing", "empty", "foreign", "unfinished"] {
        match what {
            "empty" => fs::create_dir(&days).unwrap(),
            "foreign" => fs::write(days.join("monday.csv"), "x").unwrap(),
            "unfinished" => fs::create_dir_all(days.join("_catalog/log")).unwrap(),
            _ => {}
        }
        assert!(!is_root(&days.as_path().into()).await.unwrap(), "{what}");
        let scrubbed = scrub(&days, &[], &|_| {}).await.unwrap_err();
        let copied = backup(&days, &copy, &|_| {}).await.unwrap_err();
        for error in [scrubbed, copied] {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
            assert!(error.message().contains("days"), "{what}: {error}");
        }
        assert!(!copy.exists(), "{what}");
    }
}

#[tokio::test]
async fn a_copy_into_what_is_copied_is_refused() {
    let (root, _table) = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(root.folder.path(), &link).unwrap();
    for target in [
        root.folder.path().join("copy"),
        root.folder.path().join("tables/a/b"),
        root.folder.path().to_owned(),
        link.join("new/copy"),
    ] {
        let error = backup(root.folder.path(), &target, &|_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{target:?}: {error}");
        assert!(error.message().contains("lies inside"), "{target:?}: {error}");
    }
    assert!(look(root.folder.path()).await.is_clean());
    // A name that only begins the same is another place.
    let mut beside = root.folder.path().as_os_str().to_owned();
    beside.push("-copy");
    let beside = PathBuf::from(beside);
    backup(root.folder.path(), &beside, &|_| {}).await.unwrap();
    fs::remove_dir_all(&beside).unwrap();
}

#[tokio::test]
async fn a_folder_or_table_that_is_not_there_is_not_found() {
    let (root, _table) = filled().await;
    let unknown = scrub(root.folder.path(), &["prizes".to_owned()], &|_| {}).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let nowhere = scrub(&root.folder.path().join("x"), &[], &|_| {}).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

/// C8: whatever moment a backup sees, it is a version.
#[tokio::test]
async fn a_backup_is_a_root_of_its_own_although_appends_go_on() {
    let (root, table) = filled().await;
    let target = tempfile::tempdir().unwrap();
    let copy = target.path().join("copy");
    let writer = {
        let table = Arc::clone(&table);
        tokio::spawn(async move {
            for number in 10..40 {
                let batch = if number % 2 == 0 { tick(number) } else { day(number) };
                append(&table, &[batch]).await.unwrap();
            }
        })
    };
    let copied = backup(root.folder.path(), &copy, &|_| {}).await.unwrap();
    writer.await.unwrap();

    let [(name, version)] = copied.tables.as_slice() else { panic!("{copied:?}") };
    assert_eq!(name, "prices");
    let original = table.snapshot_at(*version).await.unwrap();
    assert!(look(&copy).await.is_clean());
    let restored = open(&copy).await;
    let restored_table = restored.table("prices").await.unwrap();
    let found = restored_table.snapshot();
    assert_eq!((found.version, found.row_count), (*version, original.row_count));
    assert_eq!(found.coverage.digest(), original.coverage.digest());
    // Older versions came along, and the copy takes appends.
    let older = restored_table.snapshot_at(table_core::types::Version(2)).await.unwrap();
    assert_eq!(older.row_count, 20_000);
    append(&restored_table, &[day(100)]).await.unwrap();
    drop(restored_table);
    drop(restored);

    // Restoring is the same in the other direction.
    let back = target.path().join("back");
    backup(&copy, &back, &|_| {}).await.unwrap();
    let restored = open(&back).await;
    let rows = restored.table("prices").await.unwrap().snapshot().row_count;
    assert_eq!(rows, original.row_count + 20_000);
}

#[tokio::test]
async fn a_backup_of_damage_is_refused_and_is_no_root() {
    let (root, table) = filled().await;
    let segment = root.segment_paths(&table, &table.snapshot()).remove(0);
    flip(&segment, 100);
    let target = tempfile::tempdir().unwrap();
    let copy = target.path().join("copy");
    let error = backup(root.folder.path(), &copy, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(error.message().contains(name) && error.message().contains("\"prices\""), "{error}");
    assert!(!copy.join("_catalog").exists(), "what was copied is not taken for a root");

    let error = backup(root.folder.path(), &copy, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
}
