//! T13 (C2, C3, C4, C5, C6, C7): two servers and sixteen clients on one table in S3, while the S3 server is killed and started
//! again. What the clients saw and what the log holds must be one of the histories that the promises allow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use coverline_proto::flight::OverlapPolicy;
use end_to_end::history::{self, Answer, Append, Call, Event, History, Key, Moment, Pair, Version};
use end_to_end::s3::S3;
use end_to_end::{AppendError, Client, Server, SoakTime, TestResult, code_of, reached};
use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tonic::Code;

const CLIENTS: usize = 16;
/// Restarts of the S3 server on an ordinary day, and at nightly size.
const RESTARTS: usize = 3;
const RESTARTS_SOAK: usize = 20;
/// Calls of each client between two restarts, about.
const CALLS_PER_RESTART: usize = 8;
/// Rows of one append.
const ROWS: i64 = 3;
/// The entity that everybody appends to.
const SHARED: u32 = 99;
/// Pause before something is tried again that could not be done.
const PAUSE: Duration = Duration::from_millis(50);
/// Tries of one append before the table counts as wedged.
const TRIES_MAX: u32 = 2_000;
/// What the servers log of their commits, to be counted.
const LOG: &str = "warn,table_core::log=debug";

struct Run {
    moments: AtomicU64,
    clients: Vec<Client>,
    calls_done: mpsc::UnboundedSender<()>,
}

impl Run {
    fn now(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }
}

struct Worker {
    index: usize,
    run: Arc<Run>,
    random: StdRng,
    calls: Vec<Call>,
    appends: BTreeMap<Key, Append>,
    next_bucket: i64,
    /// Answers that said "not now".
    unavailable: usize,
}

