//! The rules of a commit, through the public API over a real catalog on a temporary folder: what is committed can be read
//! back, and nothing else is committed. What types and encodings an append takes is in `append_types`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::concat_batches;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::join_all;
use support::query::run;
use support::root::{HOUR_US, Root, append, append_all, bars, many_bars, read_bars, skip, spec};
use table_core::append::{APPEND_ID_BYTES_MAX, AppendRequest, Receipt};
use table_core::datafusion::{SnapshotProvider, TABLE_STORE_URL};
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::{BucketWidth, Version};
use table_core::{Catalog, CatalogOptions, ErrorKind};

#[tokio::test]
async fn a_file_loads_once_and_the_second_time_says_what_is_there() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    // Two days of hourly rows in time order across entities, so that they have to be sorted.
    let day = |day: i64| {
        let hours = day * 24..(day + 1) * 24;
        let rows: Vec<_> = hours
            .flat_map(|hour| {
                ["NVDA", "AAPL", "MSFT"].map(|symbol| (symbol, hour * HOUR_US + 5, hour as f64))
            })
            .collect();
        bars(&rows)
    };
    let first = append(&table, &[day(0)]).await.unwrap();
    assert_eq!((first.version, first.row_count, first.buckets_covered), (Version(2), 72, 72));
    assert_eq!((first.segment_count, first.rows_skipped, first.repeated), (0, 0, false));
    append(&table, &[day(1)]).await.unwrap();

    let error = append(&table, &[day(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap);
    let overlap = error.overlap().unwrap();
    assert_eq!(overlap.overlap_count, 72, "{error}");
    assert_eq!(overlap.example_entity, "symbol=\"AAPL\"");
    assert_eq!(overlap.bucket_start, "1970-01-02T00:00:00Z");
    assert_eq!(overlap.bucket_end, "1970-01-02T01:00:00Z");
    assert_eq!((overlap.owner_version, overlap.table_version), (Some(3), 3));

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let snapshot = table.snapshot();
    assert_eq!(snapshot.version, Version(3));
    let rows = read_bars(&root.rows(&table, &snapshot));
    assert_eq!(rows.len(), 144);
    assert!(
        rows[..72].is_sorted_by_key(|row| (row.0.clone(), row.1)),
        "sorted by entity and index"
    );
    assert_eq!(root.files(&table), 0, "all of it is in the log");

    // A flush makes one segment of both days, and both go on to own their pairs.
    assert_eq!(table.flush().await.unwrap(), Some(Version(4)));
    let snapshot = table.snapshot();
    let rows = read_bars(&root.rows(&table, &snapshot));
    assert_eq!((rows.len(), snapshot.segments.len()), (144, 1));
    assert!(rows.is_sorted_by_key(|row| (row.0.clone(), row.1)), "sorted by entity and index");
    let segment = &snapshot.segments[0];
    assert_eq!(segment.index_range, Some((5, 47 * HOUR_US + 5)));
    assert!(segment.sorted);
    let (min, max) = segment.entity_range.clone().unwrap();
    let layout = snapshot.layout.clone().unwrap();
    let shown =
        |key: table_core::types::EntityKey| key.display(&layout.entity_names, &layout.entity_types);
    assert_eq!((shown(min), shown(max)), ("symbol=\"AAPL\"".into(), "symbol=\"NVDA\"".into()));
    for (number, owner) in [(0, 2), (1, 3)] {
        let error = append(&table, &[day(number)]).await.unwrap_err();
        assert_eq!(error.overlap().unwrap().owner_version, Some(owner));
    }
}

#[tokio::test]
async fn skip_leaves_owned_rows_out() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("A", 0, 1.0), ("A", HOUR_US, 2.0)])]).await.unwrap();
    let more = bars(&[
        ("A", 1, 9.0),
        ("B", 1, 3.0),
        ("A", 2 * HOUR_US, 4.0),
        ("A", HOUR_US + 7, 9.0),
        ("B", 2, 5.0),
    ]);
    let receipt = append_all(&table, skip(), std::slice::from_ref(&more)).await.unwrap();
    assert_eq!((receipt.row_count, receipt.rows_skipped), (3, 2));
    assert_eq!((receipt.version, receipt.buckets_covered), (Version(3), 2));
    let rows = read_bars(&root.rows(&table, &table.snapshot()));
    let prices: Vec<f64> = rows.iter().map(|row| row.2).collect();
    assert_eq!(prices, [1.0, 2.0, 4.0, 3.0, 5.0]);

    let nothing = append_all(&table, skip(), &[more]).await.unwrap();
    assert_eq!((nothing.version, nothing.row_count, nothing.rows_skipped), (Version(3), 0, 5));
    assert_eq!(table.snapshot().version, Version(3), "nothing to commit makes no version");
}

