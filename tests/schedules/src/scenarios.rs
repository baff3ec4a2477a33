//! What happens in one schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coverline_proto::log as proto;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use table_core::log::record::Action;
use table_core::schema::TableSpec;
use table_core::storage::faults::PutFault;
use table_core::types::Version;
use table_core::{
    Access, Catalog, CatalogOptions, CommitBody, Decision, ErrorKind, Snapshot, at_one_moment,
};

use crate::Tally;
use crate::claims::{Claims, Company, join};
use crate::rows::{Rows, spec};
use crate::scene::{Scene, Seat, TABLE, below, once_in};

/// How often two tables are read: more than they can move here.
const READINGS_MAX: usize = 16;

/// Turns that pass while a table is opened, at most: enough for commits to it and to others.
const PAUSE_MAX: u64 = 60;

/// A table that several servers make.
const CONTESTED: &str = "u";

/// A claim by one more client.
fn claiming(claims: &Arc<Claims>, seat: &Seat, key: String, company: Company) -> JoinHandle<()> {
    let (claims, seat) = (Arc::clone(claims), seat.clone());
    spawn(async move {
        let _told = claims.claim(&seat, &key, company).await;
    })
}

/// One more reader.
fn watching(claims: &Arc<Claims>, scene: &Arc<Scene>, seat: &Seat, looks: bool) -> JoinHandle<()> {
    let (claims, scene, seat) = (Arc::clone(claims), Arc::clone(scene), seat.clone());
    spawn(async move { claims.watch(&scene, &seat, looks).await })
}

/// One more client with a ticket of another server.
fn redeeming(claims: &Arc<Claims>, scene: &Arc<Scene>, seat: &Seat) -> JoinHandle<()> {
    let (claims, scene, seat) = (Arc::clone(claims), Arc::clone(scene), seat.clone());
    spawn(async move {
        for _ in 0..2 {
            yield_now().await;
            claims.redeem(&scene, &seat).await;
        }
    })
}

/// Some clients go away, whatever they wait for.
fn give_up(tasks: &[JoinHandle<()>]) {
    for task in tasks {
        if once_in(3) {
            task.abort();
        }
    }
}

fn company() -> Company {
    if once_in(4) { Company::Alone } else { Company::Shared }
}

/// Group commit on the only server of a root: clients that claim, meet, wait, give up, and records that fail.
pub fn commits(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let seat = scene.first(TableSpec::plain(), Access::Exclusive).await;
        let claims = Arc::new(Claims::default());
        if once_in(2) {
            seat.store.fail_record(below(3), PutFault::NotStored);
        }
        let mut tasks = Vec::new();
        for number in 0..2 + below(4) {
            // Few keys, so that some are claimed twice.
            let key = if once_in(2) { "k".to_owned() } else { format!("k{number}") };
            tasks.push(claiming(&claims, &seat, key, company()));
        }
        let reader = watching(&claims, &scene, &seat, false);
        if once_in(4) {
            let (table, checkpointed) = (Arc::clone(&seat.table), Arc::clone(&tally));
            tasks.push(spawn(async move {
                table.checkpoint().await.unwrap();
                checkpointed.add("checkpoints");
            }));
        }
        if once_in(2) {
            give_up(&tasks);
        }
        join(&tally, tasks).await;
        reader.await.unwrap();
        claims.settle(&scene, &[seat], 9).await;
    });
}

