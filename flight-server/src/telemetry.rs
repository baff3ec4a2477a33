//! Structured logs, on stderr: stdout belongs to command output.

use std::io::{self, IsTerminal};

use http::Request;
use http::header::USER_AGENT;
use tracing::debug;
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

/// Logs a call with the client that makes it, at the level "debug": which tools use a server, and which of them asks what.
pub(crate) fn told<B>(request: Request<B>) -> Request<B> {
    let agent = request.headers().get(USER_AGENT);
    let client = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    debug!(call = request.uri().path(), client, "called");
    request
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
        let subscriber = fmt().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = subscriber.with_max_level(tracing::Level::DEBUG).finish();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_logged_with_its_client() {
        let log = Captured::start();
        for (agent, shown) in [
            (&b"ADBC Flight SQL Driver v1 grpc-go/1"[..], "ADBC Flight SQL Driver v1"),
            // Nothing of a client ends up in a terminal as it is.
            (b"\xff\x80", "client=\"\""),
        ] {
            let request = Request::post("/arrow.flight.protocol.FlightService/DoGet");
            told(request.header(USER_AGENT, agent).body(()).unwrap());
            let text = log.take();
            assert!(text.contains("FlightService/DoGet") && text.contains(shown), "{text}");
        }
    }
}
