//! Every crash point of a sequence, and of the recovery behind each kill: opened twice, held against what was answered, and
//! shown to take the next change.
//!
//! Recovery of equal files gives equal tables, so each set of files is recovered once. Files under staging names do not count
//! for that, since no program looks at them; a sample of the states is recovered all the same and compared.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use table_core::storage::faults::{CrashState, SimDisk, Step};
use table_core::types::Version;

use crate::model::{Facts, Row};
use crate::root::{How, Segments, append, check_owners, open, read, spec};
use crate::sequence::{Sent, Sequence};

/// Violations that are kept; one is too many.
const VIOLATIONS_MAX: usize = 5;

/// Of states whose files were recovered already, one in so many is recovered again.
const RECOVERED_AGAIN: u64 = 64;

/// Of recovered states, one in so many is flushed too, and has the owner of each pair looked up.
const LOOKED_AT_CLOSELY: u64 = 8;

/// What was tried and what came out of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sequences: u64,
    /// Crash states, equal ones included.
    pub(crate) states: u64,
    pub(crate) kills: u64,
    pub(crate) power_losses: u64,
    /// Power losses in the middle of a recovery, or after it.
    pub(crate) in_recovery: u64,
    /// States in which a file was torn or cut short.
    pub(crate) torn: u64,
    /// States that showed a change nobody had been told of.
    pub(crate) rolled_forward: u64,
    /// Appends that were sent again after the crash.
    pub(crate) sent_again: u64,
    /// Times that a root was recovered.
    pub(crate) recoveries: u64,
    /// Fingerprints of the disks, the names of unfinished files included.
    distinct: HashSet<u64>,
    pub(crate) violation_count: u64,
    /// The first of them.
    pub(crate) violations: Vec<String>,
}

impl Report {
    /// Disks that differ in a file.
    pub(crate) fn distinct(&self) -> usize {
        self.distinct.len()
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }
}

/// What may be there after a crash.
struct Expected<'a> {
    /// With every change that was answered.
    acked: &'a Facts,
    /// And with the one that was under way.
    started: &'a Facts,
}

/// What recovery makes of a set of files.
type Outcome = Arc<Result<Facts, String>>;

/// One crash after the other.
struct Then<'a>(&'a CrashState, &'a CrashState);

impl fmt::Display for Then<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, then {}", self.0, self.1)
    }
}

struct Explorer<'a> {
    sequence: &'a Sequence,
    report: &'a mut Report,
    segments: Segments,
    known: HashMap<(u128, usize), Outcome>,
}

/// Tries every crash point of the sequence, up to the first at which something is wrong.
pub(crate) async fn explore(sequence: &Sequence, report: &mut Report) {
    report.sequences += 1;
    let mut explorer =
        Explorer { sequence, report, segments: Segments::default(), known: HashMap::new() };
    for step in &sequence.disk.steps() {
        // Where one thing is wrong, much else is, and the first tells the most.
        if step.number >= sequence.first_operation && explorer.report.violations.is_empty() {
            explorer.step(step).await;
        }
    }
}

