//! `coverage('t')` and `gaps('t' [, start, end])`: the covered runs of buckets, and the missing ones.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;

use super::SnapshotSource;
use super::arguments::CoveredTable;
use super::rows::{Cell, Kind, Wanted, answer};
use crate::coverage::{Run, gaps_of};

/// Entity columns, `start` and `end` of the run (the end is exclusive), and its number of `buckets`; by entity and start.
pub(super) fn coverage(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let [table] = args.exprs() else {
        return plan_err!(
            "coverage takes one argument, the name of a table; write coverage('prices')"
        );
    };
    let table = CoveredTable::find(source, "coverage", table, args.session())?;
    let columns = [("start", Kind::Index), ("end", Kind::Index), ("buckets", Kind::Count)];
    answer(table, &columns, |table, entity, runs, rows| {
        for run in runs.iter() {
            if rows.push(entity, &cells(table, run, bucket_count(run)))? == Wanted::Enough {
                return Ok(Wanted::Enough);
            }
        }
        Ok(Wanted::More)
    })
}

/// Entity columns, `gap_start` and `gap_end` (exclusive), and the number of `missing_buckets`; by entity and start. Between the
/// first and last bucket of each entity, or inside a range.
pub(super) fn gaps(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let (table, bounds) = match args.exprs() {
        [table] => (table, None),
        [table, start, end] => (table, Some((start, end))),
        _ => {
            return plan_err!(
                "gaps takes the name of a table and, optionally, a start and an end; write gaps('prices') or \
                 gaps('prices', '2025-01-01', '2025-02-01')"
            );
        }
    };
    let table = CoveredTable::find(source, "gaps", table, args.session())?;
    let range = match bounds {
        None => None,
        Some((start, end)) => Some(table.range(start, end, args.session())?),
    };
    let columns =
        [("gap_start", Kind::Index), ("gap_end", Kind::Index), ("missing_buckets", Kind::Count)];
    answer(table, &columns, move |table, entity, runs, rows| {
        for (missing, bucket_count) in gaps_of(runs, &table.bucketing, range) {
            if rows.push(entity, &cells(table, missing, bucket_count))? == Wanted::Enough {
                return Ok(Wanted::Enough);
            }
        }
        Ok(Wanted::More)
    })
}

fn cells(table: &CoveredTable, run: Run, bucket_count: u64) -> [Cell; 3] {
    [
        Cell::Index(Some(table.bucketing.start(run.first))),
        Cell::Index(Some(table.bucketing.end(run.last))),
        Cell::Count(Some(bucket_count)),
    ]
}

/// Buckets in a run.
pub(super) fn bucket_count(run: Run) -> u64 {
    let steps = i128::from(run.last.0) - i128::from(run.first.0);
    u64::try_from(steps + 1).unwrap_or(u64::MAX)
}