/// Two servers on one root that both commit and look: slots are lost, commits planned again, outcomes unknown and settled.
pub fn rivals(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let first = scene.first(TableSpec::plain(), Access::Shared).await;
        let second = scene.another(2, Access::Shared).await;
        let seats = [first, second];
        let claims = Arc::new(Claims::default());
        if once_in(3) {
            let faults = [
                PutFault::NotStored,
                PutFault::StoredButUnknown,
                PutFault::AbsentAndUnknown,
                PutFault::StoredButExists,
            ];
            let fault = faults[usize::try_from(below(4)).unwrap()];
            seats[0].store.fail_record(below(2), fault);
        }
        let mut tasks = Vec::new();
        for number in 0..2 + below(3) {
            let key = if once_in(2) { "k".to_owned() } else { format!("k{number}") };
            let seat = &seats[usize::try_from(number % 2).unwrap()];
            tasks.push(claiming(&claims, seat, key, company()));
        }
        let readers = [
            watching(&claims, &scene, &seats[0], once_in(2)),
            watching(&claims, &scene, &seats[1], true),
            redeeming(&claims, &scene, &seats[usize::try_from(below(2)).unwrap()]),
        ];
        if once_in(3) {
            give_up(&tasks);
        }
        join(&tally, tasks).await;
        for reader in readers {
            reader.await.unwrap();
        }
        claims.settle(&scene, &seats, 9).await;
    });
}

/// Real appends, a retry of one, a flush and readers: rows, coverage and hot rows are swapped as one.
pub fn appends(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let seat = scene.first(spec(), Access::Exclusive).await;
        let rows = Arc::new(Rows::default());
        // A schema and something to flush.
        rows.append(&seat, "a", 0, None).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..2 + below(2) {
            let (rows, seat) = (Arc::clone(&rows), seat.clone());
            let entity = if once_in(2) { "a" } else { "b" };
            let bucket = below(3);
            tasks.push(spawn(async move {
                let _told = rows.append(&seat, entity, bucket, None).await;
            }));
        }
        if once_in(2) {
            // A client whose first try is still under way.
            for _ in 0..2 {
                let (rows, seat) = (Arc::clone(&rows), seat.clone());
                tasks.push(spawn(async move {
                    rows.append(&seat, "c", 1, Some("id")).await.unwrap();
                }));
            }
        }
        if once_in(2) {
            let table = Arc::clone(&seat.table);
            let tally = Arc::clone(&tally);
            tasks.push(spawn(async move {
                if table.flush().await.unwrap().is_some() {
                    tally.add("flushes");
                }
            }));
        }
        let (watched, reader_seat) = (Arc::clone(&rows), seat.clone());
        let reader = spawn(async move { watched.watch(&reader_seat).await });
        if once_in(3) {
            give_up(&tasks);
        }
        join(&tally, tasks).await;
        reader.await.unwrap();
        rows.settle(&scene, &seat).await;
    });
}

/// The end of a server while it works: clients are waited for, or cut off with everything that runs for them, or the outcome
/// of a record is unknown and the server ends itself. The next one finds a whole log and goes on.
pub fn stops(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let seat = scene.first(TableSpec::plain(), Access::Exclusive).await;
        let claims = Arc::new(Claims::default());
        let is_unknown = once_in(3);
        if is_unknown {
            seat.store.fail_record(below(2), PutFault::NotDurable);
        }
        let stopping = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for client in 0..2 + below(2) {
            let (claims, seat, stopping) =
                (Arc::clone(&claims), seat.clone(), Arc::clone(&stopping));
            clients.push(spawn(async move {
                for number in 0..3 {
                    // What a server that stops does with a new call.
                    if stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let key =
                        if once_in(3) { "k".to_owned() } else { format!("{client}.{number}") };
                    let told = claims.claim(&seat, &key, company()).await;
                    if told == Err(ErrorKind::Unavailable) || told == Err(ErrorKind::Indeterminate)
                    {
                        return;
                    }
                }
            }));
        }
        let alarm = {
            let (catalog, stopping) = (Arc::clone(&seat.catalog), Arc::clone(&stopping));
            let tally = Arc::clone(&tally);
            spawn(async move {
                drop(catalog.alarm().raised().await);
                stopping.store(true, Ordering::SeqCst);
                tally.add("servers that ended themselves");
            })
        };
        for _ in 0..below(20) {
            yield_now().await;
        }
        stopping.store(true, Ordering::SeqCst);
        let is_drained = once_in(2);
        if is_drained {
            // Nobody hangs, whatever became of the record before.
            join(&tally, clients).await;
            tally.add("servers drained");
        } else {
            for client in &clients {
                client.abort();
            }
            tally.add("servers cut off");
        }
        alarm.abort();
        table_core::sync::end_tasks();
        drop(seat);
        let next = scene.another(8, Access::Exclusive).await;
        let claimed = claims.claim(&next, "after", Company::Shared).await;
        assert!(claimed.is_ok(), "the next server takes nothing: {claimed:?}");
        claims.check_log(&scene, 9).await;
    });
}

