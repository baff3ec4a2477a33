//! Queries whose result has columns of one name: the names that are announced, prepared and sent, and the values below them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::Schema;
use tonic::Code;

use common::Server;
use common::sql::SqlClient;

fn names_of(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(" ")
}

/// Answers have as many columns of one name as the client asks for; prepared, announced and sent alike.
#[tokio::test(flavor = "multi_thread")]
async fn columns_may_repeat() {
    let server = Server::start().await;
    let mut client = SqlClient::of(&server);
    client.update("CREATE TABLE t (a BIGINT, b BIGINT, \"A b\" BIGINT)").await;
    client.update("INSERT INTO t VALUES (1, 10, 100), (2, 20, 200)").await;
    for (sql, names, first) in [
        ("SELECT a, a FROM t ORDER BY a", "a a", "1 1"),
        ("SELECT *, b FROM t ORDER BY 1", "a b A b b", "1 10 100 10"),
        (
            "SELECT b, t.*, t.a, a + 1 FROM t ORDER BY b DESC",
            "b a b A b a t.a + Int64(1)",
            "20 2 20 200 2 3",
        ),
        (
            "SELECT t.a, a, T.A, \"A b\", \"A b\" FROM t ORDER BY t.a",
            "a a a A b A b",
            "1 1 1 100 100",
        ),
        (
            "SELECT count(*), COUNT(*), sum(a), sum(a) AS sum FROM t",
            "count(*) count(*) sum(t.a) sum",
            "2 2 3 3",
        ),
        (
            "SELECT a AS x, b AS X, a AS \"X\", b AS x FROM t ORDER BY b LIMIT 1",
            "x x X x",
            "1 10 1 10",
        ),
        (
            "SELECT 1, 1, 2 UNION ALL SELECT 3, 3, 3 ORDER BY 3",
            "Int64(1) Int64(1) Int64(2)",
            "1 1 2",
        ),
        ("(SELECT a, a FROM t WHERE a = 2)", "a a", "2 2"),
        ("SELECT DISTINCT b, b FROM t ORDER BY b", "b b", "10 10"),
        ("SELECT x.a, y.a, x.a FROM t x JOIN t y ON x.a = y.a ORDER BY y.a", "a a a", "1 1 1"),
        ("WITH c AS (SELECT a FROM t) SELECT a, a, a AS a FROM c ORDER BY 1", "a a a", "1 1 1"),
        (
            "SELECT a, row_number() OVER (ORDER BY a) AS n, row_number() OVER (ORDER BY a) AS n FROM t ORDER BY a",
            "a n n",
            "1 1 1",
        ),
        ("SELECT b AS a, a FROM t ORDER BY t.a", "a a", "10 1"),
        (
            "SELECT *, b + 1 AS b, a AS a, 3 AS c FROM t WHERE b > 10",
            "a b A b b a c",
            "2 20 200 21 2 3",
        ),
        ("SELECT a, CAST(a AS TEXT) FROM t ORDER BY 1", "a t.a", "1 1"),
        (
            "SELECT a, a::DOUBLE, t.a, CAST(CAST(t.a AS INT) AS TEXT), (a) FROM t ORDER BY b",
            "a t.a a t.a a",
            "1 1.0 1 1 1",
        ),
        ("SELECT *, CAST(b AS TEXT) FROM t ORDER BY b", "a b A b t.b", "1 10 100 10"),
        ("SELECT CAST(a AS TEXT) AS a, a FROM t ORDER BY b", "a a", "1 1"),
        ("SELECT *, b + 1 AS c FROM t ORDER BY c DESC", "a b A b c", "2 20 200 21"),
    ] {
        let info = client.info(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let announced = info.clone().try_decode_schema().unwrap();
        assert_eq!(names_of(&announced), names, "{sql}");
        let mut prepared = client.flight.prepare(sql.to_owned(), None).await.unwrap();
        assert_eq!(prepared.dataset_schema().unwrap(), &announced, "{sql}");
        let again = prepared.execute().await.unwrap();
        for info in [info, again] {
            let batches = client.fetch(info).await.unwrap();
            assert_eq!(batches[0].schema().as_ref(), &announced, "{sql}");
            assert_eq!(client.text(&batches)[0], first, "{sql}");
        }
        let explained = client.rows(&format!("EXPLAIN {sql}")).await;
        assert!(explained.join("\n").contains("plan"), "{sql}");
    }
    // A table and a subquery have no two columns of one name.
    client.refused("SELECT a FROM (SELECT a, a FROM t) x", Code::InvalidArgument, "").await;
    client.refused("CREATE TABLE u AS SELECT a, a FROM t", Code::InvalidArgument, "").await;
    // Which of the two orders the rows nobody can tell.
    client.refused("SELECT *, 2 AS a FROM t ORDER BY a", Code::InvalidArgument, "").await;
    for (sql, names, first) in [
        ("SELECT $1, a, $1, a FROM t WHERE a = $1", "$1 a $1 a", "2 2 2 2"),
        ("SELECT $1 + a, $1 + a FROM t WHERE a = $1", "$1 + t.a $1 + t.a", "4 4"),
        ("SELECT *, $1 AS a FROM t WHERE a = $1", "a b A b a", "2 20 200 2"),
    ] {
        let mut bound = client.flight.prepare(sql.to_owned(), None).await.unwrap();
        assert_eq!(names_of(bound.dataset_schema().unwrap()), names, "{sql}");
        let one: ArrayRef = Arc::new(Int64Array::from(vec![2]));
        bound.set_parameters(RecordBatch::try_from_iter([("1", one)]).unwrap()).unwrap();
        let info = bound.execute().await.unwrap();
        assert_eq!(names_of(&info.clone().try_decode_schema().unwrap()), names, "{sql}");
        let batches = client.fetch(info).await.unwrap();
        assert_eq!(names_of(&batches[0].schema()), names, "{sql}");
        assert_eq!(client.text(&batches)[0], first, "{sql}");
    }
    server.stop().await;
}
