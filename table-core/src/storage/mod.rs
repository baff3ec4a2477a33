//! Storage: the only place that knows paths (`layout`) and how bytes become durable (`store`, `local`), down to the file
//! system calls (`vfs`).

pub mod layout;
mod local;
mod store;
mod vfs;

#[cfg(any(test, feature = "testing"))]
pub mod faults;

pub use local::LocalStore;
pub use store::{DurableStore, PutError, PutOutcome, Staged};
pub use vfs::{DiskSpace, Vfs, VfsFile};
pub(crate) use vfs::{create_root, refuse_symlink};
