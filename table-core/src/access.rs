//! [`Access`]: what this process may do with a root, and whether others write to it. Pure.

use crate::error::{Error, ErrorKind};

/// How a root is held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// By this process alone, as a local root whose lock it has (C11): what it knows is all there is.
    #[default]
    Exclusive,
    /// Together with others that write too, as a root on an object store.
    Shared,
    /// Others may write; this process looks, and writes nothing at all: no commit, no checkpoint, no lock.
    ReadOnly {
        /// Why, and what to do; shown behind "the root is open read-only: ".
        reason: String,
    },
}

impl Access {
    /// Whether there may be commits that this process does not know of.
    pub fn has_rivals(&self) -> bool {
        !matches!(self, Self::Exclusive)
    }

    /// Whether nothing may be written.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
    }

    /// What a change of `what` is answered with; `None` when it may go on.
    pub(crate) fn refusal(&self, what: &str) -> Option<Error> {
        let Self::ReadOnly { reason } = self else { return None };
        Some(Error::new(
            ErrorKind::Precondition,
            format!("changes to {what} are refused: the root is open read-only: {reason}"),
        ))
    }
}
