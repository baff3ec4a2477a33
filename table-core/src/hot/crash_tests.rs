//! Every crash point and every failed operation of real appends, inline and as segments, of a refused overlap, of flushes and of
//! a checkpoint (C1, C2, C3, C8, C13, C14, C17), on a simulated disk: acknowledged rows are there once, and coverage is the
//! pairs of the rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::HashMap;
use std::sync::Arc;

use super::sim::{Row, append, check, open, rows_of, spec};
use crate::catalog::Catalog;
use crate::error::ErrorKind;
use crate::snapshot::Snapshot;
use crate::storage::faults::{CrashState, Fault, FaultKind, FaultTime, Operation, SimDisk};
use crate::storage::{Vfs, layout};
use crate::types::Version;

const SEED: u64 = 0x0c0f_fee1;

/// One change to a table.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// These rows; large ones make a segment.
    Append(&'static [Row], bool),
    /// Rows of which some are there already, to be refused.
    Overlap(bool),
    Flush,
    Checkpoint,
}

/// Every kind of change, one after the other.
const ACTIONS: [Action; 11] = [
    Action::Append(&[("b", 3), ("a", 1), ("b", 2)], false),
    Action::Append(&[("a", 10)], false),
    Action::Append(&[("b", 40), ("a", 45), ("a", 41)], true),
    Action::Overlap(false),
    Action::Overlap(true),
    Action::Flush,
    Action::Append(&[("a", 20), ("c", 5)], false),
    Action::Checkpoint,
    Action::Append(&[("e", 0)], true),
    Action::Append(&[("d", 0)], false),
    Action::Flush,
];

/// An action and what became of it.
#[derive(Debug)]
struct Done {
    action: Action,
    outcome: Result<(), ErrorKind>,
    /// Operations done when it was called and when it answered.
    operations: (u64, u64),
}

impl Done {
    /// The rows that it should have brought.
    fn rows(&self) -> Option<&'static [Row]> {
        match self.action {
            Action::Append(rows, _) => Some(rows),
            _ => None,
        }
    }
}

/// Makes a table and does everything to it. Whatever fails, the rest is tried, until the table refuses commits.
async fn scenario(disk: &SimDisk) -> Vec<Done> {
    let mut done = Vec::new();
    let Ok(catalog) = open(disk, 1).await else { return done };
    let Ok(table) = catalog.create_table("t", spec(), None, "").await else { return done };
    for action in ACTIONS {
        let before = disk.operation_count();
        let outcome = match action {
            Action::Append(rows, is_large) => append(&table, rows, is_large).await.map(|receipt| {
                assert_eq!(receipt.segment_count, u32::from(is_large), "{action:?}");
            }),
            // Refused for the overlap, as long as the row that it overlaps with could be committed.
            Action::Overlap(is_large) => {
                match append(&table, &[("z", 0), ("a", 12)], is_large).await {
                    Err(error) if error.kind() == ErrorKind::Overlap => Ok(()),
                    Err(error) => Err(error),
                    Ok(receipt) => panic!("an overlap was committed: {receipt:?}"),
                }
            }
            Action::Flush => table.flush().await.map(|_| ()),
            Action::Checkpoint => table.checkpoint().await.map(|_| ()),
        };
        let outcome = outcome.map_err(|error| error.kind());
        done.push(Done { action, outcome, operations: (before, disk.operation_count()) });
        if table.closed().is_some()
            || done[1..].first().is_some_and(|second| second.outcome.is_err())
        {
            // The process would end here (C14); or the rows to overlap with are not there.
            break;
        }
    }
    done
}

/// The appends of a scenario in which all succeed, with the versions that the log says they were committed as.
fn appends_of(done: &[Done], versions: &[Version]) -> Vec<(Version, Vec<Row>)> {
    let rows = done.iter().filter_map(Done::rows).map(<[Row]>::to_vec);
    versions.iter().copied().zip(rows).collect()
}

/// Versions of the log that are appends.
async fn append_versions(catalog: &Arc<Catalog>, snapshot: &Snapshot) -> Vec<Version> {
    let table = catalog.table("t").await.unwrap();
    let records = table.log_json(Version(1), snapshot.version).await.unwrap();
    let appends = records.iter().filter(|record| record["operation"] == "append");
    appends.map(|record| Version(record["version"].as_u64().unwrap())).collect()
}

/// Opens the table and holds it against the model; says how many appends it has.
async fn recover(
    state: &CrashState,
    done: &[Done],
    seed: u64,
) -> (Arc<Catalog>, Arc<Snapshot>, usize) {
    let label = &state.to_string();
    let catalog =
        open(&state.disk, seed).await.unwrap_or_else(|e| panic!("{label}: does not open: {e}"));
    let table = catalog.table("t").await.unwrap_or_else(|e| panic!("{label}: no table: {e}"));
    let snapshot = table.snapshot();
    let versions = append_versions(&catalog, &snapshot).await;
    let appends = appends_of(done, &versions);
    assert_eq!(appends.len(), versions.len(), "{label}: more appends than there were");
    check(&state.disk, &table, &snapshot, &appends, label).await;
    (catalog, snapshot, versions.len())
}

