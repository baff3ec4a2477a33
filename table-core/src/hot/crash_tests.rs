//! Every crash point of real appends, inline and as segments, of a refused overlap, of flushes and of a checkpoint (C1, C2, C3,
//! C8, C17), on a simulated disk: acknowledged rows are there once, and coverage is the pairs of the rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::sync::Arc;

use super::sim::{Row, append, check, open, spec};
use crate::catalog::Catalog;
use crate::error::ErrorKind;
use crate::snapshot::Snapshot;
use crate::storage::faults::{CrashState, SimDisk};
use crate::storage::{Vfs, layout};
use crate::types::Version;

const SEED: u64 = 0x0c0f_fee1;

/// One action of the scenario: the rows that it brought, and the operations done when it was called and when it answered.
struct Done {
    rows: Option<Vec<Row>>,
    operations: (u64, u64),
}

/// Every kind of change to the rows of a table, one after the other, all of them successful but for the overlap.
async fn scenario(disk: &SimDisk) -> Vec<Done> {
    let catalog = open(disk, 1).await.unwrap();
    let table = catalog.create_table("t", spec(), None, "").await.unwrap();
    let mut done = Vec::new();
    let mut note = |before: u64, rows: Option<&[Row]>| {
        let rows = rows.map(<[Row]>::to_vec);
        done.push(Done { rows, operations: (before, disk.operation_count()) });
    };
    let inline: [&[Row]; 4] =
        [&[("b", 3), ("a", 1), ("b", 2)], &[("a", 10)], &[("a", 20), ("c", 5)], &[("d", 0)]];
    let large: [&[Row]; 2] = [&[("b", 40), ("a", 45), ("a", 41)], &[("e", 0)]];

    for (number, rows) in inline[..2].iter().enumerate() {
        let before = disk.operation_count();
        assert_eq!(append(&table, rows, false).await.unwrap().segment_count, 0, "{number}");
        note(before, Some(rows));
    }
    let before = disk.operation_count();
    assert_eq!(append(&table, large[0], true).await.unwrap().segment_count, 1);
    note(before, Some(large[0]));
    for is_large in [false, true] {
        let before = disk.operation_count();
        let refused = append(&table, &[("z", 0), ("a", 12)], is_large).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overlap);
        note(before, None);
    }
    let before = disk.operation_count();
    assert!(table.flush().await.unwrap().is_some());
    note(before, None);
    let before = disk.operation_count();
    append(&table, inline[2], false).await.unwrap();
    note(before, Some(inline[2]));
    let before = disk.operation_count();
    table.checkpoint().await.unwrap();
    note(before, None);
    let before = disk.operation_count();
    append(&table, large[1], true).await.unwrap();
    note(before, Some(large[1]));
    let before = disk.operation_count();
    append(&table, inline[3], false).await.unwrap();
    note(before, Some(inline[3]));
    let before = disk.operation_count();
    assert!(table.flush().await.unwrap().is_some());
    note(before, None);
    done
}

/// The appends of the first `count` actions. Which versions they were committed as follows from the log: the scenario is one
/// action after the other, and every one but a refusal or a checkpoint takes a version.
fn appends_of(done: &[Done], versions: &[Version]) -> Vec<(Version, Vec<Row>)> {
    let rows = done.iter().filter_map(|action| action.rows.clone());
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
    let label = &state.label;
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
    let first_operation = done.first().unwrap().operations.0;
    let steps = disk.steps();
    let (mut states, mut rolled_forward) = (0_u32, 0_u32);
    let (mut hot, mut segments, mut flushed, mut orphans) = (0_u32, 0_u32, 0_u32, 0_u32);
    for step in steps.iter().filter(|step| step.number + 1 >= first_operation) {
        let count = |is_counted: &dyn Fn(&Done) -> bool| {
            done.iter().filter(|action| action.rows.is_some() && is_counted(action)).count()
        };
        let acked = count(&|action| action.operations.1 <= step.number + 1);
        let started = count(&|action| action.operations.0 <= step.number);
        for state in step.crash_states(SEED) {
            states += 1;
            let (catalog, snapshot, found) = recover(&state, &done, 10).await;
            let label = &state.label;
            assert!(found == acked || found == started, "{label}: {found} of {acked} to {started}");
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
            if let Some(last) = recovery.last() {
                for again in last.crash_states(SEED) {
                    let (_, second, count) = recover(&again, &done, 11).await;
                    assert_eq!((count, second.version), (found, snapshot.version), "{label}");
                }
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
    assert!(states >= 300, "{states} states");
    for reached in [rolled_forward, hot, segments, flushed, orphans] {
        assert!(reached > 0, "a kind of state was never reached");
    }
}
