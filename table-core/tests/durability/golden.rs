//! Roots that released versions wrote are opened for good: same rows, same receipts, sound, and appended to.
//!
//! `tests/golden` holds one folder for each version that changed the format; its README says how one is written. Ids and times
//! in them follow from a seed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use table_core::clock::SeededClock;
use table_core::maintenance::scrub;
use table_core::schema::TableSpec;
use table_core::storage::faults::SimDisk;
use table_core::types::Version;
use table_core::{Catalog, CatalogOptions, Table};

use crate::model::{ENTITIES, Facts, Row};
use crate::root::{How, Segments, append, read, spec};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

async fn open(root: &Path) -> Arc<Catalog> {
    let options = CatalogOptions {
        clock: Arc::new(SeededClock::new(1)),
        disk_floor_bytes: Some(0),
        ..CatalogOptions::default()
    };
    Catalog::open(root, options).await.unwrap()
}

/// Every file below `folder`, with its path from there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// What a root shows, for people and for comparing.
fn text(facts: &Facts) -> String {
    let mut text = String::new();
    for (name, table) in facts {
        let (version, hot_rows) = (table.version, table.hot_rows);
        writeln!(text, "table {name}: version {version}, {hot_rows} hot rows").unwrap();
        for row in &table.rows {
            let entity = ENTITIES[row.entity];
            writeln!(text, "  row n={} name={entity} tag={}", row.n, row.tag).unwrap();
        }
        for (key, known) in &table.keys {
            let (version, rows, skipped) = (known.version, known.row_count, known.rows_skipped);
            writeln!(text, "  append id {key}: version {version}, {rows} rows, {skipped} skipped")
                .unwrap();
        }
    }
    text
}

/// What the catalog of a root that lies in `folder` shows.
async fn shown(catalog: &Arc<Catalog>, folder: &Path) -> String {
    let disk = SimDisk::new();
    for (path, bytes) in files(folder) {
        disk.plant(&path, bytes);
    }
    text(&read(&disk, catalog, &mut Segments::default()).await.unwrap())
}

/// Copies the root of a version.
fn copied(version: &Path, to: &Path) {
    for (name, bytes) in files(&version.join("root")) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Opens a copy of a golden root: it shows what is written beside it, is sound, and takes more.
async fn check(version: &Path) {
    let copy = tempfile::tempdir().unwrap();
    copied(version, copy.path());
    let catalog = open(copy.path()).await;
    let found = shown(&catalog, copy.path()).await;
    let expected = fs::read_to_string(version.join("expected.txt")).unwrap();
    assert_eq!(found, expected, "{version:?}");
    let report = scrub(copy.path(), &[], &|_| {}).await.unwrap();
    assert!(report.is_clean() && report.records > 0, "{version:?}: {report:?}");

    for name in catalog.table_names() {
        let table = catalog.table(&name).await.unwrap();
        let newest = table.snapshot().version;
        for older in 1..=newest.0 {
            table.snapshot_at(Version(older)).await.unwrap();
        }
        let row = Row { entity: 0, n: -5000, tag: 0 };
        let receipt = append(&table, &[row], &How::default()).await.unwrap();
        assert_eq!(receipt.version, newest.next(), "{version:?}");
    }
    drop(catalog);
    let catalog = open(copy.path()).await;
    assert_ne!(shown(&catalog, copy.path()).await, expected, "{version:?}");
}

#[tokio::test]
async fn roots_of_released_versions_show_what_they_showed_then() {
    let mut versions = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let version = entry.unwrap().path();
        if version.is_dir() {
            versions += 1;
            check(&version).await;
        }
    }
    assert!(versions > 0, "no golden root");
}

/// Version 0.1.0 did not write how many rows each entity has: that stays unknown, whatever is added, also after a checkpoint.
#[tokio::test]
async fn counts_that_an_old_version_did_not_write_stay_unknown() {
    let copy = tempfile::tempdir().unwrap();
    copied(&golden().join("0.1.0"), copy.path());
    let catalog = open(copy.path()).await;
    let table = catalog.table("prices").await.unwrap();
    let unknown = |table: &Table| {
        let coverage = &table.snapshot().coverage;
        coverage.rows_sorted().map(|(_, rows)| rows).eq([None; ENTITIES.len()])
            && coverage.row_count().is_none()
    };
    assert!(unknown(&table));
    append(&table, &[Row { entity: 0, n: -5000, tag: 0 }], &How::default()).await.unwrap();
    assert!(unknown(&table));
    table.checkpoint().await.unwrap();
    drop((table, catalog));
    let catalog = open(copy.path()).await;
    assert!(unknown(catalog.table("prices").await.unwrap().as_ref()));
}

/// The root of this version, twice, is one and the same, and as good as those of the others. `COVERLINE_GOLDEN` names a version to
/// keep it for, once the format has changed; see the README of the folder.
#[tokio::test]
async fn the_root_of_this_version_is_a_golden_one() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(first.path()).await;
    write(second.path()).await;
    assert!(files(first.path()) == files(second.path()), "its bytes do not follow from the seed");
    check(first.path()).await;
    if let Ok(version) = std::env::var("COVERLINE_GOLDEN") {
        let folder = golden().join(version);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        write(&folder).await;
    }
}

/// Writes the root of this version, and what it shows, into an empty folder.
async fn write(version: &Path) {
    let root = version.join("root");
    let catalog = open(&root).await;
    let prices = catalog.create_table("prices", spec(), None, "").await.unwrap();
    let plain = catalog.create_table("plain", TableSpec::plain(), None, "ann").await.unwrap();
    let gone = catalog.create_table("gone", spec(), None, "").await.unwrap();
    let row = |entity: usize, n: i64| Row { entity, n, tag: n * 10 };
    let key = |key: &str| How { key: Some(key.to_owned()), ..How::default() };
    append(&prices, &[row(0, 1), row(1, -2), row(0, 3)], &key("first")).await.unwrap();
    append(&prices, &[row(2, 20)], &How::default()).await.unwrap();
    prices.flush().await.unwrap();
    append(&prices, &[row(1, 40), row(1, 51)], &How { is_large: true, ..How::default() })
        .await
        .unwrap();
    append(&prices, &[row(0, 60)], &How::default()).await.unwrap();
    prices.checkpoint().await.unwrap();
    let skip = How { skips: true, ..key("second") };
    append(&prices, &[row(0, 61), row(0, 77), row(2, 8)], &skip).await.unwrap();
    append(&plain, &[row(0, 1)], &How::default()).await.unwrap();
    append(&gone, &[row(0, 1)], &How::default()).await.unwrap();
    catalog.drop_table("gone", "").await.unwrap();
    let expected = shown(&catalog, &root).await;
    drop(catalog);
    fs::remove_file(root.join("LOCK")).unwrap();
    fs::write(version.join("expected.txt"), expected).unwrap();
}
