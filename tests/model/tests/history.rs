//! The checker of histories against another one: stateright's knows nothing of versions and logs, but searches for an order of
//! all calls in which a table that does one thing after the other could have answered so. On short histories, sound ones and
//! broken ones, both must say the same. It lives here because here stateright is at hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "the crate it is of uses all of it")]
#[path = "../../end-to-end/src/history.rs"]
mod history;

use std::collections::BTreeMap;

use history::{Answer, Append, Call, Event, History, Key, Moment, Pair, Version};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// Histories of every kind that are judged.
const HISTORIES: u64 = 3_000;

/// Calls of one history, the last of which reads everything.
const CALLS: usize = 12;

/// Seed of every day.
const SEED: u64 = 20_261_126;

/// One call, as the search sees it.
#[derive(Debug, Clone)]
enum Op {
    /// A commit, acknowledged or known from the log.
    Commit { key: Key, append: Append, version: Version },
    /// The answer that an earlier try was committed.
    Repeated { key: Key, version: Version },
    /// The answer that somebody else has the pair.
    Overlap { key: Key, pair: Pair, checked: Version, owner: Option<Version> },
    /// A read of everything.
    Read { version: Version, rows: BTreeMap<Key, u64> },
}

/// The table: a register of owners, whose newest version counts its changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    newest: Version,
    owners: BTreeMap<Pair, (Key, Version)>,
    rows: BTreeMap<Key, u64>,
    /// A commit without an answer was put where it cannot have been: nothing is possible from there.
    is_astray: bool,
}

impl Table {
    /// At version 1, which creates it.
    fn created() -> Self {
        Self { newest: 1, ..Self::default() }
    }

    /// Does one call, and says whether it can have been so.
    fn step(&mut self, op: &Op) -> bool {
        if self.is_astray {
            return false;
        }
        match op {
            Op::Commit { key, append, version } => {
                let is_next = *version == self.newest + 1;
                self.newest = *version;
                let is_new = self.rows.insert(*key, append.row_count).is_none();
                let owned = self.owners.insert(append.pair, (*key, *version));
                is_next && is_new && owned.is_none()
            }
            Op::Repeated { key, version } => {
                self.owners.values().any(|owner| owner == &(*key, *version))
            }
            Op::Overlap { key, pair, checked, owner } => {
                self.owners.get(pair).is_some_and(|(other, version)| {
                    other != key
                        && version <= checked
                        && *checked <= self.newest
                        && owner.is_none_or(|owner| owner == *version)
                })
            }
            Op::Read { version, rows } => *version == self.newest && *rows == self.rows,
        }
    }
}

/// Answers are part of the calls, so that there is one answer: it was so.
impl SequentialSpec for Table {
    type Op = Op;
    type Ret = ();

    /// A call without an answer, which may have been done at any time since.
    fn invoke(&mut self, op: &Op) {
        self.is_astray = !self.step(op);
    }

    fn is_valid_step(&mut self, op: &Op, _: &()) -> bool {
        self.step(op)
    }
}

/// One call for the search. Its moment of return is `None` when no answer came.
struct Operation {
    client: usize,
    sent: Moment,
    answered: Option<Moment>,
    op: Op,
}

/// Whether there is an order of the calls in which a table can have answered so.
fn has_an_order(operations: Vec<Operation>) -> bool {
    // Of calls that begin and end at one moment, both may have come first.
    let mut moments = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        moments.push((operation.sent, 0, number));
        moments.extend(operation.answered.map(|answered| (answered, 1, number)));
    }
    moments.sort_unstable();
    let mut tester = LinearizabilityTester::new(Table::created());
    for (_, ends, number) in moments {
        let Operation { client, answered, op, .. } = &operations[number];
        // Who got no answer goes on as somebody else.
        let thread = (*client, answered.is_none().then_some(number));
        let noted = match ends {
            0 => tester.on_invoke(thread, op.clone()),
            _ => tester.on_return(thread, ()),
        };
        noted.unwrap();
    }
    tester.is_consistent()
}

/// The calls of a history as the search takes them. A lost answer is a commit that may happen at any time from then on, if the
/// log has it and no answer says it; else it is nothing.
fn operations(history: &History) -> Vec<Operation> {
    let versions: BTreeMap<Key, Version> = history
        .log
        .iter()
        .flat_map(|(version, keys)| keys.iter().map(move |key| (*key, *version)))
        .collect();
    let mut operations = Vec::new();
    let mut first_lost: BTreeMap<Key, &Call> = BTreeMap::new();
    let mut told: Vec<Key> = Vec::new();
    for call in &history.calls {
        let op = match &call.event {
            Event::Read { version, rows, .. } => Op::Read { version: *version, rows: rows.clone() },
            Event::Append { key, answer } => {
                let append = history.appends[key];
                match answer {
                    Answer::Committed { version, repeated: false } => {
                        told.push(*key);
                        Op::Commit { key: *key, append, version: *version }
                    }
                    Answer::Committed { version, repeated: true } => {
                        Op::Repeated { key: *key, version: *version }
                    }
                    Answer::Overlap { checked, owner } => {
                        let (pair, checked, owner) = (append.pair, *checked, *owner);
                        Op::Overlap { key: *key, pair, checked, owner }
                    }
                    Answer::Unknown => {
                        let first = first_lost.entry(*key).or_insert(call);
                        if call.sent < first.sent {
                            *first = call;
                        }
                        continue;
                    }
                    Answer::Refused => continue,
                }
            }
        };
        let (client, sent, answered) = (call.client, call.sent, Some(call.answered));
        operations.push(Operation { client, sent, answered, op });
    }
    for (key, call) in first_lost {
        if let Some(version) = versions.get(&key)
            && !told.contains(&key)
        {
            let op = Op::Commit { key, append: history.appends[&key], version: *version };
            operations.push(Operation { client: call.client, sent: call.sent, answered: None, op });
        }
    }
    operations
}

