//! How long append ids are remembered: 7 days and 100,000 commits, whatever the clock does, in bounded memory (C4, C15).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use coverline_proto::log as proto;

use super::frame::{self, FrameKind};
use super::record::Action;
use super::replay::{APPEND_ID_HORIZON, AppendIdHorizon, State};
use super::tests::{log_on, open, record_file, set};
use super::{Record, checkpoint, encode_spec};
use crate::schema::TableSpec;
use crate::snapshot::Snapshot;
use crate::storage::faults::SimDisk;
use crate::types::{AttemptId, TableId, Version};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const TEN_YEARS_US: i64 = 3_653 * DAY_US;

/// A table's fold, with commits at times of the test's choosing.
struct Fold {
    snapshot: Snapshot,
    clock_us: i64,
}

fn record(version: u64, time_us: i64, keys: Vec<String>, actions: Vec<Action>) -> Record {
    let id = |key| proto::AppendId { key, version, ..proto::AppendId::default() };
    Record {
        version: Version(version),
        commit_time_us: time_us,
        attempt_id: AttemptId(uuid::Uuid::from_u128(version.into())),
        operation: "append".to_owned(),
        principal: String::new(),
        append_ids: keys.into_iter().map(id).collect(),
        actions,
    }
}

impl Fold {
    fn new() -> Self {
        let create = Action::CreateTable(proto::CreateTable {
            table_id: Bytes::copy_from_slice(TableId(uuid::Uuid::from_u128(7)).as_bytes()),
            spec: Some(encode_spec(&TableSpec::plain())),
            ipc_schema: Bytes::new(),
        });
        let clock_us = 1_800_000_000_000_000;
        let snapshot =
            Snapshot::first(&record(1, clock_us, Vec::new(), vec![create]), [1; 32]).unwrap();
        Self { snapshot, clock_us }
    }

    /// One commit that carries these keys, timed as the commit loop times it.
    fn commit(&mut self, keys: Vec<String>) {
        let version = self.snapshot.version.0 + 1;
        let time_us = self.clock_us.max(self.snapshot.commit_time_us + 1);
        self.snapshot.fold(&record(version, time_us, keys, Vec::new())).unwrap();
        self.snapshot.seal([1; 32]);
    }

    fn commits(&mut self, count: u64) {
        for _ in 0..count {
            self.commit(Vec::new());
        }
    }

    #[track_caller]
    fn check(&self, key: &str, is_known: bool) {
        assert_eq!(self.snapshot.append_id("", key).is_some(), is_known, "{key}");
    }
}

#[test]
fn an_id_is_forgotten_beyond_both_horizons_and_not_before() {
    let mut fold = Fold::new();
    fold.commit(vec!["old".into()]);
    fold.clock_us += 6 * DAY_US;
    fold.commit(vec!["young".into()]);

    // Ten years of a quiet table are not enough commits ...
    fold.clock_us += 2 * DAY_US;
    fold.commits(APPEND_ID_HORIZON.commits - 2);
    fold.check("old", true);
    // ... and for the young one, the commits are there but not the days.
    fold.commits(1);
    fold.check("old", false);
    fold.commits(APPEND_ID_HORIZON.commits);
    fold.check("young", true);
    fold.clock_us += APPEND_ID_HORIZON.time_us;
    fold.commits(1);
    fold.check("young", false);
    assert!(fold.snapshot.append_order.is_empty() && fold.snapshot.append_ids.is_empty());
}

#[test]
fn many_keys_of_one_record_do_not_count_as_many_commits() {
    let mut fold = Fold::new();
    fold.commit(vec!["first".into()]);
    for commit in 0..1_000 {
        fold.clock_us += DAY_US;
        fold.commit((0..200).map(|key| format!("{commit}/{key}")).collect());
    }
    fold.check("first", true);
}

#[test]
fn a_clock_that_leaps_forgets_nothing_within_the_commits() {
    let mut fold = Fold::new();
    fold.commit(vec!["before".into()]);
    fold.clock_us += TEN_YEARS_US;
    fold.commit(vec!["ahead".into()]);
    fold.commits(1_000);
    fold.check("before", true);
    // Back again: commit times go on from where they were, and so do the ages.
    fold.clock_us -= TEN_YEARS_US;
    fold.commit(vec!["after".into()]);
    fold.commits(APPEND_ID_HORIZON.commits - 2_000);
    for key in ["before", "ahead", "after"] {
        fold.check(key, true);
    }
    fold.commits(2_000);
    fold.check("before", false);
    // Less than 7 days old by the only time there is.
    fold.check("ahead", true);
    fold.check("after", true);
}

