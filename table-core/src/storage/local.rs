//! Durable files on a local disk.
//!
//! Publish is: write under a staging name in the same folder, fsync the file, `link(2)` to the final name (a rival's name
//! makes that fail), fsync the folder, remove the staging name. Of the protocols tried it is the only one that neither loses
//! an acknowledged object after a power loss, nor leaves a torn one, nor overwrites a rival's. A staging name that a crash
//! leaves behind is never listed; vacuum collects it.
//!
//! Whatever can fail for want of something (room, file handles, permission) is done before the link, where failing means that
//! nothing happened: so the folder is opened first, and between link and answer there is only its fsync.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;

use super::vfs::{DiskVfs, Vfs, VfsFile, VfsFolder};
use super::{DiskSpace, DurableStore, PutError, PutOutcome, Staged, layout};
use crate::clock::Clock;
use crate::workers::Workers;

/// How many staging names are tried before giving up; ids that repeat only happen with a seeded clock.
const STAGING_NAME_TRIES_MAX: u32 = 1_000;

/// A failed fsync of a staging file is answered by writing the object once more under a new name (C14).
const STAGING_WRITES_MAX: u32 = 2;

/// A root on a local disk. Clones share everything.
#[derive(Debug, Clone)]
pub struct LocalStore {
    files: Arc<Files>,
    object_store: Arc<dyn ObjectStore>,
}

/// The blocking half.
#[derive(Debug)]
struct Files {
    vfs: Arc<dyn Vfs>,
    clock: Arc<dyn Clock>,
    /// Folders that this process knows to exist durably.
    folders: Mutex<HashSet<String>>,
    /// Folders that failed to be synced. Another fsync would succeed and prove nothing, for whoever waits for it, so nothing
    /// is stored in them until the server restarts (C14).
    doubtful: Mutex<HashSet<String>>,
}

impl LocalStore {
    /// The root at an existing folder.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(root: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let object_store = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        Ok(Self::over(Arc::new(DiskVfs::new(root)), Arc::new(object_store), clock))
    }

    /// The same protocol over another file system; `object_store` must show the same files.
    pub fn over(
        vfs: Arc<dyn Vfs>,
        object_store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let files = Files { vfs, clock, folders: Mutex::default(), doubtful: Mutex::default() };
        Self { files: Arc::new(files), object_store }
    }

    /// The one door from waiting code to blocking calls.
    async fn blocking<T, F>(&self, work: F) -> Result<T, io::Error>
    where
        T: Send + 'static,
        F: FnOnce(&Files) -> T + Send + 'static,
    {
        let files = Arc::clone(&self.files);
        if files.vfs.runs_inline() {
            return Ok(work(&files));
        }
        Workers::Pool.start(move || work(&files)).await.map_err(io::Error::other)
    }
}

impl Files {
    /// Makes a folder and those above it exist durably. A folder found in place may be one whose maker died before its fsync,
    /// so the first use by this process always syncs.
    fn ensure_folder(&self, folder: &str) -> io::Result<()> {
        self.refuse_doubtful(folder)?;
        if folder.is_empty() || self.folders.lock().contains(folder) {
            return Ok(());
        }
        let parent = layout::parent(folder);
        self.ensure_folder(parent)?;
        let mut opened = self.open_folder(parent)?;
        match self.vfs.create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.sync_folder(parent, opened.as_mut())?;
        self.folders.lock().insert(folder.to_owned());
        Ok(())
    }

    fn refuse_doubtful(&self, folder: &str) -> io::Result<()> {
        if self.doubtful.lock().contains(folder) {
            return Err(io::Error::other(format!(
                "folder \"{folder}\" takes no more files since syncing it failed; restart the server"
            )));
        }
        Ok(())
    }

    /// A folder to put a name into and then sync. Only a failed fsync makes a folder doubtful, and this is none.
    fn open_folder(&self, folder: &str) -> io::Result<Box<dyn VfsFolder>> {
        self.refuse_doubtful(folder)?;
        self.vfs.open_folder(folder)
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str, opened: &mut dyn VfsFolder) -> io::Result<()> {
        self.refuse_doubtful(folder)?;
        if let Err(error) = opened.fsync() {
            self.doubtful.lock().insert(folder.to_owned());
            return Err(error);
        }
        // The failure of another caller may have taken this one's names with it meanwhile.
        self.refuse_doubtful(folder)
    }