#[tokio::test]
async fn rows_of_one_append_may_share_a_bucket() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let receipt = append(&table, &[bars(&[("A", 1, 1.0)]), bars(&[("A", 0, 2.0), ("A", 1, 3.0)])])
        .await
        .unwrap();
    assert_eq!((receipt.row_count, receipt.buckets_covered), (3, 1));
    for _ in 0..2 {
        let rows = read_bars(&root.rows(&table, &table.snapshot()));
        let prices: Vec<f64> = rows.iter().map(|row| row.2).collect();
        assert_eq!(prices, [2.0, 1.0, 3.0], "by time, equal times in arrival order");
        table.flush().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_appends_exactly_one_wins() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("Z", 0, 0.0)])]).await.unwrap();
    for round in 0..5 {
        let mut open = Vec::new();
        // All have written before any commits: every check while streaming passes.
        for writer in 0..4 {
            let mut append = table.append(AppendRequest::default());
            append.write(bars(&[("A", round * HOUR_US, f64::from(writer))])).await.unwrap();
            open.push(append);
        }
        let commits: Vec<_> =
            open.into_iter().map(|append| tokio::spawn(append.commit())).collect();
        let mut winners = 0;
        for commit in commits {
            match commit.await.unwrap() {
                Ok(_) => winners += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
                    let overlap = error.overlap().unwrap();
                    assert_eq!(overlap.owner_version, Some(table.snapshot().version.0));
                    assert_eq!(overlap.overlap_count, 1);
                }
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
    assert_eq!(table.snapshot().row_count, 6);
    root.rows(&table, &table.snapshot());
}

#[tokio::test]
async fn rows_skipped_by_nobody_are_lost_to_nobody() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("Z", 0, 0.0)])]).await.unwrap();
    let mut late = table.append(skip());
    late.write(bars(&[("A", 0, 1.0), ("B", 0, 1.0)])).await.unwrap();
    append(&table, &[bars(&[("A", 0, 2.0)])]).await.unwrap();
    let error = late.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let again = append_all(&table, skip(), &[bars(&[("A", 0, 1.0), ("B", 0, 1.0)])]).await.unwrap();
    assert_eq!((again.row_count, again.rows_skipped), (1, 1));
}

