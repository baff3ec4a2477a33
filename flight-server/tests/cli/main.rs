#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! The `coverline` binary as people and scripts run it: against a folder and against a running server.

mod coverage;
#[path = "../common/cutter.rs"]
mod cutter;
mod outcomes;
mod place;
mod tls;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use place::{Place, Server, coverline, run, terminate};
use tempfile::TempDir;

/// Two days of two series; `NA` is null.
const MONDAY: &str = "\
ts,symbol,close
2025-03-03T09:00:00Z,AMD,100.5
2025-03-03T10:00:00Z,AMD,101
2025-03-03T09:00:00Z,NVDA,120.25
2025-03-03T10:30:00Z,NVDA,NA
";
const TUESDAY: &str = "\
ts,symbol,close
2025-03-04T09:00:00Z,AMD,102
2025-03-04T12:00:00Z,NVDA,119
";

fn read_parquet(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_command_explains_itself() {
    for (arguments, expected) in [
        (&["--help"][..], "Exit codes:"),
        (&["serve", "--help"], "COVERLINE_LISTEN"),
        (&["demo", "--help"], "--once"),
        (&["create", "--help"], "--time-zone"),
        (&["append", "--help"], "3 when at least one was refused"),
        (&["--help"], "5  append, create, query: nobody knows"),
        (&["query", "--help"], "--format"),
        (&["tables", "--help"], "COVERLINE_SERVER"),
        (&["coverage", "--help"], "--at <TIME>"),
        (&["gaps", "--help"], "between its first and last covered bucket"),
        (&["log", "--help"], "show"),
        (&["log", "show", "--help"], "--first"),
        (&["scrub", "--help"], "4 when one is not"),
        (&["backup", "--help"], "new or empty"),
        (&["restore", "--help"], "never written over"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = coverline().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
    }
    let output = coverline().args(["append", "prices"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_main_job_on_a_folder() {
    main_job(Place::folder());
}

#[test]
fn the_main_job_against_a_server() {
    main_job(Place::server());
}

/// Create, append, append again, verify: twice changes nothing.
fn main_job(place: Place) {
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    let tuesday = place.file("tuesday.csv", TUESDAY);

    let first = place.append(&[&monday, &tuesday]).expect(0).text();
    let lines: Vec<_> = first.lines().collect();
    assert!(lines[0].starts_with(&format!("{monday}: version ")), "{first}");
    assert!(lines[0].ends_with(", 4 rows, 4 buckets"), "{first}");
    assert!(lines[1].ends_with(", 2 rows, 2 buckets"), "{first}");
    assert_eq!(lines[2], "2 files: 2 appended (6 rows), 0 already loaded");
    let history = place.run(&["log", "show", "prices"]).expect(0).text();

    // Twice changes nothing, and is no error, whatever the file is called.
    let moved = place.file("moved.csv", MONDAY);
    let again = place.append(&[&monday, &tuesday, &moved]).expect(0).text();
    let lines: Vec<_> = again.lines().collect();
    assert_eq!(lines[0], format!("{monday}: already loaded as version 2 (4 rows, 4 buckets)"));
    assert_eq!(lines[1], format!("{tuesday}: already loaded as version 3 (2 rows, 2 buckets)"));
    assert_eq!(lines[2], format!("{moved}: already loaded as version 2 (4 rows, 4 buckets)"));
    assert_eq!(lines[3], "3 files: 0 appended (0 rows), 3 already loaded");
    // Nor is it without the ids, as long as the rows are the same.
    let again = place.append(&[&monday, "--no-append-id"]).expect(0).text();
    assert_eq!(again, format!("{monday}: already loaded as version 2 (4 buckets)\n"));

    let revised = place.file("revised.csv", MONDAY.replace("100.5", "99.5"));
    for arguments in [&[&*revised, &monday][..], &[&revised, &monday, "--no-append-id"]] {
        let refused = place.append(arguments).expect(3).text();
        let lines: Vec<_> = refused.lines().collect();
        assert!(
            lines[0].starts_with(&format!("{revised}: refused, 4 overlapping buckets ")),
            "{refused}"
        );
        assert!(
            lines[0].contains(
                "(first symbol=\"AMD\" [2025-03-03T09:00:00Z, 2025-03-03T10:00:00Z), since version 2)"
            ),
            "{refused}"
        );
        assert_eq!(lines[2], "2 files: 0 appended (0 rows), 1 already loaded, 1 refused");
    }
    assert_eq!(place.run(&["log", "show", "prices"]).expect(0).text(), history);

    let verified = place.query(
        "SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n, count(close) AS closes \
         FROM prices GROUP BY symbol ORDER BY symbol",
    );
    assert_eq!(
        verified,
        "symbol,first,last,n,closes\n\
         AMD,2025-03-03T09:00:00Z,2025-03-04T09:00:00Z,3,3\n\
         NVDA,2025-03-03T09:00:00Z,2025-03-04T12:00:00Z,3,2\n"
    );
    place.close();
}

#[test]
fn skip_appends_what_is_new() {
    let place = Place::folder();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    place.append(&[&monday]).expect(0);
    let more = place.file("more.csv", format!("{MONDAY}2025-03-03T11:00:00Z,AMD,99\n"));

    let skipped = place.append(&[&more, "--on-overlap", "skip"]).expect(0).text();
    assert!(skipped.contains("1 row, 1 bucket, 4 rows skipped as already loaded"), "{skipped}");
    // The same again is the same append, with the rows that it skipped.
    let repeated = place.append(&[&more, "--on-overlap", "skip"]).expect(0).text();
    assert!(
        repeated.contains(
            "already loaded as version 3 (1 row, 1 bucket, 4 rows skipped as already loaded)"
        ),
        "{repeated}"
    );
    let nothing = place.append(&[&more, "--on-overlap", "skip", "--no-append-id"]).expect(0).text();
    assert!(nothing.contains("nothing new, 5 rows skipped"), "{nothing}");
    // Having been appended in part is not having been loaded.
    let whole = place.append(&[&more]).expect(3).text();
    assert!(whole.contains("refused, 5 overlapping buckets"), "{whole}");
    assert_eq!(place.query("SELECT count(*) AS n FROM prices"), "n\n5\n");
}

#[test]
fn an_append_id_makes_a_retry_harmless() {
    let place = Place::server();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    let first = place.append(&[&monday, "--append-id", "monday"]).expect(0).text();
    let retried = place.append(&[&monday, "--append-id", "monday"]).expect(0).text();
    assert!(
        retried.contains("already loaded as version 2 (4 rows, 4 buckets)"),
        "{first}{retried}"
    );
    let tuesday = place.file("tuesday.csv", TUESDAY);
    place
        .append(&[&tuesday, "--append-id", "monday"])
        .expect_error(1, &["append id \"monday\" was used for other rows in version 2"]);
    assert_eq!(place.query("SELECT count(*) AS n FROM prices"), "n\n4\n");
    place.close();
}

/// Only what creates a table begins a root: a path that is mistyped is left as it is.
#[test]
fn a_root_that_is_mistyped_is_not_made() {
    let place = Place::folder();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    let typo = place.folder.path().join("dota");
    let other = place.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "x").unwrap();
    for root in [&typo, &other] {
        let root_name = root.display().to_string();
        for command in [
            &["tables"][..],
            &["query", "SELECT 1"],
            &["append", "prices", &monday],
            &["log", "show", "prices"],
        ] {
            run(&[command, &["--root", &root_name]].concat()).expect_error(
                1,
                &["error: there is no coverline root at", &root_name, "coverline create"],
            );
        }
    }
    assert!(!typo.exists());
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    let typo = typo.display().to_string();
    run(&["create", "prices", "--plain", "--root", &typo]).expect(0);
    run(&["tables", "--root", &typo]).expect(0);
}

/// A server inside the command says nothing beside the command.
#[test]
fn an_error_is_printed_once() {
    let place = Place::folder();
    place.create_prices();
    place.append(&[&place.file("monday.csv", MONDAY)]).expect(0);
    let tables = place.folder.path().join("data/tables");
    let table = std::fs::read_dir(tables).unwrap().next().unwrap().unwrap().path();
    let record = table.join("_log/00000000000000000002");
    let mut bytes = std::fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&record, bytes).unwrap();
    let said = place.run(&["query", "SELECT * FROM prices"]);
    let said = said.expect_error(1, &["error: ", "00000000000000000002"]).stderr;
    assert_eq!(said.matches("00000000000000000002").count(), 1, "{said}");
}

#[test]
fn results_come_in_every_format() {
    let place = Place::server();
    place.create_prices();
    place.append(&[&place.file("monday.csv", MONDAY)]).expect(0);
    let sql = "SELECT symbol, close FROM prices WHERE symbol = 'NVDA' ORDER BY ts";
    let format = |format| place.run(&["query", sql, "--format", format]).expect(0);

    assert_eq!(
        place.run(&["query", sql]).expect(0).text(),
        " symbol | close\n--------+--------\n NVDA   | 120.25\n NVDA   |   NULL\n(2 rows)\n"
    );
    assert_eq!(format("csv").text(), "symbol,close\nNVDA,120.25\nNVDA,\n");
    assert_eq!(
        format("json").text(),
        "{\"symbol\":\"NVDA\",\"close\":120.25}\n{\"symbol\":\"NVDA\",\"close\":null}\n"
    );
    let piped = read_parquet(format("parquet").stdout);
    assert_eq!(piped.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);

    let path = place.folder.path().join("out.parquet");
    let output = path.display().to_string();
    let run = |sql| place.run(&["query", sql, "--format", "parquet", "--output", &output]);
    let written = run(sql).expect(0);
    assert!(written.stdout.is_empty());
    assert_eq!(read_parquet(std::fs::read(&path).unwrap()), piped);
    // A query that fails leaves the result that is there alone, and nothing beside it.
    let entries = || std::fs::read_dir(place.folder.path()).unwrap().count();
    let before = entries();
    run("SELECT no_such_column FROM prices").expect(1);
    assert_eq!(read_parquet(std::fs::read(&path).unwrap()), piped);
    assert_eq!(entries(), before);

    // A header even without rows.
    assert_eq!(place.query("SELECT close FROM prices WHERE symbol = 'none'"), "close\n");
    place.close();
}

#[test]
fn every_kind_of_file_can_be_appended() {
    let place = Place::folder();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    place.append(&[&monday]).expect(0);
    let all = place.run(&["query", "SELECT * FROM prices", "--format", "parquet"]).expect(0);
    let batches = read_parquet(all.stdout);
    let schema = batches[0].schema();

    let parquet = place.folder.path().join("a.bin");
    let mut writer =
        ArrowWriter::try_new(File::create(&parquet).unwrap(), schema.clone(), None).unwrap();
    let file = place.folder.path().join("b.bin");
    let mut file_writer =
        arrow_ipc::writer::FileWriter::try_new(File::create(&file).unwrap(), &schema).unwrap();
    let stream = place.folder.path().join("c.bin");
    let mut stream_writer =
        arrow_ipc::writer::StreamWriter::try_new(File::create(&stream).unwrap(), &schema).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
        file_writer.write(batch).unwrap();
        stream_writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    file_writer.finish().unwrap();
    stream_writer.finish().unwrap();

    for (table, path) in [("a", parquet), ("b", file), ("c", stream)] {
        place
            .run(&["create", table, "--index", "ts", "--bucket", "1h", "--entity", "symbol"])
            .expect(0);
        place.run(&["append", table, path.to_str().unwrap()]).expect(0);
        let rows = place.query(&format!("SELECT * FROM {table} ORDER BY symbol, ts"));
        assert_eq!(rows, place.query("SELECT * FROM prices ORDER BY symbol, ts"), "{table}");
    }
}

#[test]
fn tables_and_logs_are_listed() {
    let place = Place::server();
    place.create_prices();
    place.append(&[&place.file("monday.csv", MONDAY)]).expect(0);
    let names = place.file("names.csv", "symbol,name\nAMD,Advanced Micro Devices\n");
    place.run(&["create", "names", "--plain", "--schema-from", &names]).expect(0);
    assert_eq!(place.query("SELECT * FROM names"), "symbol,name\n");
    place.run(&["append", "names", &names]).expect(0);
    // Plain tables never overlap, but a file is known by what is in it.
    let again = place.run(&["append", "names", &names]).expect(0).text();
    assert!(again.ends_with("already loaded as version 2 (1 row)\n"), "{again}");
    assert_eq!(place.query("SELECT count(*) AS n FROM names"), "n\n1\n");
    place.run(&["append", "names", &names, "--no-append-id"]).expect(0);
    assert_eq!(place.query("SELECT count(*) AS n FROM names"), "n\n2\n");

    let tables = place.run(&["tables"]).expect(0).text();
    assert!(tables.contains("prices") && tables.contains("names"), "{tables}");
    assert!(
        tables.contains(" ts ") && tables.contains(" 1h ") && tables.contains(" symbol "),
        "{tables}"
    );
    assert!(tables.ends_with("(2 rows)\n"), "{tables}");
    let lines = place.run(&["tables", "--format", "json"]).expect(0).text();
    let names: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].clone())
        .collect();
    assert_eq!(names, ["names", "prices"]);

    let log = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let text = place.run(&[&["log", "show", "prices"], arguments].concat()).expect(0).text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = log(&[]);
    assert_eq!(all.len(), 2, "creation and append: {all:?}");
    assert_eq!(log(&["--first", "2"]), all[1..]);
    assert_eq!(log(&["--last", "1"]), all[..1]);
    place.close();
}

#[test]
fn creating_twice_is_an_error_unless_allowed() {
    let place = Place::folder();
    place.create_prices();
    let create = ["create", "prices", "--index", "ts", "--bucket", "1h", "--entity", "symbol"];
    place.run(&create).expect_error(1, &["error: ", "prices", "hint: --if-not-exists"]);
    let text = place.run(&[&create[..], &["--if-not-exists"]].concat()).expect(0).text();
    assert!(text.contains("exists already"), "{text}");
    // A table set up otherwise is not what was asked for.
    place
        .run(&["create", "prices", "--index", "ts", "--bucket", "1d", "--if-not-exists"])
        .expect_error(1, &["prices", "1h", "1d"]);
}

#[test]
fn wrong_requests_say_what_to_do() {
    let place = Place::folder();
    place
        .run(&["create", "t", "--index", "ts", "--bucket", "soon"])
        .expect_error(1, &["error: ", "\"soon\"", "\"15m\""]);
    place
        .run(&["create", "t", "--index", "ts", "--bucket", "1d", "--time-zone", "Mars/Olympus"])
        .expect_error(1, &["Mars/Olympus"]);
    place.run(&["create", "../t", "--plain"]).expect_error(1, &["../t"]);
    place
        .run(&["append", "nowhere", &place.file("monday.csv", MONDAY)])
        .expect_error(1, &["monday.csv: ", "nowhere", "hint: `coverline tables`"]);
    place.run(&["query", "SELEC 1"]).expect_error(1, &["error: "]);
    place
        .run(&["log", "show", "nowhere"])
        .expect_error(1, &["nowhere", "hint: `coverline tables`"]);
    assert_eq!(place.run(&["tables", "--format", "json"]).expect(0).text(), "");
    // A version that is not there has its own advice.
    place.create_prices();
    let said = place.run(&["log", "show", "prices", "--first", "900"]);
    let said = said.expect_error(1, &["no version 900", "versions are 1 to 1"]);
    assert!(!said.stderr.contains("hint"), "{}", said.stderr);
    place
        .run(&["log", "show", "prices", "--first", "9", "--last", "3"])
        .expect_error(2, &["'--first'", "'--last'"]);
    place
        .run(&["append", "prices", "monday.csv", "--append-id", ""])
        .expect_error(2, &["must not be empty; --no-append-id appends without one"]);
}

#[test]
fn files_that_cannot_be_read_change_nothing() {
    let place = Place::server();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    place.append(&[&monday]).expect(0);
    let history = place.run(&["log", "show", "prices"]).expect(0).text();

    let all = place.run(&["query", "SELECT * FROM prices", "--format", "parquet"]).expect(0).stdout;
    let truncated = place.file("truncated.parquet", &all[..all.len() / 2]);
    place
        .append(&[&truncated])
        .expect_error(1, &["error: cannot read", "truncated.parquet", "Parquet"]);
    let missing = place.folder.path().join("absent.parquet").display().to_string();
    place.append(&[&missing]).expect_error(1, &["cannot open", "absent.parquet"]);
    let empty = place.file("empty.csv", "");
    place.append(&[&empty]).expect_error(1, &["empty.csv", "it is empty"]);

    // The last row of many is bad: what was sent before it must not be committed.
    let mut late = String::from("ts,symbol,close\n");
    for hour in 0..100_000 {
        let time = chrono::DateTime::from_timestamp_secs(1_800_000_000 + hour * 3600).unwrap();
        late += &format!("{},AMD,1\n", time.format("%Y-%m-%dT%H:%M:%SZ"));
    }
    let late = place.file("late.csv", late + "2026-01-01T00:00:00Z,AMD,lots\n");
    place.append(&[&late]).expect_error(1, &["error: cannot read", "late.csv", "lots"]);

    let wrong = place.file("wrong.csv", "ts,symbol,price\n2026-01-01T00:00:00Z,AMD,1\n");
    place.append(&[&wrong]).expect_error(1, &["wrong.csv", "price"]);
    let null = place.file("null.csv", "ts,symbol,close\n2026-01-01T00:00:00Z,,1\n");
    place.append(&[&null]).expect_error(1, &["null.csv", "symbol"]);

    // A name that is mistyped shows before anything is appended.
    let tuesday = place.file("tuesday.csv", TUESDAY);
    place.append(&[&tuesday, &missing]).expect_error(1, &["cannot open", "absent.parquet"]);
    assert_eq!(place.run(&["log", "show", "prices"]).expect(0).text(), history);
    // Another error ends the command; what was appended before it stays, and is told.
    let partly = place.append(&[&tuesday, &truncated, &monday]).expect(1);
    assert!(
        partly.text().ends_with("1 file: 1 appended (2 rows), 0 already loaded\n"),
        "{partly:?}"
    );
    place.close();
}

#[test]
fn a_folder_has_one_server_at_a_time() {
    let place = Place::server();
    let data_dir = place.folder.path().join("data");
    let url = &place.server.as_ref().unwrap().url;
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["tables"]] {
        let output = coverline().args(command).arg("--data-dir").arg(&data_dir).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(output.stdout.is_empty(), "{command:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(url.as_str()), "{command:?} does not name the holder: {stderr}");
    }
    place.close();
}

#[test]
fn a_server_that_does_not_answer_is_told_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let url = server.url.clone();
    server.stop();
    let output = coverline().args(["tables", "--server", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot connect to {url}")), "{stderr}");
    assert!(stderr.contains("coverline serve") && stderr.contains("--root"), "{stderr}");
}

#[test]
fn a_taken_port_and_a_bad_address_are_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    for (address, expected) in [(address.as_str(), "another program"), ("nonsense", "HOST:PORT")] {
        let output = coverline()
            .args(["serve", "--listen", address, "--data-dir"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{address}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::server();
    let [_, url] = &place.arguments;
    let numbers = "SELECT * FROM generate_series(1, 2000000)";
    for format in ["table", "csv", "json", "parquet"] {
        let mut child = coverline()
            .args(["query", numbers, "--format", format, "--server", url])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut start = [0; 4];
        child.stdout.take().unwrap().read_exact(&mut start).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{format}");
        assert!(output.status.success(), "{format}");
    }
    place.close();
}

#[test]
fn the_demo_finds_the_known_numbers_and_ends() {
    let folder = TempDir::new().unwrap();
    let data_dir: PathBuf = folder.path().join("data");
    let demo =
        || coverline().args(["demo", "--once", "--data-dir"]).arg(&data_dir).output().unwrap();
    let output = demo();
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{stderr}");
    assert_eq!(stderr, "", "nothing is wrong, so nothing is said");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    for expected in [
        "364 files appended, 26115 rows",
        "364 files already loaded, table unchanged",
        "jdbc:arrow-flight-sql://127.0.0.1:",
        "adbc_driver_flightsql",
        "pyarrow.flight",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for (origin, hours, missing) in
        [("EWR", "8703", "27"), ("JFK", "8706", "24"), ("LGA", "8706", "24")]
    {
        let of_origin = |columns| rows.iter().find(|row| row[0] == origin && row.len() == columns);
        let summary = of_origin(5).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(summary[2..], ["2013-01-01T06:00:00Z", "2013-12-30T23:00:00Z", hours]);
        assert_eq!(of_origin(3).unwrap()[2], missing);
    }

    // The tables are ordinary ones; a second demo would not be able to tell its own work from what it found.
    let listed = coverline().args(["tables", "--data-dir"]).arg(&data_dir).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("weather"));
    let again = demo();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("--data-dir"));
}

#[test]
fn the_demo_serves_on_until_it_is_told_to_stop() {
    let mut child = coverline()
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let title = lines.next().unwrap();
    let url = title.split_whitespace().find(|word| word.starts_with("grpc://")).unwrap();
    assert!(lines.any(|line| line == "Serving until Ctrl-C."));
    let count = coverline()
        .args(["query", "SELECT count(*) AS n FROM weather", "--format", "csv", "--server", url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(count.stdout).unwrap(), "n\n26115\n");
    terminate(&child);
    assert!(child.wait().unwrap().success());
}

/// A copy made beside a running server is a folder like any other; damage is found, placed, and told by the exit code.
#[test]
fn backups_are_made_while_serving_and_scrub_finds_damage() {
    let place = Place::server();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    place.append(&[&monday]).expect(0);
    let data = place.folder.path().join("data").display().to_string();
    let copy = place.folder.path().join("copy").display().to_string();
    let back = place.folder.path().join("back").display().to_string();
    let said = run(&["backup", &copy, "--data-dir", &data]).expect(0).text();
    assert!(said.contains("prices at version 2") && said.contains("\n1 table, "), "{said}");
    run(&["backup", &copy, "--data-dir", &data]).expect_error(1, &["not empty", "name a new one"]);
    run(&["restore", &copy, "--data-dir", &back]).expect(0);
    let count =
        run(&["query", "SELECT count(*) FROM prices", "--data-dir", &back, "--format", "csv"]);
    assert_eq!(count.expect(0).text(), place.query("SELECT count(*) FROM prices"));
    let said = run(&["scrub", "--data-dir", &data]).expect(0).text();
    assert!(said.ends_with("all sound\n") && said.starts_with("1 table, "), "{said}");

    // A place that is no root is a mistake and no damage, and nothing is made for it.
    let days = place.folder.path().join("days");
    std::fs::create_dir(&days).unwrap();
    std::fs::write(days.join("monday.csv"), MONDAY).unwrap();
    let days = days.display().to_string();
    let new = place.folder.path().join("new").display().to_string();
    let no_root = "is no coverline root: it has neither a catalog nor tables";
    run(&["scrub", "--root", &days]).expect_error(1, &[&days, no_root]);
    run(&["backup", &new, "--root", &days]).expect_error(1, &[&days, no_root, "correct --root"]);
    run(&["restore", &days, "--root", &new])
        .expect_error(1, &[&days, no_root, "what `coverline backup` wrote"]);
    assert!(!Path::new(&new).exists());
    let inside = Path::new(&data).join("copy").display().to_string();
    run(&["backup", &inside, "--root", &data]).expect_error(1, &["lies inside", &data]);
    assert!(!Path::new(&inside).exists());

    let tables = Path::new(&back).join("tables");
    let table = std::fs::read_dir(tables).unwrap().next().unwrap().unwrap().path();
    let record = table.join("_log/00000000000000000002");
    let mut bytes = std::fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&record, bytes).unwrap();
    let said = run(&["scrub", "--data-dir", &back]).expect(4).text();
    assert!(
        said.contains("damaged: table prices:") && said.contains("00000000000000000002"),
        "{said}"
    );
    let report = run(&["scrub", "prices", "--data-dir", &back, "--json"]).expect(4).text();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["findings"][0]["table"], "prices");
    run(&["scrub", "--data-dir", "/nowhere/at/all"]).expect_error(1, &["/nowhere/at/all"]);
    run(&["scrub", "prizes", "--data-dir", &data])
        .expect_error(1, &["\"prizes\"", "correct the name"]);
    place.close();
}
