//! SQL and Substrait plans to record batches: the gates, DDL, INSERT, queries with pinned versions, prepared statements, the result stream.

pub(crate) mod asof;
pub(crate) mod call;
mod ddl;
pub(crate) mod functions;
pub(crate) mod gate;
pub(crate) mod handle;
pub(crate) mod information_schema;
mod insert;
pub(crate) mod min_versions;
mod now;
pub(crate) mod parameters;
mod parts;
pub(crate) mod pins;
pub(crate) mod plan;
pub(crate) mod planner;
pub(crate) mod plans;
pub(crate) mod prepared;
pub(crate) mod running;
pub(crate) mod session_form;
pub(crate) mod shifts;
mod shown;
pub(crate) mod source;
pub(crate) mod statement;
pub(crate) mod stream;
pub(crate) mod substrait;
pub(crate) mod yielding;

pub(crate) use stream::{count_stream, encode_schema};
