//! What is there, what is missing, what was known when: table functions and time travel, through a stock Flight SQL client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use common::Server;
use common::sql::SqlClient;
use tonic::Code;

/// Versions: 1 empty; 2 has A at 0 to 2 h; 3 has B at 1 h; 4 has A at 5 h.
async fn filled(server: &Server) -> SqlClient {
    let mut client = SqlClient::of(server);
    client
        .update(
            "CREATE TABLE prices (ts TIMESTAMP WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) \
             WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')",
        )
        .await;
    for rows in [
        "('2026-03-01T00:10:00Z', 'A', 1), ('2026-03-01T01:10:00Z', 'A', 2), ('2026-03-01T02:10:00Z', 'A', 3)",
        "('2026-03-01T01:20:00Z', 'B', 4)",
        "('2026-03-01T05:30:00Z', 'A', 5)",
    ] {
        client.update(&format!("INSERT INTO prices VALUES {rows}")).await;
    }
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_what_is_missing() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    let day = "'2026-03-01T00:00:00Z', '2026-03-01T06:00:00Z'";
    for (sql, expected) in [
        (
            "SELECT * FROM coverage('prices')".to_owned(),
            vec![
                "A 2026-03-01T00:00:00Z 2026-03-01T03:00:00Z 3",
                "A 2026-03-01T05:00:00Z 2026-03-01T06:00:00Z 1",
                "B 2026-03-01T01:00:00Z 2026-03-01T02:00:00Z 1",
            ],
        ),
        (
            "SELECT * FROM gaps('prices')".to_owned(),
            vec!["A 2026-03-01T03:00:00Z 2026-03-01T05:00:00Z 2"],
        ),
        (
            format!("SELECT * FROM completeness('prices', {day})"),
            vec!["A 6 4 0.6666666666666666 2026-03-01T03:00:00Z", "B 6 1 0.16666666666666666"],
        ),
        (
            "SELECT * FROM entities('prices')".to_owned(),
            vec![
                "A 2026-03-01T00:00:00Z 2026-03-01T05:00:00Z 4 4",
                "B 2026-03-01T01:00:00Z 2026-03-01T01:00:00Z 1 1",
            ],
        ),
        (
            "SELECT symbol, count(*) FROM prices GROUP BY symbol ORDER BY symbol".to_owned(),
            vec!["A 4", "B 1"],
        ),
        ("SELECT DISTINCT symbol FROM prices ORDER BY symbol".to_owned(), vec!["A", "B"]),
        ("SELECT count(*) FROM prices WHERE symbol = 'B'".to_owned(), vec!["1"]),
        (
            "SELECT count(*) FROM prices VERSION AS OF 2 WHERE symbol = 'A'".to_owned(),
            vec!["3"],
        ),
        (format!("SELECT * FROM covers('prices', {day})"), vec!["false"]),
        (
            "SELECT * FROM covers('prices', '2026-03-01T01:00:00Z', '2026-03-01T02:00:00Z')"
                .to_owned(),
            vec!["true"],
        ),
        (
            "SELECT kind, version, row_count, row_groups, sorted, index_min, index_max FROM segments('prices')"
                .to_owned(),
            vec![
                "inline 2 3 0 true 2026-03-01T00:10:00Z 2026-03-01T02:10:00Z",
                "inline 3 1 0 true 2026-03-01T01:20:00Z 2026-03-01T01:20:00Z",
                "inline 4 1 0 true 2026-03-01T05:30:00Z 2026-03-01T05:30:00Z",
            ],
        ),
        (
            "SELECT version, operation, append_ids, rows_added, rows_removed FROM table_history('prices')"
                .to_owned(),
            vec!["1 create [] 0 0", "2 append [] 3 0", "3 append [] 1 0", "4 append [] 1 0"],
        ),
        (
            "SELECT value FROM table_properties('prices') WHERE name IN ('bucket', 'entity_columns', 'row_count', 'version')"
                .to_owned(),
            vec!["4", "1h", "symbol", "5"],
        ),
    ] {
        let rows = client.rows(&sql).await;
        let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
        assert_eq!(rows, expected, "{sql}");
        let plan = client.rows(&format!("EXPLAIN {sql}")).await.join("\n");
        assert!(!plan.contains("parquet"), "{sql} opens files: {plan}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_on_entities_are_applied_before_rows_are_made() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    client
        .update(
            "CREATE TABLE fleet (ts TIMESTAMP NOT NULL, region TEXT NOT NULL, unit INT NOT NULL) \
             WITH (index_column = 'ts', bucket = '1h', entity_columns = 'region,unit')",
        )
        .await;
    // Hours 0 and 3 of each: one gap of two hours.
    let rows: Vec<String> = (0..40)
        .flat_map(|unit| {
            ["00:30", "03:30"]
                .map(|time| format!("('2026-03-01T{time}:00', 'R{}', {unit})", unit % 4))
        })
        .collect();
    client.update(&format!("INSERT INTO fleet VALUES {}", rows.join(", "))).await;
    let day = "'2026-03-01T00:00:00', '2026-03-01T06:00:00'";
    for function in [
        "coverage('fleet')".to_owned(),
        "gaps('fleet')".to_owned(),
        format!("gaps('fleet', {day})"),
        format!("completeness('fleet', {day})"),
        "entities('fleet')".to_owned(),
    ] {
        for (filter, arrives) in [
            ("region = 'R1'", true),
            ("'R1' = region AND unit = 5", true),
            ("unit IN (1, 2, 3, 99, NULL)", true),
            ("region IN ('R1', 'R2') AND unit IN (5, 6, 7)", true),
            ("(unit = 1 OR unit = 2) AND region = 'R1'", true),
            ("unit = 1 AND unit = 2", true),
            ("region = 'nowhere'", true),
            ("unit = 1 OR region = 'R2'", false),
            ("unit <> 1", false),
            ("unit + 1 = 2", false),
            ("region NOT IN ('R1', 'R2')", false),
            ("upper(region) = 'R1' AND unit = 1", false),
        ] {
            let sql = format!("SELECT * FROM {function} WHERE {filter}");
            // The same filter where it cannot be pushed down.
            let kept = format!(
                "SELECT * FROM (SELECT *, row_number() OVER () AS n FROM {function}) WHERE {filter} ORDER BY n"
            );
            let rows = client.rows(&sql).await;
            let expected: Vec<String> = client
                .rows(&kept)
                .await
                .iter()
                .filter_map(|row| Some(row.rsplit_once(' ')?.0.to_owned()))
                .collect();
            assert_eq!(rows, expected, "{sql}");
            let plan = client.rows(&format!("EXPLAIN {sql}")).await.join("\n");
            assert!(!plan.contains("parquet"), "{plan}");
            if arrives && !plan.contains("EmptyRelation") {
                assert!(plan.contains("full_filters=["), "{plan}");
                assert!(!plan.contains("FilterExec"), "{plan}");
            } else if !arrives {
                assert!(plan.contains("FilterExec"), "{plan}");
            }
        }
        let sql = format!("SELECT * FROM {function} LIMIT 3");
        assert_eq!(client.rows(&sql).await.len(), 3, "{sql}");
        let plan = client.rows(&format!("EXPLAIN {sql}")).await.join("\n");
        assert!(plan.contains("fetch=3"), "{plan}");
        assert_eq!(client.rows(&format!("SELECT * FROM {function} LIMIT 0")).await.len(), 0);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_range_of_entities_covers_nothing() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    client
        .update(
            "CREATE TABLE nobody (ts TIMESTAMP NOT NULL, symbol TEXT NOT NULL) \
             WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')",
        )
        .await;
    let day = "'2026-03-01', '2026-03-02'";
    let covers = format!("SELECT * FROM covers('nobody', {day})");
    assert_eq!(client.rows(&covers).await, ["false"]);
    // So it is before the first append has given a table its schema.
    client
        .update("CREATE TABLE unborn WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')")
        .await;
    assert_eq!(client.rows(&covers.replace("nobody", "unborn")).await, ["false"]);
    for function in ["coverage('nobody')", "gaps('nobody')", "entities('nobody')"] {
        assert!(client.rows(&format!("SELECT * FROM {function}")).await.is_empty());
    }
    let completeness = format!("SELECT * FROM completeness('nobody', {day})");
    assert!(client.rows(&completeness).await.is_empty());
    assert!(client.rows("SELECT * FROM segments('nobody')").await.is_empty());
    assert_eq!(client.int("SELECT count(*) FROM table_history('nobody')").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_at_a_version() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    for (version, rows) in [(1, 0), (2, 3), (3, 4), (4, 5)] {
        let sql = format!("SELECT count(*) FROM prices VERSION AS OF {version}");
        assert_eq!(client.int(&sql).await, rows, "version {version}");
        let sql = format!(
            "SELECT count(*) FROM (SELECT * FROM public.Prices VERSION AS OF {version} p WHERE p.close > 0) x"
        );
        assert_eq!(client.int(&sql).await, rows, "version {version}");
        let sql = format!("SELECT count(*) FROM table_history('prices', version => {version})");
        assert_eq!(client.int(&sql).await, version, "version {version}");
    }
    // Columns go by the name of the table still, and versions of one table stand side by side.
    let sql = "SELECT prices.symbol FROM prices VERSION AS OF 3 WHERE prices.close = 4";
    assert_eq!(client.rows(sql).await, ["B"]);
    let new = "SELECT n.close FROM prices n LEFT JOIN prices VERSION AS OF 2 o ON n.ts = o.ts WHERE o.ts IS NULL ORDER BY 1";
    assert_eq!(client.rows(new).await, ["4.0", "5.0"]);
    let sql = "SELECT count(*) FROM gaps('prices', version => 3)";
    assert_eq!(client.int(sql).await, 0);
    let sql = "SELECT symbol FROM entities('prices', version => 2)";
    assert_eq!(client.rows(sql).await, ["A"]);
    let sql = "SELECT missing_buckets FROM gaps('prices', '2026-03-01T00:00:00Z', '2026-03-01T06:00:00Z', version => 2)";
    assert_eq!(client.rows(sql).await, ["3"]);
    let sql = "CREATE TABLE old AS SELECT * FROM prices VERSION AS OF 2";
    assert_eq!(client.update(sql).await, 3);
    let mut prepared = client
        .flight
        .prepare("SELECT count(*) FROM prices VERSION AS OF 3".to_owned(), None)
        .await
        .unwrap();
    let info = prepared.execute().await.unwrap();
    let batches = client.fetch(info).await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_at_a_time() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    let history = client.query("SELECT commit_time FROM table_history('prices')").await;
    let times = history[0].column(0).as_primitive::<TimestampMicrosecondType>();
    let text =
        |time_us: i64| chrono::DateTime::from_timestamp_micros(time_us).unwrap().to_rfc3339();
    for (row, count) in [0, 3, 4, 5].into_iter().enumerate() {
        let time = times.value(row);
        for clause in ["TIMESTAMP AS OF", "FOR SYSTEM_TIME AS OF", "TIMESTAMP AS OF TIMESTAMP"] {
            let sql = format!("SELECT count(*) FROM prices {clause} '{}'", text(time));
            assert_eq!(client.int(&sql).await, count, "{sql}");
        }
        let sql =
            format!("SELECT count(*) FROM table_history('prices', timestamp => '{}')", text(time));
        assert_eq!(client.int(&sql).await, row as i64 + 1, "{sql}");
        if row > 0 {
            let sql = format!("SELECT count(*) FROM prices TIMESTAMP AS OF '{}'", text(time - 1));
            assert_eq!(client.int(&sql).await, [0, 0, 3, 4][row], "{sql}");
        }
    }
    let before = format!("SELECT * FROM prices TIMESTAMP AS OF '{}'", text(times.value(0) - 1));
    client.refused(&before, Code::NotFound, "the oldest is of").await;
    let sql = "SELECT * FROM prices TIMESTAMP AS OF '2999-01-01'";
    client.refused(sql, Code::InvalidArgument, "name a time that has passed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_keeps_the_versions_that_it_names() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    let sql = "SELECT (SELECT count(*) FROM prices VERSION AS OF 2) AS old, (SELECT count(*) FROM prices) AS new";
    let info = client.info(sql).await.unwrap();
    client.update("INSERT INTO prices VALUES ('2026-03-02T00:00:00Z', 'C', 6)").await;
    let mut other = SqlClient::of(&server);
    let batches = other.fetch(info).await.unwrap();
    let number = |column: usize| batches[0].column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!((number(0), number(1)), (3, 5));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_moments_and_ranges_say_what_to_write() {
    let server = Server::start().await;
    let mut client = filled(&server).await;
    client.update("CREATE TABLE plain (n BIGINT)").await;
    for (sql, code, words) in [
        ("SELECT * FROM prices VERSION AS OF 9", Code::NotFound, "its versions are 1 to 4"),
        ("SELECT * FROM prices VERSION AS OF 0", Code::NotFound, "its versions are 1 to 4"),
        ("SELECT * FROM prices VERSION AS OF 1.5", Code::InvalidArgument, "1.5 is not a version"),
        ("SELECT * FROM prices VERSION AS OF 'x'", Code::InvalidArgument, ""),
        ("SELECT * FROM absent VERSION AS OF 1", Code::NotFound, "absent"),
        ("SELECT * FROM prices TIMESTAMP AS OF 'monday'", Code::InvalidArgument, "is not a time"),
        ("SELECT * FROM prices TIMESTAMP AS OF now()", Code::InvalidArgument, "is not a time"),
        ("SELECT * FROM prices p VERSION AS OF 2", Code::InvalidArgument, ""),
        (
            "WITH prices AS (SELECT 1) SELECT * FROM prices VERSION AS OF 2",
            Code::InvalidArgument,
            "common table expression",
        ),
        ("SELECT * FROM gaps('prices') VERSION AS OF 2", Code::InvalidArgument, "parser error"),
        ("SELECT * FROM gaps VERSION AS OF 2 ('prices')", Code::InvalidArgument, "version => 41"),
        ("SELECT * FROM gaps('prices', version => 9)", Code::NotFound, "its versions are 1 to 4"),
        (
            "SELECT * FROM gaps('prices', version => 2, timestamp => '2026-01-01')",
            Code::InvalidArgument,
            "told twice",
        ),
        ("SELECT * FROM gaps('prices', at => 2)", Code::InvalidArgument, "no argument \"at\""),
        ("SELECT * FROM gaps(version => 2)", Code::InvalidArgument, "gaps"),
        ("SELECT * FROM completeness('prices')", Code::InvalidArgument, "a start and an end"),
        (
            "SELECT * FROM covers('prices', '2026-03-02', '2026-03-01')",
            Code::InvalidArgument,
            "the range of covers",
        ),
        (
            "SELECT * FROM completeness('prices', 1, 2)",
            Code::InvalidArgument,
            "the start of completeness",
        ),
        ("SELECT * FROM entities('plain')", Code::InvalidArgument, "is a plain table"),
        ("SELECT * FROM table_history('absent')", Code::NotFound, "absent"),
        ("SELECT * FROM segments()", Code::InvalidArgument, "segments('prices')"),
    ] {
        client.refused(sql, code, words).await;
    }
    assert_eq!(client.rows("SELECT name FROM table_properties('plain') LIMIT 1").await, ["table"]);
    server.stop().await;
}

/// The fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language, text.join("\n")));
        }
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_says_what_happens() {
    let page = include_str!("../../clients/SQL.md");
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    let blocks = blocks(page);
    let mut compared = 0;
    for (position, (language, sql)) in blocks.iter().enumerate() {
        if *language != "sql" {
            continue;
        }
        match blocks.get(position + 1) {
            Some(("text", expected)) => {
                let answer = pretty_format_batches(&client.query(sql).await).unwrap().to_string();
                assert_eq!(answer, *expected, "{sql}");
                compared += 1;
            }
            _ => drop(client.update(sql).await),
        }
    }
    assert!(compared > 10, "{compared}");
    // Every function has its place in the page.
    for function in table_core::datafusion::table_function_names() {
        assert!(page.contains(&format!("### `{function}(table")), "{function}");
    }
    let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("### ")).collect();
    for function in table_core::datafusion::aggregate_functions() {
        let call = format!("`{}(", function.name());
        assert!(headings.iter().any(|heading| heading.contains(&call)), "{}", function.name());
    }
    server.stop().await;
}
