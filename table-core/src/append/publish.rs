//! The end of an append: its segments become durable, then the plan goes to the table's commit loop, which shows it the newest
//! snapshot, publishes record N+1 if absent, and replays a rival's record and asks again when the slot was lost.
//!
//! Segments are durable before the record that names them is written; rows of a small append are inside the record. An append that is refused after that leaves files that no
//! record names; vacuum collects them. It is asked before too, so that the usual refusal leaves nothing.

use std::sync::Arc;

use coverline_proto::log as proto;

use super::Receipt;
use super::overlap::Meeting;
use super::plan::{AppendPlan, Planned, Refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::segment::writer::{StagedSegment, WriteError};
use crate::snapshot::Snapshot;
use crate::sync::Mutex;
use crate::types::Version;
use crate::{Decision, Table};

/// Publishes the segments and commits the plan. `None` when its rows are inline and must be a segment.
pub(super) async fn publish(
    table: &Arc<Table>,
    plan: AppendPlan,
    segments: Vec<StagedSegment>,
) -> Result<Option<Receipt>> {
    if !plan.is_inline {
        // A refusal is found before files get their names. Inline rows have none.
        let newest = table.snapshot();
        match plan.against(&newest) {
            Ok(Planned::Publish(Decision::Commit(_))) => {}
            Ok(Planned::Publish(Decision::Nothing)) => {
                return Ok(Some(receipt(table, &plan, newest.version)));
            }
            Ok(Planned::Repeated(known)) => return Ok(Some(repeated(table, &known))),
            Err(refusal) => return Err(refused(table, &newest, &plan, refusal).await),
        }
        publish_segments(table, segments).await?;
    }

    let plan = Arc::new(plan);
    let outcome: Arc<Mutex<Option<Outcome>>> = Arc::default();
    let committed = {
        let (plan, outcome) = (Arc::clone(&plan), Arc::clone(&outcome));
        table.commit(move |snapshot| {
            // Asked again, it may find something else: what it found before was about a commit that never came to be.
            let mut outcome = outcome.lock();
            *outcome = None;
            match plan.against(snapshot) {
                Ok(Planned::Publish(decision)) => Ok(decision),
                Ok(Planned::Repeated(known)) => {
                    *outcome = Some(Outcome::Repeated(known));
                    Ok(Decision::Nothing)
                }
                Err(refusal) => {
                    *outcome = Some(Outcome::Refused(Arc::clone(snapshot), refusal));
                    // Replaced below by the full text, which takes reads that a planner cannot do.
                    Err(Error::new(ErrorKind::Conflict, "the append was refused"))
                }
            }
        })
    }
    .await;
    let outcome = outcome.lock().take();
    match (outcome, committed) {
        (Some(Outcome::Repeated(known)), Ok(_)) => Ok(Some(repeated(table, &known))),
        (Some(Outcome::Refused(snapshot, refusal)), Err(error))
            if error.kind() == ErrorKind::Conflict =>
        {
            match refusal {
                Refusal::NoRoom => Ok(None),
                refusal => Err(refused(table, &snapshot, &plan, refusal).await),
            }
        }
        (_, Ok(snapshot)) => Ok(Some(receipt(table, &plan, snapshot.version))),
        (_, Err(error)) => Err(error),
    }
}

/// What a table answers for the append that filled another one, which was to get its name: the first try of that append, when it
/// knows the id. `None` when it does not, or there is none.
///
/// # Errors
/// `Precondition` when the id stands for other rows.
pub fn first_try(table: &Table, filled: &Snapshot) -> Option<Result<Receipt>> {
    let snapshot = table.snapshot();
    filled.append_ids.iter().find_map(|((principal, key), ours)| {
        let known = snapshot.append_id(principal, key)?;
        Some(match known.payload_digest == ours.payload_digest {
            true => Ok(repeated(table, known)),
            false => Err(key_reused(&table.name(), known)),
        })
    })
}

/// What the planner found instead of something to commit.
enum Outcome {
    Repeated(Arc<proto::AppendId>),
    Refused(Arc<Snapshot>, Refusal),
}

/// Makes segments durable under their names, all in one visit to the workers.
pub(super) async fn publish_segments(
    table: &Arc<Table>,
    mut segments: Vec<StagedSegment>,
) -> Result<Vec<StagedSegment>> {
    if segments.iter().all(StagedSegment::is_published) {
        return Ok(segments);
    }
    let (table, workers) = (Arc::clone(table), table.store().workers());
    workers
        .start(move || {
            for segment in &mut segments {
                segment.publish().map_err(|error| storage_error(&table, error))?;
            }
            Ok(segments)
        })
        .await
        .map_err(|error| Error::internal(format!("publishing segments ended early: {error}")))?
}

/// What a failed segment means for the append: nothing was committed in any case.
pub(super) fn storage_error(table: &Table, error: WriteError) -> Error {
    error.into_error(&format!("append to table \"{}\"", table.name()), "send it again")
}

fn receipt(table: &Table, plan: &AppendPlan, version: Version) -> Receipt {
    Receipt {
        table: table.name(),
        version,
        row_count: plan.row_count,
        rows_skipped: plan.rows_skipped,
        buckets_covered: plan.buckets_covered(),
        segment_count: plan.segment_count,
        repeated: false,
    }
}

fn repeated(table: &Table, known: &proto::AppendId) -> Receipt {
    Receipt {
        table: table.name(),
        version: Version(known.version),
        row_count: known.row_count,
        rows_skipped: known.rows_skipped,
        buckets_covered: known.buckets_covered,
        segment_count: known.segment_count,
        repeated: true,
    }
}

async fn refused(
    table: &Arc<Table>,
    snapshot: &Snapshot,
    plan: &AppendPlan,
    refusal: Refusal,
) -> Error {
    let name = table.name();
    match refusal {
        Refusal::Overlap(owned) => match Meeting::new(table, snapshot, &owned).await {
            Ok(meeting) => meeting.conclude(plan.fingerprint.as_ref()),
            Err(error) => error,
        },
        Refusal::LostRows(owned) => Error::new(
            ErrorKind::Conflict,
            format!(
                "append to table \"{name}\" lost {} buckets to another append while it ran; nothing was committed, send it \
                 again and those rows are skipped",
                owned.pair_count()
            ),
        ),
        Refusal::OtherSchema => Error::new(
            ErrorKind::Conflict,
            format!(
                "append to table \"{name}\" began before the table had a schema, and another append gave it a different one \
                 meanwhile; nothing was committed, send it again to see which columns differ"
            ),
        ),
        Refusal::KeyReused(known) => key_reused(&name, &known),
        Refusal::KeyForgotten => Error::new(
            ErrorKind::Conflict,
            format!(
                "append id \"{}\" was forgotten by table \"{name}\" while the append ran; nothing was committed, send it again",
                plan.append_id.as_ref().map_or("", |payload| &payload.key)
            ),
        ),
        Refusal::NoRoom => Error::internal("rows of a segment were refused as inline rows"),
    }
}

/// An append id that stands for other rows already.
fn key_reused(table: &str, known: &proto::AppendId) -> Error {
    Error::new(
        ErrorKind::Precondition,
        format!(
            "append id \"{}\" was used for other rows in version {} of table \"{table}\"; nothing was committed, choose a new \
             append id for new rows",
            known.key, known.version
        ),
    )
}