#[tokio::test]
async fn no_crash_loses_doubles_or_uncovers_an_acknowledged_row() {
    let disk = SimDisk::new();
    let done = scenario(&disk).await;
    assert_eq!(done.len(), ACTIONS.len());
    assert!(done.iter().all(|action| action.outcome.is_ok()), "{done:#?}");
    let first_operation = done.first().unwrap().operations.0;
    let steps = disk.steps();
    let (mut states, mut rolled_forward) = (0_u32, 0_u32);
    // Appends that recovery finds, by the files that it finds.
    let mut known: HashMap<u128, usize> = HashMap::new();
    let (mut hot, mut segments, mut flushed, mut orphans) = (0_u32, 0_u32, 0_u32, 0_u32);
    for step in steps.iter().filter(|step| step.number + 1 >= first_operation) {
        let count = |is_counted: &dyn Fn(&Done) -> bool| {
            done.iter().filter(|action| action.rows().is_some() && is_counted(action)).count()
        };
        let acked = count(&|action| action.operations.1 <= step.number + 1);
        let started = count(&|action| action.operations.0 <= step.number);
        for state in step.crash_states(SEED) {
            states += 1;
            // Equal files are recovered once. What a kill leaves is not durable, which the fingerprint does not show.
            let files = state.disk.fingerprint().named;
            if let Some(found) = known.get(&files).filter(|_| !state.is_kill()) {
                assert!([acked, started].contains(found), "{state}: {found} of {acked}, {started}");
                continue;
            }
            let (catalog, snapshot, found) = recover(&state, &done, 10).await;
            let label = &state.to_string();
            assert!(found == acked || found == started, "{label}: {found} of {acked} to {started}");
            known.insert(files, found);
            rolled_forward += u32::from(found != acked);
            hot += u32::from(!snapshot.hot.is_empty());
            segments += u32::from(!snapshot.segments.is_empty());
            let table = catalog.table("t").await.unwrap();
            let records = table.log_json(Version(1), snapshot.version).await.unwrap();
            flushed += u32::from(records.iter().any(|record| record["operation"] == "flush"));
            let files = state.disk.list(&layout::table_data(snapshot.table_id)).unwrap_or_default();
            orphans += u32::from(files.len() > snapshot.segments.len());
            drop((table, catalog));

            // What was served once is served again, whatever happens to the machine in between.
            let recovery = state.disk.steps();
            for again in recovery.last().into_iter().flat_map(|last| last.crash_states(SEED)) {
                states += 1;
                let files = again.disk.fingerprint().named;
                if let Some(count) = known.get(&files) {
                    assert_eq!(*count, found, "{label}, {again}");
                    continue;
                }
                let (_, second, count) = recover(&again, &done, 11).await;
                assert_eq!((count, second.version), (found, snapshot.version), "{label}, {again}");
                known.insert(files, count);
            }
            // Not wedged: the next append and the next flush go through.
            let (catalog, snapshot, _) = recover(&state, &done, 12).await;
            let table = catalog.table("t").await.unwrap();
            append(&table, &[("alive", 1000)], false).await.unwrap();
            let flush = table.flush().await.unwrap_or_else(|e| panic!("{label}: wedged: {e}"));
            assert_eq!(flush, Some(snapshot.version.next().next()), "{label}");
            let refused = append(&table, &[("alive", 1001)], false).await.unwrap_err();
            assert_eq!(refused.overlap().unwrap().owner_version, Some(snapshot.version.next().0));
        }
    }
    println!(
        "{} operations, {states} crash states, {rolled_forward} rolled forward, {hot} with hot rows, {segments} with \
         segments, {flushed} after a flush, {orphans} with a file that no record names",
        steps.len()
    );
    assert!(states >= 1000, "{states} states");
    for reached in [rolled_forward, hot, segments, flushed, orphans] {
        assert!(reached > 0, "a kind of state was never reached");
    }
}

