//! Comparisons of numbers and times of different types: each as it is written, none through a type that cannot hold it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use tonic::Code;

use common::Server;
use common::sql::SqlClient;

/// A decimal is compared with the number that is written, and a double with the nearest one.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_compared_as_they_are_written() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    let columns = "n DECIMAL(20, 2), wide DECIMAL(38, 10), f DOUBLE";
    client.update(&format!("CREATE TABLE numbers ({columns})")).await;
    // Of two to fifteen digits, from a generator that gives the same ones each time.
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut written: Vec<String> = (0..40)
        .map(|at| format!("{}.{:02}", next(10_u64.pow(1 + at % 9)) * next(1_000), next(100)))
        .collect();
    written.extend(["70.32", "0.10", "-70.32", "0.00", "1234567890123456.78"].map(str::to_owned));
    written.sort();
    written.dedup();
    let rows: Vec<String> = written.iter().map(|one| format!("({one}, {one}, {one})")).collect();
    client.update(&format!("INSERT INTO numbers VALUES {}", rows.join(", "))).await;
    for one in &written {
        for filter in [
            format!("n = {one}"),
            format!("{one} = wide"),
            format!("f = {one}"),
            format!("n = f AND f = {one}"),
            format!("n BETWEEN {one} AND {one}"),
            format!("wide IN (0.125, {one})"),
            format!("n >= {one} AND NOT n > {one}"),
            format!("nullif(n, {one}) IS NULL"),
            format!("CASE n WHEN {one} THEN true ELSE false END"),
            format!("n = '{one}'"),
        ] {
            let sql = format!("SELECT count(*) FROM numbers WHERE {filter}");
            assert_eq!(client.int(&sql).await, 1, "{filter}");
        }
    }

    // More digits than a double has.
    let columns = "n DECIMAL(20, 2), b DECIMAL(38, 0), f DOUBLE";
    client.update(&format!("CREATE TABLE long ({columns})")).await;
    let (n, b) = ("123456789012345678.89", "30000000000000000000000000000000000001");
    let sql = format!("INSERT INTO long VALUES ({n}, {b}, 0.30000000000000004), (-{n}, 1, 0.3)");
    client.update(&sql).await;
    for filter in [
        format!("n = {n}"),
        format!("n = -{n}"),
        format!("n = '{n}'"),
        format!("b = {b}"),
        format!("b > {b} - 1"),
        "f = 0.30000000000000004".to_owned(),
        "f > 0.3".to_owned(),
        "f = 0.1 + 0.2".to_owned(),
        "f - 0.30000000000000004 = 0".to_owned(),
        // The nearest double, though the quotient of the nearest doubles is another.
        "f = 0.300000000000000041".to_owned(),
    ] {
        let count = client.int(&format!("SELECT count(*) FROM long WHERE {filter}")).await;
        assert_eq!(count, 1, "{filter}");
    }
    let exact = client.rows("SELECT n, b FROM long ORDER BY n DESC LIMIT 1").await;
    assert_eq!(exact, [format!("{n} {b}")]);
    let sql = "SELECT CAST(11191988822.22 AS DECIMAL(38, 10)) AS a, CAST(-1.005 AS DECIMAL(5, 2)) AS b, CAST(0.004 AS DECIMAL(5, 2)) AS c";
    assert_eq!(client.rows(sql).await, ["11191988822.2200000000 -1.01 0.00"]);
    client.refused("SELECT CAST(1234.5 AS DECIMAL(5, 2)) AS a", Code::InvalidArgument, "").await;
    // What no decimal holds is compared as a double, and no double is compared as less.
    let count = client.int("SELECT count(*) FROM long WHERE n < 1e300 AND b < 1e38").await;
    assert_eq!(count, 2);
    server.stop().await;
}

