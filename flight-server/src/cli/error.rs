//! [`CliError`]: a message for a person, with a hint where there is something to try.

use std::fmt;
use std::io;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use tonic::Code;

use super::source::SourceError;
use crate::client::ClientError;
use crate::server::ServeError;
use crate::status::Committed;
use crate::telemetry::TelemetryError;
use crate::tls::TlsError;

/// Why a command failed. Shown as `error: ...`, then `hint: ...`.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    hint: Option<String>,
    reader_gone: bool,
    outcome_unknown: bool,
    connection_broke: bool,
}

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            reader_gone: false,
            outcome_unknown: false,
            connection_broke: false,
        }
    }

    /// The error of a call that was to change something. Where it leaves open whether that was committed, it says so first, and
    /// `hint` says how to find out.
    pub(crate) fn of_change(error: ClientError, hint: &str) -> Self {
        match error.committed() {
            Committed::No => error.into(),
            Committed::Unknown => Self::open(&error, "it may or may not be committed", hint),
        }
    }

    /// The error of a change that may be committed all the same: `what` is known of it, and `error` is why not more.
    pub(crate) fn open(error: &ClientError, what: &str, hint: &str) -> Self {
        let mut shown = Self::new(format!("{what}: {error}")).outcome_unknown().hint(hint);
        shown.connection_broke = is_broken_connection(error);
        shown
    }

    /// The same error with something to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error about one of several files.
    #[must_use]
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same error, with the server to which the connection broke, if that is what happened.
    #[must_use]
    pub(crate) fn with_server(mut self, server: &str) -> Self {
        if self.connection_broke {
            self.message = format!("{} (connection to {server})", self.message);
        }
        self
    }

    /// The same error, known to mean that nobody reads our output any more.
    #[must_use]
    pub(crate) fn reader_gone(mut self) -> Self {
        self.reader_gone = true;
        self
    }

    /// The same error, of a change that may be committed all the same.
    #[must_use]
    pub(crate) fn outcome_unknown(mut self) -> Self {
        self.outcome_unknown = true;
        self
    }

    /// Whether nobody knows if the change was committed.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown
    }

    /// Whether the reader of our output went away, which is no failure of ours.
    pub(crate) fn is_reader_gone(&self) -> bool {
        self.reader_gone
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Connect { .. } => Some(
                "start a server with `coverline serve`, or name the folder or URL of the tables with --root",
            ),
            ClientError::Refused { reason, message, .. }
                if reason == "NOT_FOUND" && is_missing_table(message) =>
            {
                Some("`coverline tables` lists what there is, `coverline create` makes a table")
            }
            ClientError::Overlap { .. } => {
                Some("`--on-overlap skip` appends the rows that are new and leaves out the rest")
            }
            error if is_broken_connection(error) => {
                Some("see that the server runs, and what its log says, then try again")
            }
            _ => None,
        };
        // Whether a change came of it is for those to judge who asked for one: see `of_change`.
        let mut shown = Self::new(error.to_string());
        shown.connection_broke = is_broken_connection(&error);
        match hint {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
}

/// Whether no server answered, but the connection itself failed: a server of ours gives a reason.
fn is_broken_connection(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused {
        code: Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled,
        reason,
        ..
    } if reason.is_empty())
}

/// Whether it is a table that is not there: a version that a table does not have comes with the same reason.
fn is_missing_table(message: &str) -> bool {
    message.contains("does not exist")
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let in_use = matches!(&error, ServeError::Listen { source, .. }
            if source.kind() == io::ErrorKind::AddrInUse);
        let shown = Self::new(error.to_string());
        match in_use {
            true => shown.hint(
                "another program listens there; choose another address with --listen, or port 0",
            ),
            false => shown,
        }
    }
}

impl From<table_core::Error> for CliError {
    fn from(error: table_core::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<TlsError> for CliError {
    fn from(error: TlsError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<TelemetryError> for CliError {
    fn from(error: TelemetryError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<SourceError> for CliError {
    fn from(error: SourceError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        // Commands write their short output straight to stdout, which is the only pipe they have.
        let gone = error.kind() == io::ErrorKind::BrokenPipe;
        let error = Self::new(error.to_string());
        if gone { error.reader_gone() } else { error }
    }
}

impl From<ArrowError> for CliError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => error.into(),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<ParquetError> for CliError {
    fn from(error: ParquetError) -> Self {
        Self::new(error.to_string())
    }
}
