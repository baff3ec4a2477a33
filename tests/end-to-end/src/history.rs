//! Histories of concurrent clients, and whether a table that keeps its promises can have produced them. Pure: what clients saw
//! and what the log holds in, a verdict out.
//!
//! The server says with every acknowledgement and every read which version it is of, so no search over orders is needed. The
//! rules, where several appends may share a version since small ones are committed together:
//!
//! 1. The log has no hole, an append is in one version at most, and every acknowledged append is in the version it was told.
//! 2. An append acknowledged before another was first sent, or before the try of it that was acknowledged as new, has the smaller
//!    version (C6).
//! 3. A read at version v has exactly the rows of versions 1 to v, and v is not below any version acknowledged before the read
//!    was sent (C7).
//! 4. A refusal for overlap is justified by a version at or below the one it was checked against, and nothing of a refused
//!    append is in the log (C2, C6).
//! 5. An append whose answer was lost is there once or never; whatever its retries are told agrees with the log, and nothing is
//!    called a repetition that was sent once (C4).
//! 6. The versions that one client reads never go back (C7).
//! 7. No answer is of the future: one that names a version came after every append up to that version was first sent, and after
//!    the try of it that was acknowledged as new.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// Stands for one append, however often it is sent.
pub type Key = u64;

/// Number of a commit.
pub type Version = u64;

/// Moment of one clock that all clients share; no two events have the same.
pub type Moment = u64;

/// What can be owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Number of the entity.
    pub entity: u32,
    /// Number of the bucket.
    pub bucket: i64,
}

/// An append: one pair.
#[derive(Debug, Clone, Copy)]
pub struct Append {
    /// The pair that it covers.
    pub pair: Pair,
    /// Its rows.
    pub row_count: u64,
}

/// One call of one client.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who.
    pub client: usize,
    /// Before it was sent.
    pub sent: Moment,
    /// After its answer came, or was given up.
    pub answered: Moment,
    /// What, and what came of it.
    pub event: Event,
}

/// What a call was.
#[derive(Debug, Clone)]
pub enum Event {
    /// One try of an append.
    Append {
        /// Which.
        key: Key,
        /// What the client was told.
        answer: Answer,
    },
    /// A read that was answered.
    Read {
        /// The version it was of.
        version: Version,
        /// Entity and buckets that were asked for; all when `None`.
        scope: Option<(u32, Range<i64>)>,
        /// Rows found, by append.
        rows: BTreeMap<Key, u64>,
    },
}

/// What the client was told of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Acknowledged.
    Committed {
        /// As this version.
        version: Version,
        /// As having been committed by an earlier try.
        repeated: bool,
    },
    /// The pair has another owner.
    Overlap {
        /// The newest version that was looked at.
        checked: Version,
        /// The version that owns the pair, if the server could tell.
        owner: Option<Version>,
    },
    /// Not committed for another reason.
    Refused,
    /// No answer.
    Unknown,
}

/// Everything about one table.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every append that was ever sent.
    pub appends: BTreeMap<Key, Append>,
    /// Every call that was answered or given up.
    pub calls: Vec<Call>,
    /// The log: appends of each version.
    pub log: BTreeMap<Version, Vec<Key>>,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Number of the rule.
    pub rule: u8,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rule {}: {}", self.rule, self.text)
    }
}

impl std::error::Error for Violation {}

type Verdict<T = ()> = Result<T, Violation>;

fn broken<T>(rule: u8, text: String) -> Verdict<T> {
    Err(Violation { rule, text })
}

/// What happened to one append, over all its tries.
#[derive(Debug)]
struct Tries {
    first_sent: Moment,
    /// Of the try that was acknowledged as something new.
    new_sent: Option<Moment>,
    first_acknowledged: Option<Moment>,
    count: usize,
    /// Acknowledgements as something new.
    new_count: usize,
    refused_last: bool,
}

impl Tries {
    /// Before which moment it cannot have been committed.
    fn earliest(&self) -> Moment {
        self.new_sent.unwrap_or(self.first_sent)
    }
}

