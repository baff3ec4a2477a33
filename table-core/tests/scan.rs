//! Queries over segments: pruning never changes a result, statistics and order save the work they should, and damaged
//! bytes are an error and never rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::Fixture;
use support::query::{
    DAY, HOUR, START, batch, daily, files_read, plan, run, schema, spec, times, utc,
};
use table_core::ErrorKind;
use table_core::coverage::CoverageDelta;
use table_core::datafusion::{PinnedTable, SnapshotSource, find_error, table_functions};
use table_core::types::{EntityKey, EntityValue};

#[tokio::test]
async fn count_min_and_max_read_nothing() {
    let table = daily(5, &[]).await;
    let session = table.session(2);
    let sql = "SELECT count(*), min(ts), max(ts), min(symbol), max(size), count(price) FROM t";
    let shown = plan(&session, sql).await;
    assert!(shown.contains("PlaceholderRowExec") && !shown.contains("DataSourceExec"), "{shown}");
    for segment in 0..5 {
        std::fs::remove_file(table.path(segment)).unwrap();
    }
    let answer = run(&session, "SELECT count(*), min(ts), max(ts) FROM t").await.unwrap();
    assert!(answer.contains("| 1200 "), "{answer}");
    assert!(answer.contains("2025-01-01T00:00:00Z"), "{answer}");
    assert!(answer.contains("2025-01-05T23:54:00Z"), "{answer}");
}

#[tokio::test]
async fn count_of_whole_segments_reads_nothing_and_of_parts_reads_those() {
    let table = daily(5, &[]).await;
    let session = table.session(2);
    let whole = "SELECT count(*) FROM t WHERE ts >= '2025-01-02' AND ts < '2025-01-04'";
    let shown = plan(&session, whole).await;
    assert!(!shown.contains("DataSourceExec"), "{shown}");
    assert!(run(&session, whole).await.unwrap().contains("| 480 "));

    let part = "SELECT count(*) FROM t WHERE ts >= '2025-01-02T12:00:00Z' AND ts < '2025-01-04'";
    let shown = plan(&session, part).await;
    assert_eq!(files_read(&shown), 2, "{shown}");
    assert!(run(&session, part).await.unwrap().contains("| 360 "));
}

#[tokio::test]
async fn time_functions_prune_segments() {
    let table = daily(10, &[]).await;
    let session = table.session(1);
    for (filter, files, rows) in [
        ("date_trunc('day', ts) = '2025-01-03T00:00:00Z'", 1, 240),
        ("date_trunc('hour', ts) = '2025-01-03T05:00:00Z'", 1, 10),
        ("date_bin(INTERVAL '6 hours', ts) = '2025-01-03T06:00:00Z'", 1, 60),
        (
            "date_bin(INTERVAL '1 day', ts, TIMESTAMP '2025-01-01T12:00:00Z') = '2025-01-03T12:00:00Z'",
            2,
            240,
        ),
        ("ts::date = '2025-01-03'", 1, 240),
        ("ts::date BETWEEN '2025-01-03' AND '2025-01-04'", 2, 480),
        ("ts::date IN ('2025-01-02', '2025-01-07')", 2, 480),
        ("CAST(ts AS TIMESTAMP(0)) = '2025-01-03T00:00:00'", 1, 1),
        ("ts::date = '2025-01-03' OR date_trunc('day', ts) = '2025-01-05T00:00:00Z'", 2, 480),
        ("date_trunc('month', ts) = '2025-02-01T00:00:00Z'", 0, 0),
        ("date_trunc('day', ts) > '2025-01-08T00:00:00Z'", 2, 480),
        ("'2025-01-03T00:00:00Z' > date_trunc('day', ts)", 2, 480),
        ("time_bucket('6h', ts) = '2025-01-03T06:00:00Z'", 1, 60),
        ("time_bucket('1d', ts) BETWEEN '2025-01-03' AND '2025-01-04'", 2, 480),
        ("time_bucket(INTERVAL '1 day', ts) IN ('2025-01-02', '2025-01-07')", 2, 480),
        ("'2025-01-03' > time_bucket('1d', ts)", 2, 480),
        ("'2025-01-09' <= time_bucket('1d', ts)", 2, 480),
        ("time_bucket('1d', ts, TIMESTAMP '2025-01-01T00:00:00') = '2025-01-03'", 1, 240),
        (
            "time_bucket('12h', ts, TIMESTAMP '2025-01-01T06:00:00') = '2025-01-03T18:00:00Z'",
            2,
            120,
        ),
        ("time_bucket('1d', ts, 'America/New_York') >= '2025-01-09T05:00:00Z'", 2, 430),
        ("time_bucket('1mo', ts, 'Asia/Tokyo') = '2025-02-28T15:00:00Z'", 0, 0),
        ("time_bucket('1w', ts::date) = '2025-01-06'", 5, 1200),
        ("date_trunc('day', time_bucket('1h', ts)) = '2025-01-03'", 2, 240),
        ("ts = '2025-01-03T00:00:00Z' OR ts = '2025-01-05T00:00:00Z'", 2, 2),
        ("ts < '2025-01-02' AND size IS NOT NULL AND ts > '2024-01-01'", 1, -1),
    ] {
        let shown = plan(&session, &format!("SELECT * FROM t WHERE {filter}")).await;
        // Truncation down to the day can hold one more day below a strict bound; more would be a loss.
        let read = files_read(&shown);
        assert!(read == files || (filter.contains('>') && read <= files + 1), "{filter}: {shown}");
        if rows >= 0 {
            let counted = run(&session, &format!("SELECT count(*) FROM t WHERE {filter}")).await;
            assert!(counted.unwrap().contains(&format!("| {rows} ")), "{filter}");
        }
    }
}

