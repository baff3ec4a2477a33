//! [`SoakTime`]: tests are of the size of every day, or go on at nightly size for a time that `tests/soak` gives them.

use std::time::{Duration, Instant};

use crate::TestResult;

/// When to stop at nightly size.
#[derive(Debug, Clone, Copy)]
pub struct SoakTime {
    until: Option<Instant>,
}

impl SoakTime {
    /// From `COVERLINE_SOAK_SECONDS`, counted from now; of the size of every day without it.
    ///
    /// # Errors
    /// When that is not a number.
    pub fn start() -> TestResult<Self> {
        let until = match std::env::var("COVERLINE_SOAK_SECONDS") {
            Ok(text) => Some(Instant::now() + Duration::from_secs(text.parse()?)),
            Err(_) => None,
        };
        Ok(Self { until })
    }

    /// Whether this is a test of nightly size.
    pub fn is_set(&self) -> bool {
        self.until.is_some()
    }

    /// Whether there is time for more than every day does.
    pub fn is_left(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether to stop in the middle. Never on an ordinary day.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}
