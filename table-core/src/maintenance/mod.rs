//! Looking after a root from outside: `scrub` finds damage, `backup` copies it. Both only read what is published and never
//! changes, so they need no lock and run beside a server; `verify` holds a segment's bytes against its checksums.

mod backup;
mod scrub;
mod verify;

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{DurableStore, LocalStore, ObjectRoot, Root, connect};

pub use backup::{BackupReport, backup, backup_store};
pub use scrub::{FINDINGS_MAX, Finding, ScrubReport, scrub, scrub_store};

/// Told of bytes as they are read, for people who wait.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// The storage of a root that exists, without its lock.
fn read_root(root: &Root) -> Result<Arc<dyn DurableStore>> {
    let folder = match root {
        Root::Folder(folder) => folder,
        Root::Objects(objects) => return reach(objects),
    };
    match LocalStore::open(folder, SystemClock::shared()) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(Error::new(
            match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            },
            format!("cannot read data directory \"{root}\": {error}"),
        )
        .with_source(error)),
    }
}

/// The storage of a root in an object store. Sends nothing yet.
fn reach(root: &ObjectRoot) -> Result<Arc<dyn DurableStore>> {
    match connect(root) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => {
            Err(Error::new(ErrorKind::Precondition, format!("cannot use {root}: {error}"))
                .with_source(error))
        }
    }
}
