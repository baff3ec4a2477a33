#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::SessionContext;

use super::*;

const ROWS: &str =
    "(VALUES (1, 'a', 2.5), (1, 'b', 1.5), (2, 'c', 0.5), (NULL, 'c', 4.5)) t(n, s, x)";

/// What is asked about groups of two expressions with one name, and the rows that show.
const QUERIES: [(&str, &[&str]); 8] = [
    ("SELECT max(x) FROM {t} GROUP BY n, CAST(n AS DOUBLE)", &["0.5", "2.5", "4.5"]),
    ("SELECT max(x) FROM {t} GROUP BY CAST(n AS DOUBLE), n", &["0.5", "2.5", "4.5"]),
    (
        "SELECT first_value(s ORDER BY x) FROM {t} GROUP BY n, CAST(n AS DOUBLE), CAST(s = 'c' AS INT)",
        &["b", "c", "c"],
    ),
    (
        "SELECT string_agg(s, ',' ORDER BY s) FROM {t} GROUP BY n, CAST(n AS BIGINT)",
        &["a,b", "c", "c"],
    ),
    ("SELECT count(DISTINCT s) FROM {t} GROUP BY n, CAST(n AS DOUBLE)", &["1", "1", "2"]),
    (
        "SELECT d FROM (SELECT n AS a, CAST(n AS DOUBLE) AS d, sum(x + 1), max(x + 1) FROM {t} GROUP BY n, CAST(n AS DOUBLE)) q",
        &["", "1.0", "2.0"],
    ),
    (
        "SELECT n AS a, sum(x) AS z FROM {t} GROUP BY n, CAST(n AS DOUBLE) HAVING CAST(n AS DOUBLE) < 1.5",
        &["1 | 4.0"],
    ),
    (
        "SELECT count(*) FROM {t} GROUP BY GROUPING SETS ((n, CAST(n AS DOUBLE)), ())",
        &["1", "1", "2", "4"],
    ),
];

fn sessions() -> [SessionContext; 2] {
    [Optimizer::new().rules, guard_group_names(Optimizer::new().rules)].map(|rules| {
        let builder = SessionStateBuilder::new().with_default_features();
        SessionContext::new_with_state(builder.with_optimizer_rules(rules).build())
    })
}

#[tokio::test]
async fn groups_of_a_column_and_of_its_cast_have_their_rows() {
    let [unguarded, guarded] = sessions();
    let mut refused = 0;
    for (sql, expected) in QUERIES {
        let sql = sql.replace("{t}", ROWS);
        let plan = unguarded.sql(&sql).await.unwrap().create_physical_plan().await;
        refused += usize::from(plan.is_err());
        let batches = guarded.sql(&sql).await.unwrap().collect().await;
        let batches = batches.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let shown = pretty_format_batches(&batches).unwrap().to_string();
        let lines = shown.lines().skip(3).filter(|line| line.starts_with('|'));
        let mut rows: Vec<String> = lines
            .map(|line| {
                let cells = line.trim_matches('|').split('|').map(str::trim);
                cells.collect::<Vec<_>>().join(" | ")
            })
            .collect();
        rows.sort();
        assert_eq!(rows, expected, "{sql}");
    }
    // Of use as long as the engine refuses some.
    assert!(refused > 4, "{refused} are refused without the guard");
}

#[tokio::test]
async fn other_groups_are_made_simpler_as_before() {
    let [unguarded, guarded] = sessions();
    for sql in [
        "SELECT max(x) FROM {t} GROUP BY n, n + 1, 'a'",
        "SELECT n, count(DISTINCT s) FROM {t} GROUP BY n",
    ] {
        let sql = sql.replace("{t}", ROWS);
        let mut plans = Vec::new();
        for session in [&unguarded, &guarded] {
            let frame = session.sql(&sql).await.unwrap();
            plans.push(frame.into_optimized_plan().unwrap().display_indent().to_string());
        }
        assert_eq!(plans[0], plans[1]);
        assert!(!plans[0].contains("n + "), "{}", plans[0]);
    }
}