fn batch(key: Key, pair: Pair) -> RecordBatch {
    let at = (0..ROWS).map(|row| pair.bucket * 1000 + row);
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(at))),
        ("entity", Arc::new(StringArray::from(vec![format!("e{}", pair.entity); ROWS as usize]))),
        ("key", Arc::new(Int64Array::from(vec![key as i64; ROWS as usize]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

impl Worker {
    fn new(index: usize, seed: u64, run: Arc<Run>) -> Self {
        Self {
            index,
            run,
            random: StdRng::seed_from_u64(seed.wrapping_add(index as u64)),
            calls: Vec::new(),
            appends: BTreeMap::new(),
            next_bucket: 0,
            unavailable: 0,
        }
    }

    async fn work(mut self, call_count: usize) -> Self {
        for call in 0..call_count {
            match self.random.random_range(0..100) {
                0..50 => {
                    let pair = Pair { entity: self.index as u32, bucket: self.next_bucket };
                    self.next_bucket += 1;
                    self.append(pair).await;
                }
                50..75 => {
                    let bucket = (call / 2) as i64 + self.random.random_range(0..4);
                    self.append(Pair { entity: SHARED, bucket }).await;
                }
                _ => self.read().await,
            }
            self.run.calls_done.send(()).unwrap();
        }
        self
    }

    /// Any of the servers, call by call.
    fn server(&mut self) -> Client {
        self.run.clients.choose(&mut self.random).unwrap().clone()
    }

    /// One append, sent until its outcome is known.
    async fn append(&mut self, pair: Pair) {
        let key = (self.index * 1_000_000 + self.appends.len()) as Key;
        self.appends.insert(key, Append { pair, row_count: ROWS as u64 });
        for _ in 0..TRIES_MAX {
            let server = self.server();
            let sent = self.run.now();
            let id = format!("k{key}");
            let told = server.append("t", OverlapPolicy::Reject, &id, vec![batch(key, pair)]).await;
            let answered = self.run.now();
            let answer = match told {
                Ok(receipt) => {
                    Answer::Committed { version: receipt.version, repeated: receipt.repeated }
                }
                Err(AppendError::Refused { reason, details, .. })
                    if reason == "COVERAGE_OVERLAP" =>
                {
                    Answer::Overlap {
                        checked: details["table_version"].parse().unwrap(),
                        owner: details.get("owner_version").map(|text| text.parse().unwrap()),
                    }
                }
                Err(AppendError::Refused { code: Code::Unavailable, details, .. }) => {
                    assert_eq!(details["committed"], "no");
                    self.unavailable += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(AppendError::Refused { code: Code::Aborted, .. }) => continue,
                Err(AppendError::Refused { code: Code::Unknown, details, .. }) => {
                    assert_eq!(details["committed"], "unknown");
                    Answer::Unknown
                }
                Err(other) => panic!("client {}: append {key}: {other:?}", self.index),
            };
            let is_known = answer != Answer::Unknown;
            let event = Event::Append { key, answer };
            self.calls.push(Call { client: self.index, sent, answered, event });
            if is_known {
                return;
            }
        }
        panic!("client {}: append {key} found no end: the table is wedged", self.index);
    }

    async fn read(&mut self) {
        let server = self.server();
        let sent = self.run.now();
        match read(&server).await {
            Ok((version, rows)) => {
                let event = Event::Read { version, scope: None, rows };
                let answered = self.run.now();
                self.calls.push(Call { client: self.index, sent, answered, event });
            }
            Err(error) if code_of(&*error) == Some(Code::Unavailable) => self.unavailable += 1,
            Err(error) => panic!("client {}: {error}", self.index),
        }
    }
}

/// Rows by append, and the version they are of.
async fn read(client: &Client) -> TestResult<(Version, BTreeMap<Key, u64>)> {
    let sql = "SELECT key, count(DISTINCT n) AS c FROM t GROUP BY key";
    let (version, batches) = client.sql_at_version(sql).await?;
    let mut rows = BTreeMap::new();
    for batch in batches {
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
        for (key, count) in column(0).into_iter().zip(column(1)) {
            rows.insert(key as Key, count as u64);
        }
    }
    Ok((version, rows))
}

/// How often the servers logged a line with this text.
fn logged(servers: &[Server], text: &str) -> usize {
    let logs = servers.iter().map(|server| server.data_dir().with_extension("stderr"));
    logs.map(|log| std::fs::read_to_string(log).unwrap().matches(text).count()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_s3_table_survive_restarts_of_s3() {
    let Some(mut s3) = S3::to_kill("T13, two servers through restarts of S3").await.unwrap() else {
        return;
    };
    let seed: u64 = std::env::var("COVERLINE_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    let restarts = if SoakTime::start().unwrap().is_set() { RESTARTS_SOAK } else { RESTARTS };
    let mut environment = s3.environment();
    environment.push(("COVERLINE_LOG".to_owned(), LOG.to_owned()));
    let root = s3.root("shared");
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let place = s3.folder().join(name);
        let server = Server::start_at(&root, &place, &[], &environment).await.unwrap();
        clients.push(server.client().await.unwrap());
        servers.push(server);
    }
    let sql =
        "CREATE TABLE t WITH (index_column = 'n', bucket = '1000', entity_columns = 'entity')";
    clients[0].execute(sql).await.unwrap();
    let (calls_done, mut done) = mpsc::unbounded_channel();
    let run = Arc::new(Run { moments: AtomicU64::new(1), clients, calls_done });
    // The first append gives the table its columns, which every read names.
    let mut first = Worker::new(CLIENTS, seed, Arc::clone(&run));
    first.append(Pair { entity: CLIENTS as u32, bucket: 0 }).await;

    let calls = CALLS_PER_RESTART * (restarts + 1);
    let workers: Vec<_> = (0..CLIENTS)
        .map(|index| tokio::spawn(Worker::new(index, seed, Arc::clone(&run)).work(calls)))
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut calls_left, mut restarted) = (0, 0);
    let restarting = async {
        for _ in 0..CLIENTS * calls {
            done.recv().await.unwrap();
            if calls_left > 0 {
                calls_left -= 1;
            } else if restarted < restarts {
                calls_left = random.random_range(1..CLIENTS * CALLS_PER_RESTART);
                restarted += 1;
                s3.restart().await.unwrap();
            }
        }
        Ok(())
    };
    // Ends when a client gives up, too.
    let ended = tokio::try_join!(try_join_all(workers), restarting);
    let (workers, ()) = ended.unwrap_or_else(|error| panic!("COVERLINE_SEED={seed}: {error}"));
    let mut history = History::default();
    let mut unavailable = 0;
    let mut all = vec![first];
    all.extend(workers);
    for worker in all {
        history.appends.extend(worker.appends);
        history.calls.extend(worker.calls);
        unavailable += worker.unavailable;
    }

    // Both servers show one log, and each version has one winner.
    let mut logs = Vec::new();
    for client in &run.clients {
        let mut log: BTreeMap<Version, Vec<Key>> = BTreeMap::new();
        for record in client.log("t").await.unwrap() {
            let ids = record["append_ids"].as_array().unwrap().iter();
            let keys = ids.map(|id| id["key"].as_str().unwrap()[1..].parse().unwrap()).collect();
            log.insert(record["version"].as_u64().unwrap(), keys);
        }
        logs.push(log);
    }
    assert_eq!(logs[0], logs[1], "COVERLINE_SEED={seed}");
    history.log = logs.remove(0);
    for (index, client) in run.clients.iter().enumerate() {
        let sent = run.now();
        let (version, rows) = read(client).await.unwrap();
        let event = Event::Read { version, scope: None, rows };
        history.calls.push(Call { client: CLIENTS + 1 + index, sent, answered: run.now(), event });
    }
    if let Err(violation) = history::check(&history) {
        panic!("COVERLINE_SEED={seed}: {violation}\n{history:#?}");
    }
    let told = |is_it: fn(&Answer) -> bool| {
        let answers = history.calls.iter().filter_map(|call| match &call.event {
            Event::Append { answer, .. } => Some(answer),
            Event::Read { .. } => None,
        });
        answers.filter(|answer| is_it(answer)).count()
    };
    let committed = told(|answer| matches!(answer, Answer::Committed { .. }));
    let overlaps = told(|answer| matches!(answer, Answer::Overlap { .. }));
    let unknown = told(|answer| *answer == Answer::Unknown);
    let lost_slots = logged(&servers, "a rival took the slot");
    reached(
        "T13",
        &format!(
            "{restarted} restarts of S3, {} versions, {committed} appends acknowledged, {overlaps} overlaps, {unknown} unknown \
             outcomes, {unavailable} times unavailable, {lost_slots} slots lost to the other server, {} own records recognised, \
             seed {seed}",
            history.log.len(),
            logged(&servers, "a record that was read back is our own"),
        ),
    );
    assert_eq!(restarted, restarts);
    assert!(committed > 0 && overlaps > 0 && lost_slots > 0, "too tame");
    for server in servers {
        server.stop().await.unwrap();
    }
}
