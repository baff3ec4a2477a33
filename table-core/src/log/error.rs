//! What can be wrong with a log.

use crate::error::{Error, ErrorKind, WRITABLE_ADVICE};

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record or checkpoint is damaged or contradicts its neighbours.
    #[error("{file} is damaged: {what}; restore it from a backup")]
    Damaged {
        /// Path below the root.
        file: String,
        /// Expected and found.
        what: String,
    },
    /// A record below the newest one is missing.
    #[error("{file} is missing although later records exist; restore it from a backup")]
    Missing {
        /// Path below the root.
        file: String,
    },
    /// Written by a newer Coverline.
    #[error("{file} was written by a newer version of coverline ({what}); upgrade this server")]
    Future {
        /// Path below the root.
        file: String,
        /// Which feature.
        what: String,
    },
    /// The storage failed.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried: "read", "write", "list".
        action: &'static str,
        /// Path below the root.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        let kind = match &error {
            LogError::Damaged { .. } | LogError::Missing { .. } => ErrorKind::Corrupt,
            LogError::Future { .. } => ErrorKind::Precondition,
            LogError::Io { source, .. } => ErrorKind::of_storage(source),
        };
        let message = match &error {
            LogError::Io { source, .. } if kind == ErrorKind::Precondition => {
                format!("{error}: {source}; {WRITABLE_ADVICE}")
            }
            LogError::Io { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Self::new(kind, message).with_source(error)
    }
}