/// Checks all rules.
///
/// # Errors
/// The first violation found.
pub fn check(history: &History) -> Verdict {
    let log = Log::read(history)?;
    let tries = tries(history);
    answers_agree(history, &log, &tries)?;
    order_is_real(&log, &tries)?;
    reads_are_folds(history, &log)?;
    reads_go_forward(history)?;
    nothing_is_known_early(history, &tries)
}

/// The log the other way round.
#[derive(Debug, Default)]
struct Log {
    versions: BTreeMap<Key, Version>,
    owners: BTreeMap<Pair, Key>,
}

impl Log {
    /// Rule 1, as far as it is about the log alone.
    fn read(history: &History) -> Verdict<Self> {
        let mut log = Self::default();
        for (expected, (version, keys)) in (1..).zip(&history.log) {
            if *version != expected {
                return broken(
                    1,
                    format!("the log has version {version} where {expected} belongs"),
                );
            }
            for key in keys {
                if let Some(other) = log.versions.insert(*key, *version) {
                    return broken(1, format!("append {key} is in versions {other} and {version}"));
                }
                let Some(append) = history.appends.get(key) else {
                    return broken(1, format!("version {version} holds append {key}, never sent"));
                };
                if let Some(other) = log.owners.insert(append.pair, *key) {
                    return broken(1, format!("{:?} is owned by {other} and {key}", append.pair));
                }
            }
        }
        Ok(log)
    }
}

fn tries(history: &History) -> BTreeMap<Key, Tries> {
    let mut tries: BTreeMap<Key, Tries> = BTreeMap::new();
    let mut calls: Vec<_> = history.calls.iter().collect();
    calls.sort_by_key(|call| call.sent);
    for call in calls {
        let Event::Append { key, answer } = &call.event else { continue };
        let tried = tries.entry(*key).or_insert(Tries {
            first_sent: call.sent,
            new_sent: None,
            first_acknowledged: None,
            count: 0,
            new_count: 0,
            refused_last: false,
        });
        tried.count += 1;
        tried.refused_last = matches!(answer, Answer::Overlap { .. } | Answer::Refused);
        if let Answer::Committed { repeated, .. } = answer {
            tried.new_count += usize::from(!repeated);
            if !repeated {
                tried.new_sent.get_or_insert(call.sent);
            }
            let before = tried.first_acknowledged.unwrap_or(Moment::MAX);
            tried.first_acknowledged = Some(before.min(call.answered));
        }
    }
    tries
}

/// Rules 1, 4 and 5: what every client was told of its appends.
fn answers_agree(history: &History, log: &Log, tries: &BTreeMap<Key, Tries>) -> Verdict {
    for call in &history.calls {
        let Event::Append { key, answer } = &call.event else { continue };
        let stored = log.versions.get(key);
        match answer {
            Answer::Committed { version, repeated } => {
                let rule = if *repeated { 5 } else { 1 };
                if stored != Some(version) {
                    return broken(
                        rule,
                        format!(
                            "append {key} was acknowledged as version {version}, the log has it in {stored:?}"
                        ),
                    );
                }
                if *repeated && tries.get(key).is_none_or(|tries| tries.count < 2) {
                    return broken(5, format!("append {key} was sent once and is a repetition"));
                }
            }
            Answer::Overlap { checked, owner } => {
                overlap_holds(history, log, *key, *checked, *owner)?
            }
            Answer::Refused | Answer::Unknown => {}
        }
    }
    for (key, tries) in tries {
        if tries.refused_last
            && tries.first_acknowledged.is_none()
            && log.versions.contains_key(key)
        {
            return broken(4, format!("append {key} was refused and is in the log"));
        }
        if tries.new_count > 1 {
            return broken(5, format!("append {key} was acknowledged as new more than once"));
        }
    }
    Ok(())
}