    fn open_staging(&self, folder: &str) -> io::Result<(String, Box<dyn VfsFile>)> {
        for _ in 0..STAGING_NAME_TRIES_MAX {
            let name = format!("{}{}", layout::STAGING_PREFIX, self.clock.new_id());
            let path = layout::child(folder, &name);
            match self.vfs.open_staged(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (path, file)),
            }
        }
        Err(io::Error::other(format!("no free staging name in \"{folder}\"")))
    }

    /// A staging name that cannot be removed is only litter.
    fn remove_staging(&self, path: &str) {
        if let Err(error) = self.vfs.unlink(path) {
            tracing::debug!(path, %error, "cannot remove a staging file");
        }
    }

    /// A durable file under a staging name in `folder`, holding `bytes`.
    fn write_staging(&self, folder: &str, bytes: &[u8]) -> io::Result<String> {
        let mut writes = 0;
        loop {
            writes += 1;
            let (path, mut file) = self.open_staging(folder)?;
            let written = file.write_all(bytes);
            let failed_fsync = written.is_ok();
            let Err(error) = written.and_then(|()| file.fsync()) else { return Ok(path) };
            drop(file);
            self.remove_staging(&path);
            if !failed_fsync || writes == STAGING_WRITES_MAX || is_full(&error) {
                return Err(error);
            }
        }
    }

    /// Link, folder fsync, staging name removed.
    fn link_durably(&self, staging: &str, path: &str) -> Result<PutOutcome, PutError> {
        let outcome = self.link(staging, path);
        self.remove_staging(staging);
        outcome
    }

    fn link(&self, staging: &str, path: &str) -> Result<PutOutcome, PutError> {
        let folder = layout::parent(path);
        let mut opened = self.open_folder(folder).map_err(PutError::NotStored)?;
        match self.vfs.link_new(staging, path) {
            Ok(()) => match self.sync_folder(folder, opened.as_mut()) {
                Ok(()) => Ok(PutOutcome::Created),
                Err(error) => Err(PutError::NotDurable(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(PutOutcome::Exists),
            Err(error) if is_definite(&error) => Err(PutError::NotStored(error)),
            Err(error) => Err(PutError::Unknown(error)),
        }
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<PutOutcome, PutError> {
        let folder = layout::parent(path);
        self.ensure_folder(folder).map_err(PutError::NotStored)?;
        let staging = self.write_staging(folder, bytes).map_err(PutError::NotStored)?;
        self.link_durably(&staging, path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = match self.vfs.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        names.retain(|name| !layout::is_staging(name));
        names.sort_unstable();
        Ok(names)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Failures of `link(2)` after which the new name certainly does not exist; an I/O error is not one of them.
fn is_definite(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, TooManyLinks, Unsupported,
    };
    is_full(error)
        || matches!(
            error.kind(),
            InvalidInput
                | NotFound
                | PermissionDenied
                | ReadOnlyFilesystem
                | TooManyLinks
                | Unsupported
        )
}

#[async_trait]
impl DurableStore for LocalStore {
    fn workers(&self) -> Workers {
        if self.files.vfs.runs_inline() { Workers::Inline } else { Workers::Pool }
    }

    fn stage(&self, path: &str) -> io::Result<Box<dyn Staged>> {
        let folder = layout::parent(path);
        self.files.ensure_folder(folder)?;
        let (staging, file) = self.files.open_staging(folder)?;
        Ok(Box::new(LocalStaged {
            files: Arc::clone(&self.files),
            file,
            staging: Some(staging),
            path: path.to_owned(),
        }))
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        let path = path.to_owned();
        self.blocking(move |files| files.put_if_absent(&path, &bytes))
            .await
            .map_err(PutError::Unknown)?
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        let path = path.to_owned();
        self.blocking(move |files| files.vfs.read(&path).map(Bytes::from)).await?
    }

    /// One after the other on one thread: a thread of its own for each would cost more than reading a small file does.
    async fn read_many(&self, paths: Vec<String>) -> Vec<io::Result<Bytes>> {
        let count = paths.len();
        self.blocking(move |files| {
            paths.iter().map(|path| files.vfs.read(path).map(Bytes::from)).collect()
        })
        .await
        .unwrap_or_else(|error| {
            let fail = || io::Error::new(error.kind(), error.to_string());
            (0..count).map(|_| Err(fail())).collect()
        })
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = folder.to_owned();
        self.blocking(move |files| files.list(&folder)).await?
    }

    async fn sync(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        self.blocking(move |files| {
            files.vfs.fsync_file(&path)?;
            let folder = layout::parent(&path);
            files.sync_folder(folder, files.open_folder(folder)?.as_mut())
        })
        .await?
    }

    fn space(&self) -> Option<DiskSpace> {
        self.files.vfs.space()
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.object_store)
    }
}

/// A large object under its staging name.
#[derive(Debug)]
struct LocalStaged {
    files: Arc<Files>,
    file: Box<dyn VfsFile>,
    /// Taken when the staging name needs no more care.
    staging: Option<String>,
    path: String,
}

impl io::Write for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Staged for LocalStaged {
    fn publish(mut self: Box<Self>) -> io::Result<()> {
        // On failure the drop below removes the file, which is never synced again (C14).
        self.file.fsync()?;
        let Some(staging) = self.staging.take() else { return Ok(()) };
        match self.files.link_durably(&staging, &self.path) {
            Ok(PutOutcome::Created) => Ok(()),
            Ok(PutOutcome::Exists) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("\"{}\" exists already", self.path),
            )),
            Err(PutError::NotStored(error)) => Err(error),
            // The kind is kept: a full disk asks for room (C13).
            Err(PutError::Unknown(error) | PutError::NotDurable(error)) => Err(io::Error::new(
                error.kind(),
                format!("\"{}\" may be there and is not durable: {error}", self.path),
            )),
        }
    }

    fn discard(self: Box<Self>) {}
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if let Some(staging) = self.staging.take() {
            self.files.remove_staging(&staging);
        }
    }
}
