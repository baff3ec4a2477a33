//! C1, C2, C4, C8: the server is killed after every single system call on its data folder, for each kind of change, and while
//! it starts; whatever was acknowledged is there once, the rest whole or not at all, a retry is answered for what happened, and
//! the next change works.
//!
//! Needs strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use end_to_end::ledger::Size;
use end_to_end::operations::{Appends, Create, Drop, FirstAppend, Operation, RefusedOverlap};
use end_to_end::site::ARGUMENTS;
use end_to_end::trace::{self, CHANGING_CALLS, Call, Tracer};
use end_to_end::{Site, SoakTime, Starting, TestResult, reached, skipped};

/// Calls of one operation, above which something is wrong with the test.
const CALLS_MAX: usize = 400;
/// Two threads may call at the same time; then a point is passed by and tried again this often.
const TRIES_MAX: usize = 5;
/// Appends that are under way together.
const TOGETHER: usize = 3;

/// Runs the operation, and kills the server as soon as `enough` says so of the calls made, if the operation has not ended
/// before. Returns the answer and the calls.
async fn run_until<O: Operation>(
    site: &mut Site,
    operation: &O,
    enough: impl Fn(&[Call]) -> bool,
) -> TestResult<(O::Answer, Vec<Call>)> {
    let client = site.client().await?;
    let server = site.server.id()?;
    let mut tracer = Tracer::attach(server, site.data_dir(), CHANGING_CALLS).await?;
    let mut calls = Vec::new();
    let mut running = std::pin::pin!(operation.run(&client));
    loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                let made = stopped?.ok_or("the server ended by itself")?;
                calls.extend(made.into_iter().map(|made| made.call));
                if enough(&calls) {
                    site.server.end().await?;
                    return Ok((running.await, calls));
                }
                tracer.resume().await?;
            }
            answer = &mut running => {
                tracer.release().await?;
                return Ok((answer, calls));
            }
        }
    }
}

/// One kill and everything that must hold after it.
async fn try_point<O: Operation>(
    site: &mut Site,
    operation: &mut O,
    point: usize,
) -> TestResult<Vec<Call>> {
    operation.prepare(&site.client().await?).await?;
    let (answer, calls) = run_until(site, operation, |calls| calls.len() >= point).await?;
    site.restart().await?;
    let client = site.client().await?;
    let right = match operation.record(&answer) {
        Ok(_) => operation.settles(&client).await,
        Err(error) => Err(error),
    };
    right.map_err(|error| {
        let last = calls.last().map(ToString::to_string).unwrap_or_default();
        format!("last call {last}, answer {answer:?}: {error}")
    })?;
    Ok(calls)
}

/// Goes through all calls; at night again and again. Returns them, unless they cannot have been gone through.
async fn kill_at_every_call<O: Operation>(
    name: &str,
    operation: impl Fn() -> O,
) -> Option<BTreeSet<Call>> {
    let name = format!("kill at every call of {name}");
    if let Some(why) = trace::unavailable().await {
        skipped(&name, &why);
        return None;
    }
    let soak = SoakTime::start().unwrap();
    let (mut seen, mut kills, mut passes) = (BTreeSet::new(), 0, 0);
    while passes == 0 || soak.is_left() {
        kills += go_through(&name, operation(), soak, &mut seen).await;
        passes += 1;
    }
    reached(&name, &format!("{kills} kills"));
    // A night that is too short proves less than a day.
    (!soak.is_set()).then_some(seen)
}

