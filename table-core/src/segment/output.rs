//! The file that a segment is written to: counts and hashes what goes through.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::meta::FOOTER_TRAILER_BYTES;
use crate::storage::Staged;

/// Output that counts and hashes what goes through.
#[derive(Debug)]
pub(super) struct CheckedOutput {
    pub(super) staged: Box<dyn Staged>,
    /// The storage's error, kept aside because the Parquet writer passes some of them on as mere text.
    failure: Arc<Mutex<Option<io::Error>>>,
    pub(super) written: u64,
    pub(super) digest: blake3::Hasher,
    /// Of the bytes since it was taken last.
    pub(super) crc32c: u32,
    /// The last bytes written.
    pub(super) last: [u8; FOOTER_TRAILER_BYTES as usize],
}

impl CheckedOutput {
    pub(super) fn new(staged: Box<dyn Staged>, failure: Arc<Mutex<Option<io::Error>>>) -> Self {
        Self {
            staged,
            failure,
            written: 0,
            digest: blake3::Hasher::new(),
            crc32c: 0,
            last: [0; FOOTER_TRAILER_BYTES as usize],
        }
    }

    /// Keeps the error and hands on one like it.
    fn note(&self, error: io::Error) -> io::Error {
        let like = io::Error::new(error.kind(), error.to_string());
        // A call that was merely interrupted is made again.
        if error.kind() != io::ErrorKind::Interrupted {
            *self.failure.lock() = Some(error);
        }
        like
    }

    pub(super) fn take_crc32c(&mut self) -> u32 {
        std::mem::take(&mut self.crc32c)
    }
}

impl Write for CheckedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.staged.write(bytes).map_err(|error| self.note(error))?;
        let bytes = &bytes[..count];
        self.written += count as u64;
        self.digest.update(bytes);
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        let length = self.last.len();
        let new = &bytes[count - count.min(length)..];
        self.last.copy_within(new.len().., 0);
        self.last[length - new.len()..].copy_from_slice(new);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.staged.flush().map_err(|error| self.note(error))
    }
}
