//! C2, C10, C13, C14: system calls on the data folder fail one after the other, with EIO, ENOSPC and EINTR. Every change ends in
//! one of the three outcomes and the table agrees with it, at once and after a restart; reads go on; a full disk is
//! RESOURCE_EXHAUSTED and works again as soon as there is room.
//!
//! Needs strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use end_to_end::chores::Chore;
use end_to_end::ledger::{Ledger, Outcome, Size};
use end_to_end::operations::{Appends, Create, Drop, FirstAppend, Operation};
use end_to_end::site::ARGUMENTS;
use end_to_end::stepping::{calls, run_until};
use end_to_end::trace::{self, CHANGING_CALLS, Call, Fault, Faults, Made, READING_CALLS, Tracer};
use end_to_end::{Site, SoakTime, Starting, TestResult, reached, skipped};
use tonic::Code;

/// What every day tries: a call that fails once, and a disk that is full from one moment on.
const FAULTS: [(&str, bool); 2] = [("EIO", false), ("ENOSPC", true)];
/// What the night tries besides. A signal that interrupts every call for ever is not a fault that exists.
const MORE_FAULTS: [(&str, bool); 3] = [("EIO", true), ("ENOSPC", false), ("EINTR", false)];
/// An answer that takes longer never comes. Generous, since machines that run tests are busy.
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// How long to wait for a call that the server may also do without.
const FAULT_TIME: Duration = Duration::from_secs(5);

/// Runs the operation undisturbed, and lists its calls.
async fn calls_of<O: Operation>(site: &mut Site, operation: &mut O) -> TestResult<Vec<Call>> {
    operation.prepare(site).await?;
    let run = run_until(site, operation, |_| false).await?;
    operation.record(&run.answer)?;
    site.restart().await?;
    operation.settles(&site.client().await?).await?;
    Ok(calls(&run.made).cloned().collect())
}

/// Waits for the end of `work`, and lists what the server called meanwhile.
async fn traced<T>(
    site: &Site,
    calls: &str,
    work: impl Future<Output = T>,
) -> TestResult<(T, Vec<Made>)> {
    let mut tracer = Tracer::attach(site.server.id()?, site.data_dir(), calls).await?;
    let mut made = Vec::new();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                made.extend(stopped?.ok_or("the server ended by itself")?);
                tracer.resume().await?;
            }
            answer = &mut work => {
                tracer.release().await?;
                return Ok((answer, made));
            }
        }
    }
}

/// Runs the operation; after `skipped` calls, the next one fails. Returns the answer and what failed.
async fn run_with<O: Operation>(
    site: &Site,
    operation: &O,
    skipped: usize,
    fault: &Fault,
) -> TestResult<(O::Answer, BTreeSet<Call>)> {
    let client = site.client().await?;
    let server = site.server.id()?;
    let mut running = std::pin::pin!(operation.run(&client));
    let mut answer = None;
    let mut made: Vec<Made> = Vec::new();
    if skipped > 0 {
        let mut tracer = Tracer::attach(server, site.data_dir(), CHANGING_CALLS).await?;
        while made.len() < skipped {
            tokio::select! {
                stopped = tracer.stopped() => {
                    made.extend(stopped?.ok_or("the server ended by itself")?);
                    if made.len() < skipped {
                        tracer.resume().await?;
                    }
                }
                told = &mut running, if answer.is_none() => answer = Some(told),
            }
            if let Some(told) = answer {
                if made.len() < skipped && operation.is_over(&made) {
                    tracer.release().await?;
                    return Ok((told, BTreeSet::new()));
                }
                answer = Some(told);
            }
        }
        tracer.detach().await?;
    }
    // Sockets and wake-ups are written to as well, and are not to fail.
    let file =
        made.last().filter(|_| fault.call.starts_with("write")).map(|made| made.file.as_path());
    let mut faults = Faults::inject(server, site.data_dir(), fault, file).await?;
    trace::resume(server).await?;
    let answer = match answer {
        // What the server does of its own accord is under way.
        Some(answer) => {
            faults.wait_for_one(FAULT_TIME).await?;
            answer
        }
        None => tokio::time::timeout(ANSWER_TIME, running).await?,
    };
    Ok((answer, faults.stop().await?))
}

