//! A client: appends, contends, repeats, reads, now and then loses patience, and remembers what it was told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use coverline_proto::flight::OverlapPolicy;
use end_to_end::history::{Answer, Append, Call, Event, Key, Pair, Version};
use end_to_end::{AppendError, Client};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::append::AppendRequest;
use table_core::types::Version as TableVersion;
use table_core::{Catalog, Error, ErrorKind, Table};

use crate::data;
use crate::server::Running;
use crate::world::{TABLE, World};

/// The entity that everybody appends to.
const SHARED: u32 = 99;

/// Buckets of it that are contended for.
const SHARED_BUCKETS: i64 = 12;

/// A call that takes longer than this will never end: a minute, in microseconds.
const PATIENCE_US: u64 = 60_000_000;

/// Tries of one append, after which the client turns to the next.
const TRIES_MAX: usize = 20;

/// Keys of one client.
const KEYS: Key = 1_000_000;

/// One client.
pub struct Worker {
    index: usize,
    world: Arc<World>,
    random: StdRng,
    /// One connection to each server, and which of its starts it is to.
    connections: BTreeMap<usize, (u32, Client)>,
    /// Every call so far.
    pub calls: Vec<Call>,
    /// Every append that was ever sent.
    pub appends: BTreeMap<Key, Append>,
    /// Older versions that were read, and their rows by append.
    pub old_reads: Vec<(Version, BTreeMap<Key, u64>)>,
    large: BTreeMap<Key, bool>,
    acknowledged: Vec<Key>,
    /// The only server that it talks to.
    pub only: Option<usize>,
    next_bucket: i64,
    scratch: Scratch,
}

/// What the client knows of the table that only it creates and drops. A change whose outcome is unknown may still be on its
/// way whatever is answered in the meantime; a later change that is acknowledged has taken its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scratch {
    Absent,
    Present,
    Doubtful,
}

/// What became of a call.
enum Told<T> {
    Yes(T),
    No(Error),
    /// The server went away, or the client lost patience.
    Nothing,
}

/// What became of one try of an append.
enum Outcome {
    Answered(Answer),
    /// Not committed, says the server, and why.
    Refused(String),
    /// The server said something that it must never say.
    Wrong(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(formatter, "{answer:?}"),
            Self::Refused(why) => write!(formatter, "refused: {why}"),
            Self::Wrong(what) => write!(formatter, "WRONG: {what}"),
        }
    }
}

impl Worker {
    /// A client that has done nothing yet.
    pub fn new(world: &Arc<World>, index: usize) -> Self {
        Self {
            index,
            random: StdRng::seed_from_u64(world.seed_of(&format!("client {index}"))),
            world: Arc::clone(world),
            connections: BTreeMap::new(),
            calls: Vec::new(),
            appends: BTreeMap::new(),
            old_reads: Vec::new(),
            large: BTreeMap::new(),
            acknowledged: Vec::new(),
            only: None,
            next_bucket: 0,
            scratch: Scratch::Absent,
        }
    }

    /// Its place among the clients.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Does everything it is there for.
    pub async fn work(mut self) -> Self {
        for _ in 0..self.world.plan.calls {
            let pause_us = self.random.random_range(0..20_000);
            self.world.time.sleep_us(pause_us).await;
            match self.random.random_range(0..100) {
                0..35 => self.append_own().await,
                35..60 => {
                    let bucket = self.random.random_range(0..SHARED_BUCKETS);
                    self.append_new(Pair { entity: SHARED, bucket }).await;
                }
                60..66 => self.repeat().await,
                66..70 => self.misuse_an_id().await,
                70..82 => self.read().await,
                82..87 => self.read_older().await,
                87..92 => self.maintain().await,
                _ => self.create_or_drop().await,
            }
            if self.world.violation().is_some() {
                break;
            }
        }
        self
    }

    /// Rows where only this client appends.
    pub async fn append_own(&mut self) {
        let pair = Pair { entity: self.index as u32, bucket: self.next_bucket };
        self.next_bucket += 1;
        self.append_new(pair).await;
    }

    async fn append_new(&mut self, pair: Pair) {
        let key = self.index as Key * KEYS + self.appends.len() as Key;
        self.appends.insert(key, data::append(key, pair));
        let is_large = self.random.random_bool(0.12);
        self.large.insert(key, is_large);
        let mut doubtful = false;
        for _ in 0..TRIES_MAX {
            let answer = self.try_append(key, doubtful).await;
            doubtful |= answer == Answer::Unknown;
            let done = match answer {
                Answer::Committed { .. } | Answer::Overlap { .. } => true,
                // Without an id a second try cannot know of the first. Some are never asked for again.
                Answer::Unknown => append_id(key).is_none() || self.random.random_bool(0.15),
                Answer::Refused => self.random.random_bool(0.2),
            };
            if done || self.world.violation().is_some() {
                return;
            }
            let pause_us = self.random.random_range(1_000..50_000);
            self.world.time.sleep_us(pause_us).await;
        }
    }

