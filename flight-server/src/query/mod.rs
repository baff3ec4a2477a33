//! SQL to record batches: the gate, DDL, INSERT, queries with pinned versions, prepared statements, the result stream.

pub(crate) mod prepared;
pub(crate) mod statement;
pub(crate) mod stream;

pub(crate) use stream::{count_stream, encode_schema};
