//! C1, C2, C8: SIGKILL at random moments of a busy ingest loses no acknowledged append and wedges no table.
//!
//! Every writer owns one entity and appends hour after hour of it, so that the table itself says what it holds: after each
//! restart every acknowledged hour must be there once, no other than an acknowledged or a lost-answer hour may be there, and
//! one new append must work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use coverline_proto::flight::OverlapPolicy;
use end_to_end::{AppendError, Client, Server, SoakTime, reached};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Kills of one run; `COVERLINE_KILLS` asks for more.
const KILLS: usize = 200;
/// Kills of one root: enough for a checkpoint and a flush. What a table has to replay makes every start dearer.
const KILLS_PER_ROOT: usize = 250;
/// Kills between two readings of the whole table.
const VERIFY_EVERY: usize = 10;
/// Concurrent writers.
const WRITERS: usize = 4;
/// Rows of one append, all in one bucket.
const ROWS: usize = 3;
const HOUR_US: i64 = 3_600_000_000;

/// What one writer knows.
#[derive(Debug, Clone, Default)]
struct Writer {
    /// Hours that were acknowledged, with their version.
    acknowledged: BTreeMap<i64, u64>,
    /// The hour whose answer was lost.
    pending: Option<i64>,
    next_hour: i64,
}

fn batch(writer: usize, hour: i64) -> RecordBatch {
    let entity = format!("writer-{writer}");
    let ts = (0..ROWS as i64).map(|row| hour * HOUR_US + row);
    RecordBatch::try_from_iter([
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC"))
                as ArrayRef,
        ),
        ("writer", Arc::new(StringArray::from(vec![entity; ROWS])) as ArrayRef),
        ("value", Arc::new(Int64Array::from(vec![hour; ROWS])) as ArrayRef),
    ])
    .unwrap()
}

/// Appends until the connection breaks.
async fn write_until_lost(client: Client, index: usize, mut writer: Writer) -> Writer {
    loop {
        let hour = writer.pending.unwrap_or(writer.next_hour);
        let answer =
            client.append("busy", OverlapPolicy::Reject, "", vec![batch(index, hour)]).await;
        match answer {
            Ok(receipt) => {
                assert_eq!(receipt.record_count, ROWS as i64);
                writer.acknowledged.insert(hour, receipt.version);
                writer.pending = None;
                writer.next_hour = hour + 1;
            }
            // The answer of the try before was lost, but the rows had been committed.
            Err(AppendError::Refused { reason, details, .. })
                if reason == "COVERAGE_OVERLAP" && writer.pending == Some(hour) =>
            {
                let version = details["owner_version"].parse().expect("a version");
                writer.acknowledged.insert(hour, version);
                writer.pending = None;
                writer.next_hour = hour + 1;
            }
            Err(AppendError::Unknown(_)) => {
                writer.pending = Some(hour);
                return writer;
            }
            Err(refused) => panic!("writer {index}, hour {hour}: {refused:?}"),
        }
    }
}

/// Hours of each writer as the table has them, with their row counts.
async fn stored_hours(client: &Client) -> Vec<BTreeMap<i64, i64>> {
    let mut hours = vec![BTreeMap::new(); WRITERS];
    let batches = client
        .sql("SELECT writer, value, count(*) AS n FROM busy GROUP BY writer, value")
        .await
        .expect("the table is readable");
    for batch in batches {
        let writer = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let value = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        let count = batch.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
        for row in 0..batch.num_rows() {
            let index: usize = writer.value(row).strip_prefix("writer-").unwrap().parse().unwrap();
            hours[index].insert(value.value(row), count.value(row));
        }
    }
    hours
}

fn verify(writers: &[Writer], stored: &[BTreeMap<i64, i64>]) {
    for (index, (writer, stored)) in writers.iter().zip(stored).enumerate() {
        for (hour, version) in &writer.acknowledged {
            assert_eq!(
                stored.get(hour),
                Some(&(ROWS as i64)),
                "writer {index}: hour {hour}, acknowledged as version {version}"
            );
        }
        for (hour, rows) in stored {
            assert_eq!(*rows, ROWS as i64, "writer {index}: hour {hour} is torn");
            assert!(
                writer.acknowledged.contains_key(hour) || writer.pending == Some(*hour),
                "writer {index}: hour {hour} was never sent to its end"
            );
        }
    }
}

