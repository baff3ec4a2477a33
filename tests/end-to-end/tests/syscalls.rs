//! C1, C2, C4, C8: the server is killed after every single system call on its data folder, for each kind of change, for what it
//! does of its own accord, and while it starts and stops; whatever was acknowledged is there once, the rest whole or not at all, a retry is answered for what happened, and
//! the next change works.
//!
//! Needs strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use end_to_end::chores::Chore;
use end_to_end::ledger::{Outcome, Size};
use end_to_end::operations::{Appends, Create, Drop, FirstAppend, Operation, RefusedOverlap};
use end_to_end::site::ARGUMENTS;
use end_to_end::stepping::{Run, calls, run_until};
use end_to_end::trace::{self, CHANGING_CALLS, Call, Tracer};
use end_to_end::{Site, SoakTime, Starting, TestResult, reached, skipped};

/// Calls of one operation, above which something is wrong with the test.
const CALLS_MAX: usize = 400;
/// Two threads may call at the same time; then a point is passed by and tried again this often.
const TRIES_MAX: usize = 5;
/// Appends that are under way together.
const TOGETHER: usize = 3;

/// What going through an operation showed.
#[derive(Debug, Default)]
struct Seen {
    /// All calls of undisturbed runs.
    calls: BTreeSet<Call>,
    /// Those right after which the server was killed.
    killed_after: BTreeSet<Call>,
    kills: usize,
    /// Points that were always passed by.
    passed_by: usize,
    passes: usize,
}

/// One kill and everything that must hold after it.
async fn try_point<O: Operation>(
    site: &mut Site,
    operation: &mut O,
    point: usize,
) -> TestResult<Run<O::Answer>> {
    operation.prepare(site).await?;
    let run = run_until(site, operation, |made| made.len() >= point).await?;
    site.restart().await?;
    let client = site.client().await?;
    let right = match operation.record(&run.answer) {
        Ok(_) => operation.settles(&client).await,
        Err(error) => Err(error),
    };
    right.map_err(|error| format!("last call {}, answer {:?}: {error}", run.last(), run.answer))?;
    Ok(run)
}

/// The points to kill at: after every call, or, where the server does the same over and over as by writing a large file, after the
/// first of those and after the last.
async fn points_of<O: Operation>(
    site: &mut Site,
    operation: &mut O,
    seen: &mut Seen,
    all: bool,
) -> TestResult<Vec<usize>> {
    let mut made: Vec<Call> = Vec::new();
    // The very first run makes folders that later runs find.
    for _ in 0..2 {
        operation.prepare(site).await?;
        let run = run_until(site, operation, |_| false).await?;
        operation.record(&run.answer)?;
        operation.settles(&site.client().await?).await?;
        made = calls(&run.made).cloned().collect();
    }
    seen.calls.extend(made.iter().cloned());
    let is_inside = |index: usize| {
        let same = |other: Option<&Call>| other.is_some_and(|other| *other == made[index]);
        same(index.checked_sub(1).and_then(|before| made.get(before))) && same(made.get(index + 1))
    };
    Ok((0..made.len()).filter(|index| all || !is_inside(*index)).map(|index| index + 1).collect())
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
    let mut seen = Seen::default();
    go_through(&name, operation(), soak, &mut seen).await;
    while soak.is_left() {
        go_through(&name, operation(), soak, &mut seen).await;
    }
    let Seen { calls, killed_after, kills, passed_by, passes } = seen;
    reached(
        &name,
        &format!(
            "{kills} kills in {passes} passes, after {} of {} different calls, {passed_by} points passed by",
            calls.intersection(&killed_after).count(),
            calls.len()
        ),
    );
    // A night that is too short proves less than a day.
    if soak.is_set() && passes == 0 {
        return None;
    }
    let missed: Vec<_> = calls.difference(&killed_after).collect();
    assert!(
        missed.is_empty(),
        "{name}: no kill came after {missed:?}, but after {killed_after:#?}"
    );
    Some(calls)
}