impl Explorer<'_> {
    async fn step(&mut self, step: &Step) {
        let sequence = self.sequence;
        let acked = sequence.done.iter().filter(|d| d.operations.1 <= step.number + 1).count();
        let started = sequence.done.iter().filter(|d| d.operations.0 <= step.number).count();
        let expected =
            Expected { acked: sequence.facts(acked), started: sequence.facts(started.max(acked)) };
        for state in step.crash_states(sequence.seed) {
            self.report.states += 1;
            let is_kill = state.is_kill();
            self.report.kills += u64::from(is_kill);
            self.report.power_losses += u64::from(!is_kill);
            let outcome = self.checked(&state, &state, &expected, acked).await;
            if let (Some(Ok(found)), true) = (outcome.as_deref(), is_kill) {
                self.recovery(&state, &expected, found, acked).await;
            }
        }
    }

    /// Recovers a state and holds it against what is expected of it. `None` when it is not that.
    async fn checked(
        &mut self,
        state: &CrashState,
        label: &dyn fmt::Display,
        expected: &Expected<'_>,
        acked: usize,
    ) -> Option<Outcome> {
        self.report.torn += u64::from(state.is_torn());
        let fingerprint = state.disk.fingerprint();
        let whole = fingerprint.whole as u64;
        self.report.distinct.insert(whole);
        let key = (fingerprint.named, acked);
        let known = self.known.get(&key).cloned();
        let again = whole.is_multiple_of(RECOVERED_AGAIN);
        let seed = self.sequence.seed;
        let outcome = match known {
            Some(outcome) if !again => outcome,
            known => {
                let fresh = Arc::new(self.recover(&state.disk, acked, whole).await);
                if let Some(known) = known
                    && known.as_ref().as_ref().ok() != fresh.as_ref().as_ref().ok()
                {
                    let what = format!("seed {seed}, {label}: {known:?} and then {fresh:?}");
                    self.report.violation(what);
                }
                self.known.insert(key, Arc::clone(&fresh));
                fresh
            }
        };
        match outcome.as_ref() {
            Err(error) => self.report.violation(format!("seed {seed}, {label}: {error}")),
            Ok(found) if found == expected.acked => return Some(outcome),
            Ok(found) if found == expected.started => {
                self.report.rolled_forward += 1;
                return Some(outcome);
            }
            Ok(found) => self.report.violation(format!(
                "seed {seed}, {label}: found {found:?}, answered {:?}, under way {:?}",
                expected.acked,
                self.sequence.done.get(acked).map(|done| &done.what)
            )),
        }
        None
    }

    /// Power losses during the recovery that follows a kill, and after it: then everything that was shown must be there still.
    async fn recovery(
        &mut self,
        killed: &CrashState,
        expected: &Expected<'_>,
        found: &Facts,
        acked: usize,
    ) {
        let disk = killed.disk.copy();
        let recovered = match open(&disk, 10).await {
            Ok(catalog) => read(&disk, &catalog, &mut self.segments).await,
            Err(error) => Err(error.to_string()),
        };
        if recovered.as_ref() != Ok(found) {
            let seed = self.sequence.seed;
            self.report.violation(format!("seed {seed}, {killed}: {recovered:?} after {found:?}"));
            return;
        }
        let steps = disk.steps();
        let shown = Expected { acked: found, started: found };
        for (position, step) in steps.iter().enumerate() {
            let expected = if position + 1 == steps.len() { &shown } else { expected };
            for state in step.crash_states(self.sequence.seed) {
                if state.is_kill() {
                    continue;
                }
                self.report.states += 1;
                self.report.in_recovery += 1;
                // What is wrong is noted, and there is nothing more to do about it.
                let _noted = self.checked(&state, &Then(killed, &state), expected, acked).await;
            }
        }
    }

    /// Opens the root twice, looks at everything, and changes something.
    async fn recover(&mut self, disk: &SimDisk, acked: usize, dice: u64) -> Result<Facts, String> {
        self.report.recoveries += 1;
        let disk = disk.copy();
        disk.forget_steps();
        let first = open(&disk, 10).await.map_err(|error| format!("does not open: {error}"))?;
        let found = read(&disk, &first, &mut self.segments).await?;
        drop(first);
        let catalog = open(&disk, 11).await.map_err(|error| format!("does not open: {error}"))?;
        let again = read(&disk, &catalog, &mut self.segments).await?;
        if again != found {
            return Err(format!("recovered as {found:?} and then as {again:?}"));
        }
        let closely = (dice >> 8).is_multiple_of(LOOKED_AT_CLOSELY);
        let wedged = |what: &str, error: &dyn std::fmt::Display| format!("wedged: {what}: {error}");
        // The append that was under way is sent again, as its client does: it is there once.
        if let Some(Sent { table, rows, how }) =
            self.sequence.done.get(acked).and_then(|done| done.sent.as_ref())
            && how.key.is_some()
            && let Some(facts) = found.get(table)
        {
            let handle = catalog.table(table).await.map_err(|error| error.to_string())?;
            let known = facts.keys.get(how.key.as_deref().unwrap_or_default());
            let receipt = append(&handle, rows, how).await.map_err(|e| wedged("sent again", &e))?;
            let version = known.map_or(facts.version + 1, |known| known.version);
            if receipt.repeated != known.is_some() || receipt.version != Version(version) {
                return Err(format!("sent again: {receipt:?}, known {known:?}"));
            }
            self.report.sent_again += 1;
        }
        for name in found.keys() {
            let table = catalog.table(name).await.map_err(|error| error.to_string())?;
            let version = table.snapshot().version;
            if closely {
                // Those of the change under way are in none of both when it is not there.
                for model in [acked.checked_sub(1), Some(acked)].into_iter().flatten() {
                    let Some(done) = self.sequence.done.get(model) else { continue };
                    if done.after.facts.get(name) == found.get(name) {
                        check_owners(&table, &done.after.owners[name]).await?;
                        break;
                    }
                }
            }
            let row = Row { entity: 0, n: -1000, tag: -1 };
            let receipt = append(&table, &[row], &How::default())
                .await
                .map_err(|error| wedged(name, &error))?;
            if receipt.version != version.next() {
                return Err(format!("{receipt:?} after version {version}"));
            }
            if closely {
                let flushed = table.flush().await.map_err(|error| wedged("flush", &error))?;
                if flushed != Some(version.next().next()) {
                    return Err(format!("flushed as {flushed:?}"));
                }
                if append(&table, &[row], &How::default()).await.is_ok() {
                    return Err("an overlap was committed".to_owned());
                }
            }
        }
        let made = catalog.create_table("alive", spec(), None, "").await;
        made.map_err(|error| wedged("the catalog", &error))?;
        Ok(found)
    }
}
