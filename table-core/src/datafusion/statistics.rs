//! What is known of segments and hot rows, as DataFusion's `Statistics`: exact, so that `count(*)`, `min` and `max` are answered
//! without a read. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use crate::scan::Part;
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;

/// Statistics of one part; columns that `wanted` does not name are left unknown.
pub(super) fn of_part(part: Part<'_>, layout: &TableLayout, wanted: &[bool]) -> Statistics {
    of_parts(std::iter::once(part), layout, wanted)
}

/// Statistics of several segments together; columns that `wanted` does not name are left unknown.
pub(super) fn of_segments<'a>(
    segments: impl Iterator<Item = &'a Arc<SegmentMeta>>,
    layout: &TableLayout,
    wanted: &[bool],
) -> Statistics {
    of_parts(segments.map(|segment| Part::Segment(segment)), layout, wanted)
}

/// Statistics of several parts together; columns that `wanted` does not name are left unknown.
pub(super) fn of_parts<'a>(
    parts: impl Iterator<Item = Part<'a>>,
    layout: &TableLayout,
    wanted: &[bool],
) -> Statistics {
    let mut rows = 0_u64;
    let mut bytes = 0_u64;
    let mut columns: Vec<Folded> = vec![Folded::default(); layout.schema.fields().len()];
    for part in parts {
        rows += part.row_count();
        bytes += part.bytes();
        for (position, folded) in columns.iter_mut().enumerate() {
            if wanted.get(position).copied().unwrap_or(false) {
                folded.add(part, layout, position);
            }
        }
    }
    Statistics {
        num_rows: exact(rows),
        // The size in memory is not known, only that of the files.
        total_byte_size: exact(bytes).to_inexact(),
        column_statistics: columns
            .into_iter()
            .enumerate()
            .map(|(position, folded)| match wanted.get(position) {
                Some(true) => folded.finish(),
                _ => ColumnStatistics::new_unknown(),
            })
            .collect(),
    }
}

/// Whether a float column that `wanted` names has no known bounds in some segment although it has values.
pub(super) fn may_hold_nan(
    segments: &[Arc<SegmentMeta>],
    layout: &TableLayout,
    wanted: &[bool],
) -> bool {
    layout.schema.fields().iter().zip(wanted).enumerate().any(|(position, (field, wanted))| {
        *wanted
            && field.data_type().is_floating()
            && segments.iter().any(|segment| {
                Part::Segment(segment).bounds(layout, position).is_none_or(|stats| {
                    stats.min.is_none() && stats.null_count != segment.row_count
                })
            })
    })
}

fn exact(count: u64) -> Precision<usize> {
    usize::try_from(count).map_or(Precision::Absent, Precision::Exact)
}

/// Bounds and nulls of one column over the parts so far.
#[derive(Debug, Clone, Default)]
struct Folded {
    nulls: u64,
    nulls_unknown: bool,
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    bounds_unknown: bool,
}

impl Folded {
    fn add(&mut self, part: Part<'_>, layout: &TableLayout, position: usize) {
        let Some(stats) = part.bounds(layout, position) else {
            (self.nulls_unknown, self.bounds_unknown) = (true, true);
            return;
        };
        self.nulls += stats.null_count;
        match (stats.min, stats.max) {
            (Some(min), Some(max)) => {
                self.bounds_unknown |= !keep(&mut self.min, min, Ordering::Less);
                self.bounds_unknown |= !keep(&mut self.max, max, Ordering::Greater);
            }
            // Nothing but nulls does not move the bounds of the rest.
            _ => self.bounds_unknown |= stats.null_count != part.row_count(),
        }
    }

    fn finish(self) -> ColumnStatistics {
        let mut statistics = ColumnStatistics::new_unknown();
        if !self.nulls_unknown {
            statistics.null_count = exact(self.nulls);
        }
        if !self.bounds_unknown
            && let (Some(min), Some(max)) = (self.min, self.max)
        {
            statistics.min_value = Precision::Exact(min);
            statistics.max_value = Precision::Exact(max);
        }
        statistics
    }
}

/// Puts `value` into `slot` when it compares as `better`; `false` when the two cannot be compared.
fn keep(slot: &mut Option<ScalarValue>, value: ScalarValue, better: Ordering) -> bool {
    match slot {
        None => *slot = Some(value),
        Some(current) => match value.partial_cmp(current) {
            Some(order) if order == better => *current = value,
            Some(_) => {}
            None => return false,
        },
    }
    true
}