#[tokio::test]
async fn implied_ranges_prune_row_groups_too() {
    let table = daily(1, &[]).await;
    let session = table.session(1);
    let sql =
        "EXPLAIN ANALYZE SELECT size FROM t WHERE date_trunc('hour', ts) = '2025-01-01T20:00:00Z'";
    let shown = run(&session, sql).await.unwrap();
    assert!(shown.contains("row_groups_pruned_statistics=3 total → 1 matched"), "{shown}");
}

#[tokio::test]
async fn order_by_index_needs_no_sort() {
    for days in [1, 2, 9] {
        let table = daily(days, &[]).await;
        for partitions in [1, 2] {
            let session = table.session(partitions);
            let sql = "SELECT ts, price FROM t ORDER BY ts";
            let shown = plan(&session, sql).await;
            assert!(!shown.contains("SortExec"), "{days} days, {partitions} partitions: {shown}");
            let sorted = run(&session, sql).await.unwrap();
            let lines: Vec<&str> = sorted.lines().filter(|line| line.contains("2025")).collect();
            assert_eq!(lines.len() as i64, days * 240);
            assert!(lines.is_sorted());
        }
    }
}

#[tokio::test]
async fn order_by_entity_and_index_needs_no_sort_in_one_segment() {
    let table = daily(1, &["symbol"]).await;
    let session = table.session(2);
    let shown = plan(&session, "SELECT * FROM t ORDER BY symbol, ts").await;
    assert!(!shown.contains("SortExec"), "{shown}");
    let shown = plan(&session, "SELECT * FROM t WHERE symbol = 'S3' ORDER BY ts").await;
    assert!(!shown.contains("SortExec"), "{shown}");
}

