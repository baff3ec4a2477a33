//! Faulty and recording storage for tests.
//!
//! [`SimDisk`] is a disk in memory that knows what is durable: it records every operation, fails any of them before or after
//! its effect, fills up, and builds the states that a crash could leave behind. [`FlakyStore`] stands above any store and
//! gives the answers that a remote store gives on a bad day, [`GatedStore`] holds its puts open, [`BusyStore`] lists while
//! others write; [`FaultyObjects`] stands below [`RemoteStore`](super::RemoteStore) and fails its requests, before their
//! effect or after it.

mod busy;
mod crash;
mod disk;
mod flaky;
mod gated;
mod operation;
mod over;
mod reads;
mod remote;

pub use busy::BusyStore;
pub use crash::{CRASH_STATES_MAX, CrashState};
pub use disk::{Fingerprint, Omission, SimDisk, Step};
pub use flaky::{FlakyStore, PutFault};
pub use gated::{Gate, GatedStore};
pub use operation::{Fault, FaultKind, FaultTime, Operation};
pub use remote::{FaultyObjects, RemoteFault, RemoteOperation, Request};
