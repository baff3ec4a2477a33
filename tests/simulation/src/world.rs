//! [`World`]: what all actors of one run share, and [`Plan`], what is drawn from the seed before it starts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use end_to_end::history::{Key, Moment};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::Access;
use tokio_util::sync::CancellationToken;

use crate::counts::Counts;
use crate::server::Address;
use crate::store::{Remote, Weather};
use crate::time::VirtualTime;
use crate::trace::Trace;

/// The table that everybody appends to.
pub const TABLE: &str = "h";

/// A run's size and dangers. Every seed leaves some of them out, so that the others show what they do alone.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Servers on the root. One has it alone, as on a disk; several share it, as in an object store.
    pub servers: usize,
    /// Whether the servers make root and table, and not somebody else before.
    pub starts_empty: bool,
    /// Clients.
    pub clients: usize,
    /// Calls of each, retries not counted.
    pub calls: usize,
    /// What goes wrong in the storage.
    pub weather: Weather,
    /// About how long a server lives, in microseconds.
    lifetime_us: u64,
    /// Whether the storage goes down now and then.
    pub outages: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut share = |max: u32| match random.random_bool(0.6) {
            true => random.random_range(1..=max),
            false => 0,
        };
        let mut weather = Weather {
            refused: share(30),
            lost_before: share(40),
            lost_after: share(60),
            late: share(40),
            told_exists: share(60),
            not_durable: share(10),
            read_fails: share(25),
            slow: share(60),
            segment_fails: share(100),
        };
        let servers = random.random_range(1..=3);
        if servers > 1 {
            weather.not_durable = 0;
        }
        Self {
            servers,
            starts_empty: random.random_bool(0.3),
            clients: random.random_range(3..=6),
            calls: random.random_range(8..=16),
            weather,
            lifetime_us: random.random_range(30_000..400_000),
            outages: random.random_bool(0.6),
        }
    }

    /// How a server holds the root.
    pub fn access(&self) -> Access {
        match self.servers {
            1 => Access::Exclusive,
            _ => Access::Shared,
        }
    }

    /// How long one server process lives.
    pub fn lifetime_us(&self, random: &mut StdRng) -> u64 {
        random.random_range(0..2 * self.lifetime_us)
    }
}

/// Everything that is shared.
#[derive(Debug)]
pub struct World {
    /// The seed that all of it follows from.
    pub seed: u64,
    /// What was drawn from it.
    pub plan: Plan,
    /// The clock of the run.
    pub time: VirtualTime,
    /// What happened.
    pub trace: Trace,
    /// The storage.
    pub remote: Arc<Remote>,
    /// Where the servers are.
    pub addresses: Vec<Address>,
    moments: AtomicU64,
    newest_acknowledged: AtomicU64,
    counts: Mutex<Counts>,
    calm: AtomicBool,
    over: CancellationToken,
    broken: CancellationToken,
    violation: Mutex<Option<String>>,
    /// Rows of segments by path: they never change, so they are decoded once.
    pub(crate) segments: Mutex<BTreeMap<String, Arc<BTreeMap<Key, u64>>>>,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(seed: u64, time: VirtualTime, plan: Plan) -> Arc<Self> {
        let trace = Trace::new(time.clone());
        let is_shared = plan.servers > 1;
        let remote = Remote::new(time.clone(), trace.clone(), mixed(seed, "storage"), is_shared);
        let addresses = (0..plan.servers).map(|_| Address::default()).collect();
        Arc::new(Self {
            seed,
            plan,
            time,
            trace,
            remote,
            addresses,
            moments: AtomicU64::new(1),
            newest_acknowledged: AtomicU64::default(),
            counts: Mutex::default(),
            calm: AtomicBool::default(),
            over: CancellationToken::new(),
            broken: CancellationToken::new(),
            violation: Mutex::default(),
            segments: Mutex::default(),
        })
    }

    /// A seed for one of the actors.
    pub fn seed_of(&self, actor: &str) -> u64 {
        mixed(self.seed, actor)
    }

    /// The next moment of the history.
    pub fn moment(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers that a version was acknowledged.
    pub fn acknowledged(&self, version: u64) {
        self.newest_acknowledged.fetch_max(version, Ordering::Relaxed);
    }

    /// The newest version that any client knows of.
    pub fn newest_acknowledged(&self) -> u64 {
        self.newest_acknowledged.load(Ordering::Relaxed)
    }

    /// Counts something.
    pub fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.counts.lock());
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let mut counts = *self.counts.lock();
        counts.store = self.remote.counts();
        counts
    }

    /// A promise was broken. The first is kept.
    pub fn violated(&self, how: String) {
        self.trace.note(format_args!("VIOLATION {how}"));
        self.violation.lock().get_or_insert(how);
        self.broken.cancel();
    }

    /// Ends when a promise was broken: what comes after that may never end.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// The promise that was broken first.
    pub fn violation(&self) -> Option<String> {
        self.violation.lock().clone()
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.remote.set_weather(Weather::default());
        self.remote.set_down(false);
        self.trace.note(format_args!("calm"));
    }

    /// Whether that is so.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Ends after a delay, but never once it is calm.
    pub async fn unless_calm(&self, delay_us: u64) {
        self.time.sleep_us(delay_us).await;
        if self.is_calm() {
            std::future::pending().await
        }
    }

    /// Ends when the run does.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Ends the run: the servers stop and do not come back.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Takes the storage down now and then, for a while.
    pub async fn take_storage_down_now_and_then(self: Arc<Self>) {
        let mut random = StdRng::seed_from_u64(self.seed_of("outages"));
        loop {
            self.unless_calm(random.random_range(50_000..700_000)).await;
            self.remote.set_down(true);
            self.count(|counts| counts.storage_restarts += 1);
            self.unless_calm(random.random_range(5_000..150_000)).await;
            self.remote.set_down(false);
        }
    }
}

/// A seed that depends on the name too: FNV-1a.
fn mixed(seed: u64, name: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
