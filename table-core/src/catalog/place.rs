//! Reaching a root: its folder and lock, or its object store and the probe of that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::RootLock;
use super::{Access, CatalogOptions};
use crate::error::{Error, ErrorKind, Result, WRITABLE_ADVICE};
use crate::storage::{
    DurableStore, LocalStore, ObjectRoot, Root, Verdict, connect, create_root, layout, probe,
};
use crate::sync;

/// A root that can be read, and what may be done to it.
pub(super) struct Place {
    pub(super) store: Arc<dyn DurableStore>,
    pub(super) access: Access,
    /// `None` in an object store, which several servers may share, and for those who only read.
    pub(super) lock: Option<RootLock>,
}

/// Reaches a root to work on it. What is not there yet is made, but for those who only read.
pub(super) async fn reach(root: &Root, options: &CatalogOptions) -> Result<Place> {
    match root {
        Root::Folder(folder) => folder_place(folder, options).await,
        Root::Objects(objects) => object_place(objects, options).await,
    }
}

async fn folder_place(root: &Path, options: &CatalogOptions) -> Result<Place> {
    let lock = match &options.access {
        Access::ReadOnly { reason } if !root.exists() => {
            return Err(Error::new(
                ErrorKind::Precondition,
                format!(
                    "there is no folder \"{}\", and none is made: the root is open read-only: {reason}",
                    root.display()
                ),
            ));
        }
        Access::ReadOnly { .. } => None,
        Access::Exclusive | Access::Shared => {
            let (folder, note) = (root.to_owned(), options.owner_note.clone());
            let taken = sync::spawn_blocking(move || take_folder(&folder, &note));
            Some(taken.await.map_err(Error::internal)??)
        }
    };
    let store = LocalStore::open(root, Arc::clone(&options.clock))
        .map_err(|error| cannot_open(root, error))?;
    let access = match &options.access {
        Access::ReadOnly { .. } => options.access.clone(),
        Access::Exclusive | Access::Shared => Access::Exclusive,
    };
    Ok(Place { store: Arc::new(store), access, lock })
}

async fn object_place(root: &ObjectRoot, options: &CatalogOptions) -> Result<Place> {
    let store = connect(root).map_err(|error| {
        Error::new(ErrorKind::Precondition, format!("cannot open {root}: {error}"))
            .with_source(error)
    })?;
    // First something that changes nothing: an endpoint, a bucket or credentials that are wrong show here.
    store.list(layout::CATALOG_LOG).await.map_err(|error| cannot_reach(root, error))?;
    let access = match &options.access {
        Access::ReadOnly { .. } => options.access.clone(),
        Access::Exclusive | Access::Shared => match probe(&store, &options.clock).await {
            Ok(Verdict::Sound) => Access::Shared,
            Ok(Verdict::Unsound(seen)) => read_only(
                root,
                format!(
                    "commits are not safe on the store of {root}: {seen}; use a store whose conditional PUT (If-None-Match) is atomic"
                ),
            ),
            Ok(Verdict::Forbidden(error)) => {
                read_only(root, format!("these credentials must not write to {root}: {error}"))
            }
            Err(error) => return Err(cannot_reach(root, error)),
        },
    };
    Ok(Place { store: Arc::new(store), access, lock: None })
}

fn read_only(root: &ObjectRoot, reason: String) -> Access {
    tracing::warn!(%root, reason, "the root is open read-only");
    Access::ReadOnly { reason }
}

fn cannot_reach(root: &ObjectRoot, error: io::Error) -> Error {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "create the bucket, or correct its name"),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Precondition,
            "check the credentials in the environment and what they are allowed to do",
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            (ErrorKind::Precondition, "check the endpoint and the region in the environment")
        }
        _ => (ErrorKind::Unavailable, "check the endpoint in the environment, and that it runs"),
    };
    Error::new(kind, format!("cannot open {root}: {error}; {advice}")).with_source(error)
}

/// An error of opening, led by the root that it is about when that is not a folder, whose errors name paths.
pub(super) fn explain(root: &Root, error: Error) -> Error {
    match root {
        Root::Folder(_) => error,
        Root::Objects(root) => error.context(format!("cannot open {root}")),
    }
}

fn cannot_open(root: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => ErrorKind::Precondition,
        _ => ErrorKind::of_storage(&error),
    };
    let advice = match ErrorKind::of_storage(&error) {
        ErrorKind::Precondition => format!("; {WRITABLE_ADVICE}"),
        _ => String::new(),
    };
    Error::new(kind, format!("cannot open data directory \"{}\": {error}{advice}", root.display()))
        .with_source(error)
}

/// Makes the folder, refuses one that holds other things, and takes its lock. Blocking.
fn take_folder(root: &Path, note: &str) -> Result<RootLock> {
    let failed = |error: io::Error| cannot_open(root, error);
    create_root(root).map_err(failed)?;
    let names = std::fs::read_dir(root)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| PathBuf::from(entry.file_name()))).collect()
        })
        .map_err(failed);
    let names: Vec<PathBuf> = names?;
    let is_root = names.iter().any(|name| name == Path::new(layout::CATALOG));
    // `lost+found` is in every freshly made ext4; `tables` without a catalog is damage, found when the log is opened.
    let ours = [layout::LOCK, layout::TABLES, "lost+found"].map(Path::new);
    let foreign = names.iter().find(|name| !ours.contains(&name.as_path()));
    if let (false, Some(foreign)) = (is_root, foreign) {
        return Err(Error::new(
            ErrorKind::Precondition,
            format!(
                "\"{}\" is not a coverline data directory and is not empty (it holds {foreign:?}); name an empty or new folder",
                root.display()
            ),
        ));
    }
    RootLock::acquire(root, note)
}
