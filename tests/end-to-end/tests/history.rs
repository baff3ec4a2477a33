//! C2, C4, C6, C7: several clients append, contend, repeat and read while the server is killed at random moments; what they saw
//! and what the log holds must be one of the histories that the promises allow. Half of the reads go to a second server, which
//! follows the root and lives through the kills.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use coverline_proto::flight::OverlapPolicy;
use end_to_end::history::{self, Answer, Append, Call, Event, History, Key, Moment, Pair, Version};
use end_to_end::site::ARGUMENTS;
use end_to_end::{AppendError, Client, Server, Site, SoakTime, TestResult, reached};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};

/// How large a history is.
#[derive(Debug, Clone, Copy)]
struct Shape {
    clients: usize,
    /// Calls of each client, retries not counted.
    calls: usize,
    /// Calls of all clients between two kills, about.
    calls_per_kill: usize,
    /// Whether appends differ in size: flushes and segments take part.
    mixed_rows: bool,
}

/// Most histories: what goes wrong mostly does so soon, and a table that grows makes every call dearer.
const SHORT: Shape = Shape { clients: 8, calls: 25, calls_per_kill: 100, mixed_rows: false };
const WIDE: Shape = Shape { clients: 32, calls: 12, calls_per_kill: 150, mixed_rows: false };
const MIXED: Shape = Shape { clients: 8, calls: 40, calls_per_kill: 120, mixed_rows: true };
const LONG: Shape = Shape { clients: 8, calls: 200, calls_per_kill: 200, mixed_rows: false };
/// Histories of an ordinary run, by shape.
const DAY: [(Shape, usize); 3] = [(SHORT, 17), (WIDE, 2), (MIXED, 1)];
/// The same for as long as there is time.
const NIGHT: [(Shape, usize); 4] = [(SHORT, 14), (WIDE, 3), (MIXED, 2), (LONG, 1)];
/// Rows of most appends; of those that travel in a record and make a flush due soon; of those that are a segment.
const ROWS: [u64; 3] = [3, 4_000, 16_000];
/// Values of the index in a bucket.
const BUCKET: i64 = 100_000;
/// The entity that everybody appends to.
const SHARED: u32 = 99;
/// Buckets of it that are contended for at the same time.
const SHARED_BUCKETS: i64 = 6;
/// Buckets that a read looks at.
const READ_BUCKETS: i64 = 12;
/// A server that is not back by then will not come back. Generous, since machines that run tests are busy.
const RESTART_TIME: Duration = Duration::from_secs(300);

/// What the clients of one history share.
struct Run {
    shape: Shape,
    moments: AtomicU64,
    /// Where the server is, and how often it was started.
    address: watch::Receiver<(usize, String)>,
    /// To a server that only reads, beside it.
    follower: Client,
    /// One message for each call that is over.
    calls_done: mpsc::UnboundedSender<()>,
    calls_done_count: AtomicUsize,
    appends_in_flight: AtomicUsize,
}

impl Run {
    fn now(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }
}

/// One client, and what it saw.
struct Worker {
    index: usize,
    run: Arc<Run>,
    random: StdRng,
    start: usize,
    connection: Option<Client>,
    calls: Vec<Call>,
    appends: BTreeMap<Key, Append>,
    /// Acknowledged, so that they can be repeated.
    acknowledged: Vec<Key>,
    next_bucket: i64,
    resolved: usize,
}

fn entity_name(entity: u32) -> String {
    format!("e{entity}")
}

