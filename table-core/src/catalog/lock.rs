//! The lock on a local root: one server owns it (C11). Safety does not rest on it; publishing is atomic by itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result, WRITABLE_ADVICE};
use crate::storage::{layout, refuse_symlink};

/// Bytes of a foreign note that are shown.
const NOTE_BYTES_MAX: u64 = 512;

/// An exclusive lock on `<root>/LOCK`, held until dropped (or until the process ends). The file says who holds it.
#[derive(Debug)]
pub(super) struct RootLock {
    file: Mutex<File>,
}

impl RootLock {
    /// Takes the lock. Blocking.
    pub(super) fn acquire(root: &Path, note: &str) -> Result<Self> {
        let path = root.join(layout::LOCK);
        let failed = |error: io::Error| {
            let kind = ErrorKind::of_storage(&error);
            let advice = match kind {
                ErrorKind::Precondition => format!("; {WRITABLE_ADVICE}"),
                _ => String::new(),
            };
            Error::new(
                kind,
                format!("cannot lock data directory \"{}\": {error}{advice}", root.display()),
            )
            .with_source(error)
        };
        refuse_symlink(&path).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_note(&mut file).unwrap_or_default();
                let holder = match holder.trim() {
                    "" => String::new(),
                    note => format!(" ({note})"),
                };
                return Err(Error::new(
                    ErrorKind::Precondition,
                    format!(
                        "data directory \"{}\" is held by another coverline server{holder}; stop it, talk to it with \
                         --server, or read beside it with serve --read-only",
                        root.display()
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let lock = Self { file: Mutex::new(file) };
        lock.write_note(note);
        Ok(lock)
    }

    /// Says who holds the lock. A note that cannot be written (a full disk) is only missed by people.
    pub(super) fn write_note(&self, note: &str) {
        let pid = std::process::id();
        let text = match note {
            "" => format!("pid {pid}\n"),
            note => format!("pid {pid}, {note}\n"),
        };
        let mut file = self.file.lock();
        let written = file
            .rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64));
        if let Err(error) = written {
            tracing::warn!(%error, "the lock file does not say who holds the data directory");
        }
    }
}

fn read_note(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // Only the first line, and nothing that could steer a terminal.
    Ok(text.lines().next().unwrap_or_default().replace(char::is_control, ""))
}
