//! Several servers on one root: what one creates and drops the others see, and what a server that only reads may do (C7, C11).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arrow::datatypes::{DataType, Field, Schema};
use futures::FutureExt;

use super::*;
use crate::append::AppendRequest;
use crate::clock::SeededClock;
use crate::log::Decision;
use crate::maintenance::backup_store;
use crate::schema::TableSpec;
use crate::storage::faults::{BusyStore, FlakyStore, PutFault, SimDisk};

const NOW: Duration = Duration::ZERO;

fn options(seed: u64, access: Access) -> CatalogOptions {
    let clock = Arc::new(SeededClock::new(seed));
    CatalogOptions { clock, access, disk_floor_bytes: Some(0), ..CatalogOptions::default() }
}

fn store_on(disk: &SimDisk, seed: u64) -> Arc<dyn DurableStore> {
    Arc::new(disk.store(Arc::new(SeededClock::new(seed))))
}

async fn shared(disk: &SimDisk, seed: u64) -> Arc<Catalog> {
    Catalog::over(store_on(disk, seed), options(seed, Access::Shared)).await.unwrap()
}

async fn plain(catalog: &Arc<Catalog>, name: &str) -> Result<Arc<Table>> {
    catalog.create_table(name, TableSpec::plain(), None, "ann").await
}

