//! Several servers on one log: looking for what others committed, commits beside it, and records of unknown outcome on a store
//! where that can be found out later (C2, C3, C5, C6, C7, C8).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, join_all};

use super::group_tests::{claim, claim_again, kinds};
use super::tests::{
    TableHead, clock, filled, label, log_on, log_over, open, open_as, record_file, set,
};
use super::*;
use crate::access::Access;
use crate::error::ErrorKind;
use crate::storage::DurableStore;
use crate::storage::faults::{FlakyStore, Gate, GatedStore, PutFault, SimDisk};
use crate::types::Version;

const NOW: Duration = Duration::ZERO;

fn flaky_on(disk: &SimDisk, seed: u64) -> Arc<FlakyStore> {
    let flaky = FlakyStore::over(Arc::new(disk.store(clock(seed))));
    flaky.settles_unknown(true);
    flaky
}

fn gated_on(disk: &SimDisk, seed: u64) -> Arc<GatedStore> {
    GatedStore::over(Arc::new(disk.store(clock(seed))))
}

async fn shared(store: Arc<dyn DurableStore>, seed: u64) -> TableHead {
    open_as(log_over(store), seed, Access::Shared).await.unwrap()
}

async fn newest(head: &TableHead) -> u64 {
    head.refresh(NOW).await.unwrap().version.0
}

/// C7, C8: what was committed elsewhere is seen, and it is durable before it is.
#[tokio::test]
async fn a_refresh_finds_what_others_committed_and_syncs_it_first() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 1).await;
    let flaky = flaky_on(&disk, 2);
    flaky.settles_unknown(false);
    let reader = shared(flaky.clone(), 2).await;
    assert_eq!(newest(&reader).await, 1);
    for version in 2..=300 {
        set(&writer, &format!("k{version}")).await.unwrap();
    }
    assert_eq!(reader.current().version.0, 1);
    assert_eq!(newest(&reader).await, 300);
    assert_eq!(reader.current().properties, writer.current().properties);
    let operations = flaky.operations();
    assert_eq!(operations.last().unwrap(), &format!("sync {}", record_file(300)));
    // Nothing new: one read, and nothing to sync.
    assert_eq!(newest(&reader).await, 300);
    assert_eq!(flaky.operations().len(), operations.len() + 1);
    let middle = reader.at_version(Version(150)).await.unwrap();
    assert_eq!(middle.version.0, 150);
}

/// The only server of a root has nobody to look for.
#[tokio::test]
async fn an_exclusive_root_is_never_looked_at() {
    let disk = SimDisk::new();
    let head = filled(&disk, 3).await;
    let flaky = flaky_on(&disk, 2);
    let head_of_another = open(log_over(flaky.clone()), 2).await.unwrap();
    set(&head, "k").await.unwrap();
    let before = flaky.operations().len();
    assert_eq!(newest(&head_of_another).await, 3);
    assert_eq!(flaky.operations().len(), before);
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_a_look() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 1).await;
    let gated = gated_on(&disk, 2);
    let reader = shared(gated.clone(), 2).await;
    set(&writer, "k").await.unwrap();
    let before = gated.reads();
    let found = join_all((0..50).map(|_| newest(&reader))).await;
    assert_eq!(found, [2; 50]);
    // The first to ask reads version 2 and looks for 3 and 4 at once; all others share the look after that.
    assert_eq!(gated.reads() - before, 4);
}

/// C7: who asks after a commit gets a look that began after it, even while an older look is under way.
#[tokio::test]
async fn a_look_that_began_before_is_not_shared() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 1).await;
    let reader = shared(gated_on(&disk, 2), 2).await;
    let mut early = Box::pin(newest(&reader));
    // It has asked for version 2, and waits.
    assert!(futures::poll!(&mut early).is_pending());
    set(&writer, "k").await.unwrap();
    let (_, late) = tokio::join!(early, newest(&reader));
    assert_eq!(late, 2);
}

#[tokio::test]
async fn a_bounded_staleness_saves_looks() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 1).await;
    let gated = gated_on(&disk, 2);
    let reader = shared(gated.clone(), 2).await;
    let hour = Duration::from_secs(3600);
    // Not looked yet: how old its state is, it does not know.
    assert_eq!(reader.refresh(hour).await.unwrap().version.0, 1);
    let before = gated.reads();
    set(&writer, "k").await.unwrap();
    assert_eq!(reader.refresh(hour).await.unwrap().version.0, 1);
    assert_eq!(gated.reads(), before);
    assert_eq!(reader.refresh(Duration::from_nanos(1)).await.unwrap().version.0, 2);
}