#[tokio::test]
async fn last_rows_read_the_last_row_group_first() {
    let table = daily(9, &[]).await;
    let session = table.session(1);
    let sql = "SELECT ts, price FROM t ORDER BY ts DESC LIMIT 10";
    let answer = run(&session, sql).await.unwrap();
    assert!(answer.contains("2025-01-09T23:54:00Z"), "{answer}");
    let shown = run(&session, &format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
    assert!(shown.contains("reverse_row_groups=true"), "{shown}");
    let scanned = run(&session, sql).await.unwrap();
    assert_eq!(scanned.lines().filter(|line| line.contains("2025-01-09")).count(), 10);
}

#[tokio::test]
async fn a_table_without_schema_or_segments_is_empty() {
    let table = daily(0, &[]).await;
    let session = table.session(2);
    let answer = run(&session, "SELECT count(*), max(price) FROM t").await.unwrap();
    assert!(answer.contains("| 0 "), "{answer}");
    assert_eq!(session.table("t").await.unwrap().schema().fields().len(), 5);
}

#[tokio::test]
async fn clients_see_the_schema_without_field_ids() {
    let table = daily(1, &[]).await;
    let session = table.session(1);
    let batches = session.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap();
    let shown = session.table("t").await.unwrap().schema().inner().clone();
    assert_eq!(batches[0].schema(), shown);
    assert!(shown.metadata().is_empty());
    assert!(shown.fields().iter().all(|field| field.metadata().is_empty()));
    assert!(!shown.field(0).is_nullable() && shown.field(2).is_nullable());
}

/// A segment's damage and the query error that it must give.
#[tokio::test]
async fn damage_is_an_error_that_names_the_file_and_never_rows() {
    let flip = |bytes: &mut Vec<u8>, at: usize| bytes[at] ^= 0x10;
    type Damage = Box<dyn Fn(&mut Vec<u8>, &Fixture)>;
    let cases: Vec<(&str, Damage)> = vec![
        (
            "row group 1 has checksum",
            Box::new(move |bytes, table| {
                flip(bytes, table.segments[1].row_groups[1].start as usize + 7);
            }),
        ),
        (
            "its footer has checksum",
            Box::new(move |bytes, _| {
                let at = bytes.len() - 20;
                flip(bytes, at);
            }),
        ),
        (
            "its footer has checksum",
            Box::new(move |bytes, table| {
                flip(bytes, table.segments[1].row_groups[2].end as usize + 1);
            }),
        ),
        ("the log says", Box::new(|bytes, _| bytes.truncate(bytes.len() - 1))),
        ("the log says", Box::new(|bytes, _| bytes.push(0))),
        ("is missing", Box::new(|bytes, _| bytes.clear())),
    ];
    for (expected, damage) in cases {
        let table = daily(3, &[]).await;
        let path = table.path(1);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes, &table);
        match bytes.is_empty() {
            true => std::fs::remove_file(&path).unwrap(),
            false => std::fs::write(&path, &bytes).unwrap(),
        }
        let session = table.session(2);
        let error = run(&session, "SELECT * FROM t").await.unwrap_err();
        let found = find_error(&error).unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(found.kind(), ErrorKind::Corrupt, "{error}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(found.message().contains(expected), "{expected}: {error}");
        assert!(found.message().contains(name) && found.message().contains("table \"t\""));
        // Other segments are not affected.
        let other = "SELECT count(price), count(*) FROM t WHERE ts < '2025-01-02' OR ts >= '2025-01-03T12:00:00Z'";
        assert!(run(&session, other).await.unwrap().contains("| 360 "));
    }
}

#[tokio::test]
async fn a_file_that_shrinks_between_two_queries_is_damage() {
    let table = daily(1, &[]).await;
    let session = table.session(1);
    run(&session, "SELECT price FROM t WHERE ts < '2025-01-01T01:00:00Z'").await.unwrap();
    let bytes = std::fs::read(table.path(0)).unwrap();
    std::fs::write(table.path(0), &bytes[..bytes.len() / 2]).unwrap();
    let error = run(&session, "SELECT * FROM t").await.unwrap_err();
    assert_eq!(find_error(&error).unwrap().kind(), ErrorKind::Corrupt, "{error}");
}

/// Every byte of a small segment: a flip is an error, or touches bytes that the query does not need.
#[tokio::test]
async fn no_flipped_bit_is_silent() {
    let schema = schema(utc());
    let mut random = StdRng::seed_from_u64(11);
    let mut table = Fixture::new(spec(&[], "1h"), &schema).await;
    table.add_segment(&batch(&schema, times(START, 40, HOUR, &utc()), &mut random), 20);
    let sql = "SELECT * FROM t ORDER BY ts";
    let good = run(&table.session(1), sql).await.unwrap();
    let bytes = std::fs::read(table.path(0)).unwrap();
    let mut errors = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(table.path(0), &damaged).unwrap();
        table.cache = Arc::default();
        match run(&table.session(1), sql).await {
            Ok(rows) => assert_eq!(rows, good, "byte {at}"),
            Err(error) => {
                errors += 1;
                assert_eq!(
                    find_error(&error).unwrap().kind(),
                    ErrorKind::Corrupt,
                    "byte {at}: {error}"
                );
            }
        }
    }
    // Only the four bytes of the leading magic number carry no checksum.
    assert!(errors >= bytes.len() / 3 - 2, "{errors} of {}", bytes.len() / 3);
}