/// Whether this is the sync of a folder: a name in it may or may not be durable afterwards, and nobody can find out (C14).
fn syncs_folder(call: &Call) -> bool {
    let name = call.path.rsplit('/').next().unwrap_or_default();
    call.name == "fsync" && name != ".tmp" && name != "N" && !name.starts_with("ID.")
}

/// As `syncs_folder`, opening the folder included.
fn touches_folder(call: &Call) -> bool {
    let fsync = Call { name: "fsync".to_owned(), path: call.path.clone() };
    syncs_folder(call) || (call.name == "openat" && syncs_folder(&fsync))
}

/// One fault and everything that must hold after it. Returns the outcome, if the fault was reached.
async fn try_fault<O: Operation>(
    site: &mut Site,
    operation: &mut O,
    skipped: usize,
    fault: &Fault,
    unknown_ends_server: bool,
) -> TestResult<Option<Outcome>> {
    operation.prepare(site).await?;
    let (answer, injected) = run_with(site, operation, skipped, fault).await?;
    let right = async {
        let outcome = operation.record(&answer)?;
        let folder = injected.iter().any(touches_folder);
        if fault.errno == "ENOSPC" && !folder {
            match outcome {
                Outcome::Committed | Outcome::Refused(Code::ResourceExhausted) => {}
                other => return Err(format!("a full disk gives {other:?}").into()),
            }
        }
        if outcome != Outcome::Unknown {
            let carried_on = match site.client().await {
                Ok(client) => operation.carries_on(&client, !folder).await,
                Err(error) => Err(error),
            };
            if let Err(error) = carried_on {
                // What the server did of its own accord may have ended it, though the change was answered (C14).
                let unknown = folder && operation.has_chore();
                let ended = tokio::time::timeout(ANSWER_TIME, site.server.ended());
                if !unknown || ended.await.is_err() {
                    return Err(error);
                }
            }
        } else if unknown_ends_server {
            let status = tokio::time::timeout(ANSWER_TIME, site.server.ended()).await??;
            if status.success() {
                return Err("after an unknown outcome the server ended as if all was well".into());
            }
        }
        site.restart().await?;
        operation.settles(&site.client().await?).await?;
        TestResult::Ok(outcome)
    };
    match right.await {
        Ok(outcome) => Ok((!injected.is_empty()).then_some(outcome)),
        Err(error) => Err(format!("failed: {injected:?}, answer {answer:?}: {error}").into()),
    }
}

/// Every call of the operation fails in its turn; at night again and again. An outcome that is unknown ends the server (C14), at
/// least that of an append.
async fn fail_every_call<O: Operation>(
    name: &str,
    operation: impl Fn() -> O,
    unknown_ends_server: bool,
) {
    let name = format!("errors at every call of {name}");
    if let Some(why) = trace::unavailable().await {
        return skipped(&name, &why);
    }
    let soak = SoakTime::start().unwrap();
    let mut faults = FAULTS.to_vec();
    if soak.is_set() {
        faults.extend(MORE_FAULTS);
    }
    let mut outcomes = BTreeMap::new();
    let mut passes = 0;
    if operation().has_chore() && !soak.is_set() {
        faults.truncate(1);
    }
    while passes == 0 || soak.is_left() {
        go_through(&name, operation(), (&faults, unknown_ends_server), soak, &mut outcomes).await;
        passes += 1;
    }
    let counts: Vec<_> = outcomes.iter().map(|(what, count)| format!("{what} {count}")).collect();
    reached(&name, &counts.join(", "));
    let missed: usize =
        outcomes.iter().filter(|(what, _)| what.ends_with("not reached")).map(|(_, n)| n).sum();
    let tried: usize = outcomes.values().sum();
    assert!(missed * 10 <= tried, "{name}: only {} of {tried} faults were met", tried - missed);
}

