//! C1, C8: every read and write of the server moves fewer bytes than it was asked to, or is interrupted before it moves any, as
//! POSIX allows and no healthy disk does. Nothing is torn, lost or refused for it, on the way to disk and on the way back.
//!
//! A small library in C stands between the server and its files; without a C compiler the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::ledger::{Ledger, Size};
use end_to_end::site::ARGUMENTS;
use end_to_end::{Server, reached, skipped};

/// Appends before the server is started again.
const APPENDS: usize = 6;
/// Enough of a quarter of a mebibyte that a flush is due.
const MANY: usize = 34;
/// Just below what a record may carry.
const MEDIUM: Size = Size { rows: 4, noise_bytes: 62 << 10 };

/// The library, compiled into `folder`.
fn library(folder: &Path) -> Result<PathBuf, String> {
    let library = folder.join("short_io.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("preload/short_io.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .output()
        .map_err(|error| format!("cc cannot be run: {error}"))?;
    match compiled.status.success() {
        true => Ok(library),
        false => Err(String::from_utf8_lossy(&compiled.stderr).into_owned()),
    }
}

#[tokio::test]
async fn short_reads_and_writes_tear_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let library = match library(folder.path()) {
        Ok(library) => library,
        Err(why) => return skipped("short reads and writes", &why),
    };
    let (data, count) = (folder.path().join("data"), folder.path().join("count"));
    let environment =
        [("LD_PRELOAD", library.to_str().unwrap()), ("SHORT_IO_COUNT", count.to_str().unwrap())];
    let mut shortened = Vec::new();
    let mut ledgers = [
        Ledger::new("small", Size::SMALL),
        Ledger::new("large", Size::LARGE),
        Ledger::new("medium", MEDIUM),
    ];
    for start in 0..3 {
        let server = Server::start_in(&data, &ARGUMENTS, &environment).await.unwrap();
        let client = server.client().await.unwrap();
        for ledger in &mut ledgers {
            if start == 0 {
                ledger.create(&client).await.unwrap();
            }
            // What the server before wrote in pieces is read in pieces.
            ledger.check(&client).await.unwrap();
            for _ in 0..APPENDS {
                ledger.append(&client).await.unwrap();
            }
        }
        if start == 1 {
            for _ in 0..MANY {
                ledgers[2].append(&client).await.unwrap();
            }
        }
        for ledger in &ledgers {
            let found = ledger.check(&client).await.unwrap();
            assert!(found.is_empty(), "{found:?}");
        }
        server.stop().await.unwrap();
        let calls = std::fs::read_to_string(&count).unwrap_or_else(|error| panic!("{error}"));
        shortened.push(calls.trim().parse::<u64>().unwrap());
    }
    // Without the library everything is there, too.
    let server = Server::start_with(&data, &ARGUMENTS).await.unwrap();
    let client = server.client().await.unwrap();
    for ledger in &ledgers {
        ledger.check(&client).await.unwrap();
    }
    server.stop().await.unwrap();
    reached("short reads and writes", &format!("calls cut short by three servers {shortened:?}"));
    assert!(shortened.iter().all(|calls| *calls > 100), "{shortened:?}");
}
