//! C13: a full disk refuses appends with RESOURCE_EXHAUSTED, keeps answering reads, uses up no version, and takes appends
//! again as soon as there is space, with and without a restart in between.
//!
//! Runs on a small tmpfs, which needs the right to mount; without it the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use coverline_proto::flight::OverlapPolicy;
use end_to_end::image::SmallDisk;
use end_to_end::{AppendError, Client, Server, skipped};
use tonic::Code;

/// Uses up every free byte; removing the file gives them back.
fn fill(disk: &SmallDisk) -> PathBuf {
    let path = disk.path().join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut piece = vec![0_u8; 64 * 1024];
    while !piece.is_empty() {
        match file.write(&piece) {
            Ok(written) if written == piece.len() => {}
            // Down to the last byte, so that not even a small record fits.
            _ => piece.truncate(piece.len() / 2),
        }
    }
    path
}

fn batch(bucket: i64) -> RecordBatch {
    let values = Int64Array::from_iter_values((0..100).map(|row| bucket * 1000 + row));
    RecordBatch::try_from_iter([("n", Arc::new(values) as ArrayRef)]).unwrap()
}

async fn append(client: &Client, bucket: i64) -> Result<u64, AppendError> {
    client
        .append("t", OverlapPolicy::Reject, "", vec![batch(bucket)])
        .await
        .map(|receipt| receipt.version)
}

async fn row_count(client: &Client) -> i64 {
    let batches = client.sql("SELECT count(*) FROM t").await.unwrap();
    batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

async fn start(data: &Path) -> (Server, Client) {
    let server = Server::start_with(data, &["--disk-floor-bytes", "0"]).await.unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn full_disk_refuses_appends_and_recovers() {
    let disk = match SmallDisk::mount("16m") {
        Ok(disk) => disk,
        Err(error) => return skipped("full disk", &error.to_string()),
    };
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (server, client) = start(&data).await;
    client.execute("CREATE TABLE t WITH (index_column = 'n', bucket = '1000')").await.unwrap();
    let first = append(&client, 0).await.unwrap();

    let filler = fill(&disk);
    for bucket in 1..4 {
        match append(&client, bucket).await {
            Err(AppendError::Refused { code: Code::ResourceExhausted, details, .. }) => {
                assert_eq!(details["committed"], "no");
            }
            other => panic!("append {bucket} on a full disk: {other:?}"),
        }
    }
    assert_eq!(row_count(&client).await, 100);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(append(&client, 1).await.unwrap(), first + 1, "no version was used up");

    let filler = fill(&disk);
    server.kill().await.unwrap();
    let (server, client) = start(&data).await;
    assert_eq!(row_count(&client).await, 200, "opening needs no free byte");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(append(&client, 2).await.unwrap(), first + 2);
    assert_eq!(row_count(&client).await, 300);
    server.stop().await.unwrap();
}