/// Tables that come and go while clients look for them and commit to them; where another server writes too, it makes some
/// of the same name, and what it did is looked for.
pub fn catalog(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let is_shared = once_in(2);
        let access = if is_shared { Access::Shared } else { Access::Exclusive };
        let seat = scene.first(TableSpec::plain(), access.clone()).await;
        // A server that has not opened the table yet.
        let seat = match once_in(2) {
            true => {
                let (catalog, store) = scene.catalog(3, access.clone()).await;
                Seat { catalog, table: seat.table, store }
            }
            false => seat,
        };
        let old = seat.table.id();
        let (dropping, dropped) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for client in 0..2 {
            let catalog = Arc::clone(&seat.catalog);
            let (dropping, dropped) = (Arc::clone(&dropping), Arc::clone(&dropped));
            let tally = Arc::clone(&tally);
            tasks.push(spawn(async move {
                let Ok(table) = catalog.table(TABLE).await else {
                    assert!(dropping.load(Ordering::SeqCst), "a table that nobody dropped is gone");
                    tally.add("tables not found");
                    return;
                };
                if let Ok(again) = catalog.table(TABLE).await
                    && again.id() == table.id()
                {
                    assert!(Arc::ptr_eq(&table, &again), "two handles on one table");
                }
                let is_gone = table.id() == old && dropped.load(Ordering::SeqCst);
                let set = table.commit(move |_| Ok(Decision::Commit(setting(client))));
                match set.await {
                    Ok(_) if table.id() == old => {
                        assert!(!is_gone, "a table that was dropped takes commits");
                        tally.add("commits to a table that goes");
                    }
                    Ok(_) => tally.add("commits to a table that came"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                        tally.add("commits refused by a table that is gone");
                    }
                }
            }));
        }
        {
            let (catalog, tally) = (Arc::clone(&seat.catalog), Arc::clone(&tally));
            tasks.push(spawn(async move {
                dropping.store(true, Ordering::SeqCst);
                catalog.drop_table(TABLE, "").await.unwrap();
                dropped.store(true, Ordering::SeqCst);
                let made = catalog.create_table(TABLE, TableSpec::plain(), None, "").await.unwrap();
                let found = catalog.table(TABLE).await.unwrap();
                assert!(Arc::ptr_eq(&made, &found), "two handles on a new table");
                tally.add("tables made again");
            }));
        }
        let made = Arc::new(AtomicU64::new(0));
        if is_shared {
            let (another, _) = scene.catalog(5, access).await;
            for catalog in [Arc::clone(&seat.catalog), another] {
                tasks.push(creating(&catalog, &made));
            }
            let (catalog, tally) = (Arc::clone(&seat.catalog), Arc::clone(&tally));
            tasks.push(spawn(async move {
                for _ in 0..3 {
                    catalog.refresh(Duration::ZERO).await.unwrap();
                }
                tally.add("looks at the catalog");
            }));
        }
        join(&tally, tasks).await;
        let (reopened, _) = scene.catalog(4, Access::Exclusive).await;
        let names: &[&str] = if is_shared { &[TABLE, CONTESTED] } else { &[TABLE] };
        assert_eq!(reopened.table_names(), names);
        assert_eq!(made.load(Ordering::SeqCst), u64::from(is_shared), "tables made of one name");
        for name in names {
            let found = reopened.table(name).await.unwrap();
            let known = seat.catalog.fresh_table(name, Duration::ZERO).await.unwrap();
            assert_eq!(found.id(), known.id(), "{name}");
        }
    });
}

