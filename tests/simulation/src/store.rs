//! [`Remote`]: a storage that all servers of a run share, a while away and unreliable, and [`StoreHandle`], how one server
//! process sees it.
//!
//! A request takes its time to arrive, has its effect at one moment, and its answer takes its time to come back. It may be lost
//! on either way, take effect long after it was given up, meet its own earlier try, or find the storage down. A process that
//! is killed sees no answer any more; what it sent before may still arrive.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::Workers;
use table_core::storage::{DiskSpace, DurableStore, PutError, PutOutcome, Staged};
use tokio_util::sync::CancellationToken;

use crate::time::VirtualTime;
use crate::trace::Trace;

/// How likely things go wrong, each in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// A put or read is refused before it has an effect.
    pub refused: u32,
    /// A put has no effect, and nobody says so.
    pub lost_before: u32,
    /// A put has its effect, and the answer is lost.
    pub lost_after: u32,
    /// A put is given up and has its effect later.
    pub late: u32,
    /// A put has its effect and is told that the object exists, as a repetition below the client is.
    pub told_exists: u32,
    /// A put has its effect, but is not durable.
    pub not_durable: u32,
    /// A read, listing or sync fails.
    pub read_fails: u32,
    /// A request takes long, one way.
    pub slow: u32,
    /// Writing a segment fails.
    pub segment_fails: u32,
}

/// What was reached, seen from the storage.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreCounts {
    /// Requests that arrived.
    pub operations: u64,
    /// Puts of a record that found another one in its place.
    pub conflicts: u64,
    /// Puts of a record that were told that it exists, and it was their own.
    pub self_conflicts: u64,
    /// Puts whose outcome the server was not told.
    pub ambiguous_puts: u64,
    /// Of these, those that took effect after they were given up.
    pub late_puts: u64,
    /// Requests that found the storage down.
    pub met_outage: u64,
    /// Requests of a process that was gone when they arrived.
    pub orphaned: u64,
}

/// The storage.
#[derive(Debug)]
pub struct Remote {
    time: VirtualTime,
    trace: Trace,
    /// Whether it is an object store, in which what can be read is durable, and not one server's disk.
    is_shared: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<String, Bytes>,
    random: StdRng,
    weather: Weather,
    down: bool,
    counts: StoreCounts,
}

/// What becomes of a request, drawn when it is sent.
#[derive(Debug)]
struct Course {
    fate: Fate,
    there_us: u64,
    back_us: u64,
    late_us: u64,
    /// Whether it arrives though its sender is gone.
    outlives_sender: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Plain,
    Refused,
    LostBefore,
    LostAfter,
    Late,
    ToldExists,
    NotDurable,
}

/// Microseconds of one way: a few milliseconds at most ...
const WAY_US: std::ops::Range<u64> = 100..3_000;
/// ... but for slow ones.
const SLOW_WAY_US: std::ops::Range<u64> = 20_000..300_000;
/// How much later a late put takes effect.
const LATE_US: std::ops::Range<u64> = 1_000..300_000;

/// Everything on its way has arrived after this long, in microseconds.
pub const SETTLED_US: u64 = 1_000_000;

