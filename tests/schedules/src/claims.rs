//! Commits in miniature, and what everybody must see of them: each claims a key that nobody has, as an append claims its pairs.
//!
//! Held in every schedule: a claim that was acknowledged is in every state shown later, in exactly one record, at the version told
//! (C1, C7); it comes after all that were acknowledged before it was sent (C6); of two claims of one key one wins, and the
//! other is refused by a state that holds the winner (C6); a planner is shown nothing older than what was answered; a version
//! never looks twice different, nor does a server go back (C7); a record that was not stored fails those in it and nobody else; and
//! what is in the log in the end is what readers saw (C17).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coverline_proto::log as proto;
use futures::TryStreamExt;
use parking_lot::Mutex;
use shuttle::future::{JoinHandle, yield_now};
use table_core::log::record::Action;
use table_core::types::Version;
use table_core::{CommitBody, Decision, Error, ErrorKind, Snapshot};

use crate::Tally;
use crate::scene::{Scene, Seat, once_in};

/// How often a reader looks.
const LOOKS: usize = 6;

/// Who has which key.
type Keys = BTreeMap<String, String>;

/// All claims of one schedule.
#[derive(Default)]
pub(crate) struct Claims {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// The newest version that anybody was told of.
    answered: u64,
    claims: Vec<Claim>,
    /// What was shown of each version.
    shown: BTreeMap<u64, Keys>,
}

#[derive(Debug, Clone)]
struct Claim {
    key: String,
    /// How often it was decided upon, and the record that it was last to be part of.
    plans: u64,
    record: Option<u64>,
    /// `None` while it is under way, and for ever when the caller is gone.
    outcome: Option<Result<u64, ErrorKind>>,
}

/// How to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// In a record with others, as an append.
    Shared,
    /// In a record of its own, as a change of the table.
    Alone,
}

impl Claims {
    /// The newest version that anybody was told of by now.
    pub(crate) fn answered(&self) -> u64 {
        self.book.lock().answered
    }

