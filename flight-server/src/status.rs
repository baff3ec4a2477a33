//! The one table from error kinds to gRPC codes, with structured details.
//!
//! Every error that leaves the server is made here: code, a message for a person, `google.rpc.ErrorInfo` for a program, and
//! the same facts as text trailers for clients that show only those. No path, no Debug dump, nothing of other callers.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use table_core::{Error, ErrorKind, Overlap};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, ErrorInfo, StatusExt};
use tracing::{error, warn};

use crate::limits;

/// Domain of every `ErrorInfo`.
pub(crate) const ERROR_DOMAIN: &str = "coverline";
/// Trailer with the reason.
const TRAILER_ERROR: &str = "x-coverline-error";
/// Trailer with the number of overlapping pairs.
const TRAILER_OVERLAP_COUNT: &str = "x-coverline-overlap-count";
/// Trailer with one overlapping entity, percent-encoded.
const TRAILER_OVERLAP_EXAMPLE: &str = "x-coverline-overlap-example";
/// Trailer with whether the append repeats the one that it overlaps, where that is known.
const TRAILER_OVERLAP_IDENTICAL: &str = "x-coverline-overlap-identical";
/// Trailer with whether anything was committed.
const TRAILER_COMMITTED: &str = "x-coverline-committed";
/// The same in `ErrorInfo`.
const COMMITTED: &str = "committed";
/// Batches of the stream that were committed before the one that failed, in `ErrorInfo`.
const BATCHES_COMMITTED: &str = "batches_committed";
/// Whether a table that was made for an append is there without it, in `ErrorInfo`.
const TABLE_STAYS: &str = "table_stays";
/// With this trailer pyarrow exposes the details as `extra_info`, but calls the error an internal one.
const TRAILER_ARROW_STATUS: &str = "x-arrow-status";
/// Arrow's code for an error with details.
const ARROW_STATUS_DETAILED: &str = "45";

/// What is known about the commit of a failed change (C2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It is not there and never will be.
    No,
    /// Nobody can tell.
    Unknown,
}

impl Committed {
    /// What a code says by itself, without the details of ours.
    pub(crate) fn by_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::Aborted
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::NotFound
            | Code::Unimplemented
            // When a server says so. A client that lost its connection says so too, and knows nothing.
            | Code::Unavailable => Self::No,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::DataLoss => Self::Unknown,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// The gRPC code and the reason of a kind.
fn row(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::Invalid => (Code::InvalidArgument, "INVALID"),
        ErrorKind::SchemaMismatch => (Code::InvalidArgument, "SCHEMA_MISMATCH"),
        ErrorKind::NotFound => (Code::NotFound, "NOT_FOUND"),
        ErrorKind::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        ErrorKind::Overlap => (Code::AlreadyExists, "COVERAGE_OVERLAP"),
        ErrorKind::Precondition => (Code::FailedPrecondition, "PRECONDITION"),
        ErrorKind::Conflict => (Code::Aborted, "CONFLICT"),
        ErrorKind::Indeterminate => (Code::Unknown, "INDETERMINATE"),
        ErrorKind::Corrupt => (Code::DataLoss, "CORRUPT"),
        ErrorKind::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
        ErrorKind::Exhausted => (Code::ResourceExhausted, "EXHAUSTED"),
        ErrorKind::Unsupported => (Code::Unimplemented, "UNSUPPORTED"),
        ErrorKind::Internal => (Code::Internal, "INTERNAL"),
        // The enum is open to growth; a kind this server does not know yet is a bug here, not of the caller.
        _ => (Code::Internal, "INTERNAL"),
    }
}

/// Whether a program is expected to read the details, so that pyarrow should expose them.
fn is_structured(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Overlap
            | ErrorKind::Conflict
            | ErrorKind::Indeterminate
            | ErrorKind::Precondition
            | ErrorKind::Corrupt
    )
}

/// An error of the table engine.
pub(crate) fn core(error: &Error) -> Status {
    from_core(error, None)
}

/// An error of the table engine that ended an append before its commit began, so that nothing was committed.
pub(crate) fn append(error: &Error) -> Status {
    from_core(error, Some(Committed::No))
}

/// An error of the table engine that a commit ended with: says whether anything was committed. A bug is not believed to have
/// stopped in time.
pub(crate) fn commit(error: &Error) -> Status {
    let committed = match error.kind() {
        ErrorKind::Indeterminate | ErrorKind::Internal => Committed::Unknown,
        _ => Committed::No,
    };
    from_core(error, Some(committed))
}

