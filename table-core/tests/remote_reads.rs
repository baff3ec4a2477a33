//! How many requests a query costs in an object store: a footer is read once, a row group whole once, to verify it, and after
//! that only what a query needs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use arrow::compute::concat_batches;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::path::Path;
use support::query::run;
use support::root::{append, many_bars, spec};
use table_core::datafusion::{SegmentCache, SnapshotProvider, TABLE_STORE_URL};
use table_core::storage::RemoteStore;
use table_core::storage::faults::{FaultyObjects, RemoteOperation};
use table_core::{Catalog, CatalogOptions, Table};

/// Reads of segments that a query sends, and its result.
async fn asked(
    objects: &FaultyObjects,
    table: &Arc<Table>,
    cache: &Arc<SegmentCache>,
    sql: &str,
) -> (Vec<String>, String) {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let url = ObjectStoreUrl::parse(TABLE_STORE_URL).unwrap();
    session.register_object_store(url.as_ref(), table.store().object_store());
    let (store, cache) = (Arc::clone(table.store()), Arc::clone(cache));
    let provider = SnapshotProvider::new(table.snapshot(), "prices", store, cache);
    session.register_table("prices", Arc::new(provider)).unwrap();
    let first = objects.request_count();
    let result = run(&session, sql).await.unwrap();
    let requests = objects.requests_since(first);
    assert!(requests.iter().all(|request| request.operation == RemoteOperation::Get));
    (requests.into_iter().map(|request| request.path).collect(), result)
}

#[tokio::test]
async fn a_footer_and_a_row_group_are_read_whole_once() {
    let objects = FaultyObjects::new();
    let store = RemoteStore::over(Arc::new(objects.clone()), &Path::from("lake/a"));
    let catalog = Catalog::over(Arc::new(store), CatalogOptions::default()).await.unwrap();
    let table = catalog.create_table("prices", spec(), None, "").await.unwrap();
    for hour in 0..3 {
        let bars: Vec<_> = ["A", "B", "C"].map(|symbol| many_bars(symbol, hour)).into();
        append(&table, &[concat_batches(&bars[0].schema(), &bars).unwrap()]).await.unwrap();
    }
    let snapshot = table.snapshot();
    let segments = snapshot.segments.len();
    let groups: usize = snapshot.segments.iter().map(|segment| segment.row_groups.len()).sum();
    assert_eq!(segments, 3);

    let cache = Arc::new(SegmentCache::default());
    let sql = "SELECT symbol, sum(price) FROM prices GROUP BY symbol ORDER BY symbol";
    let (first, result) = asked(&objects, &table, &cache, sql).await;
    assert_eq!(first.len(), segments + groups, "a footer each, and each row group: {first:?}");
    let (second, again) = asked(&objects, &table, &cache, sql).await;
    assert_eq!(again, result);
    assert!(second.len() <= groups, "no footer again: {second:?}");

    // Statistics answer this one.
    let (third, _) = asked(&objects, &table, &cache, "SELECT count(*), min(ts) FROM prices").await;
    assert_eq!(third, [""; 0]);
    // Only the segment that can hold the hour.
    let sql = "SELECT sum(price) FROM prices WHERE ts < TIMESTAMP '1970-01-01T01:00:00Z'";
    let (fourth, _) = asked(&objects, &table, &Arc::default(), sql).await;
    let of_one =
        1 + snapshot.segments.iter().map(|segment| segment.row_groups.len()).max().unwrap();
    assert!(!fourth.is_empty() && fourth.len() <= of_one, "{fourth:?}");
}