async fn go_through<O: Operation>(
    name: &str,
    mut operation: O,
    (faults, unknown_ends_server): (&[(&'static str, bool)], bool),
    soak: SoakTime,
    outcomes: &mut BTreeMap<String, usize>,
) {
    let mut site = Site::new().await.unwrap();
    // The very first run makes folders that later runs find.
    calls_of(&mut site, &mut operation).await.unwrap();
    let calls = calls_of(&mut site, &mut operation).await.unwrap();
    let mut calls: Vec<_> = calls.into_iter().enumerate().collect();
    if operation.has_chore() && !soak.is_set() {
        // Writing a segment of many megabytes is the same call over and over.
        let mut seen = BTreeSet::new();
        calls.retain(|(_, call)| seen.insert(call.clone()));
    }
    for (errno, onwards) in faults.iter().copied() {
        for (skipped, call) in &calls {
            let skipped = *skipped;
            if soak.is_over() {
                return;
            }
            let fault = Fault { call: call.name.clone(), errno, onwards };
            let tried = try_fault(&mut site, &mut operation, skipped, &fault, unknown_ends_server);
            match tried.await {
                Ok(outcome) => {
                    let what = match outcome {
                        None => "not reached".to_owned(),
                        Some(Outcome::Committed) => "committed".to_owned(),
                        Some(Outcome::Refused(code)) => format!("{code:?}"),
                        Some(Outcome::Unknown) => "unknown".to_owned(),
                    };
                    *outcomes.entry(format!("{errno} {what}")).or_default() += 1;
                }
                Err(error) => panic!("{name}: {fault:?} at {call}, call {skipped}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn append() {
    fail_every_call("a small append", || Appends::new(Size::SMALL, 1), true).await;
}

#[tokio::test]
async fn large_append() {
    fail_every_call("a large append", || Appends::new(Size::LARGE, 1), true).await;
}

#[tokio::test]
async fn first_append() {
    fail_every_call("a first append", || FirstAppend::new(Size::LARGE), true).await;
}

#[tokio::test]
async fn create_table() {
    fail_every_call("the creation of a table", Create::default, false).await;
}

#[tokio::test]
async fn drop_table() {
    fail_every_call("the drop of a table", Drop::default, false).await;
}

#[tokio::test]
async fn flush() {
    fail_every_call("an append and the flush after it", Chore::flush, true).await;
}

#[tokio::test]
async fn checkpoint() {
    fail_every_call("an append and the checkpoint after it", Chore::checkpoint, true).await;
}

/// Each file that a start and the first look at every table read, open or sync, with the calls to do so.
async fn calls_of_start(
    site: &mut Site,
    ledgers: &[Ledger],
) -> TestResult<BTreeSet<(String, PathBuf)>> {
    site.server.end().await?;
    let mut starting = Starting::held(site.data_dir(), &ARGUMENTS)?;
    let all = format!("{CHANGING_CALLS},{READING_CALLS}");
    let mut tracer = Tracer::attach(starting.id()?, site.data_dir(), &all).await?;
    starting.begin().await?;
    let mut served = std::pin::pin!(async {
        let server = starting.ready().await?;
        let client = server.client().await?;
        for ledger in ledgers {
            ledger.check(&client).await?;
        }
        TestResult::Ok(server)
    });
    let mut made = Vec::new();
    loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                made.extend(stopped?.ok_or("the server ended by itself")?);
                tracer.resume().await?;
            }
            server = &mut served => {
                site.server = server?;
                break;
            }
        }
    }
    tracer.release().await?;
    Ok(made.into_iter().map(|made| (made.call.name, made.file)).collect())
}

/// C8, C10: what cannot be read or synced at a start keeps the server from starting, or the table from being served; it is never
/// taken for absent. The next start finds everything.
#[tokio::test]
async fn start() {
    let name = "EIO at every call of a start";
    if let Some(why) = trace::unavailable().await {
        return skipped(name, &why);
    }
    let mut site = Site::new().await.unwrap();
    let client = site.client().await.unwrap();
    let mut ledgers = [Ledger::new("small", Size::SMALL), Ledger::new("large", Size::LARGE)];
    for ledger in &mut ledgers {
        ledger.create(&client).await.unwrap();
        for _ in 0..2 {
            ledger.append(&client).await.unwrap();
        }
    }
    let calls = calls_of_start(&mut site, &ledgers).await.unwrap();
    let (mut refused, mut incomplete, mut harmless) = (0, 0, 0);
    for (call, file) in &calls {
        site.server.end().await.unwrap();
        let mut starting = Starting::held(site.data_dir(), &ARGUMENTS).unwrap();
        let fault = Fault { call: call.clone(), errno: "EIO", onwards: true };
        let id = starting.id().unwrap();
        let faults = Faults::inject(id, site.data_dir(), &fault, Some(file)).await.unwrap();
        starting.begin().await.unwrap();
        let ready = tokio::time::timeout(ANSWER_TIME, starting.ready()).await.unwrap();
        match ready {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("os error 5"), "{call} {}: {text}", file.display());
                refused += 1;
            }
            Ok(server) => {
                site.server = server;
                let client = site.client().await.unwrap();
                let mut all = true;
                for ledger in &ledgers {
                    if let Err(error) = ledger.check(&client).await {
                        let code = end_to_end::code_of(&*error);
                        assert_eq!(code, Some(Code::Unavailable), "{fault:?} {file:?}: {error}");
                        all = false;
                    }
                }
                if all {
                    harmless += 1;
                } else {
                    incomplete += 1;
                }
            }
        }
        faults.stop().await.unwrap();
        site.restart().await.unwrap();
        let client = site.client().await.unwrap();
        for ledger in &mut ledgers {
            let checked = ledger.check(&client).await;
            checked.unwrap_or_else(|error| panic!("after {fault:?} {file:?}: {error}"));
        }
    }
    let client = site.client().await.unwrap();
    for ledger in &mut ledgers {
        ledger.append(&client).await.unwrap();
    }
    reached(
        name,
        &format!(
            "{} calls: {refused} starts refused, {incomplete} without a table, {harmless} did without",
            calls.len()
        ),
    );
    assert!(refused > 0 && incomplete > 0, "too tame");
}

/// Each file that the first query after a start reads or opens, with the calls to do so.
async fn reads_of(site: &mut Site, ledger: &Ledger) -> TestResult<BTreeSet<(String, PathBuf)>> {
    site.restart().await?;
    let client = site.client().await?;
    let calls = format!("openat,{READING_CALLS}");
    let (checked, made) = traced(site, &calls, ledger.check(&client)).await?;
    checked?;
    Ok(made.into_iter().map(|made| (made.call.name, made.file)).collect())
}

/// C10: what cannot be read is an error and never fewer rows, and the next query reads it.
#[tokio::test]
async fn query() {
    let name = "EIO at every read of a query";
    if let Some(why) = trace::unavailable().await {
        return skipped(name, &why);
    }
    let mut site = Site::new().await.unwrap();
    let client = site.client().await.unwrap();
    let mut small = Ledger::new("small", Size::SMALL);
    let mut large = Ledger::new("large", Size::LARGE);
    for ledger in [&mut small, &mut large] {
        ledger.create(&client).await.unwrap();
        for _ in 0..3 {
            ledger.append(&client).await.unwrap();
        }
    }
    let (mut failed, mut answered) = (0, 0);
    for ledger in [&mut small, &mut large] {
        for (call, file) in reads_of(&mut site, ledger).await.unwrap() {
            site.restart().await.unwrap();
            let client = site.client().await.unwrap();
            let fault = Fault { call, errno: "EIO", onwards: true };
            let server = site.server.id().unwrap();
            let faults =
                Faults::inject(server, site.data_dir(), &fault, Some(&file)).await.unwrap();
            let checked = ledger.check(&client).await;
            let injected = faults.stop().await.unwrap();
            match checked {
                Ok(_) => answered += 1,
                Err(error) => {
                    let code = end_to_end::code_of(&*error);
                    assert_eq!(code, Some(Code::Unavailable), "{injected:?}: {error}");
                    failed += 1;
                }
            }
            if file.is_dir() {
                // What its names are worth is found out by a restart (C14).
                site.restart().await.unwrap();
            }
            let client = site.client().await.unwrap();
            ledger.check(&client).await.unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
            ledger.append(&client).await.unwrap();
        }
    }
    reached(name, &format!("{failed} queries failed, {answered} did without"));
    assert!(failed > 0);
}
