//! The log: the ordered commits of a table (or of the catalog), and everything derived from reading it.
//!
//! `frame` and `record` turn commits into bytes and back, `replay` folds records into a [`Snapshot`](crate::Snapshot),
//! `checkpoint` saves the fold: all pure. `store` is the only I/O.

pub mod checkpoint;
mod error;
mod frame;
pub mod record;
pub mod replay;
mod store;

pub use error::LogError;
pub use frame::{Digest, FrameKind};
pub use record::Record;
pub use store::{LogStore, PublishOutcome};
