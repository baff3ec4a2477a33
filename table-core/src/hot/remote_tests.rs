//! Tables in an object store that misbehaves (C2, C3, C5, C6): every request of a short life fails in every way it can, and
//! random lives go through storms. What was acknowledged is there once, what was refused is not, what is unknown is either, and
//! once the store behaves every table takes the next append.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sim::{append, open_over, rows_from, spec};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind};
use crate::snapshot::Snapshot;
use crate::storage::faults::{FaultTime, FaultyObjects, RemoteFault, RemoteOperation, Request};
use crate::storage::{DurableStore, RemoteStore};
use crate::table::Table;

const PREFIX: &str = "lake/a";
/// Lives tried at the same time: most of their time is waiting before a request is repeated.
const LIVES_AT_ONCE: usize = 32;
/// Lives through storms on an ordinary day.
const SEEDS: u64 = 24;
/// Steps of one of them.
const STEPS: u64 = 30;

/// What is known of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    Refused,
    Unknown,
}

/// What a run saw, so that a tame one is visible.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    faults: u64,
    committed: u64,
    refused: u64,
    /// Acknowledged although an answer about its record was lost: known by its attempt id (C5).
    recognised: u64,
    /// Slots lost to a rival.
    conflicts: u64,
    unknown: u64,
    /// Of these, those that turned out to be in the table.
    unknown_present: u64,
    /// Tables that refused commits until they were opened anew.
    closed: u64,
    failed_opens: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.committed += other.committed;
        self.refused += other.refused;
        self.recognised += other.recognised;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.unknown_present += other.unknown_present;
        self.closed += other.closed;
        self.failed_opens += other.failed_opens;
    }
}

/// One store, and what its table must hold: by the value of the one row of each append.
struct Life {
    objects: FaultyObjects,
    fates: BTreeMap<i64, Fate>,
    seen: Seen,
    next_clock: u64,
    label: String,
}

impl Life {
    fn new(label: String) -> Self {
        let objects = FaultyObjects::new();
        Self { objects, fates: BTreeMap::new(), seen: Seen::default(), next_clock: 1, label }
    }

    /// A server on the root: one more, or the next.
    async fn open(&mut self) -> Result<Arc<Catalog>, Error> {
        // Each draws other ids.
        self.next_clock += 1;
        let store = RemoteStore::over(Arc::new(self.objects.clone()), &Path::from(PREFIX));
        open_over(Arc::new(store), self.next_clock).await
    }