/// splitmix64: enough randomness for histories, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a, T>(&mut self, of: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(of.len().max(1) as u64) as usize;
        of.get_mut(at)
    }
}

/// A history that a sound table gives: three clients, one call after the other each, every call taking effect at some moment
/// while it is open.
fn sound(random: &mut Random) -> History {
    let mut history = History { log: [(1, Vec::new())].into(), ..History::default() };
    let mut table = Table::created();
    // A client's next call is sent after its last one was answered. Moments of different calls never fall together.
    let mut free = [0_u64; 3];
    let mut planned = Vec::new();
    for number in 0..CALLS as u64 - 1 {
        let client = random.below(3) as usize;
        let sent = free[client] + 1 + random.below(4);
        let (effect, answered) = (sent + random.below(6), sent + 6 + random.below(6));
        free[client] = answered;
        let unique = |moment: u64, kind: u64| moment * 1_000 + number * 3 + kind;
        planned.push((unique(effect, 1), unique(sent, 0), unique(answered, 2), client));
    }
    planned.sort_unstable();
    let mut lost = Vec::new();
    for (number, (_, sent, answered, client)) in planned.into_iter().enumerate() {
        let event = match random.below(10) {
            0..3 => Event::Read { version: table.newest, scope: None, rows: table.rows.clone() },
            choice => {
                // Some lost ones are tried again, by whoever comes.
                let retried = (choice < 6).then(|| lost.pop()).flatten();
                let retried = retried.filter(|(_, answered)| *answered < sent);
                let key = retried.map_or(number as Key, |(key, _)| key);
                let pair = Pair { entity: random.below(2) as u32, bucket: random.below(3) as i64 };
                let append =
                    *history.appends.entry(key).or_insert(Append { pair, row_count: 1 + key % 3 });
                let answer = tried(&mut table, &mut history.log, key, append);
                match random.below(4) {
                    0 => {
                        lost.push((key, answered));
                        Event::Append { key, answer: Answer::Unknown }
                    }
                    _ => Event::Append { key, answer },
                }
            }
        };
        history.calls.push(Call { client, sent, answered, event });
    }
    let end = history.calls.iter().map(|call| call.answered).max().unwrap() + 1;
    let event = Event::Read { version: table.newest, scope: None, rows: table.rows };
    history.calls.push(Call { client: 3, sent: end, answered: end + 1, event });
    history
}

/// What the table does with one try, and says.
fn tried(
    table: &mut Table,
    log: &mut BTreeMap<Version, Vec<Key>>,
    key: Key,
    append: Append,
) -> Answer {
    match table.owners.get(&append.pair) {
        Some((owner, version)) if *owner == key => {
            Answer::Committed { version: *version, repeated: true }
        }
        Some((_, version)) => Answer::Overlap { checked: table.newest, owner: Some(*version) },
        None => {
            table.newest += 1;
            table.owners.insert(append.pair, (key, table.newest));
            table.rows.insert(key, append.row_count);
            log.insert(table.newest, vec![key]);
            Answer::Committed { version: table.newest, repeated: false }
        }
    }
}

/// Changes one thing, which may or may not break a promise.
fn changed(random: &mut Random, history: &mut History) {
    let nearby =
        |random: &mut Random, version: Version| (version + random.below(3)).saturating_sub(1);
    let Some(call) = random.pick(&mut history.calls) else { return };
    match (random.below(8), &mut call.event) {
        // Another moment, as if the call had begun later or ended earlier.
        (0, _) => call.sent += random.below(call.answered - call.sent),
        (1, _) => call.answered -= random.below(call.answered - call.sent),
        (_, Event::Read { version, rows, .. }) => match random.below(3) {
            0 => *version = nearby(random, *version),
            1 => drop(rows.pop_last()),
            _ => {
                if let Some((key, append)) = history.appends.iter().next() {
                    rows.insert(*key, append.row_count);
                }
            }
        },
        (2, Event::Append { answer, .. }) => *answer = Answer::Unknown,
        (_, Event::Append { answer, .. }) => match answer {
            Answer::Committed { version, repeated } => match random.below(2) {
                0 => *version = nearby(random, *version),
                _ => *repeated = !*repeated,
            },
            Answer::Overlap { checked, owner } => match random.below(2) {
                0 => *checked = nearby(random, *checked),
                _ => *owner = owner.map(|owner| nearby(random, owner)),
            },
            Answer::Unknown | Answer::Refused => {}
        },
    }
}

#[test]
fn both_checkers_say_the_same_of_short_histories() {
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let (mut sound_count, mut broken_count) = (0, 0);
    let mut reached = BTreeMap::new();
    for number in 0..HISTORIES {
        let mut history = sound(&mut random);
        assert_eq!(history::check(&history), Ok(()), "{number}: {history:#?}");
        for _ in 0..number % 3 {
            changed(&mut random, &mut history);
        }
        let ours = history::check(&history);
        let theirs = has_an_order(operations(&history));
        assert_eq!(ours.is_ok(), theirs, "history {number}: {ours:?}\n{history:#?}");
        match ours {
            Ok(()) => sound_count += 1,
            Err(violation) => {
                broken_count += 1;
                *reached.entry(violation.rule).or_insert(0) += 1;
            }
        }
    }
    println!("{sound_count} sound, {broken_count} broken, by rule: {reached:?}");
    assert!(sound_count > HISTORIES / 3 && broken_count > HISTORIES / 6);
    // Two reads of one client that go back break rule 3 before they break rule 6.
    assert!([1, 2, 3, 4, 5, 7].iter().all(|rule| reached.contains_key(rule)), "{reached:?}");
}
