//! Several servers on one root, each with its own idea of what is new, against one naive model (C2, C4, C5, C6, C7).
//!
//! Servers append, overlap, repeat, read, flush, checkpoint and restart, one after the other and at the same time, while
//! answers of the store get lost and requests arrive late. Whatever a server knew before, an append is answered by what is in
//! the log, and a look shows all that was acknowledged anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use support::root::{HOUR_US, Root, append_all, bars, many_bars, read_bars, spec};
use table_core::append::{AppendRequest, OverlapPolicy, Receipt};
use table_core::clock::SystemClock;
use table_core::storage::LocalStore;
use table_core::storage::faults::{FlakyStore, PutFault};
use table_core::types::{BucketId, EntityKey, EntityValue, Version};
use table_core::{Access, Catalog, CatalogOptions, Error, ErrorKind, Snapshot, Table};
use tempfile::TempDir;

const NOW: Duration = Duration::ZERO;
const SERVERS: usize = 3;
const SYMBOLS: [&str; 3] = ["A", "B", "C"];
const HOURS: i64 = 60;
/// Rows of a large append.
const MANY: u64 = 20_000;

/// One (entity, bucket).
type Pair = (&'static str, i64);

/// One server, and the store that it sees.
struct Server {
    catalog: Arc<Catalog>,
    flaky: Arc<FlakyStore>,
}

impl Server {
    async fn start(root: &Path) -> Self {
        let store = LocalStore::open(root, SystemClock::shared()).unwrap();
        let flaky = FlakyStore::over(Arc::new(store));
        flaky.settles_unknown(true);
        let options = CatalogOptions {
            access: Access::Shared,
            disk_floor_bytes: Some(0),
            ..CatalogOptions::default()
        };
        let catalog = Catalog::over(flaky.clone(), options).await.unwrap();
        Self { catalog, flaky }
    }

    async fn table(&self) -> Arc<Table> {
        // What this server knows, and no more.
        match self.catalog.table("prices").await {
            Ok(table) => table,
            Err(_) => self.catalog.fresh_table("prices", NOW).await.unwrap(),
        }
    }
}

/// What is in the log.
#[derive(Debug, Clone, Default)]
struct Model {
    newest: u64,
    owners: BTreeMap<Pair, u64>,
    rows: u64,
    /// Pairs and first receipt's version of each append id.
    ids: BTreeMap<String, (Pair, u64)>,
    /// A pair of the newest append, which some servers may not know of.
    last: Option<Pair>,
}

impl Model {
    fn commit(&mut self, pairs: &[Pair], rows: u64, version: u64) {
        for pair in pairs {
            assert_eq!(self.owners.insert(*pair, version), None, "{pair:?} has two owners");
        }
        self.last = pairs.first().copied();
        self.rows += rows;
        self.newest = self.newest.max(version);
    }

    fn owns_any(&self, pairs: &[Pair]) -> bool {
        pairs.iter().any(|pair| self.owners.contains_key(pair))
    }
}

/// What a run came across.
#[derive(Debug, Default)]
struct Reached {
    committed: u32,
    overlaps: u32,
    stale_skips: u32,
    unknown_stored: u32,
    unknown_absent: u32,
    late_stored: u32,
    late_lost: u32,
    repeated: u32,
    races: u32,
    lost_races: u32,
    flushes: u32,
    vain_flushes: u32,
    restarts: u32,
}

struct Run {
    root: Root,
    servers: Vec<Server>,
    random: StdRng,
    model: Model,
    /// The model at versions that some server may still be at.
    past: BTreeMap<u64, Model>,
    /// Appends whose request may arrive late, by server: key, pair, and the slot it was for.
    late: Vec<(usize, String, Pair, u64)>,
    next_id: u32,
    reached: Reached,
    at: String,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(Server::start(folder.path()).await);
        }
        let catalog = Arc::clone(&servers[0].catalog);
        let table = catalog.create_table("prices", spec(), None, "").await.unwrap();
        append_all(&table, AppendRequest::default(), &[bars(&[("A", -HOUR_US, 0.0)])])
            .await
            .unwrap();
        let mut model = Model { newest: 2, ..Model::default() };
        model.commit(&[("A", -1)], 1, 2);
        Self {
            root: Root { folder, catalog },
            servers,
            random: StdRng::seed_from_u64(seed),
            past: BTreeMap::from([(2, model.clone())]),
            model,
            late: Vec::new(),
            next_id: 0,
            reached: Reached::default(),
            at: String::new(),
        }
    }

    fn any_server(&mut self) -> usize {
        self.random.random_range(0..SERVERS)
    }

    fn some_pairs(&mut self) -> Vec<Pair> {
        let count = self.random.random_range(1..=3);
        let pair =
            |random: &mut StdRng| (*SYMBOLS.choose(random).unwrap(), random.random_range(0..HOURS));
        let mut pairs: BTreeSet<_> = (0..count).map(|_| pair(&mut self.random)).collect();
        if self.random.random_bool(0.25) {
            pairs.extend(self.model.last);
        }
        pairs.into_iter().collect()
    }

    fn free_pair(&mut self) -> Pair {
        loop {
            let pair = (
                *SYMBOLS.choose(&mut self.random).unwrap(),
                self.random.random_range(HOURS..10_000),
            );
            if !self.model.owners.contains_key(&pair) && self.late.iter().all(|late| late.2 != pair)
            {
                return pair;
            }
        }
    }

    fn remember(&mut self) {
        self.past.insert(self.model.newest, self.model.clone());
    }

    /// One append by one server, which knows what it knows.
    async fn append(&mut self) {
        let server = self.any_server();
        let pairs = self.some_pairs();
        let skips = self.random.random_bool(0.3);
        let table = self.servers[server].table().await;
        let known = table.snapshot().version.0;
        let on_overlap = if skips { OverlapPolicy::Skip } else { OverlapPolicy::Reject };
        let request = AppendRequest { on_overlap, ..AppendRequest::default() };
        let outcome = send(&table, request, &pairs).await;
        let free: Vec<_> =
            pairs.iter().copied().filter(|pair| !self.model.owners.contains_key(pair)).collect();
        match outcome {
            Ok(receipt) => {
                assert!(skips || free.len() == pairs.len(), "{}: {receipt:?}", self.at);
                assert_eq!(receipt.row_count, free.len() as u64, "{}", self.at);
                if free.is_empty() {
                    return;
                }
                assert_eq!(receipt.version.0, self.model.newest + 1, "{}", self.at);
                self.model.commit(&free, free.len() as u64, receipt.version.0);
                self.reached.committed += 1;
            }
            Err(error) if error.kind() == ErrorKind::Overlap => {
                assert!(!skips, "{}: {error}", self.at);
                self.check_overlap(&error, &pairs);
                self.reached.overlaps += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{}: {error}", self.at);
                assert!(skips && known < self.model.newest, "{}: {error}", self.at);
                self.reached.stale_skips += 1;
            }
        }
        self.remember();
    }

    /// C6: some commit at or below the version that was looked at holds it.
    fn check_overlap(&self, error: &Error, pairs: &[Pair]) {
        let overlap = error.overlap().unwrap();
        let owner = overlap.owner_version.unwrap();
        assert!(overlap.table_version <= self.model.newest, "{}: {error}", self.at);
        assert!(owner <= overlap.table_version, "{}: {error}", self.at);
        let owners: Vec<_> = pairs.iter().filter_map(|pair| self.model.owners.get(pair)).collect();
        assert!(owners.contains(&&owner), "{}: {error}", self.at);
    }

    /// An append whose answer gets lost, with its rows in the log, not, or not yet.
    async fn append_unknown(&mut self) {
        use PutFault::{AbsentAndUnknown, Late, StoredButUnknown};
        let server = self.any_server();
        let pair = self.free_pair();
        let key = format!("k{}", self.next_id);
        self.next_id += 1;
        let table = self.servers[server].table().await;
        // So that the put is that of the newest slot.
        table.refresh(NOW).await.unwrap();
        let flaky = Arc::clone(&self.servers[server].flaky);
        let fate = self.random.random_range(0..3);
        match fate {
            0 => {
                flaky.next_puts([StoredButUnknown]);
                // Nobody reads in between.
                flaky.next_reads_fail(1);
            }
            1 => flaky.next_puts([AbsentAndUnknown; 3]),
            _ => flaky.next_puts([Late, AbsentAndUnknown, AbsentAndUnknown]),
        }
        let outcome = send(&table, keyed(&key), &[pair]).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Indeterminate, "{}", self.at);
        let slot = self.model.newest + 1;
        match fate {
            0 => {
                self.model.commit(&[pair], 1, slot);
                self.model.ids.insert(key.clone(), (pair, slot));
                self.reached.unknown_stored += 1;
                self.remember();
            }
            1 => self.reached.unknown_absent += 1,
            _ => self.late.push((server, key.clone(), pair, slot)),
        }
        if fate != 2 && self.random.random_bool(0.8) {
            self.repeat(&key, pair).await;
        }
    }

    /// The same append again, from any server: the first receipt, or a first one.
    async fn repeat(&mut self, key: &str, pair: Pair) {
        let server = self.any_server();
        let table = self.servers[server].table().await;
        let receipt = send(&table, keyed(key), &[pair]).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("{}: {key}: {error}", self.at));
        match self.model.ids.get(key) {
            Some((_, version)) => {
                assert!(receipt.repeated, "{}: {receipt:?}", self.at);
                assert_eq!(receipt.version.0, *version, "{}", self.at);
                self.reached.repeated += 1;
            }
            None => {
                assert!(!receipt.repeated, "{}: {receipt:?}", self.at);
                assert_eq!(receipt.version.0, self.model.newest + 1, "{}", self.at);
                self.model.commit(&[pair], 1, receipt.version.0);
                self.model.ids.insert(key.to_owned(), (pair, receipt.version.0));
                self.remember();
            }
        }
    }

    /// Requests that were given up arrive, or find their slot taken.
    async fn deliver_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        for server in 0..SERVERS {
            let mine: Vec<_> = late.iter().filter(|late| late.0 == server).collect();
            let stored = self.servers[server].flaky.deliver_late().await.unwrap();
            // The first that is for the slot that is still free.
            let winner = mine.iter().position(|late| late.3 == self.model.newest + 1);
            assert_eq!(stored, usize::from(winner.is_some()), "{}", self.at);
            if let Some((_, key, pair, slot)) = winner.map(|winner| mine[winner]) {
                self.model.commit(&[*pair], 1, *slot);
                self.model.ids.insert(key.clone(), (*pair, *slot));
                self.reached.late_stored += 1;
                self.remember();
            }
            self.reached.late_lost += (mine.len() - stored) as u32;
            for (_, key, pair, _) in mine {
                self.repeat(key, *pair).await;
            }
        }
    }

    /// Several servers append at the same time, to the same pairs now and then.
    async fn race(&mut self) {
        let mut tries = Vec::new();
        for server in 0..SERVERS {
            let pairs = self.some_pairs();
            tries.push((self.servers[server].table().await, pairs));
        }
        let before = self.model.newest;
        let sent = tries.into_iter().map(|(table, pairs)| {
            tokio::spawn(
                async move { (send(&table, AppendRequest::default(), &pairs).await, pairs) },
            )
        });
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for answer in join_all(sent).await {
            match answer.unwrap() {
                (Ok(receipt), pairs) => winners.push((receipt.version.0, pairs)),
                (Err(error), pairs) => losers.push((error, pairs)),
            }
        }
        winners.sort();
        for (nth, (version, pairs)) in (1..).zip(&winners) {
            assert_eq!(*version, before + nth, "{}: one winner for each version", self.at);
            assert!(!self.model.owns_any(pairs), "{}: {pairs:?}", self.at);
            self.model.commit(pairs, pairs.len() as u64, *version);
            self.remember();
        }
        for (error, pairs) in &losers {
            self.check_overlap(error, pairs);
            self.reached.lost_races += 1;
        }
        self.reached.races += 1;
    }

    /// A large append: its segment is written once, whoever takes the slot meanwhile.
    async fn append_large(&mut self) {
        let (server, pair) = (self.any_server(), self.free_pair());
        let table = self.servers[server].table().await;
        let batch = many_bars(pair.0, pair.1);
        let receipt = append_all(&table, AppendRequest::default(), &[batch]).await.unwrap();
        assert_eq!(
            (receipt.version.0, receipt.segment_count),
            (self.model.newest + 1, 1),
            "{}",
            self.at
        );
        self.model.commit(&[pair], MANY, receipt.version.0);
        self.remember();
    }

    /// Two servers flush what may be the same rows. Whoever comes late does nothing.
    async fn flush(&mut self) {
        let (first, second) = (self.any_server(), self.any_server());
        let (a, b) = (self.servers[first].table().await, self.servers[second].table().await);
        let (one, other) = tokio::join!(a.flush(), b.flush());
        let mut versions: Vec<u64> =
            [one.unwrap(), other.unwrap()].into_iter().flatten().map(|version| version.0).collect();
        versions.sort_unstable();
        self.reached.vain_flushes += 2 - versions.len() as u32;
        for version in versions {
            assert_eq!(version, self.model.newest + 1, "{}", self.at);
            self.model.newest = version;
            self.reached.flushes += 1;
            self.remember();
        }
    }

    /// Everywhere at once, and then where one is opened.
    async fn checkpoint_and_restart(&mut self) {
        let tables = join_all(self.servers.iter().map(Server::table)).await;
        for written in join_all(tables.iter().map(|table| table.checkpoint())).await {
            assert!(written.unwrap().0 <= self.model.newest, "{}", self.at);
        }
        let server = self.any_server();
        // Requests on their way go with the server: they never arrive.
        self.late.retain(|late| late.0 != server);
        self.servers[server] = Server::start(self.root.folder.path()).await;
        self.reached.restarts += 1;
    }

    /// C7: a look shows all that was acknowledged anywhere; without one a server shows some version, whole.
    async fn read(&mut self, looks: bool) {
        let server = self.any_server();
        let table = self.servers[server].table().await;
        let snapshot = match looks {
            true => table.refresh(NOW).await.unwrap(),
            false => table.snapshot(),
        };
        if looks {
            assert_eq!(snapshot.version.0, self.model.newest, "{}", self.at);
        }
        let model = &self.past[&snapshot.version.0];
        self.check(&table, &snapshot, model).await;
    }

    async fn check(&self, table: &Table, snapshot: &Snapshot, model: &Model) {
        assert_eq!(snapshot.row_count, model.rows, "{}", self.at);
        assert_eq!(snapshot.coverage.pair_count(), model.owners.len() as u128, "{}", self.at);
        assert_eq!(snapshot.append_ids.len(), model.ids.len(), "{}", self.at);
        let rows = read_bars(&self.root.rows(table, snapshot));
        let mut found: BTreeMap<(String, i64), u64> = BTreeMap::new();
        for (symbol, ts, _) in rows {
            *found.entry((symbol, ts.div_euclid(HOUR_US))).or_default() += 1;
        }
        let pairs: BTreeSet<_> =
            model.owners.keys().map(|(symbol, hour)| ((*symbol).to_owned(), *hour)).collect();
        assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), pairs, "{}", self.at);
        assert!(found.values().all(|rows| [1, MANY].contains(rows)), "{}: a row twice", self.at);
        for ((symbol, hour), owner) in &model.owners {
            let entity = EntityKey::encode(&[EntityValue::Utf8((*symbol).to_owned())]);
            let found = table.owner_of(snapshot, &entity, BucketId(*hour)).await.unwrap();
            assert_eq!(found, Some(Version(*owner)), "{}: {symbol} {hour}", self.at);
        }
    }
}

