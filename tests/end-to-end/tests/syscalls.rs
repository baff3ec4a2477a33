//! C1, C2, C4, C8: the server is killed after every single system call on its data folder, for each kind of change; whatever was
//! acknowledged is there once, the rest whole or not at all, a retry is answered for what happened, and the next change works.
//!
//! Needs strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use coverline_proto::flight::OverlapPolicy;
use end_to_end::ledger::{Answer, Ledger, Size};
use end_to_end::trace::{self, CHANGING_CALLS, Call, Tracer};
use end_to_end::{AppendError, Client, Server, TestResult, reached, skipped};
use futures::future::join_all;
use tonic::Code;

/// Calls of one operation, above which something is wrong with the test.
const CALLS_MAX: usize = 400;
/// Two threads may call at the same time; then a point is passed by and tried again this often.
const TRIES_MAX: usize = 5;
/// Appends that are under way together.
const TOGETHER: usize = 3;

/// A kind of change, and what must hold after it was cut short.
trait Operation {
    type Answer: std::fmt::Debug;

    /// What must be there before.
    async fn prepare(&mut self, client: &Client) -> TestResult;

    /// The change itself.
    async fn run(&self, client: &Client) -> Self::Answer;

    /// After the restart: compares, tries the change again, and makes another one.
    async fn verify(&mut self, client: &Client, answer: Self::Answer) -> TestResult;
}

/// A root with its server.
struct Site {
    data: PathBuf,
    server: Server,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = start(&data).await.unwrap();
        Self { data, server, _folder: folder }
    }
}

async fn start(data: &std::path::Path) -> TestResult<Server> {
    Server::start_with(data, &["--disk-floor-bytes", "0"]).await
}

/// Runs the operation once, killing the server after its `point`-th call. Returns the server's successor, the answer, and the
/// calls; fewer than `point` when the operation ended before.
async fn run_once<O: Operation>(
    site: &mut Site,
    operation: &O,
    point: usize,
) -> TestResult<(O::Answer, Vec<Call>)> {
    let client = site.server.client().await?;
    let mut tracer = Tracer::attach(&site.server, CHANGING_CALLS).await?;
    let mut calls = Vec::new();
    let mut running = std::pin::pin!(operation.run(&client));
    let answer = loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                calls.extend(stopped?.ok_or("the server ended by itself")?);
                if calls.len() >= point {
                    site.server.end().await?;
                    break running.await;
                }
                tracer.resume().await?;
            }
            answer = &mut running => {
                tracer.release().await?;
                site.server.end().await?;
                break answer;
            }
        }
    };
    site.server = start(&site.data).await?;
    Ok((answer, calls))
}

/// One kill and everything that must hold after it.
async fn try_point<O: Operation>(
    site: &mut Site,
    operation: &mut O,
    point: usize,
) -> TestResult<Vec<Call>> {
    operation.prepare(&site.server.client().await?).await?;
    let (answer, calls) = run_once(site, operation, point).await?;
    let shown = format!("{answer:?}");
    let client = site.server.client().await?;
    operation.verify(&client, answer).await.map_err(|error| {
        let last = calls.last().map(ToString::to_string).unwrap_or_default();
        format!("last call {last}, answer {shown}: {error}")
    })?;
    Ok(calls)
}

/// Kills after the first call, after the second, ... until the operation ends before the kill.
async fn kill_at_every_call<O: Operation>(name: &str, mut operation: O) -> BTreeSet<Call> {
    if let Some(why) = trace::unavailable().await {
        skipped(&format!("kill at every call of {name}"), &why);
        return BTreeSet::new();
    }
    let mut site = Site::new().await;
    let mut seen = BTreeSet::new();
    let (mut point, mut tries) = (1, 0);
    loop {
        assert!(point < CALLS_MAX, "{name} has no end");
        let calls = match try_point(&mut site, &mut operation, point).await {
            Ok(calls) => calls,
            Err(error) => panic!("{name}, kill after call {point}: {error}"),
        };
        if calls.len() < point {
            break;
        }
        tries += 1;
        if calls.len() == point || tries == TRIES_MAX {
            seen.extend(calls);
            (point, tries) = (point + 1, 0);
        }
    }
    reached(&format!("kill at every call of {name}"), &format!("{} kills", point - 1));
    assert!(!seen.is_empty(), "{name} made no call");
    seen
}