/// A random filter in SQL.
fn filter(random: &mut StdRng, index: &DataType, depth: u32) -> String {
    if depth > 0 && random.random_bool(0.5) {
        let (left, right) = (filter(random, index, depth - 1), filter(random, index, depth - 1));
        return match random.random_range(0..5) {
            0 => format!("NOT ({left})"),
            1 | 2 => format!("({left} OR {right})"),
            _ => format!("({left} AND {right})"),
        };
    }
    let op = ["=", "<", "<=", ">", ">=", "<>"][random.random_range(0..6)];
    let number = random.random_range(-5..120);
    match random.random_range(0..14) {
        0 => format!("price {op} {number}"),
        1 => format!("size {op} {number}"),
        2 => format!("size BETWEEN {number} AND {}", number + 9),
        3 => format!("symbol {op} 'S{}'", random.random_range(0..7)),
        4 => format!("symbol IN ('S1', 'S{}')", random.random_range(0..7)),
        5 => format!("note {op} 'n{number}'"),
        6 => ["note IS NULL", "size IS NOT NULL", "price IS NULL"][random.random_range(0..3)]
            .to_owned(),
        7 => format!("size + 1 {op} {number}"),
        8 => format!("note LIKE 'n{}%'", random.random_range(1..9)),
        _ => index_filter(random, index, op),
    }
}

fn index_filter(random: &mut StdRng, index: &DataType, op: &str) -> String {
    if !matches!(index, DataType::Timestamp(..)) {
        let number = random.random_range(0..2500);
        let (width, from) = (random.random_range(1..300), random.random_range(0..300));
        return match random.random_range(0..6) {
            3 => format!("time_bucket({width}, ts) {op} {number}"),
            4 => format!(
                "time_bucket({width}, ts, {from}) {op} {}",
                (number - from) / width * width + from
            ),
            5 => format!("time_bucket({width}, ts) BETWEEN {number} AND {}", number + 200),
            0 => format!("ts {op} {number}"),
            1 => format!("ts BETWEEN {number} AND {}", number + 200),
            _ => format!("ts IN ({number}, {})", number + 77),
        };
    }
    let mut at = || {
        let (day, hour) = (random.random_range(1..20), random.random_range(0..24));
        let minute = [0, 0, 30][random.random_range(0..3)];
        (format!("2025-03-{day:02}T{hour:02}:{minute:02}:00"), format!("2025-03-{day:02}"))
    };
    let ((instant, day), (instant2, day2)) = (at(), at());
    let unit =
        ["minute", "hour", "day", "week", "month", "quarter", "year"][random.random_range(0..7)];
    let width = ["1 hour", "7 minutes", "1 day", "36 hours", "1 month", "1 second"]
        [random.random_range(0..6)];
    let bucket = time_bucket(random);
    match random.random_range(0..17) {
        12 | 13 => format!("{bucket} {op} '{instant}'"),
        14 | 15 => {
            // The start of a bucket, mostly of one that has rows.
            format!(
                "{bucket} {op} {}",
                bucket.replace("ts", &format!("CAST('{instant}' AS {})", sql_type(index)))
            )
        }
        16 => format!("{bucket} BETWEEN '{instant}' AND '{instant2}'"),
        0 | 1 => format!("ts {op} '{instant}'"),
        2 => format!("ts BETWEEN '{instant}' AND '{instant2}'"),
        3 => format!("ts IN ('{instant}', '{instant2}')"),
        4 | 5 => format!(
            "date_trunc('{unit}', ts) {op} date_trunc('{unit}', CAST('{instant}' AS {}))",
            sql_type(index)
        ),
        6 => format!("date_trunc('{unit}', ts) {op} '{instant}'"),
        7 => format!("date_bin(INTERVAL '{width}', ts) {op} '{instant}'"),
        8 => format!(
            "date_bin(INTERVAL '{width}', ts, TIMESTAMP '2025-01-31T01:02:03.5') {op} '{instant}'"
        ),
        9 => format!("ts::date {op} '{day}'"),
        10 => format!("ts::date BETWEEN '{day}' AND '{day2}'"),
        _ => format!(
            "CAST(ts AS TIMESTAMP({})) {op} '{instant}'",
            [0, 3, 6][random.random_range(0..3)]
        ),
    }
}

/// A call over `ts` or its date with a width that it takes, some with a zone or an origin.
fn time_bucket(random: &mut StdRng) -> String {
    let zone = ["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]
        [random.random_range(0..4)];
    let day = ["1d", "3d", "1w", "1mo", "1y"][random.random_range(0..5)];
    let fixed = ["1h", "7m", "24h", "36h", "1s"][random.random_range(0..5)];
    match random.random_range(0..6) {
        0 => format!("time_bucket('{fixed}', ts, TIMESTAMP '2025-01-31T01:02:03')"),
        1 => format!("time_bucket('{fixed}', ts, TIMESTAMP '2031-01-31T01:02:03')"),
        2 => format!("time_bucket('{day}', ts, 'UTC', TIMESTAMP '2025-02-01T00:00:00')"),
        3 => format!("time_bucket('{day}', ts::date, DATE '2025-01-01')"),
        _ => format!("time_bucket('{day}', ts, '{zone}')"),
    }
}

fn sql_type(index: &DataType) -> &'static str {
    match index {
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        _ => "TIMESTAMP",
    }
}

