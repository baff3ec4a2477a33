//! The append id that a file has by itself: what is in it, and what the options make of that.
//!
//! The same file appended in the same way has the same id, wherever it lies and whatever it is called, so running a job twice
//! gets the first receipt again. Ids are kept in the log of their table and need not name it. `--on-overlap` is part of the id,
//! since it decides which rows are written: a file that was appended with `skip` is not taken for loaded whole.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::OnOverlap;
use crate::cli::source::{Position, Source, SourceError};

/// What the id is made by. To be changed when the same file no longer gives the same rows.
const SCHEME: &str = "file-blake3";

/// Read buffer, bytes: large enough for BLAKE3 to work on many blocks at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What tells whether a file is still the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// Of the file as it is now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// The options that change which rows are written, of those that the kind of file heeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    on_overlap: &'static str,
    /// Of CSV: the delimiter, which the file's name may decide, and the texts that mean null.
    csv: Option<(u8, Vec<String>)>,
}

impl Reading {
    pub(super) fn new(source: &Source, on_overlap: OnOverlap, null_texts: &[String]) -> Self {
        let csv = source.delimiter().map(|delimiter| {
            let mut null_texts = null_texts.to_vec();
            null_texts.sort_unstable();
            null_texts.dedup();
            (delimiter, null_texts)
        });
        Self { on_overlap: on_overlap.name(), csv }
    }

    /// The id of a file with this content, read in this way.
    fn id_of(&self, content: blake3::Hash) -> String {
        let mut id = blake3::Hasher::new();
        let mut take = |part: &[u8]| {
            id.update(&(part.len() as u64).to_le_bytes());
            id.update(part);
        };
        take(content.as_bytes());
        take(self.on_overlap.as_bytes());
        if let Some((delimiter, null_texts)) = &self.csv {
            take(&[*delimiter]);
            for text in null_texts {
                take(text.as_bytes());
            }
        }
        format!("{SCHEME}:{}", id.finalize())
    }
}

/// Reads a file once, on the blocking pool, for its id.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn append_id(
    path: PathBuf,
    reading: Reading,
    position: Position,
) -> Result<String, SourceError> {
    let name = path.clone();
    let hashed = tokio::task::spawn_blocking(move || {
        let mut content = blake3::Hasher::new();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(&path)?);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return io::Result::Ok(reading.id_of(content.finalize())),
                count => {
                    content.update(buffer.get(..count).unwrap_or_default());
                    position.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        }
    });
    let hashed = hashed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    hashed.map_err(|source| SourceError::Open { path: name, source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn reading(on_overlap: OnOverlap, csv: Option<(u8, &[&str])>) -> Reading {
        let csv = csv.map(|(delimiter, texts)| {
            (delimiter, texts.iter().map(|text| (*text).to_owned()).collect())
        });
        Reading { on_overlap: on_overlap.name(), csv }
    }

    #[test]
    fn whatever_changes_the_rows_changes_the_id() {
        let of = |content: &str, reading: Reading| reading.id_of(blake3::hash(content.as_bytes()));
        let all = [
            of("a", reading(OnOverlap::Reject, None)),
            of("b", reading(OnOverlap::Reject, None)),
            of("a", reading(OnOverlap::Skip, None)),
            of("a", reading(OnOverlap::Reject, Some((b',', &[])))),
            of("a", reading(OnOverlap::Reject, Some((b'\t', &[])))),
            of("a", reading(OnOverlap::Reject, Some((b',', &["NA"])))),
            of("a", reading(OnOverlap::Reject, Some((b',', &["NA", "-"])))),
            of("a", reading(OnOverlap::Reject, Some((b',', &["NA-"])))),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all[0].starts_with("file-blake3:") && all[0].len() == 76, "{}", all[0]);
    }

    #[tokio::test]
    async fn a_file_of_many_buffers_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let content: Vec<u8> = (0..BUFFER_BYTES * 3 + 17).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let position = Position::default();
        let reading = reading(OnOverlap::Reject, None);
        let id = append_id(path, reading.clone(), position.clone()).await.unwrap();
        assert_eq!(id, reading.id_of(blake3::hash(&content)));
        assert_eq!(position.load(Ordering::Relaxed), content.len() as u64);
    }
}
