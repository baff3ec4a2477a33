//! C1 to C4, C6 to C8, C15 to C17 under everything that the simulation does, seed by seed; and that a seed decides everything.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use end_to_end::{SoakTime, reached};
use simulation::{Counts, difference, run};

/// Seeds of an ordinary run.
const SEEDS: u64 = 50;

/// Runs a seed twice and holds both against each other.
fn twice(seed: u64) -> Counts {
    let first = run(seed);
    if let Some(violation) = &first.violation {
        let trace = first.trace.join("\n");
        panic!("COVERLINE_SEED={seed}: {violation}\n{trace}");
    }
    let second = run(seed);
    if let Some(difference) = difference(&first.trace, &second.trace) {
        panic!("COVERLINE_SEED={seed}: two runs differ in {difference}");
    }
    first.counts
}

#[test]
fn every_seed_keeps_the_promises_and_repeats_itself() {
    let soak = SoakTime::start().unwrap();
    let mut total = Counts::default();
    if let Ok(seed) = std::env::var("COVERLINE_SEED") {
        total += twice(seed.parse().unwrap());
        println!("{total:#?}");
        return;
    }
    // Of every day the same seeds: what is new is found by the soak.
    let first: u64 = if soak.is_set() { rand::random() } else { 0 };
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        if total.seeds >= SEEDS && !soak.is_left() {
            break;
        }
        total += twice(seed);
    }
    reached("simulation", &format!("{total:?}, first seed {first}, each twice"));
    for (what, count) in total.all() {
        assert!(count > 0, "too tame: no {what} in {total:?}");
    }
}