/// Rule 4: one of the versions that were looked at holds the pair.
fn overlap_holds(
    history: &History,
    log: &Log,
    key: Key,
    checked: Version,
    owner: Option<Version>,
) -> Verdict {
    let pair = history.appends.get(&key).map(|append| append.pair);
    let holder = pair.and_then(|pair| log.owners.get(&pair)).filter(|holder| **holder != key);
    let Some(version) = holder.and_then(|holder| log.versions.get(holder)) else {
        return broken(4, format!("append {key} was refused, and nobody holds {pair:?}"));
    };
    if *version > checked {
        let text =
            format!("append {key} overlaps version {version}, but only {checked} was looked at");
        return broken(4, text);
    }
    if !history.log.contains_key(&checked) {
        let text =
            format!("append {key} was held against version {checked}, which the log does not have");
        return broken(4, text);
    }
    match owner {
        Some(owner) if owner != *version => {
            broken(4, format!("append {key} overlaps version {version}, not {owner}"))
        }
        _ => Ok(()),
    }
}

/// Rule 2, in one pass over all moments.
fn order_is_real(log: &Log, tries: &BTreeMap<Key, Tries>) -> Verdict {
    let mut moments = Vec::new();
    for (key, tries) in tries {
        let Some(version) = log.versions.get(key) else { continue };
        moments.push((tries.earliest(), *version, *key, false));
        if let Some(moment) = tries.first_acknowledged {
            moments.push((moment, *version, *key, true));
        }
    }
    moments.sort_unstable();
    let mut newest: (Version, Key) = (0, 0);
    for (_, version, key, acknowledged) in moments {
        if acknowledged {
            newest = newest.max((version, key));
        } else if version <= newest.0 {
            return broken(
                2,
                format!(
                    "append {key} was sent after append {} was acknowledged as version {}, and is version {version}",
                    newest.1, newest.0
                ),
            );
        }
    }
    Ok(())
}

/// Rule 3.
fn reads_are_folds(history: &History, log: &Log) -> Verdict {
    let mut acknowledged: Vec<(Moment, Version)> = history
        .calls
        .iter()
        .filter_map(|call| match &call.event {
            Event::Append { answer: Answer::Committed { version, .. }, .. } => {
                Some((call.answered, *version))
            }
            _ => None,
        })
        .collect();
    acknowledged.sort_unstable();
    // The newest version acknowledged up to each of these moments.
    let mut newest = 0;
    for (_, version) in &mut acknowledged {
        newest = newest.max(*version);
        *version = newest;
    }
    for call in &history.calls {
        let Event::Read { version, scope, rows } = &call.event else { continue };
        let before = acknowledged.partition_point(|(moment, _)| *moment < call.sent);
        let owed = before.checked_sub(1).map_or(0, |last| acknowledged[last].1);
        if *version < owed {
            return broken(
                3,
                format!("a read of version {version} was sent after {owed} was acknowledged"),
            );
        }
        if !history.log.contains_key(version) {
            return broken(3, format!("a read of version {version}, which the log does not have"));
        }
        let inside = |key: &Key| match (scope, history.appends.get(key)) {
            (None, _) => true,
            (Some((entity, buckets)), Some(append)) => {
                append.pair.entity == *entity && buckets.contains(&append.pair.bucket)
            }
            (Some(_), None) => false,
        };
        let expected: BTreeMap<Key, u64> = log
            .versions
            .iter()
            .filter(|(key, committed)| **committed <= *version && inside(key))
            .filter_map(|(key, _)| Some((*key, history.appends.get(key)?.row_count)))
            .collect();
        if expected != *rows {
            let keys: BTreeSet<_> = expected.keys().chain(rows.keys()).collect();
            let wrong = keys.into_iter().find(|key| expected.get(key) != rows.get(key));
            return broken(
                3,
                format!(
                    "a read of version {version} by client {}: append {wrong:?} has {:?} rows, not {:?}",
                    call.client,
                    wrong.and_then(|key| rows.get(key)),
                    wrong.and_then(|key| expected.get(key)),
                ),
            );
        }
    }
    Ok(())
}

