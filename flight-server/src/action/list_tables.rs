//! `coverline.ListTables`: every table with what its snapshot knows, one result each.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use table_core::{Catalog, Snapshot};
use tonic::Status;
use tracing::warn;

use super::Answer;
use super::json::encode;
use crate::{limits, status};

pub(super) const NAME: &str = "coverline.ListTables";
pub(super) const TEXT: &str = "Lists tables by name. No body. Results, one per table: JSON {name, version, row_count, file_bytes, \
                               segment_count, inline_row_count, inline_bytes, index_column, bucket, entity_columns, time_zone, first_index, last_index}; \
                               {name, error} for a table that cannot be opened.";

pub(super) async fn run(catalog: &Arc<Catalog>, max_staleness: Duration) -> Result<Answer, Status> {
    catalog.refresh(max_staleness).await.map_err(|error| status::core(&error))?;
    let catalog = Arc::clone(catalog);
    let described = stream::iter(catalog.table_names())
        .map(move |name| {
            let catalog = Arc::clone(&catalog);
            async move { describe(&catalog, name, max_staleness).await }
        })
        .buffered(limits::LOOKS_IN_FLIGHT)
        .filter_map(|described| async { described });
    Ok(described.map(|value| Ok(arrow_flight::Result { body: encode(&value).into() })).boxed())
}

/// The table; `None` when it was dropped since its name was read.
async fn describe(catalog: &Arc<Catalog>, name: String, max_staleness: Duration) -> Option<Value> {
    let snapshot = async { catalog.table(&name).await?.refresh(max_staleness).await };
    match snapshot.await {
        Ok(snapshot) => Some(described(&name, &snapshot)),
        Err(_) if !catalog.contains(&name) => None,
        Err(error) => {
            warn!(table = name, %error, "a table is listed with its error");
            Some(json!({ "name": name, "error": error.message() }))
        }
    }
}

fn described(name: &str, snapshot: &Snapshot) -> Value {
    let index = snapshot.spec.index.as_ref();
    let (first, last) = index_bounds(snapshot).unzip();
    json!({
        "name": name,
        "version": snapshot.version.0,
        "row_count": snapshot.row_count,
        "file_bytes": snapshot.file_bytes,
        "segment_count": snapshot.segments.len(),
        // Rows of small appends: part of `row_count`, and in the log instead of in a segment.
        "inline_row_count": snapshot.hot.row_count(),
        "inline_bytes": snapshot.hot.bytes(),
        "index_column": index.map(|index| &index.column),
        "bucket": index.map(|index| index.bucket.to_string()),
        "entity_columns": index.map(|index| &index.entity_columns),
        "time_zone": index.map(|index| &index.time_zone),
        "first_index": first,
        "last_index": last,
    })
}

/// Smallest and greatest index value of all rows, as text.
fn index_bounds(snapshot: &Snapshot) -> Option<(String, String)> {
    let bucketing = snapshot.layout.as_ref()?.bucketing.as_ref()?;
    let is_unsigned = bucketing.index() == table_core::types::IndexType::UInt64;
    // Unsigned values travel as their bits; flipping the sign bit makes them compare as what they are.
    let key = |value: i64| if is_unsigned { value ^ i64::MIN } else { value };
    let segments = || snapshot.segments.iter().filter_map(|segment| segment.index_range);
    let ranges = || segments().chain(snapshot.hot.iter().filter_map(|rows| rows.index_range));
    let first = ranges().map(|range| range.0).min_by_key(|value| key(*value))?;
    let last = ranges().map(|range| range.1).max_by_key(|value| key(*value))?;
    Some((bucketing.format(first), bucketing.format(last)))
}
