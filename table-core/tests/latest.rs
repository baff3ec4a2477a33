//! The last and the first row of each entity: reading only the segments that can hold one never changes which rows come back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::fixture::Fixture;
use table_core::coverage::CoverageDelta;
use table_core::datafusion::LatestRows;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::{BucketWidth, EntityKey, EntityValue};

/// Random tables of the property test.
const TABLES: u64 = 6;
/// Index values of a bucket.
const BUCKET: i64 = 10;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Int64, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("venue", DataType::Int64, false),
        Field::new("id", DataType::Int64, false),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// A table, and the coverage of its rows.
struct Covered {
    table: Fixture,
    rows: i64,
}

impl Covered {
    async fn new() -> Self {
        let spec = TableSpec {
            index: Some(IndexSpec {
                column: "ts".to_owned(),
                bucket: BucketWidth::parse(&BUCKET.to_string()).unwrap(),
                entity_columns: vec!["symbol".to_owned(), "venue".to_owned()],
                time_zone: "UTC".to_owned(),
            }),
        };
        Self { table: Fixture::new(spec, &schema()).await, rows: 0 }
    }

    /// A session that plans with the rule.
    fn narrowing(&self) -> SessionContext {
        let session = self.table.session(2);
        session.add_optimizer_rule(Arc::new(LatestRows));
        session
    }

    /// One append of rows (index, symbol, venue), as a segment or inline.
    fn append(&mut self, rows: &[(i64, String, i64)], hot: bool) {
        let bucketing = self.table.layout.bucketing.clone().unwrap();
        let mut delta = CoverageDelta::default();
        for (ts, symbol, venue) in rows {
            let key =
                EntityKey::encode(&[EntityValue::Utf8(symbol.clone()), EntityValue::Int(*venue)]);
            delta.insert(&key, bucketing.bucket_of(*ts).unwrap());
        }
        self.table.empty.coverage.add(&delta);
        let ids = self.rows..self.rows + rows.len() as i64;
        self.rows = ids.end;
        let batch = RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
                Arc::new(Int64Array::from_iter_values(ids.clone())),
                Arc::new(Int64Array::from_iter(ids.map(|id| (id % 3 != 0).then_some(id * 7)))),
            ],
        );
        match hot {
            true => self.table.add_hot(&batch.unwrap()),
            false => self.table.add_segment(&batch.unwrap(), 16),
        }
    }
}

async fn rows(session: &SessionContext, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// The columns that come, with all that is said of them.
async fn schemas(session: &SessionContext, sql: &str) -> Vec<SchemaRef> {
    let query = session.sql(sql).await.unwrap();
    let optimized = session.state().optimize(query.logical_plan()).unwrap();
    let batches = query.collect().await.unwrap();
    let mut schemas: Vec<_> = batches.iter().map(RecordBatch::schema).collect();
    schemas.dedup();
    schemas.push(Arc::clone(optimized.schema().inner()));
    schemas
}

/// Files that a plan would open.
async fn files(session: &SessionContext, sql: &str) -> usize {
    fn add(plan: &Arc<dyn ExecutionPlan>, found: &mut HashSet<String>) {
        if let Some((config, _)) = plan
            .downcast_ref::<DataSourceExec>()
            .and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
        {
            let files = config.file_groups.iter().flat_map(|group| group.iter());
            found.extend(files.map(|file| file.object_meta.location.to_string()));
        }
        plan.children().into_iter().for_each(|child| add(child, found));
    }
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let mut found = HashSet::new();
    add(&plan, &mut found);
    found.len()
}

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

/// The last row of some entities.
const SOME: [&str; 5] = [
    "SELECT DISTINCT ON (symbol, venue) * FROM t WHERE symbol = 'S2' ORDER BY symbol, venue, ts DESC, id",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol IN ('S1', 'S3') AND venue = 1 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT symbol, venue, max(ts) FROM t WHERE symbol LIKE '%3' OR venue % 2 = 0 GROUP BY symbol, venue ORDER BY 1, 2",
    "SELECT s, w, min(ts) FROM (SELECT ts, venue AS w, symbol AS s FROM t) WHERE upper(s) < 'S4' GROUP BY s, w ORDER BY 1, 2",
    "SELECT symbol, venue, last_value(v ORDER BY ts, id) AS v FROM t WHERE symbol = 'none' GROUP BY symbol, venue",
];

/// What looks like it and needs more rows.
const WHOLE: [&str; 21] = [
    "SELECT symbol, venue, min(ts), max(ts) FROM t GROUP BY symbol, venue ORDER BY 1, 2",
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
    "SELECT symbol, venue, last_value(id ORDER BY ts DESC, id) AS a, max(ts) FROM t GROUP BY 1, 2 ORDER BY 1, 2",
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
    let mut covered = Covered::new().await;
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
        let mut covered = Covered::new().await;
        let ties = seed % 2 == 0;
        let (mut taken, mut times) = (HashSet::new(), HashSet::new());
        for _ in 0..random.random_range(2..9) {
            let (mut rows, mut mine) = (Vec::new(), HashSet::new());
            let from = random.random_range(-5..12) * BUCKET;
            let until = from + random.random_range(1..5) * BUCKET;
            for _ in 0..random.random_range(1..40) {
                let ts = random.random_range(from..until);
                let pair = (
                    format!("S{}", random.random_range(0..6)),
                    random.random_range(-1..2),
                    ts.div_euclid(BUCKET),
                );
                let tied = !times.insert((pair.0.clone(), pair.1, ts));
                if !taken.contains(&pair) && (ties || !tied) {
                    rows.push((ts, pair.0.clone(), pair.1));
                    mine.insert(pair);
                }
            }
            taken.extend(mine);
            if !rows.is_empty() {
                let hot = random.random_bool(0.25);
                covered.append(&rows, hot);
            }
        }
        let plain = covered.table.session(2);
        let narrowed = covered.narrowing();
        let exact = if ties { [].as_slice() } else { &GATHERED };
        for sql in NARROWED.iter().chain(&SOME).chain(&WHOLE).chain(exact) {
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
