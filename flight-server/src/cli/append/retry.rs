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
        // With an id, a refusal of the rows themselves says that the earlier try was not committed either: else its receipt would
        // have come back.
        let settles = self.has_id
            && outcome == Committed::No
            && !may_pass
            && !matches!(&error, ClientError::Refused { code: Code::ResourceExhausted, .. });
        match self.is_open && !settles {
            true => Verdict::Unknown(error),
            false => Verdict::NotCommitted(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::status;

    fn server(kind: table_core::ErrorKind) -> ClientError {
        status::commit(&table_core::Error::new(kind, "x")).into()
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
            Conflict, Exhausted, Indeterminate, Internal, Precondition, SchemaMismatch, Unavailable,
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
            // ... and is settled by an answer about the rows.
            assert_eq!(run(true, &[ambiguous, || server(SchemaMismatch)]), (2, "no"));
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
