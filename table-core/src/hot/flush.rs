//! Flushing: the hot rows of a snapshot become one segment, by a commit that changes no row, no pair and no owner.
//!
//! The segment is durable before the record that names it, so that a crash in between leaves a file that no record names and
//! nothing else. Appends go on meanwhile: what they add stays hot for the next flush.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coverline_proto::log as proto;

use super::HotSet;
use super::view::merge;
use crate::coverage::CoverageDelta;
use crate::error::{Error, Result};
use crate::log::record::Action;
use crate::segment::SegmentMeta;
use crate::segment::writer::{WriteError, write_segment};
use crate::snapshot::Snapshot;
use crate::storage::layout;
use crate::sync::{self, AtomicU64, Ordering};
use crate::table::Table;
use crate::types::{SegmentId, Version};
use crate::{CommitBody, Decision};

/// What the record says was done.
const OPERATION: &str = "flush";

/// Versions after a failed flush before the next is tried.
pub(super) const FLUSH_RETRY_EVERY: u64 = 64;

/// Sees to it that a table has one flush at a time, and one when it is due.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    /// Held while a flush runs.
    running: Arc<tokio::sync::Mutex<()>>,
    /// Before this version no flush is started; moved when one fails.
    not_before: AtomicU64,
}

impl Flusher {
    /// Flushes now, after any flush that is running. `None` when there was nothing to flush.
    pub(crate) async fn flush(&self, table: &Arc<Table>) -> Result<Option<Version>> {
        let _one_at_a_time = self.running.lock().await;
        flush(table).await
    }

    /// Starts a flush in a task of its own, if one is due and none is running.
    pub(crate) fn start_when_due(&self, table: &Arc<Table>) {
        let snapshot = table.snapshot();
        let may_start = snapshot.version.0 >= self.not_before.load(Ordering::Relaxed);
        if !may_start || !snapshot.hot.is_flush_due() {
            return;
        }
        let Ok(guard) = Arc::clone(&self.running).try_lock_owned() else { return };
        let table = Arc::clone(table);
        sync::spawn(async move {
            let _one_at_a_time = guard;
            if let Err(error) = flush(&table).await {
                let next = snapshot.version.0.saturating_add(FLUSH_RETRY_EVERY);
                table.flusher().not_before.store(next, Ordering::Relaxed);
                tracing::warn!(%error, "small appends stay in the log until a later flush succeeds");
            }
        });
    }
}

async fn flush(table: &Arc<Table>) -> Result<Option<Version>> {
    let snapshot = table.snapshot();
    let Some(table_layout) = snapshot.layout.clone().filter(|_| !snapshot.hot.is_empty()) else {
        return Ok(None);
    };
    if let Some(closed) = table.closed() {
        return Err(closed);
    }
    table.check_space()?;

    let id = SegmentId(table.clock().new_id());
    let (path, store) = (layout::segment(table.id(), id), Arc::clone(table.store()));
    let hot = snapshot.hot.clone();
    let written = store.workers().start(move || -> Result<SegmentMeta, WriteError> {
        let rows = merge(hot.iter(), &table_layout)
            .map_err(|error| WriteError::Encode { segment: id, reason: error.to_string() })?;
        let staged = store.stage(&path).map_err(|source| WriteError::Io { segment: id, source })?;
        let mut segment = write_segment(id, &table_layout, rows, staged)?;
        segment.publish()?;
        Ok(segment.meta)
    });
    let meta = written
        .await
        .map_err(|error| Error::internal(format!("writing a segment ended early: {error}")))?
        .map_err(|error| {
            let doing = format!("flush of table \"{}\"", table.name());
            error.into_error(&doing, "it is tried again later")
        })?;

    let plan = FlushPlan::new(&snapshot.hot, &meta)?;
    let committed = table.commit(move |newest| Ok(plan.against(newest))).await?;
    Ok(committed.segment_version(id))
}

/// What a flush wants to commit.
#[derive(Debug)]
struct FlushPlan {
    /// The rows that the segment holds.
    flushed: Vec<SegmentId>,
    actions: Vec<Action>,
}

impl FlushPlan {
    /// The rows of `hot` go out and the segment comes in. Each of its pairs stays with the version that brought it.
    fn new(hot: &HotSet, meta: &SegmentMeta) -> Result<Self> {
        let mut owners: BTreeMap<Version, CoverageDelta> = BTreeMap::new();
        for rows in hot.iter().filter(|rows| !rows.owned.is_empty()) {
            let pairs = CoverageDelta::decode(&rows.owned)
                .map_err(|error| Error::internal(format!("pairs of hot rows: {error}")))?;
            owners.entry(rows.version).or_default().union(&pairs);
        }
        let flushed: Vec<SegmentId> = hot.iter().map(|rows| rows.id).collect();
        let bytes = |id: &SegmentId| Bytes::copy_from_slice(id.as_bytes());
        let removes = flushed
            .iter()
            .map(|id| Action::RemoveSegment(proto::RemoveSegment { segment_id: bytes(id) }));
        let moves = owners.iter().map(|(version, pairs)| {
            Action::CoverageDelta(proto::CoverageDelta {
                segment_id: bytes(&meta.id),
                encoded: pairs.encode().into(),
                version: version.0,
                rows: None,
                entity_rows: Vec::new(),
            })
        });
        let add = Action::AddSegment(meta.to_proto());
        let actions = removes.chain([add]).chain(moves).collect();
        Ok(Self { flushed, actions })
    }

    /// Nothing, once any of the rows is no longer hot: somebody else flushed it.
    fn against(&self, newest: &Snapshot) -> Decision {
        if self.flushed.iter().any(|id| newest.segment_version(*id).is_none()) {
            return Decision::Nothing;
        }
        Decision::Commit(CommitBody {
            operation: OPERATION.to_owned(),
            actions: self.actions.clone(),
            ..CommitBody::default()
        })
    }
}
