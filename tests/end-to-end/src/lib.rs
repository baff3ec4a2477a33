//! What the end-to-end tests share: a real `coverline` server as a child process, and a client of the kind a pipeline
//! would write on arrow-flight.
//!
//! Owns starting, killing and stopping servers on port 0 and temporary folders. What is asserted belongs to the tests.

pub mod chores;
mod client;
pub mod history;
pub mod image;
pub mod ledger;
pub mod operations;
mod outcome;
pub mod proxy;
pub mod s3;
mod server;
pub mod site;
mod soak;
pub mod stepping;
pub mod trace;

pub use client::{AppendError, Client, Receipt, code_of};
pub use outcome::{reached, skipped};
pub use server::{Server, Starting, binary};
pub use site::Site;
pub use soak::SoakTime;

/// Anything that can go wrong in a test helper.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