/// Times are compared in the unit that they have, not in nanoseconds, which end in 2262.
#[tokio::test(flavor = "multi_thread")]
async fn times_are_compared_in_their_own_unit() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    let columns = "id INT, ts TIMESTAMP(6), utc TIMESTAMP WITH TIME ZONE, d DATE, s TIMESTAMP(0), ns TIMESTAMP(9), t TIME, fine TIME(9), coarse TIME(0)";
    client.update(&format!("CREATE TABLE times ({columns})")).await;
    let row = |id: u32, ts: &str, day: &str, time: &str, ns: &str| {
        format!(
            "({id}, '{ts}', '{ts}', DATE '{day}', '{ts}', TIMESTAMP '{ns}', TIME '{time}', TIME '{time}', TIME '{time}')"
        )
    };
    let values = [
        row(1, "0001-03-04 05:06:07", "0001-03-04", "05:06:07", "2024-01-01 00:00:00.123456789"),
        row(2, "2024-01-01 00:00:00", "2024-01-01", "12:00:00", "2024-01-01 00:00:00.123456"),
        row(3, "9999-12-31 23:59:59", "9999-12-31", "23:59:59", "2024-01-01 00:00:01"),
    ];
    client.update(&format!("INSERT INTO times VALUES {}", values.join(", "))).await;
    for (filter, ids) in [
        ("ts >= '9999-12-31'", "3"),
        ("utc < '2024-01-01T00:00:00Z'", "1"),
        ("ts = '0001-03-04 05:06:07'", "1"),
        ("ts IN ('2024-01-01', '0001-03-04 05:06:07')", "1 2"),
        ("ts BETWEEN '0001-01-01' AND '9999-12-31'", "1 2"),
        ("ts > DATE '2024-01-01'", "3"),
        ("d < ts", "1 3"),
        ("ts = d", "2"),
        ("s <> '2024-01-01'", "1 3"),
        ("CASE ts WHEN '2024-01-01' THEN true ELSE false END", "2"),
        ("ns = TIMESTAMP '2024-01-01 00:00:00.123456789'", "1"),
        ("ns = '2024-01-01 00:00:00.123456789'", "1"),
        ("ns > TIMESTAMP '2024-01-01 00:00:00.123456'", "1 3"),
        ("ts < now()", "1 2"),
        // Between two ticks of the column.
        ("s < TIMESTAMP '2024-01-01 00:00:00.5'", "1 2"),
        ("TIMESTAMP '2024-01-01 00:00:00.5' <= s", "3"),
        ("s >= TIMESTAMP '2023-12-31 23:59:59.5'", "2 3"),
        ("s < TIMESTAMP '2024-01-01 00:00:01' - INTERVAL '0.5 seconds'", "1 2"),
        ("s > '2023-12-31 23:59:59.25'", "2 3"),
        ("s BETWEEN '2023-12-31 23:59:59.5' AND TIMESTAMP '2024-01-01 00:00:00.5'", "2"),
        ("s NOT IN (TIMESTAMP '2024-01-01 00:00:00.5', TIMESTAMP '2024-01-01')", "1 3"),
        ("ts < TIMESTAMP '2024-01-01 00:00:00.0000005'", "1 2"),
        ("CASE s WHEN TIMESTAMP '2024-01-01 00:00:00.5' THEN false ELSE id = 2 END", "2"),
        ("s <= (SELECT TIMESTAMP '2024-01-01 00:00:00.5') AND id > 1", "2"),
        ("s IN (SELECT TIMESTAMP '2024-01-01 00:00:00.5')", ""),
        ("arrow_cast(s, 'Timestamp(ms)') < TIMESTAMP '2024-01-01 00:00:00.5'", "1 2"),
    ] {
        let sql = format!("SELECT id FROM times WHERE {filter} ORDER BY id");
        assert_eq!(client.rows(&sql).await.join(" "), ids, "{filter}");
    }
    // A time without a zone that is given one is a local time of that zone.
    client.update("CREATE TABLE places (id INT, s TIMESTAMP(0), ts TIMESTAMP(6))").await;
    let rows = ["2023-12-31 23:00:00", "2024-01-01 00:00:00", "2024-01-01 02:00:00"];
    let rows: Vec<String> =
        (1..).zip(rows).map(|(id, ts)| format!("({id}, '{ts}', '{ts}')")).collect();
    client.update(&format!("INSERT INTO places VALUES {}", rows.join(", "))).await;
    client.update("CREATE TABLE moments (at TIMESTAMP WITH TIME ZONE)").await;
    client.update("INSERT INTO moments VALUES ('2024-01-01T05:00:00Z')").await;
    let there = "s AT TIME ZONE 'America/New_York'";
    for (filter, ids) in [
        (format!("{there} = '2024-01-01T05:00:00Z'"), "2"),
        (format!("{there} = TIMESTAMPTZ '2024-01-01T05:00:00Z'"), "2"),
        // Without a zone it is a local time there, too.
        (format!("{there} = TIMESTAMP '2024-01-01'"), "2"),
        (format!("'2024-01-01T04:59:59.5Z' < {there}"), "2 3"),
        (format!("{there} NOT IN ('2024-01-01T05:00:00Z', '2024-01-01T05:00:00.5Z')"), "1 3"),
        (format!("{there} BETWEEN '2024-01-01T04:00:00Z' AND '2024-01-01T05:00:00Z'"), "1 2"),
        (format!("'2024-01-01T05:00:00Z' BETWEEN {there} AND ts AT TIME ZONE 'UTC'"), ""),
        (format!("CASE {there} WHEN '2024-01-01T05:00:00Z' THEN true ELSE false END"), "2"),
        (format!("{there} IN (SELECT at FROM moments)"), "2"),
        (format!("{there} >= (SELECT max(at) FROM moments)"), "2 3"),
        (format!("{there} < now()"), "1 2 3"),
        (
            r#"arrow_cast(ts, 'Timestamp(us, "+05:00")') <= '2023-12-31T19:00:00Z'"#.to_owned(),
            "1 2",
        ),
        ("s AT TIME ZONE 'UTC' = '2024-01-01T00:00:00Z'".to_owned(), "2"),
    ] {
        let sql = format!("SELECT id FROM places WHERE {filter} ORDER BY id");
        assert_eq!(client.rows(&sql).await.join(" "), ids, "{filter}");
        let sql =
            format!("SELECT id FROM (SELECT id, ({filter}) AS c FROM places) WHERE c ORDER BY id");
        assert_eq!(client.rows(&sql).await.join(" "), ids, "{filter}");
    }
    // Times that clocks show twice, never, and long before and after all others.
    client.update("CREATE TABLE clocks (id INT, ts TIMESTAMP(0))").await;
    let shown = [
        "2026-10-25 02:30:00",
        "2026-03-29 02:30:00",
        "9999-12-31 00:00:00",
        "0001-01-01 00:00:00",
    ];
    let rows: Vec<String> = (1..).zip(shown).map(|(id, ts)| format!("({id}, '{ts}')")).collect();
    client.update(&format!("INSERT INTO clocks VALUES {}", rows.join(", "))).await;
    let sql = "SELECT CAST(ts AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'UTC' AS TEXT) AS at FROM clocks ORDER BY id";
    let moments = [
        "2026-10-25T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "9999-12-30T23:00:00Z",
        "0000-12-31T23:06:32Z",
    ];
    assert_eq!(client.rows(sql).await, moments);
    let filter = "ts AT TIME ZONE 'Europe/Berlin' > '2026-03-29T01:00:00Z'";
    let found = client.rows(&format!("SELECT id FROM clocks WHERE {filter} ORDER BY id")).await;
    assert_eq!(found.join(" "), "1 2 3");
    for (sql, what) in [
        ("SELECT ts AT TIME ZONE 'Mars/Olympus' FROM clocks", "no time zone; write one such as"),
        ("SELECT id AT TIME ZONE 'UTC' FROM clocks", "AT TIME ZONE does not take (Int32, Utf8)"),
        ("SELECT ts AT TIME ZONE CAST(id AS TEXT) FROM clocks", "write ts AT TIME ZONE"),
    ] {
        client.refused(sql, Code::InvalidArgument, what).await;
    }
    let types = client.query("SELECT now(), current_timestamp, current_time").await;
    let schema = types[0].schema();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!((schema.field(0).data_type(), schema.field(1).data_type()), (&utc, &utc));
    assert_eq!(schema.field(2).data_type(), &DataType::Time64(TimeUnit::Microsecond));
    client.refused("SELECT id FROM times WHERE ts > 'soon'", Code::InvalidArgument, "").await;
    server.stop().await;
}

