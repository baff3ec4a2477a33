//! The last and the first row of each entity: reading only the segments that can hold one never changes which rows come back.

use std::time::Instant;

use arrow::array::RecordBatch;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{BUCKET, Covered, files, random_table, rows, schemas};

/// Random tables of the property test.
const TABLES: u64 = 6;

/// The last row of each entity, and the first, in the spellings that are understood.
const NARROWED: [&str; 9] = [
    "SELECT DISTINCT ON (symbol, venue) * FROM t ORDER BY symbol, venue, ts DESC, id",
    "SELECT DISTINCT ON (venue, symbol) id, v FROM t ORDER BY venue, symbol, ts DESC, id DESC",
    "SELECT symbol, venue, last_value(v ORDER BY ts, id) AS v FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, first_value(v ORDER BY ts DESC, id) AS v, max(ts) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT venue AS symbol, symbol AS venue, max(ts) FROM t GROUP BY t.symbol, t.venue ORDER BY 2, 1",
    "SELECT symbol, venue, min(ts) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, first_value(id ORDER BY ts, id) AS id FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT s, w, max(t) FROM (SELECT ts AS t, venue AS w, symbol AS s, v + 1 AS u FROM t) x GROUP BY s, w ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM (SELECT * FROM t ORDER BY id) GROUP BY symbol, venue ORDER BY 1, 2",
];

/// The same where nothing but the index decides which row it is, which rows of the same time would leave open.
const GATHERED: [&str; 6] = [
    "SELECT DISTINCT ON (symbol, venue) * FROM t ORDER BY symbol, venue, ts DESC",
    "SELECT DISTINCT ON (symbol, venue) venue + 1 AS w, v, v AS again FROM t ORDER BY symbol, venue, ts DESC",
    "SELECT symbol, venue, max(ts), last_value(v ORDER BY ts) AS v, last_value(id + 1 ORDER BY symbol, ts) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT last_value(v ORDER BY ts) + max(ts) AS x FROM t GROUP BY symbol, venue ORDER BY 1",
    "SELECT symbol, venue, first_value(v ORDER BY ts), min(ts) FROM t GROUP BY symbol, venue HAVING first_value(id ORDER BY ts) > 3 ORDER BY 1, 2",
    "SELECT symbol, venue, first_value(v ORDER BY ts), first_value(id ORDER BY ts, id) FROM t WHERE venue >= 0 GROUP BY symbol, venue ORDER BY 1, 2",
];

/// Both ends.
const BOTH: [&str; 3] = [
    "SELECT symbol, venue, min(ts), max(ts) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, last_value(id ORDER BY ts DESC, id) AS a, max(ts) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT symbol, first_value(v ORDER BY ts, id), last_value(v ORDER BY ts, id) FROM t WHERE venue < 9 GROUP BY symbol, venue ORDER BY venue, 1",
];

/// The last row of some entities.
const SOME: [&str; 5] = [
    "SELECT DISTINCT ON (symbol, venue) * FROM t WHERE symbol = 'S2' ORDER BY symbol, venue, ts DESC, id",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol IN ('S1', 'S3') AND venue = 1 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol LIKE '%3' OR venue % 2 = 0 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT s, w, min(ts) FROM (SELECT ts, venue AS w, symbol AS s FROM t) WHERE upper(s) < 'S4' GROUP BY s, w ORDER BY 1, 2",
    "SELECT symbol, venue, last_value(v ORDER BY ts, id) AS v FROM t WHERE symbol = 'none' GROUP BY symbol, venue",
];

/// What looks like it and needs more rows.
const WHOLE: [&str; 19] = [
    "SELECT symbol, venue, max(ts), count(*) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, max(ts) FROM t GROUP BY symbol ORDER BY 1",
    "SELECT symbol, venue, v % 2 AS odd, max(ts) FROM t GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    "SELECT symbol, venue, max(ts) FROM t WHERE v > 700 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE ts < 60 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FILTER (WHERE v > 50) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(v) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(-ts) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, last_value(v ORDER BY id) AS v FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, last_value(v) IGNORE NULLS OVER (PARTITION BY symbol ORDER BY ts, id) FROM t ORDER BY id",
    "SELECT symbol, venue, max(ts) FROM t GROUP BY ROLLUP (symbol, venue) ORDER BY 1 NULLS LAST, 2 NULLS LAST, 3",
    "SELECT symbol, venue, max(ts) FROM (SELECT * FROM t UNION ALL SELECT * FROM t) GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM (SELECT * FROM t WHERE v > 700) GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol < 'S3' OR v % 2 = 0 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol = 'S1' OR random() < 0 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM (SELECT * FROM t ORDER BY id LIMIT 9) GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM (SELECT venue, symbol, id AS ts FROM t) GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM (SELECT symbol, id AS venue, ts FROM t) GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE ts IN (SELECT min(ts) FROM t GROUP BY symbol) GROUP BY symbol, venue ORDER BY 1, 2",
];

