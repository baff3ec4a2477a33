//! [`SpillFolder`]: where the queries of one server spill to, and how what a killed server spilled goes away.
//!
//! Every folder holds a lock file that its server keeps locked as long as it lives. A server that starts removes the folders
//! beside its own whose lock it can take: the kernel lets go of a lock only when the process is gone. A folder without
//! lock file, or of another user, is not touched.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// How the names of such folders begin.
const PREFIX: &str = "coverline-spill-";
/// The file in it that is locked while its server lives.
const LOCK: &str = "LOCK";
/// How often a folder is made that another server takes for a dead one's, in the moment before it is locked.
const TRIES_MAX: u32 = 8;

/// A folder of this process's own; removed when dropped, or by a later server when this one is killed.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    folder: TempDir,
    /// Dropped after the folder: whoever could take the lock might remove the folder at the same time.
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder in `parent`, and removes those of dead servers there. Blocking.
    ///
    /// # Errors
    /// Of the file system, when no folder can be made. What cannot be removed stays for the next server.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        for _ in 0..TRIES_MAX {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            if let Some(lock) = lock_new(folder.path())? {
                remove_dead(parent, folder.path());
                return Ok(Self { folder, _lock: lock });
            }
        }
        Err(io::Error::other("other servers keep taking its lock"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The lock of a folder just made. `None` when another server got there first, and removes the folder or has done so.
fn lock_new(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let file = match File::create_new(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.try_lock() {
        // Removed between the two calls, the file can still be locked, and nobody else would see it.
        Ok(()) => Ok(path.try_exists()?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the folders in `parent` whose servers are gone. `own` is spared, and says whose folders count.
fn remove_dead(parent: &Path, own: &Path) {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(%error, "folders of servers that were killed are not looked for");
            return;
        }
    };
    for entry in entries.flatten() {
        if entry.path() == own || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        match remove_if_dead(&entry, own) {
            Ok(true) => {
                tracing::info!(folder = %entry.path().display(), "removed what a server that is gone had spilled")
            }
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(folder = %entry.path().display(), %error, "a folder of spilled data stays");
            }
        }
    }
}

fn remove_if_dead(entry: &DirEntry, own: &Path) -> io::Result<bool> {
    // Not through a symbolic link: that leads to somebody else's folder.
    if !entry.file_type()?.is_dir() || !is_of_same_user(entry, own)? {
        return Ok(false);
    }
    let lock = match File::open(entry.path().join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match lock.try_lock() {
        Ok(()) => fs::remove_dir_all(entry.path()).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_of_same_user(entry: &DirEntry, own: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(entry.metadata()?.uid() == fs::metadata(own)?.uid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::PathBuf;

    use super::*;

    /// What a killed server leaves: the folder, its lock file, spilled data.
    fn dead(parent: &Path) -> PathBuf {
        let folder = parent.join(format!("{PREFIX}dead"));
        fs::create_dir_all(folder.join("deeper")).unwrap();
        fs::write(folder.join(LOCK), "").unwrap();
        fs::write(folder.join("deeper").join("spilled"), "rows").unwrap();
        folder
    }

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn folders_of_dead_servers_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dead = dead(parent.path());
        let own = SpillFolder::create(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(own.path().is_dir());
        drop(own);
        assert!(names(parent.path()).is_empty(), "{:?}", names(parent.path()));
    }

    #[test]
    fn folders_of_living_servers_stay() {
        let parent = tempfile::tempdir().unwrap();
        let first = SpillFolder::create(parent.path()).unwrap();
        fs::write(first.path().join("spilled"), "rows").unwrap();
        let second = SpillFolder::create(parent.path()).unwrap();
        assert!(first.path().join("spilled").is_file());
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn what_is_not_provably_a_dead_servers_stays() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let without_lock = parent.path().join(format!("{PREFIX}old"));
        fs::create_dir(&without_lock).unwrap();
        let foreign = parent.path().join("other-dead");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        fs::write(elsewhere.path().join(LOCK), "").unwrap();
        let link = parent.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let file = parent.path().join(format!("{PREFIX}file"));
        fs::write(&file, "").unwrap();
        let _own = SpillFolder::create(parent.path()).unwrap();
        for path in [&without_lock, &foreign, &link, &file, &elsewhere.path().join(LOCK)] {
            assert!(path.exists(), "{}", path.display());
        }
    }

    /// The folder is removed by another server after it was made and before it is locked.
    #[test]
    fn a_folder_that_was_taken_for_dead_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(format!("{PREFIX}new"));
        assert!(lock_new(&folder).unwrap().is_none());
        fs::create_dir(&folder).unwrap();
        let _lock = lock_new(&folder).unwrap().unwrap();
        let other = File::open(folder.join(LOCK)).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    }
}
