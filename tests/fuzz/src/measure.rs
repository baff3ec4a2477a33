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

/// What a tick of the process's clock in `/proc` is.
const TICK: Duration = Duration::from_millis(10);

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
    let cost = read_once(target, input, Instant::now, |started| started.elapsed())?;
    if cost.time <= TIME_MAX {
        return Ok(cost);
    }
    // Others work on the same machine: what counts is the time that this process had.
    let cost = read_once(target, input, cpu_time, |started| cpu_time().saturating_sub(started))?;
    match cost.time <= TIME_MAX {
        true => Ok(cost),
        false => Err(format!("it took too long: {cost:?}")),
    }
}

fn read_once<C>(
    target: &Target,
    input: &[u8],
    start: impl FnOnce() -> C,
    elapsed: impl FnOnce(C) -> Duration,
) -> Result<Cost, String> {
    let started = start();
    let before = MEMORY.current_usage();
    PEAK_BEFORE.store(0, Ordering::Relaxed);
    MEMORY.reset_peak_usage();
    READING.store(true, Ordering::Relaxed);
    let ran = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    READING.store(false, Ordering::Relaxed);
    let peak = MEMORY.peak_usage().max(PEAK_BEFORE.load(Ordering::Relaxed));
    let (time, memory_bytes) = (elapsed(started), peak.saturating_sub(before));
    let Ok(outcome) = ran else { return Err(LAST_PANIC.lock().clone()) };
    if memory_bytes > MEMORY_BYTES_MAX {
        return Err(format!("it took {memory_bytes} bytes of memory"));
    }
    Ok(Cost { outcome, time, memory_bytes })
}

/// Time that all threads of this process had so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the process may hold anything, and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |field: &str| field.parse::<u32>().unwrap();
    let (user, system) = (11, 12);
    let fields: Vec<_> = fields.split_whitespace().collect();
    TICK * (ticks(fields[user]) + ticks(fields[system]))
}