/// A commit that changes nothing.
async fn touch(table: &Arc<Table>) -> Result<Version> {
    let body = CommitBody { operation: "set".to_owned(), ..CommitBody::default() };
    let committed = table.commit(move |_| Ok(Decision::Commit(body.clone()))).await;
    committed.map(|snapshot| snapshot.version)
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

/// C7.
#[tokio::test]
async fn what_one_server_creates_commits_and_drops_the_others_see() {
    let disk = SimDisk::new();
    let (a, b) = (shared(&disk, 1).await, shared(&disk, 2).await);
    let on_a = plain(&a, "prices").await.unwrap();
    assert_eq!(kind(b.table("prices").await), ErrorKind::NotFound, "not looked for yet");
    let on_b = b.fresh_table("prices", NOW).await.unwrap();
    assert_eq!(on_b.id(), on_a.id());
    assert_eq!(touch(&on_a).await.unwrap(), Version(2));
    assert_eq!(on_b.snapshot().version, Version(1));
    assert_eq!(b.fresh_table("prices", NOW).await.unwrap().snapshot().version, Version(2));
    assert_eq!(touch(&on_b).await.unwrap(), Version(3));
    // A version that another server told a client of is found without having been looked for.
    assert_eq!(on_a.snapshot_at(Version(3)).await.unwrap().version, Version(3));
    assert_eq!(kind(on_a.snapshot_at(Version(4)).await), ErrorKind::NotFound);

    a.drop_table("prices", "ann").await.unwrap();
    assert_eq!(kind(b.fresh_table("prices", NOW).await), ErrorKind::NotFound);
    assert_eq!(kind(touch(&on_b).await), ErrorKind::NotFound, "a handle that was held is closed");
    assert_eq!(on_b.snapshot().version, Version(3), "and can still be read");

    // The name is free, and means another table from now on.
    let again = plain(&b, "prices").await.unwrap();
    assert_ne!(again.id(), on_b.id());
    let found = a.fresh_tables(&["prices".to_owned()], NOW).await.unwrap();
    assert_eq!(found[0].id(), again.id());
    assert!(b.tables.lock().unnamed.is_empty());
    assert_eq!(b.tables.lock().cells.len(), 1, "no handle is kept on what was dropped");
}

#[tokio::test]
async fn a_name_is_created_once_and_dropped_once() {
    let disk = SimDisk::new();
    let (a, b) = (shared(&disk, 1).await, shared(&disk, 2).await);
    for round in 0..10 {
        let name = format!("t{round}");
        let (first, second) = tokio::join!(plain(&a, &name), plain(&b, &name));
        let (winner, loser) = if first.is_ok() { (first, second) } else { (second, first) };
        assert_eq!(kind(loser), ErrorKind::AlreadyExists, "{name}");
        let id = winner.unwrap().id();
        for catalog in [&a, &b] {
            assert_eq!(catalog.fresh_table(&name, NOW).await.unwrap().id(), id, "{name}");
        }
        // Known of the last round only: an old creation, seen late.
        assert_eq!(kind(plain(&b, &name).await), ErrorKind::AlreadyExists);
        let (first, second) = tokio::join!(a.drop_table(&name, ""), b.drop_table(&name, ""));
        let refused = if first.is_ok() { second } else { first };
        assert_eq!(kind(refused), ErrorKind::NotFound, "{name}");
    }
    assert!(shared(&disk, 3).await.table_names().is_empty());
}

/// The first record of a root has one writer, and all others find it.
#[tokio::test]
async fn servers_that_start_at_once_make_one_root() {
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(store_on(&disk, 1));
    // The slot is taken by the time that this one puts its record, which then is no answer to an own request.
    let (first, second) = (shared(&disk, 2).await, {
        let rival = options(3, Access::Shared);
        let log = LogStore::of_catalog(flaky.clone());
        let context =
            LogContext { clock: rival.clock, alarm: Alarm::default(), access: rival.access };
        let body = CommitBody { operation: "create".to_owned(), ..CommitBody::default() };
        Head::<CatalogState>::create(log, context, "the catalog".to_owned(), body).await
    });
    assert_eq!(kind(second), ErrorKind::Conflict);
    plain(&first, "prices").await.unwrap();
    assert_eq!(shared(&disk, 4).await.table_names(), ["prices"]);
}

/// C2, C3: on a store that can be read later, a creation of unknown outcome costs one answer and no server.
#[tokio::test]
async fn a_creation_of_unknown_outcome_is_settled_later() {
    use PutFault::{AbsentAndUnknown, None, StoredButUnknown};
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(store_on(&disk, 1));
    flaky.settles_unknown(true);
    let catalog = Catalog::over(flaky.clone(), options(1, Access::Shared)).await.unwrap();

    // The table's own first record: nothing names it, so nothing was created.
    flaky.next_puts([AbsentAndUnknown; 3]);
    assert_eq!(kind(plain(&catalog, "a").await), ErrorKind::Unavailable);
    plain(&catalog, "a").await.unwrap();

    // The record that names it, there or not.
    flaky.next_puts([None, AbsentAndUnknown, AbsentAndUnknown, AbsentAndUnknown]);
    assert_eq!(kind(plain(&catalog, "b").await), ErrorKind::Indeterminate);
    let b = plain(&catalog, "b").await.unwrap();
    // Read back at once, it is no unknown outcome.
    flaky.next_puts([None, StoredButUnknown]);
    plain(&catalog, "c").await.unwrap();

    assert_eq!(catalog.alarm().raised().now_or_never(), Option::None);
    assert!(b.closed().is_none());
    touch(&b).await.unwrap();
    assert_eq!(shared(&disk, 2).await.table_names(), ["a", "b", "c"]);
}

/// Somebody else's commit may come at any moment, so what was made for an append is left there.
#[tokio::test]
async fn a_shared_root_keeps_a_table_that_was_made_for_nothing() {
    let disk = SimDisk::new();
    let (a, b) = (shared(&disk, 1).await, shared(&disk, 2).await);
    let on_a = plain(&a, "prices").await.unwrap();
    touch(&b.fresh_table("prices", NOW).await.unwrap()).await.unwrap();
    assert!(!a.drop_unchanged(&on_a, Version(1), "").await.unwrap());
    assert_eq!(touch(&on_a).await.unwrap(), Version(3));
}

/// C1, C6: without its name a table is nothing, and with it it has all that was committed before.
#[tokio::test]
async fn a_table_is_named_with_what_it_holds_or_is_nothing() {
    let disk = SimDisk::new();
    let (a, b) = (shared(&disk, 1).await, shared(&disk, 2).await);
    let unnamed = async |catalog: &Arc<Catalog>| {
        let made = catalog.create_unnamed("prices", TableSpec::plain(), None, false, "ann").await;
        let made = made.unwrap();
        touch(&made).await.unwrap();
        made
    };
    let (first, second, third) = (unnamed(&a).await, unnamed(&a).await, unnamed(&b).await);
    for catalog in [&a, &b] {
        assert_eq!(kind(catalog.fresh_table("prices", NOW).await), ErrorKind::NotFound);
    }
    b.name_table(&third, Namesake::Stays, "ann").await.unwrap();
    assert_eq!(kind(a.name_table(&first, Namesake::Stays, "ann").await), ErrorKind::AlreadyExists);
    let late = a.create_unnamed("prices", TableSpec::plain(), None, false, "ann").await;
    assert_eq!(kind(late), ErrorKind::AlreadyExists);
    for catalog in [&a, &b] {
        let found = catalog.fresh_table("prices", NOW).await.unwrap();
        assert_eq!((found.id(), found.snapshot().version), (third.id(), Version(2)));
    }
    assert!(Arc::ptr_eq(&b.table("prices").await.unwrap(), &third));
    b.drop_table("prices", "ann").await.unwrap();
    a.refresh(NOW).await.unwrap();
    a.name_table(&second, Namesake::Stays, "ann").await.unwrap();
    assert_eq!(shared(&disk, 3).await.table("prices").await.unwrap().id(), second.id());
    assert_eq!(touch(&second).await.unwrap(), Version(3));
}

/// C6, C7: the name is never free between the two, and handles on the first are closed on every server.
#[tokio::test]
async fn a_table_gives_way_to_its_namesake_in_one_step() {
    use Namesake::{GivesWay, Stays};
    let disk = SimDisk::new();
    let (a, b) = (shared(&disk, 1).await, shared(&disk, 2).await);
    let unnamed = async |catalog: &Arc<Catalog>| {
        let made = catalog.create_unnamed("prices", TableSpec::plain(), None, true, "ann");
        let made = made.await.unwrap();
        touch(&made).await.unwrap();
        made
    };
    let old = plain(&a, "prices").await.unwrap();
    let old_on_b = b.fresh_table("prices", NOW).await.unwrap();
    let (first, second, late) = (unnamed(&a).await, unnamed(&b).await, unnamed(&a).await);
    touch(&old_on_b).await.unwrap();
    assert_eq!(kind(a.name_table(&first, Stays, "ann").await), ErrorKind::AlreadyExists);
    let other = GivesWay(second.id());
    assert_eq!(kind(a.name_table(&first, other, "ann").await), ErrorKind::Conflict);
    assert_eq!(
        a.fresh_table("prices", NOW).await.unwrap().id(),
        old.id(),
        "it is there until then"
    );
    assert!(a.replaced_table(old.id(), "prices").await.unwrap().is_none());

    a.name_table(&first, GivesWay(old.id()), "ann").await.unwrap();
    assert_eq!(kind(touch(&old).await), ErrorKind::NotFound);
    assert_eq!(b.fresh_table("prices", NOW).await.unwrap().id(), first.id());
    assert_eq!(
        kind(touch(&old_on_b).await),
        ErrorKind::NotFound,
        "a handle that was held is closed"
    );
    assert_eq!(old_on_b.snapshot().version, Version(2), "and can still be read");
    let found = a.replaced_table(old.id(), "prices").await.unwrap().unwrap();
    assert_eq!((found.id(), found.snapshot().version), (old.id(), Version(2)));
    assert_eq!(kind(touch(&found).await), ErrorKind::NotFound);
    assert_eq!(touch(&first).await.unwrap(), Version(3));

    // Only the one that was seen, and one that is gone already is none.
    assert_eq!(kind(b.name_table(&second, GivesWay(old.id()), "ann").await), ErrorKind::Conflict);
    b.name_table(&second, GivesWay(first.id()), "ann").await.unwrap();
    assert_eq!(a.fresh_table("prices", NOW).await.unwrap().id(), second.id());
    assert_eq!(kind(touch(&first).await), ErrorKind::NotFound);
    b.drop_table("prices", "ann").await.unwrap();
    a.name_table(&late, GivesWay(second.id()), "ann").await.unwrap();
    for catalog in [&a, &b] {
        assert_eq!(catalog.fresh_table("prices", NOW).await.unwrap().id(), late.id());
        assert!(catalog.tables.lock().unnamed.is_empty());
        assert_eq!(catalog.tables.lock().cells.len(), 1, "no handle is kept on what gave way");
    }
    assert_eq!(shared(&disk, 3).await.table("prices").await.unwrap().id(), late.id());
    assert_eq!(touch(&late).await.unwrap(), Version(3));

    // Whichever has the name.
    let last = b.replace_table("prices", TableSpec::plain(), None, "ann").await.unwrap();
    assert_eq!(a.fresh_table("prices", NOW).await.unwrap().id(), last.id());
    assert_eq!(kind(touch(&late).await), ErrorKind::NotFound);
}

/// C7, C8: whatever a listing leaves out of what came while it was made.
#[tokio::test]
async fn a_live_root_is_opened_and_copied_whole() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let owner = shared(&disk, 1).await;
        let table = plain(&owner, "prices").await.unwrap();
        let busy = |seed| -> Arc<dyn DurableStore> {
            let (owner, table) = (Arc::clone(&owner), Arc::clone(&table));
            BusyStore::over(store_on(&disk, seed), seed, move || {
                let (owner, table) = (Arc::clone(&owner), Arc::clone(&table));
                async move {
                    for _ in 0..5 {
                        touch(&table).await.unwrap();
                    }
                    for _ in 0..3 {
                        plain(&owner, &format!("t{}", owner.table_names().len())).await.unwrap();
                    }
                }
                .boxed()
            })
        };
        let follower = Catalog::over(busy(seed * 2 + 10), read_only()).await.unwrap();
        let found = follower.fresh_table("prices", NOW).await.unwrap();
        assert_eq!(found.snapshot().version, table.snapshot().version, "seed {seed}");
        follower.refresh(NOW).await.unwrap();
        assert_eq!(follower.table_names(), owner.table_names(), "seed {seed}");

        let (before, copy) = (table.snapshot().version, SimDisk::new());
        let (from, to) = (busy(seed * 2 + 11), store_on(&copy, 3));
        let report = backup_store(&from, &to, &|_| {}).await.unwrap();
        let restored = shared(&copy, 4).await;
        assert_eq!(restored.table_names().len(), report.tables.len(), "seed {seed}");
        for (name, version) in report.tables {
            assert!(name != "prices" || version >= before, "seed {seed}");
            let copied = restored.table(&name).await.unwrap();
            assert_eq!(copied.snapshot().version, version, "seed {seed}");
        }
    }
}

