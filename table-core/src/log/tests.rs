//! Frames, opening, the chain of records, and the commit loop against rivals and ambiguous answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use coverline_proto::log as proto;
use prost::Message;

use super::frame::{self, FrameKind};
use super::record::Action;
use super::replay::State;
use super::*;
use crate::access::Access;
use crate::clock::{Clock, SeededClock};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::TableSpec;
use crate::snapshot::Snapshot;
use crate::storage::DurableStore;
use crate::storage::faults::{FlakyStore, PutFault, SimDisk};
use crate::types::{AttemptId, TableId, Version};

pub(super) type TableHead = Arc<Head<Snapshot>>;

const TABLE: TableId = TableId(uuid::Uuid::from_u128(7));

pub(super) fn log_over(store: Arc<dyn DurableStore>) -> LogStore {
    LogStore::of_table(store, TABLE)
}

pub(super) fn clock(seed: u64) -> Arc<dyn Clock> {
    Arc::new(SeededClock::new(seed))
}

pub(super) fn log_on(disk: &SimDisk, seed: u64) -> LogStore {
    log_over(Arc::new(disk.store(clock(seed))))
}

fn create_body() -> CommitBody {
    CommitBody {
        operation: "create".to_owned(),
        actions: vec![Action::CreateTable(proto::CreateTable {
            table_id: Bytes::copy_from_slice(TABLE.as_bytes()),
            spec: Some(encode_spec(&TableSpec::plain())),
            ipc_schema: Bytes::new(),
        })],
        ..CommitBody::default()
    }
}

pub(super) async fn create(log: LogStore, seed: u64) -> TableHead {
    create_watched(log, seed, Alarm::default()).await
}

/// As [`create`], with an alarm to listen to.
pub(super) async fn create_watched(log: LogStore, seed: u64, alarm: Alarm) -> TableHead {
    let context = LogContext { clock: clock(seed), alarm, access: Access::Exclusive };
    Arc::new(Head::create(log, context, label(), create_body()).await.unwrap())
}

pub(super) fn label() -> String {
    "table \"t\"".to_owned()
}

pub(super) async fn open(log: LogStore, seed: u64) -> Result<TableHead> {
    open_as(log, seed, Access::Exclusive).await
}

/// As [`open`], for one server of several.
pub(super) async fn open_as(log: LogStore, seed: u64, access: Access) -> Result<TableHead> {
    let context = LogContext { clock: clock(seed), alarm: Alarm::default(), access };
    Head::open(log, context, label()).await.map(Arc::new)
}

fn body(key: &str) -> CommitBody {
    let properties = HashMap::from([(key.to_owned(), "set".to_owned())]);
    CommitBody {
        operation: "set".to_owned(),
        actions: vec![Action::SetProperties(proto::SetProperties { properties })],
        append_ids: vec![proto::AppendId { key: key.to_owned(), ..proto::AppendId::default() }],
        ..CommitBody::default()
    }
}

pub(super) async fn set(head: &TableHead, key: &str) -> Result<Arc<Snapshot>> {
    let body = body(key);
    head.commit(move |_| Ok(Decision::Commit(body.clone()))).await
}

/// A log of `count` versions.
pub(super) async fn filled(disk: &SimDisk, count: u64) -> TableHead {
    let head = create(log_on(disk, 1), 1).await;
    for version in 2..=count {
        set(&head, &format!("k{version}")).await.unwrap();
    }
    head
}

pub(super) fn record_file(version: u64) -> String {
    crate::storage::layout::record(&crate::storage::layout::table_log(TABLE), Version(version))
}

fn checkpoint_file(version: u64) -> String {
    crate::storage::layout::checkpoint(&crate::storage::layout::table_log(TABLE), Version(version))
}

fn key_count(snapshot: &Snapshot) -> usize {
    snapshot.properties.len()
}

fn refused(error: &LogError) -> bool {
    matches!(error, LogError::Damaged { .. } | LogError::Future { .. })
}

fn sample() -> Record {
    Record {
        version: Version(2),
        commit_time_us: 17,
        attempt_id: AttemptId(uuid::Uuid::from_u128(3)),
        operation: "append".to_owned(),
        principal: "ann".to_owned(),
        append_ids: vec![proto::AppendId { key: "k".to_owned(), ..proto::AppendId::default() }],
        actions: body("k").actions,
    }
}

