//! `completeness('t', start, end)`, `covers('t', start, end)` and `entities('t')`: what each entity has.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::arguments::{CoveredTable, table_name};
use super::rows::{Cell, Kind, Wanted, answer};
use super::runs::bucket_count;
use super::{PinnedTable, SnapshotSource};
use crate::Snapshot;
use crate::coverage::{Run, completeness_of};

/// Entity columns, how many buckets are `expected` in the range and how many are `present`, their `ratio`, and
/// `complete_until`: where the first missing bucket starts, null when that is the first of the range. By entity.
pub(super) fn completeness(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let (table, range) = ranged(source, "completeness", args)?;
    let columns = [
        ("expected", Kind::Count),
        ("present", Kind::Count),
        ("ratio", Kind::Ratio),
        ("complete_until", Kind::MaybeIndex),
    ];
    answer(table, &columns, move |table, entity, runs, rows| {
        let found = completeness_of(entity.clone(), runs, &table.bucketing, range);
        let cells = [
            Cell::Count(Some(found.expected)),
            Cell::Count(Some(found.present)),
            Cell::Ratio(ratio(found.present, found.expected)),
            Cell::Index(found.complete_until.map(|bucket| table.bucketing.end(bucket))),
        ];
        rows.push(entity, &cells)
    })
}

/// One row with one boolean, `covers`: whether every entity of the table has every bucket of the range. False without entities, and
/// before the first append gave the table its schema: a pipeline may ask from the first day on.
pub(super) fn covers(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let covers = !awaits_schema(source, "covers", args)? && {
        let (table, range) = ranged(source, "covers", args)?;
        let entities = table.snapshot.coverage.completeness(&table.bucketing, range);
        !entities.is_empty() && entities.iter().all(|entity| entity.present == entity.expected)
    };
    let schema = Arc::new(Schema::new(vec![Field::new("covers", DataType::Boolean, false)]));
    let column = Arc::new(BooleanArray::from(vec![covers]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// Entity columns, where the first and the last bucket of each start (`first_bucket`, `last_bucket`), its number of `buckets` and
/// its number of `rows`, null when a record of before there were counts brought some of them. By entity.
pub(super) fn entities(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let [table] = args.exprs() else {
        return plan_err!(
            "entities takes one argument, the name of a table; write entities('prices')"
        );
    };
    let table = CoveredTable::find(source, "entities", table, args.session())?;
    let columns = [
        ("first_bucket", Kind::Index),
        ("last_bucket", Kind::Index),
        ("buckets", Kind::Count),
        ("rows", Kind::MaybeCount),
    ];
    answer(table, &columns, |table, entity, runs, rows| {
        let Some(Run { first, last }) = runs.bounds() else { return Ok(Wanted::More) };
        let buckets = runs.iter().map(bucket_count).fold(0, u64::saturating_add);
        let cells = [
            Cell::Index(Some(table.bucketing.start(first))),
            Cell::Index(Some(table.bucketing.start(last))),
            Cell::Count(Some(buckets)),
            Cell::Count(table.snapshot.coverage.rows(entity)),
        ];
        rows.push(entity, &cells)
    })
}

/// Entity columns, and the number of `rows` of each, for a table whose counts are all known (0 where they are not). By entity.
pub(in crate::datafusion) fn entity_rows(
    table: &str,
    snapshot: &Arc<Snapshot>,
) -> Result<Arc<dyn TableProvider>> {
    let table = CoveredTable::of("entities", table.to_owned(), Arc::clone(snapshot))?;
    answer(table, &[("rows", Kind::Count)], |table, entity, _, rows| {
        let count = table.snapshot.coverage.rows(entity);
        rows.push(entity, &[Cell::Count(Some(count.unwrap_or_default()))])
    })
}

/// Whether the table of a function with a range is a time-series table without any append.
fn awaits_schema(
    source: &dyn SnapshotSource,
    function: &'static str,
    args: &TableFunctionArgs,
) -> Result<bool> {
    let (table, ..) = range_arguments(function, args.exprs())?;
    let PinnedTable { snapshot, .. } =
        source.pinned(&table_name(function, table, args.session())?)?;
    Ok(snapshot.spec.index.is_some() && snapshot.layout.is_none())
}

/// The table and the range of a function that needs both.
fn ranged(
    source: &dyn SnapshotSource,
    function: &'static str,
    args: &TableFunctionArgs,
) -> Result<(CoveredTable, Run)> {
    let (table, start, end) = range_arguments(function, args.exprs())?;
    let table = CoveredTable::find(source, function, table, args.session())?;
    let range = table.range(start, end, args.session())?;
    Ok((table, range))
}

fn range_arguments<'a>(
    function: &str,
    arguments: &'a [Expr],
) -> Result<(&'a Expr, &'a Expr, &'a Expr)> {
    let [table, start, end] = arguments else {
        return plan_err!(
            "{function} takes the name of a table, a start and an end; write \
             {function}('prices', '2025-01-01', '2025-02-01')"
        );
    };
    Ok((table, start, end))
}

#[allow(clippy::cast_precision_loss, reason = "a ratio for people: the counts stand beside it")]
fn ratio(present: u64, expected: u64) -> f64 {
    // Buckets of a calendar that no instant falls into are not expected; a range of only such ones misses nothing.
    if expected == 0 { 1.0 } else { present as f64 / expected as f64 }
}
