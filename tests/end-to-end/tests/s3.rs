//! Roots in a real S3 server: the whole life of a table, what is refused, and how errors look (C1, C5, C12).
//!
//! The S3 server is one of its own, or a user's (`COVERLINE_TEST_S3_URL`); without either the tests say so and prove nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use end_to_end::ledger::{Ledger, Size};
use end_to_end::s3::bad::{BadS3, Manners};
use end_to_end::s3::{S3, Weed, coverline};
use end_to_end::{AppendError, Server, reached};
use tonic::Code;

/// Rows of noise that make a segment of about 20 MiB: three parts of an upload.
const HUGE: Size = Size { rows: 400, noise_bytes: 48 << 10 };
/// Errors that a person waits for come within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(45);

fn count(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn a_table_lives_in_s3() {
    let Some(s3) = S3::for_test("tables in S3").await.unwrap() else { return };
    let root = s3.root("life");
    let mut server = s3.serve(&root).await.unwrap();
    let mut ledgers = [
        Ledger::new("small", Size::SMALL),
        Ledger::new("large", Size::LARGE),
        Ledger::new("huge", HUGE),
    ];
    for ledger in &mut ledgers {
        ledger.create(&server.client().await.unwrap()).await.unwrap();
    }
    for _ in 0..2 {
        let client = server.client().await.unwrap();
        for ledger in &mut ledgers {
            ledger.append(&client).await.unwrap();
            assert!(ledger.check(&client).await.unwrap().is_empty());
        }
        // Nothing is in the process only.
        server.kill().await.unwrap();
        server = s3.serve(&root).await.unwrap();
        let client = server.client().await.unwrap();
        for ledger in &ledgers {
            assert!(ledger.check(&client).await.unwrap().is_empty());
            // The same append again is known by its id.
            let again = ledger.send(&client, 0).await;
            assert!(again.unwrap().repeated);
        }
    }
    server.stop().await.unwrap();

    let environment = s3.environment();
    let ran = coverline(&["scrub", "--root", &root], &environment).await.unwrap();
    assert_eq!(ran.code, Some(0), "{} {}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("all sound"), "{}", ran.stdout);

    // There and back: into a folder, and from the folder into S3 again.
    let folder = s3.folder().join("backup").display().to_string();
    let ran = coverline(&["backup", &folder, "--root", &root], &environment).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let back = s3.root("restored");
    let ran = coverline(&["restore", &folder, "--root", &back], &environment).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let ran = coverline(&["restore", &folder, "--root", &back], &environment).await.unwrap();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("is not empty"), "{}", ran.stderr);
    let sql = "SELECT count(*) FROM huge";
    let ran =
        coverline(&["query", sql, "--root", &back, "--format", "csv"], &environment).await.unwrap();
    assert!(ran.stdout.contains(&(2 * HUGE.rows).to_string()), "{} {}", ran.stdout, ran.stderr);
    reached(
        "tables in S3",
        "created, appended to small, large and in parts, restarted, scrubbed, copied there and back",
    );
}

#[tokio::test]
async fn a_store_that_goes_away_is_waited_for_or_told_of() {
    let Some(mut s3) = S3::to_kill("an S3 server that goes away").await.unwrap() else { return };
    let root = s3.root("away");
    let server = s3.serve(&root).await.unwrap();
    let client = server.client().await.unwrap();
    let mut ledger = Ledger::new("t", Size::SMALL);
    ledger.create(&client).await.unwrap();
    ledger.append(&client).await.unwrap();

    s3.kill().await.unwrap();
    let hour = ledger.next_hour();
    let answer = ledger.send(&client, hour).await;
    match &answer {
        // Refused connections carry nothing, so it is known that nothing was stored.
        Err(AppendError::Refused { code: Code::Unavailable, message, .. }) => {
            assert!(message.contains("no connection to the store"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    ledger.record(hour, &answer).unwrap();

    s3.restart().await.unwrap();
    // No restart of Coverline: the next append works.
    ledger.append(&client).await.unwrap();
    ledger.append(&client).await.unwrap();
    assert!(ledger.check(&client).await.unwrap().is_empty());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_says_so_soon() {
    let Some(s3) = S3::to_kill("errors of S3").await.unwrap() else { return };
    let root = s3.root("errors");
    let good = s3.environment();
    let with = |changes: &[(&str, &str)]| {
        let mut environment = good.clone();
        environment
            .extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        environment
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}");
    let cases = [
        ("s3://no-such-bucket/a", good.clone(), &["NoSuchBucket", "create the bucket"][..]),
        (
            &root,
            with(&[("AWS_SECRET_ACCESS_KEY", "wrong-secret")]),
            &["SignatureDoesNotMatch", "check the credentials"],
        ),
        (
            &root,
            with(&[("AWS_ACCESS_KEY_ID", "nobody")]),
            &["InvalidAccessKeyId", "check the credentials"],
        ),
        (
            &root,
            with(&[("AWS_ENDPOINT_URL", &closed)]),
            &["no connection to the store", "check the endpoint"],
        ),
        (&root, with(&[("AWS_ENDPOINT_URL", "http://s3.invalid")]), &["AWS_ALLOW_HTTP=true"]),
        (
            &root,
            with(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]),
            &["set AWS_ACCESS_KEY_ID"],
        ),
    ];
    let mut slowest = Duration::ZERO;
    for (root, environment, expected) in cases {
        for command in
            [&["serve", "--listen", "127.0.0.1:0", "--root", root][..], &["tables", "--root", root]]
        {
            let ran = coverline(command, &environment).await.unwrap();
            assert_eq!(ran.code, Some(1), "{command:?}: {} {}", ran.stdout, ran.stderr);
            for part in expected.iter().chain(&[root]) {
                assert!(ran.stderr.contains(part), "{command:?}: {part} in {}", ran.stderr);
            }
            assert!(!ran.stderr.contains("secret"), "{command:?}: {}", ran.stderr);
            assert!(ran.took < PATIENCE, "{command:?} took {:?}", ran.took);
            slowest = slowest.max(ran.took);
        }
    }
    reached("errors of S3", &format!("6 kinds by 2 commands, the slowest after {slowest:?}"));
}

#[tokio::test]
async fn keys_that_may_only_read_open_it_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let Some(weed) = Weed::start(folder.path()).await.unwrap() else {
        return end_to_end::skipped("keys that may only read", "there is no S3 server");
    };
    let root = "s3://lake/readers";
    let place = folder.path().join("coverline");
    let server = Server::start_at(root, &place, &[], &weed.environment()).await.unwrap();
    let mut ledger = Ledger::new("t", Size::SMALL);
    let client = server.client().await.unwrap();
    ledger.create(&client).await.unwrap();
    ledger.append(&client).await.unwrap();
    let reader = Server::start_at(root, &place, &[], &weed.environment_of("reader")).await.unwrap();
    let client = reader.client().await.unwrap();
    assert!(ledger.check(&client).await.unwrap().is_empty());
    refused_since_read_only(&client, &mut ledger, "must not write to s3://lake/readers").await;
    reader.stop().await.unwrap();
    server.stop().await.unwrap();
}

async fn refused_since_read_only(client: &end_to_end::Client, ledger: &mut Ledger, why: &str) {
    let hour = ledger.next_hour();
    let answer = ledger.send(client, hour).await;
    match &answer {
        Err(AppendError::Refused { code: Code::FailedPrecondition, message, .. }) => {
            assert!(message.contains("read-only") && message.contains(why), "{message}");
        }
        other => panic!("{other:?}"),
    }
    ledger.record(hour, &answer).unwrap();
    let Err(AppendError::Refused { code, message, .. }) =
        client.change("CREATE TABLE u (a BIGINT)").await
    else {
        panic!("a table was created");
    };
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("read-only"), "{message}");
}

/// C12: each store that cannot tell one winner is read and not written.
#[tokio::test]
async fn a_store_without_an_atomic_conditional_put_is_open_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("coverline");
    let store = BadS3::start(Manners::Good).await.unwrap();
    let environment = store.environment();
    let server = Server::start_at("s3://lake/a", &place, &[], &environment).await.unwrap();
    let mut ledger = Ledger::new("t", Size::SMALL);
    let client = server.client().await.unwrap();
    ledger.create(&client).await.unwrap();
    ledger.append(&client).await.unwrap();
    assert!(store.puts() >= 8 * 33, "the probe takes 32 puts at once and one later, eight times");
    assert_eq!(store.keys("lake/a/_probe"), [""; 0], "the probe leaves nothing");
    server.stop().await.unwrap();

    for (manners, why) in [
        (Manners::IgnoresConditions, "succeeded where only one may"),
        (Manners::LooksBeforeItStores, "succeeded where only one may"),
        (Manners::RefusesConditions, "NotImplemented"),
        (Manners::RefusesWrites, "AccessDenied"),
    ] {
        store.behave(manners);
        let before = store.keys("");
        let server = Server::start_at("s3://lake/a", &place, &[], &environment).await.unwrap();
        let client = server.client().await.unwrap();
        assert!(ledger.check(&client).await.unwrap().is_empty(), "{manners:?}");
        refused_since_read_only(&client, &mut ledger, why).await;
        assert_eq!(count(&client.sql("SELECT count(*) FROM t").await.unwrap()), 3);
        assert_eq!(store.keys(""), before, "{manners:?} left something");
        server.stop().await.unwrap();

        // A root of which nothing is there yet cannot be made: then there is nothing to serve.
        let command = ["serve", "--listen", "127.0.0.1:0", "--root", "s3://lake/new"];
        let ran = coverline(&command, &environment).await.unwrap();
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("s3://lake/new") && ran.stderr.contains(why), "{}", ran.stderr);
        assert!(!ran.stderr.contains("not-shown-to-anybody"));
    }

    // Good again: good again.
    store.behave(Manners::Good);
    let server = Server::start_at("s3://lake/a", &place, &[], &environment).await.unwrap();
    let client = server.client().await.unwrap();
    ledger.append(&client).await.unwrap();

    // C5: every put succeeds and no answer comes; the record is recognised by its attempt id.
    store.behave(Manners::LosesAnswers);
    ledger.append(&client).await.unwrap();
    ledger.append(&client).await.unwrap();
    store.behave(Manners::Good);
    assert!(ledger.check(&client).await.unwrap().is_empty());
    server.stop().await.unwrap();
}
