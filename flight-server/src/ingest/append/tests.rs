//! What is hard to arrange over a connection: silence, and two clients at the same moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::Int64Array;
use arrow_flight::utils::batches_to_flight_data;
use table_core::clock::SystemClock;
use table_core::storage::faults::SimDisk;
use table_core::{Access, CatalogOptions};
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

/// Two servers on one root.
async fn two_servers() -> (Arc<Catalog>, Arc<Catalog>) {
    let disk = SimDisk::new();
    let server = async || {
        let access = Access::Shared;
        let options =
            CatalogOptions { access, disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        Catalog::over(Arc::new(disk.store(SystemClock::shared())), options).await.unwrap()
    };
    (server().await, server().await)
}

fn creating(table: &str, existing: Existing) -> PutRequest {
    PutRequest {
        table: table.to_owned(),
        mode: Mode { create: true, existing },
        spec: None,
        on_overlap: table_core::append::OverlapPolicy::Reject,
        append_id: None,
        commit_each_batch: false,
    }
}

/// Starts a create-and-append of [`numbers`] whose batch is sent once `batch` has said so, or fails.
async fn start(
    catalog: &Arc<Catalog>,
    existing: Existing,
    batch: impl Future<Output = Result<(), Status>> + Send + 'static,
) -> Answer {
    let mut sent = messages();
    let schema_message = sent.remove(0);
    let rest = stream::once(async move { batch.await.map(|()| sent.remove(0)) }).boxed();
    run(catalog, creating("n", existing), schema_message, rest).await.unwrap()
}

async fn outcome(mut answer: Answer) -> Result<AppendReceipt, Status> {
    let result = answer.next().await.unwrap();
    result.map(|result| AppendReceipt::decode(result.app_metadata).unwrap())
}

/// The rows of the table that these appends create; `None` when it is not there.
async fn rows(catalog: &Arc<Catalog>) -> Option<u64> {
    match catalog.fresh_table("n", Duration::ZERO).await {
        Ok(table) => Some(table.snapshot().row_count),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            None
        }
    }
}

#[track_caller]
fn check_nothing_committed(refused: Result<AppendReceipt, Status>, code: Code) -> Status {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().metadata["committed"], "no");
    status
}

fn network() -> Status {
    Status::aborted("the network")
}

/// C2, C4: what failed left nothing behind that a retry would meet, on whichever server.
#[tokio::test]
async fn a_creation_that_fails_leaves_no_table_where_others_write() {
    let (ours, theirs) = two_servers().await;
    let failing = start(&ours, Existing::Fail, async { Err(network()) }).await;
    assert_eq!(rows(&theirs).await, None, "nobody sees a table without its rows");
    let status = check_nothing_committed(outcome(failing).await, Code::Aborted);
    assert_eq!(status.message(), "the network");
    assert_eq!((rows(&ours).await, rows(&theirs).await), (None, None));
    for existing in [Existing::Fail, Existing::Replace] {
        let retried = outcome(start(&theirs, existing, async { Ok(()) }).await).await.unwrap();
        assert_eq!((retried.version, retried.record_count), (2, 2));
        assert_eq!((rows(&ours).await, rows(&theirs).await), (Some(2), Some(2)));
        ours.drop_table("n", "").await.unwrap();
    }
}

#[tokio::test]
async fn of_two_creations_at_the_same_time_one_is_there_and_the_other_nowhere() {
    let (ours, theirs) = two_servers().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let late = start(&ours, Existing::Fail, async { gone.await.map_err(|_| network()) }).await;
    outcome(start(&theirs, Existing::Fail, async { Ok(()) }).await).await.unwrap();
    go.send(()).unwrap();
    let status = check_nothing_committed(outcome(late).await, Code::AlreadyExists);
    assert!(status.message().contains("choose another name"), "{status}");
    assert_eq!((rows(&ours).await, rows(&theirs).await), (Some(2), Some(2)));
}

/// Those who create or append are to find each other, so their table is there from the start.
#[tokio::test]
async fn a_table_for_all_stays_where_others_write_and_the_error_says_so() {
    let (ours, theirs) = two_servers().await;
    let failing = start(&ours, Existing::Append, async { Err(network()) }).await;
    let status = check_nothing_committed(outcome(failing).await, Code::Aborted);
    let advice = "table \"n\" was created and stays: append to it, or drop it";
    assert!(status.message().ends_with(advice), "{status}");
    assert_eq!(status.get_details_error_info().unwrap().metadata["table_stays"], "true");
    assert_eq!((rows(&ours).await, rows(&theirs).await), (Some(0), Some(0)));
    let (first, second) = tokio::join!(
        outcome(start(&ours, Existing::Append, async { Ok(()) }).await),
        outcome(start(&theirs, Existing::Append, async { Ok(()) }).await)
    );
    let mut versions = [first.unwrap().version, second.unwrap().version];
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);
}

#[tokio::test]
async fn a_creation_for_all_that_fails_on_the_only_server_is_undone() {
    let (_folder, catalog) = catalog().await;
    let failing = start(&catalog, Existing::Append, async { Err(network()) }).await;
    assert_eq!(rows(&catalog).await, Some(0));
    let status = check_nothing_committed(outcome(failing).await, Code::Aborted);
    assert_eq!(status.message(), "the network");
    assert_eq!(rows(&catalog).await, None);
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
    let (fail, failure) = tokio::sync::oneshot::channel();
    let answer = start(&catalog, Existing::Append, async { Err(failure.await.unwrap()) }).await;
    let table = catalog.table("n").await.unwrap();
    let mut append = table.append(AppendRequest::default());
    append.begin(&numbers().schema()).await.unwrap();
    append.write(numbers()).await.unwrap();
    let receipt = append.commit().await.unwrap();

    assert!(!catalog.drop_unchanged(&table, Version(1), "").await.unwrap());
    fail.send(network()).unwrap();
    check_nothing_committed(outcome(answer).await, Code::Aborted);
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