    /// An append that was acknowledged, once more.
    async fn repeat(&mut self) {
        let nth = self.random.random_range(0..=self.acknowledged.len());
        if let Some(key) = self.acknowledged.get(nth).copied()
            && append_id(key).is_some()
        {
            self.try_append(key, true).await;
        }
    }

    /// One try. `doubtful` when an earlier one may be committed.
    async fn try_append(&mut self, key: Key, doubtful: bool) -> Answer {
        let (server, running) = self.server().await;
        let append = self.appends[&key];
        let batch = data::batch(key, &append, self.large[&key]);
        let sent = self.world.moment();
        let outcome = if self.random.random_bool(0.5) {
            let client = self.connection(server, &running);
            let call = async move {
                let id = append_id(key).unwrap_or_default();
                let told = client.append(TABLE, OverlapPolicy::Reject, &id, vec![batch]).await;
                Ok(flight_outcome(told))
            };
            match self.call(&running, call).await {
                Told::Yes(outcome) => outcome,
                Told::No(error) => direct_outcome(&error),
                Told::Nothing => Outcome::Answered(Answer::Unknown),
            }
        } else {
            let catalog = Arc::clone(&running.catalog);
            let call = async move {
                let request = AppendRequest { append_id: append_id(key), ..Default::default() };
                let mut append = catalog.table(TABLE).await?.append(request);
                append.write(batch).await?;
                append.commit().await
            };
            match self.call(&running, call).await {
                Told::Yes(receipt) => Outcome::Answered(Answer::Committed {
                    version: receipt.version.0,
                    repeated: receipt.repeated,
                }),
                Told::No(error) => direct_outcome(&error),
                Told::Nothing => Outcome::Answered(Answer::Unknown),
            }
        };
        self.world.trace.note(format_args!("c{} append {key} -> {outcome}", self.index));
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Refused(_) if doubtful => Answer::Unknown,
            Outcome::Refused(_) => Answer::Refused,
            Outcome::Wrong(text) => {
                self.world.violated(format!("append {key} was told: {text}"));
                Answer::Unknown
            }
        };
        self.remember(key, &answer);
        let event = Event::Append { key, answer: answer.clone() };
        let answered = self.world.moment();
        self.calls.push(Call { client: self.index, sent, answered, event });
        answer
    }

    fn remember(&mut self, key: Key, answer: &Answer) {
        match answer {
            Answer::Committed { version, .. } => {
                self.acknowledged.push(key);
                self.world.acknowledged(*version);
            }
            Answer::Overlap { .. } | Answer::Refused | Answer::Unknown => {}
        }
        let is_large = self.large[&key];
        self.world.count(|counts| match answer {
            Answer::Committed { repeated: true, .. } => counts.first_receipts += 1,
            Answer::Committed { .. } => {
                counts.acknowledged += 1;
                counts.as_segments += u64::from(is_large);
            }
            Answer::Overlap { .. } => counts.overlaps += 1,
            Answer::Refused => counts.refused += 1,
            Answer::Unknown => counts.unknown += 1,
        });
    }

    /// C4: an id that stands for other rows is refused, and they are not written.
    async fn misuse_an_id(&mut self) {
        let nth = self.random.random_range(0..=self.acknowledged.len());
        let Some(key) = self.acknowledged.get(nth).copied() else { return };
        let Some(id) = append_id(key) else { return };
        let (_, running) = self.server().await;
        let other = Append { row_count: self.appends[&key].row_count + 1, ..self.appends[&key] };
        let batch = data::batch(key, &other, false);
        let catalog = Arc::clone(&running.catalog);
        let call = async move {
            let request = AppendRequest { append_id: Some(id), ..Default::default() };
            let mut append = catalog.table(TABLE).await?.append(request);
            append.write(batch).await?;
            append.commit().await
        };
        match self.call(&running, call).await {
            Told::Yes(receipt) => self
                .world
                .violated(format!("the id of append {key} was taken for other rows: {receipt:?}")),
            Told::No(error) if error.kind() == ErrorKind::Precondition => {
                self.world.count(|counts| counts.ids_refused += 1);
            }
            Told::No(error) => self.allow(&error, &[]),
            Told::Nothing => {}
        }
    }

    async fn read(&mut self) {
        let (_, running) = self.server().await;
        let sent = self.world.moment();
        let (world, catalog) = (Arc::clone(&self.world), Arc::clone(&running.catalog));
        let call = async move {
            let snapshot = newest_table(&catalog).await?.snapshot();
            let rows = data::rows_of(&world, catalog.store(), &snapshot).await;
            rows.map(|rows| (snapshot.version.0, rows)).map_err(unreadable)
        };
        match self.call(&running, call).await {
            Told::Yes((version, rows)) => {
                self.world.count(|counts| counts.reads += 1);
                self.world.trace.note(format_args!("c{} read {version} {rows:?}", self.index));
                let event = Event::Read { version, scope: None, rows };
                let answered = self.world.moment();
                self.calls.push(Call { client: self.index, sent, answered, event });
            }
            Told::No(error) => self.allow(&error, &[]),
            Told::Nothing => {}
        }
    }

    async fn read_older(&mut self) {
        let (_, running) = self.server().await;
        let newest = self.world.newest_acknowledged();
        if newest == 0 {
            return;
        }
        let version = self.random.random_range(1..=newest);
        let (world, catalog) = (Arc::clone(&self.world), Arc::clone(&running.catalog));
        let call = async move {
            let table = newest_table(&catalog).await?;
            let snapshot = table.snapshot_at(TableVersion(version)).await?;
            data::rows_of(&world, catalog.store(), &snapshot).await.map_err(unreadable)
        };
        match self.call(&running, call).await {
            Told::Yes(rows) => {
                self.world.count(|counts| counts.old_reads += 1);
                self.old_reads.push((version, rows));
            }
            Told::No(error) => self.allow(&error, &[]),
            Told::Nothing => {}
        }
    }

    /// A flush or a checkpoint.
    pub async fn maintain(&mut self) {
        let (_, running) = self.server().await;
        let flushes = self.random.random_bool(0.6);
        let catalog = Arc::clone(&running.catalog);
        let call = async move {
            let table = catalog.table(TABLE).await?;
            match flushes {
                true => table.flush().await,
                false => table.checkpoint().await.map(Some),
            }
        };
        match self.call(&running, call).await {
            Told::Yes(Some(_)) if flushes => self.world.count(|counts| counts.flushes += 1),
            Told::Yes(_) if flushes => {}
            Told::Yes(_) => self.world.count(|counts| counts.checkpoints += 1),
            Told::No(error) => self.allow(&error, &[ErrorKind::Indeterminate]),
            Told::Nothing => {}
        }
    }

    /// Creates the table that only this client knows, or drops it.
    async fn create_or_drop(&mut self) {
        let (_, running) = self.server().await;
        let drops = match self.scratch {
            Scratch::Absent => false,
            Scratch::Present => true,
            Scratch::Doubtful => self.random.random_bool(0.5),
        };
        let (catalog, name) = (Arc::clone(&running.catalog), format!("x{}", self.index));
        let call = async move {
            match drops {
                true => catalog.drop_table(&name, "").await,
                false => catalog.create_table(&name, data::spec(), None, "").await.map(|_| ()),
            }
        };
        let told = self.call(&running, call).await;
        self.world.trace.note(format_args!(
            "c{} drops={drops} {:?} -> {}",
            self.index,
            self.scratch,
            match &told {
                Told::Yes(()) => "done".to_owned(),
                Told::No(error) => format!("{:?}", error.kind()),
                Told::Nothing => "nothing".to_owned(),
            }
        ));
        let known = self.scratch;
        self.scratch = match (told, drops) {
            (Told::Yes(()), true) => {
                self.world.count(|counts| counts.tables_dropped += 1);
                Scratch::Absent
            }
            (Told::Yes(()), false) => Scratch::Present,
            (Told::No(error), false) if error.kind() == ErrorKind::AlreadyExists => {
                if known == Scratch::Absent {
                    self.world.violated(format!("a table that was dropped is there: {error}"));
                }
                known
            }
            (Told::No(error), true) if error.kind() == ErrorKind::NotFound => {
                if known == Scratch::Present {
                    self.world.violated(format!("a table that was created is gone: {error}"));
                }
                known
            }
            (Told::No(error), _) if error.kind() == ErrorKind::Indeterminate => Scratch::Doubtful,
            (Told::No(error), _) => {
                self.allow(&error, &[]);
                known
            }
            (Told::Nothing, _) => Scratch::Doubtful,
        };
    }

    /// Errors that an honest server may answer with while the storage fails.
    fn allow(&self, error: &Error, others: &[ErrorKind]) {
        let kind = error.kind();
        let allowed = [ErrorKind::Unavailable, ErrorKind::Conflict, ErrorKind::Exhausted];
        if !allowed.contains(&kind) && !others.contains(&kind) {
            self.world.violated(format!("c{} was told {kind:?}: {error}", self.index));
        }
    }

    /// A server that serves.
    async fn server(&mut self) -> (usize, Running) {
        let any = self.random.random_range(0..self.world.addresses.len());
        let server = self.only.unwrap_or(any);
        let running = self.world.addresses[server].running().await;
        (server, running)
    }

    fn connection(&mut self, server: usize, running: &Running) -> Client {
        let known = self.connections.get(&server).filter(|(start, _)| *start == running.start);
        if let Some((_, client)) = known {
            return client.clone();
        }
        let client = running.connect();
        self.connections.insert(server, (running.start, client.clone()));
        client
    }

    /// Makes a call, unless the server goes away or patience ends before it is answered.
    async fn call<T>(
        &mut self,
        running: &Running,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Told<T> {
        let (there_us, back_us) =
            (self.random.random_range(0..1_000), self.random.random_range(0..1_000));
        let loses_patience = self.random.random_bool(0.08) && !self.world.is_calm();
        let patience_us = match loses_patience {
            true => self.random.random_range(0..15_000),
            false => PATIENCE_US,
        };
        let time = &self.world.time;
        let call = async {
            time.sleep_us(there_us).await;
            let told = call.await;
            time.sleep_us(back_us).await;
            told
        };
        tokio::select! {
            biased;
            () = running.life.ended.cancelled() => Told::Nothing,
            told = call => {
                self.world.count(|counts| counts.answered += 1);
                match told {
                    Ok(answer) => Told::Yes(answer),
                    Err(error) => Told::No(error),
                }
            }
            () = time.sleep_us(patience_us) => {
                self.world.count(|counts| counts.given_up += 1);
                if !loses_patience {
                    self.world.violated(format!("c{}: wedged, no answer in a minute", self.index));
                }
                Told::Nothing
            }
        }
    }
}