/// C2, C13, C14: what an append answered is true, whichever operation of the storage failed.
#[tokio::test]
async fn every_failed_operation_gets_a_true_answer() {
    let (first, end) = {
        let disk = SimDisk::new();
        let done = scenario(&disk).await;
        (done.first().unwrap().operations.0, done.last().unwrap().operations.1)
    };
    let (mut runs, mut committed, mut refused, mut unknown) = (0_u32, 0_u32, 0_u32, 0_u32);
    for number in first..end {
        for (when, kind) in [
            (FaultTime::Before, FaultKind::Io),
            (FaultTime::After, FaultKind::Io),
            (FaultTime::Before, FaultKind::Full),
        ] {
            // One failure, and a disk that fails for a while.
            for length in [1, 40] {
                let disk = SimDisk::new();
                disk.fail(Fault { at: number..number + length, when, kind });
                let done = scenario(&disk).await;
                disk.heal();
                runs += 1;
                let label = format!("operations {number}+{length} fail {when:?} as {kind:?}");
                if let (FaultKind::Full, Some(first)) =
                    (kind, done.iter().find_map(|action| action.outcome.err()))
                {
                    // Later ones may be refused because a folder failed to be synced.
                    let is_true = matches!(first, ErrorKind::Exhausted | ErrorKind::Indeterminate);
                    assert!(is_true, "{label}: {first:?}");
                }
                let catalog =
                    open(&disk, 2).await.unwrap_or_else(|e| panic!("{label}: does not open: {e}"));
                let table = catalog.table("t").await.unwrap();
                let snapshot = table.snapshot();
                let found = rows_of(&disk, &snapshot);
                let mut there = Vec::new();
                for action in &done {
                    let Some(rows) = action.rows() else { continue };
                    let is_there =
                        rows.iter().all(|row| found.contains(&(row.0.to_owned(), row.1)));
                    match action.outcome {
                        Ok(()) => assert!(is_there, "{label}: {action:?} was lost"),
                        Err(ErrorKind::Indeterminate) => unknown += 1,
                        Err(_) => assert!(!is_there, "{label}: {action:?} is there"),
                    }
                    committed += u32::from(action.outcome.is_ok());
                    refused += u32::from(action.outcome.is_err());
                    there.extend(is_there.then(|| rows.to_vec()));
                }
                let versions = append_versions(&catalog, &snapshot).await;
                assert_eq!(versions.len(), there.len(), "{label}");
                let appends: Vec<_> = versions.into_iter().zip(there).collect();
                check(&disk, &table, &snapshot, &appends, &label).await;
                append(&table, &[("alive", 1000)], false).await.unwrap();
                assert!(table.flush().await.unwrap().is_some(), "{label}");
            }
        }
    }
    println!(
        "{runs} runs, {committed} appends committed, {refused} not, {unknown} of these unknown"
    );
    assert!(committed > runs && refused > unknown && unknown > 0);
}

/// C2, C13: a process that is out of file handles for a moment is refused, and goes on as soon as it has one again: neither is
/// a folder closed nor does the server end.
#[tokio::test]
async fn a_missing_file_handle_refuses_one_action_and_closes_nothing() {
    let mut failures = 0_u32;
    for operation in [Operation::OpenFolder, Operation::OpenStaged] {
        for kind in [FaultKind::Handles, FaultKind::Full] {
            for spared in 0.. {
                let disk = SimDisk::new();
                disk.fail_later(operation, spared, FaultTime::Before, kind);
                let done = scenario(&disk).await;
                if disk.heal() {
                    break;
                }
                let label = format!("{operation:?} {spared} fails as {kind:?}");
                let failed: Vec<_> = done.iter().filter_map(|done| done.outcome.err()).collect();
                let expected = match kind {
                    FaultKind::Full => ErrorKind::Exhausted,
                    _ => ErrorKind::Unavailable,
                };
                // None when it struck before there was a table.
                assert!(failed.is_empty() || failed == [expected], "{label}: {failed:?}");
                failures += u32::try_from(failed.len()).unwrap();
                let is_whole = done.is_empty() || done.len() == ACTIONS.len();
                assert!(is_whole || done[1].outcome.is_err(), "{label}: {done:?}");
            }
        }
    }
    println!("{failures} actions refused");
    assert!(failures >= 20, "{failures}");
}

/// C13: a full disk is told as such when it shows at the folder of the segments, and appends go on once there is room; a
/// folder that failed to be synced stays closed all the same, because another sync would prove nothing (C14).
#[tokio::test]
async fn a_full_disk_is_named_although_it_shows_at_the_folder_of_segments() {
    let rows: &[Row] = &[("a", 1)];
    for (operation, works_again) in [(Operation::OpenFolder, true), (Operation::FsyncFolder, false)]
    {
        let disk = SimDisk::new();
        let catalog = open(&disk, 1).await.unwrap();
        let table = catalog.create_table("t", spec(), None, "").await.unwrap();
        append(&table, &[("z", 1)], true).await.unwrap();
        disk.fail_later(operation, 0, FaultTime::Before, FaultKind::Full);
        let refused = append(&table, rows, true).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exhausted, "{operation:?}: {refused}");
        assert!(!disk.heal() && table.closed().is_none(), "{operation:?}");
        match append(&table, rows, true).await {
            Ok(receipt) => assert!(works_again && receipt.version == Version(3), "{receipt:?}"),
            Err(error) => {
                assert!(!works_again && error.message().contains("restart the server"), "{error}");
                // Small appends need no file there.
                assert_eq!(append(&table, rows, false).await.unwrap().version, Version(3));
            }
        }
    }
}
