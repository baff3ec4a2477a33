//! Looking after a root from outside: `scrub` finds damage, `backup` copies it. Both only read what is published and never
//! changes, so they need no lock and run beside a server; `verify` holds a segment's bytes against its checksums.

mod backup;
mod scrub;
mod verify;

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{DurableStore, LocalStore, ObjectRoot, Root, connect, layout};

pub use backup::{BackupReport, backup, backup_store};
pub use scrub::{FINDINGS_MAX, Finding, ScrubReport, scrub, scrub_store};

/// Told of bytes as they are read, for people who wait.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Whether somebody made a root there: it has a catalog, or the tables that one had. Changes nothing.
///
/// # Errors
/// `Precondition` or `Unavailable` when that cannot be looked at.
pub async fn is_root(root: &Root) -> Result<bool> {
    match read_root(root) {
        Ok(store) => holds_root(&store, root).await,
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn holds_root(store: &Arc<dyn DurableStore>, root: &Root) -> Result<bool> {
    for folder in [layout::CATALOG_LOG, layout::TABLES] {
        let listed = store.list(folder).await.map_err(|error| {
            Error::new(ErrorKind::of_storage(&error), format!("cannot read {root}: {error}"))
                .with_source(error)
        })?;
        if !listed.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The storage of a root that somebody made: a place that never was one is a wrong name, and no damage.
async fn made_root(root: &Root) -> Result<Arc<dyn DurableStore>> {
    let store = read_root(root)?;
    if holds_root(&store, root).await? {
        return Ok(store);
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "\"{root}\" is no coverline root: it has neither a catalog nor tables; name the folder or URL of one"
        ),
    ))
}

/// The storage of a folder that exists or of a prefix, without its lock.
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
