//! The crate's public [`Error`]: a kind that says what a caller can do, a message for a person, and structured details.
//!
//! Each noun has its own small error enum inside; they become this type at the edge of the crate. Kinds become gRPC codes
//! in `flight-server`'s `status`, nowhere else.

use std::fmt;
use std::io;

/// What a caller can do about an error. One kind exists only where the right reaction differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong whatever the state of the table: correct it.
    Invalid,
    /// The data does not fit the table's schema: correct the data or the table.
    SchemaMismatch,
    /// No such table, column or version: create it or correct the name.
    NotFound,
    /// The thing to create is there already: use it or choose another name.
    AlreadyExists,
    /// The append touches pairs that another append owns; details in [`Error::overlap`]. Nothing was committed.
    Overlap,
    /// The request is right but the state forbids it (read-only root, append id used for other content): change the state.
    Precondition,
    /// Another writer won; nothing was committed: try again.
    Conflict,
    /// Nobody knows whether the commit happened: retry with the same append id, or look at the log.
    Indeterminate,
    /// Stored bytes are damaged or missing: restore them from a backup.
    Corrupt,
    /// The service cannot do it now, nothing was committed: try later.
    Unavailable,
    /// A limit or the disk is used up, nothing was committed: make room or ask for less.
    Exhausted,
    /// Coverline does not do this.
    Unsupported,
    /// A bug in Coverline: report the text.
    Internal,
}

impl ErrorKind {
    /// What a failure of the storage asks of the caller.
    pub(crate) fn of_storage(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Exhausted,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Precondition
            }
            _ => Self::Unavailable,
        }
    }
}

/// What to do about a root that may not be written.
pub(crate) const WRITABLE_ADVICE: &str = "give the server permission to write there";

/// Where an append met pairs that are already owned.
///
/// Bounds are in the index column's unit, half-open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Table name.
    pub table: String,
    /// Owned (entity, bucket) pairs that the append touches, as far as it was read.
    pub overlap_count: u64,
    /// One such entity in text form, `symbol="NVDA"`; empty on tables without entity columns.
    pub example_entity: String,
    /// Start of one such bucket, as text (RFC 3339 for timestamps).
    pub bucket_start: String,
    /// End of that bucket, exclusive.
    pub bucket_end: String,
    /// The version that owns the example pair, when it could be determined.
    pub owner_version: Option<u64>,
    /// The table's version that the append was checked against.
    pub table_version: u64,
    /// Whether the append has the very rows, in the same order, of the append that owns the example pair: it repeats that one, and
    /// all of its pairs are that one's. `None` when it is not known, as of owners from before fingerprints were kept.
    pub identical: Option<bool>,
}

/// An error of this crate.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    overlap: Option<Box<Overlap>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`. The message says what went wrong, where, and what to do; lowercase, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), overlap: None, source: None }
    }

    /// An overlap, with the text made from its details.
    pub fn overlap_with(overlap: Overlap) -> Self {
        let entity = match overlap.example_entity.as_str() {
            "" => String::new(),
            entity => format!(" for {entity}"),
        };
        let owner = match overlap.owner_version {
            Some(version) => format!(", since version {version}"),
            None => String::new(),
        };
        let Overlap { table, bucket_start, bucket_end, overlap_count: count, .. } = &overlap;
        let (plural, hold) = if *count == 1 { ("", "holds") } else { ("s", "hold") };
        let example = format!("{entity} (first [{bucket_start}, {bucket_end}){owner})");
        let message = match overlap.identical {
            Some(true) => format!(
                "append to table \"{table}\" rejected: its {count} bucket{plural} already {hold} these very rows{example}; \
                 nothing is left to do"
            ),
            _ => format!(
                "append to table \"{table}\" rejected: {count} bucket{plural} already {hold} rows{example}; leave those rows \
                 out, append with on_overlap=skip, or list what is free with gaps('{table}')"
            ),
        };
        Self { kind: ErrorKind::Overlap, message, overlap: Some(Box::new(overlap)), source: None }
    }

    /// A bug: something that the code itself guarantees did not hold.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Internal,
            format!("internal error: {what}; this is a bug, please report this text"),
        )
    }

    /// The same error, its message led by what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The same error with its cause kept.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong, where, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where the append overlapped, for [`ErrorKind::Overlap`].
    pub fn overlap(&self) -> Option<&Overlap> {
        self.overlap.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