#[test]
fn however_many_keys_come_their_number_is_bounded_and_the_oldest_go() {
    let mut fold = Fold::new();
    let horizon = AppendIdHorizon { count_max: 5_000, ..APPEND_ID_HORIZON };
    for commit in 0..40 {
        fold.commit((0..250).map(|key| format!("{commit}/{key}")).collect());
        fold.snapshot.forget_appends(&horizon);
        assert!(fold.snapshot.append_order.len() <= horizon.count_max);
    }
    fold.check("19/249", false);
    fold.check("20/0", true);
    // More at once than any writer brings: each later commit brings the number down.
    fold.commit((0..10_000).map(|key| format!("many/{key}")).collect());
    for _ in 0..10 {
        fold.commit(Vec::new());
        fold.snapshot.forget_appends(&horizon);
    }
    assert_eq!(fold.snapshot.append_order.len(), horizon.count_max);
    assert_eq!(fold.snapshot.append_ids.len(), horizon.count_max);
    fold.check("many/9999", true);
}

#[test]
fn a_key_used_again_after_it_was_forgotten_lives_as_long_as_its_later_use() {
    let mut fold = Fold::new();
    fold.commit(vec!["k".into()]);
    // As a server might that never knew the first use.
    fold.clock_us += DAY_US;
    fold.commits(APPEND_ID_HORIZON.commits / 2);
    fold.commit(vec!["k".into()]);
    fold.clock_us += APPEND_ID_HORIZON.time_us;
    fold.commits(APPEND_ID_HORIZON.commits / 2 + 2);
    fold.check("k", true);
    assert_eq!(fold.snapshot.append_order.len(), 1);
    fold.commits(APPEND_ID_HORIZON.commits / 2);
    fold.check("k", false);
}

#[test]
fn checkpoints_keep_ids_with_their_age() {
    let mut fold = Fold::new();
    fold.commit(vec!["old".into()]);
    fold.clock_us += 6 * DAY_US;
    fold.commit(vec!["young".into()]);
    fold.commits(APPEND_ID_HORIZON.commits);
    let framed = checkpoint::encode(&fold.snapshot);
    fold.snapshot = checkpoint::decode(&framed, fold.snapshot.version, "f").unwrap();
    fold.check("old", true);
    fold.clock_us += 2 * DAY_US;
    fold.commits(1);
    fold.check("old", false);
    fold.check("young", true);
}

/// C16, C17: the commit that forgets an id is one like any other, and replay forgets what it forgot.
#[tokio::test]
async fn the_commit_loop_forgets_what_replay_forgets() {
    let mut fold = Fold::new();
    fold.commit(vec!["old".into()]);
    fold.clock_us += 8 * DAY_US;
    fold.commits(APPEND_ID_HORIZON.commits - 1);
    fold.check("old", true);

    // The log of such a table, in which the next commit is one too many for the id.
    let disk = SimDisk::new();
    let log = log_on(&disk, 1);
    let Snapshot { version, commit_time_us, .. } = fold.snapshot;
    let newest = record(version.0, commit_time_us, Vec::new(), Vec::new());
    let framed = frame::encode(FrameKind::Record, &[1; 32], &newest.encode());
    fold.snapshot.seal(frame::digest(&framed));
    fold.check("old", true);
    log.store().put_if_absent(&record_file(version.0), framed).await.unwrap();
    log.write_checkpoint(Arc::new(fold.snapshot)).await.unwrap();

    let head = open(log_on(&disk, 2), 2).await.unwrap();
    assert!(head.current().append_id("", "old").is_some());
    set(&head, "new").await.unwrap();
    let reopened = open(log_on(&disk, 3), 3).await.unwrap();
    for head in [head, reopened] {
        let newest = head.current();
        assert!(newest.append_id("", "old").is_none() && newest.append_id("", "new").is_some());
        set(&head, &format!("after {}", newest.version)).await.unwrap();
    }
}
