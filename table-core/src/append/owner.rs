//! Who owns a covered pair: looked up in the log, since the coverage in memory does not say.

use std::collections::BTreeSet;

use coverline_proto::log::{CoverageDelta as StoredDelta, RowsFingerprint};

use crate::Table;
use crate::coverage::CoverageDelta;
use crate::error::Result;
use crate::log::record::{Action, Record};
use crate::snapshot::Snapshot;
use crate::types::{BucketId, EntityKey, IndexType, Version};

/// Records that are read at most for one owner, before the search is given up.
const OWNER_READS_MAX: usize = 256;

/// The append that owns a pair.
#[derive(Debug)]
pub(super) struct Owner {
    /// The version that it became.
    pub(super) version: Version,
    /// All of its pairs and the fingerprint of its rows, where its record tells them.
    pub(super) rows: Option<(CoverageDelta, RowsFingerprint)>,
}

impl Table {
    /// The version that owns a covered pair: known of hot rows, else read from the records that added the segments which can
    /// hold it, newest first. `None` when the pair is not covered, or when too many segments come into question.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn owner_of(
        &self,
        snapshot: &Snapshot,
        entity: &EntityKey,
        bucket: BucketId,
    ) -> Result<Option<Version>> {
        Ok(self.find_owner(snapshot, entity, bucket).await?.map(|(version, _)| version))
    }

    /// The append that owns a covered pair, as [`Table::owner_of`] finds it, with what its record says of its rows.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub(super) async fn owning_append(
        &self,
        snapshot: &Snapshot,
        entity: &EntityKey,
        bucket: BucketId,
    ) -> Result<Option<Owner>> {
        let Some((version, found)) = self.find_owner(snapshot, entity, bucket).await? else {
            return Ok(None);
        };
        let record = match found {
            Some(record) => Some(record),
            None => self.log().read_record(version).await?.map(|stored| stored.record),
        };
        let rows = record.and_then(|record| rows_of(&record, entity, bucket));
        Ok(Some(Owner { version, rows }))
    }

    /// The owning version, and its record if that was read to find it.
    async fn find_owner(
        &self,
        snapshot: &Snapshot,
        entity: &EntityKey,
        bucket: BucketId,
    ) -> Result<Option<(Version, Option<Record>)>> {
        let Some(bucketing) = snapshot.bucketing() else { return Ok(None) };
        if !snapshot.coverage.contains(entity, bucket) {
            return Ok(None);
        }
        // UInt64 values travel as bit patterns: flipping the sign bit gives them their own order.
        let ordered = |value: i64| match bucketing.index() {
            IndexType::UInt64 => value ^ i64::MIN,
            IndexType::Int64 | IndexType::Timestamp(_) => value,
        };
        let (start, end) = (ordered(bucketing.start(bucket)), ordered(bucketing.end(bucket)));
        // `end` saturates at the end of the index, so it is taken as included; one candidate too many does no harm.
        let in_bucket = |range: Option<(i64, i64)>| {
            range.is_none_or(|(min, max)| ordered(min) <= end && start <= ordered(max))
        };
        let mut hot = snapshot.hot.iter().rev().filter(|rows| in_bucket(rows.index_range));
        if let Some(rows) = hot.find(|rows| rows.owns(entity, bucket)) {
            return Ok(Some((rows.version, None)));
        }
        let candidates: BTreeSet<Version> = snapshot
            .segments
            .iter()
            .filter(|segment| {
                let in_entities = segment
                    .entity_range
                    .as_ref()
                    .is_none_or(|(min, max)| min <= entity && entity <= max);
                in_bucket(segment.index_range) && in_entities
            })
            .filter_map(|segment| snapshot.segment_version(segment.id))
            .collect();
        for version in candidates.into_iter().rev().take(OWNER_READS_MAX) {
            let Some(stored) = self.log().read_record(version).await? else { continue };
            let holder = deltas(&stored.record).find(|(_, pairs)| pairs.contains(entity, bucket));
            match holder.map(|(delta, _)| delta.version) {
                None => {}
                Some(0) => return Ok(Some((version, Some(stored.record)))),
                // A flush says whose rows it moved.
                Some(moved) => return Ok(Some((Version(moved), None))),
            }
        }
        Ok(None)
    }
}

/// Pairs and fingerprint of the append in this record that covers a pair.
fn rows_of(
    record: &Record,
    entity: &EntityKey,
    bucket: BucketId,
) -> Option<(CoverageDelta, RowsFingerprint)> {
    let own = || deltas(record).filter(|(delta, _)| delta.version == 0);
    let (delta, _) = own().find(|(_, pairs)| pairs.contains(entity, bucket))?;
    let rows = delta.rows.clone()?;
    // Two appends of one record cannot have the same rows, since these would overlap.
    let mut pairs = CoverageDelta::default();
    for (delta, more) in own() {
        if delta.rows.as_ref() == Some(&rows) {
            pairs.union(&more);
        }
    }
    Some((pairs, rows))
}

/// The pairs that a record tells of.
fn deltas(record: &Record) -> impl Iterator<Item = (&StoredDelta, CoverageDelta)> {
    record.actions.iter().filter_map(|action| match action {
        Action::CoverageDelta(delta) => Some((delta, CoverageDelta::decode(&delta.encoded).ok()?)),
        _ => None,
    })
}
