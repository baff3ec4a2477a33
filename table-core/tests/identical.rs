//! An overlap says whether the append repeats what the table holds, so that a repeat is told from a revision (C4).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimeUnit};
use coverline_proto::log::action::Action;
use support::root::{HOUR_US, Root, append, append_all, bars, many_bars, skip, spec};
use table_core::append::{AppendRequest, OverlapPolicy, Receipt};
use table_core::types::Version;
use table_core::{CommitBody, Decision, Error, ErrorKind, Overlap, Table};

/// The overlap that an append is refused for.
async fn refusal(table: &Arc<Table>, batches: &[RecordBatch]) -> Overlap {
    let before = table.snapshot().version;
    let error = append(table, batches).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    assert_eq!(table.snapshot().version, before);
    error.overlap().unwrap().clone()
}

async fn identical(table: &Arc<Table>, batches: &[RecordBatch]) -> Option<bool> {
    refusal(table, batches).await.identical
}

fn pieces(batch: &RecordBatch, step: usize) -> Vec<RecordBatch> {
    (0..batch.num_rows())
        .step_by(step)
        .map(|start| batch.slice(start, step.min(batch.num_rows() - start)))
        .collect()
}

/// Minutes of one symbol from `hour` on; `changed` is the row whose price is another.
fn minutes(symbol: &str, hour: i64, row_count: i64, changed: Option<i64>) -> RecordBatch {
    let rows: Vec<_> = (0..row_count)
        .map(|row| {
            let price = if Some(row) == changed { -1.0 } else { row as f64 };
            (symbol, hour * HOUR_US + row * 60_000_000, price)
        })
        .collect();
    bars(&rows)
}

#[tokio::test]
async fn a_repeat_is_identical_inline_flushed_and_reopened() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let day = concat_batches(
        &bars(&[]).schema(),
        &[minutes("A", 0, 1440, None), minutes("B", 0, 1440, None)],
    )
    .unwrap();
    let first = append(&table, std::slice::from_ref(&day)).await.unwrap();
    append(&table, &[minutes("C", 0, 60, None)]).await.unwrap();
    let check = async |table: &Arc<Table>| {
        for step in [day.num_rows(), 1000, 7] {
            let overlap = refusal(table, &pieces(&day, step)).await;
            assert_eq!(overlap.identical, Some(true), "in steps of {step}");
            assert_eq!(overlap.overlap_count, 48, "all of its pairs, in steps of {step}");
            assert_eq!(overlap.owner_version, Some(first.version.0));
        }
        assert_eq!(identical(table, &[minutes("C", 0, 60, None)]).await, Some(true));
    };
    check(&table).await;
    table.flush().await.unwrap();
    check(&table).await;
    let root = root.reopened().await;
    let table = root.catalog.table("prices").await.unwrap();
    check(&table).await;
    table.checkpoint().await.unwrap();
    let root = root.reopened().await;
    check(&root.catalog.table("prices").await.unwrap()).await;
}

#[tokio::test]
async fn a_repeat_of_segments_is_identical_and_writes_nothing() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let days = [many_bars("A", 0), many_bars("B", 0), many_bars("A", 1)];
    let first = append(&table, &days).await.unwrap();
    assert_eq!(first.segment_count, 1);
    let files = root.files(&table);
    let overlap = refusal(&table, &days).await;
    assert_eq!((overlap.identical, overlap.overlap_count), (Some(true), 3));
    assert_eq!(root.files(&table), files);
    // An append id of its own changes nothing about that.
    let request = AppendRequest { append_id: Some("k".into()), ..AppendRequest::default() };
    let error = append_all(&table, request, &days).await.unwrap_err();
    assert_eq!(error.overlap().unwrap().identical, Some(true));
    assert!(error.message().contains("3 buckets already hold these very rows"), "{error}");
}

#[tokio::test]
async fn a_revision_is_not_identical_and_is_seen_early() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let row_count = 40_000;
    let original = minutes("A", 0, row_count, None);
    append(&table, std::slice::from_ref(&original)).await.unwrap();

    for (changed, seen_by) in [(0, 4_096), (5_000, 8_192), (row_count - 1, row_count)] {
        let revision = minutes("A", 0, row_count, Some(changed));
        let mut taken = 0;
        let mut revised = table.append(AppendRequest::default());
        let mut error = None;
        for piece in pieces(&revision, 512) {
            taken += piece.num_rows() as i64;
            if let Err(refused) = revised.write(piece).await {
                error = Some(refused);
                break;
            }
        }
        let error = match error {
            Some(error) => error,
            None => revised.commit().await.unwrap_err(),
        };
        assert_eq!(error.overlap().unwrap().identical, Some(false), "row {changed}");
        assert!(taken <= seen_by, "row {changed} is seen after {taken} rows");
    }

    // More rows than there were, fewer, others in between, and the same in another order.
    let check = async |batches: &[RecordBatch]| {
        assert_eq!(identical(&table, batches).await, Some(false));
    };
    check(&[original.clone(), minutes("B", 0, 1, None)]).await;
    check(&[original.slice(0, 39_999)]).await;
    check(&[original.slice(0, 1)]).await;
    check(&[minutes("B", 0, 1, None), original.clone()]).await;
    check(&[original.slice(0, 10), minutes("B", 0, 1, None), original.slice(10, 39_990)]).await;
    check(&[original.slice(20_000, 20_000), original.slice(0, 20_000)]).await;
}

