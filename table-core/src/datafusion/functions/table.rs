//! `segments('t')` and `table_properties('t')`: what a table is made of, and what it was created with.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

use super::arguments::table_name;
use super::{PinnedTable, SnapshotSource};
use crate::Snapshot;
use crate::types::SegmentId;

/// One row for each part of the table that is stored by itself, in commit order: a segment, or the rows of one small append inside
/// its record (`kind` is "segment" or "inline"). `segment_id`, `version` that added it, `row_count`, `bytes`, `row_groups` (0 inline),
/// `sorted` by entity and index, and the ends of the index as text (`index_min`, `index_max`; null on plain tables).
pub(super) fn segments(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let PinnedTable { snapshot, .. } = only_table(source, "segments", args)?;
    let text = |value: i64| snapshot.bucketing().map(|bucketing| bucketing.format(value));
    let mut rows = Parts::default();
    for segment in &snapshot.segments {
        rows.push(&snapshot, segment.id, "segment", segment.row_count, segment.file_bytes);
        rows.row_groups.push(count(segment.row_groups.len() as u64));
        rows.sorted.push(segment.sorted);
        rows.index_min.push(segment.index_range.and_then(|(min, _)| text(min)));
        rows.index_max.push(segment.index_range.and_then(|(_, max)| text(max)));
    }
    for append in snapshot.hot.iter() {
        rows.push(&snapshot, append.id, "inline", append.row_count(), append.bytes());
        rows.row_groups.push(0);
        rows.sorted.push(snapshot.is_time_series());
        rows.index_min.push(append.index_range.and_then(|(min, _)| text(min)));
        rows.index_max.push(append.index_range.and_then(|(_, max)| text(max)));
    }
    rows.into_table()
}

/// The rows of `segments`.
#[derive(Default)]
struct Parts {
    id: Vec<String>,
    kind: Vec<&'static str>,
    version: Vec<i64>,
    row_count: Vec<i64>,
    bytes: Vec<i64>,
    row_groups: Vec<i64>,
    sorted: Vec<bool>,
    index_min: Vec<Option<String>>,
    index_max: Vec<Option<String>>,
}

impl Parts {
    fn push(
        &mut self,
        snapshot: &Snapshot,
        id: SegmentId,
        kind: &'static str,
        row_count: u64,
        bytes: u64,
    ) {
        self.id.push(id.to_string());
        self.kind.push(kind);
        self.version.push(count(snapshot.segment_version(id).unwrap_or_default().0));
        self.row_count.push(count(row_count));
        self.bytes.push(count(bytes));
    }

    fn into_table(self) -> Result<Arc<dyn TableProvider>> {
        one_batch(vec![
            ("segment_id", false, Arc::new(StringArray::from(self.id)) as ArrayRef),
            ("kind", false, Arc::new(StringArray::from(self.kind))),
            ("version", false, Arc::new(Int64Array::from(self.version))),
            ("row_count", false, Arc::new(Int64Array::from(self.row_count))),
            ("bytes", false, Arc::new(Int64Array::from(self.bytes))),
            ("row_groups", false, Arc::new(Int64Array::from(self.row_groups))),
            ("sorted", false, Arc::new(BooleanArray::from(self.sorted))),
            ("index_min", true, Arc::new(StringArray::from(self.index_min))),
            ("index_max", true, Arc::new(StringArray::from(self.index_max))),
        ])
    }
}

/// Rows of `name` and `value`, both text: what the table was created with, what it holds, and the properties that users set.
pub(super) fn table_properties(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let PinnedTable { name, snapshot, .. } = only_table(source, "table_properties", args)?;
    let mut rows = vec![
        ("table", name),
        ("table_id", snapshot.table_id.to_string()),
        ("version", snapshot.version.to_string()),
    ];
    if let Some(index) = &snapshot.spec.index {
        rows.extend([
            ("index_column", index.column.clone()),
            ("bucket", index.bucket.to_string()),
            ("entity_columns", index.entity_columns.join(",")),
            ("time_zone", index.time_zone.clone()),
            ("entities", snapshot.coverage.entity_count().to_string()),
            ("covered_buckets", snapshot.coverage.pair_count().to_string()),
        ]);
    }
    rows.extend([
        ("row_count", snapshot.row_count.to_string()),
        ("segments", snapshot.segments.len().to_string()),
        ("segment_bytes", snapshot.file_bytes.to_string()),
        ("inline_appends", snapshot.hot.append_count().to_string()),
        ("inline_rows", snapshot.hot.row_count().to_string()),
    ]);
    let mut own: Vec<_> = snapshot.properties.iter().collect();
    own.sort_unstable();
    rows.extend(own.into_iter().map(|(name, value)| (name.as_str(), value.clone())));
    let names = rows.iter().map(|(name, _)| *name);
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let values = rows.iter().map(|(_, value)| value.as_str());
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    one_batch(vec![("name", false, names), ("value", false, values)])
}

/// The table of a function that takes nothing else.
pub(super) fn only_table(
    source: &dyn SnapshotSource,
    function: &str,
    args: &TableFunctionArgs,
) -> Result<PinnedTable> {
    let [table] = args.exprs() else {
        return plan_err!(
            "{function} takes one argument, the name of a table; write {function}('prices')"
        );
    };
    source.pinned(&table_name(function, table, args.session())?)
}

/// A count for a column; no table comes near the end of Int64.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn one_batch(columns: Vec<(&str, bool, ArrayRef)>) -> Result<Arc<dyn TableProvider>> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, nullable, array)| Field::new(*name, array.data_type().clone(), *nullable))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, _, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
