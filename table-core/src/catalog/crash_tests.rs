//! Every crash point and every failed operation of creating, committing, losing a race, checkpointing, dropping, replacing and
//! recovering (C1, C2, C8, C13, C14), on a simulated disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coverline_proto::log as proto;

use super::{Catalog, CatalogOptions, Namesake};
use crate::clock::SeededClock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::record::Action;
use crate::log::{CommitBody, Decision};
use crate::schema::TableSpec;
use crate::storage::faults::{Fault, FaultKind, FaultTime, SimDisk};
use crate::table::Table;

const SEED: u64 = 0x0c0f_fee0;

/// What is known of the facts "this table exists" (`prices`) and "this commit is in it" (`prices.a`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts(BTreeSet<String>);

/// One action of the scenario and what it answered.
#[derive(Debug)]
struct Answer {
    /// Facts that hold afterwards if it was done: added, taken away.
    adds: Vec<String>,
    removes: Vec<String>,
    outcome: Result<(), ErrorKind>,
    /// Operations done when it was called and when it answered.
    operations: (u64, u64),
}

async fn open(disk: &SimDisk, seed: u64) -> Result<Arc<Catalog>> {
    // A server that restarts draws other ids than before.
    let clock = Arc::new(SeededClock::new(seed));
    let options = CatalogOptions { clock: clock.clone(), ..CatalogOptions::default() };
    Catalog::over(Arc::new(disk.store(clock)), options).await
}

async fn set(table: &Arc<Table>, key: &str) -> Result<()> {
    let properties = HashMap::from([(key.to_owned(), "set".to_owned())]);
    let body = CommitBody {
        operation: "set".to_owned(),
        actions: vec![Action::SetProperties(proto::SetProperties { properties })],
        ..CommitBody::default()
    };
    table.commit(move |_| Ok(Decision::Commit(body.clone()))).await.map(|_| ())
}

/// Runs every kind of change once, and notes what each answered. Whatever fails, the rest is tried.
async fn scenario(disk: &SimDisk) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut note = |adds: &[&str], removes: &[&str], before: u64, outcome: Result<(), Error>| {
        answers.push(Answer {
            adds: adds.iter().map(|fact| (*fact).to_owned()).collect(),
            removes: removes.iter().map(|fact| (*fact).to_owned()).collect(),
            outcome: outcome.map_err(|error| error.kind()),
            operations: (before, disk.operation_count()),
        });
    };
    let Ok(catalog) = open(disk, 1).await else { return answers };
    let create = async |catalog: &Arc<Catalog>, name: &str| {
        catalog.create_table(name, TableSpec::plain(), None, "").await.map(|_| ())
    };

    let before = disk.operation_count();
    note(&["prices"], &[], before, create(&catalog, "prices").await);
    let before = disk.operation_count();
    note(&["gone"], &[], before, create(&catalog, "gone").await);
    if let Ok(table) = catalog.table("prices").await {
        let before = disk.operation_count();
        note(&["prices.a"], &[], before, set(&table, "a").await);
        if table.closed().is_some() {
            return answers;
        }
        // A rival without a lock takes the next slot; the first handle loses it, replays and commits behind.
        if let Ok(rival) = open(disk, 2).await
            && let Ok(rival) = rival.table("prices").await
        {
            let before = disk.operation_count();
            note(&["prices.rival"], &[], before, set(&rival, "rival").await);
            if rival.closed().is_some() {
                return answers;
            }
        }
        let before = disk.operation_count();
        note(&["prices.b"], &[], before, set(&table, "b").await);
        if table.closed().is_some() {
            // The outcome of a commit is unknown: the process would end here (C14).
            return answers;
        }
        let _ = table.checkpoint().await;
        let before = disk.operation_count();
        note(&["prices.c"], &[], before, set(&table, "c").await);
    }
    let before = disk.operation_count();
    note(&[], &["gone"], before, catalog.drop_table("gone", "").await);
    let _ = catalog.head.checkpoint().await;
    let before = disk.operation_count();
    note(&["late"], &[], before, create(&catalog, "late").await);
    if let Ok(table) = catalog.table("late").await {
        let before = disk.operation_count();
        note(&["late.old"], &[], before, set(&table, "old").await);
        let before = disk.operation_count();
        note(&["late.new"], &["late.old"], before, replace(&catalog, "late", "new").await);
    }
    answers
}