/// Bad input.
pub(crate) fn invalid(message: impl AsRef<str>) -> Status {
    plain(ErrorKind::Invalid, message.as_ref())
}

/// Something named that is not there.
pub(crate) fn not_found(message: impl AsRef<str>) -> Status {
    plain(ErrorKind::NotFound, message.as_ref())
}

/// Something that Coverline does not do.
pub(crate) fn unsupported(message: impl AsRef<str>) -> Status {
    plain(ErrorKind::Unsupported, message.as_ref())
}

/// A limit is used up.
pub(crate) fn exhausted(message: impl AsRef<str>) -> Status {
    plain(ErrorKind::Exhausted, message.as_ref())
}

/// A bug of ours.
pub(crate) fn internal(what: impl AsRef<str>) -> Status {
    core(&Error::internal(what.as_ref()))
}

/// Any kind with a message of its own.
pub(crate) fn plain(kind: ErrorKind, message: &str) -> Status {
    let (code, reason) = row(kind);
    build(code, reason, message, HashMap::new(), is_structured(kind))
}

/// A time limit was reached.
pub(crate) fn deadline(message: impl AsRef<str>) -> Status {
    build(Code::DeadlineExceeded, "EXHAUSTED", message.as_ref(), HashMap::new(), false)
}

/// Somebody called it off.
pub(crate) fn cancelled(message: impl AsRef<str>) -> Status {
    build(Code::Cancelled, "CANCELLED", message.as_ref(), HashMap::new(), false)
}

/// An error of planning or running SQL.
///
/// Wrappers are looked through: what the table engine said inside a scan keeps its own code.
pub(crate) fn query(error: &DataFusionError) -> Status {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => query(inner),
        DataFusionError::Shared(inner) => query(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => query(first),
            None => internal("the query failed without saying why"),
        },
        DataFusionError::External(inner) => external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::ParquetError(inner) => parquet(inner),
        DataFusionError::ObjectStore(inner) => match source_of(inner.as_ref()) {
            Some(core_error) => core(core_error),
            None => storage(inner),
        },
        DataFusionError::IoError(inner) => io_error(inner),
        DataFusionError::SQL(inner, _) => query_error(Code::InvalidArgument, &inner.to_string()),
        DataFusionError::NotImplemented(message) => {
            build(Code::Unimplemented, "UNSUPPORTED", message, HashMap::new(), false)
        }
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { .. }
            | SchemaError::AmbiguousReference { .. }
            | SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => {
                query_error(Code::InvalidArgument, &inner.to_string())
            }
        },
        DataFusionError::Execution(message) | DataFusionError::Configuration(message) => {
            query_error(Code::InvalidArgument, message)
        }
        DataFusionError::ResourcesExhausted(message) => {
            exhausted(format!("the query needs more memory or disk than it may use: {message}"))
        }
        DataFusionError::ExecutionJoin(_) => {
            error!(error = %error, "a task of a query died");
            internal("a task of the query died")
        }
        DataFusionError::Internal(message)
        | DataFusionError::Substrait(message)
        | DataFusionError::Ffi(message) => {
            error!(%message, "the query engine reports a bug");
            internal(format!("the query engine says \"{}\"", first_line(message)))
        }
    }
}

/// An Arrow error met while a query ran or a result was encoded.
pub(crate) fn arrow(error: &ArrowError) -> Status {
    match error {
        ArrowError::ExternalError(inner) => external(inner.as_ref()),
        ArrowError::IoError(_, inner) => io_error(inner),
        ArrowError::NotYetImplemented(message) => {
            build(Code::Unimplemented, "UNSUPPORTED", message, HashMap::new(), false)
        }
        ArrowError::MemoryError(message) => exhausted(message),
        other => query_error(Code::InvalidArgument, &other.to_string()),
    }
}

/// A commit cannot have happened: something before it failed.
pub(crate) fn not_committed(status: Status) -> Status {
    with_detail(status, COMMITTED, Committed::No.text())
}

/// The error of a call that changes something: says whether it did, by its code where nobody knew better.
pub(crate) fn settled(status: Status) -> Status {
    let info = status.get_details_error_info();
    if info.is_some_and(|info| info.metadata.contains_key(COMMITTED)) {
        return status;
    }
    let committed = Committed::by_code(status.code());
    with_detail(status, COMMITTED, committed.text())
}