impl Remote {
    /// An empty storage in fair weather.
    pub fn new(time: VirtualTime, trace: Trace, seed: u64, is_shared: bool) -> Arc<Self> {
        let state = State {
            objects: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            weather: Weather::default(),
            down: false,
            counts: StoreCounts::default(),
        };
        Arc::new(Self { time, trace, is_shared, state: Mutex::new(state) })
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Takes the storage down, or brings it back with all that it held.
    pub fn set_down(&self, down: bool) {
        self.trace.note(format_args!("storage down={down}"));
        self.state.lock().down = down;
    }

    /// What was reached so far.
    pub fn counts(&self) -> StoreCounts {
        self.state.lock().counts
    }

    /// An object as it is, for the judge.
    pub fn peek(&self, path: &str) -> Option<Bytes> {
        self.state.lock().objects.get(path).cloned()
    }

    fn course(&self, is_put: bool) -> Course {
        let mut state = self.state.lock();
        let weather = state.weather;
        let random = &mut state.random;
        let way_us = |random: &mut StdRng| match random.random_range(0..1000) < weather.slow {
            true => random.random_range(SLOW_WAY_US),
            false => random.random_range(WAY_US),
        };
        let (there_us, back_us) = (way_us(random), way_us(random));
        let mut draw = random.random_range(0..1000);
        let mut fate = Fate::Plain;
        let fates: &[(Fate, u32)] = match is_put {
            true => &[
                (Fate::Refused, weather.refused),
                (Fate::LostBefore, weather.lost_before),
                (Fate::LostAfter, weather.lost_after),
                (Fate::Late, weather.late),
                (Fate::ToldExists, weather.told_exists),
                (Fate::NotDurable, weather.not_durable),
            ],
            false => &[(Fate::Refused, weather.read_fails)],
        };
        for (candidate, share) in fates {
            if draw < *share {
                fate = *candidate;
                break;
            }
            draw -= share;
        }
        let late_us = random.random_range(LATE_US);
        let outlives_sender = random.random_bool(0.5);
        Course { fate, there_us, back_us, late_us, outlives_sender }
    }

    /// The moment at which a put has its effect.
    fn put(&self, who: &str, path: &str, bytes: Bytes, fate: Fate) -> PutOutcome {
        let mut state = self.state.lock();
        state.counts.operations += 1;
        let is_record = path.contains("log/") && !path.ends_with(".checkpoint");
        let digest = blake3::hash(&bytes).to_hex();
        let outcome = match state.objects.get(path) {
            None => {
                state.objects.insert(path.to_owned(), bytes);
                state.counts.self_conflicts += u64::from(is_record && fate == Fate::ToldExists);
                PutOutcome::Created
            }
            Some(there) => {
                let is_own = *there == bytes;
                state.counts.self_conflicts += u64::from(is_record && is_own);
                state.counts.conflicts += u64::from(is_record && !is_own);
                PutOutcome::Exists
            }
        };
        drop(state);
        self.trace.note(format_args!("{who} put {path} {} {fate:?} -> {outcome:?}", &digest[..12]));
        outcome
    }

    fn is_down(&self) -> bool {
        let mut state = self.state.lock();
        let down = state.down;
        state.counts.met_outage += u64::from(down);
        down
    }
}

/// Whether a server process lives. Clones are of the same process.
#[derive(Debug, Clone, Default)]
pub struct Life {
    over: Arc<AtomicBool>,
    /// Cancelled when it ends.
    pub ended: CancellationToken,
}

impl Life {
    /// Kills the process.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.ended.cancel();
    }

    /// Whether it was killed.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The storage as one server process sees it.
#[derive(Debug)]
pub struct StoreHandle {
    remote: Arc<Remote>,
    who: String,
    life: Life,
}

impl StoreHandle {
    /// For the process `who`.
    pub fn new(remote: &Arc<Remote>, who: String, life: Life) -> Arc<Self> {
        Arc::new(Self { remote: Arc::clone(remote), who, life })
    }

    /// Nothing ever happens again in a process that is gone.
    async fn live(&self) {
        if self.life.is_over() {
            std::future::pending().await
        }
    }

