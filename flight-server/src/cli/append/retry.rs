//! Trying an append again, where that can do no harm: after errors that say that nothing was committed and that another try may
//! fare better, and, with an append id, after those that leave it open (C2, C4).

use std::time::Duration;

use tonic::Code;

use crate::client::ClientError;
use crate::status::Committed;

/// Tries of one append.
const TRIES_MAX: u32 = 8;

/// How long the second try waits; each later one twice as long ...
const DELAY_MIN: Duration = Duration::from_millis(200);

/// ... up to this, so that all tries together take a quarter of a minute: a server that restarts is waited for.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// The tries of one append.
#[derive(Debug)]
pub(super) struct Tries {
    has_id: bool,
    made: u32,
    /// An earlier try may have been committed.
    is_open: bool,
}

/// What to do after a try that failed.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Try again after this time.
    Again(Duration),
    /// Give up: nothing was committed.
    NotCommitted(ClientError),
    /// Give up without knowing whether it was committed.
    Unknown(ClientError),
}

impl Tries {
    pub(super) fn new(has_id: bool) -> Self {
        Self { has_id, made: 0, is_open: false }
    }

    /// Takes note of a try that failed.
    pub(super) fn failed(&mut self, error: ClientError) -> Verdict {
        self.made += 1;
        let outcome = error.committed();
        self.is_open |= outcome == Committed::Unknown;
        let may_pass = match &error {
            ClientError::Refused { code: Code::Aborted | Code::Unavailable, .. } => true,
            _ => outcome == Committed::Unknown,
        };
        let is_harmless = self.has_id || !self.is_open;
        if may_pass && is_harmless && self.made < TRIES_MAX {
            let delay = DELAY_MIN.saturating_mul(1 << (self.made - 1));
            return Verdict::Again(delay.min(DELAY_MAX));
        }
        match self.is_open && !(self.has_id && judges_rows(&error)) {
            true => Verdict::Unknown(error),
            false => Verdict::NotCommitted(error),
        }
    }
}

/// Whether the server looked at these rows and refused them. Under an append id that says that an earlier try was not committed
/// either: else its receipt would have come back. Any other error, of the file, of the server's disk or of a damaged table, tells
/// nothing of it.
fn judges_rows(error: &ClientError) -> bool {
    match error {
        ClientError::Overlap { .. } => true,
        ClientError::Refused { code, said: Some(Committed::No), .. } => matches!(
            code,
            Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists
        ),
        ClientError::Refused { .. }
        | ClientError::Address { .. }
        | ClientError::Connect { .. }
        | ClientError::Source(_)
        | ClientError::Answer { .. } => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::HashMap;

    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::status;

    fn server(kind: table_core::ErrorKind) -> ClientError {
        status::commit(&table_core::Error::new(kind, "x")).into()
    }

    fn refused(code: Code, committed: &str) -> ClientError {
        let metadata = HashMap::from([("committed".to_owned(), committed.to_owned())]);
        let details = ErrorDetails::with_error_info("X", "coverline", metadata);
        Status::with_error_details(code, "x", details).into()
    }

    /// A connection that broke.
    fn reset() -> ClientError {
        Status::new(Code::Unavailable, "h2 protocol error").into()
    }

    /// What becomes of an append whose tries fail with these, the last over and over: tries made, and the verdict.
    fn run(has_id: bool, errors: &[fn() -> ClientError]) -> (u32, &'static str) {
        let mut tries = Tries::new(has_id);
        let mut delays = Vec::new();
        loop {
            let next = errors.get(delays.len()).or(errors.last()).unwrap();
            match tries.failed(next()) {
                Verdict::Again(delay) => delays.push(delay),
                Verdict::NotCommitted(_) => return (tries.made, "no"),
                Verdict::Unknown(_) => return (tries.made, "unknown"),
            }
            assert!(delays.is_sorted() && delays.iter().all(|delay| *delay <= DELAY_MAX));
        }
    }

    #[test]
    fn only_what_can_do_no_harm_is_tried_again() {
        use table_core::ErrorKind::{
            Conflict, Corrupt, Exhausted, Indeterminate, Internal, Invalid, NotFound, Precondition,
            SchemaMismatch, Unavailable,
        };
        for has_id in [true, false] {
            for refusal in [
                || server(SchemaMismatch),
                || server(Precondition),
                || server(Exhausted),
                || ClientError::Source("x".to_owned()),
            ] {
                assert_eq!(run(has_id, &[refusal]), (1, "no"));
            }
            assert_eq!(run(has_id, &[|| server(Conflict)]), (TRIES_MAX, "no"));
            assert_eq!(run(has_id, &[|| server(Unavailable)]), (TRIES_MAX, "no"));
        }
        for ambiguous in [|| server(Indeterminate), || server(Internal), reset] {
            assert_eq!(run(true, &[ambiguous]), (TRIES_MAX, "unknown"));
            assert_eq!(run(false, &[ambiguous]), (1, "unknown"));
            // What is open stays open while the server is away, or has no room ...
            assert_eq!(run(true, &[ambiguous, || server(Unavailable)]), (TRIES_MAX, "unknown"));
            assert_eq!(run(true, &[ambiguous, || server(Exhausted)]), (2, "unknown"));
            // ... or the file or the table cannot be read any more ...
            for silent in [
                || ClientError::Source("x".to_owned()),
                || server(Corrupt),
                || refused(Code::Internal, "no"),
                || refused(Code::DataLoss, "no"),
                || refused(Code::PermissionDenied, "no"),
                // From somebody else than a server of ours.
                || ClientError::from(Status::new(Code::InvalidArgument, "x")),
            ] {
                assert_eq!(run(true, &[ambiguous, silent]).1, "unknown", "{:?}", silent());
            }
            // ... and is settled by an answer about the rows.
            for about_rows in [
                || server(SchemaMismatch),
                || server(Precondition),
                || server(NotFound),
                || server(Invalid),
                || ClientError::Overlap { message: String::new(), details: Box::default() },
            ] {
                assert_eq!(run(true, &[ambiguous, about_rows]), (2, "no"));
            }
        }
    }

    #[test]
    fn all_tries_take_seconds_not_minutes() {
        let mut tries = Tries::new(true);
        let mut total = Duration::ZERO;
        while let Verdict::Again(delay) = tries.failed(reset()) {
            total += delay;
        }
        assert!(total > Duration::from_secs(10) && total < Duration::from_secs(30), "{total:?}");
    }
}