/// C6: a commit that waits for the storage holds up nobody who reads, and the state never goes back.
#[tokio::test]
async fn commits_and_looks_go_side_by_side() {
    let disk = SimDisk::new();
    let rival = filled(&disk, 1).await;
    let gated = gated_on(&disk, 2);
    let head = shared(gated.clone(), 2).await;

    // Held before it is stored: the rival takes the slot, and is seen.
    gated.set(Gate::BeforePut);
    let ours = tokio::spawn({
        let head = Arc::clone(&head);
        async move { claim(&head, "ours", "x").await }
    });
    gated.held(1).await;
    set(&rival, "theirs").await.unwrap();
    assert_eq!(newest(&head).await, 2);
    // It learns that the slot is taken, and is planned again on top of what was seen.
    gated.set(Gate::AfterPut);
    gated.held(2).await;
    gated.set(Gate::BeforePut);
    gated.held(3).await;
    // Stored as version 3, and its answer held.
    gated.set(Gate::AfterPut);
    gated.held(4).await;
    assert_eq!(newest(&head).await, 3, "our own record, before its answer came");
    set(&rival, "after ours").await.unwrap();
    assert_eq!(newest(&head).await, 4);
    gated.set(Gate::Open);
    assert_eq!(ours.await.unwrap().unwrap().version.0, 3, "the receipt names the version it is in");
    assert_eq!(head.current().version.0, 4);
    assert_eq!(claim(&head, "next", "x").await.unwrap().version.0, 5);
}

/// C10: damage is named, and what was seen before stays readable.
#[tokio::test]
async fn a_damaged_record_is_not_followed() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 2).await;
    let reader = shared(flaky_on(&disk, 2), 2).await;
    set(&writer, "k").await.unwrap();
    disk.tamper(&record_file(3), |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    });
    let refused = reader.refresh(NOW).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.message().contains(&record_file(3)), "{refused}");
    // The record in the slot could be that of this very commit, as far as anybody can read it.
    assert_eq!(claim(&reader, "a", "x").await.unwrap_err().kind(), ErrorKind::Indeterminate);
    assert_eq!(claim(&reader, "a", "x").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(reader.current().version.0, 2);
    assert_eq!(reader.at_version(Version(1)).await.unwrap().version.0, 1);
}

/// C2, C3, C5: on a store that can be read later, an unknown outcome closes nothing: the slot is read before the next commit.
#[tokio::test]
async fn an_unknown_record_that_is_there_is_followed() {
    let disk = SimDisk::new();
    filled(&disk, 1).await;
    let flaky = flaky_on(&disk, 2);
    let alarm = Alarm::default();
    let context = LogContext { clock: clock(2), alarm: alarm.clone(), access: Access::Shared };
    let head = Arc::new(Head::open(log_over(flaky.clone()), context, label()).await.unwrap());
    flaky.next_puts([PutFault::StoredButUnknown]);
    flaky.next_reads_fail(1);
    let outcomes = join_all([
        claim(&head, "a", "unknown"),
        claim(&head, "a", "refused for the one before, which is there"),
        claim_again(&head, "a"),
    ])
    .await;
    // The second is decided anew, once the slot could be read.
    let expected =
        [Err(ErrorKind::Indeterminate), Err(ErrorKind::Overlap), Err(ErrorKind::Indeterminate)];
    assert_eq!(kinds(&outcomes), expected);
    assert_eq!(outcomes[1].as_ref().unwrap_err().message(), "unknown has it at 2");
    let retried = claim_again(&head, "a").await;
    assert_eq!(kinds(&[retried]), [Ok(2)]);
    assert_eq!(alarm.raised().now_or_never(), None);
    assert!(head.closed().is_none());
    assert_eq!(claim(&head, "b", "x").await.unwrap().version.0, 3);
}

/// C2, C3, C5.
#[tokio::test]
async fn an_unknown_record_that_is_not_there_leaves_its_slot_to_the_next() {
    let disk = SimDisk::new();
    filled(&disk, 1).await;
    let flaky = flaky_on(&disk, 2);
    let head = shared(flaky.clone(), 2).await;
    flaky.next_puts([PutFault::AbsentAndUnknown; 3]);
    let outcomes = join_all([
        claim(&head, "a", "unknown"),
        claim(&head, "a", "refused for the one before, which is not there"),
    ])
    .await;
    assert_eq!(kinds(&outcomes), [Err(ErrorKind::Indeterminate), Ok(2)]);
    assert_eq!(head.current().properties["a"], "refused for the one before, which is not there");
}

