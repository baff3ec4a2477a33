//! `ASOF JOIN` through a stock Flight SQL client: in every place a join can stand, how it is planned, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use common::Server;
use common::sql::SqlClient;
use tonic::Code;

/// Quotes: version 2 has A at 10, 20 and 30 s; version 3 adds B at 15 s. Trades of A at 5, 20 and 34 s, of B at 16 s, of C at 20 s.
async fn market(server: &Server) -> SqlClient {
    let mut client = SqlClient { empty: ".", ..SqlClient::of(server) };
    for (table, column) in [("trades", "price"), ("quotes", "bid")] {
        let sql = format!(
            "CREATE TABLE {table} (ts TIMESTAMP WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, {column} BIGINT) \
             WITH (index_column = 'ts', bucket = '1s', entity_columns = 'symbol')"
        );
        client.update(&sql).await;
    }
    client
        .update(
            "INSERT INTO trades VALUES ('2026-03-01T00:00:05Z', 'A', 1), ('2026-03-01T00:00:20Z', 'A', 2), \
             ('2026-03-01T00:00:34Z', 'A', 3), ('2026-03-01T00:00:16Z', 'B', 4), ('2026-03-01T00:00:20Z', 'C', 5)",
        )
        .await;
    client
        .update(
            "INSERT INTO quotes VALUES ('2026-03-01T00:00:10Z', 'A', 10), ('2026-03-01T00:00:20Z', 'A', 20), \
             ('2026-03-01T00:00:30Z', 'A', 30)",
        )
        .await;
    client.update("INSERT INTO quotes VALUES ('2026-03-01T00:00:15Z', 'B', 15)").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trade_finds_its_quote_wherever_the_join_stands() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    let join = "FROM trades t ASOF JOIN quotes q";
    for (sql, expected) in [
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol ORDER BY price"),
            vec!["1 .", "2 20", "3 30", "4 15", "5 ."],
        ),
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (q.ts < t.ts) ON q.symbol = t.symbol ORDER BY price"),
            vec!["1 .", "2 10", "3 30", "4 15", "5 ."],
        ),
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (t.ts <= q.ts) USING (symbol) ORDER BY price"),
            vec!["1 10", "2 20", "3 .", "4 .", "5 ."],
        ),
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (t.ts < q.ts) USING (symbol) ORDER BY price"),
            vec!["1 10", "2 30", "3 .", "4 .", "5 ."],
        ),
        // Without keys, the nearest quote of anything.
        (
            format!("SELECT price, q.symbol, bid {join} MATCH_CONDITION (t.ts >= q.ts) ORDER BY price"),
            vec!["1 . .", "2 A 20", "3 A 30", "4 B 15", "5 A 20"],
        ),
        // How far apart they may be.
        (
            format!(
                "SELECT price, bid {join} MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '1 second') \
                 ON t.symbol = q.symbol ORDER BY price"
            ),
            vec!["1 .", "2 20", "3 .", "4 15", "5 ."],
        ),
        (
            format!(
                "SELECT price, bid {join} MATCH_CONDITION (INTERVAL '4' SECOND > t.ts - q.ts AND t.ts >= q.ts) \
                 ON t.symbol = q.symbol ORDER BY price"
            ),
            vec!["1 .", "2 20", "3 .", "4 15", "5 ."],
        ),
        // A column of USING comes out once.
        (
            format!("SELECT * {join} MATCH_CONDITION (t.ts >= q.ts) USING (symbol) WHERE symbol = 'B'"),
            vec!["2026-03-01T00:00:16Z B 4 2026-03-01T00:00:15Z 15"],
        ),
        (
            "SELECT trades.price, quotes.bid FROM trades ASOF JOIN quotes MATCH_CONDITION (trades.ts >= quotes.ts) \
             ON trades.symbol = quotes.symbol WHERE bid IS NULL OR bid = 15 ORDER BY price"
                .to_owned(),
            vec!["1 .", "4 15", "5 ."],
        ),
        // Time travel on one side, and one of both sides.
        (
            "SELECT price, bid FROM trades t ASOF JOIN quotes VERSION AS OF 2 q MATCH_CONDITION (t.ts >= q.ts) \
             ON t.symbol = q.symbol ORDER BY price"
                .to_owned(),
            vec!["1 .", "2 20", "3 30", "4 .", "5 ."],
        ),
        // Several in a row, beside other joins, and in parentheses.
        (
            "SELECT price, q.bid, n.bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol \
             ASOF JOIN quotes n MATCH_CONDITION (t.ts < n.ts) ON n.symbol = t.symbol ORDER BY price"
                .to_owned(),
            vec!["1 . 10", "2 20 30", "3 30 .", "4 15 .", "5 . ."],
        ),
        (
            "SELECT price, name, bid, extra FROM trades t JOIN (VALUES ('A', 'Aa'), ('B', 'Bb')) names (s, name) ON s = t.symbol \
             ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol \
             LEFT JOIN (VALUES (20, 'x')) more (b, extra) ON b = bid ORDER BY price"
                .to_owned(),
            vec!["1 Aa . .", "2 Aa 20 x", "3 Aa 30 .", "4 Bb 15 ."],
        ),
        (
            "SELECT j.price, j.bid FROM (trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) USING (symbol)) AS j \
             WHERE j.symbol = 'B'"
                .to_owned(),
            vec!["4 15"],
        ),
        (
            "SELECT count(*) FROM (trades t JOIN quotes q ON false) JOIN (trades ASOF JOIN quotes MATCH_CONDITION \
             (trades.ts >= quotes.ts)) ON true"
                .to_owned(),
            vec!["0"],
        ),
        // Common table expressions and subqueries.
        (
            "WITH q AS (SELECT * FROM quotes WHERE bid > 10), j AS (SELECT t.symbol, t.price, q.bid FROM trades t ASOF JOIN q \
             MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol) SELECT a.price, b.bid FROM j a JOIN j b USING (price) \
             ORDER BY 1"
                .to_owned(),
            vec!["1 .", "2 20", "3 30", "4 15", "5 ."],
        ),
        (
            format!(
                "SELECT price FROM trades WHERE price IN (SELECT price {join} MATCH_CONDITION (t.ts >= q.ts) \
                 ON t.symbol = q.symbol WHERE bid < 20)"
            ),
            vec!["4"],
        ),
        // Expressions and types that are brought together as in any join.
        (
            format!(
                "SELECT price, bid {join} MATCH_CONDITION (t.ts >= q.ts + INTERVAL '10 seconds') ON lower(t.symbol) = lower(q.symbol) \
                 ORDER BY price"
            ),
            vec!["1 .", "2 10", "3 20", "4 .", "5 ."],
        ),
        (
            format!(
                "SELECT price, bid {join} MATCH_CONDITION (arrow_cast(t.ts, 'Timestamp(Nanosecond, Some(\"+01:00\"))') >= q.ts) \
                 ON t.symbol = q.symbol ORDER BY price"
            ),
            vec!["1 .", "2 20", "3 30", "4 15", "5 ."],
        ),
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (t.price * 5.5 >= q.bid) ON t.symbol = q.symbol ORDER BY price"),
            vec!["1 .", "2 10", "3 10", "4 15", "5 ."],
        ),
        (
            format!("SELECT count(*), count(bid), sum(bid) {join} MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"),
            vec!["5 3 65"],
        ),
        (
            format!("SELECT count(*) {join} MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol"),
            vec!["5"],
        ),
        (
            format!(
                "SELECT t.symbol, max(bid) {join} MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol GROUP BY t.symbol ORDER BY 1"
            ),
            vec!["A 30", "B 15", "C ."],
        ),
        (
            format!("SELECT price, bid {join} MATCH_CONDITION (t.ts >= q.ts) USING (symbol) ORDER BY price DESC LIMIT 2"),
            vec!["5 .", "4 15"],
        ),
    ] {
        assert_eq!(client.rows(&sql).await, expected, "{sql}");
    }
    client
        .update(
            "CREATE TABLE joined AS SELECT t.ts, t.symbol, price, bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) \
             ON t.symbol = q.symbol",
        )
        .await;
    assert_eq!(client.rows("SELECT count(*), sum(bid) FROM joined").await, ["5 65"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_tickets_keep_what_they_mean() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    let sql = "SELECT price, bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts < INTERVAL '1 second' * $2) \
               ON t.symbol = q.symbol AND q.bid + 0 = q.bid WHERE price >= $1 ORDER BY price";
    client
        .refused(&sql.replace("$1", "1").replace("$2", "1"), Code::InvalidArgument, "takes no")
        .await;
    let sql = "SELECT price, bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.price - q.bid + $1 >= 0 + t.price) ON t.symbol = q.symbol";
    client.refused(&sql.replace("$1", "1"), Code::InvalidArgument, "MATCH_CONDITION").await;

    let sql = "SELECT price, bid FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.price * 10 >= q.bid AND t.price * 10 - q.bid <= $1) \
               ON t.symbol = q.symbol WHERE t.symbol = $2 ORDER BY price";
    let mut prepared = client.flight.prepare(sql.to_owned(), None).await.unwrap();
    for (distance, symbol, expected) in [
        (0_i64, "A", ["1 10", "2 20", "3 30"].as_slice()),
        (9, "B", &["4 ."]),
        (25, "B", &["4 15"]),
    ] {
        let columns: [(&str, ArrayRef); 2] = [
            ("$1", Arc::new(Int64Array::from(vec![distance]))),
            ("$2", Arc::new(StringArray::from(vec![symbol]))),
        ];
        prepared.set_parameters(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let batches = client.fetch(info).await.unwrap();
        assert_eq!(client.text(&batches), expected, "{distance} {symbol}");
    }

    // A ticket is redeemed at the versions that it was made for, with one side in the past besides.
    let sql = "SELECT price, n.bid, o.bid FROM trades t ASOF JOIN quotes n MATCH_CONDITION (t.ts >= n.ts) ON t.symbol = n.symbol \
               ASOF JOIN quotes VERSION AS OF 2 o MATCH_CONDITION (t.ts >= o.ts) ON t.symbol = o.symbol ORDER BY price";
    let info = client.info(sql).await.unwrap();
    client.update("INSERT INTO quotes VALUES ('2026-03-01T00:00:19Z', 'C', 19)").await;
    let before = client.fetch(info).await.unwrap();
    assert_eq!(client.text(&before), ["1 . .", "2 20 20", "3 30 30", "4 15 .", "5 . ."]);
    assert_eq!(client.rows(sql).await[4], "5 19 .");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sides_that_are_in_order_are_not_sorted() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    let rows = "SELECT to_timestamp_micros(n * 1000) AS ts, concat('S', n % 3) AS symbol, n AS";
    for (table, column, seed) in [("ticks", "price", 0), ("marks", "bid", 1)] {
        let sql = format!(
            "CREATE TABLE {table} WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol') AS {rows} {column} \
             FROM (SELECT value * 2 + {seed} AS n FROM generate_series(0, 30000))"
        );
        client.update(&sql).await;
    }
    let join = "SELECT t.ts, price, bid FROM ticks t ASOF JOIN marks q MATCH_CONDITION (t.ts > q.ts) USING (symbol)";
    let plan = client.rows(&format!("EXPLAIN {join}")).await.join("\n");
    assert!(
        plan.contains("AsofJoinExec: match=[ts@0 > ts@0], on=[(symbol@1, symbol@1)]"),
        "{plan}"
    );
    assert!(!plan.contains("SortExec") && !plan.contains("Hash("), "{plan}");
    // Its own order is that of the left side.
    let plan = client.rows(&format!("EXPLAIN {join} ORDER BY symbol, t.ts")).await.join("\n");
    assert!(!plan.contains("SortExec"), "{plan}");
    // The columns that nobody asks for are not read.
    let plan =
        client.rows(&format!("EXPLAIN SELECT count(price) FROM ({join}) x")).await.join("\n");
    assert!(plan.contains("projection=[ts, symbol]"), "{plan}");
    // A filter of an entity is one of both sides.
    let plan =
        client.rows(&format!("EXPLAIN {join} WHERE symbol = 'S1' AND bid > 5")).await.join("\n");
    assert_eq!(plan.matches("predicate=symbol@1 = S1").count(), 2, "{plan}");
    // What is not in order is dealt out by keys and sorted, as in any merge join.
    let sql = "SELECT price, bid FROM ticks t ASOF JOIN marks q MATCH_CONDITION (t.price > q.bid) USING (symbol)";
    let plan = client.rows(&format!("EXPLAIN {sql}")).await.join("\n");
    assert_eq!(plan.matches("SortExec").count(), 2, "{plan}");
    // Ticks are even and marks odd, so the mark before of the same symbol is three away; the first two have none.
    let sql =
        format!("SELECT count(*), count(bid), min(price - bid), max(price - bid) FROM ({join}) x");
    assert_eq!(client.rows(&sql).await, ["30001 29999 3 3"]);
    let sql = "SELECT count(*), count(bid), min(price - bid), max(price - bid) FROM ticks t ASOF JOIN marks q \
               MATCH_CONDITION (t.price > q.bid) USING (symbol)";
    assert_eq!(client.rows(sql).await, ["30001 29999 3 3"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_would_be_ignored_is_refused() {
    let server = Server::start().await;
    let mut client = market(&server).await;
    client.update("CREATE TABLE odd (ts TIMESTAMP NOT NULL, flag BOOLEAN, text TEXT, n BIGINT, l BIGINT[])").await;
    for (join, words) in [
        ("quotes q ON t.symbol = q.symbol", "MATCH_CONDITION"),
        ("quotes q MATCH_CONDITION ()", ""),
        ("quotes q MATCH_CONDITION (true)", "does not know what is nearest"),
        ("quotes q MATCH_CONDITION (t.ts = q.ts)", "finds nothing nearest by"),
        ("quotes q MATCH_CONDITION (t.ts <> q.ts)", "finds nothing nearest by"),
        ("quotes q MATCH_CONDITION (t.ts >= t.ts)", "does not know what is nearest"),
        ("quotes q MATCH_CONDITION (q.ts >= q.ts)", "does not know what is nearest"),
        (
            "quotes q MATCH_CONDITION (t.ts >= TIMESTAMP '2026-03-01T00:00:00Z')",
            "does not know what is nearest",
        ),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts OR t.ts < q.ts)", "does not know what is nearest"),
        ("quotes q MATCH_CONDITION (NOT t.ts >= q.ts)", "does not know what is nearest"),
        ("quotes q MATCH_CONDITION (t.ts BETWEEN q.ts AND q.ts)", "does not know what is nearest"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts AND t.price >= q.bid)", "one pair of values"),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND t.symbol = q.symbol)",
            "finds nothing nearest by",
        ),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts AND q.bid > 5)", "takes no"),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND q.ts - t.ts <= INTERVAL '5 seconds')",
            "how far apart",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts >= INTERVAL '5 seconds')",
            "how far apart",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts = INTERVAL '5 seconds')",
            "how far apart",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '5 seconds' AND t.ts - q.ts <= INTERVAL '1 second')",
            "as a condition",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '1 month')",
            "months and years differ",
        ),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= 5)", "write an interval"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= NULL)", "is null"),
        (
            "quotes q MATCH_CONDITION (t.price >= q.bid AND t.price - q.bid <= INTERVAL '1 second')",
            "write a number",
        ),
        ("quotes q MATCH_CONDITION (t.ts >= q.bid)", "cannot compare"),
        ("odd q MATCH_CONDITION (t.symbol >= q.text)", "number, date or time"),
        ("odd q MATCH_CONDITION (t.ts >= q.flag)", "cannot compare"),
        ("odd q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.l", "cannot compare"),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol OR t.price = q.bid",
            "takes no",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol AND t.price > q.bid",
            "takes no",
        ),
        (
            "quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol AND q.bid > 5",
            "takes no",
        ),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = 'A'", "takes no"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = t.symbol", "takes no"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON true", "takes no"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON symbol = q.symbol", "mbiguous"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.nothing = q.symbol", "nothing"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.price = q.bid + random()", "random()"),
        ("quotes q MATCH_CONDITION (t.ts >= (SELECT max(ts) FROM quotes))", "subquery"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) USING (price)", "price"),
        ("quotes q MATCH_CONDITION (t.ts >= q.ts) USING (symbol, symbol)", "twice"),
        ("quotes t MATCH_CONDITION (t.ts >= t.ts)", ""),
    ] {
        let sql = format!("SELECT * FROM trades t ASOF JOIN {join}");
        client.refused(&sql, Code::InvalidArgument, words).await;
    }
    for (sql, words) in [
        (
            "SELECT * FROM trades t GLOBAL ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts)",
            "GLOBAL",
        ),
        ("SELECT * FROM trades t GLOBAL JOIN quotes q ON t.ts = q.ts", "GLOBAL"),
        (
            "SELECT * FROM trades t ASOF JOIN LATERAL (SELECT t.ts) q MATCH_CONDITION (t.ts >= q.ts)",
            "LATERAL",
        ),
        (
            "SELECT * FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) USING (q.symbol)",
            "USING",
        ),
    ] {
        client.refused(sql, Code::Unimplemented, words).await;
    }
    for sql in [
        "SELECT * FROM trades t NATURAL ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts)",
        "SELECT * FROM trades t ASOF LEFT JOIN quotes q MATCH_CONDITION (t.ts >= q.ts)",
        "SELECT * FROM trades t WHERE EXISTS (SELECT 1 FROM trades a ASOF JOIN quotes b MATCH_CONDITION (a.ts >= b.ts) ON b.symbol = t.symbol)",
    ] {
        client.refused(sql, Code::InvalidArgument, "").await;
    }
    server.stop().await;
}
