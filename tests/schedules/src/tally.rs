//! [`Tally`]: what the schedules reached. One that is too tame finds nothing, so tests ask for each of these.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// How often things happened, by name.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub fn add(&self, what: &'static str) {
        self.add_many(what, 1);
    }

    pub fn add_many(&self, what: &'static str, count: u64) {
        *self.0.lock().entry(what).or_default() += count;
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.lock().get(what).copied().unwrap_or_default()
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.lock().iter()).finish()
    }
}