    /// Claims a key. Says as which version, or why not.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        seat: &Seat,
        key: &str,
        company: Company,
    ) -> Result<u64, ErrorKind> {
        let (number, floor) = self.begin(key);
        let me = number.to_string();
        let body = body(key, &me, company);
        let is_only_server = !seat.catalog.access().has_rivals();
        let (claims, store, wanted) = (Arc::clone(self), Arc::clone(&seat.store), key.to_owned());
        let committed = seat.table.commit(move |state| {
            let answered = claims.answered();
            assert!(
                !is_only_server || state.version.0 >= answered,
                "a planner is shown version {}, and {answered} was answered",
                state.version
            );
            claims.plan(number, store.next_record());
            match state.properties.get(&wanted) {
                None => Ok(Decision::Commit(body.clone())),
                Some(owner) => Err(Error::new(ErrorKind::Overlap, owner.clone())),
            }
        });
        let outcome = match committed.await {
            Ok(state) => {
                let version = state.version.0;
                assert!(version > floor, "{version} was given after {floor} was answered");
                let newest = seat.table.snapshot();
                assert!(
                    newest.version >= state.version && newest.properties.get(key) == Some(&me),
                    "version {version} with {key} was answered, and {} is shown",
                    newest.version
                );
                Ok(version)
            }
            Err(error) => {
                if error.kind() == ErrorKind::Overlap {
                    let newest = seat.table.snapshot();
                    let owner = newest.properties.get(key).map(String::as_str);
                    assert_eq!(owner, Some(error.message()), "refused for what is not there");
                }
                Err(error.kind())
            }
        };
        self.end(number, outcome);
        outcome
    }

    fn begin(&self, key: &str) -> (usize, u64) {
        let mut book = self.book.lock();
        book.claims.push(Claim { key: key.to_owned(), plans: 0, record: None, outcome: None });
        (book.claims.len() - 1, book.answered)
    }

    fn plan(&self, number: usize, record: u64) {
        let claim = &mut self.book.lock().claims[number];
        claim.plans += 1;
        claim.record = Some(record);
    }

    fn end(&self, number: usize, outcome: Result<u64, ErrorKind>) {
        let mut book = self.book.lock();
        book.claims[number].outcome = Some(outcome);
        if let Ok(version) = outcome {
            book.answered = book.answered.max(version);
        }
    }

    /// Reads a few times what a server shows, having looked for what others did or not.
    pub(crate) async fn watch(&self, scene: &Scene, seat: &Seat, looks: bool) {
        let first = seat.table.snapshot();
        let mut last = self.check(scene, seat, &first, 0);
        let was = first.version;
        for _ in 0..LOOKS {
            let answered = self.answered();
            let snapshot = match looks {
                true => seat.table.refresh(Duration::ZERO).await.unwrap(),
                false => seat.table.snapshot(),
            };
            // Without looking, a server knows what itself answered; with several, that may be less.
            let is_all = looks || !seat.catalog.access().has_rivals();
            let version = self.check(scene, seat, &snapshot, if is_all { answered } else { 0 });
            assert!(version >= last, "{version} is shown after {last}");
            if version > last {
                scene.tally.add("steps seen by readers");
            }
            last = version;
            // Half of the time somebody else's turn for sure.
            if once_in(2) {
                yield_now().await;
            }
        }
        // A pin: the value stays, and the version is found again.
        assert_eq!(first.version, was);
        self.check(scene, seat, &first, 0);
        let again = seat.table.snapshot_at(was).await.unwrap();
        assert_eq!(keys(&again), keys(&first), "version {was}, asked for again");
    }

    /// Redeems a ticket for the newest version that anybody was told of, as any server must (C7).
    pub(crate) async fn redeem(&self, scene: &Scene, seat: &Seat) {
        let answered = self.answered().max(1);
        let snapshot = seat.table.snapshot_at(Version(answered)).await.unwrap();
        assert_eq!(snapshot.version.0, answered);
        self.check(scene, seat, &snapshot, answered);
        scene.tally.add("tickets redeemed");
    }

    /// Holds what is shown against what was answered by then and what was shown before; says its version.
    fn check(&self, scene: &Scene, seat: &Seat, snapshot: &Snapshot, answered: u64) -> u64 {
        let version = snapshot.version;
        assert!(version.0 >= answered, "{version} is shown after {answered} was answered");
        let file = seat.table.log().record_file(version);
        assert!(scene.disk.peek(&file).is_some(), "{version} is shown, and {file} is not there");
        let keys = keys(snapshot);
        let mut book = self.book.lock();
        for (number, claim) in book.claims.iter().enumerate() {
            if let Some(Ok(told)) = claim.outcome
                && told <= version.0
            {
                let owner = keys.get(&claim.key);
                assert_eq!(owner, Some(&number.to_string()), "{claim:?} at {version}");
            }
        }
        let before = book.shown.entry(version.0).or_insert_with(|| keys.clone());
        assert_eq!(before, &keys, "version {version} looks different now");
        version.0
    }

    /// Once nobody is under way any more: everybody goes on, and the log holds what was told and shown.
    pub(crate) async fn settle(self: &Arc<Self>, scene: &Scene, seats: &[Seat], seed: u64) {
        for (number, seat) in seats.iter().enumerate() {
            seat.store.calm();
            let last = self.claim(seat, &format!("last{number}"), Company::Shared).await;
            assert!(last.is_ok(), "the table takes nothing more: {last:?}");
        }
        self.check_log(scene, seed).await;
        self.check_failures(scene, seats);
    }

    /// A server that starts now finds in the log what was told and shown.
    pub(crate) async fn check_log(&self, scene: &Scene, seed: u64) {
        let access = table_core::Access::default();
        let reopened = scene.another(seed, access).await;
        let newest = reopened.table.snapshot();
        let records = reopened.table.log().read_records(Version(1), newest.version);
        let records: Vec<_> = records.try_collect().await.unwrap();
        let shown: Vec<u64> = self.book.lock().shown.keys().copied().collect();
        for version in shown {
            let pinned = reopened.table.snapshot_at(Version(version)).await.unwrap();
            self.check(scene, &reopened, &pinned, 0);
        }
        let book = self.book.lock();
        let mut homes: HashMap<usize, u64> = HashMap::new();
        let mut folded = Keys::new();
        for (expected, stored) in (1..).zip(&records) {
            let record = &stored.record;
            assert_eq!(record.version.0, expected, "versions have no gap");
            if record.append_ids.len() > 1 {
                scene.tally.add("records of several commits");
            }
            for id in &record.append_ids {
                let number: usize = id.key.parse().unwrap();
                let twice = homes.insert(number, expected);
                assert_eq!(twice, None, "{:?} is in two records", book.claims[number]);
                let key = book.claims[number].key.clone();
                let owner = folded.insert(key, id.key.clone());
                assert_eq!(owner, None, "{:?} won as well", book.claims[number]);
            }
            if let Some(shown) = book.shown.get(&expected) {
                assert_eq!(shown, &folded, "what was shown of version {expected}");
            }
        }
        assert_eq!(folded, keys(&newest), "the log as it is opened");
        for (number, claim) in book.claims.iter().enumerate() {
            let home = homes.get(&number).copied();
            scene.tally.add(claim.record(home));
            if claim.plans > 1 {
                scene.tally.add("claims planned again");
            }
            match claim.outcome {
                Some(Ok(version)) => assert_eq!(home, Some(version), "{claim:?}"),
                // Nobody was told, or the answer was that nobody knows.
                None | Some(Err(ErrorKind::Indeterminate)) => {}
                Some(Err(_)) => assert_eq!(home, None, "{claim:?}"),
            }
        }
    }

    /// A record that was certainly not stored fails those that were part of it, and them alone. Where servers race for
    /// slots, a claim is part of several records, of which the last is known here.
    fn check_failures(&self, scene: &Scene, seats: &[Seat]) {
        let [seat] = seats else { return };
        let not_stored = seat.store.not_stored();
        scene.tally.add_many("records not stored", not_stored.len() as u64);
        for claim in &self.book.lock().claims {
            let failed = claim.record.is_some_and(|record| not_stored.contains(&record));
            match claim.outcome {
                Some(Err(ErrorKind::Unavailable)) => {
                    assert!(failed, "failed with another: {claim:?}")
                }
                Some(Ok(_)) => {
                    assert!(!failed, "acknowledged from a record that failed: {claim:?}")
                }
                _ => {}
            }
        }
    }
}

