//! The protocol holds in every interleaving, and without any one of its guards the checker finds out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use model::{ACKED_STAYS, AT_MOST_ONCE, ONE_OWNER, ROWS_ARE_THERE, Rules};
use stateright::{Checker, Model};

/// States that a model must reach at least: fewer would mean that it has become too tame.
const STATES_MIN: usize = 10_000;

fn check_holds(rules: Rules) {
    let checker = rules.clone().checker().threads(2).spawn_bfs().join();
    println!("{} states of {rules:?}", checker.unique_state_count());
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(checker.unique_state_count() >= STATES_MIN, "{}", checker.unique_state_count());
}

#[track_caller]
fn check_breaks(rules: Rules, property: &'static str) {
    let checker = rules.checker().threads(2).spawn_bfs().join();
    let found = checker.discovery(property);
    let path = found.unwrap_or_else(|| panic!("\"{property}\" holds, so the guard is not needed"));
    println!("\"{property}\" breaks after {:?}", path.into_actions());
}

#[test]
fn the_protocol_holds() {
    check_holds(Rules::shipped(false));
    check_holds(Rules::shipped(true));
}

#[test]
fn it_holds_when_slots_are_deleted_and_writers_prove_theirs() {
    check_holds(Rules::deleting_slots(false));
    check_holds(Rules::deleting_slots(true));
}

/// C9: a writer that stalls until its slot was deleted publishes into the past (SlateDB #352).
#[test]
fn without_proof_a_stalled_writer_is_told_a_lie() {
    check_breaks(Rules { proves_slot: false, ..Rules::deleting_slots(false) }, ACKED_STAYS);
}

/// C5: a writer that takes its own record for a rival's appends twice.
#[test]
fn without_self_recognition_an_append_is_there_twice() {
    check_breaks(Rules { recognises_itself: false, ..Rules::shipped(false) }, AT_MOST_ONCE);
}

/// C9: a vacuum without a version of its own deletes the file of a stalled writer, who then commits it.
#[test]
fn without_a_version_of_its_own_the_vacuum_takes_rows_away() {
    check_breaks(Rules { vacuum_takes_a_version: false, ..Rules::shipped(false) }, ROWS_ARE_THERE);
}

/// C9: a file that is still there when its writer looks may be gone when its record is.
#[test]
fn without_names_in_the_vacuums_record_a_writer_looks_too_early() {
    check_breaks(Rules { vacuum_names_files: false, ..Rules::shipped(false) }, ROWS_ARE_THERE);
}

/// C3: cleaning up after an unknown outcome takes the rows of a commit that happened.
#[test]
fn cleaning_up_after_an_unknown_outcome_takes_rows_away() {
    check_breaks(
        Rules { keeps_files_when_unknown: false, ..Rules::shipped(false) },
        ROWS_ARE_THERE,
    );
}

/// C6: the check of coverage and the PUT are one step only because the slot is the one after the version checked.
#[test]
fn a_pair_never_gets_two_owners_even_when_other_guards_are_gone() {
    let rules = Rules { vacuum_takes_a_version: false, ..Rules::shipped(true) };
    let checker = rules.checker().threads(2).spawn_bfs().join();
    assert!(checker.discovery(ONE_OWNER).is_none());
}
