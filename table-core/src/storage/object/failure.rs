//! What the errors of object stores mean: to the one who put something, to the rest of the crate, and to a person.
//!
//! The crate `object_store` sorts only some answers into kinds of error. Of the rest the status is read from the text of the
//! error; where there is none, the outcome counts as unknown, which is always safe.

use std::fmt;
use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// How the text of an answer that is an error begins; the status follows.
const STATUS_PREFIX: &str = "Server returned non-2xx status code: ";

/// Characters of a store's own message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// What a PUT that failed left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// An object has that name: another one, or this very one from an earlier request.
    Another,
    /// Nothing.
    Nothing {
        /// Whether another try may do better.
        may_pass: bool,
    },
    /// Nobody knows.
    Unknown,
    /// Nothing, since another request for that name was under way; who won is seen by asking again.
    Busy,
}

/// Codes of S3 for a conditional PUT that met another: the answer to Azure's 409 would be [`Stored::Another`].
const BUSY_CODES: [&str; 2] = ["ConditionalRequestConflict", "OperationAborted"];

/// What a conditional PUT that failed left behind.
pub(super) fn what_was_stored(error: &Error) -> Stored {
    match error {
        Error::AlreadyExists { .. }
            if answer(error).is_some_and(|answer| {
                element(&answer, "Code").is_some_and(|code| BUSY_CODES.contains(&code))
            }) =>
        {
            Stored::Busy
        }
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            Stored::Another
        }
        // Of a PUT: there is no such container.
        Error::NotFound { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Stored::Nothing { may_pass: false },
        other => match (status(other), http_kind(other)) {
            (Some(429), _) => Stored::Nothing { may_pass: true },
            // The server stopped waiting for the rest of the request, or says that it has two at once.
            (Some(408 | 409), _) => Stored::Unknown,
            (Some(400..=499 | 501), _) => Stored::Nothing { may_pass: false },
            // Before the first byte of the request.
            (None, Some(HttpErrorKind::Connect)) => Stored::Nothing { may_pass: true },
            _ => Stored::Unknown,
        },
    }
}

/// The error of the storage trait: its kind says what code can act on, its text is for people.
pub(super) fn into_io(error: Error) -> io::Error {
    use io::ErrorKind;
    let kind = match &error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => ErrorKind::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => {
            ErrorKind::InvalidInput
        }
        other => match (status(other), http_kind(other)) {
            // Lists are sorted by nobody else.
            (Some(404), _) => ErrorKind::NotFound,
            (Some(401 | 403), _) => ErrorKind::PermissionDenied,
            (Some(501), _) => ErrorKind::Unsupported,
            (Some(400), _) => ErrorKind::InvalidInput,
            // Insufficient storage, as some stores on disks of one's own say.
            (Some(507), _) => ErrorKind::StorageFull,
            (None, Some(HttpErrorKind::Timeout)) => ErrorKind::TimedOut,
            (None, Some(HttpErrorKind::Connect)) => ErrorKind::NotConnected,
            (None, Some(HttpErrorKind::Interrupted)) => ErrorKind::ConnectionReset,
            _ => ErrorKind::Other,
        },
    };
    io::Error::new(kind, StoreError(error))
}

/// An error of a store as people should see it: short, one line, and without what the client did in vain.
#[derive(Debug)]
struct StoreError(Error);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(answer) = answer(&self.0) {
            let (status, body) = answer.split_once(": ").unwrap_or((&answer, ""));
            let say = |f: &mut fmt::Formatter<'_>, what: &str| {
                let line: String =
                    what.replace(char::is_control, " ").chars().take(MESSAGE_CHARS_MAX).collect();
                write!(f, "{line}")
            };
            write!(f, "the store answered ")?;
            say(f, status.trim_end_matches(':'))?;
            return match (element(body, "Code"), element(body, "Message")) {
                (Some(code), Some(message)) => {
                    write!(f, " (")?;
                    say(f, code)?;
                    write!(f, ": ")?;
                    say(f, message.trim_end_matches('.'))?;
                    write!(f, ")")
                }
                (Some(code), None) => {
                    write!(f, " (")?;
                    say(f, code)?;
                    write!(f, ")")
                }
                _ => Ok(()),
            };
        }
        match (&self.0, http_kind(&self.0)) {
            (_, Some(kind)) => {
                let what = match kind {
                    HttpErrorKind::Connect => "no connection to the store",
                    HttpErrorKind::Timeout => "no answer from the store in time",
                    HttpErrorKind::Interrupted | HttpErrorKind::Request => {
                        "the connection to the store broke"
                    }
                    _ => "the answer of the store cannot be read",
                };
                write!(f, "{what}: {}", root_cause(&self.0))
            }
            (Error::NotFound { path, .. }, None) => write!(f, "there is no object {path}"),
            (Error::Generic { source, .. }, None) => write!(f, "{source}"),
            (other, None) => write!(f, "{other}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Everything in the chain of causes, outermost first.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The answer that the error is about: its status with the reason, then its body.
fn answer(error: &Error) -> Option<String> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        text.strip_prefix(STATUS_PREFIX).map(str::to_owned)
    })
}

/// The status of the answer that the error is about.
fn status(error: &Error) -> Option<u16> {
    answer(error)?.get(..3)?.parse().ok()
}

/// What went wrong with a request that got no answer.
fn http_kind(error: &Error) -> Option<HttpErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind)
}

fn root_cause(error: &Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The text of the first element of that name, as in the XML that stores explain their errors with.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}
