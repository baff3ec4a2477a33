//! C7, C8, C11: a server that only reads beside the one that owns a local root, as real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use end_to_end::ledger::{Ledger, Size};
use end_to_end::site::ARGUMENTS;
use end_to_end::{AppendError, Client, Server, Site, code_of, reached};
use tonic::Code;

const MIN_VERSION: &str = "x-coverline-min-version";
/// Appends whose acknowledgement is followed by a read at the follower.
const APPENDS: usize = 40;

async fn follow(data: &Path, arguments: &[&str]) -> Server {
    let arguments: Vec<_> =
        ARGUMENTS.iter().chain(&["--read-only"]).chain(arguments).copied().collect();
    Server::start_with(data, &arguments).await.unwrap()
}

fn count(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn rows(client: &Client) -> i64 {
    count(&client.sql("SELECT count(*) FROM busy").await.unwrap())
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, AppendError>) -> String {
    match answer {
        Err(AppendError::Refused { code: Code::FailedPrecondition, message, .. }) => message,
        other => panic!("not refused as read-only: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_shows_what_the_owner_acknowledged() {
    let mut site = Site::new().await.unwrap();
    let data = site.data_dir().to_owned();
    let follower = follow(&data, &[]).await;
    let reader = follower.client().await.unwrap();
    let owner = site.client().await.unwrap();
    // Created after the follower started.
    let mut ledger = Ledger::new("busy", Size::SMALL);
    ledger.create(&owner).await.unwrap();
    for sent in 1..=APPENDS {
        ledger.append(&owner).await.unwrap();
        assert_eq!(rows(&reader).await, (sent * Size::SMALL.rows) as i64);
    }
    let tables = reader.sql("SHOW TABLES").await.unwrap();
    let names: Vec<_> =
        tables.iter().flat_map(|batch| batch.column(2).as_string::<i32>().iter()).collect();
    assert!(names.contains(&Some("busy")), "{names:?}");
    assert_eq!(reader.log("busy").await.unwrap().len(), APPENDS + 1);

    // Everything that would write is refused, and says what to do. A repetition writes nothing.
    let hour = ledger.clone().next_hour();
    for refused in [
        refusal(ledger.send(&reader, hour).await),
        refusal(reader.change("CREATE TABLE other (a BIGINT)").await),
        refusal(reader.change("DROP TABLE busy").await),
        refusal(reader.change("INSERT INTO busy SELECT * FROM busy").await),
    ] {
        assert!(refused.contains("--read-only"), "{refused}");
    }
    assert!(ledger.send(&reader, 0).await.unwrap().repeated);

    // A second server that would write is told who is there.
    let second = Server::start_with(&data, &ARGUMENTS).await.unwrap_err().to_string();
    let holder = format!("pid {}, grpc://{}", site.server.id().unwrap(), site.server.address());
    assert!(second.contains(&holder) && second.contains("--read-only"), "{second}");

    // Reads go on without an owner, and with the next one.
    site.server.end().await.unwrap();
    assert_eq!(rows(&reader).await, (APPENDS * Size::SMALL.rows) as i64);
    site.restart().await.unwrap();
    let owner = site.client().await.unwrap();
    ledger.append(&owner).await.unwrap();
    assert_eq!(rows(&reader).await, ((APPENDS + 1) * Size::SMALL.rows) as i64);
    assert!(ledger.check(&reader).await.unwrap().is_empty());
    follower.stop().await.unwrap();
    site.server.stop().await.unwrap();
    reached("followers", &format!("{} appends, each read at the follower at once", APPENDS + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_can_ask_for_a_version_and_bring_a_ticket() {
    let site = Site::new().await.unwrap();
    // One look an hour: without being asked it shows what it saw first.
    let follower = follow(site.data_dir(), &["--max-staleness", "1h"]).await;
    let (owner, reader) = (site.client().await.unwrap(), follower.client().await.unwrap());
    let mut ledger = Ledger::new("busy", Size::SMALL);
    ledger.create(&owner).await.unwrap();
    ledger.append(&owner).await.unwrap();

    // A ticket of the owner, for a table and a version that the follower has not heard of.
    let ticket = owner.ticket("SELECT count(*) FROM busy").await.unwrap();
    assert_eq!(count(&reader.redeem(ticket).await.unwrap()), 3);
    assert_eq!(rows(&reader).await, 3);

    let hour = ledger.next_hour();
    let receipt = ledger.send(&owner, hour).await.unwrap();
    assert_eq!(rows(&reader).await, 3, "the follower has no reason to look");
    let newest = reader.with_header(MIN_VERSION, &receipt.version.to_string());
    assert_eq!(rows(&newest).await, 6);
    assert_eq!(rows(&reader).await, 6, "what was shown stays shown");

    // Asked for before it is there.
    let next = format!("busy={},other=1000", receipt.version + 1);
    let patient = reader.with_header(MIN_VERSION, &next);
    let waiting = tokio::spawn(async move { rows(&patient).await });
    let hour = ledger.next_hour();
    ledger.send(&owner, hour).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 9);

    // Asked for and never there: an answer all the same, in time.
    let impatient = reader.with_header(MIN_VERSION, "1000");
    let (unavailable, invalid) = tokio::join!(impatient.sql("SELECT count(*) FROM busy"), async {
        reader.with_header(MIN_VERSION, "soon").sql("SELECT count(*) FROM busy").await
    });
    let unavailable = unavailable.unwrap_err();
    assert_eq!(code_of(&*unavailable), Some(Code::Unavailable));
    assert!(unavailable.to_string().contains("is at version 4"), "{unavailable}");
    assert_eq!(code_of(&*invalid.unwrap_err()), Some(Code::InvalidArgument));
    let several = reader.with_header(MIN_VERSION, "1").sql("SELECT 1 FROM busy, busy b").await;
    several.unwrap();

    // Of a table that the follower has not heard of, and of another that has its name by then.
    for hours in 1..=2 {
        let mut late = Ledger::new("late", Size::SMALL);
        late.create(&owner).await.unwrap();
        for _ in 0..hours {
            late.append(&owner).await.unwrap();
        }
        let asked = reader.with_header(MIN_VERSION, &format!("late={}", 1 + hours));
        let found = asked.sql("SELECT count(*) FROM late").await.unwrap();
        assert_eq!(count(&found), hours * Size::SMALL.rows as i64);
        owner.execute("DROP TABLE late").await.unwrap();
    }
    follower.stop().await.unwrap();
    site.server.stop().await.unwrap();
}
