//! A target under libFuzzer, which keeps what reaches code that no other input reached. `tests/fuzz/guided` builds this with the
//! instructions that count what is reached, and says how it is called.

#![no_main]
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::LazyLock;

use fuzz::{Target, measure, seeds, targets};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name =
        std::env::var("COVERLINE_FUZZ_TARGET").expect("COVERLINE_FUZZ_TARGET names a target");
    let found = targets::ALL.into_iter().find(|target| target.name == name);
    let target = found.unwrap_or_else(|| panic!("there is no target {name:?}"));
    seeds::prepare();
    // libFuzzer's own ends the process at every panic, those that the product catches included.
    measure::note_panics();
    target
});

fuzz_target!(|input: &[u8]| {
    if let Err(broken) = measure::read(&TARGET, input) {
        eprintln!("{}: {broken}", TARGET.name);
        std::process::abort();
    }
});
