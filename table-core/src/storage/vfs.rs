//! The seam under local storage: the few file system calls that the commit protocol is made of.
//!
//! [`LocalStore`](super::LocalStore) is written against it, so that a simulated disk can stand in for the real one and every
//! crash point be tried. Calls block. Paths are those of `layout`; the empty path is the root itself.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Room on the disk that holds a root, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Free to this process.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// A file being written under its staging name.
pub trait VfsFile: io::Write + Send + fmt::Debug {
    /// Makes the contents durable; says nothing of the directory entry.
    ///
    /// # Errors
    /// Of the file system. The contents are then unknown and must not be synced again (C14).
    fn fsync(&mut self) -> io::Result<()>;
}

/// A folder that was opened, so that its names can be made durable.
pub trait VfsFolder: Send + fmt::Debug {
    /// Makes the names in the folder durable.
    ///
    /// # Errors
    /// Of the file system. The names are then unknown, and syncing them again proves nothing (C14).
    fn fsync(&mut self) -> io::Result<()>;
}

/// File system calls below one root.
pub trait Vfs: fmt::Debug + Send + Sync {
    /// Makes one folder; `AlreadyExists` when it is there.
    ///
    /// # Errors
    /// Of the file system.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Makes a new file; `AlreadyExists` when the name is taken.
    ///
    /// # Errors
    /// Of the file system.
    fn open_staged(&self, path: &str) -> io::Result<Box<dyn VfsFile>>;

    /// Gives a file a second name, atomically; `AlreadyExists` when that name is taken.
    ///
    /// # Errors
    /// Of the file system.
    fn link_new(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a name away.
    ///
    /// # Errors
    /// Of the file system.
    fn unlink(&self, path: &str) -> io::Result<()>;

    /// Makes the contents of an existing file durable.
    ///
    /// # Errors
    /// Of the file system.
    fn fsync_file(&self, path: &str) -> io::Result<()>;

    /// Opens a folder to sync it. That this fails says nothing of the names in it: a process may be out of file handles.
    ///
    /// # Errors
    /// Of the file system.
    fn open_folder(&self, path: &str) -> io::Result<Box<dyn VfsFolder>>;

    /// The whole file.
    ///
    /// # Errors
    /// Of the file system.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Names in a folder, in no particular order.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder, or of the file system.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Room on the disk, or `None` when it cannot be told.
    fn space(&self) -> Option<DiskSpace>;

    /// Whether calls return at once and may run on the caller's thread, as on a simulated disk.
    fn runs_inline(&self) -> bool {
        false
    }
}

/// The machine's file system. Symbolic links below the root are refused: a root is one tree, and nothing outside it can be
/// named through it.
#[derive(Debug)]
pub(super) struct DiskVfs {
    root: PathBuf,
}

impl DiskVfs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let mut full = self.root.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if name == ".." || name == "." {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("path \"{path}\" leaves the root"),
                ));
            }
            full.push(name);
            refuse_symlink(&full)?;
        }
        Ok(full)
    }
}

/// Fails when `path` is a symbolic link. A path that does not exist passes.
pub(crate) fn refuse_symlink(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "\"{}\" is a symbolic link, which a data directory must not hold; replace it by what it points to",
                path.display()
            ),
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the folder and those above it that are missing, each durable before the next.
pub(crate) fn create_root(root: &Path) -> io::Result<()> {
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if root.is_dir() {
        // Whoever made it may have been killed before its entry was durable. A parent that is not ours to open was not made
        // by us either.
        return match File::open(parent) {
            Ok(parent) => parent.sync_all(),
            Err(_) => Ok(()),
        };
    }
    create_root(parent)?;
    match fs::create_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

impl VfsFile for File {
    fn fsync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl VfsFolder for File {
    fn fsync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Vfs for DiskVfs {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        let path = self.resolve(path)?;
        match fs::create_dir(&path) {
            // A file in the folder's place would otherwise pass for the folder.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
                Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("\"{}\" is not a folder", path.display()),
                ))
            }
            other => other,
        }
    }

    fn open_staged(&self, path: &str) -> io::Result<Box<dyn VfsFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.resolve(path)?)?;
        Ok(Box::new(file))
    }

    fn link_new(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.resolve(from)?, self.root.join(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.resolve(path)?)
    }

    fn fsync_file(&self, path: &str) -> io::Result<()> {
        File::open(self.resolve(path)?)?.sync_all()
    }

    fn open_folder(&self, path: &str) -> io::Result<Box<dyn VfsFolder>> {
        Ok(Box::new(File::open(self.resolve(path)?)?))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.resolve(path)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.resolve(path)?)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn space(&self) -> Option<DiskSpace> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        Some(DiskSpace {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}