fn batch(key: Key, append: &Append) -> RecordBatch {
    let rows = append.row_count as usize;
    let at = (0..rows as i64).map(|row| append.pair.bucket * BUCKET + row);
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(at))),
        ("entity", Arc::new(StringArray::from(vec![entity_name(append.pair.entity); rows]))),
        ("key", Arc::new(Int64Array::from(vec![key as i64; rows]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

impl Worker {
    fn new(index: usize, seed: u64, run: Arc<Run>) -> Self {
        Self {
            index,
            run,
            random: StdRng::seed_from_u64(seed.wrapping_add(index as u64)),
            start: 0,
            connection: None,
            calls: Vec::new(),
            appends: BTreeMap::new(),
            acknowledged: Vec::new(),
            next_bucket: 0,
            resolved: 0,
        }
    }

    /// A connection to the server that runs now.
    async fn connection(&mut self) -> Client {
        if let Some(connection) = &self.connection {
            return connection.clone();
        }
        let mut address = self.run.address.clone();
        loop {
            let (start, at) = address.borrow_and_update().clone();
            if start > self.start
                && let Ok(connection) = Client::connect(&at).await
            {
                self.start = start;
                self.connection = Some(connection.clone());
                return connection;
            }
            // Gone already, or gone and not back yet.
            tokio::time::timeout(RESTART_TIME, address.changed()).await.unwrap().unwrap();
        }
    }

    async fn work(mut self) -> Self {
        for _ in 0..self.run.shape.calls {
            match self.random.random_range(0..100) {
                0..60 => {
                    let pair = Pair { entity: self.index as u32, bucket: self.next_bucket };
                    self.next_bucket += 1;
                    self.append_new(pair).await;
                }
                60..85 => {
                    let done = self.run.calls_done_count.load(Ordering::Relaxed);
                    let done = done / self.run.shape.clients;
                    let bucket = done as i64 / 2 + self.random.random_range(0..SHARED_BUCKETS);
                    self.append_new(Pair { entity: SHARED, bucket }).await;
                }
                85..90 if !self.acknowledged.is_empty() => {
                    let nth = self.random.random_range(0..self.acknowledged.len());
                    self.append(self.acknowledged[nth]).await;
                }
                _ => self.read_some().await,
            }
            self.run.calls_done_count.fetch_add(1, Ordering::Relaxed);
            self.run.calls_done.send(()).unwrap();
        }
        self
    }

    async fn append_new(&mut self, pair: Pair) {
        let key = (self.index * 1_000_000 + self.appends.len()) as Key;
        let size = match self.run.shape.mixed_rows {
            true => [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][self.random.random_range(0..10)],
            false => 0,
        };
        self.appends.insert(key, Append { pair, row_count: ROWS[size] });
        if self.append(key).await != Answer::Unknown || self.random.random_bool(0.1) {
            // Some lost answers are never asked for again.
            return;
        }
        while self.append(key).await == Answer::Unknown {}
        self.resolved += 1;
    }

    /// One try.
    async fn append(&mut self, key: Key) -> Answer {
        let connection = self.connection().await;
        let batches = vec![batch(key, &self.appends[&key])];
        let sent = self.run.now();
        self.run.appends_in_flight.fetch_add(1, Ordering::SeqCst);
        let told = connection.append("h", OverlapPolicy::Reject, &format!("k{key}"), batches).await;
        self.run.appends_in_flight.fetch_sub(1, Ordering::SeqCst);
        let answered = self.run.now();
        let answer = match told {
            Ok(receipt) => {
                self.acknowledged.push(key);
                Answer::Committed { version: receipt.version, repeated: receipt.repeated }
            }
            Err(AppendError::Refused { reason, details, .. }) if reason == "COVERAGE_OVERLAP" => {
                Answer::Overlap {
                    checked: details["table_version"].parse().unwrap(),
                    owner: details.get("owner_version").map(|version| version.parse().unwrap()),
                }
            }
            Err(AppendError::Unknown(_)) => {
                self.connection = None;
                Answer::Unknown
            }
            Err(refused) => panic!("client {}: append {key}: {refused:?}", self.index),
        };
        let event = Event::Append { key, answer: answer.clone() };
        self.calls.push(Call { client: self.index, sent, answered, event });
        answer
    }

    async fn read_some(&mut self) {
        let own = self.random.random_bool(0.5);
        let entity =
            if own { SHARED } else { self.random.random_range(0..self.run.shape.clients as u32) };
        let newest = self.next_bucket;
        let start = self.random.random_range((newest - READ_BUCKETS).min(0)..=newest);
        let scope = Some((entity, start..start + READ_BUCKETS));
        let follows = self.random.random_bool(0.5);
        let connection = if follows { self.run.follower.clone() } else { self.connection().await };
        let sent = self.run.now();
        match read(&connection, scope.as_ref()).await {
            Ok((version, rows)) => {
                let answered = self.run.now();
                let event = Event::Read { version, scope, rows };
                self.calls.push(Call { client: self.index, sent, answered, event });
            }
            Err(error) if !follows && end_to_end::code_of(&*error).is_none() => {
                self.connection = None
            }
            Err(error) => panic!("client {}: {error}", self.index),
        }
    }
}

/// Rows by append, and the version they are of.
async fn read(
    client: &Client,
    scope: Option<&(u32, std::ops::Range<i64>)>,
) -> TestResult<(Version, BTreeMap<Key, u64>)> {
    let filter = match scope {
        None => String::new(),
        Some((entity, buckets)) => format!(
            "WHERE entity = '{}' AND n >= {} AND n < {}",
            entity_name(*entity),
            buckets.start * BUCKET,
            buckets.end * BUCKET
        ),
    };
    let sql = format!("SELECT key, count(DISTINCT n) AS c FROM h {filter} GROUP BY key");
    let (version, batches) = client.sql_at_version(&sql).await?;
    let mut rows = BTreeMap::new();
    for batch in batches {
        let column = |index: usize| batch.column(index).as_any().downcast_ref::<Int64Array>();
        let (keys, counts) = (column(0).ok_or("no keys")?, column(1).ok_or("no counts")?);
        for (key, count) in keys.values().iter().zip(counts.values()) {
            rows.insert(*key as Key, *count as u64);
        }
    }
    Ok((version, rows))
}

/// Kills and restarts the server until all clients are done. Returns how many kills met an append in flight.
async fn kill_now_and_then(
    site: &mut Site,
    mut random: StdRng,
    run: &Run,
    address: watch::Sender<(usize, String)>,
    mut calls_done: mpsc::UnboundedReceiver<()>,
) -> (usize, usize) {
    let (mut kills, mut kills_in_appends) = (0, 0);
    let Shape { clients, calls, calls_per_kill, .. } = run.shape;
    let mut calls_left = random.random_range(0..2 * calls_per_kill);
    for _ in 0..clients * calls {
        calls_done.recv().await.unwrap();
        if calls_left > 0 {
            calls_left -= 1;
            continue;
        }
        calls_left = random.random_range(1..2 * calls_per_kill);
        kills += 1;
        kills_in_appends += usize::from(run.appends_in_flight.load(Ordering::SeqCst) > 0);
        site.restart().await.unwrap();
        address.send_replace((kills + 1, site.server.address().to_owned()));
    }
    (kills, kills_in_appends)
}

/// What a run reached.
#[derive(Debug, Default)]
struct Reached {
    histories: usize,
    acknowledged: usize,
    overlaps: usize,
    repeated: usize,
    unknown: usize,
    resolved: usize,
    reads: usize,
    kills: usize,
    kills_in_appends: usize,
    shared_versions: usize,
    flushes: usize,
}

impl Reached {
    fn count(&mut self, history: &History) {
        for call in &history.calls {
            let counter = match &call.event {
                Event::Read { .. } => &mut self.reads,
                Event::Append { answer: Answer::Committed { repeated: true, .. }, .. } => {
                    &mut self.repeated
                }
                Event::Append { answer: Answer::Committed { .. }, .. } => &mut self.acknowledged,
                Event::Append { answer: Answer::Overlap { .. }, .. } => &mut self.overlaps,
                Event::Append { answer: Answer::Unknown | Answer::Refused, .. } => {
                    &mut self.unknown
                }
            };
            *counter += 1;
        }
        self.shared_versions += history.log.values().filter(|keys| keys.len() > 1).count();
        self.histories += 1;
    }
}

async fn one_history(seed: u64, shape: Shape, total: &mut Reached) {
    let mut site = Site::new().await.unwrap();
    let client = site.client().await.unwrap();
    client
        .execute(&format!(
            "CREATE TABLE h WITH (index_column = 'n', bucket = '{BUCKET}', entity_columns = 'entity')"
        ))
        .await
        .unwrap();
    let arguments: Vec<_> = ARGUMENTS.into_iter().chain(["--read-only"]).collect();
    let follower = Server::start_with(site.data_dir(), &arguments).await.unwrap();
    let (address_sender, address) = watch::channel((1, site.server.address().to_owned()));
    let (calls_done, done) = mpsc::unbounded_channel();
    let run = Arc::new(Run {
        shape,
        moments: AtomicU64::new(1),
        address,
        follower: follower.client().await.unwrap(),
        calls_done,
        calls_done_count: AtomicUsize::new(0),
        appends_in_flight: AtomicUsize::new(0),
    });
    // The first append gives the table its columns, which every read names.
    let mut first = Worker::new(shape.clients, seed, Arc::clone(&run));
    first.append_new(Pair { entity: shape.clients as u32, bucket: 0 }).await;
    let workers: Vec<_> = (0..shape.clients)
        .map(|index| tokio::spawn(Worker::new(index, seed, Arc::clone(&run)).work()))
        .collect();
    let all = tokio::spawn(async move {
        let mut all = vec![first];
        for worker in workers {
            all.push(worker.await.unwrap());
        }
        all
    });
    let random = StdRng::seed_from_u64(seed);
    let killing = kill_now_and_then(&mut site, random, &run, address_sender, done);
    let ended = tokio::try_join!(all, async { Ok(killing.await) });
    let (workers, kills) = match ended {
        Ok(ended) => ended,
        Err(error) => panic!(
            "COVERLINE_SEED={seed}: a client gave up ({error}); the server: {}",
            site.server.state().unwrap()
        ),
    };
    total.kills += kills.0;
    total.kills_in_appends += kills.1;
    let mut history = History::default();
    for worker in workers {
        history.appends.extend(worker.appends);
        history.calls.extend(worker.calls);
        total.resolved += worker.resolved;
    }
    follower.stop().await.unwrap();
    site.restart().await.unwrap();
    let client = site.client().await.unwrap();
    for record in client.log("h").await.unwrap() {
        total.flushes += usize::from(record["operation"] == "flush");
        let ids = record["append_ids"].as_array().unwrap().iter();
        let keys = ids.map(|id| id["key"].as_str().unwrap()[1..].parse().unwrap()).collect();
        history.log.insert(record["version"].as_u64().unwrap(), keys);
    }
    let sent = run.now();
    let (version, rows) = read(&client, None).await.unwrap();
    let event = Event::Read { version, scope: None, rows };
    history.calls.push(Call { client: shape.clients, sent, answered: run.now(), event });
    if let Err(violation) = history::check(&history) {
        panic!("COVERLINE_SEED={seed}, {shape:?}: {violation}\n{history:#?}");
    }
    total.count(&history);
    site.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_clients_and_kills_leave_a_sound_history() {
    let seed: u64 = std::env::var("COVERLINE_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("COVERLINE_SEED={seed}");
    let soak = SoakTime::start().unwrap();
    let mut total = Reached::default();
    let shapes = if soak.is_set() { &NIGHT[..] } else { &DAY[..] };
    let shapes: Vec<_> =
        shapes.iter().flat_map(|(shape, count)| std::iter::repeat_n(*shape, *count)).collect();
    let mut passes = 0;
    while passes == 0 || soak.is_left() {
        for shape in &shapes {
            if soak.is_over() {
                break;
            }
            let seed = seed.wrapping_add(total.histories as u64 * 1_000);
            one_history(seed, *shape, &mut total).await;
        }
        passes += 1;
    }
    reached("histories, 0 anomalies", &format!("{total:?}, first seed {seed}"));
    assert!(total.kills_in_appends > 0, "no kill met an append: {total:?}");
    assert!(total.overlaps > 0 && total.repeated > 0 && total.reads > 0, "too tame: {total:?}");
    assert!(total.flushes > 0 && total.shared_versions > 0, "too tame: {total:?}");
}