/// What a run reached.
#[derive(Debug, Default)]
struct Reached {
    kills: usize,
    roots: usize,
    acknowledged: usize,
    /// Appends whose answer was lost, and what became of them found out.
    resolved: usize,
}

/// Kills one server after the other on one root, as long as `more` says so of the kills.
async fn kill_on_one_root(random: &mut StdRng, total: &mut Reached, more: impl Fn(usize) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data).await.unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    client
        .execute("CREATE TABLE busy WITH (index_column = 'ts', bucket = '1h', entity_columns = 'writer')")
        .await
        .unwrap();
    let mut writers = vec![Writer::default(); WRITERS];
    let mut kills = 0;
    while kills < KILLS_PER_ROOT && more(total.kills) {
        let client = Client::connect(server.address()).await.unwrap();
        // No wedge: every writer's first append of a round is awaited before the clock of the kill starts.
        total.resolved += writers.iter().filter(|writer| writer.pending.is_some()).count();
        for (index, writer) in writers.iter_mut().enumerate() {
            *writer = one_append(&client, index, writer.clone()).await;
        }
        let running: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(index, writer)| {
                tokio::spawn(write_until_lost(client.clone(), index, writer.clone()))
            })
            .collect();
        // The random moment itself, not a wait for something to happen.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..60_000))).await;
        server.kill().await.unwrap();
        for (writer, task) in writers.iter_mut().zip(running) {
            *writer = task.await.unwrap();
        }
        kills += 1;
        total.kills += 1;
        server = Server::start(&data)
            .await
            .unwrap_or_else(|error| panic!("kill {}: {error}", total.kills));
        if kills % VERIFY_EVERY == 0 {
            let client = Client::connect(server.address()).await.unwrap();
            verify(&writers, &stored_hours(&client).await);
        }
    }
    let client = Client::connect(server.address()).await.unwrap();
    verify(&writers, &stored_hours(&client).await);
    // Appends of several writers may share a version, but a writer sends one after the other.
    for writer in &writers {
        let versions: BTreeSet<_> = writer.acknowledged.values().collect();
        assert_eq!(versions.len(), writer.acknowledged.len(), "two appends were one version");
        total.acknowledged += writer.acknowledged.len();
    }
    total.roots += 1;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_at_random_moments_loses_no_acknowledged_append() {
    let kills = std::env::var("COVERLINE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = std::env::var("COVERLINE_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("COVERLINE_SEED={seed} COVERLINE_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let soak = SoakTime::start().unwrap();
    let more = |done| if soak.is_set() { soak.is_left() } else { done < kills };
    let mut total = Reached::default();
    while more(total.kills) {
        kill_on_one_root(&mut random, &mut total, more).await;
    }
    reached("kill under load, 0 lost, 0 wedged", &format!("{total:?}, seed {seed}"));
    assert!(total.acknowledged > total.kills, "the ingest was not busy");
}

/// One append that must be acknowledged (or found committed already).
async fn one_append(client: &Client, index: usize, mut writer: Writer) -> Writer {
    let hour = writer.pending.unwrap_or(writer.next_hour);
    match client.append("busy", OverlapPolicy::Reject, "", vec![batch(index, hour)]).await {
        Ok(receipt) => {
            writer.acknowledged.insert(hour, receipt.version);
        }
        Err(AppendError::Refused { reason, details, .. })
            if reason == "COVERAGE_OVERLAP" && writer.pending == Some(hour) =>
        {
            writer.acknowledged.insert(hour, details["owner_version"].parse().expect("a version"));
        }
        Err(error) => panic!("writer {index}, hour {hour}: the table is wedged: {error:?}"),
    }
    writer.pending = None;
    writer.next_hour = hour + 1;
    writer
}
