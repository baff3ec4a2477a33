//! Running a scenario under many schedules.
//!
//! A seed stands for a hundred schedules, drawn at random where it is even and by probabilistic concurrency testing (PCT: few changes of the
//! task that runs, at the worst moments) where it is odd. A failure prints the seed and the schedule:
//!
//! ```text
//! COVERLINE_SEED=17 cargo test ... --test schedules rivals            # all schedules of that seed
//! COVERLINE_SCHEDULE=910102... cargo test ... --test schedules rivals # that one schedule
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use end_to_end::{SoakTime, reached};
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use table_core::guard::Guard;

use crate::Tally;

/// Schedules that one seed stands for.
const SCHEDULES_PER_SEED: usize = 100;

/// Points at which another task could have gone on, in one schedule at most: more is a livelock.
const STEPS_MAX: usize = 100_000;

/// Stack of a task, in bytes.
const STACK_BYTES: usize = 4 << 20;

/// Runs once for each schedule, as its first task.
pub type Scenario = fn(&Arc<Tally>);

/// Runs a scenario under so many schedules, or for as long as a soak lasts, and asks for everything of `expected` to have happened.
pub fn explore(name: &str, schedules: usize, scenario: Scenario, expected: &[&str]) {
    let soak = SoakTime::start().unwrap();
    let tally = Arc::new(Tally::default());
    if let Ok(schedule) = std::env::var("COVERLINE_SCHEDULE") {
        let replayed = ReplayScheduler::new_from_encoded(&schedule);
        run(replayed, FailurePersistence::None, scenario, &tally);
        return;
    }
    if let Ok(seed) = std::env::var("COVERLINE_SEED") {
        run_seed(seed.parse().unwrap(), FailurePersistence::Print, scenario, &tally);
        return;
    }
    // Of every day the same seeds: what is new is found by the soak.
    let first: u64 = if soak.is_set() { rand::random() } else { 0 };
    let mut explored = 0;
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        if explored >= schedules && !soak.is_left() {
            break;
        }
        let seed_run = || run_seed(seed, FailurePersistence::Print, scenario, &tally);
        match catch_unwind(AssertUnwindSafe(seed_run)) {
            Ok(count) => explored += count,
            Err(panic) => {
                eprintln!(
                    "COVERLINE_SEED={seed} repeats this in {name}, COVERLINE_SCHEDULE the schedule alone"
                );
                resume_unwind(panic);
            }
        }
    }
    reached(&format!("schedules of {name}"), &format!("{explored}, first seed {first}, {tally:?}"));
    for what in expected {
        assert!(tally.of(what) > 0, "too tame: no {what} in {tally:?}");
    }
}

/// Runs a scenario without a guard until a schedule fails, and says how many seeds that took and what was found.
pub fn find(guard: Guard, seeds_max: u64, scenario: Scenario) -> Option<(u64, String)> {
    let _missing = guard.take_away();
    let tally = Arc::new(Tally::default());
    (0..seeds_max).find_map(|seed| {
        let seed_run = || run_seed(seed, FailurePersistence::None, scenario, &tally);
        let panic = catch_unwind(AssertUnwindSafe(seed_run)).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Some((seed, text.unwrap_or_default()))
    })
}

/// Runs so many schedules twice each, and fails where the second run had other choices than the first: then something else than
/// the schedule decided, and no failure could be repeated.
pub fn repeat(schedules: usize, scenario: Scenario) {
    let random = RandomScheduler::new_from_seed(0, schedules);
    let twice = UncontrolledNondeterminismCheckScheduler::new(random);
    run(twice, FailurePersistence::None, scenario, &Arc::default());
}

fn run_seed(
    seed: u64,
    persistence: FailurePersistence,
    scenario: Scenario,
    tally: &Arc<Tally>,
) -> usize {
    if seed.is_multiple_of(2) {
        let random = RandomScheduler::new_from_seed(seed, SCHEDULES_PER_SEED);
        run(random, persistence, scenario, tally)
    } else {
        // One to five changes of the task that runs.
        let depth = 2 + usize::try_from(seed / 2 % 5).unwrap();
        let pct = PctScheduler::new_from_seed(seed, depth, SCHEDULES_PER_SEED);
        run(pct, persistence, scenario, tally)
    }
}

fn run(
    scheduler: impl Scheduler + 'static,
    persistence: FailurePersistence,
    scenario: Scenario,
    tally: &Arc<Tally>,
) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = persistence;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    let tally = Arc::clone(tally);
    Runner::new(scheduler, config).run(move || scenario(&tally))
}
