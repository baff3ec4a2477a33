//! Commits that share a record: order, receipts and failures stay each their own (C2, C6, C14).
//!
//! On the one thread of these tests, commits that are started together have all queued up before the first is planned.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;

use coverline_proto::log as proto;
use futures::future::{BoxFuture, FutureExt, join_all};

use super::group::GROUP_COMMITS_MAX;
use super::record::Action;
use super::tests::{TableHead, clock, create, create_watched, filled, log_on, log_over, open, set};
use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::Snapshot;
use crate::storage::faults::{FlakyStore, PutFault, SimDisk};
use crate::types::Version;

pub(super) type Outcome<'a> = BoxFuture<'a, Result<Arc<Snapshot>>>;

fn put(key: &str, value: &str) -> CommitBody {
    let properties = HashMap::from([(key.to_owned(), value.to_owned())]);
    CommitBody {
        operation: "append".to_owned(),
        actions: vec![Action::SetProperties(proto::SetProperties { properties })],
        append_ids: vec![proto::AppendId { key: key.to_owned(), ..proto::AppendId::default() }],
        shares_record: true,
        ..CommitBody::default()
    }
}

/// Sets `key` if nobody has: an append in miniature.
pub(super) fn claim<'a>(head: &'a TableHead, key: &str, value: &str) -> Outcome<'a> {
    let (key, body) = (key.to_owned(), put(key, value));
    head.commit(move |state| match state.properties.get(&key) {
        None => Ok(Decision::Commit(body.clone())),
        Some(owner) => {
            Err(Error::new(ErrorKind::Overlap, format!("{owner} has it at {}", state.version)))
        }
    })
    .boxed()
}

/// Takes a key that is there already for its own earlier try.
pub(super) fn claim_again<'a>(head: &'a TableHead, key: &str) -> Outcome<'a> {
    let (key, body) = (key.to_owned(), put(key, "again"));
    head.commit(move |state| match state.properties.contains_key(&key) {
        false => Ok(Decision::Commit(body.clone())),
        true => Ok(Decision::Nothing),
    })
    .boxed()
}

pub(super) fn kinds(outcomes: &[Result<Arc<Snapshot>>]) -> Vec<Result<u64, ErrorKind>> {
    let version = |snapshot: &Arc<Snapshot>| snapshot.version.0;
    outcomes.iter().map(|outcome| outcome.as_ref().map(version).map_err(Error::kind)).collect()
}

#[tokio::test]
async fn commits_that_wait_share_one_record_and_keep_their_order() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
    let outcomes = join_all(keys.iter().map(|key| claim(&head, key, "me"))).await;
    assert_eq!(kinds(&outcomes), vec![Ok(2); 40]);
    let stored = head.log().read_record(Version(2)).await.unwrap().unwrap();
    let ids: Vec<_> = stored.record.append_ids.iter().map(|id| id.key.clone()).collect();
    assert_eq!(ids, keys);
    assert_eq!(head.log().read_record(Version(3)).await.unwrap(), None);
    let opened = open(log_on(&disk, 2), 2).await.unwrap().current();
    assert_eq!(opened.properties, head.current().properties);
    assert!(keys.iter().all(|key| opened.append_id("", key).unwrap().version == 2));
}

/// C6: a refusal quotes a version that holds what it was refused for.
#[tokio::test]
async fn a_commit_sees_those_before_it_in_the_group() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let outcomes = join_all([
        claim(&head, "a", "first"),
        claim(&head, "a", "second"),
        claim(&head, "b", "third"),
        claim_again(&head, "a"),
    ])
    .await;
    assert_eq!(kinds(&outcomes), [Ok(2), Err(ErrorKind::Overlap), Ok(2), Ok(2)]);
    assert_eq!(outcomes[1].as_ref().unwrap_err().message(), "first has it at 2");
    assert_eq!(head.current().properties["a"], "first");
}

#[tokio::test]
async fn a_planner_that_panics_fails_alone() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let (before, broken, after) = tokio::join!(
        claim(&head, "a", "x"),
        head.commit(|_| panic!("a bug in a planner")),
        claim(&head, "b", "y"),
    );
    assert_eq!(kinds(&[before, broken, after]), [Ok(2), Err(ErrorKind::Internal), Ok(2)]);
}

