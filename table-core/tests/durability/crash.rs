//! Crash points of random sequences (C1, C2, C4, C5, C6, C8, C14, C17): creating, appending inline, as a segment, two at once,
//! with an append id and again with it, skipping, overlapping, losing a version or a flush to a rival, flushing, checkpointing,
//! dropping and reopening; and of the recovery behind each kill.
//!
//! The day's size is [`SEQUENCES`]; `COVERLINE_SOAK_SECONDS` goes on with other seeds until the time is up, from
//! `COVERLINE_SOAK_SEED` on, if that is set.

use std::time::{Duration, Instant};

use table_core::storage::faults::{Omission, SimDisk};

use crate::number;
use crate::root::{Segments, check_owners, open, read};
use crate::sequence::{Reached, run};
use crate::states::{Report, explore};

/// Sequences of every day.
const SEQUENCES: u64 = 12;

/// Sequences that are only held against their model, every day.
const MODELLED: u64 = 200;

/// Their first seed.
const FIRST_MODELLED: u64 = 1_000_000;

/// Sequences in which each bug must show.
const SEQUENCES_UNTIL_FOUND: u64 = 40;

/// How often a long run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

fn add(all: &mut Reached, one: Reached) {
    all.conflicts += one.conflicts;
    all.self_recognitions += one.self_recognitions;
    all.repeated += one.repeated;
    all.overlaps += one.overlaps;
    all.shared_records += one.shared_records;
    all.rewrites += one.rewrites;
    all.flushes += one.flushes;
    all.checkpoints += one.checkpoints;
    all.drops += one.drops;
}

fn summary(report: &Report, reached: &Reached, started: Instant) -> String {
    format!(
        "{} sequences, {} crash states ({} kills, {} power losses, {} in or after a recovery; {} with torn files), {} distinct \
         disks, {} recovered twice each; {} rolled forward, {} appends sent again; {reached:?}; {} violations; {:.0} s",
        report.sequences,
        report.states,
        report.kills,
        report.power_losses,
        report.in_recovery,
        report.torn,
        report.distinct(),
        report.recoveries,
        report.rolled_forward,
        report.sent_again,
        report.violation_count,
        started.elapsed().as_secs_f64(),
    )
}

#[tokio::test]
async fn no_crash_of_a_random_sequence_loses_doubles_or_wedges_anything() {
    let started = Instant::now();
    let until = number("COVERLINE_SOAK_SECONDS").map(|time| started + Duration::from_secs(time));
    let first_seed = number("COVERLINE_SOAK_SEED").unwrap_or(1);
    let (mut report, mut reached) = (Report::default(), Reached::default());
    let mut said = started;
    for seed in first_seed.. {
        match run(SimDisk::new(), seed).await {
            Ok(sequence) => {
                add(&mut reached, sequence.reached);
                explore(&sequence, &mut report).await;
            }
            Err(error) => report.violation(format!("seed {seed}: {error}")),
        }
        let now = Instant::now();
        if until.is_some() && now.duration_since(said) >= PROGRESS_EVERY {
            println!("seeds {first_seed} to {seed}: {}", summary(&report, &reached, started));
            said = now;
        }
        let is_over = match until {
            Some(until) => now >= until,
            None => seed + 1 == first_seed + SEQUENCES,
        };
        if is_over {
            println!("seeds {first_seed} to {seed}: {}", summary(&report, &reached, started));
            break;
        }
    }
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.states >= 1000, "{} states", report.states);
    // A tame run finds nothing.
    for (what, count) in [
        ("conflict", reached.conflicts),
        ("own record recognised", reached.self_recognitions),
        ("repeated append", reached.repeated),
        ("overlap", reached.overlaps),
        ("shared record", reached.shared_records),
        ("rewritten file", reached.rewrites),
        ("flush", reached.flushes),
        ("checkpoint", reached.checkpoints),
        ("drop", reached.drops),
        ("roll-forward", report.rolled_forward),
        ("torn file", report.torn),
        ("crash of a recovery", report.in_recovery),
        ("append sent again", report.sent_again),
    ] {
        assert!(count > 0, "never reached: {what}");
    }
}

/// T6: what every answer of a sequence promised is there at its end, for whoever opens the root anew.
#[tokio::test]
async fn random_sequences_agree_with_their_model() {
    let started = Instant::now();
    let until = number("COVERLINE_SOAK_SECONDS").map(|time| started + Duration::from_secs(time));
    let first_seed = FIRST_MODELLED + number("COVERLINE_SOAK_SEED").unwrap_or_default();
    let (mut reached, mut actions) = (Reached::default(), 0);
    for seed in first_seed.. {
        let sequence =
            run(SimDisk::new(), seed).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let catalog = open(&sequence.disk, 10).await.unwrap();
        let found = read(&sequence.disk, &catalog, &mut Segments::default()).await.unwrap();
        assert_eq!(&found, sequence.facts(sequence.done.len()), "seed {seed}");
        let owners = sequence.done.last().map(|done| &done.after.owners);
        for (name, owners) in owners.into_iter().flatten() {
            let table = catalog.table(name).await.unwrap();
            check_owners(&table, owners).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        add(&mut reached, sequence.reached);
        actions += sequence.done.len();
        let is_over = match until {
            Some(until) => Instant::now() >= until,
            None => seed + 1 == first_seed + MODELLED,
        };
        if is_over {
            println!("{} sequences, {actions} actions; {reached:?}", seed + 1 - first_seed);
            break;
        }
    }
}

/// T20: a disk that leaves out one guard of the protocol, as a bug would, is found out.
#[tokio::test]
async fn every_guard_that_is_left_out_is_missed() {
    for omission in Omission::ALL {
        let mut report = Report::default();
        for seed in 1..=SEQUENCES_UNTIL_FOUND {
            match run(SimDisk::omitting(omission), seed).await {
                Ok(sequence) => explore(&sequence, &mut report).await,
                Err(error) => report.violation(format!("seed {seed}: {error}")),
            }
            if !report.violations.is_empty() {
                break;
            }
        }
        let found = report.violations.first();
        let found = found.unwrap_or_else(|| panic!("{omission:?} is not found"));
        println!("{omission:?}, after {} states: {found:.400}", report.states);
    }
}