/// One of several that make a table of the same name.
fn creating(catalog: &Arc<Catalog>, made: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (catalog, made) = (Arc::clone(catalog), Arc::clone(made));
    spawn(async move {
        match catalog.create_table(CONTESTED, TableSpec::plain(), None, "").await {
            Ok(created) => {
                made.fetch_add(1, Ordering::SeqCst);
                let found = catalog.table(CONTESTED).await.unwrap();
                assert!(Arc::ptr_eq(&created, &found), "two handles on a new table");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    })
}

/// Statements about two tables, while clients commit to the one and, once that is acknowledged, to the other.
pub fn moments(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        let scene = Arc::new(Scene::new(&tally));
        let is_shared = once_in(2);
        let access = if is_shared { Access::Shared } else { Access::Exclusive };
        let seat = scene.first(TableSpec::plain(), access.clone()).await;
        let second = seat.catalog.create_table(CONTESTED, TableSpec::plain(), None, "").await;
        let tables = [seat.table, second.unwrap()];
        let mut tasks = Vec::new();
        for client in 0..2_u64 {
            let [first, second] = if is_shared && client == 1 {
                let (catalog, _) = scene.catalog(5, Access::Shared).await;
                [catalog.table(TABLE).await.unwrap(), catalog.table(CONTESTED).await.unwrap()]
            } else {
                tables.clone()
            };
            tasks.push(spawn(async move {
                for number in 0..2_u64 {
                    for table in [&first, &second] {
                        let body = setting(format!("{client}.{number}"));
                        table.commit(move |_| Ok(Decision::Commit(body.clone()))).await.unwrap();
                    }
                }
            }));
        }
        for _ in 0..4 {
            // Opening a table and waiting for a version of it take time.
            let mut snapshots = Vec::new();
            for table in &tables {
                for _ in 0..below(PAUSE_MAX) {
                    yield_now().await;
                }
                snapshots.push(table.snapshot());
            }
            let before = versions(&snapshots);
            at_one_moment(&tables, &mut snapshots, is_shared, READINGS_MAX).await.unwrap();
            if before != versions(&snapshots) {
                tally.add("readings that moved");
            }
            let [first, second] = &snapshots[..] else { panic!("two tables have two snapshots") };
            for key in second.properties.keys() {
                assert!(
                    first.properties.contains_key(key),
                    "{key} is in {} of the second table, and not in {} of the first",
                    second.version,
                    first.version
                );
            }
            tally.add("statements about two tables");
        }
        join(&tally, tasks).await;
    });
}

fn versions(snapshots: &[Arc<Snapshot>]) -> Vec<Version> {
    snapshots.iter().map(|snapshot| snapshot.version).collect()
}

fn setting(key: impl ToString) -> CommitBody {
    let properties = [(key.to_string(), "set".to_owned())].into();
    CommitBody {
        operation: "append".to_owned(),
        actions: vec![Action::SetProperties(proto::SetProperties { properties })],
        shares_record: true,
        ..CommitBody::default()
    }
}

/// A real folder: when a server that was drained lets go of it, the next one gets its lock.
pub fn folder(tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    block_on(async move {
        table_core::sync::forget_tasks();
        let root = tempfile::tempdir().unwrap();
        let options = || CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        let catalog = Catalog::open(root.path(), options()).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let (catalog, tally) = (Arc::clone(&catalog), Arc::clone(&tally));
            tasks.push(spawn(async move {
                let name = format!("t{}", below(2));
                match catalog.create_table(&name, TableSpec::plain(), None, "").await {
                    Ok(_) => tally.add("tables made"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                }
            }));
        }
        let refused = Catalog::open(root.path(), options()).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Precondition));
        join(&tally, tasks).await;
        let names = catalog.table_names();
        drop(catalog);
        let next = Catalog::open(root.path(), options()).await.unwrap();
        assert_eq!(next.table_names(), names);
        next.refresh(Duration::ZERO).await.unwrap();
        tally.add("roots handed over");
    });
}
