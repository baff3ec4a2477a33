//! [`Handle`]: what names a prepared statement: an id, by which this server knows what was bound to it, and the statement itself, so
//! that any server on the root can run it, and this one after it was started again. Pure.
//!
//! Like a ticket, a handle carries no authority: its text goes through the same gate as any other.

use arrow_flight::sql::Any;
use bytes::Bytes;
use coverline_proto::flight::PreparedHandle;
use prost::Message;
use tonic::Status;
use uuid::Uuid;

use crate::limits;
use crate::query::source::Source;
use crate::status;

const TYPE_URL: &str = "type.googleapis.com/coverline.flight.v1.PreparedHandle";

/// The name of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Handle {
    /// 128 random bits, which nobody can guess.
    pub(crate) id: Uuid,
    /// The statement.
    pub(crate) source: Source,
    /// Rows bound to it, as `parameters` encodes them; empty when there are none, or too many to travel.
    pub(crate) parameters: Bytes,
}

impl Handle {
    /// A statement without parameters.
    pub(crate) fn new(id: Uuid, source: impl Into<Source>) -> Self {
        Self { id, source: source.into(), parameters: Bytes::new() }
    }

    /// The same with parameters, if they are few.
    pub(crate) fn binding(mut self, parameters: Bytes) -> Self {
        self.parameters = match parameters.len() {
            ..=limits::HANDLE_PARAMETER_BYTES_MAX => parameters,
            _ => Bytes::new(),
        };
        self
    }

    /// As clients keep it.
    pub(crate) fn encode(&self) -> Bytes {
        let (sql, substrait) = self.source.to_wire();
        let handle = PreparedHandle {
            id: Bytes::copy_from_slice(self.id.as_bytes()),
            sql,
            substrait,
            parameters: self.parameters.clone(),
        };
        let any = Any { type_url: TYPE_URL.to_owned(), value: handle.encode_to_vec().into() };
        any.encode_to_vec().into()
    }

    /// As clients send it.
    ///
    /// # Errors
    /// NOT_FOUND for bytes that are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Status> {
        let any = Any::decode(bytes).ok().filter(|any| any.type_url == TYPE_URL);
        let handle = any.and_then(|any| PreparedHandle::decode(&*any.value).ok());
        let known = handle.and_then(|handle| {
            let id = Uuid::from_slice(&handle.id).ok()?;
            let source = Source::of_handle(&handle);
            Some(Self { id, source, parameters: handle.parameters })
        });
        known.ok_or_else(unknown)
    }
}

/// The refusal of a handle that names nothing.
pub(crate) fn unknown() -> Status {
    status::not_found(
        "the prepared statement is not known: it was closed, or the handle is none of this product; prepare it again",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn handles_come_back_as_they_went() {
        let handle = Handle::new(Uuid::from_u128(7), "SELECT ?");
        let plan = Source::Substrait(Bytes::from_static(b"plan"));
        let plan = Handle::new(Uuid::from_u128(7), plan);
        for handle in [handle.clone(), plan, handle.binding(Bytes::from_static(b"rows"))] {
            assert_eq!(Handle::decode(&handle.encode()).unwrap(), handle);
        }
    }

    #[test]
    fn what_is_no_handle_is_not_found() {
        let whole = Handle::new(Uuid::from_u128(7), "SELECT 1").encode();
        for bytes in [&b""[..], b"SELECT 1", &[7; 16], &whole[..whole.len() - 1]] {
            assert_eq!(
                Handle::decode(bytes).unwrap_err().code(),
                tonic::Code::NotFound,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn rows_that_are_too_many_do_not_travel() {
        let rows = Bytes::from(vec![0; limits::HANDLE_PARAMETER_BYTES_MAX + 1]);
        let handle = Handle::new(Uuid::from_u128(7), "SELECT ?").binding(rows);
        assert!(handle.parameters.is_empty());
    }
}
