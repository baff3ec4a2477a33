//! The examples as their users run them, against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Write;
use std::path::Path;

use flight_server::config::ServerConfig;
use flight_server::server;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;

/// What a program prints.
async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file with an hourly price of two symbols.
fn day(folder: &Path, date: &str) -> String {
    let mut text = "ts,symbol,close\n".to_owned();
    for symbol in ["AAPL", "NVDA"] {
        for hour in 0..24 {
            writeln!(text, "{date}T{hour:02}:00:00Z,{symbol},1{hour:02}.5").unwrap();
        }
    }
    let path = folder.join(format!("{date}.csv"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_once_is_found_and_loaded_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config =
        ServerConfig { disk_floor_bytes: Some(0), ..ServerConfig::new(folder.path().join("root")) };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(listener, config, async { drop(stopped.await) }));

    let (first, third) = (day(folder.path(), "2025-03-01"), day(folder.path(), "2025-03-03"));
    let ingest =
        async || run(env!("CARGO_BIN_EXE_ingest"), &[&address, "prices", &first, &third]).await;
    assert_eq!(ingest().await, "2025-03-01.csv: 48 rows\n2025-03-03.csv: 48 rows\n");
    let again = "\
2025-03-01.csv: already loaded, 48 overlapping buckets (first symbol=\"AAPL\" [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z), since version 2)
2025-03-03.csv: already loaded, 48 overlapping buckets (first symbol=\"AAPL\" [2025-03-03T00:00:00Z, 2025-03-03T01:00:00Z), since version 3)
";
    assert_eq!(ingest().await, again);
    let query = [&address[..], "prices", "2025-03-01T12:00:00Z"];
    let found = "\
AAPL: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows
NVDA: 2025-03-01T12:00:00Z to 2025-03-03T23:00:00Z, 36 rows
AAPL: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets
NVDA: nothing from 2025-03-02T00:00:00Z to 2025-03-03T00:00:00Z, 24 buckets
";
    assert_eq!(run(env!("CARGO_BIN_EXE_query"), &query).await, found);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
