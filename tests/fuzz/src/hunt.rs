//! Trying inputs: all that are kept, then new ones, from a seed that is printed.
//!
//! What ends the process leaves its input in the file `current`, behind its length in eight bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use end_to_end::{SoakTime, reached};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::measure::{self, Cost};
use crate::{Outcome, Target, corpus, seeds};

/// Seed of every day.
const SEED: u64 = 20_261_126;

/// Inputs that new ones are made of, at most.
const POOL_MAX: usize = 512;

/// Stack of the thread that reads, bytes: that of the threads which serve.
const STACK_BYTES: usize = 16 << 20;

/// An input that is read for so long is never done.
const HANG_TIME: Duration = Duration::from_secs(120);

/// How long an input that broke something is made shorter.
const SHRINK_TIME: Duration = Duration::from_secs(5);

/// What was tried, and the highest costs.
#[derive(Debug, Default)]
struct Tally {
    kept: usize,
    new: usize,
    taken: usize,
    refused: usize,
    slowest: Duration,
    memory_bytes_max: usize,
}

impl Tally {
    fn add(&mut self, cost: Cost) {
        match cost.outcome {
            Outcome::Taken => self.taken += 1,
            Outcome::Refused => self.refused += 1,
        }
        self.slowest = self.slowest.max(cost.time);
        self.memory_bytes_max = self.memory_bytes_max.max(cost.memory_bytes);
    }
}

/// Where inputs of a target are left that broke something.
fn outside(folder: &Path, target: &Target) -> PathBuf {
    let folder = folder.join("fuzz").join(target.name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Tries the kept inputs and as many new ones as every day, or new ones for the time of a soak. Says how far it got. What broke
/// something is left below `folder`.
///
/// # Panics
/// When an input broke a promise, with the place of that input.
pub fn hunt(target: &'static Target, folder: &Path) {
    seeds::prepare();
    let soak = SoakTime::start().unwrap();
    let seed = match std::env::var("COVERLINE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) if soak.is_set() => rand::random(),
        Err(_) => SEED,
    };
    let outside = outside(folder, target);
    let current = outside.join(format!("current-{}", std::process::id()));
    let (beat, beats) = mpsc::channel();
    let file = File::create(&current).unwrap();
    let hunting = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || search(target, seed, soak, &outside, &file, &beat))
        .unwrap();
    loop {
        match beats.recv_timeout(HANG_TIME) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // Nothing ends a thread but the end of the process.
                eprintln!("{}: COVERLINE_SEED={seed}: {current:?} is never done", target.name);
                std::process::abort();
            }
        }
    }
    let tally = match hunting.join().unwrap() {
        Ok(tally) => tally,
        Err(broken) => panic!("{}: COVERLINE_SEED={seed}: {broken}", target.name),
    };
    fs::remove_file(current).unwrap();
    reached(target.name, &format!("{tally:?}, seed {seed}"));
    assert!(tally.taken > 0 && tally.refused > 0, "too tame: {}: {tally:?}", target.name);
}

fn search(
    target: &Target,
    seed: u64,
    soak: SoakTime,
    outside: &Path,
    current: &File,
    beat: &mpsc::Sender<()>,
) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let try_one = |input: &[u8]| {
        // One write into a file that is there: making and cutting files waits for the disk.
        let length = (input.len() as u64).to_le_bytes();
        current.write_all_at(&[&length[..], input].concat(), 0).unwrap();
        let cost = measure::read(target, input);
        // Nobody listens any more when the process is about to end.
        let _unheard = beat.send(());
        cost
    };
    let mut pool = Vec::new();
    for kept in corpus::kept(target) {
        let cost = try_one(&kept.bytes).map_err(|broken| format!("{:?}: {broken}", kept.path))?;
        tally.add(cost);
        tally.kept += 1;
        pool.push(kept.bytes);
    }
    let mut random = StdRng::seed_from_u64(seed);
    while tally.new < target.inputs || soak.is_left() {
        let input = new_input(target, &pool, &mut random);
        let cost = match try_one(&input) {
            Ok(cost) => cost,
            Err(broken) => return Err(report(target, outside, input, &broken)),
        };
        tally.add(cost);
        tally.new += 1;
        if cost.outcome == Outcome::Taken {
            match pool.len() {
                ..POOL_MAX => pool.push(input),
                _ => *pool.get_mut(random.random_range(tally.kept..POOL_MAX)).unwrap() = input,
            }
        }
    }
    Ok(tally)
}

fn new_input(target: &Target, pool: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = pool.choose(random).unwrap().clone();
    if random.random_range(0..8) == 0 {
        // The head of one, the tail of another.
        let other = pool.choose(random).unwrap();
        let (head, tail) =
            (random.random_range(0..=input.len()), random.random_range(0..=other.len()));
        input.truncate(head);
        input.extend_from_slice(&other[tail..]);
    }
    (target.mutate)(random, &mut input);
    input.truncate(target.bytes_max);
    input
}

/// Makes an input that broke something as short as time allows, keeps it, and says where.
fn report(target: &Target, outside: &Path, input: Vec<u8>, broken: &str) -> String {
    let (mut input, mut broken) = (input, broken.to_owned());
    let until = Instant::now() + SHRINK_TIME;
    let mut stretch = input.len() / 2;
    while stretch > 0 && Instant::now() < until {
        let mut at = 0;
        while at < input.len() && Instant::now() < until {
            let mut shorter = input.clone();
            shorter.drain(at..(at + stretch).min(input.len()));
            match measure::read(target, &shorter) {
                Ok(_) => at += stretch,
                Err(still) => (input, broken) = (shorter, still),
            }
        }
        stretch /= 2;
    }
    let digest = blake3::hash(&input).to_hex();
    let path = outside.join(format!("found-{}", &digest[..16]));
    fs::write(&path, &input).unwrap();
    format!(
        "{broken}\nan input of {} bytes does it: {path:?}; once it is repaired, keep the input in {:?}",
        input.len(),
        corpus::folder(target)
    )
}
