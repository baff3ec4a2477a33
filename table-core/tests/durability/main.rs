//! What happens to a root when something ends in the middle or a byte changes: crashes, callers that go away, damaged files,
//! file systems that refuse, clocks that jump, files written by other versions.
//!
//! `crash` runs random sequences (`sequence`) and tries their crash points (`states`) on a simulated disk, `cancellation` drops
//! appends at every await, `corruption` damages every byte, `bad_input` has surroundings that are wrong, `golden` opens roots
//! that released versions wrote. `model` says what should be there, `root` reads what is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod bad_input;
mod cancellation;
mod corruption;
mod crash;
mod golden;
mod model;
mod root;
mod sequence;
mod states;

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
