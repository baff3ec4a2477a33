//! One commit as a value. A thin layer over the protobuf message: everything a commit says, with the types of this crate.

use coverline_proto::log as proto;

use crate::types::{AttemptId, Version};

/// What one commit does. Order matters: actions are applied one after the other.
pub type Action = proto::action::Action;

/// One commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number.
    pub version: Version,
    /// Microseconds since the epoch, strictly greater than the previous commit's.
    pub commit_time_us: i64,
    /// The attempt that wrote it.
    pub attempt_id: AttemptId,
    /// "create", "append", ...
    pub operation: String,
    /// Who asked; empty when authentication is off.
    pub principal: String,
    /// Keys of the appends in it.
    pub append_ids: Vec<proto::AppendId>,
    /// What it does.
    pub actions: Vec<Action>,
}
