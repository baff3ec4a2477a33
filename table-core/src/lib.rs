//! Coverline's table format and engine: an append-only log of commits, an in-memory coverage index replayed from it,
//! Parquet segments, and a DataFusion provider over any version. No network, no SQL text.
//!
//! Start with [`Table`] (the handle) and [`Snapshot`] (the value). How a batch becomes a version: `append::stage` ->
//! `append::plan` -> `append::publish` -> `log::store` -> `log::replay`. How a query becomes batches: `datafusion::provider`
//! -> `scan::prune` -> `segment::reader`.

mod access;
pub mod append;
pub mod catalog;
pub mod clock;
pub mod coverage;
pub mod datafusion;
mod error;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub mod guard;
pub mod hot;
pub mod log;
pub mod maintenance;
mod moment;
pub mod scan;
pub mod schema;
pub mod segment;
mod snapshot;
pub mod storage;
#[cfg(not(feature = "schedules"))]
mod sync;
#[cfg(feature = "schedules")]
pub mod sync;
mod table;
pub mod types;
mod workers;

pub use access::Access;
pub use catalog::{Catalog, CatalogOptions, Namesake};
pub use error::{Error, ErrorKind, Overlap, Result};
pub use log::{COMMIT_TRIES_MAX, CommitBody, Decision};
pub use moment::at_one_moment;
pub use snapshot::Snapshot;
pub use table::Table;
pub use workers::Workers;
