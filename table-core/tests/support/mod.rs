//! What several test binaries share: `fixture` makes tables of hand-written segments, `root` real ones by appending,
//! `query` rows and queries over them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

pub(crate) mod fixture;
pub(crate) mod query;
pub(crate) mod root;
