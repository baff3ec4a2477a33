//! Storage: the only place that knows paths (`layout`) and how bytes become durable (`store`): on a disk (`local`), down to the
//! file system calls (`vfs`), or in an object store (`object`). `root` says which.

pub mod layout;
mod local;
mod object;
mod root;
mod store;
mod vfs;

#[cfg(any(test, feature = "testing"))]
pub mod faults;

pub use local::LocalStore;
pub use object::RemoteStore;
pub(crate) use object::{Verdict, connect, probe};
pub use root::{ObjectRoot, ObjectScheme, Root, RootError};
pub use store::{DurableStore, PutError, PutOutcome, Staged};
pub use vfs::{DiskSpace, Vfs, VfsFile, VfsFolder};
pub(crate) use vfs::{create_root, refuse_symlink};

#[cfg(test)]
mod conformance;