/// The error that ended a stream of commits, with the number of those that stay.
pub(crate) fn after_batches(status: Status, batch_count: u64) -> Status {
    with_detail(settled(status), BATCHES_COMMITTED, &batch_count.to_string())
}

/// The error of an append for which a table was made that is there now without its rows.
pub(crate) fn table_stays(status: Status, table: &str) -> Status {
    let advice = format!("; table \"{table}\" was created and stays: append to it, or drop it");
    let room = limits::ERROR_MESSAGE_BYTES_MAX.saturating_sub(encoded_length(&advice));
    let message = format!("{}{advice}", bounded_encoded(status.message(), room));
    detailed(status, message, TABLE_STAYS, "true")
}

/// The error of preparing an unsupported statement that has parameters: INVALID_ARGUMENT, since Python's DB-API takes UNIMPLEMENTED
/// for a driver that cannot prepare. It would go on, bind the parameters, and show what that ends with instead.
pub(crate) fn unsupported_with_parameters(status: &Status) -> Status {
    let (details, trailers) = (status.get_error_details(), status.metadata().clone());
    Status::with_error_details_and_metadata(
        Code::InvalidArgument,
        status.message(),
        details,
        trailers,
    )
}

/// A panic below a call. What it says is for the log only.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    error!(panic = text, "a call panicked");
    internal("the call panicked; the server's log says where")
}

/// The same error with one more detail. One that was not made here, but by the transport, gets its first ones.
fn with_detail(status: Status, key: &str, value: &str) -> Status {
    let message = status.message().to_owned();
    detailed(status, message, key, value)
}

/// The same with another text, too.
fn detailed(mut status: Status, message: String, key: &str, value: &str) -> Status {
    let info = status.get_details_error_info().unwrap_or_else(|| {
        ErrorInfo::new(transport_reason(status.code()), ERROR_DOMAIN, HashMap::new())
    });
    let mut metadata = info.metadata;
    metadata.insert(key.to_owned(), value.to_owned());
    let details = ErrorDetails::with_error_info(info.reason, info.domain, metadata);
    let mut trailers = std::mem::take(status.metadata_mut());
    if key == COMMITTED {
        insert(&mut trailers, TRAILER_COMMITTED, value);
    }
    Status::with_error_details_and_metadata(status.code(), message, details, trailers)
}

/// The reason of an error that the transport made.
fn transport_reason(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID",
        Code::OutOfRange | Code::ResourceExhausted | Code::DeadlineExceeded => "EXHAUSTED",
        Code::Unimplemented => "UNSUPPORTED",
        Code::Unavailable | Code::Cancelled => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

fn plan(message: &str) -> Status {
    // DataFusion has no kind of its own for a missing table.
    let missing_table = (message.contains("table '") || message.contains("table \""))
        && message.contains("not found")
        && !message.contains("table function");
    let code = if missing_table { Code::NotFound } else { Code::InvalidArgument };
    query_error(code, message)
}

fn query_error(code: Code, message: &str) -> Status {
    build(code, "QUERY", message, HashMap::new(), false)
}

fn external(error: &(dyn std::error::Error + 'static)) -> Status {
    if let Some(core_error) = source_of(error) {
        return core(core_error);
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return query(inner);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return arrow(inner);
    }
    if let Some(inner) = error.downcast_ref::<Status>() {
        return inner.clone();
    }
    error!(%error, "a query failed with an unexpected error");
    internal("a query failed with an unexpected error")
}

fn parquet(error: &ParquetError) -> Status {
    if let Some(core_error) = source_of(error) {
        return core(core_error);
    }
    error!(%error, "a segment could not be read");
    plain(
        ErrorKind::Corrupt,
        "a segment of the table could not be decoded; check the table with coverline scrub and restore the damaged file from a backup",
    )
}

fn storage(error: &(dyn std::error::Error + 'static)) -> Status {
    warn!(%error, "storage failed under a query");
    plain(
        ErrorKind::Unavailable,
        "the storage below the table could not be read; try again, and see the server's log",
    )
}

fn io_error(error: &io::Error) -> Status {
    if let Some(core_error) = error.get_ref().and_then(|inner| source_of(inner)) {
        return core(core_error);
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            exhausted("the disk is full; make room or ask for less")
        }
        _ => storage(error),
    }
}

/// The table engine's error inside a chain of causes.
fn source_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<Error>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}

fn from_core(error: &Error, committed: Option<Committed>) -> Status {
    let (code, reason) = row(error.kind());
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Indeterminate => {
            error!(error = %error, source = error.source_text(), "request failed");
        }
        ErrorKind::Unavailable | ErrorKind::Exhausted => {
            warn!(error = %error, source = error.source_text(), "request failed");
        }
        _ => {}
    }
    let mut details = HashMap::new();
    if let Some(committed) = committed {
        details.insert(COMMITTED.to_owned(), committed.text().to_owned());
    }
    let overlap = error.overlap();
    if let Some(overlap) = overlap {
        details.extend(overlap_details(overlap));
    }
    let mut status = build(code, reason, error.message(), details, is_structured(error.kind()));
    if let Some(committed) = committed {
        insert(status.metadata_mut(), TRAILER_COMMITTED, committed.text());
    }
    if let Some(overlap) = overlap {
        if let Some(identical) = overlap.identical {
            insert(status.metadata_mut(), TRAILER_OVERLAP_IDENTICAL, &identical.to_string());
        }
        insert(status.metadata_mut(), TRAILER_OVERLAP_COUNT, &overlap.overlap_count.to_string());
        let example = percent_encode(&overlap.example_entity);
        insert(
            status.metadata_mut(),
            TRAILER_OVERLAP_EXAMPLE,
            bounded(&example, limits::ERROR_DETAIL_BYTES_MAX),
        );
    }
    status
}

