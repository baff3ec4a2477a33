//! From what was staged to the actions of one commit. Pure.
//!
//! The plan is made again for every snapshot that the commit loop shows: what was free while the rows streamed in may be owned by
//! now. The order of the checks is part of the contract: an append id that is known answers before any overlap does (C4),
//! since the rows of a retry overlap with their own first try.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use coverline_proto::log as proto;

use super::OverlapPolicy;
use crate::coverage::{CoverageDelta, Run, Runs};
use crate::guard::Guard;
use crate::log::encode_schema;
use crate::log::record::Action;
use crate::segment::SegmentMeta;
use crate::snapshot::Snapshot;
use crate::types::{BucketId, SegmentId};
use crate::{CommitBody, Decision};

/// What the record says was done.
const OPERATION: &str = "append";

/// A client's key and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct KeyedPayload {
    pub(super) key: String,
    pub(super) digest: [u8; 32],
}

/// Everything that an append wants to commit.
#[derive(Debug)]
pub(super) struct AppendPlan {
    pub(super) principal: String,
    pub(super) on_overlap: OverlapPolicy,
    pub(super) append_id: Option<KeyedPayload>,
    /// The id is kept without rows too.
    pub(super) creates: bool,
    /// The append id was known while the rows came, so none of them was kept.
    pub(super) is_retry: bool,
    /// The schema that the rows were normalised to; `None` when the stream had none.
    pub(super) schema: Option<SchemaRef>,
    /// What the rows are recognised by; `None` on plain tables.
    pub(super) fingerprint: Option<proto::RowsFingerprint>,
    /// Segments, or inline rows, and the pairs that each is the owner of.
    pub(super) actions: Vec<Action>,
    /// Whether the rows are inline.
    pub(super) is_inline: bool,
    /// All pairs.
    pub(super) claimed: CoverageDelta,
    pub(super) row_count: u64,
    pub(super) rows_skipped: u64,
    pub(super) segment_count: u32,
}

/// What the commit should do.
#[derive(Debug)]
pub(super) enum Planned {
    /// Publish this, or nothing when there are no rows.
    Publish(Decision),
    /// The append is committed already, under this key.
    Repeated(Arc<proto::AppendId>),
}

/// Why there is nothing to commit and never will be.
#[derive(Debug)]
pub(super) enum Refusal {
    /// These pairs belong to other appends.
    Overlap(CoverageDelta),
    /// Rows that were free when they were read are owned by now, and the append was to skip such rows.
    LostRows(CoverageDelta),
    /// Another append gave the table a schema meanwhile, which is not this one's.
    OtherSchema,
    /// The key was used for other rows.
    KeyReused(Arc<proto::AppendId>),
    /// The key grew so old while the append ran that the table no longer knows what it stood for.
    KeyForgotten,
    /// The table has so many hot rows that these must be a segment.
    NoRoom,
}

impl AppendPlan {
    /// (entity, bucket) pairs that become covered.
    pub(super) fn buckets_covered(&self) -> u64 {
        u64::try_from(self.claimed.pair_count()).unwrap_or(u64::MAX)
    }