/// C10.
#[test]
fn every_flipped_bit_and_every_truncation_of_a_record_is_refused() {
    let framed = frame::encode(FrameKind::Record, &[9; 32], &sample().encode());
    let frame = frame::decode(FrameKind::Record, &framed, "f").unwrap();
    assert_eq!(frame.previous, [9; 32]);
    assert_eq!(Record::decode(frame.payload, "f").unwrap(), sample());
    for bit in 0..framed.len() * 8 {
        let mut bytes = framed.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = frame::decode(FrameKind::Record, &bytes.into(), "f").unwrap_err();
        assert!(refused(&error), "bit {bit}: {error}");
    }
    for length in 0..framed.len() {
        let error = frame::decode(FrameKind::Record, &framed.slice(..length), "f").unwrap_err();
        assert!(refused(&error), "{length} bytes: {error}");
    }
    let error = frame::decode(FrameKind::Checkpoint, &framed, "f").unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[test]
fn newer_formats_and_unknown_actions_ask_for_an_upgrade() {
    let mut bytes = frame::encode(FrameKind::Record, &[0; 32], b"").to_vec();
    bytes[8] = 2;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&crc);
    let error = frame::decode(FrameKind::Record, &bytes.into(), "f").unwrap_err();
    assert!(matches!(error, LogError::Future { .. }), "{error}");

    let record = proto::CommitRecord {
        version: 1,
        attempt_id: vec![0; 16].into(),
        actions: vec![proto::Action { action: None }],
        ..proto::CommitRecord::default()
    };
    let error = Record::decode(record.encode_to_vec().into(), "f").unwrap_err();
    assert!(matches!(error, LogError::Future { .. }), "{error}");
}

#[tokio::test]
async fn known_but_unused_features_are_refused_and_never_published() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    let mask = Action::MaskSegment(proto::MaskSegment::default());
    let record = Record { actions: vec![mask.clone()], append_ids: vec![], ..sample() };
    let error = State::apply(head.current().as_ref(), &record, [0; 32]).unwrap_err();
    assert!(matches!(error, replay::ReplayError::Future { .. }), "{error}");
    let body = CommitBody { actions: vec![mask], ..CommitBody::default() };
    let refused = head.commit(move |_| Ok(Decision::Commit(body.clone()))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Internal);
    assert_eq!(disk.peek(&record_file(2)), None);
    set(&head, "next").await.unwrap();
}

