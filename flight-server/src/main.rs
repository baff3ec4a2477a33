//! The `coverline` binary.

use std::process::ExitCode;

/// Record batches are large and short-lived: the wire paths are up to twice as fast as with the allocator of most systems, and
/// what is freed goes back to the system within half a second, as `.cargo/config.toml` has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    flight_server::cli::main()
}
