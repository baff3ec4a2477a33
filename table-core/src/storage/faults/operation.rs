//! The operations of a simulated disk, and the ways in which they fail.

use std::io;
use std::ops::Range;

/// A kind of file system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// mkdir.
    CreateDir,
    /// open with O_CREAT and O_EXCL.
    OpenStaged,
    /// write.
    Write,
    /// fsync of a file being written.
    FsyncStaged,
    /// link.
    LinkNew,
    /// unlink.
    Unlink,
    /// fsync of a file by name.
    FsyncFile,
    /// Opening a folder, to sync it.
    OpenFolder,
    /// fsync of a folder.
    FsyncFolder,
    /// Reading a file.
    Read,
    /// Reading a folder.
    List,
}

impl Operation {
    /// Whether it changes what is on the disk, or what is durable of it.
    pub fn changes_disk(self) -> bool {
        !matches!(self, Self::OpenFolder | Self::Read | Self::List)
    }

    /// Whether it needs a file system that may be written and has room.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::CreateDir | Self::OpenStaged | Self::Write | Self::LinkNew)
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTime {
    /// Instead of the effect.
    Before,
    /// After the effect, which stands.
    After,
}

/// What a fault looks like to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// EMFILE.
    Handles,
    /// EACCES.
    Denied,
    /// EROFS.
    ReadOnly,
}

impl FaultKind {
    pub(super) fn error(self) -> io::Error {
        match self {
            // Those without a kind of their own in std come as their number.
            Self::Io => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Handles => io::Error::from_raw_os_error(24),
            Self::Denied => io::ErrorKind::PermissionDenied.into(),
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}

/// Failures of the operations with these numbers, counted from 0 since the disk was made.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operations.
    pub at: Range<u64>,
    /// Before or after their effect.
    pub when: FaultTime,
    /// What the caller sees.
    pub kind: FaultKind,
}
