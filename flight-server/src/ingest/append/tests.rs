//! What is hard to arrange over a connection: silence, and two clients at the same moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::Int64Array;
use arrow_flight::utils::batches_to_flight_data;
use table_core::CatalogOptions;
use tonic::Code;
use tonic_types::StatusExt;

use super::super::request::Mode;
use super::*;

fn numbers() -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap()
}

fn messages() -> Vec<FlightData> {
    batches_to_flight_data(&numbers().schema(), vec![numbers()]).unwrap()
}

async fn catalog() -> (tempfile::TempDir, Arc<Catalog>) {
    let folder = tempfile::tempdir().unwrap();
    let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
    let catalog = Catalog::open(folder.path(), options).await.unwrap();
    (folder, catalog)
}

fn creating(table: &str) -> PutRequest {
    PutRequest {
        table: table.to_owned(),
        mode: Mode { create: true, existing: Existing::Fail },
        spec: None,
        on_overlap: table_core::append::OverlapPolicy::Reject,
        append_id: None,
        commit_each_batch: false,
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_is_told_that_nothing_was_committed() {
    let mut messages = messages().into_iter();
    let first = messages.next().unwrap();
    let rest = stream::iter(messages.map(Ok)).chain(stream::pending()).boxed();
    let mut incoming = Incoming::new(first, rest, Duration::from_millis(10), Workers::Pool);
    assert!(incoming.schema().await.unwrap().is_some());
    assert_eq!(incoming.batch().await.unwrap().unwrap().columns(), numbers().columns());
    let status = incoming.batch().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["committed"], "no");
}

#[tokio::test]
async fn large_batches_are_decoded_on_another_thread() {
    let values = Arc::new(Int64Array::from_iter_values(0..limits::DECODE_INLINE_BYTES_MAX as i64));
    let batch = RecordBatch::try_from_iter([("n", values as _)]).unwrap();
    let sent = batches_to_flight_data(&batch.schema(), vec![batch.clone(), batch.clone()]).unwrap();
    let rest = stream::iter(sent.into_iter().map(Ok)).boxed();
    let mut incoming =
        Incoming::new(FlightData::default(), rest, Duration::from_secs(60), Workers::Pool);
    for _ in 0..2 {
        assert_eq!(incoming.batch().await.unwrap().unwrap().columns(), batch.columns());
    }
    assert!(incoming.batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_table_that_somebody_else_uses_survives_the_failure_of_its_creator() {
    let (_folder, catalog) = catalog().await;
    let mut first = messages();
    let schema_message = first.remove(0);
    let (fail, failure) = tokio::sync::oneshot::channel();
    let failing = stream::once(async { Err(failure.await.unwrap()) }).boxed();
    let mut answer = run(&catalog, creating("n"), schema_message, failing).await.unwrap();
    let table = catalog.table("n").await.unwrap();
    let mut append = table.append(AppendRequest::default());
    append.begin(&numbers().schema()).await.unwrap();
    append.write(numbers()).await.unwrap();
    let receipt = append.commit().await.unwrap();

    assert!(!catalog.drop_unchanged(&table, Version(1), "").await.unwrap());
    fail.send(Status::aborted("the network")).unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap_err().code(), Code::Aborted);
    drop(answer);
    assert_eq!(catalog.table("n").await.unwrap().snapshot().version, receipt.version);
    // And it still takes appends.
    let mut append = table.append(AppendRequest::default());
    append.begin(&numbers().schema()).await.unwrap();
    append.write(numbers()).await.unwrap();
    append.commit().await.unwrap();
}

#[tokio::test]
async fn an_append_under_way_into_a_table_that_is_undone_is_refused_not_lost() {
    let (_folder, catalog) = catalog().await;
    let schema = Some(numbers().schema());
    let table = catalog.create_table("n", TableSpec::plain(), schema, "").await.unwrap();
    let mut append = table.append(AppendRequest::default());
    append.begin(&numbers().schema()).await.unwrap();
    append.write(numbers()).await.unwrap();
    assert!(catalog.drop_unchanged(&table, Version(1), "").await.unwrap());
    assert_eq!(append.commit().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!catalog.contains("n"));
    catalog.create_table("n", TableSpec::plain(), None, "").await.unwrap();
}
