//! Everything of Coverline that reads bytes of others, fed with bytes that nobody would send. No panic may escape, nothing may
//! abort, and an input costs a bounded time and memory.
//!
//! A [`Target`] takes bytes and holds what becomes of them against what is promised. `targets` has all of them, `corpus` the
//! inputs that are kept, `mutate` makes new ones of those, `measure` says what one costs, and `hunt` does all that for some
//! inputs every day and for a given time at night. The program `guided` hands the same targets to libFuzzer, which looks for
//! inputs that reach code which no other reached. `seeds` makes the first inputs of each target, with the product.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "all of it is a test"
)]

pub mod corpus;
pub mod hunt;
pub mod measure;
pub mod mutate;
pub mod seeds;
pub mod targets;

use rand::rngs::StdRng;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused.
    Refused,
    /// It was understood, and all that was promised of it held.
    Taken,
}

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its folder in the corpus.
    pub name: &'static str,
    /// Reads an input; panics when a promise is broken.
    pub read: fn(&[u8]) -> Outcome,
    /// Changes an input into one like it.
    pub mutate: fn(&mut StdRng, &mut Vec<u8>),
    /// New inputs that are tried every day.
    pub inputs: usize,
    /// Longest input, bytes.
    pub bytes_max: usize,
}