#[tokio::test]
async fn pruning_never_changes_a_result() {
    let seed: u64 = std::env::var("SCAN_SEED").map_or(20_250_301, |seed| seed.parse().unwrap());
    println!("SCAN_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let ny = Some("America/New_York".into());
    let indexes = [
        utc(),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Timestamp(TimeUnit::Second, ny.clone()),
        DataType::Timestamp(TimeUnit::Microsecond, ny),
        DataType::Int64,
        DataType::UInt64,
    ];
    let (mut pruned, mut read, mut hot_rows) = (0, 0, 0);
    for (round, index) in indexes.iter().cycle().take(12).enumerate() {
        let schema = schema(index.clone());
        let integer = !matches!(index, DataType::Timestamp(..));
        let entities: &[&str] = if round % 2 == 0 { &[] } else { &["symbol"] };
        let mut table =
            Fixture::new(spec(entities, if integer { "10" } else { "1h" }), &schema).await;
        let mut rows = Vec::new();
        // Around the start of summer time in New York; some segments overlap.
        let mut from = START + 60 * DAY;
        for number in 0..random.random_range(2..14) {
            let count = random.random_range(1..60);
            let ts: ArrayRef = match index {
                DataType::Int64 => {
                    Arc::new(Int64Array::from_iter_values((0..count).map(|n| number * 150 + n)))
                }
                DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(
                    (0..count).map(|n| (number * 150 + n) as u64),
                )),
                _ => times(
                    from,
                    count,
                    random.random_range(1..HOUR) / 1_000_000 * 1_000_000 + 1_000_000,
                    index,
                ),
            };
            from += random.random_range(0..2 * DAY);
            let batch = batch(&schema, ts, &mut random);
            // Some tables have nothing but hot rows, some none.
            match random.random_bool([0.4, 1.0, 0.0, 0.4][round % 4]) {
                true => table.add_hot(&batch),
                false => table.add_segment(&batch, random.random_range(5..40)),
            }
            rows.push(batch);
        }
        hot_rows += table.hot.row_count();
        let session = table.session(random.random_range(1..4));
        let memory = MemTable::try_new(Arc::clone(&schema), vec![rows]).unwrap();
        session.register_table("m", Arc::new(memory)).unwrap();
        for number in 0..40 {
            // Every other one of the index alone, where nothing else hides what pruning dropped.
            let filter = match number % 2 {
                0 => filter(&mut random, index, 2),
                _ => index_filter(&mut random, index, ["=", "<", "<=", ">", ">="][number / 2 % 5]),
            };
            let sql = |table: &str| {
                format!(
                    "SELECT * FROM {table} WHERE {filter} ORDER BY ts, symbol, price, note, size"
                )
            };
            let (found, expected) =
                (run(&session, &sql("t")).await, run(&session, &sql("m")).await);
            let (found, expected) = match (found, expected) {
                (Ok(found), Ok(expected)) => (found, expected),
                (found, Err(_)) => {
                    // What DataFusion refuses or cannot compute, it need not refuse when the rows are never looked at.
                    drop(found);
                    continue;
                }
                (Err(error), Ok(_)) => panic!("{index}: {filter}: {error}"),
            };
            // Compared as sets: for `ts::date = d` DataFusion 55.2 takes ts for constant and leaves it out of ORDER BY,
            // whatever the table is.
            let (mut found, mut expected): (Vec<&str>, Vec<&str>) =
                (found.lines().collect(), expected.lines().collect());
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{index}: {filter}");
            let count = |table: &str| {
                format!(
                    "SELECT count(*) AS c, min(ts) AS a, max(size) AS b, min(note) AS n FROM {table} WHERE {filter}"
                )
            };
            assert_eq!(
                run(&session, &count("t")).await.unwrap(),
                run(&session, &count("m")).await.unwrap(),
                "{filter}"
            );
            let kept =
                files_read(&plan(&session, &format!("SELECT * FROM t WHERE {filter}")).await);
            pruned += table.segments.len() - kept;
            read += kept;
        }
    }
    assert!(pruned > 100 && read > 100 && hot_rows > 500, "{pruned} {read} {hot_rows}");
}

