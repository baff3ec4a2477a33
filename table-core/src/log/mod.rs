//! The log: the ordered commits of a table (or of the catalog), and everything derived from reading it.
//!
//! `frame`, `record` and `schema` turn commits into bytes and back, `replay` folds records into a
//! [`Snapshot`](crate::Snapshot), `checkpoint` saves the fold: all pure. `store` is the only I/O; `open` finds a version in
//! it, `moment` the version of a time, `walk` everything that is wrong with it, and `head` is the newest one and the only way to add to it, with `group` deciding which commits share a record and `follow`
//! reading what others add.

mod alarm;
pub mod checkpoint;
mod error;
mod follow;
pub(crate) mod frame;
mod group;
mod head;
mod moment;
mod open;
pub mod record;
pub mod replay;
mod schema;
mod store;
mod walk;

pub use alarm::Alarm;
pub use error::LogError;
pub use frame::{Digest, Frame, FrameKind};
pub use group::{CommitBody, Decision};
pub use head::COMMIT_TRIES_MAX;
pub use record::Record;
pub use schema::{decode_schema, decode_spec, encode_schema, encode_spec};
pub use store::{LogListing, LogStore, PublishOutcome, StoredRecord};

pub(crate) use head::{Head, LogContext};
pub(crate) use moment::newest_at;
pub(crate) use open::{Opened, open_newest};
pub(crate) use replay::State;
pub(crate) use walk::{Walked, walk};

#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod horizon_tests;
#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