fn assert_seen(seen: &BTreeSet<Call>, expected: &[&str]) {
    if seen.is_empty() {
        // Skipped, and said so.
        return;
    }
    let seen: Vec<_> = seen.iter().map(ToString::to_string).collect();
    for call in expected {
        assert!(seen.iter().any(|seen| seen == call), "no {call:?} among {seen:#?}");
    }
}

/// The calls that publish a record of a table.
const RECORD: [&str; 5] = [
    "openat tables/ID/_log/.tmp",
    "write tables/ID/_log/.tmp",
    "fsync tables/ID/_log/.tmp",
    "linkat tables/ID/_log/N",
    "fsync tables/ID/_log",
];

/// Another append to a table that has some.
struct Append {
    ledger: Ledger,
    hours: Vec<i64>,
    together: usize,
}

impl Append {
    fn new(size: Size, together: usize) -> Self {
        Self { ledger: Ledger::new("t", size), hours: Vec::new(), together }
    }
}

impl Operation for Append {
    type Answer = Vec<Answer>;

    async fn prepare(&mut self, client: &Client) -> TestResult {
        if self.hours.is_empty() {
            self.ledger.create(client).await?;
            self.ledger.append(client).await?;
        }
        self.hours = (0..self.together).map(|_| self.ledger.next_hour()).collect();
        Ok(())
    }

    async fn run(&self, client: &Client) -> Vec<Answer> {
        join_all(self.hours.iter().map(|hour| self.ledger.send(client, *hour))).await
    }

    async fn verify(&mut self, client: &Client, answers: Vec<Answer>) -> TestResult {
        for (hour, answer) in self.hours.iter().zip(&answers) {
            self.ledger.record(*hour, answer)?;
        }
        settle(&mut self.ledger, client).await
    }
}

/// What every restart owes a table.
async fn settle(ledger: &mut Ledger, client: &Client) -> TestResult {
    let found = ledger.check(client).await?;
    ledger.settle(client, &found).await?;
    ledger.append(client).await?;
    ledger.check(client).await?;
    Ok(())
}

#[tokio::test]
async fn append() {
    let seen = kill_at_every_call("a small append", Append::new(Size::SMALL, 1)).await;
    assert_seen(&seen, &RECORD);
}

#[tokio::test]
async fn large_append() {
    let seen = kill_at_every_call("a large append", Append::new(Size::LARGE, 1)).await;
    assert_seen(&seen, &RECORD);
    assert_seen(
        &seen,
        &[
            "fsync tables/ID/data/.tmp",
            "linkat tables/ID/data/ID.parquet",
            "fsync tables/ID/data",
            "unlink tables/ID/data/.tmp",
        ],
    );
}

#[tokio::test]
async fn appends_together() {
    let seen = kill_at_every_call("appends together", Append::new(Size::SMALL, TOGETHER)).await;
    assert_seen(&seen, &RECORD);
}

/// The first append to a table, which gives it its schema.
struct FirstAppend {
    size: Size,
    ledger: Ledger,
    tables: usize,
}

impl Operation for FirstAppend {
    type Answer = Answer;

    async fn prepare(&mut self, client: &Client) -> TestResult {
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), self.size);
        self.ledger.next_hour();
        self.ledger.create(client).await
    }

    async fn run(&self, client: &Client) -> Answer {
        self.ledger.send(client, 0).await
    }

    async fn verify(&mut self, client: &Client, answer: Answer) -> TestResult {
        self.ledger.record(0, &answer)?;
        settle(&mut self.ledger, client).await
    }
}

fn first_append(size: Size) -> FirstAppend {
    FirstAppend { size, ledger: Ledger::new("", size), tables: 0 }
}

#[tokio::test]
async fn first_append_to_a_table() {
    let seen = kill_at_every_call("a small first append", first_append(Size::SMALL)).await;
    assert_seen(&seen, &RECORD);
}

#[tokio::test]
async fn large_first_append_to_a_table() {
    let seen = kill_at_every_call("a large first append", first_append(Size::LARGE)).await;
    assert_seen(&seen, &RECORD);
    assert_seen(&seen, &["mkdir tables/ID/data", "fsync tables/ID"]);
}

/// An append of rows that the table has already, with other values.
struct Overlap {
    ledger: Ledger,
}

impl Operation for Overlap {
    type Answer = Answer;

    async fn prepare(&mut self, client: &Client) -> TestResult {
        if self.ledger.committed_count() == 0 {
            self.ledger.create(client).await?;
            self.ledger.append(client).await?;
        }
        Ok(())
    }

