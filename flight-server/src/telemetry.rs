//! Structured logs, on stderr: stdout belongs to command output.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::{fmt, prelude::*};

/// Levels of libraries that say too much at the level asked of the server; a filter that names one overrules it.
const LIBRARY_FILTER: &str = "datafusion=warn,h2=warn,hyper=warn,tower=warn";

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "log filter \"{filter}\" is not one: {source}; write a level (\"debug\") or \"module=level\", separated by commas"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process logs already.
    #[error("logging cannot start: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process: text, or one JSON object per line. `filter` is a level, or levels per module in
/// the syntax of `tracing-subscriber`.
///
/// # Errors
/// When the filter cannot be parsed, or the process logs already.
pub fn init(filter: &str, json: bool) -> Result<(), TelemetryError> {
    let levels = EnvFilter::try_new(format!("{LIBRARY_FILTER},{filter}"))
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(levels);
    if json {
        registry.with(fmt::layer().json().with_writer(io::stderr)).try_init()?;
    } else {
        let colours = io::stderr().is_terminal();
        registry.with(fmt::layer().with_ansi(colours).with_writer(io::stderr)).try_init()?;
    }
    Ok(())
}

/// What the current thread logs while this lives, for tests.
#[cfg(test)]
pub(crate) struct Captured {
    text: Shared,
    _here: tracing::subscriber::DefaultGuard,
}

#[cfg(test)]
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    pub(crate) fn start() -> Self {
        let text = Shared::default();
        let writer = text.clone();
        let subscriber = fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        Self { text, _here: tracing::subscriber::set_default(subscriber) }
    }

    /// What was logged since this was asked last.
    pub(crate) fn take(&self) -> String {
        let text = std::mem::take(&mut *self.text.0.lock());
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