/// Puts another table with that key in the place of the one that is there.
async fn replace(catalog: &Arc<Catalog>, name: &str, key: &str) -> Result<()> {
    let spec = TableSpec::plain();
    let old = catalog.table(name).await?.id();
    let table = catalog.create_unnamed(name, spec, None, true, "").await?;
    set(&table, key).await?;
    catalog.name_table(&table, Namesake::GivesWay(old), "").await
}

/// Opens everything and says what is there.
async fn recover(disk: &SimDisk, seed: u64) -> Result<(Arc<Catalog>, Facts)> {
    let catalog = open(disk, seed).await?;
    let mut facts = BTreeSet::new();
    for name in catalog.table_names() {
        let table = catalog.table(&name).await?;
        for key in table.snapshot().properties.keys() {
            facts.insert(format!("{name}.{key}"));
        }
        facts.insert(name);
    }
    Ok((catalog, Facts(facts)))
}

/// Proves that the root is not wedged: every table takes a commit, and a table can be made.
async fn prove_alive(catalog: &Arc<Catalog>, label: &str) {
    for name in catalog.table_names() {
        let table = catalog.table(&name).await.unwrap_or_else(|e| panic!("{label}: {e}"));
        let before = table.snapshot().version;
        set(&table, "alive").await.unwrap_or_else(|e| panic!("{label}: {name} is wedged: {e}"));
        assert_eq!(table.snapshot().version, before.next(), "{label}");
    }
    let made = catalog.create_table("alive", TableSpec::plain(), None, "").await;
    made.unwrap_or_else(|e| panic!("{label}: the catalog is wedged: {e}"));
}

/// Facts after the first `count` answers, all of them done.
fn facts_after(answers: &[Answer], count: usize) -> Facts {
    let mut facts = BTreeSet::new();
    for answer in &answers[..count] {
        facts.extend(answer.adds.iter().cloned());
        facts.retain(|fact: &String| {
            !answer.removes.iter().any(|gone| fact == gone || fact.starts_with(&format!("{gone}.")))
        });
    }
    Facts(facts)
}

#[tokio::test]
async fn no_crash_loses_an_acknowledged_change_or_wedges_the_root() {
    let disk = SimDisk::new();
    let answers = scenario(&disk).await;
    assert!(answers.iter().all(|answer| answer.outcome.is_ok()), "{answers:#?}");
    let steps = disk.steps();
    let (mut states, mut recoveries, mut rolled_forward) = (0_u32, 0_u32, 0_u32);
    let mut known: HashMap<u128, Facts> = HashMap::new();
    for step in &steps {
        let acked = answers.iter().filter(|a| a.operations.1 <= step.number + 1).count();
        let started = answers.iter().filter(|a| a.operations.0 <= step.number).count();
        assert!(started <= acked + 1, "the scenario is one action after the other");
        let (must, may) = (facts_after(&answers, acked), facts_after(&answers, started));
        for state in step.crash_states(SEED) {
            states += 1;
            let files = state.disk.fingerprint().named;
            // Equal files are recovered once. What a kill leaves is not durable, which the fingerprint does not show.
            let (first, catalog) = match known.get(&files) {
                Some(first) if !state.is_kill() => (first.clone(), None),
                _ => {
                    let (catalog, first) = recover(&state.disk, 10)
                        .await
                        .unwrap_or_else(|e| panic!("{state}: does not open: {e}"));
                    recoveries += 1;
                    (first, Some(catalog))
                }
            };
            assert!(first == must || first == may, "{state}: {first:?}\n{must:?}");
            rolled_forward += u32::from(first != must);
            known.insert(files, first.clone());
            let Some(catalog) = catalog else { continue };

            // Recovery itself may crash anywhere: what was there before stays; what was served stays whatever happens.
            let recovery = state.disk.steps();
            for (position, again) in recovery.iter().enumerate() {
                let served = position + 1 == recovery.len();
                for crash in again.crash_states(SEED) {
                    states += 1;
                    let files = crash.disk.fingerprint().named;
                    let second = match known.get(&files) {
                        Some(second) => second.clone(),
                        None => {
                            let (_, second) = recover(&crash.disk, 11)
                                .await
                                .unwrap_or_else(|e| panic!("{state}, {crash}: not opened: {e}"));
                            recoveries += 1;
                            second
                        }
                    };
                    known.insert(files, second.clone());
                    let right =
                        if served { second == first } else { second == must || second == may };
                    assert!(right, "{state}, {crash}: {second:?}, after {first:?}\n{must:?}");
                }
            }
            prove_alive(&catalog, &state.to_string()).await;
        }
    }
    println!(
        "{} operations, {states} crash states, {recoveries} recoveries, {rolled_forward} rolled forward",
        steps.len()
    );
    assert!(states >= 300 && rolled_forward > 0, "{states} states, {rolled_forward} forward");
}