    async fn run(&self, client: &Client) -> Answer {
        let rows = self.ledger.batch(0).slice(0, 1);
        client.append(self.ledger.table(), OverlapPolicy::Reject, "", vec![rows]).await
    }

    async fn verify(&mut self, client: &Client, answer: Answer) -> TestResult {
        match answer {
            Err(AppendError::Unknown(_)) => {}
            Err(AppendError::Refused { reason, details, .. }) if reason == "COVERAGE_OVERLAP" => {
                if details["committed"] != "no" {
                    return Err(format!("a refusal says {details:?}").into());
                }
            }
            other => return Err(format!("not refused: {other:?}").into()),
        }
        settle(&mut self.ledger, client).await
    }
}

#[tokio::test]
async fn refused_overlap() {
    kill_at_every_call("a refused overlap", Overlap { ledger: Ledger::new("t", Size::SMALL) })
        .await;
}

/// Making a table.
struct Create {
    ledger: Ledger,
    tables: usize,
}

impl Operation for Create {
    type Answer = Result<i64, AppendError>;

    async fn prepare(&mut self, _client: &Client) -> TestResult {
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), Size::SMALL);
        Ok(())
    }

    async fn run(&self, client: &Client) -> Self::Answer {
        client.change(&self.ledger.create_sql()).await
    }

    async fn verify(&mut self, client: &Client, answer: Self::Answer) -> TestResult {
        let there = table_exists(client, self.ledger.table()).await?;
        match answer {
            Ok(_) if there => {}
            Err(AppendError::Unknown(_)) => {}
            other => return Err(format!("there: {there}, answer {other:?}").into()),
        }
        match client.change(&self.ledger.create_sql()).await {
            Ok(_) if !there => {}
            Err(AppendError::Refused { code: Code::AlreadyExists, .. }) if there => {}
            other => return Err(format!("there: {there}, the retry gave {other:?}").into()),
        }
        settle(&mut self.ledger, client).await
    }
}

async fn table_exists(client: &Client, table: &str) -> TestResult<bool> {
    let sql = format!("SELECT 1 FROM information_schema.tables WHERE table_name = '{table}'");
    Ok(client.sql(&sql).await?.iter().any(|batch| batch.num_rows() > 0))
}

#[tokio::test]
async fn create_table() {
    let seen = kill_at_every_call(
        "the creation of a table",
        Create { ledger: Ledger::new("", Size::SMALL), tables: 0 },
    )
    .await;
    assert_seen(&seen, &RECORD);
    assert_seen(&seen, &["linkat _catalog/log/N", "fsync _catalog/log"]);
}

/// Dropping a table that has rows.
struct Drop {
    ledger: Ledger,
    tables: usize,
}

impl Operation for Drop {
    type Answer = Result<i64, AppendError>;

    async fn prepare(&mut self, client: &Client) -> TestResult {
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), Size::SMALL);
        self.ledger.create(client).await?;
        self.ledger.append(client).await?;
        Ok(())
    }

    async fn run(&self, client: &Client) -> Self::Answer {
        client.change(&format!("DROP TABLE \"{}\"", self.ledger.table())).await
    }

    async fn verify(&mut self, client: &Client, answer: Self::Answer) -> TestResult {
        let there = table_exists(client, self.ledger.table()).await?;
        match answer {
            Ok(_) if !there => {}
            Err(AppendError::Unknown(_)) => {}
            other => return Err(format!("there: {there}, answer {other:?}").into()),
        }
        if there {
            // Whole, or not at all.
            settle(&mut self.ledger, client).await?;
        }
        match self.run(client).await {
            Ok(_) if there => {}
            Err(AppendError::Refused { code: Code::NotFound, .. }) if !there => {}
            other => return Err(format!("there: {there}, the retry gave {other:?}").into()),
        }
        // The name is free, and nothing of the old table comes back with it.
        self.ledger = Ledger::new(self.ledger.table(), Size::SMALL);
        self.ledger.create(client).await?;
        settle(&mut self.ledger, client).await
    }
}

#[tokio::test]
async fn drop_table() {
    let seen = kill_at_every_call(
        "the drop of a table",
        Drop { ledger: Ledger::new("", Size::SMALL), tables: 0 },
    )
    .await;
    assert_seen(&seen, &["linkat _catalog/log/N", "fsync _catalog/log"]);
}