    /// Opens it and the table, making what is not there.
    async fn table(&mut self) -> Result<Arc<Table>, Error> {
        let opened = async {
            let catalog = self.open().await?;
            match catalog.table("t").await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    catalog.create_table("t", spec(), None, "").await
                }
                other => other,
            }
        };
        let opened = opened.await;
        if let Err(error) = &opened {
            let sound = [
                ErrorKind::Unavailable,
                ErrorKind::Precondition,
                ErrorKind::Indeterminate,
                ErrorKind::Conflict,
                ErrorKind::AlreadyExists,
            ];
            assert!(
                sound.contains(&error.kind()),
                "{}: open: {:?} {error}",
                self.label,
                error.kind()
            );
            self.seen.failed_opens += 1;
        }
        opened
    }

    /// Appends one row of a bucket of its own, first or once more.
    async fn append(&mut self, table: &Arc<Table>, key: i64, is_large: bool) -> Fate {
        let first = self.objects.request_count();
        let outcome = append(table, &[("a", key * 10)], is_large).await;
        let requests = self.objects.requests_since(first);
        let before = self.fates.get(&key).copied();
        let fate = match &outcome {
            Ok(_) => Fate::Committed,
            Err(error) if error.kind() == ErrorKind::Indeterminate => Fate::Unknown,
            // Sent again, it met itself.
            Err(error) if error.kind() == ErrorKind::Overlap && before == Some(Fate::Unknown) => {
                Fate::Committed
            }
            Err(error) => {
                // The second where the store forbids the request.
                let sound = [ErrorKind::Unavailable, ErrorKind::Precondition, ErrorKind::Conflict];
                assert!(
                    sound.contains(&error.kind()),
                    "{}: append {key}: {:?} {error}",
                    self.label,
                    error.kind()
                );
                // Of one that was in doubt it says no more than that this try came to nothing.
                before.unwrap_or(Fate::Refused)
            }
        };
        let lost_answer = |request: &Request| {
            request.operation == RemoteOperation::Put
                && request.path.contains("/_log/")
                && matches!(request.fault, Some((FaultTime::After, fault)) if fault != RemoteFault::Delay)
        };
        match fate {
            Fate::Committed => {
                self.seen.committed += 1;
                let recognised = outcome.is_ok() && requests.iter().any(lost_answer);
                self.seen.recognised += u64::from(recognised);
            }
            Fate::Refused => self.seen.refused += 1,
            Fate::Unknown => self.seen.unknown += u64::from(before.is_none()),
        }
        self.fates.insert(key, fate);
        fate
    }

    /// The table again, should this handle have closed itself.
    async fn reopened_if_closed(&mut self, table: Arc<Table>) -> Result<Arc<Table>, Error> {
        if table.closed().is_none() {
            return Ok(table);
        }
        self.seen.closed += 1;
        self.table().await
    }

    /// With the store behaved again: the handle in use takes an append, a fresh one shows what it should, and what is
    /// unknown is settled by sending it again.
    async fn settle(&mut self, table: Option<Arc<Table>>) {
        self.objects.calm();
        let next = self.fates.keys().last().map_or(0, |key| key + 1);
        let table = match table {
            Some(table) => self.reopened_if_closed(table).await,
            None => self.table().await,
        };
        let table = table.unwrap_or_else(|error| panic!("{}: wedged: {error}", self.label));
        assert_eq!(
            self.append(&table, next, false).await,
            Fate::Committed,
            "{}: wedged",
            self.label
        );

        let table = self.table().await.unwrap();
        let stored = self.check(&table.snapshot()).await;
        let unknown: Vec<i64> = self.unknown().collect();
        for key in unknown {
            self.seen.unknown_present += u64::from(stored.contains(&key));
            assert_eq!(self.append(&table, key, false).await, Fate::Committed, "{}", self.label);
        }
        self.check(&table.snapshot()).await;
        table.flush().await.unwrap();
        table.checkpoint().await.unwrap();
        let table = self.table().await.unwrap();
        self.check(&table.snapshot()).await;
        self.seen.conflicts += self.objects.conflicts();
        let requests = self.objects.requests_since(0);
        self.seen.faults +=
            requests.iter().filter(|request| request.fault.is_some()).count() as u64;
    }

    fn unknown(&self) -> impl Iterator<Item = i64> {
        let unknown = self.fates.iter().filter(|(_, fate)| **fate == Fate::Unknown);
        unknown.map(|(key, _)| *key)
    }

    /// Holds a snapshot against what is known, and says what it holds.
    async fn check(&self, snapshot: &Snapshot) -> Vec<i64> {
        let files = files(&self.objects).await;
        let rows = rows_from(snapshot, |path| files.get(&format!("{PREFIX}/{path}")).cloned());
        let stored: Vec<i64> = rows.iter().map(|(_, n)| n / 10).collect();
        assert!(
            stored.is_sorted_by(|a, b| a < b),
            "{}: a row is there twice: {stored:?}",
            self.label
        );
        assert_eq!(snapshot.row_count, stored.len() as u64, "{}", self.label);
        assert_eq!(snapshot.coverage.pair_count(), stored.len() as u128, "{}", self.label);
        for (key, fate) in &self.fates {
            let is_there = stored.contains(key);
            match fate {
                Fate::Committed => assert!(is_there, "{}: append {key} is lost", self.label),
                Fate::Refused => assert!(!is_there, "{}: append {key} was refused", self.label),
                Fate::Unknown => {}
            }
        }
        assert!(stored.iter().all(|key| self.fates.contains_key(key)), "{}", self.label);
        stored
    }
}

