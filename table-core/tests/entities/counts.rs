//! Which entities there are and how many rows each has: taken from the index, it is what counting the rows gives.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{BUCKET, Covered, files, random_table, rows, schemas};

/// Random tables of the property test.
const TABLES: u64 = 6;

/// Which entities there are: known of every table.
const ENTITIES: [&str; 8] = [
    "SELECT DISTINCT symbol FROM t ORDER BY 1",
    "SELECT DISTINCT venue, symbol FROM t WHERE symbol > 'S1' ORDER BY 1, 2",
    "SELECT count(DISTINCT symbol) FROM t",
    "SELECT upper(symbol) || venue AS name FROM t GROUP BY 1 ORDER BY 1",
    "SELECT s FROM (SELECT symbol AS s, v + 1 AS w FROM t) GROUP BY s ORDER BY s DESC",
    "SELECT a.symbol FROM (SELECT DISTINCT symbol FROM t) a JOIN (SELECT DISTINCT symbol FROM t WHERE venue = 0) b USING (symbol) ORDER BY 1",
    "SELECT DISTINCT n || '!' AS loud FROM (SELECT upper(s) AS n FROM (SELECT venue, symbol AS s FROM t) WHERE venue = 0) ORDER BY 1",
    "SELECT DISTINCT symbol = 'S1' AS one FROM t ORDER BY 1",
];

/// How many rows they have.
const COUNTED: [&str; 14] = [
    "SELECT symbol, venue, count(*) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT count(*) AS n, venue FROM t GROUP BY venue ORDER BY venue",
    "SELECT count(*) FROM t WHERE symbol = 'S2'",
    "SELECT count(*) FROM t WHERE symbol = 'S2' AND venue = 1",
    "SELECT count(*) FROM t WHERE symbol = 'none'",
    "SELECT count(*) + 1 AS more FROM t WHERE symbol IN ('S1', 'S3') OR venue % 2 = 0",
    "SELECT symbol, count(ts), count(1), count(id), count(symbol) FROM t GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FROM t WHERE symbol = 'none' GROUP BY symbol",
    "SELECT symbol, count(*) FROM t GROUP BY symbol HAVING count(*) > 5 ORDER BY count(*) DESC, symbol LIMIT 3",
    "SELECT w, count(*) FROM (SELECT venue * 2 AS w, ts, symbol FROM t WHERE symbol LIKE 'S%') WHERE symbol <> 'S4' GROUP BY w ORDER BY w",
    "SELECT length(symbol) AS l, venue > 0 AS p, count(*) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT symbol, count(*) * 100 / sum(count(*)) OVER () AS share FROM t GROUP BY symbol ORDER BY 1",
    "WITH c AS (SELECT symbol, count(*) AS n FROM t GROUP BY symbol) SELECT symbol FROM c WHERE n = (SELECT max(n) FROM c) ORDER BY 1",
    "SELECT symbol, count(*) FROM t GROUP BY symbol UNION ALL SELECT 'all', count(*) FROM t ORDER BY 2, 1",
];

/// Counts beside values at the ends.
const BESIDE: [&str; 6] = [
    "SELECT symbol, venue, max(ts), count(*) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, min(ts), max(ts), count(*) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT count(*) AS n, venue AS a, min(ts), count(id), symbol AS b, max(ts) FROM t GROUP BY venue, symbol ORDER BY 2, 5",
    "SELECT symbol, last_value(v ORDER BY ts, id) AS v, count(*) FROM t WHERE venue >= 0 GROUP BY symbol, venue ORDER BY venue, 1",
    "SELECT s, count(*), first_value(u ORDER BY t, id) FROM (SELECT ts AS t, venue AS w, symbol AS s, v + 1 AS u, id FROM t) x GROUP BY s, w ORDER BY w, s",
    "SELECT symbol, venue, max(ts), count(*) FROM t GROUP BY symbol, venue HAVING count(*) > 3 ORDER BY 1, 2",
];

/// What looks like it and needs the rows.
const WHOLE: [&str; 12] = [
    "SELECT symbol, count(v) FROM t GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FROM t WHERE ts > 60 GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FROM t WHERE symbol = 'S1' OR v > 100 GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FILTER (WHERE ts > 50) FROM t GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FROM t WHERE random() >= 0 GROUP BY symbol ORDER BY 1",
    "SELECT symbol, venue, count(*) FROM t GROUP BY ROLLUP (symbol, venue) ORDER BY 1 NULLS LAST, 2 NULLS LAST",
    "SELECT symbol, count(DISTINCT venue), count(*) FROM t GROUP BY symbol ORDER BY 1",
    "SELECT symbol, ts / 20 AS b, count(*) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT symbol, count(*) FROM (SELECT * FROM t ORDER BY id LIMIT 9) GROUP BY symbol ORDER BY 1",
    "SELECT symbol, count(*) FROM (SELECT * FROM t UNION ALL SELECT * FROM t) GROUP BY symbol ORDER BY 1",
    "SELECT symbol, venue, max(v), count(*) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, count(*) FROM (SELECT id % 3 AS symbol FROM t) GROUP BY symbol ORDER BY 1",
];

#[tokio::test]
async fn no_file_is_opened_for_what_the_index_knows() {
    let mut covered = Covered::new().await;
    for day in 0..20 {
        let mut rows = Vec::new();
        for symbol in 0..30 {
            // One of them ends early.
            if symbol != 7 || day < 3 {
                rows.extend((0..4).map(|at| (day * BUCKET + at, format!("S{symbol}"), symbol % 2)));
            }
        }
        covered.append(&rows, day == 4);
    }
    let (plain, counting) = (covered.table.session(2), covered.narrowing());
    for sql in ENTITIES.iter().chain(&COUNTED) {
        assert_eq!(files(&counting, sql).await, 0, "{sql}");
        assert!(files(&plain, sql).await > 0 || sql.contains("'none'"), "{sql}");
        assert_eq!(rows(&counting, sql).await, rows(&plain, sql).await, "{sql}");
        assert_eq!(schemas(&counting, sql).await, schemas(&plain, sql).await, "{sql}");
    }
    for sql in BESIDE {
        assert!(files(&counting, sql).await <= 3, "{sql}");
        assert_eq!(rows(&counting, sql).await, rows(&plain, sql).await, "{sql}");
        assert_eq!(schemas(&counting, sql).await, schemas(&plain, sql).await, "{sql}");
    }
    for sql in WHOLE {
        assert_eq!(files(&counting, sql).await, files(&plain, sql).await, "{sql}");
        assert_eq!(rows(&counting, sql).await, rows(&plain, sql).await, "{sql}");
    }
}

#[tokio::test]
async fn counts_are_those_of_the_rows() {
    let mut opened = [0; 2];
    for seed in 0..TABLES {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        // Of every third table it is not known how many rows its entities have.
        let covered = random_table(&mut random, true, seed % 3 != 2).await;
        let (plain, counting) = (covered.table.session(2), covered.narrowing());
        for sql in ENTITIES.iter().chain(&COUNTED).chain(&BESIDE).chain(&WHOLE) {
            assert_eq!(rows(&counting, sql).await, rows(&plain, sql).await, "seed {seed}: {sql}");
            opened[0] += files(&counting, sql).await;
            opened[1] += files(&plain, sql).await;
        }
    }
    assert!(opened[0] * 5 < opened[1] * 3, "{opened:?} files opened: this shows little");
}
