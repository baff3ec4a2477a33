//! SQL: what the gate lets through is planned, within time and stack, and the plan of a query writes nothing.

use std::sync::LazyLock;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use flight_server::fuzzing::SqlPlanner;
use rand::Rng;
use rand::rngs::StdRng;
use table_core::schema::TableSpec;
use table_core::storage::faults::SimDisk;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::{Outcome, Target, mutate, seeds};

/// Statements are refused, or planned: a query to a plan that writes nothing and changes nothing.
pub static SQL_GATE: Target =
    Target { name: "sql_gate", read, mutate: change, inputs: 500, bytes_max: 4 << 10 };

/// Statements of every kind that there is.
pub const SEEDS: [(&str, &str); 17] = [
    ("count", "SELECT name, min(n), max(n), count(*) FROM prices GROUP BY name"),
    (
        "join",
        "SELECT * FROM prices a JOIN plain b ON a.n = b.n WHERE a.price > 3 ORDER BY a.n LIMIT 5",
    ),
    (
        "with",
        "WITH x AS (SELECT n FROM prices), y AS (SELECT * FROM x UNION ALL SELECT * FROM x) SELECT * FROM y",
    ),
    (
        "window",
        "SELECT n, sum(price) OVER (PARTITION BY name ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM prices",
    ),
    (
        "case",
        "SELECT CASE WHEN n > 1 THEN 'a' ELSE NULL END, CAST(n AS VARCHAR), n::INT FROM prices",
    ),
    ("subquery", "SELECT * FROM prices WHERE n IN (SELECT n FROM plain WHERE EXISTS (SELECT 1))"),
    ("gaps", "SELECT * FROM gaps('prices') WHERE name = 'a'"),
    ("coverage", "SELECT * FROM coverage('prices')"),
    ("explain", "EXPLAIN ANALYZE SELECT 1"),
    ("show", "SHOW TABLES"),
    (
        "values",
        "VALUES (1, 'a', 0x41, INTERVAL '1 day', DATE '2025-03-01'), (2, NULL, X'00', NULL, NULL)",
    ),
    ("parameters", "SELECT $1, n + $2 FROM prices WHERE name LIKE $3"),
    (
        "date_bin",
        "SELECT date_bin(INTERVAL '1 hour', TIMESTAMP '2025-03-01T00:00:00Z'), repeat('x', 10)",
    ),
    (
        "recursive",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT * FROM r",
    ),
    (
        "create",
        "CREATE TABLE t (ts TIMESTAMP NOT NULL, v DOUBLE) WITH (index_column = 'ts', bucket = '1h')",
    ),
    ("insert", "INSERT INTO plain (n, name) SELECT n, name FROM prices"),
    ("copy", "COPY (SELECT 1) TO '/tmp/x.csv'"),
];

const WORDS: [&str; 64] = [
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    ",",
    "*",
    "prices",
    "plain",
    "n",
    "name",
    "price",
    "AND",
    "OR",
    "NOT",
    "UNION ALL",
    "EXCEPT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "USING (n)",
    "GROUP BY",
    "ORDER BY",
    "LIMIT 1",
    "OFFSET 1",
    "HAVING",
    "WITH x AS (SELECT 1)",
    "x",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "NULL",
    "1",
    "-1",
    "1e308",
    "9223372036854775808",
    "'a'",
    "''",
    "\"n\"",
    "::TEXT",
    "CAST(",
    "AS INT)",
    "IN (",
    "EXISTS (",
    "BETWEEN",
    "LIKE",
    "SET",
    "COPY",
    "TO '/tmp/x'",
    "CREATE VIEW v AS",
    "DROP TABLE",
    "INSERT INTO plain",
    "DELETE FROM plain",
    "INTO t",
    "EXPLAIN",
    "OVER (",
    "UNNEST([1,2])",
    "ROLLUP (n)",
    "LATERAL",
    "$1",
    "?",
    ";",
    "--",
];

/// What may stand where a value does.
const EXPRESSIONS: [&str; 30] = [
    "n",
    "name",
    "price",
    "NULL",
    "1",
    "-9223372036854775808",
    "1e308",
    "'a'",
    "DATE '9999-12-31'",
    "INTERVAL '1' MONTH",
    "(n + 1)",
    "(price / 0)",
    "(name || note)",
    "CASE WHEN n > 1 THEN 2 END",
    "CAST(n AS TEXT)",
    "count(*)",
    "max(price)",
    "sum(n) OVER (ORDER BY name)",
    "(SELECT max(n) FROM plain)",
    "coalesce(n, 1)",
    "date_trunc('day', to_timestamp(n))",
    "(n BETWEEN 1 AND 2)",
    "(name LIKE '%a')",
    "(n IN (1, 2))",
    "NOT (n > 1)",
    "repeat(name, 3)",
    "array_agg(n)",
    "(SELECT count(*) FROM prices p WHERE p.n = prices.n)",
    "$1",
    "*",
];

struct Server {
    runtime: Runtime,
    planner: SqlPlanner,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let planner = runtime.block_on(async {
        let disk = SimDisk::new();
        let catalog = seeds::catalog(&disk).await;
        let schema = seeds::rows(&[], "").schema();
        for (name, spec) in [("prices", seeds::spec()), ("plain", TableSpec::plain())] {
            catalog.create_table(name, spec, Some(schema.clone()), "").await.unwrap();
        }
        SqlPlanner::over(catalog).unwrap()
    });
    Server { runtime, planner }
});

/// Starts the engine.
pub fn prepare() {
    // What is planned first loads much that every later plan shares.
    read(b"SELECT count(*) FROM prices");
}

fn read(input: &[u8]) -> Outcome {
    let Ok(sql) = std::str::from_utf8(input) else { return Outcome::Refused };
    match SERVER.runtime.block_on(SERVER.planner.plan(sql)) {
        Err(status) => {
            assert!(!status.message().contains("panicked"), "{status:?}");
            assert_ne!(status.code(), Code::DeadlineExceeded, "{status:?}");
            Outcome::Refused
        }
        Ok(None) => Outcome::Taken,
        Ok(Some(plan)) => {
            writes_nothing(&plan);
            Outcome::Taken
        }
    }
}

fn writes_nothing(plan: &LogicalPlan) {
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_) => panic!("a query has in its plan: {}", node.display()),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>) {
    // Mostly one whole expression in the place of another, so that the planner sees the result.
    match random.random_range(0..4) {
        0 => mutate::words(random, bytes, &WORDS),
        _ => mutate::one_word(
            random,
            bytes,
            &["n", "name", "price", "1", "2", "3", "5", "*"],
            &EXPRESSIONS,
        ),
    }
}
