//! [`Source`]: what a client sends to be run. Pure.

use std::sync::Arc;

use bytes::Bytes;
use coverline_proto::flight::{PreparedHandle, QueryTicket};

/// A statement as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// SQL.
    Sql(Arc<str>),
    /// An encoded Substrait plan.
    Substrait(Bytes),
}

impl Source {
    /// What a ticket says.
    pub(crate) fn of_ticket(ticket: &QueryTicket) -> Self {
        Self::of(&ticket.sql, &ticket.substrait)
    }

    /// What a handle says.
    pub(crate) fn of_handle(handle: &PreparedHandle) -> Self {
        Self::of(&handle.sql, &handle.substrait)
    }

    fn of(sql: &str, substrait: &Bytes) -> Self {
        match substrait.is_empty() {
            true => Self::Sql(sql.into()),
            false => Self::Substrait(substrait.clone()),
        }
    }

    /// As tickets and handles carry it: the SQL and the plan, one of them empty.
    pub(crate) fn to_wire(&self) -> (String, Bytes) {
        match self {
            Self::Sql(sql) => (sql.as_ref().to_owned(), Bytes::new()),
            Self::Substrait(plan) => (String::new(), plan.clone()),
        }
    }

    /// Its length, bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Sql(sql) => sql.len(),
            Self::Substrait(plan) => plan.len(),
        }
    }
}

impl From<&str> for Source {
    fn from(sql: &str) -> Self {
        Self::Sql(sql.into())
    }
}

impl From<String> for Source {
    fn from(sql: String) -> Self {
        Self::Sql(sql.into())
    }
}

impl From<&Source> for Source {
    fn from(source: &Source) -> Self {
        source.clone()
    }
}