    /// A request that changes nothing.
    async fn ask<T>(
        &self,
        what: &str,
        path: &str,
        answer: impl FnOnce(&State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.live().await;
        let course = self.remote.course(false);
        self.remote.time.sleep_us(course.there_us).await;
        self.live().await;
        let answer = if self.remote.is_down() {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else if course.fate != Fate::Plain {
            Err(failed())
        } else {
            let mut state = self.remote.state.lock();
            state.counts.operations += 1;
            answer(&state)
        };
        let told = match &answer {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        self.remote.trace.note(format_args!("{} {what} {path} -> {told}", self.who));
        self.remote.time.sleep_us(course.back_us).await;
        self.live().await;
        answer
    }
}

/// The names directly below a folder, sorted.
fn names_below(folder: &str, objects: &BTreeMap<String, Bytes>) -> Vec<String> {
    let prefix = format!("{folder}/");
    let inside = objects.range(prefix.clone()..);
    let inside = inside.map_while(|(path, _)| path.strip_prefix(&prefix));
    let mut names: Vec<String> =
        inside.map(|rest| rest.split_once('/').map_or(rest, |(name, _)| name).to_owned()).collect();
    names.dedup();
    names
}

fn failed() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the simulated storage did not answer")
}

#[async_trait]
impl DurableStore for StoreHandle {
    fn workers(&self) -> Workers {
        Workers::Inline
    }

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        if self.life.is_over() {
            return Err(failed());
        }
        Ok(Box::new(SimStaged {
            remote: Arc::clone(&self.remote),
            life: self.life.clone(),
            who: self.who.clone(),
            path: path.to_owned(),
            bytes: Vec::new(),
        }))
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.live().await;
        let remote = &self.remote;
        let course = remote.course(true);
        remote.time.sleep_us(course.there_us).await;
        if self.life.is_over() {
            remote.state.lock().counts.orphaned += 1;
            if course.outlives_sender && !remote.is_down() {
                remote.put(&self.who, path, bytes, course.fate);
            }
            return std::future::pending().await;
        }
        let answer = if remote.is_down() {
            match course.outlives_sender {
                true => Err(PutError::NotStored(io::ErrorKind::ConnectionRefused.into())),
                false => Err(PutError::Unknown(failed())),
            }
        } else {
            match course.fate {
                Fate::Plain => Ok(remote.put(&self.who, path, bytes, course.fate)),
                Fate::Refused => Err(PutError::NotStored(failed())),
                Fate::LostBefore => Err(PutError::Unknown(failed())),
                Fate::LostAfter => {
                    remote.put(&self.who, path, bytes, course.fate);
                    Err(PutError::Unknown(failed()))
                }
                Fate::NotDurable => match remote.put(&self.who, path, bytes, course.fate) {
                    PutOutcome::Created => Err(PutError::NotDurable(failed())),
                    PutOutcome::Exists => Ok(PutOutcome::Exists),
                },
                Fate::ToldExists => {
                    remote.put(&self.who, path, bytes, course.fate);
                    Ok(PutOutcome::Exists)
                }
                Fate::Late => {
                    let (remote, who) = (Arc::clone(remote), self.who.clone());
                    let path = path.to_owned();
                    tokio::spawn(async move {
                        remote.time.sleep_us(course.late_us).await;
                        if !remote.is_down()
                            && remote.put(&who, &path, bytes, course.fate) == PutOutcome::Created
                        {
                            remote.state.lock().counts.late_puts += 1;
                        }
                    });
                    Err(PutError::Unknown(failed()))
                }
            }
        };
        if let Err(error) = &answer {
            let is_unknown = matches!(error, PutError::Unknown(_) | PutError::NotDurable(_));
            remote.state.lock().counts.ambiguous_puts += u64::from(is_unknown);
            remote
                .trace
                .note(format_args!("{} put {path} {:?} told {error}", self.who, course.fate));
        }
        remote.time.sleep_us(course.back_us).await;
        self.live().await;
        answer
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        let found = |state: &State| match state.objects.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        self.ask("read", path, found).await
    }

    /// No snapshot: of the names that come while the answer is on its way it may have any.
    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let there = |state: &State| Ok(names_below(folder, &state.objects));
        let mut names = self.ask("list", folder, there).await?;
        let State { objects, random, .. } = &mut *self.remote.state.lock();
        let mut late = names_below(folder, objects);
        late.retain(|name| names.binary_search(name).is_err() && random.random());
        names.append(&mut late);
        names.sort_unstable();
        Ok(names)
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        let found = |state: &State| match state.objects.contains_key(path) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        };
        self.ask("sync", path, found).await
    }

    fn space(&self) -> Option<DiskSpace> {
        None
    }

    fn settles_unknown(&self) -> bool {
        self.remote.is_shared
    }

    /// Empty: SQL is not part of the simulation.
    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(InMemory::new())
    }
}

/// A segment on its way. The interface is synchronous, so it takes no virtual time.
#[derive(Debug)]
struct SimStaged {
    remote: Arc<Remote>,
    life: Life,
    who: String,
    path: String,
    bytes: Vec<u8>,
}

impl io::Write for SimStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for SimStaged {
    fn publish(self: Box<Self>) -> io::Result<()> {
        let fails = {
            let mut state = self.remote.state.lock();
            let share = state.weather.segment_fails;
            state.random.random_range(0..1000) < share
        };
        if self.life.is_over() || self.remote.is_down() || fails {
            self.remote.trace.note(format_args!("{} segment {} failed", self.who, self.path));
            return Err(failed());
        }
        self.remote.put(&self.who, &self.path, self.bytes.into(), Fate::Plain);
        Ok(())
    }

    fn discard(self: Box<Self>) {}
}