/// The table as it is now.
async fn newest_table(catalog: &Arc<Catalog>) -> Result<Arc<Table>, Error> {
    catalog.fresh_table(TABLE, Duration::ZERO).await
}

/// Most appends have an id.
fn append_id(key: Key) -> Option<String> {
    (!key.is_multiple_of(5)).then(|| format!("k{key}"))
}

fn unreadable(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("a segment cannot be read: {error}"))
}

fn direct_outcome(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::Overlap => match error.overlap() {
            Some(overlap) => Outcome::Answered(Answer::Overlap {
                checked: overlap.table_version,
                owner: overlap.owner_version,
            }),
            None => Outcome::Wrong("an overlap without details".to_owned()),
        },
        ErrorKind::Indeterminate if !error.message().contains("ended early") => {
            Outcome::Answered(Answer::Unknown)
        }
        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Exhausted => {
            Outcome::Refused(error.to_string())
        }
        kind => Outcome::Wrong(format!("{kind:?}: {error}")),
    }
}

fn flight_outcome(told: Result<end_to_end::Receipt, AppendError>) -> Outcome {
    match told {
        Ok(receipt) => Outcome::Answered(Answer::Committed {
            version: receipt.version,
            repeated: receipt.repeated,
        }),
        Err(AppendError::Unknown(_)) => Outcome::Answered(Answer::Unknown),
        Err(AppendError::Refused { code, message, reason, details }) => {
            let number = |name: &str| details.get(name).and_then(|text| text.parse().ok());
            match (reason.as_str(), details.get("committed").map(String::as_str)) {
                ("COVERAGE_OVERLAP", _) => match number("table_version") {
                    Some(checked) => Outcome::Answered(Answer::Overlap {
                        checked,
                        owner: number("owner_version"),
                    }),
                    None => Outcome::Wrong("an overlap without details".to_owned()),
                },
                ("INTERNAL" | "CORRUPT" | "NOT_FOUND" | "PRECONDITION", _) => {
                    Outcome::Wrong(format!("{code:?} {reason}: {message}"))
                }
                (_, Some("unknown")) => Outcome::Answered(Answer::Unknown),
                (_, _) => Outcome::Refused(format!("{code:?} {reason}: {message}")),
            }
        }
    }
}
