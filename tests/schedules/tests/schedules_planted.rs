//! The tests of the exploration: with any one guard taken away from the product, some order of events is found that shows it; and
//! a schedule decides everything, so that what was found can be repeated.

#![allow(clippy::panic, reason = "tests")]

use end_to_end::reached;
use schedules::{Scenario, appends, catalog, commits, find, moments, repeat, rivals, stops};
use table_core::guard::Guard;

/// Seeds within which a missing guard must be noticed.
const SEEDS_MAX: u64 = 50;

/// Schedules that are run twice.
const REPEATED: usize = 20;

#[track_caller]
fn assert_found(guard: Guard, scenario: Scenario) {
    let Some((seed, text)) = find(guard, SEEDS_MAX, scenario) else {
        panic!("{guard:?} is missing, and {SEEDS_MAX} seeds did not notice");
    };
    let text: String = text.chars().take(200).collect();
    reached("planted bug", &format!("without {guard:?} seed {seed} finds: {text}"));
}

#[test]
fn a_state_that_is_shown_before_its_record_is_durable_is_found() {
    assert_found(Guard::DurableBeforeVisible, commits);
}

#[test]
fn an_answer_before_the_state_is_visible_is_found() {
    assert_found(Guard::VisibleBeforeAnswered, commits);
}

#[test]
fn a_state_that_goes_back_is_found() {
    assert_found(Guard::NeverBack, rivals);
}

#[test]
fn a_commit_that_ends_with_its_caller_is_found() {
    assert_found(Guard::DetachedCommits, commits);
}

#[test]
fn a_wake_up_that_is_lost_is_found() {
    assert_found(Guard::EveryTurn, commits);
}

#[test]
fn an_append_that_is_not_held_against_the_coverage_is_found() {
    assert_found(Guard::OverlapAtCommit, appends);
}

#[test]
fn a_retry_that_is_not_recognised_is_found() {
    assert_found(Guard::AppendIds, appends);
}

#[test]
fn a_read_that_does_not_look_for_the_other_server_is_found() {
    assert_found(Guard::FreshReads, rivals);
}

#[test]
fn tables_that_are_not_of_one_moment_are_found() {
    assert_found(Guard::OneMoment, moments);
}

#[test]
fn a_schedule_decides_everything() {
    for scenario in [commits, rivals, appends, stops, catalog, moments] {
        repeat(REPEATED, scenario);
    }
}
