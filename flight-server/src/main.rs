//! The `coverline` binary.

use std::process::ExitCode;

/// Record batches are large and short-lived; mimalloc makes the wire paths up to twice as fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flight_server::cli::main()
}