#[tokio::test]
async fn a_group_is_bounded_and_other_operations_stand_alone() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let keys: Vec<String> = (0..=GROUP_COMMITS_MAX).map(|key| format!("k{key}")).collect();
    let outcomes = join_all(keys.iter().map(|key| claim(&head, key, "me"))).await;
    let mut expected = vec![Ok(2); GROUP_COMMITS_MAX];
    expected.push(Ok(3));
    assert_eq!(kinds(&outcomes), expected);

    let (a, set_one, b, set_two, c, d) = tokio::join!(
        claim(&head, "a", "x"),
        set(&head, "one"),
        claim(&head, "b", "x"),
        set(&head, "two"),
        claim(&head, "c", "x"),
        claim(&head, "d", "x"),
    );
    let versions = kinds(&[a, set_one, b, set_two, c, d]);
    assert_eq!(versions, [Ok(4), Ok(5), Ok(6), Ok(7), Ok(8), Ok(8)]);
    let opened = open(log_on(&disk, 2), 2).await.unwrap().current();
    assert_eq!((opened.version, opened.properties.len()), (Version(8), GROUP_COMMITS_MAX + 7));
}

/// C6: the whole group decides anew against the rival's commit.
#[tokio::test]
async fn a_group_that_loses_its_slot_is_planned_again() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let rival = open(log_on(&disk, 2), 2).await.unwrap();
    claim(&rival, "a", "rival").await.unwrap();
    let outcomes = join_all([
        claim(&head, "a", "first"),
        claim(&head, "a", "second"),
        claim(&head, "b", "third"),
    ])
    .await;
    assert_eq!(kinds(&outcomes), [Err(ErrorKind::Overlap), Err(ErrorKind::Overlap), Ok(3)]);
    assert_eq!(outcomes[1].as_ref().unwrap_err().message(), "rival has it at 2");
}

/// C2: a refusal never rests on a commit that did not happen.
#[tokio::test]
async fn who_was_refused_for_a_commit_that_fails_gets_another_try() {
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(Arc::new(disk.store(clock(1))));
    let head = create(log_over(flaky.clone()), 1).await;
    claim(&head, "old", "x").await.unwrap();
    flaky.next_puts([PutFault::NotStored]);
    let outcomes = join_all([
        claim(&head, "old", "refused whatever happens"),
        claim(&head, "a", "fails"),
        claim(&head, "a", "second"),
        claim_again(&head, "a"),
    ])
    .await;
    let expected = [Err(ErrorKind::Overlap), Err(ErrorKind::Unavailable), Ok(3), Ok(3)];
    assert_eq!(kinds(&outcomes), expected);
    assert_eq!(head.current().properties["a"], "second");
}

/// C3, C14: of a group whose record may be in the log or not, nobody is told more than is known.
#[tokio::test]
async fn an_unknown_outcome_is_unknown_to_all_who_rest_on_it() {
    let disk = SimDisk::new();
    let flaky = FlakyStore::over(Arc::new(disk.store(clock(1))));
    let alarm = Alarm::default();
    let head = create_watched(log_over(flaky.clone()), 1, alarm.clone()).await;
    claim(&head, "old", "x").await.unwrap();
    assert_eq!(alarm.raised().now_or_never(), None);
    flaky.next_puts([PutFault::NotDurable]);
    let outcomes = join_all([
        claim(&head, "old", "refused whatever happens"),
        claim_again(&head, "old"),
        claim(&head, "a", "unknown"),
        claim(&head, "a", "refused for the one before, or not"),
        claim_again(&head, "a"),
    ])
    .await;
    let expected = [
        Err(ErrorKind::Overlap),
        Ok(2),
        Err(ErrorKind::Indeterminate),
        Err(ErrorKind::Unavailable),
        Err(ErrorKind::Indeterminate),
    ];
    assert_eq!(kinds(&outcomes), expected);
    let reason = alarm.raised().now_or_never().unwrap();
    assert!(reason.contains("version 3"), "{reason}");
    let later = claim(&head, "b", "x").await.unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Unavailable);
    let opened = open(log_on(&disk, 2), 2).await.unwrap().current();
    assert_eq!(opened.properties["a"], "unknown");
}
