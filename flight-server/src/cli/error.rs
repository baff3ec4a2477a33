//! [`CliError`]: a message for a person, with a hint where there is something to try.

use std::fmt;
use std::io;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use super::source::SourceError;
use crate::client::ClientError;
use crate::server::ServeError;
use crate::status::Committed;
use crate::telemetry::TelemetryError;

/// Why a command failed. Shown as `error: ...`, then `hint: ...`.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    hint: Option<String>,
    reader_gone: bool,
    outcome_unknown: bool,
}

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, reader_gone: false, outcome_unknown: false }
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
            ClientError::Refused { reason, .. } if reason == "NOT_FOUND" => {
                Some("`coverline tables` lists what there is, `coverline create` makes a table")
            }
            ClientError::Overlap { .. } => {
                Some("`--on-overlap skip` appends the rows that are new and leaves out the rest")
            }
            _ => None,
        };
        // Only where the server said so: a query that lost its connection changed nothing.
        let is_unknown =
            matches!(&error, ClientError::Refused { said: Some(Committed::Unknown), .. });
        let mut shown = Self::new(error.to_string());
        shown.outcome_unknown = is_unknown;
        match hint {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
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
