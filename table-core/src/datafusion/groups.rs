//! In which order segments are read, which order of rows that gives, and how they are split over partitions. Pure.
//!
//! Rows of a segment are sorted by (entity, index). When segments follow each other without overlapping in that order,
//! reading them one after the other is sorted too, and the scan says so. Each partition gets a contiguous stretch of the
//! files with about the same number of bytes, so a declared order costs no parallelism. Segments that do overlap are read
//! in index order, which lets `ORDER BY ts LIMIT n` stop early.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};

use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::types::{EntityKey, IndexType};

/// What opening one more file costs, in bytes of reading: keeps many tiny files from piling up in one partition.
const FILE_OPEN_COST_BYTES: u64 = 64 * 1024;

/// With at least this many files for each partition they are dealt out whole; with fewer, split at row groups.
const WHOLE_FILES_PER_PARTITION: usize = 4;

/// Segments in the order in which to read them.
pub(super) struct Arranged {
    pub(super) segments: Vec<Arc<SegmentMeta>>,
    /// Orders of the rows when they are read like that.
    pub(super) ordering: Vec<LexOrdering>,
}

/// Puts segments in order.
pub(super) fn arrange(
    segments: &[Arc<SegmentMeta>],
    layout: &TableLayout,
    projection: Option<&Vec<usize>>,
) -> Arranged {
    if counts_only(projection) {
        return Arranged { segments: segments.to_vec(), ordering: Vec::new() };
    }
    let mut by_entity = segments.to_vec();
    by_entity.sort_by(|a, b| Ends::of(a, layout).cmp_first(&Ends::of(b, layout)));
    let sorted = layout.index.is_some() && segments.iter().all(|segment| segment.sorted);
    let disjoint = by_entity.windows(2).all(|pair| match pair {
        [a, b] => Ends::of(a, layout).ends_before(&Ends::of(b, layout)),
        _ => true,
    });
    if sorted && disjoint {
        let ordering = declared_ordering(layout).into_iter().collect();
        return Arranged { segments: by_entity, ordering };
    }
    let mut by_index = segments.to_vec();
    by_index.sort_by_key(|segment| segment.index_range.map(|range| in_order(layout, range.0)));
    Arranged { segments: by_index, ordering: Vec::new() }
}

/// Deals segments out into as few stretches as can be, in each of which they follow each other in (entity, index) order, by
/// their positions; `None` when it takes more than `most` of them, or the rows of a segment are in no order.
pub(super) fn stretches(
    segments: &[Arc<SegmentMeta>],
    layout: &TableLayout,
    most: usize,
) -> Option<Vec<Vec<usize>>> {
    if layout.index.is_none() || segments.iter().any(|segment| !segment.sorted) {
        return None;
    }
    let ends: Vec<_> = segments.iter().map(|segment| Ends::of(segment, layout)).collect();
    let mut in_order: Vec<usize> = (0..segments.len()).collect();
    in_order.sort_by(|a, b| ends[*a].cmp_first(&ends[*b]));
    let mut stretches: Vec<Vec<usize>> = Vec::new();
    for at in in_order {
        let follows = |stretch: &Vec<usize>| {
            stretch.last().is_some_and(|last| ends[*last].ends_before(&ends[at]))
        };
        match stretches.iter().position(follows) {
            Some(known) => stretches[known].push(at),
            None if stretches.len() == most => return None,
            None => stretches.push(vec![at]),
        }
    }
    Some(stretches)
}

/// The order of rows that are sorted by (entity, index).
pub(super) fn declared_ordering(layout: &TableLayout) -> Option<LexOrdering> {
    let columns = layout.entities.iter().copied().chain(layout.index);
    LexOrdering::new(columns.filter_map(|position| {
        let name = layout.schema.fields().get(position)?.name();
        // Neither entities nor the index are ever null; this is what plain ASC asks for.
        let options = SortOptions { descending: false, nulls_first: false };
        Some(PhysicalSortExpr::new(Arc::new(Column::new(name, position)), options))
    }))
}

/// First and last (entity, index) that a segment can hold.
struct Ends<'a> {
    entities: Option<&'a (EntityKey, EntityKey)>,
    index: Option<(i64, i64)>,
}

impl<'a> Ends<'a> {
    fn of(segment: &'a SegmentMeta, layout: &TableLayout) -> Self {
        Self {
            entities: segment.entity_range.as_ref(),
            index: segment
                .index_range
                .map(|(first, last)| (in_order(layout, first), in_order(layout, last))),
        }
    }

    fn cmp_first(&self, other: &Self) -> Ordering {
        let entity = self.entities.map(|range| &range.0);
        let index = |ends: &Self| ends.index.map(|range| range.0);
        entity
            .cmp(&other.entities.map(|range| &range.0))
            .then_with(|| index(self).cmp(&index(other)))
    }

    fn ends_before(&self, next: &Self) -> bool {
        let (Some(index), Some(next_index)) = (self.index, next.index) else { return false };
        let entities = match (self.entities, next.entities) {
            (Some(entities), Some(next)) => entities.1.cmp(&next.0),
            (None, None) => Ordering::Equal,
            _ => return false,
        };
        entities.then_with(|| index.1.cmp(&next_index.0)).is_le()
    }
}

/// An index value such that numbers compare as index values do.
fn in_order(layout: &TableLayout, value: i64) -> i64 {
    match layout.index_type {
        Some(IndexType::UInt64) => value ^ i64::MIN,
        _ => value,
    }
}

/// Whether a scan shows no column at all, as under `count(*)`: rows without columns have no order, and what the log knows of
/// columns decides nothing about them. Planning costs as little as it can for each segment then.
pub(super) fn counts_only(projection: Option<&Vec<usize>>) -> bool {
    projection.is_some_and(Vec::is_empty)
}

/// Which columns a scan needs to know about, by position.
pub(super) fn columns_known(layout: &TableLayout, projection: Option<&Vec<usize>>) -> Vec<bool> {
    let count = layout.schema.fields().len();
    let Some(projection) = projection else { return vec![true; count] };
    let mut known = vec![false; count];
    if counts_only(Some(projection)) {
        return known;
    }
    let sorted_by = layout.entities.iter().copied().chain(layout.index);
    for position in projection.iter().copied().chain(sorted_by) {
        if let Some(slot) = known.get_mut(position) {
            *slot = true;
        }
    }
    known
}

/// Cuts files that are in order into one contiguous group for each partition, balanced by bytes.
pub(super) fn split(files: Vec<PartitionedFile>, options: &ConfigOptions) -> Vec<FileGroup> {
    let partitions = options.execution.target_partitions.max(1);
    if files.len() < partitions * WHOLE_FILES_PER_PARTITION {
        let group = FileGroup::new(files);
        return FileGroupPartitioner::new()
            .with_target_partitions(partitions)
            .with_repartition_file_min_size(options.optimizer.repartition_file_min_size)
            .repartition_file_groups(std::slice::from_ref(&group))
            .unwrap_or_else(|| vec![group]);
    }
    let weight = |file: &PartitionedFile| file.object_meta.size + FILE_OPEN_COST_BYTES;
    let share = files.iter().map(weight).sum::<u64>().div_ceil(partitions as u64);
    let mut groups = Vec::with_capacity(partitions);
    let (mut group, mut filled) = (Vec::new(), 0);
    for file in files {
        filled += weight(&file);
        group.push(file);
        if filled >= share {
            groups.push(FileGroup::new(std::mem::take(&mut group)));
            filled = 0;
        }
    }
    if !group.is_empty() {
        groups.push(FileGroup::new(group));
    }
    groups
}