/// Rule 6.
fn reads_go_forward(history: &History) -> Verdict {
    let mut calls: Vec<_> = history.calls.iter().collect();
    calls.sort_by_key(|call| (call.client, call.sent));
    let mut seen: Option<(usize, Version)> = None;
    for call in calls {
        let Event::Read { version, .. } = &call.event else { continue };
        if let Some((client, before)) = seen
            && client == call.client
            && *version < before
        {
            return broken(6, format!("client {client} read version {before}, then {version}"));
        }
        seen = Some((call.client, *version));
    }
    Ok(())
}

/// Rule 7.
fn nothing_is_known_early(history: &History, tries: &BTreeMap<Key, Tries>) -> Verdict {
    // Of each version, the append up to it that was sent last.
    let mut last_sent: BTreeMap<Version, (Moment, Key)> = BTreeMap::new();
    let mut last = (0, 0);
    for (version, keys) in &history.log {
        let sent = keys.iter().filter_map(|key| Some((tries.get(key)?.earliest(), *key)));
        last = sent.fold(last, Ord::max);
        last_sent.insert(*version, last);
    }
    for call in &history.calls {
        let version = match &call.event {
            Event::Read { version, .. } => version,
            Event::Append { answer: Answer::Committed { version, .. }, .. } => version,
            Event::Append { answer: Answer::Overlap { checked, .. }, .. } => checked,
            Event::Append { answer: Answer::Refused | Answer::Unknown, .. } => continue,
        };
        if let Some((sent, key)) = last_sent.get(version)
            && *sent > call.answered
        {
            return broken(
                7,
                format!(
                    "client {} was told of version {version} before append {key}, which is in it or before it, was sent",
                    call.client
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ROWS: u64 = 3;

    fn append(client: usize, sent: Moment, answered: Moment, key: Key, answer: Answer) -> Call {
        Call { client, sent, answered, event: Event::Append { key, answer } }
    }

    fn committed(version: Version) -> Answer {
        Answer::Committed { version, repeated: false }
    }

    fn read(client: usize, sent: Moment, version: Version, keys: &[Key]) -> Call {
        let rows = keys.iter().map(|key| (*key, ROWS)).collect();
        Call { client, sent, answered: sent + 1, event: Event::Read { version, scope: None, rows } }
    }

    /// Two clients: appends 1 and 2 share version 2; append 3 is lost, then found repeated as version 3; append 4 overlaps
    /// append 1; append 5 is lost for good.
    fn sound() -> History {
        let pair = |bucket| Append { pair: Pair { entity: 0, bucket }, row_count: ROWS };
        History {
            appends: [(1, 10), (2, 20), (3, 30), (4, 10), (5, 50)]
                .map(|(k, b)| (k, pair(b)))
                .into(),
            calls: vec![
                append(0, 1, 4, 1, committed(2)),
                append(1, 2, 5, 2, committed(2)),
                read(0, 6, 2, &[1, 2]),
                append(0, 8, 10, 3, Answer::Unknown),
                append(1, 9, 11, 4, Answer::Overlap { checked: 2, owner: Some(2) }),
                append(0, 12, 13, 3, Answer::Committed { version: 3, repeated: true }),
                append(1, 14, 15, 5, Answer::Unknown),
                read(0, 16, 3, &[1, 2, 3]),
                read(1, 18, 3, &[1, 2, 3]),
            ],
            log: [(1, vec![]), (2, vec![1, 2]), (3, vec![3])].into(),
        }
    }

    fn answer_of(history: &mut History, call: usize) -> &mut Answer {
        match &mut history.calls[call].event {
            Event::Append { answer, .. } => answer,
            Event::Read { .. } => unreachable!(),
        }
    }

    #[track_caller]
    fn assert_broken(rule: u8, change: impl FnOnce(&mut History)) {
        let mut history = sound();
        change(&mut history);
        assert_eq!(check(&history).unwrap_err().rule, rule, "{:?}", check(&history));
    }

    #[test]
    fn a_sound_history_passes() {
        check(&sound()).unwrap();
        // The lost append may as well be there.
        let mut history = sound();
        history.log.insert(4, vec![5]);
        check(&history).unwrap();
    }

    #[test]
    fn rule_1_acknowledged_appends_are_in_the_log() {
        assert_broken(1, |history| history.log.get_mut(&2).unwrap().retain(|key| *key != 2));
        assert_broken(1, |history| *answer_of(history, 0) = committed(3));
        assert_broken(1, |history| {
            history.log.remove(&1);
        });
        assert_broken(1, |history| history.log.get_mut(&3).unwrap().push(1));
        assert_broken(1, |history| history.log.get_mut(&3).unwrap().push(4));
        assert_broken(1, |history| history.log.get_mut(&3).unwrap().push(99));
    }

    #[test]
    fn rule_2_versions_follow_real_time() {
        // Sent after version 3 was acknowledged, and sharing version 2.
        assert_broken(2, |history| history.calls[1].sent = 14);
        assert_broken(2, |history| {
            // Equal is not smaller.
            history.calls[1].sent = 4;
            history.calls[0].answered = 3;
        });
    }

    #[test]
    fn rule_3_reads_are_the_fold_of_their_version() {
        assert_broken(3, |history| history.calls[2] = read(0, 6, 2, &[1]));
        assert_broken(3, |history| history.calls[2] = read(0, 6, 2, &[1, 2, 3]));
        assert_broken(3, |history| history.calls[2] = read(0, 6, 1, &[]));
        assert_broken(3, |history| history.calls[8] = read(1, 18, 4, &[1, 2, 3]));
        assert_broken(3, |history| {
            // Half an append.
            if let Event::Read { rows, .. } = &mut history.calls[2].event {
                rows.insert(1, ROWS - 1);
            }
        });
        assert_broken(3, |history| {
            // What was asked for holds append 2 only.
            if let Event::Read { scope, .. } = &mut history.calls[2].event {
                *scope = Some((0, 15..25));
            }
        });
    }

    #[test]
    fn rule_4_refusals_are_justified() {
        let overlap = |checked, owner| Answer::Overlap { checked, owner };
        assert_broken(4, |history| *answer_of(history, 4) = overlap(1, None));
        assert_broken(4, |history| *answer_of(history, 4) = overlap(2, Some(1)));
        assert_broken(4, |history| *answer_of(history, 4) = overlap(9, Some(2)));
        assert_broken(4, |history| {
            history.appends.get_mut(&4).unwrap().pair.bucket = 40;
        });
        assert_broken(4, |history| {
            *answer_of(history, 6) = Answer::Refused;
            history.log.insert(4, vec![5]);
        });
    }

    #[test]
    fn rule_5_lost_answers_are_resolved_by_the_truth() {
        assert_broken(5, |history| {
            *answer_of(history, 5) = Answer::Committed { version: 2, repeated: true };
        });
        assert_broken(5, |history| {
            // Gone for good, says the log; repeated, says the answer.
            history.log.remove(&3);
        });
        assert_broken(5, |history| {
            *answer_of(history, 0) = Answer::Committed { version: 2, repeated: true };
        });
        assert_broken(5, |history| {
            *answer_of(history, 3) = committed(3);
            *answer_of(history, 5) = committed(3);
        });
    }

    #[test]
    fn rule_6_reads_never_go_back() {
        assert_broken(6, |history| {
            // Both sent before version 3 was acknowledged.
            history.calls[2] = read(0, 11, 2, &[1, 2]);
            history.calls[7] = read(0, 9, 3, &[1, 2, 3]);
        });
    }

    #[test]
    fn rule_7_nothing_is_known_before_it_was_sent() {
        // Answered at 9, and all calls of append 3 come later.
        assert_broken(7, |history| {
            history.calls[3].sent = 10;
            history.calls[7] = read(1, 8, 3, &[1, 2, 3]);
        });
        assert_broken(7, |history| {
            history.calls[3].sent = 12;
            history.calls[5].sent = 13;
            *answer_of(history, 4) = Answer::Overlap { checked: 3, owner: Some(2) };
        });
        // Read before the try that is said to have written it, though after a try whose answer was lost.
        assert_broken(7, |history| {
            *answer_of(history, 5) = committed(3);
            history.calls[7] = read(1, 10, 3, &[1, 2, 3]);
        });
    }
}