#[tokio::test]
async fn an_error_commits_nothing_and_leaves_nothing() {
    // Inline rows leave no file in any case; segments must not, unless they are committed.
    for (of, files_each) in [
        (
            (|symbol, hour| bars(&[(symbol, hour * HOUR_US, 1.0)])) as fn(&str, i64) -> RecordBatch,
            0,
        ),
        (many_bars, 1),
    ] {
        let root = Root::new().await;
        let table = root.table(spec(), None).await;
        append(&table, &[of("A", 0)]).await.unwrap();
        assert_eq!(root.files(&table), files_each);

        let mut failing = table.append(AppendRequest::default());
        failing.write(of("B", 0)).await.unwrap();
        let rows = concat_batches(&of("B", 1).schema(), &[of("B", 1), of("A", 0)]).unwrap();
        let error = failing.write(rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        let error = failing.write(of("C", 0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "poisoned: {error}");
        let error = failing.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "poisoned: {error}");

        // A racing append that loses in the commit, and one that is dropped.
        let mut late = table.append(AppendRequest::default());
        late.write(of("D", 0)).await.unwrap();
        append(&table, &[of("D", 0)]).await.unwrap();
        assert_eq!(late.commit().await.unwrap_err().kind(), ErrorKind::Overlap);
        let mut dropped = table.append(AppendRequest::default());
        dropped.write(of("E", 0)).await.unwrap();
        drop(dropped);

        assert_eq!(table.snapshot().version, Version(3));
        assert_eq!(root.files(&table), 2 * files_each, "as many as the committed appends have");
        let taken = append(&table, &[of("B", 0)]).await.unwrap();
        assert_eq!(taken.version, Version(4), "what failed claims nothing");
        root.rows(&table, &table.snapshot());
    }
}

#[tokio::test]
async fn append_id_makes_a_retry_harmless() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let request = |key: &str| AppendRequest {
        append_id: Some(key.to_owned()),
        principal: "ann".to_owned(),
        ..AppendRequest::default()
    };
    let rows = bars(&[("A", 0, 1.0), ("B", 0, 2.0), ("A", HOUR_US, 3.0)]);
    let first = append_all(&table, request("k1"), std::slice::from_ref(&rows)).await.unwrap();
    assert!(!first.repeated);
    // Cut differently: still the same rows.
    let pieces = [rows.slice(0, 1), rows.slice(1, 2)];
    let again = append_all(&table, request("k1"), &pieces).await.unwrap();
    assert_eq!(again, Receipt { repeated: true, ..first.clone() });
    assert_eq!(table.snapshot().version, first.version);

    let other = bars(&[("A", 0, 1.0), ("B", 0, 2.5), ("A", HOUR_US, 3.0)]);
    let error = append_all(&table, request("k1"), &[other]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert!(error.message().contains("k1"), "{error}");
    let error = append_all(&table, request("k2"), std::slice::from_ref(&rows)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "another key is another append");
    let stranger = AppendRequest { principal: "bob".into(), ..request("k1") };
    let error = append_all(&table, stranger, std::slice::from_ref(&rows)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "keys belong to their principal");

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let again = append_all(&table, request("k1"), &[rows]).await.unwrap();
    assert_eq!((again.repeated, again.version), (true, first.version));
}

#[tokio::test]
async fn a_retry_hears_of_its_first_try_however_full_the_disk_is() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let rows = bars(&[("NVDA", 0, 1.0)]);
    let request = || AppendRequest { append_id: Some("k1".into()), ..AppendRequest::default() };
    let first = append_all(&table, request(), std::slice::from_ref(&rows)).await.unwrap();
    drop(table);
    let Root { folder, catalog } = root;
    drop(catalog);
    let options = CatalogOptions { disk_floor_bytes: Some(u64::MAX), ..CatalogOptions::default() };
    let catalog = Catalog::open(folder.path(), options).await.unwrap();
    let table = catalog.table("prices").await.unwrap();
    let again = append_all(&table, request(), std::slice::from_ref(&rows)).await.unwrap();
    assert_eq!(again, Receipt { repeated: true, ..first });
    let refused = append(&table, &[bars(&[("NVDA", HOUR_US, 1.0)])]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn the_owner_is_found_across_the_middle_of_u64() {
    let root = Root::new().await;
    let index = IndexSpec {
        column: "block".into(),
        bucket: BucketWidth::parse("1").unwrap(),
        entity_columns: Vec::new(),
        time_zone: "UTC".into(),
    };
    let table = root.table(TableSpec { index: Some(index) }, None).await;
    let blocks = |values: Vec<u64>| {
        RecordBatch::try_from_iter([("block", Arc::new(UInt64Array::from(values)) as ArrayRef)])
            .unwrap()
    };
    let owner = append(&table, &[blocks(vec![5, 6, (1 << 63) + 10])]).await.unwrap().version;
    append(&table, &[blocks(vec![7, (1 << 63) + 11])]).await.unwrap();
    for flushed in [false, true] {
        for block in [6, (1 << 63) + 10] {
            let error = append(&table, &[blocks(vec![block])]).await.unwrap_err();
            assert_eq!(error.overlap().unwrap().owner_version, Some(owner.0), "{block} {flushed}");
        }
        table.flush().await.unwrap();
    }
}

#[tokio::test]
async fn two_tries_of_one_append_at_once_are_one_append() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let request = AppendRequest { append_id: Some("k".into()), ..AppendRequest::default() };
    let (one, two) = (bars(&[("A", 0, 1.0)]), bars(&[("B", 0, 2.0)]));
    let mut slow = table.append(request.clone());
    slow.write(one.clone()).await.unwrap();
    let fast = append_all(&table, request.clone(), &[one.clone(), two.clone()]).await.unwrap();
    // The slow try meets its own rows from here on.
    slow.write(two.clone()).await.unwrap();
    let slow = slow.commit().await.unwrap();
    assert_eq!(slow, Receipt { repeated: true, ..fast.clone() });

    // And one that has read everything before the other commits.
    let request = AppendRequest { append_id: Some("k3".into()), ..AppendRequest::default() };
    let row = bars(&[("C", 0, 1.0)]);
    let mut slow = table.append(request.clone());
    slow.write(row.clone()).await.unwrap();
    let fast = append_all(&table, request, &[row]).await.unwrap();
    let slow = slow.commit().await.unwrap();
    assert_eq!((slow.repeated, slow.version), (true, fast.version));
    assert_eq!(table.snapshot().row_count, 3);
}

/// C4, for tries that share a record, and for such as race on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tries_at_once_one_commits_and_all_get_its_receipt() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[bars(&[("Z", 0, 0.0)])]).await.unwrap();
    for (round, rows) in
        [bars(&[("A", 0, 1.0), ("B", 0, 2.0)]), many_bars("C", 0)].iter().enumerate()
    {
        for together in [true, false] {
            let key = format!("k{round}{together}");
            let rows = match together {
                true => rows.clone(),
                // Other buckets than in the turn before.
                false => {
                    concat_batches(&rows.schema(), &[bars(&[("D", round as i64 * HOUR_US, 1.0)])])
                        .unwrap()
                }
            };
            let before = table.snapshot().version;
            let mut open = Vec::new();
            for _ in 0..8 {
                let request =
                    AppendRequest { append_id: Some(key.clone()), ..AppendRequest::default() };
                let mut append = table.append(request);
                append.write(rows.clone()).await.unwrap();
                open.push(append);
            }
            let receipts: Vec<_> = match together {
                // All of them queue up before the first is planned, or nearly so.
                true => join_all(open.into_iter().map(|append| append.commit())).await,
                false => {
                    let tasks = open.into_iter().map(|append| tokio::spawn(append.commit()));
                    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
                }
            };
            let receipts: Vec<_> = receipts.into_iter().map(Result::unwrap).collect();
            assert_eq!(table.snapshot().version, before.next());
            assert_eq!(receipts.iter().filter(|receipt| !receipt.repeated).count(), 1);
            for receipt in &receipts {
                let first = Receipt { repeated: receipt.repeated, ..receipts[0].clone() };
                assert_eq!((*receipt).clone(), first);
                assert_eq!(receipt.version, before.next());
            }
            let record = &table.log_json(before.next(), before.next()).await.unwrap()[0];
            assert_eq!(record["append_ids"].as_array().unwrap().len(), 1);
        }
    }
    root.rows(&table, &table.snapshot());
}