#[tokio::test]
async fn opening_finds_the_newest_version_with_and_without_a_checkpoint() {
    let disk = SimDisk::new();
    let head = filled(&disk, 7).await;
    assert_eq!(head.checkpoint().await.unwrap(), Version(7));
    for version in 8..=9 {
        set(&head, &format!("k{version}")).await.unwrap();
    }
    let opened = open(log_on(&disk, 2), 2).await.unwrap();
    let snapshot = opened.current();
    assert_eq!((snapshot.version.0, key_count(&snapshot)), (9, 8));
    assert_eq!(snapshot.append_id("", "k3").unwrap().version, 3);
    // Records at or below the checkpoint are not needed.
    for version in 1..=6 {
        disk.tamper(&record_file(version), |_| None);
    }
    let opened = open(log_on(&disk, 3), 3).await.unwrap();
    assert_eq!(key_count(&opened.current()), 8);
    assert_eq!(opened.current().append_ids, snapshot.append_ids);
    assert_eq!(key_count(opened.at_version(Version(8)).await.unwrap().as_ref()), 7);
    let refused = opened.at_version(Version(5)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(opened.at_version(Version(10)).await.unwrap_err().kind(), ErrorKind::NotFound);
    set(&opened, "k10").await.unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_costs_time_and_no_data() {
    let disk = SimDisk::new();
    let head = filled(&disk, 4).await;
    head.checkpoint().await.unwrap();
    set(&head, "k5").await.unwrap();
    disk.tamper(&checkpoint_file(4), |mut bytes| {
        bytes[60] ^= 1;
        Some(bytes)
    });
    let opened = open(log_on(&disk, 2), 2).await.unwrap();
    assert_eq!((opened.current().version.0, key_count(&opened.current())), (5, 4));
    disk.tamper(&record_file(2), |_| None);
    let refused = open(log_on(&disk, 3), 3).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.message().contains("checkpoint"), "{refused}");
}

/// C8, C10: refused, naming the file; never an older or an empty table.
#[tokio::test]
async fn missing_damaged_and_swapped_records_refuse_the_table() {
    async fn check(what: &str, damage: impl Fn(&SimDisk)) {
        let disk = SimDisk::new();
        filled(&disk, 5).await;
        damage(&disk);
        let error = open(log_on(&disk, 2), 2).await.err();
        let kind = error.as_ref().map(Error::kind);
        assert_eq!(kind, Some(ErrorKind::Corrupt), "{what}: {error:?}");
    }
    check("first missing", |disk| disk.tamper(&record_file(1), |_| None)).await;
    check("middle missing", |disk| disk.tamper(&record_file(3), |_| None)).await;
    check("all missing", |disk| {
        (1..=5).for_each(|version| disk.tamper(&record_file(version), |_| None));
    })
    .await;
    check("truncated", |disk| {
        disk.tamper(&record_file(5), |bytes| Some(bytes[..bytes.len() / 2].to_vec()));
    })
    .await;
    check("emptied", |disk| disk.tamper(&record_file(5), |_| Some(Vec::new()))).await;
    check("swapped", |disk| {
        let (three, four) = (disk.peek(&record_file(3)), disk.peek(&record_file(4)));
        disk.tamper(&record_file(3), |_| four.clone());
        disk.tamper(&record_file(4), |_| three.clone());
    })
    .await;
    check("another history", |disk| {
        let text = disk.peek(&record_file(3)).unwrap();
        let parts = frame::decode(FrameKind::Record, &text.into(), "f").unwrap();
        let mut record = Record::decode(parts.payload, "f").unwrap();
        record.principal = "eve".to_owned();
        let forged = frame::encode(FrameKind::Record, &parts.previous, &record.encode());
        disk.tamper(&record_file(3), |_| Some(forged.to_vec()));
    })
    .await;
}

/// C6: one winner for each version; the loser replays and plans again.
#[tokio::test]
async fn rivals_without_a_lock_take_turns() {
    let disk = SimDisk::new();
    let first = filled(&disk, 1).await;
    let second = open(log_on(&disk, 2), 2).await.unwrap();
    for round in 0..10 {
        for (name, head) in [("a", &first), ("b", &second)] {
            let planned = Arc::new(std::sync::atomic::AtomicU32::new(0));
            let (count, commit) = (Arc::clone(&planned), body(&format!("{name}{round}")));
            head.commit(move |_| {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(Decision::Commit(commit.clone()))
            })
            .await
            .unwrap();
            let planned = planned.load(std::sync::atomic::Ordering::Relaxed);
            let behind = !(round == 0 && name == "a");
            assert_eq!(planned, 1 + u32::from(behind), "{name}{round}");
        }
    }
    assert_eq!(second.current().version.0, 21);
    assert_eq!(key_count(&open(log_on(&disk, 3), 3).await.unwrap().current()), 20);
}

#[tokio::test]
async fn a_planner_that_says_no_publishes_nothing() {
    let disk = SimDisk::new();
    let head = filled(&disk, 2).await;
    let base = head.commit(|_| Ok(Decision::Nothing)).await.unwrap();
    assert_eq!(base.version.0, 2);
    let refusal = || Error::new(ErrorKind::Invalid, "no");
    assert_eq!(head.commit(move |_| Err(refusal())).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(disk.peek(&record_file(3)), None);
}

/// C5, C14.
#[tokio::test]
async fn ambiguous_answers_are_settled_by_the_attempt_id() {
    use PutFault::{AbsentAndUnknown, NotDurable, NotStored, StoredButExists, StoredButUnknown};
    let check = async |faults: &[PutFault], reads: u32, expected: Result<u64, ErrorKind>| {
        let disk = SimDisk::new();
        let flaky = FlakyStore::over(Arc::new(disk.store(clock(1))));
        let head = create(log_over(flaky.clone()), 1).await;
        flaky.next_puts(faults.iter().copied());
        flaky.next_reads_fail(reads);
        let outcome = set(&head, "k").await;
        let found = outcome.map(|snapshot| snapshot.version.0).map_err(|error| error.kind());
        assert_eq!(found, expected, "{faults:?}");
        let writable = set(&head, "next").await.is_ok();
        let unknown = expected == Err(ErrorKind::Indeterminate);
        assert_eq!(writable, !unknown, "{faults:?}: an unknown outcome closes the table");
        open(log_on(&disk, 2), 2).await.unwrap();
    };
    check(&[StoredButUnknown], 0, Ok(2)).await;
    check(&[StoredButExists], 0, Ok(2)).await;
    check(&[AbsentAndUnknown], 0, Ok(2)).await;
    check(&[AbsentAndUnknown, StoredButUnknown], 0, Ok(2)).await;
    check(&[NotStored], 0, Err(ErrorKind::Unavailable)).await;
    check(&[NotDurable], 0, Err(ErrorKind::Indeterminate)).await;
    check(&[StoredButUnknown], 1, Err(ErrorKind::Indeterminate)).await;
    check(&[AbsentAndUnknown; 3], 0, Err(ErrorKind::Indeterminate)).await;
}

/// C16.
#[tokio::test]
async fn a_commit_whose_caller_goes_away_is_finished() {
    let disk = SimDisk::new();
    let head = filled(&disk, 1).await;
    {
        let mut commit = Box::pin(set(&head, "k"));
        assert!(futures::poll!(&mut commit).is_pending());
    }
    while head.current().version == Version(1) {
        tokio::task::yield_now().await;
    }
    assert!(disk.peek(&record_file(2)).is_some());
}

/// C15.
#[tokio::test]
async fn commit_times_increase_whatever_the_clock_says() {
    let disk = SimDisk::new();
    let head = filled(&disk, 5).await;
    let newest = head.current().commit_time_us;
    // A fresh clock starts at zero again.
    let opened = open(log_on(&disk, 2), 2).await.unwrap();
    set(&opened, "k").await.unwrap();
    assert!(opened.current().commit_time_us > newest);
}

#[tokio::test]
async fn a_checkpoint_is_written_by_itself_and_only_now_and_then() {
    let disk = SimDisk::new();
    let head = filled(&disk, checkpoint::CHECKPOINT_EVERY + 3).await;
    // Waits for the one that is being written.
    head.checkpoint().await.unwrap();
    let checkpoints = head.log().list().await.unwrap().checkpoints;
    let expected = [checkpoint::CHECKPOINT_EVERY, checkpoint::CHECKPOINT_EVERY + 3].map(Version);
    assert_eq!(checkpoints, expected);
}