#[tokio::test]
async fn rows_of_two_appends_are_no_repeat_of_either() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let (one, two) = (minutes("A", 0, 60, None), minutes("A", 1, 60, None));
    append(&table, std::slice::from_ref(&one)).await.unwrap();
    append(&table, std::slice::from_ref(&two)).await.unwrap();
    assert_eq!(identical(&table, &[one.clone(), two.clone()]).await, Some(false));
    assert_eq!(identical(&table, &[two, one]).await, Some(false));
}

#[tokio::test]
async fn what_counts_is_what_the_table_keeps() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let rows = minutes("A", 0, 60, None);
    append(&table, std::slice::from_ref(&rows)).await.unwrap();
    // Other types and another order of columns, but the same rows once they fit the schema.
    let [ts, symbol, price] = [0, 1, 2].map(|column| Arc::clone(rows.column(column)));
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let large: LargeStringArray = cast(&symbol, &DataType::LargeUtf8)
        .unwrap()
        .as_any()
        .downcast_ref::<LargeStringArray>()
        .unwrap()
        .clone();
    let other = RecordBatch::try_from_iter([
        ("price", price),
        ("symbol", Arc::new(large) as ArrayRef),
        ("ts", cast(&ts, &millis).unwrap()),
    ])
    .unwrap();
    assert_eq!(identical(&table, &[other]).await, Some(true));
}

#[tokio::test]
async fn skipped_rows_are_not_among_those_that_count() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[minutes("A", 0, 60, None)]).await.unwrap();
    let both = minutes("A", 0, 180, Some(7));
    let request = AppendRequest { append_id: Some("k".into()), ..skip() };
    let receipt = append_all(&table, request.clone(), &pieces(&both, 50)).await.unwrap();
    assert_eq!((receipt.row_count, receipt.rows_skipped), (120, 60));

    // The table holds the rows that were left, and not all of those that were sent.
    assert_eq!(identical(&table, &[both.slice(60, 120)]).await, Some(true));
    assert_eq!(identical(&table, std::slice::from_ref(&both)).await, Some(false));
    // An append id stands for what was sent, with the same policy or without.
    for on_overlap in [OverlapPolicy::Skip, OverlapPolicy::Reject] {
        let request = AppendRequest { on_overlap, ..request.clone() };
        let again = append_all(&table, request, std::slice::from_ref(&both)).await.unwrap();
        assert_eq!(again, Receipt { repeated: true, ..receipt.clone() });
    }
}

#[tokio::test]
async fn the_loser_of_a_race_with_its_twin_is_identical() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[minutes("Z", 0, 1, None)]).await.unwrap();
    for rows in [minutes("A", 0, 60, None), many_bars("B", 0)] {
        let mut late = table.append(AppendRequest::default());
        late.write(rows.clone()).await.unwrap();
        let mut half = table.append(AppendRequest::default());
        half.write(rows.slice(0, 30)).await.unwrap();
        let other = RecordBatch::try_new(rows.schema(), rows.slice(0, 30).columns().to_vec());
        let mut revised = table.append(AppendRequest::default());
        revised.write(other.unwrap()).await.unwrap();

        let won = append(&table, std::slice::from_ref(&rows)).await.unwrap();
        let told = |error: Error| {
            (error.overlap().unwrap().identical, error.overlap().unwrap().owner_version)
        };
        let owner = Some(won.version.0);
        assert_eq!(told(late.commit().await.unwrap_err()), (Some(true), owner));
        // In mid-stream: the rows that were free when they came are the winner's by now.
        half.write(rows.slice(30, rows.num_rows() - 30)).await.unwrap();
        assert_eq!(told(half.commit().await.unwrap_err()), (Some(true), owner));
        assert_eq!(told(revised.commit().await.unwrap_err()), (Some(false), owner));
    }
}

/// On the one thread of this test, all have queued up before the first is planned.
#[tokio::test]
async fn appends_that_share_a_record_keep_their_fingerprints_apart() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    append(&table, &[minutes("Z", 0, 1, None)]).await.unwrap();
    let rows: Vec<_> = ["A", "B", "C"].map(|symbol| minutes(symbol, 0, 90, None)).to_vec();
    let mut open = Vec::new();
    for batch in &rows {
        let mut append = table.append(AppendRequest::default());
        append.write(batch.clone()).await.unwrap();
        open.push(append.commit());
    }
    for receipt in futures::future::join_all(open).await {
        assert_eq!(receipt.unwrap().version, Version(3), "one record for all");
    }
    for _ in 0..2 {
        for batch in &rows {
            let overlap = refusal(&table, std::slice::from_ref(batch)).await;
            assert_eq!((overlap.identical, overlap.overlap_count), (Some(true), 2));
        }
        assert_eq!(identical(&table, &rows).await, Some(false));
        table.flush().await.unwrap();
    }
}

/// Records of before fingerprints were kept are read as ever, and leave the question open.
#[tokio::test]
async fn without_a_fingerprint_nobody_knows() {
    let root = Root::new().await;
    let new = root.table(spec(), None).await;
    let rows = minutes("A", 0, 60, None);
    let version = append(&new, std::slice::from_ref(&rows)).await.unwrap().version;
    let mut actions = new.log().read_record(version).await.unwrap().unwrap().record.actions;
    for action in &mut actions {
        if let Action::CoverageDelta(delta) = action {
            assert!(delta.rows.take().is_some());
        }
    }
    let old = root.catalog.create_table("old", spec(), None, "").await.unwrap();
    let body = CommitBody { operation: "append".to_owned(), actions, ..CommitBody::default() };
    old.commit(move |_| Ok(Decision::Commit(body.clone()))).await.unwrap();
    for _ in 0..2 {
        let overlap = refusal(&old, std::slice::from_ref(&rows)).await;
        assert_eq!((overlap.identical, overlap.owner_version), (None, Some(2)));
        old.flush().await.unwrap();
    }
}
