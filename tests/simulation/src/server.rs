//! One server of a run: the real catalog and the real Flight service over the simulated storage, started again whenever it
//! crashes or ends itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use end_to_end::Client;
use flight_server::config::ServerConfig;
use flight_server::server::serve_catalog;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::clock::Clock;
use table_core::{Catalog, CatalogOptions, ErrorKind};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Endpoint, Uri};

use crate::cable::{self, Cable};
use crate::clock::SimClock;
use crate::data;
use crate::store::{Life, StoreHandle};
use crate::world::{TABLE, World};

/// How far a wall clock jumps at most: ten years, in microseconds.
const JUMP_US: i64 = 10 * 365 * 24 * 3600 * 1_000_000;

/// How long a server that must end lets calls in flight finish, in microseconds.
const DRAIN_US: u64 = 50_000;

/// After this long a server that is opening the root may be killed, in microseconds.
const OPENING_US: Range<u64> = 0..50_000;

/// How long a server is away, in microseconds.
const DOWN_US: Range<u64> = 1_000..100_000;

/// How long a wall clock goes without a jump, in microseconds.
const JUMP_EVERY_US: Range<u64> = 20_000..500_000;

/// A server process that serves.
#[derive(Debug, Clone)]
pub struct Running {
    /// How often the server was started before.
    pub start: u32,
    /// The root.
    pub catalog: Arc<Catalog>,
    /// Until when.
    pub life: Life,
    connections: mpsc::UnboundedSender<io::Result<Cable>>,
}

impl Running {
    /// A connection of a client of its own.
    pub fn connect(&self) -> Client {
        let (connections, life) = (self.connections.clone(), self.life.clone());
        let channel = Endpoint::from_static("http://simulation").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let (here, there) = cable::pair(&life.ended);
                let sent = connections.send(Ok(there));
                async move {
                    sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                    io::Result::Ok(TokioIo::new(here))
                }
            }),
        );
        Client::over(channel)
    }
}

/// Where clients find a server. Those who wait are woken in the order in which they came, which those of tokio's own watch
/// channel are not.
#[derive(Debug, Default)]
pub struct Address {
    running: Mutex<Option<Running>>,
    changed: Notify,
}

impl Address {
    /// The process that serves now.
    pub fn current(&self) -> Option<Running> {
        self.running.lock().clone()
    }

    /// The process that serves now, or the next.
    pub async fn running(&self) -> Running {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(running) = self.current() {
                return running;
            }
            changed.await;
        }
    }

    fn set(&self, running: Option<Running>) {
        *self.running.lock() = running;
        self.changed.notify_waiters();
    }
}

/// Runs server `index` until the run is over.
pub async fn keep_running(world: Arc<World>, index: usize) {
    let mut random = StdRng::seed_from_u64(world.seed_of(&format!("server {index}")));
    let address = &world.addresses[index];
    for start in 0.. {
        let process = Process::new(Arc::clone(&world), index, start, &mut random);
        if let Err(broken) = process.run(&mut random, address).await {
            world.violated(format!("{}: {broken}", process.who));
        }
        address.set(None);
        process.life.end();
        world.trace.note(format_args!("{} is gone", process.who));
        if world.is_over() {
            return;
        }
        world.time.sleep_us(random.random_range(DOWN_US)).await;
    }
}

/// One start of a server.
struct Process {
    world: Arc<World>,
    who: String,
    start: u32,
    life: Life,
    clock: Arc<SimClock>,
}

impl Process {
    fn new(world: Arc<World>, index: usize, start: u32, random: &mut StdRng) -> Self {
        let clock = Arc::new(SimClock::new(world.time.clone(), random.random()));
        if random.random_bool(0.3) {
            clock.jump(random.random_range(-JUMP_US..JUMP_US));
        }
        Self { world, who: format!("s{index}.{start}"), start, life: Life::default(), clock }
    }

    /// Opens the root and serves it until it crashes, or until it knows itself that it must end.
    async fn run(&self, random: &mut StdRng, address: &Address) -> Result<(), String> {
        let world = &self.world;
        let opening_us = match random.random_bool(0.15) {
            true => random.random_range(OPENING_US),
            false => u64::MAX >> 1,
        };
        let opened = tokio::select! {
            biased;
            opened = self.open() => opened,
            () = world.unless_calm(opening_us) => {
                world.count(|counts| counts.crashes_while_opening += 1);
                return Ok(());
            }
        };
        let catalog = match opened {
            Ok(catalog) => catalog,
            // The storage did not answer, or two servers made the root at the same time.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Indeterminate
                ) =>
            {
                world.count(|counts| counts.failed_starts += 1);
                return Ok(());
            }
            Err(error) => return Err(format!("the root does not open: {error}")),
        };

        let (connections, incoming) = mpsc::unbounded_channel();
        let served = Arc::clone(&catalog);
        let serving = tokio::spawn(async move {
            let config = ServerConfig::new("");
            let incoming = UnboundedReceiverStream::new(incoming);
            serve_catalog(incoming, served, &config, std::future::pending()).await
        });
        let alarm = catalog.alarm().clone();
        let mut crash = std::pin::pin!(world.unless_calm(world.plan.lifetime_us(random)));
        world.trace.note(format_args!("{} serves", self.who));
        address.set(Some(Running {
            start: self.start,
            catalog,
            life: self.life.clone(),
            connections,
        }));
        loop {
            let jump = world.unless_calm(random.random_range(JUMP_EVERY_US));
            tokio::select! {
                biased;
                _reason = alarm.raised() => {
                    world.count(|counts| counts.servers_ended_themselves += 1);
                    world.trace.note(format_args!("{} ends itself", self.who));
                    world.time.sleep_us(random.random_range(0..DRAIN_US)).await;
                    break;
                }
                () = &mut crash => {
                    world.count(|counts| counts.crashes += 1);
                    break;
                }
                () = world.over() => break,
                () = jump => {
                    world.count(|counts| counts.clock_jumps += 1);
                    self.clock.jump(random.random_range(-JUMP_US..JUMP_US));
                }
            }
        }
        serving.abort();
        Ok(())
    }

    /// Opens the root, and the table that everybody appends to.
    async fn open(&self) -> table_core::Result<Arc<Catalog>> {
        let world = &self.world;
        let store = StoreHandle::new(&world.remote, self.who.clone(), self.life.clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let access = world.plan.access();
        let options = CatalogOptions { clock, access, ..CatalogOptions::default() };
        let catalog = Catalog::over(store, options).await?;
        let table = match catalog.fresh_table(TABLE, Duration::ZERO).await {
            Err(error) if error.kind() == ErrorKind::NotFound && world.plan.starts_empty => {
                match catalog.create_table(TABLE, data::spec(), None, "").await {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        world.count(|counts| counts.creations_lost += 1);
                        catalog.table(TABLE).await?
                    }
                    created => created?,
                }
            }
            found => found?,
        };
        if table.snapshot().version.0 > world.newest_acknowledged() {
            world.count(|counts| counts.rolled_forward += 1);
        }
        Ok(catalog)
    }
}