/// Everything that is stored, without a fault.
async fn files(objects: &FaultyObjects) -> BTreeMap<String, Bytes> {
    let behaved = objects.behaved();
    let listed: Vec<_> = behaved.list(None).try_collect().await.unwrap();
    let mut files = BTreeMap::new();
    for object in listed {
        let bytes = behaved.get(&object.location).await.unwrap().bytes().await.unwrap();
        files.insert(object.location.to_string(), bytes);
    }
    files
}

/// A short life with every kind of request: create, appends small and large, a rival, a flush, a checkpoint, an open.
async fn short_life(life: &mut Life) -> Option<Arc<Table>> {
    let mut table = life.table().await.ok()?;
    let rival = life.table().await.ok();
    for (key, is_large) in [(0, false), (1, true), (2, false)] {
        life.append(&table, key, is_large).await;
        table = life.reopened_if_closed(table).await.ok()?;
    }
    if let Some(rival) = rival {
        // It knows nothing of the commits since it was opened.
        life.append(&rival, 3, false).await;
    }
    for outcome in [table.flush().await.map(|_| ()), table.checkpoint().await.map(|_| ())] {
        if let Err(error) = outcome {
            let sound = [
                ErrorKind::Unavailable,
                ErrorKind::Precondition,
                ErrorKind::Indeterminate,
                ErrorKind::Conflict,
            ];
            assert!(sound.contains(&error.kind()), "{}: {:?} {error}", life.label, error.kind());
        }
    }
    let table = life.table().await.ok()?;
    life.append(&table, 4, false).await;
    Some(table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_fails_in_every_way() {
    let mut tame = Life::new("without faults".to_owned());
    let table = short_life(&mut tame).await;
    let requests = tame.objects.requests_since(0);
    tame.settle(table).await;
    assert_eq!(tame.seen.committed, 6);
    assert!(tame.seen.conflicts >= 1, "the rival lost no slot");

    let mut cases = Vec::new();
    for request in &requests {
        for when in [FaultTime::Before, FaultTime::After] {
            for fault in RemoteFault::ALL {
                // Before and after are the same where nothing is changed.
                let differs = request.operation.is_write()
                    || when == FaultTime::Before
                    || !fault.can_strike(request.operation, FaultTime::Before);
                let struck = fault.can_strike(request.operation, when);
                if struck && differs && fault != RemoteFault::Delay {
                    // Once, and so long that every repetition fails with it and the reading back too.
                    cases.extend([1, 7].map(|run| (request.number, run, when, fault)));
                }
            }
        }
    }
    let case_count = cases.len();
    let lives = futures::stream::iter(cases.into_iter().map(|(number, run, when, fault)| {
        tokio::spawn(async move {
            let label = format!("request {number} and {run} from it, {when:?} {fault:?}");
            let mut life = Life::new(label);
            life.objects.fail(number..number + run, when, fault);
            let table = short_life(&mut life).await;
            life.settle(table).await;
            assert!(life.seen.faults >= 1, "{}: nothing was struck", life.label);
            life.seen
        })
    }));
    let mut lives = lives.buffer_unordered(LIVES_AT_ONCE);
    let mut seen = Seen::default();
    while let Some(life) = lives.next().await {
        seen.add(life.unwrap());
    }
    reached(
        "every request of a life in an object store",
        &format!("{} requests, {case_count} cases: {seen:?}", requests.len()),
    );
    assert!(seen.recognised >= 1 && seen.conflicts >= 1 && seen.unknown >= 1, "{seen:?}");
    assert!(seen.unknown_present >= 1 && seen.unknown_present < seen.unknown, "{seen:?}");
}

/// A random life through storms, with two servers on the root.
async fn stormy_life(seed: u64) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let mut life = Life::new(format!("seed {seed}"));
    let mut servers: [Option<Arc<Table>>; 2] = [None, None];
    for step in 0..STEPS {
        match random.random_range(0..5) {
            0 => life.objects.calm(),
            1 => life.objects.storm(random.random(), 0.1, 3),
            // Long enough for a record to be stored, and no answer to be had about it.
            2 => life.objects.storm(random.random(), 0.2, 12),
            _ => {}
        }
        let number = random.random_range(0..servers.len());
        let table = match servers[number].take() {
            // Now and then it is restarted.
            Some(table) if random.random_bool(0.9) => life.reopened_if_closed(table).await,
            _ => life.table().await,
        };
        let Ok(table) = table else { continue };
        match random.random_range(0..10) {
            0 => drop(table.flush().await),
            1 => drop(table.checkpoint().await),
            2 => {
                // Sent again while the store is what it is.
                let unknown = life.unknown().next();
                if let Some(key) = unknown {
                    life.append(&table, key, false).await;
                }
            }
            kind => {
                life.append(&table, step as i64, kind == 3).await;
            }
        }
        servers[number] = Some(table);
    }
    let [table, _] = servers;
    life.settle(table).await;
    life.seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_lives_survive_storms() {
    let soak = std::env::var("COVERLINE_SOAK_SECONDS").ok();
    let until = soak.map(|seconds| Instant::now() + Duration::from_secs(seconds.parse().unwrap()));
    let first: u64 = std::env::var("COVERLINE_SEED").map_or(0, |seed| seed.parse().unwrap());
    let seeds = (first..).take_while(|seed| match until {
        None => *seed < first + SEEDS,
        Some(until) => Instant::now() < until,
    });
    let lives = futures::stream::iter(seeds.map(|seed| {
        tokio::spawn(async move {
            let seen = stormy_life(seed).await;
            (seed, seen)
        })
    }));
    let mut lives = lives.buffer_unordered(LIVES_AT_ONCE);
    let (mut seen, mut count) = (Seen::default(), 0);
    while let Some(life) = lives.next().await {
        let (_, life) = life.unwrap();
        seen.add(life);
        count += 1;
    }
    reached("storms over an object store", &format!("{count} seeds of {STEPS} steps: {seen:?}"));
    assert!(seen.recognised >= 1 && seen.conflicts >= 1 && seen.unknown >= 1, "{seen:?}");
}

/// Uploads in parts: an object is whole or not there, whatever request fails, and what `publish` says is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_in_parts_are_whole_or_absent() {
    const SIZE: usize = (17 << 20) + 1;
    let bytes = Bytes::from(vec![7; SIZE]);
    let upload = |objects: FaultyObjects| {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || {
            let store = RemoteStore::over(Arc::new(objects), &Path::default());
            let mut staged = store.stage("data/x")?;
            staged.write_all(&bytes)?;
            staged.publish()
        })
    };
    let tame = FaultyObjects::new();
    upload(tame.clone()).await.unwrap().unwrap();
    let requests = tame.requests_since(0);
    let parts = requests.iter().filter(|request| request.operation == RemoteOperation::PutPart);
    assert_eq!(parts.count(), 3);
    let (mut failed, mut recognised, mut cases) = (0, 0, 0);
    for request in requests {
        for when in [FaultTime::Before, FaultTime::After] {
            for fault in [RemoteFault::Timeout, RemoteFault::SlowDown, RemoteFault::Forbidden] {
                if !fault.can_strike(request.operation, when) {
                    continue;
                }
                cases += 1;
                let label =
                    format!("{:?} {}, {when:?} {fault:?}", request.operation, request.number);
                let objects = FaultyObjects::new();
                objects.fail(request.number..request.number + 1, when, fault);
                let outcome = upload(objects.clone()).await.unwrap();
                let files = files(&objects).await;
                match outcome {
                    Ok(()) => {
                        assert!(files.get("data/x") == Some(&bytes), "{label}");
                        recognised += 1;
                    }
                    Err(_) => {
                        assert!(files.is_empty(), "{label}");
                        failed += 1;
                    }
                }
            }
        }
    }
    reached(
        "uploads in parts",
        &format!("{cases} cases: {failed} failed, {recognised} recognised"),
    );
    assert!(failed >= 1 && recognised >= 1);
}

/// Says what a run reached, where `tests/run` collects it.
fn reached(what: &str, counts: &str) {
    println!("{what}: {counts}");
    let Some(path) = std::env::var_os("COVERLINE_NOTES") else { return };
    let mut notes = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(notes, "{what}: {counts}").unwrap();
}