/// C2: while the slot cannot be read nothing is published, and all are told so.
#[tokio::test]
async fn an_unknown_record_that_cannot_be_read_holds_commits_up() {
    let disk = SimDisk::new();
    let rival = filled(&disk, 1).await;
    let flaky = flaky_on(&disk, 2);
    let head = shared(flaky.clone(), 2).await;
    flaky.next_puts([PutFault::AbsentAndUnknown; 3]);
    let unknown = claim(&head, "a", "unknown").await;
    assert_eq!(kinds(&[unknown]), [Err(ErrorKind::Indeterminate)]);
    flaky.next_reads_fail(2);
    let puts = |flaky: &FlakyStore| {
        flaky.operations().iter().filter(|operation| operation.starts_with("put")).count()
    };
    let before = puts(&flaky);
    for _ in 0..2 {
        let refused = claim(&head, "b", "x").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.message().contains("version 2"), "{refused}");
    }
    assert_eq!(puts(&flaky), before, "nothing was tried");
    // A rival may have the slot by the time that it can be read.
    claim(&rival, "a", "rival").await.unwrap();
    assert_eq!(kinds(&[claim(&head, "a", "retry").await]), [Err(ErrorKind::Overlap)]);
    assert_eq!(claim(&head, "b", "x").await.unwrap().version.0, 3);
}

/// C2, C5: a request that arrives long after it was given up is in the log once or never, wherever the others are by then.
#[tokio::test]
async fn a_record_that_arrives_late_is_followed_or_finds_its_slot_taken() {
    for is_in_time in [true, false] {
        let disk = SimDisk::new();
        filled(&disk, 1).await;
        let flaky = flaky_on(&disk, 2);
        let head = shared(flaky.clone(), 2).await;
        flaky.next_puts([PutFault::Late, PutFault::AbsentAndUnknown, PutFault::AbsentAndUnknown]);
        let unknown = claim(&head, "a", "late").await;
        assert_eq!(kinds(&[unknown]), [Err(ErrorKind::Indeterminate)]);
        if is_in_time {
            assert_eq!(flaky.deliver_late().await.unwrap(), 1);
            let next = join_all([claim(&head, "b", "x"), claim_again(&head, "a")]).await;
            assert_eq!(kinds(&next), [Ok(3), Ok(3)]);
            assert_eq!(head.current().properties["a"], "late");
        } else {
            assert_eq!(claim(&head, "b", "x").await.unwrap().version.0, 2);
            assert_eq!(flaky.deliver_late().await.unwrap(), 0);
            assert_eq!(claim(&head, "a", "retry").await.unwrap().version.0, 3);
        }
        let opened = open(log_on(&disk, 3), 3).await.unwrap().current();
        assert_eq!((opened.version.0, opened.properties.len()), (3, 2));
    }
}

/// C6: servers that commit as fast as they can take turns, and each record has one winner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_race_lose_nothing() {
    const SERVERS: u64 = 3;
    const COMMITS: u64 = 60;
    let disk = SimDisk::new();
    filled(&disk, 1).await;
    let mut servers = Vec::new();
    for server in 0..SERVERS {
        let head = shared(gated_on(&disk, server + 2), server + 2).await;
        servers.push(tokio::spawn(async move {
            let mut versions = Vec::new();
            for commit in 0..COMMITS {
                let key = format!("{server}/{commit}");
                let (committed, seen) = tokio::join!(claim(&head, &key, "x"), head.refresh(NOW));
                let committed = committed.unwrap();
                assert_eq!(committed.append_id("", &key).unwrap().version, committed.version.0);
                assert!(seen.unwrap().version <= head.current().version);
                versions.push(committed.version.0);
            }
            assert!(versions.is_sorted());
            versions
        }));
    }
    let mut versions = Vec::new();
    for server in servers {
        versions.extend(server.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=SERVERS * COMMITS + 1).collect::<Vec<_>>());
    let opened = open(log_on(&disk, 9), 9).await.unwrap().current();
    assert_eq!(opened.properties.len() as u64, SERVERS * COMMITS);
}

#[tokio::test]
async fn a_read_only_log_takes_no_commit_and_no_checkpoint() {
    let disk = SimDisk::new();
    let writer = filled(&disk, 1).await;
    let flaky = flaky_on(&disk, 2);
    let access = Access::ReadOnly { reason: "a test says so".to_owned() };
    let reader = open_as(log_over(flaky.clone()), 2, access).await.unwrap();
    set(&writer, "k").await.unwrap();
    assert_eq!(newest(&reader).await, 2);
    for refused in
        [claim(&reader, "a", "x").await.unwrap_err(), reader.checkpoint().await.unwrap_err()]
    {
        assert_eq!(refused.kind(), ErrorKind::Precondition);
        assert!(refused.message().contains("a test says so"), "{refused}");
    }
    assert!(!flaky.operations().iter().any(|operation| operation.starts_with("put")));
}
