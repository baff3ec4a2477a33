//! Storage: the only place that knows paths (`layout`) and how bytes become durable (`store`, `local`).

pub mod layout;
mod local;
mod store;

#[cfg(any(test, feature = "testing"))]
pub mod faults;

pub use local::LocalStore;
pub use store::{DurableStore, PutOutcome, Staged};