    /// What to commit on top of `snapshot`.
    pub(super) fn against(&self, snapshot: &Snapshot) -> Result<Planned, Refusal> {
        if Guard::AppendIds.stands()
            && let Some(payload) = &self.append_id
        {
            match snapshot.append_id(&self.principal, &payload.key).map(Arc::clone) {
                Some(known) if known.payload_digest == payload.digest.as_slice() => {
                    return Ok(Planned::Repeated(known));
                }
                Some(known) => return Err(Refusal::KeyReused(known)),
                None if self.is_retry => return Err(Refusal::KeyForgotten),
                None => {}
            }
        }
        let adopts = match (&self.schema, snapshot.schema()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(ours), Some(theirs)) if same_schema(ours, theirs) => false,
            (Some(_), Some(_)) => return Err(Refusal::OtherSchema),
        };
        let owned = snapshot.coverage.overlap(&self.claimed);
        if !owned.is_empty() && Guard::OverlapAtCommit.stands() {
            return Err(match self.on_overlap {
                OverlapPolicy::Reject => Refusal::Overlap(owned),
                OverlapPolicy::Skip => Refusal::LostRows(owned),
            });
        }
        if self.is_inline && !snapshot.hot.has_room() {
            return Err(Refusal::NoRoom);
        }
        let mut actions = Vec::with_capacity(self.actions.len() + 1);
        if adopts && let Some(schema) = &self.schema {
            actions.push(Action::SetSchema(proto::SetSchema { ipc_schema: encode_schema(schema) }));
        }
        actions.extend(self.actions.iter().cloned());
        if actions.is_empty() && !(self.creates && self.append_id.is_some()) {
            return Ok(Planned::Publish(Decision::Nothing));
        }
        Ok(Planned::Publish(Decision::Commit(CommitBody {
            operation: OPERATION.to_owned(),
            principal: self.principal.clone(),
            append_ids: self.append_id.iter().map(|payload| self.remembered(payload)).collect(),
            actions,
            shares_record: true,
        })))
    }

    fn remembered(&self, payload: &KeyedPayload) -> proto::AppendId {
        proto::AppendId {
            principal: self.principal.clone(),
            key: payload.key.clone(),
            payload_digest: Bytes::copy_from_slice(&payload.digest),
            row_count: self.row_count,
            rows_skipped: self.rows_skipped,
            buckets_covered: self.buckets_covered(),
            segment_count: self.segment_count,
            ..proto::AppendId::default()
        }
    }
}

/// Pairs that a segment, or inline rows, are the owner of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owned<'a> {
    pub(super) delta: &'a CoverageDelta,
    /// Rows of each of its entities, see [`EntityRows::beside`](crate::coverage::EntityRows::beside).
    pub(super) entity_rows: &'a [u64],
    /// All rows of the append.
    pub(super) rows: Option<&'a proto::RowsFingerprint>,
}

/// The actions that add one segment and what it owns.
pub(super) fn segment_actions(meta: &SegmentMeta, owned: Owned<'_>) -> Vec<Action> {
    with_pairs(Action::AddSegment(meta.to_proto()), meta.id, owned)
}

/// The actions that add encoded rows inline and what they own.
pub(super) fn inline_actions(
    id: SegmentId,
    ipc_stream: Bytes,
    row_count: u64,
    owned: Owned<'_>,
) -> Vec<Action> {
    let segment_id = Bytes::copy_from_slice(id.as_bytes());
    let rows =
        proto::InlineRows { segment_id, ipc_stream, row_count, ..proto::InlineRows::default() };
    with_pairs(Action::InlineRows(rows), id, owned)
}

fn with_pairs(add: Action, id: SegmentId, owned: Owned<'_>) -> Vec<Action> {
    let mut actions = vec![add];
    if !owned.delta.is_empty() {
        actions.push(Action::CoverageDelta(proto::CoverageDelta {
            segment_id: Bytes::copy_from_slice(id.as_bytes()),
            encoded: owned.delta.encode().into(),
            version: 0,
            rows: owned.rows.cloned(),
            entity_rows: owned.entity_rows.to_vec(),
        }));
    }
    actions
}

/// The pairs of `delta` that are not in `claimed`: when two segments of one append hold rows of a pair, the first owns it.
pub(super) fn unclaimed(delta: &CoverageDelta, claimed: &CoverageDelta) -> CoverageDelta {
    let mut left = CoverageDelta::default();
    for (entity, runs) in delta.iter() {
        match claimed.runs(entity) {
            None => left.insert_runs(entity, runs),
            Some(taken) => left.insert_runs(entity, &difference(runs, taken)),
        }
    }
    left
}

fn difference(runs: &Runs, taken: &Runs) -> Runs {
    let mut left = Runs::default();
    let both = runs.intersection(taken);
    let mut taken = both.iter().peekable();
    for run in runs.iter() {
        let mut first = run.first;
        while let Some(hole) = taken.next_if(|hole| hole.last <= run.last) {
            if first < hole.first {
                left.insert_run(Run { first, last: BucketId(hole.first.0 - 1) });
            }
            match hole.last.0.checked_add(1) {
                Some(next) => first = BucketId(next),
                None => return left,
            }
        }
        if first <= run.last {
            left.insert_run(Run { first, last: run.last });
        }
    }
    left
}

/// Two schemas are the same to rows when fields and nullability agree; field ids follow from those.
fn same_schema(ours: &Schema, theirs: &Schema) -> bool {
    ours.fields() == theirs.fields()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