#[tokio::test]
async fn the_last_segments_are_all_that_is_opened() {
    let mut covered = Covered { counts: false, ..Covered::new().await };
    for day in 0..20 {
        let mut rows = Vec::new();
        for symbol in 0..30 {
            // One of them ends early.
            if symbol != 7 || day < 3 {
                rows.extend((0..4).map(|at| (day * BUCKET + at, format!("S{symbol}"), symbol % 2)));
            }
        }
        covered.append(&rows, false);
    }
    let plain = covered.table.session(2);
    let narrowed = covered.narrowing();
    for sql in NARROWED {
        // The segment in which S7 ends, and the newest; or the oldest.
        let first = sql.contains("min(ts)") || sql.contains("ORDER BY ts, id) AS id");
        let expected = if first { 1 } else { 2 };
        assert_eq!(files(&narrowed, sql).await, expected, "{sql}");
        assert_eq!(files(&plain, sql).await, 20, "{sql}");
        assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "{sql}");
        let analyzed = rows(&narrowed, &format!("EXPLAIN ANALYZE {sql}")).await;
        let scan = analyzed.split("DataSourceExec").nth(1).unwrap();
        let read = scan.split("output_rows=").nth(1).unwrap().split(',').next().unwrap();
        assert!(read.parse::<usize>().unwrap() <= 2 * 30 * 4, "{sql}: {analyzed}");
    }
    for sql in GATHERED {
        assert!(files(&narrowed, sql).await <= 2, "{sql}");
        let plan = rows(&narrowed, &format!("EXPLAIN {sql}")).await;
        assert!(plan.contains("last_row(") || plan.contains("first_row("), "{sql}: {plan}");
        assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "{sql}");
        assert_eq!(schemas(&narrowed, sql).await, schemas(&plain, sql).await, "{sql}");
    }
    for sql in BOTH {
        assert_eq!(files(&narrowed, sql).await, 3, "{sql}");
        assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "{sql}");
    }
    for sql in SOME {
        assert!(files(&narrowed, sql).await <= 2, "{sql}");
        assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "{sql}");
    }
    for sql in WHOLE {
        assert_eq!(files(&narrowed, sql).await, files(&plain, sql).await, "{sql}");
        assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "{sql}");
    }
}

#[tokio::test]
async fn leaving_segments_out_never_changes_the_rows() {
    let mut left_out = 0;
    for seed in 0..TABLES {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let ties = seed % 2 == 0;
        let covered = random_table(&mut random, ties, false).await;
        let plain = covered.table.session(2);
        let narrowed = covered.narrowing();
        let exact = if ties { [].as_slice() } else { &GATHERED };
        for sql in NARROWED.iter().chain(&BOTH).chain(&SOME).chain(&WHOLE).chain(exact) {
            assert_eq!(rows(&narrowed, sql).await, rows(&plain, sql).await, "seed {seed}: {sql}");
            left_out += files(&plain, sql).await - files(&narrowed, sql).await;
        }
    }
    assert!(left_out > 20, "{left_out} files left out: this shows little");
}

/// 1,000 segments of 10,000 entities with COVERLINE_SOAK_SECONDS, else a tenth of both. Prints how long the latest rows take against
/// reading the segments that hold them.
#[tokio::test]
async fn latest_rows_cost_what_their_segments_cost() {
    let soak = std::env::var_os("COVERLINE_SOAK_SECONDS").is_some();
    let (segments, entities) = if soak { (1_000, 10_000) } else { (30, 200) };
    let mut covered = Covered::new().await;
    for day in 0..segments {
        let rows: Vec<_> =
            (0..entities).map(|entity| (day * BUCKET, format!("S{entity:05}"), 0)).collect();
        covered.append(&rows, false);
    }
    let session = covered.narrowing();
    let latest = "SELECT DISTINCT ON (symbol, venue) * FROM t ORDER BY symbol, venue, ts DESC";
    assert_eq!(files(&session, latest).await, 1);
    let last = (segments - 1) * BUCKET;
    let read = format!("SELECT * FROM t WHERE ts >= {last}");
    let mut best = [f64::INFINITY; 2];
    for _ in 0..5 {
        for (sql, best) in [latest, read.as_str()].iter().zip(&mut best) {
            let started = Instant::now();
            let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), entities as usize);
            *best = best.min(started.elapsed().as_secs_f64());
        }
    }
    println!(
        "latest row of {entities} entities in {segments} segments: {:.1} ms, {:.1} times the {:.1} ms that reading them takes",
        best[0] * 1e3,
        best[0] / best[1],
        best[1] * 1e3,
    );
}
