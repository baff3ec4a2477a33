//! [`Trace`]: what happened, in order, as text. Two runs of one seed have the same, byte for byte.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::time::VirtualTime;

/// The lines of one run. Clones share them.
#[derive(Debug, Clone)]
pub struct Trace {
    time: VirtualTime,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    /// Nothing happened yet.
    pub fn new(time: VirtualTime) -> Self {
        Self { time, lines: Arc::default() }
    }

    /// Adds a line, led by the time.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>12} {what}", self.time.now_us());
        self.lines.lock().push(line);
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }
}

/// Where two traces part; `None` when they are the same.
pub fn difference(first: &[String], second: &[String]) -> Option<String> {
    let at = first.iter().zip(second).position(|(one, two)| one != two);
    match at {
        Some(at) => Some(format!(
            "line {at} of {} and {}:\n  {}\n  {}",
            first.len(),
            second.len(),
            first[at],
            second[at]
        )),
        None if first.len() == second.len() => None,
        None => Some(format!("one has {} lines, the other {}", first.len(), second.len())),
    }
}