impl Claim {
    /// What became of it, for the tally.
    fn record(&self, home: Option<u64>) -> &'static str {
        match (self.outcome, home) {
            (Some(Ok(_)), _) => "acknowledged",
            (Some(Err(ErrorKind::Overlap)), _) => "refused for another",
            (Some(Err(ErrorKind::Unavailable)), _) => "failed with a record",
            (Some(Err(ErrorKind::Indeterminate)), Some(_)) => "unknown and there",
            (Some(Err(ErrorKind::Indeterminate)), None) => "unknown and not there",
            (Some(Err(_)), _) => "refused otherwise",
            (None, Some(_)) => "caller gone and there",
            (None, None) => "caller gone and not there",
        }
    }
}

fn body(key: &str, me: &str, company: Company) -> CommitBody {
    let properties = HashMap::from([(key.to_owned(), me.to_owned())]);
    CommitBody {
        operation: "append".to_owned(),
        append_ids: vec![proto::AppendId { key: me.to_owned(), ..proto::AppendId::default() }],
        actions: vec![Action::SetProperties(proto::SetProperties { properties })],
        shares_record: company == Company::Shared,
        ..CommitBody::default()
    }
}

fn keys(snapshot: &Snapshot) -> Keys {
    let keys = snapshot.properties.iter();
    keys.map(|(key, owner)| (key.clone(), owner.clone())).collect()
}

/// Waits for the end of tasks, some of which may have been given up.
pub(crate) async fn join(tally: &Tally, tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if task.await.is_err() {
            tally.add("callers that gave up");
        }
    }
}
