//! The `coverline` binary.

fn main() {}