trait SourceText {
    fn source_text(&self) -> String;
}

impl SourceText for Error {
    /// The causes, for the log only: they may name files.
    fn source_text(&self) -> String {
        let mut text = String::new();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            let _infallible = write!(text, "{source}");
            next = source.source();
        }
        text
    }
}

fn overlap_details(overlap: &Overlap) -> Vec<(String, String)> {
    let mut details = vec![
        ("table".to_owned(), overlap.table.clone()),
        ("overlap_count".to_owned(), overlap.overlap_count.to_string()),
        ("example_entity".to_owned(), overlap.example_entity.clone()),
        ("bucket_start".to_owned(), overlap.bucket_start.clone()),
        ("bucket_end".to_owned(), overlap.bucket_end.clone()),
        ("table_version".to_owned(), overlap.table_version.to_string()),
    ];
    if let Some(owner) = overlap.owner_version {
        details.push(("owner_version".to_owned(), owner.to_string()));
    }
    if let Some(identical) = overlap.identical {
        details.push(("identical".to_owned(), identical.to_string()));
    }
    details
}

fn build(
    code: Code,
    reason: &str,
    message: &str,
    mut details: HashMap<String, String>,
    structured: bool,
) -> Status {
    for value in details.values_mut() {
        *value = bounded(value, limits::ERROR_DETAIL_BYTES_MAX).to_owned();
    }
    let message = clean(bounded_encoded(message, limits::ERROR_MESSAGE_BYTES_MAX));
    let mut trailers = MetadataMap::new();
    insert(&mut trailers, TRAILER_ERROR, reason);
    if structured {
        insert(&mut trailers, TRAILER_ARROW_STATUS, ARROW_STATUS_DETAILED);
    }
    Status::with_error_details_and_metadata(
        code,
        message,
        ErrorDetails::with_error_info(reason, ERROR_DOMAIN, details),
        trailers,
    )
}

fn insert(trailers: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        trailers.insert(name, value);
    }
}

/// At most `max` bytes of `text`, cut between characters.
fn bounded(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// As much of `text` as takes at most `max` bytes in a trailer, cut between characters.
fn bounded_encoded(text: &str, max: usize) -> &str {
    let mut length = 0;
    let end = text.char_indices().find(|&(start, character)| {
        length += encoded_length(&text[start..start + character.len_utf8()]);
        length > max
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// Bytes of a text in the trailer `grpc-message`, where some are written as `%20`: a few more than are.
fn encoded_length(text: &str) -> usize {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.,;:!/()[]'*+=&|@$~^\\".contains(byte);
    text.bytes().map(|byte| if is_plain(&byte) { 1 } else { 3 }).sum()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Control characters would end up in terminals and logs of clients.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