/// Kills after the first call, after the second, ... until the operation ends before the kill.
async fn go_through<O: Operation>(
    name: &str,
    mut operation: O,
    soak: SoakTime,
    seen: &mut BTreeSet<Call>,
) -> usize {
    let mut site = Site::new().await.unwrap();
    let (mut point, mut tries) = (1, 0);
    while !soak.is_over() {
        assert!(point < CALLS_MAX, "{name} has no end");
        let calls = match try_point(&mut site, &mut operation, point).await {
            Ok(calls) => calls,
            Err(error) => panic!("{name}, after call {point}: {error}"),
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
    point - 1
}

fn assert_seen(seen: Option<&BTreeSet<Call>>, expected: &[&str]) {
    let Some(seen) = seen else { return };
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

#[tokio::test]
async fn append() {
    let seen = kill_at_every_call("a small append", || Appends::new(Size::SMALL, 1)).await;
    assert_seen(seen.as_ref(), &RECORD);
}

#[tokio::test]
async fn large_append() {
    let seen = kill_at_every_call("a large append", || Appends::new(Size::LARGE, 1)).await;
    assert_seen(seen.as_ref(), &RECORD);
    assert_seen(
        seen.as_ref(),
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
    let seen = kill_at_every_call("appends together", || Appends::new(Size::SMALL, TOGETHER)).await;
    assert_seen(seen.as_ref(), &RECORD);
}

#[tokio::test]
async fn first_append_to_a_table() {
    let seen = kill_at_every_call("a small first append", || FirstAppend::new(Size::SMALL)).await;
    assert_seen(seen.as_ref(), &RECORD);
}

#[tokio::test]
async fn large_first_append_to_a_table() {
    let seen = kill_at_every_call("a large first append", || FirstAppend::new(Size::LARGE)).await;
    assert_seen(seen.as_ref(), &RECORD);
    assert_seen(seen.as_ref(), &["mkdir tables/ID/data", "fsync tables/ID"]);
}

#[tokio::test]
async fn refused_overlap() {
    // What is refused by the index leaves the disk alone, so there may be no call to be killed after.
    kill_at_every_call("a refused overlap", RefusedOverlap::default).await;
}

#[tokio::test]
async fn create_table() {
    let seen = kill_at_every_call("the creation of a table", Create::default).await;
    assert_seen(seen.as_ref(), &RECORD);
    assert_seen(seen.as_ref(), &["linkat _catalog/log/N", "fsync _catalog/log"]);
}

#[tokio::test]
async fn drop_table() {
    let seen = kill_at_every_call("the drop of a table", Drop::default).await;
    assert_seen(seen.as_ref(), &["linkat _catalog/log/N", "fsync _catalog/log"]);
}

/// Kills the server after the `point`-th call of its start. Returns the calls; fewer when it was ready before.
async fn start_until(site: &Site, point: usize) -> TestResult<Vec<Call>> {
    let mut starting = Starting::held(site.data_dir(), &ARGUMENTS)?;
    let mut tracer = Tracer::attach(starting.id()?, site.data_dir(), CHANGING_CALLS).await?;
    starting.begin().await?;
    let mut calls = Vec::new();
    loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                let made = stopped?.ok_or("the server ended by itself")?;
                calls.extend(made.into_iter().map(|made| made.call));
                if calls.len() >= point {
                    starting.kill().await?;
                    return Ok(calls);
                }
                tracer.resume().await?;
            }
            ready = starting.address() => {
                ready?;
                tracer.release().await?;
                starting.kill().await?;
                return Ok(calls);
            }
        }
    }
}

/// The start after a kill, killed itself: what recovery does must not depend on being done once.
#[tokio::test]
async fn start() {
    let name = "kill at every call of a start";
    if let Some(why) = trace::unavailable().await {
        return skipped(name, &why);
    }
    let mut site = Site::new().await.unwrap();
    let mut append = Appends::new(Size::LARGE, 1);
    let mut seen = BTreeSet::new();
    for point in 1.. {
        append.prepare(&site.client().await.unwrap()).await.unwrap();
        let (answer, _) = run_until(&mut site, &append, |calls| {
            // The record has its name, which is not durable yet.
            calls.last().is_some_and(|call| call.to_string() == "linkat tables/ID/_log/N")
        })
        .await
        .unwrap();
        append.record(&answer).unwrap();
        let calls = start_until(&site, point).await.unwrap();
        site.restart().await.unwrap();
        if let Err(error) = append.settles(&site.client().await.unwrap()).await {
            panic!("start killed after call {point} ({:?}): {error}", calls.last());
        }
        let ended = calls.len() < point;
        seen.extend(calls);
        if ended {
            reached(name, &format!("{} kills", point - 1));
            break;
        }
    }
    assert_seen(Some(&seen), &["openat LOCK", "openat _catalog/log/N", "fsync _catalog/log"]);
}
