//! Rows in (entity, index) order: merging segments gives what sorting their rows gives.

use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::SeedableRng;
use rand::rngs::StdRng;
use table_core::datafusion::MergeSegments;

use super::{BUCKET, Covered, random_table, rows};

/// Random tables of the property test.
const TABLES: u64 = 6;

/// What is merged.
const MERGED: [&str; 9] = [
    "SELECT * FROM t ORDER BY symbol, venue, ts",
    "SELECT id, v FROM t ORDER BY symbol, venue, ts",
    "SELECT symbol, count(*) OVER (PARTITION BY symbol) FROM t ORDER BY symbol",
    "SELECT s, t2, v * 2 AS x FROM (SELECT symbol AS s, venue AS w, ts AS t2, v FROM t) ORDER BY s, w, t2",
    "SELECT * FROM t WHERE id % 3 <> 1 ORDER BY symbol, venue, ts",
    "SELECT id FROM t WHERE v IS NOT NULL AND symbol <> 'S2' ORDER BY symbol, venue, ts",
    "SELECT id, lag(id) OVER (PARTITION BY symbol, venue ORDER BY ts) AS before FROM t",
    "SELECT id, sum(v) OVER (PARTITION BY symbol, venue ORDER BY ts ROWS 2 PRECEDING) AS s FROM t WHERE id % 5 > 0",
    "SELECT symbol, venue, ts, first_value(id) OVER (PARTITION BY symbol, venue ORDER BY ts) FROM t ORDER BY symbol, venue, ts",
];

/// What takes a sort.
const SORTED: [&str; 8] = [
    "SELECT * FROM t ORDER BY ts, symbol, venue",
    "SELECT * FROM t ORDER BY symbol DESC, venue DESC, ts DESC",
    "SELECT * FROM t ORDER BY venue, symbol, ts",
    "SELECT * FROM t ORDER BY symbol, venue, ts, id",
    "SELECT * FROM t ORDER BY symbol, venue, ts LIMIT 7",
    "SELECT * FROM (SELECT symbol, venue, -ts AS ts, id FROM t) ORDER BY symbol, venue, ts",
    "SELECT * FROM (SELECT * FROM t ORDER BY id LIMIT 9) ORDER BY symbol, venue, ts",
    "SELECT id, lag(id) OVER (PARTITION BY symbol, venue ORDER BY id) FROM t",
];

fn merging(covered: &Covered, partitions: usize) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(partitions))
        .with_default_features()
        .with_physical_optimizer_rule(std::sync::Arc::new(MergeSegments))
        .build();
    covered.table.register(SessionContext::new_with_state(state))
}

async fn plan(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}

/// The answer; by line where the statement says nothing of its order.
async fn answer(session: &SessionContext, sql: &str) -> String {
    let text = rows(session, sql).await;
    if sql.contains(" ORDER BY symbol, venue, ts") && !sql.contains("OVER")
        || sql.contains("ORDER BY s, w")
    {
        return text;
    }
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn days(count: i64) -> Covered {
    let mut covered = Covered::new().await;
    for day in 0..count {
        let rows: Vec<_> = (0..12)
            .flat_map(|symbol| {
                (0..4).map(move |at| (day * BUCKET + at, format!("S{symbol}"), symbol % 2))
            })
            .collect();
        covered.append(&rows, day == 1);
    }
    covered
}

#[tokio::test]
async fn days_of_all_entities_are_merged_and_not_sorted() {
    let covered = days(9).await;
    for partitions in [1, 2, 5] {
        let (plain, merging) = (covered.table.session(partitions), merging(&covered, partitions));
        for sql in MERGED {
            let shown = plan(&merging, sql).await;
            assert!(
                !shown.contains("SortExec")
                    && shown.contains("Merge") | shown.contains("preserve_order"),
                "{sql}: {shown}"
            );
            assert!(plan(&plain, sql).await.contains("SortExec"), "{sql}");
            assert_eq!(answer(&merging, sql).await, answer(&plain, sql).await, "{sql}");
        }
        let few =
            "SELECT * FROM (SELECT * FROM t WHERE id % 3 = 1 LIMIT 5) ORDER BY symbol, venue, ts";
        let batches = merging.sql(few).await.unwrap().collect().await.unwrap();
        let row_count: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(row_count, 5, "{}", plan(&merging, few).await);
        for sql in SORTED {
            let shown = plan(&merging, sql).await;
            assert!(shown.contains("SortExec"), "{sql}: {shown}");
            assert_eq!(answer(&merging, sql).await, answer(&plain, sql).await, "{sql}");
        }
    }
}

#[tokio::test]
async fn merged_rows_are_those_of_a_sort() {
    let mut merged = 0;
    for seed in 0..TABLES {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let covered = random_table(&mut random, false, true).await;
        for partitions in [1, 3] {
            let (plain, merging) =
                (covered.table.session(partitions), merging(&covered, partitions));
            for sql in MERGED.iter().chain(&SORTED) {
                let expected = answer(&plain, sql).await;
                assert_eq!(answer(&merging, sql).await, expected, "seed {seed}: {sql}");
                merged += usize::from(plan(&plain, sql).await != plan(&merging, sql).await);
            }
        }
    }
    assert!(merged > 60, "{merged} plans changed: this shows little");
}

/// Each segment that overlaps with the others has a file open, so that of very many the rows are sorted.
#[tokio::test]
async fn too_many_days_are_sorted() {
    let covered = days(66).await;
    let merging = merging(&covered, 2);
    let shown = plan(&merging, MERGED[0]).await;
    // One of them is inline.
    assert!(shown.contains("SortExec"), "{shown}");
    let few = "SELECT * FROM t WHERE ts < 650 ORDER BY symbol, venue, ts";
    let shown = plan(&merging, few).await;
    assert!(!shown.contains("SortExec"), "{shown}");
    let batches = merging.sql(few).await.unwrap().collect().await.unwrap();
    let plain = covered.table.session(2).sql(few).await.unwrap().collect().await.unwrap();
    let text = |batches: &[_]| pretty_format_batches(batches).unwrap().to_string();
    assert_eq!(text(&batches), text(&plain));
}