/// DataFusion makes one list of two that a value is looked up in, which is right of constants and of values only.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_in_two_lists_is_looked_up_in_each() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    client.update("CREATE TABLE t (id BIGINT, x BIGINT, y BIGINT, z BIGINT)").await;
    client
        .update("INSERT INTO t VALUES (1, 1, 1, 1), (2, 2, 1, 2), (3, 3, 4, 5), (4, NULL, 1, 1)")
        .await;
    for (filter, ids) in [
        ("x IN (y) AND x IN (z)", "1"),
        ("x IN (y, 3) AND x NOT IN (1, z)", "3"),
        ("x NOT IN (y, 9) OR x NOT IN (7, z)", "2 3"),
        ("x NOT IN (1) OR x NOT IN (2)", "1 2 3"),
        ("NOT (x IN (0, 1)) OR x NOT IN (2)", "1 2 3"),
        ("(x IN (1) AND x IN (2)) IS NULL", "4"),
        ("x IN (1, 2, 3) AND x IN (2, 3, 4)", "2 3"),
        ("EXISTS (SELECT 1 FROM t i WHERE t.x IN (i.y) AND t.x IN (i.z) AND i.id = 1)", "1"),
    ] {
        let found = client.rows(&format!("SELECT id FROM t WHERE {filter} ORDER BY id")).await;
        assert_eq!(found.join(" "), ids, "{filter}");
    }
    for (filter, ids) in [
        ("1 IN (y) AND 1 IN (z)", "1 4"),
        ("(SELECT 1) IN (y) AND (SELECT 1) IN (z)", "1 4"),
        ("NOT (x = 1 + 1 OR x = 3) OR NOT (x = 2 + 2 OR x = 5)", "1 2 3"),
        ("x = ANY ([y]) AND x = ANY ([z])", "1"),
        ("(x IN (1, 5)) = false OR (x IN (2, 6)) = false", "1 2 3"),
        ("x = 3 AND 3 = x", "3"),
        ("3 = x AND 3 = x AND id = 3 AND 3 = id", "3"),
        // An operator of its own precedence.
        ("(x = 1) IS DISTINCT FROM true OR id = 1", "1 2 3 4"),
        ("x IS NOT DISTINCT FROM 1 AND id = 1", "1"),
        ("x IS DISTINCT FROM y + 1 AND id < 3", "1"),
    ] {
        let found = client.rows(&format!("SELECT id FROM t WHERE {filter} ORDER BY id")).await;
        assert_eq!(found.join(" "), ids, "{filter}");
    }
    let mut bound = client
        .flight
        .prepare("SELECT id FROM t WHERE $1 IN (y) AND $1 IN (z) ORDER BY id".to_owned(), None)
        .await
        .unwrap();
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    bound.set_parameters(RecordBatch::try_from_iter([("1", one)]).unwrap()).unwrap();
    let info = bound.execute().await.unwrap();
    let found = client.fetch(info).await.unwrap();
    assert_eq!(client.text(&found), ["1", "4"]);
    let column =
        "SELECT x IN (1) AND x IN (2) AS c, x NOT IN (1) OR x NOT IN (2) FROM t WHERE id = 4";
    assert_eq!(
        client.query(column).await[0].columns().iter().map(|c| c.null_count()).sum::<usize>(),
        2
    );
    server.stop().await;
}

