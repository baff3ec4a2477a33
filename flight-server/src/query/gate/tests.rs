//! What the gate lets through and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use tonic::Code;

use super::*;

/// The gate runs on threads with a large stack, as it does in the server.
fn checked(sql: String) -> Result<Gated, Status> {
    std::thread::Builder::new()
        .stack_size(limits::PLANNER_STACK_BYTES)
        .spawn(move || check(&sql))
        .unwrap()
        .join()
        .unwrap()
}

fn accept(sql: &str) -> Gated {
    checked(sql.to_owned()).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn refuse(sql: &str) -> Status {
    match checked(sql.to_owned()) {
        Ok(_) => panic!("let through: {sql}"),
        Err(error) => error,
    }
}

#[test]
fn queries_in_all_their_forms_pass() {
    for sql in [
        "SELECT 1",
        "  -- a comment\n SELECT 1 ; ",
        "VALUES (1, 'a'), (2, 'b')",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "SELECT * FROM a JOIN b ON a.x = b.x WHERE a.y IN (SELECT y FROM c)",
        "EXPLAIN SELECT * FROM a",
        "EXPLAIN ANALYZE SELECT * FROM a",
        "SHOW TABLES",
        "SHOW COLUMNS FROM a",
        "DESCRIBE a",
        "SELECT * FROM gaps('prices') WHERE symbol = 'A'",
    ] {
        assert!(!accept(sql).statement.is_update(), "{sql}");
    }
    for sql in [
        "CREATE TABLE a WITH (index_column = 'ts', bucket = '1h')",
        "CREATE TABLE IF NOT EXISTS a (ts TIMESTAMP NOT NULL)",
        "CREATE TABLE a AS SELECT 1 AS x",
        "DROP TABLE IF EXISTS a",
        "INSERT INTO a VALUES (1)",
        "INSERT INTO a (x) SELECT 1",
    ] {
        assert!(accept(sql).statement.is_update(), "{sql}");
    }
}

#[test]
fn statements_that_reach_out_or_change_settings_are_refused() {
    for sql in [
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.runtime.memory_limit = '1M'",
        "RESET datafusion.runtime.memory_limit",
        "CREATE FUNCTION f(DOUBLE) RETURNS DOUBLE RETURN $1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SCHEMA s",
        "PREPARE p AS SELECT 1",
        "UPDATE a SET x = 1",
        "DELETE FROM a",
        "TRUNCATE a",
        "BEGIN",
        "EXPLAIN INSERT INTO a VALUES (1)",
        "EXPLAIN COPY (SELECT 1) TO '/tmp/x.csv'",
        "SELECT 1 INTO t",
        "WITH x AS (INSERT INTO a VALUES (1) RETURNING *) SELECT * FROM x",
    ] {
        let error = refuse(sql);
        assert!(
            matches!(error.code(), Code::Unimplemented | Code::InvalidArgument),
            "{sql}: {error}"
        );
        assert!(!error.message().is_empty());
    }
}

#[test]
fn fetch_is_read_as_limit_and_other_words_for_it_say_what_to_write() {
    for (sql, expected) in [
        (
            "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS ONLY",
            "SELECT a FROM t ORDER BY a LIMIT 3",
        ),
        ("SELECT a FROM t FETCH NEXT ROW ONLY", "SELECT a FROM t LIMIT 1"),
        (
            "SELECT a FROM t OFFSET 5 ROWS FETCH NEXT $1 ROWS ONLY",
            "SELECT a FROM t LIMIT $1 OFFSET 5 ROWS",
        ),
        (
            "SELECT * FROM (SELECT a FROM t FETCH FIRST 2 ROWS ONLY) AS x",
            "SELECT * FROM (SELECT a FROM t LIMIT 2) AS x",
        ),
        ("EXPLAIN SELECT a FROM t FETCH FIRST 2 ROWS ONLY", "EXPLAIN SELECT a FROM t LIMIT 2"),
    ] {
        let Statement::Query(statement) = accept(sql).statement else { panic!("{sql}") };
        assert_eq!(statement.to_string(), expected, "{sql}");
    }
    for (sql, advice) in [
        ("SELECT TOP 7 a FROM t", "LIMIT 7"),
        ("SELECT x FROM (SELECT TOP 10 PERCENT a AS x FROM t) AS s", "LIMIT 10"),
        ("SELECT a FROM t FETCH FIRST 3 ROWS WITH TIES", "FETCH FIRST 10 ROWS ONLY"),
        ("SELECT a FROM t FETCH FIRST 3 PERCENT ROWS ONLY", "FETCH FIRST 10 ROWS ONLY"),
        ("SELECT a FROM t LIMIT 5 FETCH FIRST 3 ROWS ONLY", "write one of them"),
        ("CREATE TEMPORARY TABLE t AS SELECT 1 AS a", "write the query with WITH"),
        ("CREATE TEMP TABLE t (a BIGINT)", "drop it when done"),
    ] {
        let error = refuse(sql);
        assert!(error.message().contains(advice), "{sql}: {error}");
    }
}

#[test]
fn what_the_planner_would_ignore_is_refused() {
    for (sql, words) in [
        ("SELECT a FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT * FROM (SELECT a FROM t FOR SHARE) x", "FOR UPDATE"),
        ("SELECT a FROM t PREWHERE a = 1", "WHERE"),
        ("SELECT a FROM t START WITH a = 1 CONNECT BY a = 2", "RECURSIVE"),
        ("SELECT a FROM t FOR XML AUTO", "FOR XML"),
        ("SELECT a FROM t FORMAT JSON", "FORMAT"),
        ("SELECT a FROM t SETTINGS b = 1", "SETTINGS"),
        ("SELECT a FROM t GROUP BY a WITH TOTALS", "GROUPING SETS"),
        ("SELECT a FROM (SELECT a FROM t) x TABLESAMPLE (10 PERCENT)", "TABLESAMPLE"),
        ("INSERT INTO t SELECT a FROM t PREWHERE a = 1", "WHERE"),
        ("EXPLAIN SELECT a FROM t FOR UPDATE", "FOR UPDATE"),
    ] {
        let status = check(sql).unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{sql}: {status}");
        assert!(status.message().contains(words), "{sql}: {status}");
    }
}

#[test]
fn one_statement_at_a_time() {
    assert_eq!(refuse("SELECT 1; SELECT 2").code(), Code::InvalidArgument);
    assert_eq!(refuse("SELECT 1; DROP TABLE a").code(), Code::InvalidArgument);
    assert_eq!(refuse("").code(), Code::InvalidArgument);
    assert_eq!(refuse(" ; ").code(), Code::InvalidArgument);
    assert_eq!(refuse("SELEKT 1").code(), Code::InvalidArgument);
}

#[test]
fn time_travel_is_understood_or_refused_and_never_ignored() {
    for (sql, expected) in [
        ("SELECT * FROM prices VERSION AS OF 41", Moment::Version(41)),
        ("SELECT * FROM public.Prices version as of 41 p", Moment::Version(41)),
        ("EXPLAIN SELECT * FROM prices VERSION AS OF 41", Moment::Version(41)),
        ("INSERT INTO other SELECT * FROM prices VERSION AS OF 41", Moment::Version(41)),
        ("SELECT * FROM prices TIMESTAMP AS OF '1970-01-01T00:00:01Z'", Moment::Time(1_000_000)),
        (
            "SELECT * FROM prices TIMESTAMP AS OF '1970-01-01 01:00:01+01:00' p",
            Moment::Time(1_000_000),
        ),
        ("SELECT * FROM prices FOR SYSTEM_TIME AS OF '1970-01-02'", Moment::Time(86_400_000_000)),
        (
            "SELECT * FROM prices FOR SYSTEM_TIME AS OF TIMESTAMP '1970-01-02' p",
            Moment::Time(86_400_000_000),
        ),
        ("SELECT * FROM gaps('prices', version => 41)", Moment::Version(41)),
        (
            "SELECT * FROM covers('prices', 1, 2, TIMESTAMP => '1970-01-02') c",
            Moment::Time(86_400_000_000),
        ),
    ] {
        let gated = accept(sql);
        let past: Vec<_> = gated.past_tables.values().cloned().collect();
        assert_eq!(past, [PastTable { table: "prices".to_owned(), moment: expected }], "{sql}");
        let other: Vec<_> = gated.tables.iter().map(ToString::to_string).collect();
        assert!(other.is_empty() || other == ["other"], "{sql}: {other:?}");
        assert!(gated.function_tables.is_empty(), "{sql}");
    }
    for sql in [
        "SELECT * FROM prices FOR VERSION AS OF 41",
        "SELECT * FROM prices VERSION AS OF -1",
        "SELECT * FROM prices VERSION AS OF $1",
        "SELECT * FROM prices VERSION AS OF 99999999999999999999",
        "SELECT * FROM prices TIMESTAMP AS OF '2026-13-01'",
        "SELECT * FROM prices TIMESTAMP AS OF 5",
        "SELECT * FROM prices AT (VERSION => 41)",
        "SELECT * FROM prices BEFORE (TIMESTAMP => '2026-01-31')",
        "SELECT * FROM a VERSION AS OF 1, prices AT (VERSION => 41)",
        "SELECT * FROM a VERSION AS OF 1, prices CHANGES (INFORMATION => DEFAULT) AT (VERSION => 41)",
        "WITH x AS (SELECT * FROM a VERSION AS OF 1) SELECT * FROM x VERSION AS OF 1",
        "SELECT * FROM range(1, 2) VERSION AS OF 1",
        "SELECT * FROM range(1, 2, version => 1)",
        "SELECT * FROM gaps($1, version => 1)",
        "SELECT * FROM gaps('prices', version => 1, version => 2)",
    ] {
        let error = checked(sql.to_owned()).err();
        let late = sql.contains("range(1, 2, version");
        assert_eq!(error.is_none(), late, "{sql}");
        if let Some(error) = error {
            assert!(
                matches!(error.code(), Code::Unimplemented | Code::InvalidArgument),
                "{sql}: {error}"
            );
        }
    }
}

#[test]
fn a_statement_with_time_travel_is_read_like_any_other() {
    let parse = |sql: &str| {
        let (tokens, _) = measure::tokens(sql).unwrap();
        let dialect = dialect::of(&tokens);
        let parser = DFParserBuilder::new(tokens).with_dialect(dialect).build();
        parser.and_then(|mut parser| parser.parse_statements())
    };
    for query in [
        "SELECT * EXCLUDE (a) FROM t",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT {'a': 1}, [1, 2], a[1], x -> 1",
        "SELECT EXTRACT('year' FROM a), TRIM(BOTH 'x' FROM b), a::int, 1 << 2",
        "SELECT count(*) FILTER (WHERE a > 1) OVER w FROM t WINDOW w AS (PARTITION BY b)",
        "SELECT * FROM (VALUES (1), (2)) v(a) LIMIT 1, 2",
        "SELECT first_value(a) IGNORE NULLS OVER (ORDER BY b) FROM t",
        "SELECT E'\\n', U&'\\0041', `quoted`, \"quoted\" FROM t /* one /* in */ another */",
        "FROM t SELECT a",
        "SELECT a, FROM t",
        "SELECT * FROM a LEFT JOIN b JOIN c ON b.x = c.x ON a.x = b.x",
        "SELECT f(a := 1, b => 2) FROM t",
    ] {
        let alone = parse(query).map_err(|error| error.to_string());
        let beside = parse(&format!("SELECT * FROM p VERSION AS OF 1; {query}"));
        let beside = beside.map(|mut both| both.split_off(1)).map_err(|error| error.to_string());
        match (alone, beside) {
            (Ok(alone), Ok(beside)) => assert_eq!(alone, beside, "{query}"),
            (Err(_), Err(_)) => {}
            (alone, beside) => panic!("{query}: {alone:?}, {beside:?}"),
        }
    }
}

#[test]
fn long_chains_are_refused_at_once() {
    let chain = |term: &str, operator: &str, count: usize| {
        format!("SELECT {}", vec![term; count].join(operator))
    };
    for (term, operator) in
        [("1", "+"), ("1", " + "), ("x=1", " OR "), ("x", "||"), ("x", " AND "), ("1", "-")]
    {
        for count in [501_usize, 5_000, 9_000] {
            let sql = chain(term, operator, count);
            if sql.len() <= limits::SQL_BYTES_MAX {
                assert_eq!(refuse(&sql).code(), Code::InvalidArgument, "{count} {operator}");
            }
        }
        accept(&chain(term, operator, 200));
    }
    let union = |count: usize| vec!["SELECT 1"; count].join(" UNION ALL ");
    accept(&union(65));
    assert_eq!(refuse(&union(66)).code(), Code::InvalidArgument);
    assert_eq!(refuse(&union(3_000)).code(), Code::InvalidArgument);

    for sql in [
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1", "NOT ".repeat(5_000)),
        format!("SELECT {}1", "- ".repeat(5_000)),
        format!("SELECT 1{}", "::int".repeat(5_000)),
        format!("SELECT 1{}", " IS NULL".repeat(5_000)),
        format!("SELECT a{}", "[1]".repeat(5_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(2_000), " END".repeat(2_000)),
        format!("SELECT {}1{}", "abs(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT * FROM {}", vec!["t"; 40].join(", ")),
        format!("SELECT * FROM t{}", " CROSS JOIN t".repeat(40)),
    ] {
        assert_eq!(refuse(&sql).code(), Code::InvalidArgument, "{}", &sql[..60]);
    }
}

#[test]
fn a_list_of_values_is_no_chain() {
    let list = (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    accept(&format!("SELECT * FROM t WHERE x IN ({list})"));
    let rows = (0..1_500).map(|n| format!("({n},-{n})")).collect::<Vec<_>>().join(",");
    accept(&format!("INSERT INTO t VALUES {rows}"));
}

#[test]
fn common_tables_that_multiply_are_counted_as_they_will_be_planned() {
    let doubling = |levels: usize| {
        let mut sql = "WITH c0 AS (SELECT 1 AS x FROM t)".to_owned();
        for level in 1..=levels {
            let previous = level - 1;
            sql.push_str(&format!(
                ", c{level} AS (SELECT a.x FROM c{previous} a JOIN c{previous} b ON a.x = b.x)"
            ));
        }
        sql + &format!(" SELECT * FROM c{levels}")
    };
    accept(&doubling(6));
    assert_eq!(refuse(&doubling(14)).code(), Code::InvalidArgument);
    assert_eq!(refuse(&doubling(30)).code(), Code::InvalidArgument);
}

#[test]
fn tables_functions_and_parameters_are_found() {
    let gated = accept(
        "WITH x AS (SELECT * FROM Prices) SELECT * FROM x JOIN \"Other\" o ON o.a = x.a \
         JOIN public.third ON true WHERE x.b > ? AND o.c = ? AND EXISTS (SELECT 1 FROM gaps('prices', 1))",
    );
    let names: Vec<_> = gated.tables.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Other", "prices", "public.third"]);
    assert_eq!(gated.function_tables, ["prices"]);
    assert_eq!(gated.parameter_count, 2);
    assert_eq!(accept("SELECT $2, $1, $2").parameter_count, 2);
    assert_eq!(accept("SELECT '?' -- ?").parameter_count, 0);
    assert_eq!(refuse("SELECT ?, $1").code(), Code::InvalidArgument);
    assert_eq!(refuse("SELECT $name").code(), Code::InvalidArgument);
    assert_eq!(refuse("SELECT $0").code(), Code::InvalidArgument);
}

#[test]
fn what_is_joined_before_an_asof_join_is_one_relation() {
    for (sql, expected) in [
        (
            "SELECT 1 FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON a.k = b.k",
            "SELECT 1 FROM (a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON a.k = b.k)",
        ),
        (
            "SELECT 1 FROM z, a JOIN b ON true ASOF JOIN c MATCH_CONDITION (a.t >= c.t) JOIN d ON true",
            "SELECT 1 FROM z, ((a JOIN b ON true) ASOF JOIN c MATCH_CONDITION (a.t >= c.t)) JOIN d ON true",
        ),
        (
            "SELECT 1 FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ASOF JOIN c MATCH_CONDITION (a.t >= c.t)",
            "SELECT 1 FROM ((a ASOF JOIN b MATCH_CONDITION (a.t >= b.t)) ASOF JOIN c MATCH_CONDITION (a.t >= c.t))",
        ),
        (
            "SELECT 1 FROM a JOIN (b ASOF JOIN c MATCH_CONDITION (b.t >= c.t)) AS x ON true",
            "SELECT 1 FROM a JOIN ((b ASOF JOIN c MATCH_CONDITION (b.t >= c.t))) AS x ON true",
        ),
        (
            "WITH x AS (SELECT 1 FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t)) SELECT (SELECT 1 FROM x ASOF JOIN a \
             MATCH_CONDITION (a.t >= x.t))",
            "WITH x AS (SELECT 1 FROM (a ASOF JOIN b MATCH_CONDITION (a.t >= b.t))) SELECT (SELECT 1 FROM (x ASOF JOIN a \
             MATCH_CONDITION (a.t >= x.t)))",
        ),
    ] {
        let Statement::Query(statement) = accept(sql).statement else { panic!("{sql}") };
        assert_eq!(statement.to_string(), expected);
        let Statement::Query(statement) = accept(&format!("EXPLAIN {sql}")).statement else {
            panic!("{sql}")
        };
        assert!(statement.to_string().ends_with(expected), "{statement}");
    }
    let Statement::Insert(insert) =
        accept("INSERT INTO z SELECT 1 FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t)").statement
    else {
        panic!()
    };
    assert!(insert.to_string().contains("FROM (a ASOF JOIN"), "{insert}");
}

/// Only what could repeat gets a name, so that all else is planned as it is written.
#[test]
fn repeated_columns_get_names_of_their_own() {
    for sql in [
        "SELECT a, b, a + 1, count(*), 'x', 'y' FROM t",
        "SELECT a.x, b.x FROM a JOIN b ON true",
        "SELECT *, a + 1 FROM t",
        "SELECT *, 2 AS a FROM t ORDER BY b, a + 1",
        "SELECT *, 2 AS a FROM t GROUP BY a",
        "(SELECT *, 2 AS \"A\" FROM t) ORDER BY \"A\"",
        "SELECT a, 1 AS b, \"A\", 'a' FROM t",
        "SELECT * FROM (SELECT a, a FROM t) x",
        "INSERT INTO t SELECT a, a FROM t",
        "SELECT 1 UNION ALL SELECT 1",
    ] {
        let gated = accept(sql);
        assert!(gated.repeats.is_empty(), "{sql}: {:?}", gated.repeats);
    }
    for (sql, repeats) in [
        ("SELECT a, A FROM t", 1),
        ("SELECT x, a.x, b.x, a.x FROM a, b", 3),
        ("SELECT b.x, x FROM a, b", 1),
        ("SELECT *, a, t.b, c + 1 FROM t", 2),
        ("SELECT *, c + 1, c + 2 AS d FROM t WHERE d > 3 ORDER BY c", 1),
        ("SELECT count(*), COUNT(*), max(a), max(a) FROM t", 2),
        ("SELECT 1 AS a, 2 AS A, 3 AS \"A\", 4 AS \"A\"", 2),
        ("SELECT 1, 1 UNION SELECT 2, 2 INTERSECT (SELECT 3, 3)", 3),
        ("SELECT a, t.a AS a, b AS a FROM t", 2),
        ("SELECT b AS a, t.a FROM t", 1),
        ("EXPLAIN SELECT a, a FROM t", 1),
    ] {
        assert_eq!(accept(sql).repeats.len(), repeats, "{sql}");
    }
    let written: Vec<_> =
        accept("SELECT a, a, 1 AS \"X y\", 2 AS \"X y\" FROM t").repeats.into_values().collect();
    assert_eq!(written, [None, Some("X y".to_owned())]);
}
