//! Thread interleavings (T8): the real commit path, snapshots, reads and shutdown under every order of events that `shuttle`
//! comes up with, on a simulated disk.
//!
//! `explore` runs a scenario under many schedules and says how to repeat the one that failed; `store` gives others their turn at
//! every call; `scene` is a root with the servers on it; `claims` (commits in miniature) and `rows` (real appends) are the
//! clients and what they must see; `scenarios` puts them together. All of it is there only with the feature `schedules`, which makes the
//! engine run on shuttle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test in several files"
)]

#[cfg(feature = "schedules")]
mod claims;
#[cfg(feature = "schedules")]
mod explore;
#[cfg(feature = "schedules")]
mod rows;
#[cfg(feature = "schedules")]
mod scenarios;
#[cfg(feature = "schedules")]
mod scene;
#[cfg(feature = "schedules")]
mod store;
#[cfg(feature = "schedules")]
mod tally;

#[cfg(feature = "schedules")]
pub use explore::{Scenario, explore, find, repeat};
#[cfg(feature = "schedules")]
pub use scenarios::{appends, catalog, commits, folder, moments, rivals, stops};
#[cfg(feature = "schedules")]
pub use tally::Tally;
