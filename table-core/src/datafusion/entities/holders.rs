//! Which segments can hold the last (or first) row of some entity. Pure.

use std::collections::{BTreeMap, HashSet};

use super::{End, Ends};
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::snapshot::Snapshot;
use crate::types::{BucketId, EntityKey, SegmentId};

/// Most entities that are gone through while a query is planned.
const ENTITIES_MAX: usize = 1 << 20;

/// The segments that can hold the row at one of these ends of some entity; `None` when those are all.
pub(super) fn holders(snapshot: &Snapshot, ends: &Ends) -> Option<HashSet<SegmentId>> {
    let coverage = &snapshot.coverage;
    if coverage.entity_count() > ENTITIES_MAX {
        return None;
    }
    let mut by_bucket: BTreeMap<BucketId, Vec<EntityKey>> = BTreeMap::new();
    for (entity, runs) in coverage.iter() {
        let bounds = runs.bounds()?;
        for end in ends {
            let bucket = if *end == End::Last { bounds.last } else { bounds.first };
            by_bucket.entry(bucket).or_default().push(entity.clone());
        }
    }
    for entities in by_bucket.values_mut() {
        entities.sort_unstable();
    }
    let layout = snapshot.layout.as_deref()?;
    let kept: HashSet<SegmentId> = snapshot
        .segments
        .iter()
        .filter(|segment| may_hold(layout, segment, &by_bucket).unwrap_or(true))
        .map(|segment| segment.id)
        .collect();
    (kept.len() < snapshot.segments.len()).then_some(kept)
}

/// Whether a segment may hold rows of one of these (bucket, entity) pairs; `None` when its ranges are not known.
fn may_hold(
    layout: &TableLayout,
    segment: &SegmentMeta,
    pairs: &BTreeMap<BucketId, Vec<EntityKey>>,
) -> Option<bool> {
    let bucketing = layout.bucketing.as_ref()?;
    let (first, last) = segment.index_range?;
    let (first, last) = (bucketing.bucket_of(first)?, bucketing.bucket_of(last)?);
    let (from, to) = segment.entity_range.as_ref()?;
    if first > last {
        return None;
    }
    Some(pairs.range(first..=last).any(|(_, entities)| {
        let at = entities.partition_point(|entity| entity < from);
        entities.get(at).is_some_and(|entity| entity <= to)
    }))
}
