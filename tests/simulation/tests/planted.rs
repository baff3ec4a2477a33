//! The tests of the simulation: with any one guard taken away from the product, some seed finds out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use end_to_end::reached;
use simulation::run;
use table_core::guard::Guard;

/// Seeds within which a missing guard must be noticed.
const SEEDS_MAX: u64 = 40;

#[track_caller]
fn assert_found(guard: Guard) {
    let _missing = guard.take_away();
    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, run(seed).violation?)));
    let Some((seed, violation)) = found else {
        panic!("{guard:?} is missing, and {SEEDS_MAX} seeds did not notice");
    };
    let violation: String = violation.chars().take(300).collect();
    reached("planted bug", &format!("without {guard:?} seed {seed} finds: {violation}"));
}

#[test]
fn a_server_that_takes_its_own_record_for_a_rivals_is_found() {
    assert_found(Guard::SelfRecognition);
}

#[test]
fn an_acknowledgement_of_an_unknown_outcome_is_found() {
    assert_found(Guard::KnownOutcome);
}

#[test]
fn a_commit_that_is_not_held_against_the_coverage_is_found() {
    assert_found(Guard::OverlapAtCommit);
}

#[test]
fn a_retry_that_is_not_recognised_is_found() {
    assert_found(Guard::AppendIds);
}

#[test]
fn a_read_that_does_not_look_for_other_servers_is_found() {
    assert_found(Guard::FreshReads);
}