/// Nobody knows whether a null is among some values, nor whether a value is among some of which one is null.
#[tokio::test(flavor = "multi_thread")]
async fn a_null_is_neither_in_a_subquery_nor_out_of_it() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    client.update("CREATE TABLE t (id BIGINT, x BIGINT)").await;
    client.update("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL), (99, NULL)").await;
    client.update("CREATE TABLE s (y BIGINT, g BIGINT)").await;
    client.update("INSERT INTO s VALUES (1, 1), (3, 2), (NULL, 4)").await;
    let (known, some) = ("SELECT y FROM s WHERE y IS NOT NULL", "SELECT y FROM s");
    let (none, of_id) = ("SELECT y FROM s WHERE y > 9", "SELECT y FROM s WHERE g = t.id");
    let above_id = "SELECT y FROM s WHERE g > t.id";
    for (filter, ids) in [
        (format!("t.x NOT IN ({known})"), "2"),
        (format!("t.x NOT IN ({known}) OR t.id = 99"), "2 99"),
        (format!("NOT (t.x IN ({known})) OR t.id = 99"), "2 99"),
        (format!("NOT (t.x IN ({known}) OR t.id = 99)"), "2"),
        (format!("t.x IN ({known}) OR t.id = 99"), "1 99"),
        (format!("t.x NOT IN ({some}) OR t.id = 99"), "99"),
        (format!("(t.x IN ({some})) IS NULL"), "2 3 99"),
        (format!("(t.x IN ({known})) IS NULL"), "3 99"),
        (format!("(t.x IN ({known})) = false"), "2"),
        (format!("CASE WHEN t.x NOT IN ({known}) THEN true ELSE t.id = 99 END"), "2 99"),
        (format!("t.x NOT IN ({none}) OR t.id = 99"), "1 2 3 99"),
        (format!("(t.x IN ({none})) IS NULL"), ""),
        // Of id 2 there is 3, of id 1 there is 1, and of the others nothing.
        (format!("t.x NOT IN ({of_id})"), "2 3 99"),
        (format!("NOT (t.x IN ({of_id}))"), "2 3 99"),
        (format!("t.x IN ({of_id})"), "1"),
        (format!("t.x NOT IN ({of_id}) OR t.id = 0"), "2 3 99"),
        // There is a null for all but the last.
        (format!("t.x NOT IN ({above_id})"), "99"),
        (format!("NOT (t.x IN ({above_id}))"), "99"),
        (format!("2 NOT IN ({above_id}) AND t.id > 1"), "99"),
        (format!("(t.x IN ({of_id})) = false"), "2 3 99"),
        (format!("coalesce(t.x, 0) NOT IN ({known}) OR t.id = 1"), "1 2 3 99"),
    ] {
        for query in [
            format!("SELECT t.id FROM t WHERE {filter} ORDER BY id"),
            format!("SELECT t.id FROM t GROUP BY t.id, t.x HAVING {filter} ORDER BY id"),
            format!("SELECT t.id FROM t JOIN t o ON t.id = o.id AND ({filter}) ORDER BY t.id"),
        ] {
            assert_eq!(client.rows(&query).await.join(" "), ids, "{query}");
        }
    }
    server.stop().await;
}