/// C4: wherever the rows and the key have gone meanwhile.
#[tokio::test]
async fn a_retry_finds_its_first_try_after_flushes_checkpoints_and_restarts() {
    let mut root = Root::new().await;
    root.table(spec(), None).await;
    let rows = |hour: i64| bars(&[("A", hour * HOUR_US, hour as f64), ("B", hour * HOUR_US, 0.5)]);
    let request = |hour: i64| AppendRequest {
        append_id: Some(format!("hour-{hour}")),
        ..AppendRequest::default()
    };
    let mut receipts = Vec::new();
    for hour in 0..4_i64 {
        let table = root.catalog.table("prices").await.unwrap();
        receipts.push(append_all(&table, request(hour), &[rows(hour)]).await.unwrap());
        match hour {
            0 => {
                table.flush().await.unwrap();
            }
            1 => {
                table.checkpoint().await.unwrap();
            }
            _ => {}
        }
        drop(table);
        root = root.reopened().await;
        let table = root.catalog.table("prices").await.unwrap();
        for (past, receipt) in (0..).zip(&receipts) {
            let again = append_all(&table, request(past), &[rows(past)]).await.unwrap();
            assert_eq!(again, Receipt { repeated: true, ..receipt.clone() });
            let other = append_all(&table, request(past), &[rows(past + 10)]).await.unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Precondition, "{other}");
        }
    }
}

