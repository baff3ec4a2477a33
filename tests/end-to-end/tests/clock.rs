//! C15: the server's clock is ten years fast, then ten years slow, then runs backwards. Versions keep their order, nothing is lost,
//! and append ids are remembered.
//!
//! Needs libfaketime; without it the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use end_to_end::ledger::{Ledger, Size};
use end_to_end::site::ARGUMENTS;
use end_to_end::{Server, reached, skipped};

/// Where distributions put the library that stands in for the clock.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
/// Clocks of one server after the other: offsets, and one that runs backwards a second each second.
const CLOCKS: [&str; 7] = ["+0", "+10y", "-10y", "+0", "-1s", "+0 x-1", "+0"];
/// Appends under each clock.
const APPENDS: usize = 5;

async fn start(data: &Path, library: &Path, clock: &str) -> Server {
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", clock),
        // Timers go by the monotonic clock, which no step of the wall clock moves.
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    Server::start_in(data, &ARGUMENTS, &environment).await.unwrap()
}

#[tokio::test]
async fn clock_steps_lose_nothing() {
    let Some(library) = LIBRARIES.iter().map(PathBuf::from).find(|path| path.is_file()) else {
        return skipped("clock steps", "libfaketime is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut ledger = Ledger::new("t", Size::SMALL);
    let mut years = Vec::new();
    for (index, clock) in CLOCKS.iter().enumerate() {
        let server = start(&data, &library, clock).await;
        let client = server.client().await.unwrap();
        if index == 0 {
            ledger.create(&client).await.unwrap();
        } else {
            // Sent again under another clock: the first receipt.
            let answer = ledger.send(&client, 0).await;
            ledger.record(0, &answer).unwrap();
        }
        for _ in 0..APPENDS {
            ledger.append(&client).await.unwrap();
        }
        let found = ledger.check(&client).await.unwrap();
        assert!(found.is_empty());
        let records = client.log("t").await.unwrap();
        let times: Vec<_> =
            records.iter().map(|record| record["commit_time"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{clock}: {times:?}");
        years.push(times.last().unwrap()[..4].to_owned());
        let versions: Vec<_> =
            records.iter().map(|record| record["version"].as_u64().unwrap()).collect();
        assert!(versions.iter().copied().eq(1..=versions.len() as u64), "{versions:?}");
        server.kill().await.unwrap();
    }
    // The fast clock was seen; without it the test shows nothing.
    assert!(years[1] > years[0], "{years:?}");
    reached(
        "clock steps",
        &format!("{} clocks, years of the last records {years:?}", CLOCKS.len()),
    );
}