fn keyed(key: &str) -> AppendRequest {
    AppendRequest { append_id: Some(key.to_owned()), ..AppendRequest::default() }
}

/// One row in each pair.
async fn send(
    table: &Arc<Table>,
    request: AppendRequest,
    pairs: &[Pair],
) -> Result<Receipt, Error> {
    let rows: Vec<_> = pairs.iter().map(|(symbol, hour)| (*symbol, hour * HOUR_US, 1.0)).collect();
    append_all(table, request, &[bars(&rows)]).await
}

async fn run(seed: u64) -> Reached {
    let mut run = Run::new(seed).await;
    for step in 0..70 {
        run.at = format!("seed {seed}, step {step}");
        match run.random.random_range(0..100) {
            0..35 => run.append().await,
            35..50 => run.append_unknown().await,
            50..58 => run.deliver_late().await,
            58..68 => run.race().await,
            68..72 => run.append_large().await,
            72..80 => run.flush().await,
            80..85 => run.checkpoint_and_restart().await,
            85..95 => run.read(true).await,
            _ => run.read(false).await,
        }
    }
    run.deliver_late().await;
    for server in 0..SERVERS {
        let table = run.servers[server].table().await;
        let snapshot = table.refresh(NOW).await.unwrap();
        assert_eq!(snapshot.version.0, run.model.newest, "seed {seed}, server {server}");
        run.check(&table, &snapshot, &run.model).await;
    }
    run.reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_one_root_agree_with_a_model() {
    let mut total = Reached::default();
    for seed in 0..6 {
        println!("seed {seed}");
        let reached = run(seed).await;
        total.committed += reached.committed;
        total.overlaps += reached.overlaps;
        total.stale_skips += reached.stale_skips;
        total.unknown_stored += reached.unknown_stored;
        total.unknown_absent += reached.unknown_absent;
        total.late_stored += reached.late_stored;
        total.late_lost += reached.late_lost;
        total.repeated += reached.repeated;
        total.races += reached.races;
        total.lost_races += reached.lost_races;
        total.flushes += reached.flushes;
        total.vain_flushes += reached.vain_flushes;
        total.restarts += reached.restarts;
    }
    println!("{total:?}");
    let counts = [
        total.committed,
        total.overlaps,
        total.stale_skips,
        total.unknown_stored,
        total.unknown_absent,
        total.late_stored,
        total.late_lost,
        total.repeated,
        total.races,
        total.lost_races,
        total.flushes,
        total.vain_flushes,
        total.restarts,
    ];
    assert!(counts.iter().all(|count| *count > 0), "too tame: {total:?}");
}