#[tokio::test]
async fn an_append_id_is_bounded() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let request = |bytes: usize| AppendRequest {
        append_id: Some("k".repeat(bytes)),
        ..AppendRequest::default()
    };
    let rows = bars(&[("A", 0, 1.0)]);
    let error = append_all(&table, request(APPEND_ID_BYTES_MAX + 1), std::slice::from_ref(&rows))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    append_all(&table, request(APPEND_ID_BYTES_MAX), &[rows]).await.unwrap();
}

#[tokio::test]
async fn empty_streams_make_no_version() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let nothing = append(&table, &[]).await.unwrap();
    assert_eq!((nothing.version, nothing.row_count), (Version(1), 0));
    assert!(table.snapshot().schema().is_none());

    let empty = bars(&[]);
    let schema = append(&table, std::slice::from_ref(&empty)).await.unwrap();
    assert_eq!((schema.version, schema.row_count), (Version(2), 0), "the schema is adopted");
    let fields = Arc::clone(table.snapshot().schema().unwrap());
    assert!(!fields.field_with_name("ts").unwrap().is_nullable());
    assert!(!fields.field_with_name("symbol").unwrap().is_nullable());
    assert!(fields.field_with_name("price").unwrap().is_nullable());

    let nothing = append(&table, &[empty.clone(), empty]).await.unwrap();
    assert_eq!(nothing.version, Version(2));
    append(&table, &[bars(&[]), bars(&[("A", 0, 1.0)]), bars(&[])]).await.unwrap();
    assert_eq!(root.rows(&table, &table.snapshot()).num_rows(), 1);
}

#[tokio::test]
async fn two_first_appends_agree_on_the_schema_or_one_gives_way() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let wider = |batch: &RecordBatch| {
        let extra: ArrayRef = Arc::new(Int64Array::from_iter_values(0..batch.num_rows() as i64));
        let mut columns: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| (field.name().clone(), Arc::clone(column)))
            .collect();
        columns.push(("volume".into(), extra));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let mut winner = table.append(AppendRequest::default());
    let mut same = table.append(AppendRequest::default());
    let mut other = table.append(AppendRequest::default());
    winner.write(bars(&[("A", 0, 1.0)])).await.unwrap();
    same.write(bars(&[("B", 0, 1.0)])).await.unwrap();
    other.write(wider(&bars(&[("C", 0, 1.0)]))).await.unwrap();
    winner.commit().await.unwrap();
    same.commit().await.unwrap();
    let error = other.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(root.rows(&table, &table.snapshot()).num_rows(), 2);
}

