//! What a passing test has to say: that it proved nothing here, or how far it got.
//!
//! `cargo test` swallows the output of a test that passes, so each line also goes to the file named by `COVERLINE_NOTES`, which
//! `tests/run` and `tests/soak` show in their summaries.

use std::io::Write;

/// Says that something could not be shown here, and why.
pub fn skipped(what: &str, why: &str) {
    note(&format!("SKIPPED {what}: {why}"));
}

/// Says what a run reached, so that a tame one is visible.
pub fn reached(what: &str, counts: &str) {
    note(&format!("{what}: {counts}"));
}

#[allow(clippy::print_stdout, reason = "for whoever runs the test by itself")]
fn note(line: &str) {
    println!("{line}");
    let Some(path) = std::env::var_os("COVERLINE_NOTES") else { return };
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        println!("COVERLINE_NOTES cannot be written: {error}");
    }
}