#[tokio::test]
async fn every_failed_operation_gets_a_true_answer() {
    let operations = {
        let disk = SimDisk::new();
        scenario(&disk).await;
        disk.operation_count()
    };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut runs = 0;
    for number in 0..operations {
        for (when, kind) in [
            (FaultTime::Before, FaultKind::Io),
            (FaultTime::After, FaultKind::Io),
            (FaultTime::Before, FaultKind::Full),
        ] {
            // One failure, and a disk that fails for a while.
            for length in [1, 2, 40] {
                let disk = SimDisk::new();
                disk.fail(Fault { at: number..number + length, when, kind });
                let answers = scenario(&disk).await;
                disk.heal();
                runs += 1;
                let label = format!("operations {number}+{length} fail {when:?} as {kind:?}");
                for answer in &answers {
                    *seen.entry(format!("{:?}", answer.outcome)).or_default() += 1;
                }
                // What was acknowledged is durable, not only visible.
                let crashes = disk.steps().last().map(|last| last.crash_states(SEED));
                // The kill, and the power loss that keeps nothing unsynced.
                for crash in crashes.into_iter().flatten().take(2) {
                    let label = format!("{label}, then {crash}");
                    check_answers(&crash.disk, &answers, &label).await;
                }
                check_answers(&disk, &answers, &label).await;
            }
        }
    }
    println!("{runs} runs, answers: {seen:?}");
    assert!(seen.contains_key("Err(Indeterminate)"), "no ambiguous outcome was reached: {seen:?}");
    assert!(seen.contains_key("Err(Exhausted)"), "no full disk was reached: {seen:?}");
}

/// Holds what a fresh server finds against the answers: OK is there, a definite failure is not, an unknown may be either.
async fn check_answers(disk: &SimDisk, answers: &[Answer], label: &str) {
    let (catalog, found) =
        recover(disk, 12).await.unwrap_or_else(|e| panic!("{label}: does not open: {e}"));
    let dropped: Vec<_> = answers
        .iter()
        .filter(|answer| answer.outcome != Err(ErrorKind::NotFound))
        .flat_map(|answer| &answer.removes)
        .collect();
    for answer in answers {
        let unknown = matches!(answer.outcome, Err(ErrorKind::Indeterminate));
        for fact in &answer.adds {
            let there = found.0.contains(fact);
            match &answer.outcome {
                Ok(()) => assert!(there || dropped.contains(&fact), "{label}: {fact} was lost"),
                Err(kind) => assert!(unknown || !there, "{label}: {fact} is there after {kind:?}"),
            }
        }
        for fact in &answer.removes {
            if answer.outcome.is_ok() {
                assert!(!found.0.contains(fact), "{label}: {fact} is still there");
            }
        }
    }
    prove_alive(&catalog, label).await;
}
