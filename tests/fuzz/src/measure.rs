//! What reading an input costs: time, and memory at its peak.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use peak_alloc::PeakAlloc;

use crate::{Outcome, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What an input may allocate on top of what was allocated before, bytes.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;

/// What an input may take, in a build without optimisation.
pub const TIME_MAX: Duration = Duration::from_secs(1);

/// How often an input that took longer is timed, since others work on the same machine.
const TIMINGS: usize = 3;

/// Memory is counted for the whole process, so inputs are read one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The last panic of any thread, those that the product caught included.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// The peak before it was reset for a part of the same input.
static PEAK_BEFORE: AtomicUsize = AtomicUsize::new(0);

/// Bytes that a part of a target allocates at its peak.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    PEAK_BEFORE.fetch_max(MEMORY.peak_usage(), Ordering::Relaxed);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let done = work();
    (done, MEMORY.peak_usage().saturating_sub(before))
}

/// Whether an input is being read.
static READING: AtomicBool = AtomicBool::new(false);

/// Keeps panics off the terminal while an input is read: most are caught by the product, and the others are reported with it.
pub fn note_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| match READING.load(Ordering::Relaxed) {
            true => *LAST_PANIC.lock() = panic.to_string(),
            false => others(panic),
        }));
    });
}

/// What reading an input cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
    /// What it allocated at its peak.
    pub memory_bytes: usize,
}

/// Reads an input.
///
/// # Errors
/// What was promised and did not hold.
pub fn read(target: &Target, input: &[u8]) -> Result<Cost, String> {
    note_panics();
    let _alone = ALONE.lock();
    let mut fastest: Option<Cost> = None;
    for _ in 0..TIMINGS {
        let started = Instant::now();
        let before = MEMORY.current_usage();
        PEAK_BEFORE.store(0, Ordering::Relaxed);
        MEMORY.reset_peak_usage();
        READING.store(true, Ordering::Relaxed);
        let ran = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
        READING.store(false, Ordering::Relaxed);
        let peak = MEMORY.peak_usage().max(PEAK_BEFORE.load(Ordering::Relaxed));
        let (time, memory_bytes) = (started.elapsed(), peak.saturating_sub(before));
        let Ok(outcome) = ran else { return Err(LAST_PANIC.lock().clone()) };
        if memory_bytes > MEMORY_BYTES_MAX {
            return Err(format!("it took {memory_bytes} bytes of memory"));
        }
        let cost = Cost { outcome, time, memory_bytes };
        fastest = Some(fastest.filter(|fastest| fastest.time <= time).unwrap_or(cost));
        if time <= TIME_MAX {
            break;
        }
    }
    match fastest {
        Some(cost) if cost.time <= TIME_MAX => Ok(cost),
        other => Err(format!("it took too long: {other:?}")),
    }
}