/// A sweep for dropped tables leaves those alone that have no name yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_survives_the_looks_of_others() {
    let disk = SimDisk::new();
    let catalog = shared(&disk, 1).await;
    let rival = shared(&disk, 2).await;
    for number in 0..20 {
        let looking = tokio::spawn({
            let (catalog, rival) = (Arc::clone(&catalog), Arc::clone(&rival));
            async move {
                plain(&rival, &format!("rival_{number}")).await.unwrap();
                catalog.refresh(NOW).await.unwrap();
            }
        });
        let created = plain(&catalog, &format!("t_{number}")).await.unwrap();
        touch(&created).await.unwrap();
        looking.await.unwrap();
        assert!(created.closed().is_none());
    }
}

/// Every file below a folder with its size and when it was changed.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        files.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            files.extend(self::files(&entry.path()));
        }
    }
    files
}

fn read_only() -> CatalogOptions {
    options(9, Access::ReadOnly { reason: "a test says so".to_owned() })
}

/// C7, C8, C11: beside the owner of a local root, with everything but a trace.
#[tokio::test]
async fn a_follower_reads_beside_the_owner_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Catalog::open(folder.path(), options(1, Access::Exclusive)).await.unwrap();
    let owned = plain(&owner, "prices").await.unwrap();
    let follower = Catalog::open(folder.path(), read_only()).await.unwrap();
    let table = follower.fresh_table("prices", NOW).await.unwrap();
    touch(&owned).await.unwrap();
    plain(&owner, "late").await.unwrap();
    let before = files(folder.path());
    assert_eq!(table.refresh(NOW).await.unwrap().version, Version(2));
    follower.fresh_table("late", NOW).await.unwrap();
    assert_eq!(follower.table_names(), ["late", "prices"]);

    let mut append = table.append(AppendRequest::default());
    let column = Field::new("n", DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![column]));
    let refusals = [
        kind(plain(&follower, "other").await),
        kind(plain(&follower, "prices").await),
        kind(follower.drop_table("prices", "").await),
        kind(touch(&table).await),
        kind(table.checkpoint().await),
        kind(append.begin(&schema).await),
    ];
    assert_eq!(refusals, [ErrorKind::Precondition; 6]);
    let refused = plain(&follower, "other").await.unwrap_err();
    assert!(refused.message().contains("read-only: a test says so"), "{refused}");
    assert_eq!(files(folder.path()), before, "a follower leaves no trace");

    // The owner goes and another comes: the follower does not care.
    drop((owned, owner));
    let owner = Catalog::open(folder.path(), options(2, Access::Exclusive)).await.unwrap();
    touch(&owner.table("prices").await.unwrap()).await.unwrap();
    assert_eq!(table.refresh(NOW).await.unwrap().version, Version(3));
    let refused = Catalog::open(folder.path(), options(3, Access::Exclusive)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Precondition);
    assert!(refused.message().contains("--read-only"), "{refused}");
}

#[tokio::test]
async fn a_follower_makes_no_root() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = "there are no tables at this root, and none are made: a test says so";
    for (root, text) in [
        (folder.path().join("missing"), "read-only: a test says so"),
        (folder.path().to_owned(), nothing),
    ] {
        let refused = Catalog::open(&root, read_only()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Precondition);
        assert!(refused.message().contains(text), "{refused}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let disk = SimDisk::new();
    let refused = Catalog::over(store_on(&disk, 1), read_only()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Precondition);
}