#[tokio::test]
async fn plain_tables_take_the_same_rows_again() {
    let root = Root::new().await;
    let table = root.table(TableSpec::plain(), None).await;
    let rows = bars(&[("B", 5, 1.0), ("A", 0, 2.0)]);
    for _ in 0..2 {
        let receipt = append(&table, std::slice::from_ref(&rows)).await.unwrap();
        assert_eq!((receipt.row_count, receipt.buckets_covered), (2, 0));
    }
    let stored = read_bars(&root.rows(&table, &table.snapshot()));
    let prices: Vec<f64> = stored.iter().map(|row| row.2).collect();
    assert_eq!(prices, [1.0, 2.0, 1.0, 2.0], "in arrival order");
    assert_eq!(table.flush().await.unwrap(), Some(Version(4)));
    let flushed = read_bars(&root.rows(&table, &table.snapshot()));
    assert_eq!(flushed, stored, "still in arrival order");
    assert!(!table.snapshot().segments[0].sorted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_becomes_sorted_segments_that_share_nothing() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    // 300 entities, in time order across them; more rows than one segment holds.
    let symbols: Vec<String> =
        (0..300).map(|number| format!("S{:03}", (number * 7) % 300)).collect();
    let minutes = 5000_i64;
    let mut append = table.append(AppendRequest::default());
    for first in (0..minutes).step_by(500) {
        let rows: Vec<(&str, i64, f64)> = (first..first + 500)
            .flat_map(|minute| {
                symbols
                    .iter()
                    .map(move |symbol| (symbol.as_str(), minute * 60_000_000, minute as f64))
            })
            .collect();
        append.write(bars(&rows)).await.unwrap();
    }
    let receipt = append.commit().await.unwrap();
    let row_count = minutes as u64 * 300;
    assert_eq!(receipt.row_count, row_count);
    assert!(receipt.segment_count > 1, "{receipt:?}");
    let hours = (minutes as u64).div_ceil(60);
    assert_eq!(receipt.buckets_covered, hours * 300, "pairs on a seam are counted once");

    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    let snapshot = table.snapshot();
    assert_eq!(snapshot.coverage.pair_count(), u128::from(hours * 300));
    let counts: BTreeSet<_> = snapshot.coverage.rows_sorted().map(|(_, rows)| rows).collect();
    assert_eq!(counts, BTreeSet::from([Some(minutes as u64)]), "rows of every entity, once");
    let rows = root.rows(&table, &snapshot);
    let mut start = 0;
    let mut seen: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for segment in &snapshot.segments {
        let count = segment.row_count as usize;
        let part = read_bars(&rows.slice(start, count));
        assert!(part.windows(2).all(|pair| (&pair[0].0, pair[0].1) < (&pair[1].0, pair[1].1)));
        let mut row = 0;
        for group in &segment.row_groups {
            row += group.row_count as usize;
            assert!(group.row_count <= 128 << 10);
            assert!(row == count || part[row - 1].0 != part[row].0, "an entity stays together");
        }
        for (symbol, ts, _) in part {
            assert!(seen.entry(symbol).or_default().insert(ts));
        }
        start += count;
    }
    assert_eq!(seen.len(), 300);
    assert!(seen.values().all(|times| times.len() == minutes as usize));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_of_a_stream_in_order_share_no_entity_and_are_read_in_order() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    // More bytes than one segment takes; batches end in the middle of entities.
    let (entities, each) = (90_i64, 25_000_i64);
    let mut append = table.append(AppendRequest::default());
    let symbols: Vec<String> = (0..entities).map(|number| format!("S{number:03}")).collect();
    for first in (0..entities * each).step_by(7_000) {
        let rows = first..(first + 7_000).min(entities * each);
        let rows = rows.map(|row| {
            let symbol = &symbols[(row / each) as usize];
            (symbol.as_str(), (row % each) * 60_000_000, row as f64)
        });
        append.write(bars(&rows.collect::<Vec<_>>())).await.unwrap();
    }
    append.commit().await.unwrap();

    let snapshot = table.snapshot();
    let counts: BTreeSet<_> = snapshot.coverage.rows_sorted().map(|(_, rows)| rows).collect();
    assert_eq!(counts, BTreeSet::from([Some(each as u64)]));
    assert!(snapshot.segments.len() > 1, "{} segments", snapshot.segments.len());
    let ranges: Vec<_> =
        snapshot.segments.iter().map(|segment| segment.entity_range.clone().unwrap()).collect();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
    let rows = read_bars(&root.rows(&table, &snapshot));
    assert_eq!(rows.len() as i64, entities * each);
    assert!(rows.iter().map(|row| row.2).eq((0..entities * each).map(|row| row as f64)));

    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let (store, cache) = (Arc::clone(table.store()), Arc::default());
    let url = ObjectStoreUrl::parse(TABLE_STORE_URL).unwrap();
    session.register_object_store(url.as_ref(), store.object_store());
    let provider = SnapshotProvider::new(snapshot, "prices", store, cache);
    session.register_table("prices", Arc::new(provider)).unwrap();
    let plan = run(&session, "EXPLAIN SELECT * FROM prices ORDER BY symbol, ts").await.unwrap();
    assert!(plan.contains("SortPreservingMergeExec") && !plan.contains("SortExec"), "{plan}");
}
