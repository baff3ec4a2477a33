//! Structured logs, on stderr: stdout belongs to command output.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{fmt, prelude::*};

/// What is logged when `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,datafusion=warn,h2=warn,hyper=warn,tower=warn";

/// Starts logging for the whole process: text, or one JSON object per line. `RUST_LOG` overrides the levels.
///
/// # Errors
/// When the process logs already.
pub fn init(json: bool) -> Result<(), TryInitError> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(fmt::layer().json().with_writer(io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_writer(io::stderr)).try_init()
    }
}
