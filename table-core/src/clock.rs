//! The only doors to time and randomness, so that a test can close them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Wall clock and source of random ids.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall-clock time, microseconds since the Unix epoch; negative before it.
    fn now_us(&self) -> i64;

    /// A fresh random 128-bit id.
    fn new_id(&self) -> Uuid;
}

/// The machine's clock and random source.
#[derive(Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system clock behind the trait.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        }
    }

    fn new_id(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A clock that ticks one microsecond a call and ids that count up from a seed: for tests that must repeat.
#[derive(Debug)]
pub struct SeededClock {
    seed: u64,
    ticks: AtomicU64,
}

impl SeededClock {
    /// A clock whose every answer follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, ticks: AtomicU64::new(0) }
    }
}

impl Clock for SeededClock {
    fn now_us(&self) -> i64 {
        i64::try_from(self.ticks.fetch_add(1, Ordering::Relaxed)).unwrap_or(i64::MAX)
    }

    fn new_id(&self) -> Uuid {
        Uuid::from_u64_pair(self.seed, self.ticks.fetch_add(1, Ordering::Relaxed))
    }
}
