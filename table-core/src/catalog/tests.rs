//! Opening a root, the lock, names, creating and dropping.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::clock::SeededClock;
use crate::log::Decision;
use crate::schema::TableSpec;
use crate::storage::faults::SimDisk;

fn options() -> CatalogOptions {
    CatalogOptions { owner_note: "grpc://127.0.0.1:50051".to_owned(), ..CatalogOptions::default() }
}

async fn simulated(disk: &SimDisk, seed: u64) -> Result<Arc<Catalog>> {
    let clock = Arc::new(SeededClock::new(seed));
    let options = CatalogOptions { clock: clock.clone(), ..CatalogOptions::default() };
    Catalog::over(Arc::new(disk.store(clock)), options).await
}

async fn plain(catalog: &Arc<Catalog>, name: &str) -> Result<Arc<Table>> {
    catalog.create_table(name, TableSpec::plain(), None, "ann").await
}

#[tokio::test]
async fn a_missing_root_is_made_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b/data");
    let catalog = Catalog::open(&root, options()).await.unwrap();
    let id = plain(&catalog, "prices").await.unwrap().id();
    assert_eq!(catalog.table_names(), ["prices"]);
    drop(catalog);
    let catalog = Catalog::open(&root, options()).await.unwrap();
    let table = catalog.table("prices").await.unwrap();
    assert_eq!((table.id(), table.snapshot().version.0), (id, 1));
    assert!(Arc::ptr_eq(&table, &catalog.table("prices").await.unwrap()));
}

/// C11.
#[tokio::test]
async fn a_second_server_is_told_who_holds_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let first = Catalog::open(folder.path(), options()).await.unwrap();
    let refused = Catalog::open(folder.path(), options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    let holder = format!("pid {}, grpc://127.0.0.1:50051", std::process::id());
    assert!(refused.message().contains(&holder), "{refused}");
    first.set_owner_note("grpc://h:1");
    let refused = Catalog::open(folder.path(), options()).await.unwrap_err();
    assert!(refused.message().contains("grpc://h:1)"), "{refused}");
    drop(first);
    Catalog::open(folder.path(), options()).await.unwrap();
}

#[tokio::test]
async fn a_folder_with_other_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("LOCK"), "").unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let refused = Catalog::open(folder.path(), options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    assert!(refused.message().contains("thesis.tex"), "{refused}");
    std::fs::remove_file(folder.path().join("thesis.tex")).unwrap();
    Catalog::open(folder.path(), options()).await.unwrap();
}

/// C10: never an empty root where there was one with tables.
#[tokio::test]
async fn tables_without_a_catalog_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path(), options()).await.unwrap();
    plain(&catalog, "prices").await.unwrap();
    drop(catalog);
    std::fs::remove_dir_all(folder.path().join("_catalog")).unwrap();
    let refused = Catalog::open(folder.path(), options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(!folder.path().join("_catalog").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn symbolic_links_below_the_root_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path(), options()).await.unwrap();
    drop(catalog);
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("tables")).unwrap();
    let catalog = Catalog::open(folder.path(), options()).await.unwrap();
    let refused = plain(&catalog, "prices").await.unwrap_err();
    assert!(refused.message().contains("symbolic link"), "{refused}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// C10: a damaged table does not stop the others.
#[tokio::test]
async fn a_damaged_table_fails_alone() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    let bad = plain(&catalog, "bad").await.unwrap();
    plain(&catalog, "good").await.unwrap();
    disk.tamper(&layout::record(&layout::table_log(bad.id()), crate::types::Version(1)), |_| None);
    let catalog = simulated(&disk, 2).await.unwrap();
    assert_eq!(catalog.table_names(), ["bad", "good"]);
    let refused = catalog.table("bad").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.message().contains("\"bad\""), "{refused}");
    catalog.table("good").await.unwrap();
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_after_a_drop() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    let first = plain(&catalog, "prices").await.unwrap();
    assert_eq!(plain(&catalog, "prices").await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    catalog.drop_table("prices", "ann").await.unwrap();
    let again = catalog.drop_table("prices", "ann").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    let second = plain(&catalog, "prices").await.unwrap();
    assert_ne!(first.id(), second.id());

    let body = || CommitBody { operation: "set".to_owned(), ..CommitBody::default() };
    let refused = first.commit(move |_| Ok(Decision::Commit(body()))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "a dropped table takes no commit");
    second.commit(move |_| Ok(Decision::Commit(body()))).await.unwrap();
    assert_eq!(first.snapshot().version.0, 1, "and can still be read");
}

#[tokio::test]
async fn one_of_many_creations_of_a_name_wins() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    let tries = (0..8).map(|_| {
        let catalog = Arc::clone(&catalog);
        async move { plain(&catalog, "prices").await }
    });
    let outcomes = futures::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_a_name_first_gets_the_handle_of_its_creator() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    for number in 0..50 {
        let name = format!("prices_{number}");
        let finder = tokio::spawn({
            let (catalog, name) = (Arc::clone(&catalog), name.clone());
            async move {
                loop {
                    if let Ok(table) = catalog.table(&name).await {
                        return table;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        let created = plain(&catalog, &name).await.unwrap();
        assert!(Arc::ptr_eq(&created, &finder.await.unwrap()), "{name} has two handles");
    }
}

#[tokio::test]
async fn a_creation_whose_caller_goes_away_is_finished() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    {
        let mut create = Box::pin(plain(&catalog, "prices"));
        // Polled once, then dropped.
        assert!(futures::poll!(&mut create).is_pending());
    }
    // The creation holds the lock until it is done.
    while !catalog.contains("prices") {
        tokio::task::yield_now().await;
    }
    assert_eq!(simulated(&disk, 2).await.unwrap().table_names(), ["prices"]);
}

#[tokio::test]
async fn concurrent_opens_share_one_table() {
    let disk = SimDisk::new();
    plain(&simulated(&disk, 1).await.unwrap(), "prices").await.unwrap();
    let catalog = simulated(&disk, 2).await.unwrap();
    let (a, b) = tokio::join!(catalog.table("prices"), catalog.table("prices"));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
}

#[tokio::test]
async fn a_missing_table_names_the_near_ones() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    let missing = catalog.table("price").await.unwrap_err();
    assert!(missing.message().contains("there are no tables yet"), "{missing}");
    plain(&catalog, "prices").await.unwrap();
    let missing = catalog.table("price").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.message().contains("did you mean \"prices\"?"), "{missing}");
}

#[tokio::test]
async fn the_catalog_opens_from_its_checkpoint_when_old_records_are_gone() {
    let disk = SimDisk::new();
    let catalog = simulated(&disk, 1).await.unwrap();
    for number in 0..5 {
        plain(&catalog, &format!("t{number}")).await.unwrap();
    }
    catalog.head.checkpoint().await.unwrap();
    plain(&catalog, "t5").await.unwrap();
    catalog.drop_table("t1", "").await.unwrap();
    for version in 1..5 {
        disk.tamper(&layout::record(layout::CATALOG_LOG, crate::types::Version(version)), |_| None);
    }
    let catalog = simulated(&disk, 2).await.unwrap();
    assert_eq!(catalog.table_names(), ["t0", "t2", "t3", "t4", "t5"]);
    catalog.drop_table("t2", "").await.unwrap();
}
