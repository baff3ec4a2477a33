//! [`SimClock`]: a server's wall clock, which may be wrong and may jump, and ids drawn from the seed.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::clock::Clock;
use uuid::Uuid;

use crate::time::VirtualTime;

/// Wall-clock time at the start of a run, microseconds since the epoch.
const START_US: i64 = 1_700_000_000_000_000;

/// The clock of one server process.
#[derive(Debug)]
pub struct SimClock {
    time: VirtualTime,
    offset_us: AtomicI64,
    ids: Mutex<StdRng>,
}

impl SimClock {
    /// A clock that is right, for now. `seed` is that of its ids.
    pub fn new(time: VirtualTime, seed: u64) -> Self {
        Self { time, offset_us: AtomicI64::default(), ids: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// Steps the wall clock.
    pub fn jump(&self, by_us: i64) {
        self.offset_us.fetch_add(by_us, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> i64 {
        START_US + self.time.now_us() as i64 + self.offset_us.load(Ordering::Relaxed)
    }

    fn new_id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.ids.lock().random()).into_uuid()
    }
}