/// Knows the table `t` only.
#[derive(Debug)]
struct OneTable(PinnedTable);

impl SnapshotSource for OneTable {
    fn pinned(&self, table: &str) -> datafusion::error::Result<PinnedTable> {
        match table {
            "t" => Ok(self.0.clone()),
            other => datafusion::common::plan_err!("table \"{other}\" not found"),
        }
    }
}

/// A session that can ask for the coverage of `t`: hours 0 to 2 and 5 of S0, hour 4 of S1.
async fn covered() -> SessionContext {
    let table = Fixture::new(spec(&["symbol"], "1h"), &schema(utc())).await;
    let mut snapshot = table.snapshot();
    let bucketing = snapshot.layout.as_ref().unwrap().bucketing.clone().unwrap();
    let mut delta = CoverageDelta::default();
    for (symbol, hour) in [("S0", 0), ("S0", 1), ("S0", 2), ("S0", 5), ("S1", 4)] {
        let key = EntityKey::encode(&[EntityValue::Utf8(symbol.to_owned())]);
        delta.insert(&key, bucketing.bucket_of(START + hour * HOUR).unwrap());
    }
    snapshot.coverage.add(&delta);
    let session = SessionContext::new();
    let pinned = PinnedTable {
        name: "t".to_owned(),
        snapshot: Arc::new(snapshot),
        store: Arc::clone(&table.store),
    };
    let source: Arc<dyn SnapshotSource> = Arc::new(OneTable(pinned));
    for (name, function) in table_functions(&source) {
        session.register_udtf(name, function);
    }
    session
}

#[tokio::test]
async fn coverage_lists_the_covered_runs() {
    let answer = run(&covered().await, "SELECT * FROM coverage('t')").await.unwrap();
    let expected = "\
+--------+----------------------+----------------------+---------+
| symbol | start                | end                  | buckets |
+--------+----------------------+----------------------+---------+
| S0     | 2025-01-01T00:00:00Z | 2025-01-01T03:00:00Z | 3       |
| S0     | 2025-01-01T05:00:00Z | 2025-01-01T06:00:00Z | 1       |
| S1     | 2025-01-01T04:00:00Z | 2025-01-01T05:00:00Z | 1       |
+--------+----------------------+----------------------+---------+";
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn gaps_lists_the_missing_runs() {
    let session = covered().await;
    let inner = run(&session, "SELECT * FROM gaps('t')").await.unwrap();
    assert!(
        inner.contains("| S0     | 2025-01-01T03:00:00Z | 2025-01-01T05:00:00Z | 2 "),
        "{inner}"
    );
    assert_eq!(inner.lines().count(), 5, "{inner}");
    for (start, end) in [
        ("'2025-01-01T02:00:00Z'", "'2025-01-01T04:00:00Z'"),
        ("TIMESTAMP '2025-01-01 02:00:00'", "TIMESTAMP '2025-01-01 04:00:00'"),
        ("CAST('2025-01-01T02:30:00' AS TIMESTAMP)", "'2025-01-01T03:00:01Z'"),
    ] {
        let sql = format!("SELECT symbol, missing_buckets FROM gaps('t', {start}, {end})");
        let rows = run(&session, &sql).await.unwrap();
        assert!(rows.contains("| S0     | 1 ") && rows.contains("| S1     | 2 "), "{rows}");
    }
}

#[tokio::test]
async fn wrong_arguments_of_coverage_functions_say_what_to_write() {
    let session = covered().await;
    for (sql, expected) in [
        ("SELECT * FROM coverage('nope')", "table \"nope\" not found"),
        ("SELECT * FROM coverage()", "write coverage('prices')"),
        ("SELECT * FROM gaps('t', '2025-01-01')", "write gaps('prices')"),
        (
            "SELECT * FROM gaps('t', 'yesterday', '2025-01-01')",
            "the start of gaps('t', ...) is yesterday",
        ),
        ("SELECT * FROM gaps('t', '2025-01-02', '2025-01-01')", "the end is exclusive"),
        ("SELECT * FROM gaps('t', '2025-01-02', NULL)", "the end of gaps('t', ...) is NULL"),
        ("SELECT * FROM gaps('t', 5, 6)", "write '2025-01-31T00:00:00Z'"),
    ] {
        let error = run(&session, sql).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
}