/// Kills at one point after the other, and goes on until the operation is over before the kill.
async fn go_through<O: Operation>(name: &str, mut operation: O, soak: SoakTime, seen: &mut Seen) {
    let mut site = Site::new().await.unwrap();
    let all = soak.is_set() || !operation.has_chore();
    let points = points_of(&mut site, &mut operation, seen, all).await;
    let points = points.unwrap_or_else(|error| panic!("{name}, undisturbed: {error}"));
    let last = points.last().copied().unwrap_or_default();
    // Another run may make a few calls more.
    let points = points.into_iter().chain(last + 1..CALLS_MAX);
    for point in points {
        for tried in 1..=TRIES_MAX {
            if soak.is_over() {
                return;
            }
            let run = match try_point(&mut site, &mut operation, point).await {
                Ok(run) => run,
                Err(error) => panic!("{name}, after call {point}: {error}"),
            };
            if run.is_whole && point > last {
                seen.passes += 1;
                return;
            }
            if !run.is_whole {
                seen.kills += 1;
                // Where two threads met, the kill came after the last of their calls.
                seen.killed_after.extend(calls(&run.made).last().cloned());
            }
            if !run.is_whole && run.made.len() == point {
                break;
            }
            seen.passed_by += usize::from(tried == TRIES_MAX);
        }
    }
    panic!("{name} has no end");
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

/// The calls that publish a segment.
const SEGMENT: [&str; 4] = [
    "fsync tables/ID/data/.tmp",
    "linkat tables/ID/data/ID.parquet",
    "fsync tables/ID/data",
    "unlink tables/ID/data/.tmp",
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
    assert_seen(seen.as_ref(), &SEGMENT);
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
    // Nothing is changed, but the owner of rows in a segment is looked up in the log.
    let seen = kill_at_every_call("a refused overlap", RefusedOverlap::default).await;
    assert_seen(seen.as_ref(), &["openat tables/ID/_log/N"]);
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

#[tokio::test]
async fn flush() {
    let seen = kill_at_every_call("an append and the flush after it", Chore::flush).await;
    assert_seen(seen.as_ref(), &RECORD);
    assert_seen(seen.as_ref(), &SEGMENT);
}

#[tokio::test]
async fn checkpoint() {
    let seen = kill_at_every_call("an append and the checkpoint after it", Chore::checkpoint).await;
    assert_seen(seen.as_ref(), &RECORD);
    assert_seen(seen.as_ref(), &["linkat tables/ID/_log/N.checkpoint"]);
}

/// Appends are under way when the server is told to stop with SIGTERM; SIGKILL comes after the `point`-th call from then on.
/// Returns the answers, and how many calls there were when the server ended by itself.
async fn stop_until(
    site: &mut Site,
    appends: &Appends,
    point: usize,
) -> TestResult<(<Appends as Operation>::Answer, Option<usize>)> {
    let client = site.client().await?;
    let mut tracer = Tracer::attach(site.server.id()?, site.data_dir(), CHANGING_CALLS).await?;
    let run = appends.run(&client);
    let stop = async {
        let mut count = None;
        loop {
            let Some(made) = tracer.stopped().await? else { return TestResult::Ok(count) };
            match &mut count {
                // Stopped as it is, it gets the signal when it goes on.
                None => {
                    site.server.terminate().await?;
                    count = Some(0);
                }
                Some(count) => *count += made.len(),
            }
            if count.is_some_and(|count| count >= point) {
                site.server.end().await?;
                return Ok(None);
            }
            tracer.resume().await?;
        }
    };
    let (answers, count) = tokio::join!(run, stop);
    Ok((answers, count?))
}

/// What was acknowledged while the server drained is there however the drain ended, and an undisturbed drain answers everything
/// and ends well.
#[tokio::test]
async fn stop() {
    let name = "kill at every call of a stop";
    if let Some(why) = trace::unavailable().await {
        return skipped(name, &why);
    }
    let soak = SoakTime::start().unwrap();
    let (mut kills, mut passes) = (0, 0);
    while passes == 0 || soak.is_left() {
        let mut site = Site::new().await.unwrap();
        let mut appends = Appends::new(Size::SMALL, TOGETHER);
        for point in 1.. {
            appends.prepare(&mut site).await.unwrap();
            let (answers, ended) = match stop_until(&mut site, &appends, point).await {
                Ok(stopped) => stopped,
                Err(error) => panic!("{name}, after call {point}: {error}"),
            };
            let outcome = appends.record(&answers).unwrap();
            if let Some(calls) = ended {
                let status = site.server.ended().await.unwrap();
                assert!(status.success(), "a stop after {calls} calls ended with {status}");
                assert_eq!(outcome, Outcome::Committed, "{answers:?}");
            }
            site.restart().await.unwrap();
            if let Err(error) = appends.settles(&site.client().await.unwrap()).await {
                panic!("{name}, after call {point}: {answers:?}: {error}");
            }
            if ended.is_some() || soak.is_over() {
                break;
            }
            kills += 1;
        }
        passes += 1;
    }
    reached(name, &format!("{kills} kills in {passes} passes"));
    assert!(kills > 0, "the server had nothing to do when it was stopped");
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
    let soak = SoakTime::start().unwrap();
    let (mut seen, mut kills, mut passes) = (BTreeSet::new(), 0, 0);
    while passes == 0 || soak.is_left() {
        let mut site = Site::new().await.unwrap();
        let mut append = Appends::new(Size::LARGE, 1);
        for point in 1.. {
            append.prepare(&mut site).await.unwrap();
            let run = run_until(&mut site, &append, |made| {
                // The record has its name, which is not durable yet.
                calls(made).last().is_some_and(|call| call.to_string() == "linkat tables/ID/_log/N")
            })
            .await
            .unwrap();
            append.record(&run.answer).unwrap();
            let calls = start_until(&site, point).await.unwrap();
            site.restart().await.unwrap();
            if let Err(error) = append.settles(&site.client().await.unwrap()).await {
                panic!("start killed after call {point} ({:?}): {error}", calls.last());
            }
            let is_whole = calls.len() < point;
            seen.extend(calls);
            if is_whole || soak.is_over() {
                break;
            }
            kills += 1;
        }
        passes += 1;
    }
    reached(name, &format!("{kills} kills in {passes} passes"));
    assert_seen(Some(&seen), &["openat LOCK", "openat _catalog/log/N", "fsync _catalog/log"]);
}
