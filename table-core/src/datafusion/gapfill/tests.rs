//! Gap filling through SQL against a model that is made of maps, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::{
    ExecutionPlan, collect, displayable, replace_children_if_necessary,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::buckets::Buckets;
use super::exec::GapFillExec;
use super::filler::{Filler, Layout};
use super::functions::Bucketer;
use super::node::Window;
use super::*;
use crate::datafusion::PhysicalPlans;
use crate::error::ErrorKind;
use crate::types::{BucketId, calendar_oracle};

fn session(batch_rows: usize, partitions: usize) -> SessionContext {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(GapFilling)];
    rules.extend(Optimizer::new().rules);
    let config =
        SessionConfig::new().with_batch_size(batch_rows).with_target_partitions(partitions);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(rules)
        .with_query_planner(Arc::new(PhysicalPlans))
        .build();
    let session = SessionContext::new_with_state(state);
    for function in gapfill_functions() {
        session.register_udf(function);
    }
    session
}

/// A row: seconds, symbol, value.
type Row = (i64, Option<&'static str>, Option<i64>);

/// Tables `t(ts, s, v)` with timestamps of microseconds, and `n(i, u, v)` with integers.
fn tables(session: &SessionContext, rows: &[Row], partitions: usize) {
    let ts = Int64Array::from_iter_values(rows.iter().map(|row| row.0 * 1_000_000));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let ts = cast(&ts, &utc).unwrap();
    let symbols: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let values: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>());
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", utc, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
    ]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ts, symbols, Arc::clone(&values)]);
    register(session, "t", schema, batch.unwrap(), partitions);
    let schema = Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("u", DataType::UInt64, true),
        Field::new("v", DataType::Int64, true),
    ]));
    let integers: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let unsigned: ArrayRef = Arc::new(UInt64Array::from_iter_values(
        rows.iter().map(|row| (1_u64 << 63).wrapping_add_signed(row.0)),
    ));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![integers, unsigned, values]);
    register(session, "n", schema, batch.unwrap(), partitions);
}

fn register(
    session: &SessionContext,
    name: &str,
    schema: Arc<Schema>,
    batch: RecordBatch,
    partitions: usize,
) {
    let share = batch.num_rows().div_ceil(partitions).max(1);
    let parts = (0..partitions).map(|part| {
        let from = (part * share).min(batch.num_rows());
        vec![batch.slice(from, share.min(batch.num_rows() - from))]
    });
    let table = MemTable::try_new(schema, parts.collect()).unwrap();
    session.register_table(name, Arc::new(table)).unwrap();
}

async fn query(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    session.sql(sql).await?.collect().await
}

/// Rows as text, without the frame.
async fn rows(session: &SessionContext, sql: &str) -> Vec<String> {
    let batches = query(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join(" ").trim().to_owned()
    };
    lines.map(cells).collect()
}

/// A few rows of two symbols in the first six minutes of 1970, and one later.
fn few() -> SessionContext {
    let session = session(8192, 2);
    let rows = [
        (0, Some("a"), Some(1)),
        (30, Some("a"), Some(2)),
        (180, Some("a"), Some(6)),
        (60, Some("b"), Some(10)),
        (240, Some("b"), None),
        (4_000, Some("c"), Some(7)),
    ];
    tables(&session, &rows, 2);
    session
}

const FROM_TO: &str = "ts >= '1970-01-01T00:00:00Z' AND ts < '1970-01-01T00:05:00Z'";

#[tokio::test]
async fn each_group_has_every_bucket_and_fills_are_of_its_own_values() {
    let sql = format!(
        "SELECT s, time_bucket_gapfill('1m', ts) AS b, sum(v) AS x, locf(sum(v)) AS l, interpolate(sum(v)) AS i, count(*) AS n \
         FROM t WHERE {FROM_TO} GROUP BY s, b ORDER BY s, b"
    );
    let expected = [
        "a 1970-01-01T00:00:00Z 3 3 3.0 2",
        "a 1970-01-01T00:01:00Z  3 4.0",
        "a 1970-01-01T00:02:00Z  3 5.0",
        "a 1970-01-01T00:03:00Z 6 6 6.0 1",
        "a 1970-01-01T00:04:00Z  6",
        "b 1970-01-01T00:00:00Z",
        "b 1970-01-01T00:01:00Z 10 10 10.0 1",
        "b 1970-01-01T00:02:00Z  10",
        "b 1970-01-01T00:03:00Z  10",
        "b 1970-01-01T00:04:00Z  10  1",
    ];
    assert_eq!(rows(&few(), &sql).await, expected);
}

#[tokio::test]
async fn bounds_can_be_arguments_or_any_conjunction_of_comparisons() {
    let session = few();
    let expected = rows(
        &session,
        &format!(
            "SELECT s, time_bucket_gapfill('1m', ts) AS b, sum(v) FROM t WHERE {FROM_TO} GROUP BY s, b ORDER BY s, b"
        ),
    )
    .await;
    assert_eq!(expected.len(), 10);
    for (call, condition) in [
        ("time_bucket_gapfill('1m', ts, '1970-01-01T00:00:00Z', '1970-01-01T00:05:00Z')", "true"),
        ("time_bucket_gapfill('1m', ts, '1970-01-01', '1970-01-01T00:05:00Z', 'UTC')", "true"),
        (
            "time_bucket_gapfill('1m', ts, start => '1970-01-01', finish => TIMESTAMP '1970-01-01 00:04:00.000001')",
            "true",
        ),
        (
            "time_bucket_gapfill('1 minute', ts)",
            "ts BETWEEN '1970-01-01' AND '1970-01-01T00:04:59.999999Z'",
        ),
        (
            "time_bucket_gapfill(INTERVAL '60 seconds', ts)",
            "'1970-01-01T00:05:00Z' > ts AND '1970-01-01' <= ts AND v IS DISTINCT FROM 17",
        ),
        (
            "time_bucket_gapfill('60s', ts)",
            "ts > '1969-12-31T23:59:59.999999Z' AND ts <= '1970-01-01T00:04:00Z' AND ts < '1980-01-01'",
        ),
        (
            "date_bin_gapfill(INTERVAL '1 minute', ts)",
            "ts >= '1970-01-01' AND ts < '1970-01-01T00:05:00Z'",
        ),
        (
            "date_bin_gapfill(INTERVAL '1 minute', ts, TIMESTAMP '2020-02-02 00:07:00')",
            "ts >= arrow_cast('1970-01-01', 'Timestamp(Nanosecond, Some(\"UTC\"))') AND ts < arrow_cast('1970-01-01T00:04:59.999999Z', 'Timestamp(Nanosecond, Some(\"UTC\"))')",
        ),
    ] {
        for from in ["t", "(SELECT ts, s, v FROM t) AS q"] {
            let sql = format!(
                "SELECT s, {call} AS b, sum(v) FROM {from} WHERE {condition} GROUP BY s, b ORDER BY s, b"
            );
            let mut found = rows(&session, &sql).await;
            found.truncate(11);
            assert_eq!(found, expected, "{sql}");
        }
    }
    let inner = format!(
        "SELECT s, time_bucket_gapfill('1m', at) AS b, sum(v) FROM (SELECT ts AS at, s, v FROM t WHERE {FROM_TO}) AS q \
         GROUP BY s, b ORDER BY s, b"
    );
    assert_eq!(rows(&session, &inner).await, expected, "{inner}");
}

#[tokio::test]
async fn it_composes_with_what_stands_around_it() {
    let session = few();
    let filled = format!(
        "SELECT s, time_bucket_gapfill('1m', ts) AS b, sum(v) AS x, locf(sum(v)) AS l FROM t WHERE {FROM_TO} GROUP BY s, b"
    );
    let grouped = format!("FROM t WHERE {FROM_TO} GROUP BY s, time_bucket_gapfill('1m', ts)");
    for (sql, expected) in [
        // HAVING and outer conditions see rows that were made.
        (format!("SELECT s, count(*) FROM (SELECT s, sum(v) AS x {grouped} HAVING sum(v) IS NULL) AS q GROUP BY s ORDER BY s"), vec!["a 3", "b 4"]),
        (format!("SELECT count(*) FROM (SELECT s {grouped} HAVING locf(sum(v)) = 10) AS q"), vec!["4"]),
        (format!("SELECT count(*) FROM ({filled}) AS q WHERE s = 'a'"), vec!["5"]),
        (format!("SELECT count(*) FROM ({filled}) AS q WHERE b > '1970-01-01T00:02:00Z'"), vec!["4"]),
        (format!("WITH q AS ({filled}) SELECT a.x, b.x FROM q AS a JOIN q AS b ON a.b = b.b WHERE a.s = 'a' AND b.s = 'b' AND a.x IS NULL ORDER BY a.b"), vec!["10", "", ""]),
        (format!("{filled} ORDER BY b DESC, s LIMIT 2"), vec!["a 1970-01-01T00:04:00Z  6", "b 1970-01-01T00:04:00Z  10"]),
        (format!("SELECT s, sum(v) {grouped} ORDER BY locf(sum(v)) DESC NULLS LAST, s LIMIT 1"), vec!["b 10"]),
        (format!("SELECT s {grouped} ORDER BY interpolate(sum(v)) DESC NULLS LAST LIMIT 2"), vec!["b", "a"]),
        (format!("SELECT DISTINCT coalesce(locf(sum(v)), -1) + 1 AS y {grouped} ORDER BY y"), vec!["0", "4", "7", "11"]),
        (format!("SELECT max(sum(locf(sum(v))) OVER (PARTITION BY s)) FROM (SELECT 1) AS one, t WHERE {FROM_TO} GROUP BY s"), vec![]),
        (format!("SELECT x FROM (SELECT sum(locf(sum(v))) OVER (PARTITION BY s) AS x {grouped}) AS q GROUP BY x ORDER BY x"), vec!["21", "40"]),
        (format!("SELECT (SELECT count(*) FROM ({filled}) AS q) AS n"), vec!["10"]),
        (format!("SELECT count(*) FROM t WHERE ts IN (SELECT b FROM ({filled}) AS q)"), vec!["4"]),
        (format!("SELECT count(*) FROM (SELECT 1 FROM t WHERE {FROM_TO} GROUP BY date_bin_gapfill('1m', ts)) AS q"), vec!["5"]),
        // No rows: no groups, but for the one of no keys.
        (format!("SELECT count(*) FROM (SELECT 1 {grouped}) AS q").replace("WHERE", "WHERE s = 'x' AND"), vec!["0"]),
        (format!("SELECT time_bucket_gapfill('2m', ts) AS b, count(*), locf(max(s)) FROM t WHERE s = 'x' AND {FROM_TO} GROUP BY b ORDER BY b"), vec!["1970-01-01T00:00:00Z", "1970-01-01T00:02:00Z", "1970-01-01T00:04:00Z"]),
        // A condition that names no key is asked of every row, although DataFusion pushes it down.
        (format!("SELECT count(*) FROM (SELECT 1 FROM t WHERE {FROM_TO} GROUP BY time_bucket_gapfill('1m', ts) HAVING (SELECT count(*) FROM t) > 100) AS q"), vec!["0"]),
        (format!("SELECT count(*) FROM (SELECT 1 FROM t WHERE {FROM_TO} GROUP BY time_bucket_gapfill('1m', ts) HAVING random() > 2) AS q"), vec!["0"]),
        ("SELECT time_bucket_gapfill(100, i) AS b, sum(v), interpolate(sum(v)) FROM n WHERE i >= -100 AND i < 300 GROUP BY b ORDER BY b".to_owned(), vec!["-100", "0 13 13.0", "100 6 6.0", "200"]),
        ("SELECT time_bucket_gapfill(100, u, 9223372036854775800, 9223372036854776000) AS b, sum(v) FROM n GROUP BY b ORDER BY b".to_owned(), vec!["9223372036854775800 13", "9223372036854775900 6"]),
    ] {
        if expected.is_empty() {
            assert!(query(&session, &sql).await.is_err(), "{sql}");
        } else {
            assert_eq!(rows(&session, &sql).await, expected, "{sql}");
        }
    }
    let schema = session.sql(&filled).await.unwrap().into_optimized_plan().unwrap();
    assert!(schema.schema().field(2).is_nullable());
}

#[tokio::test]
async fn parameters_can_be_bounds() {
    let session = few();
    for sql in [
        "SELECT time_bucket_gapfill('1m', ts) AS b, count(*) FROM t WHERE ts >= $1 AND ts < $2 GROUP BY b ORDER BY b",
        "SELECT time_bucket_gapfill('1m', ts, $1, $2) AS b, count(*) FROM t GROUP BY b ORDER BY b",
    ] {
        // What can be known without values is: that counts may be missing.
        let plan = session.state().create_logical_plan(sql).await.unwrap();
        let optimized = session.state().optimize(&plan).unwrap();
        assert!(optimized.schema().field(1).is_nullable());
        let refused = session.state().create_physical_plan(&plan).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("parameters") || refused.contains("'$1'"), "{refused}");
        let bounds = ["1970-01-01T00:01:00Z", "1970-01-01T00:03:00Z"];
        let bound = plan.with_param_values(bounds.map(ScalarValue::from).to_vec()).unwrap();
        let batches = session.execute_logical_plan(bound).await.unwrap().collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "{sql}");
    }
}

#[tokio::test]
async fn what_has_no_meaning_is_refused() {
    let session = few();
    let group = |call: &str| format!("SELECT {call} AS b, count(*) FROM t GROUP BY b");
    let within = |list: &str| {
        format!("SELECT {list} FROM t WHERE {FROM_TO} GROUP BY s, time_bucket_gapfill('1m', ts)")
    };
    for (sql, words) in [
        (
            group("time_bucket_gapfill('1m', ts)"),
            "gap filling without bounds: nothing says what the first bucket",
        ),
        (
            format!(
                "{} ",
                group("time_bucket_gapfill('1m', ts)")
                    .replace("GROUP", "WHERE ts >= '1970-01-01' GROUP")
            ),
            "what the last bucket",
        ),
        (
            group("time_bucket_gapfill('1m', ts)")
                .replace("GROUP", "WHERE ts >= '1970-01-01' OR ts < '1971-01-01' GROUP"),
            "without bounds",
        ),
        (
            group("time_bucket_gapfill('1m', ts)")
                .replace("GROUP", "WHERE ts >= NULL AND ts < NULL GROUP"),
            "without bounds",
        ),
        (
            group("time_bucket_gapfill('1m', ts)")
                .replace("GROUP", "WHERE ts >= '1970-01-02' AND ts < '1970-01-01' GROUP"),
            "no bucket to fill",
        ),
        (
            group("time_bucket_gapfill('1m', ts)").replace(
                "GROUP",
                "WHERE ts >= (SELECT min(ts) FROM t) AND ts < '1970-01-02' GROUP",
            ),
            "without bounds",
        ),
        (
            group("time_bucket_gapfill('1m', ts, '1970-01-02', '1970-01-01')"),
            "not after that; the finish is exclusive",
        ),
        (group("time_bucket_gapfill('1m', ts, '1970-01-01', '1970-01-01')"), "not after that"),
        (
            group("time_bucket_gapfill('1m', ts, NULL, '1970-01-01')"),
            "the start of time_bucket_gapfill is NULL",
        ),
        (
            group("time_bucket_gapfill('1m', ts, '1970-01-01', ts)").replace("BY b", "BY b, ts"),
            "it must be a constant",
        ),
        (group("time_bucket_gapfill('1m', ts, '1970-01-01', 'soon')"), "soon"),
        (group("time_bucket_gapfill('0m', ts, '1970-01-01', '1970-01-02')"), "is not a width"),
        (
            group("time_bucket_gapfill(INTERVAL '0 hours', ts, '1970-01-01', '1970-01-02')"),
            "no positive number",
        ),
        (
            group("time_bucket_gapfill(INTERVAL '-1 hour', ts, '1970-01-01', '1970-01-02')"),
            "no positive number",
        ),
        (group("time_bucket_gapfill('0.5mo', ts, '1970-01-01', '1970-01-02')"), "is not a width"),
        (
            group("time_bucket_gapfill('0.5 months', ts, '1970-01-01', '1970-01-02')"),
            "is not a width",
        ),
        (
            group(
                "time_bucket_gapfill(INTERVAL '1 month 12 hours', ts, '1970-01-01', '1970-01-02')",
            ),
            "no positive number",
        ),
        (
            group("time_bucket_gapfill(60, ts, '1970-01-01', '1970-01-02')"),
            "a timestamp index needs a unit",
        ),
        (group("time_bucket_gapfill(NULL, ts, '1970-01-01', '1970-01-02')"), "is NULL"),
        (
            group("time_bucket_gapfill('1ns', ts, '1970-01-01', '1970-01-02')"),
            "whole multiples of 1us",
        ),
        (
            group("time_bucket_gapfill('1d', ts, '1970-01-01', '1970-01-02', 'Mars/Olympus')"),
            "\"Mars/Olympus\" is not known",
        ),
        (group("time_bucket_gapfill('1d', ts, '1970-01-01')"), "\"1970-01-01\" is not known"),
        (
            group("time_bucket_gapfill('1d', ts, '1970-01-01', '1970-01-02', 'UTC', 1)"),
            "with 6 arguments is not known",
        ),
        (group("time_bucket_gapfill('1d')"), "with 1 arguments is not known"),
        (group("time_bucket_gapfill('1d', s, '1970-01-01', '1970-01-02')"), "is of type Utf8"),
        (
            group("date_bin_gapfill('1mo', ts, TIMESTAMP '1970-01-05 00:00:00')")
                .replace("GROUP", "WHERE ts BETWEEN '1970-01-01' AND '1970-02-01' GROUP"),
            "no origin",
        ),
        (
            group("time_bucket_gapfill('1us', ts, '1970-01-01', '1970-01-02')"),
            "would make 86400000000 rows",
        ),
        (
            group(
                "time_bucket_gapfill('1m', ts, '1970-01-01', '1970-01-02') + INTERVAL '1 minute'",
            ),
            "inside of another expression",
        ),
        ("SELECT time_bucket_gapfill('1m', ts) FROM t".to_owned(), "in a SELECT list"),
        (
            "SELECT s FROM t WHERE time_bucket_gapfill('1m', ts) > '1970-01-01'".to_owned(),
            "in WHERE or HAVING",
        ),
        ("SELECT s FROM t ORDER BY time_bucket_gapfill('1m', ts)".to_owned(), "in ORDER BY"),
        ("SELECT max(time_bucket_gapfill('1m', ts)) FROM t".to_owned(), "or of an aggregate"),
        (
            "SELECT 1 FROM t JOIN t AS o ON time_bucket_gapfill('1m', t.ts) = o.ts".to_owned(),
            "time_bucket_gapfill",
        ),
        ("SELECT locf(v) FROM t".to_owned(), "locf outside of a SELECT"),
        ("SELECT locf(1)".to_owned(), "locf in a SELECT list"),
        ("SELECT s, locf(sum(v)) FROM t GROUP BY s".to_owned(), "locf outside of a SELECT"),
        ("SELECT s FROM t WHERE locf(v) > 1".to_owned(), "locf in WHERE or HAVING"),
        ("SELECT s FROM t ORDER BY locf(v)".to_owned(), "locf outside"),
        ("SELECT sum(interpolate(v)) FROM t".to_owned(), "interpolate inside of"),
        ("SELECT * FROM (VALUES (locf(1))) AS q".to_owned(), "locf in VALUES"),
        (
            format!("SELECT locf(x) FROM ({}) AS q", within("sum(v) AS x")),
            "locf outside of a SELECT",
        ),
        (within("locf(s)"), "\"s\" is an expression of GROUP BY"),
        (within("locf(time_bucket_gapfill('1m', ts))"), "is an expression of GROUP BY"),
        (within("locf(sum(v) + 1)"), "locf in a SELECT list"),
        (within("locf(interpolate(sum(v)))"), "locf in a SELECT list"),
        (within("interpolate(max(s))"), "it takes numbers"),
        (within("locf(sum(v), 1)"), "takes one argument"),
        (format!("{}, date_bin_gapfill('1m', ts)", within("1")), "GROUP BY has both"),
        (
            format!(
                "SELECT 1 FROM t WHERE {FROM_TO} GROUP BY ROLLUP (s, time_bucket_gapfill('1m', ts))"
            ),
            "ROLLUP",
        ),
    ] {
        let refused = query(&session, &sql).await.expect_err(&sql);
        let message = refused.to_string();
        assert!(message.contains(words), "{sql}: {message}");
        assert!(!matches!(refused.find_root(), DataFusionError::Internal(_)), "{sql}: {message}");
    }
}

#[tokio::test]
async fn more_rows_than_a_statement_may_make_are_refused() {
    let session = few();
    let sql = format!(
        "SELECT s, time_bucket_gapfill('1m', ts) AS b FROM t WHERE {FROM_TO} GROUP BY s, b"
    );
    for (most, fits) in [(6, true), (5, false)] {
        let plan = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        let bounded = bounded(&plan, most);
        let answer = collect(bounded, session.task_ctx()).await;
        match answer {
            Ok(batches) => {
                assert!(fits);
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
            }
            Err(error) => {
                assert!(!fits);
                let found = crate::datafusion::find_error(&error).unwrap();
                assert_eq!(found.kind(), ErrorKind::Exhausted, "{error}");
            }
        }
    }
}

/// The plan with another bound on rows made.
fn bounded(plan: &Arc<dyn ExecutionPlan>, rows_max: u64) -> Arc<dyn ExecutionPlan> {
    if let Some(filling) = plan.downcast_ref::<GapFillExec>() {
        return Arc::new(filling.with_rows_max(rows_max));
    }
    let children = plan.children().into_iter().map(|child| bounded(child, rows_max)).collect();
    replace_children_if_necessary(Arc::clone(plan), children).unwrap()
}

#[tokio::test]
async fn an_order_that_is_there_is_used() {
    let session = session(8192, 1);
    tables(&session, &[(0, Some("a"), Some(1)), (60, Some("a"), Some(1))], 1);
    for (input, sorts) in [("(SELECT * FROM t ORDER BY s, ts LIMIT 100)", 1), ("t", 1)] {
        let sql = format!(
            "SELECT s, time_bucket_gapfill('1m', ts) AS b, count(*) FROM {input} AS q WHERE {FROM_TO} GROUP BY s, b ORDER BY s, b"
        );
        let plan = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(true).to_string();
        assert_eq!(text.matches("SortExec").count(), sorts, "{text}");
        assert!(
            text.contains("GapFillExec: buckets=[1m UTC], from=1970-01-01T00:00:00Z"),
            "{text}"
        );
    }
}

/// What the statement of `filling_is_what_the_model_says` answers with: symbol, start, sum, locf, interpolate.
type Answer = BTreeMap<(Option<String>, i64), (Option<i64>, Option<i64>, Option<f64>)>;

fn model(rows: &[Row], buckets: &Buckets, first: i64, last: i64) -> Answer {
    let micros = |seconds: i64| seconds * 1_000_000;
    let start = |value: i64| buckets.start(buckets.bucket_of(value).unwrap());
    let mut edges: BTreeSet<i64> = BTreeSet::new();
    let mut at = start(micros(first));
    while at < micros(last) {
        edges.insert(at);
        let mut next = buckets.bucket_of(at).unwrap();
        while buckets.start(next) <= at {
            next = BucketId(next.0 + 1);
        }
        at = buckets.start(next);
    }
    let rows: Vec<&Row> = rows.iter().filter(|row| (first..last).contains(&row.0)).collect();
    let symbols: BTreeSet<Option<&str>> = rows.iter().map(|row| row.1).collect();
    let mut answer = Answer::new();
    for symbol in symbols {
        let sums: Vec<(i64, Option<i64>)> = edges
            .iter()
            .map(|edge| {
                let values = rows
                    .iter()
                    .filter(|row| row.1 == symbol && start(micros(row.0)) == *edge)
                    .filter_map(|row| row.2);
                (*edge, values.reduce(|a, b| a + b))
            })
            .collect();
        for (at, (edge, sum)) in sums.iter().enumerate() {
            let before = sums[..=at].iter().rev().find_map(|(edge, sum)| Some((*edge, (*sum)?)));
            let after = sums[at..].iter().find_map(|(edge, sum)| Some((*edge, (*sum)?)));
            let line = before.zip(after).map(|((from, low), (to, high))| {
                if from == to {
                    return low as f64;
                }
                low as f64 + (high - low) as f64 * (edge - from) as f64 / (to - from) as f64
            });
            let key = (symbol.map(str::to_owned), *edge);
            answer.insert(key, (*sum, before.map(|(_, value)| value), line));
        }
    }
    answer
}

fn answered(batches: &[RecordBatch]) -> Answer {
    let mut answer = Answer::new();
    for batch in batches {
        let symbols = batch.column(0).as_string::<i32>();
        let starts = cast(batch.column(1), &DataType::Int64).unwrap();
        let int = |column: &ArrayRef| column.as_primitive::<Int64Type>().clone();
        let (starts, sums, carried) = (int(&starts), int(batch.column(2)), int(batch.column(3)));
        let lines = batch.column(4).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let symbol = symbols.iter().nth(row).unwrap().map(str::to_owned);
            let values = (
                sums.iter().nth(row).unwrap(),
                carried.iter().nth(row).unwrap(),
                lines.iter().nth(row).unwrap(),
            );
            let again = answer.insert((symbol, starts.value(row)), values);
            assert_eq!(again, None);
        }
    }
    answer
}

fn same(found: &Answer, expected: &Answer) -> bool {
    let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        (a, b) => a == b,
    };
    found.len() == expected.len()
        && found.iter().zip(expected).all(|((key, a), (other, b))| {
            key == other && a.0 == b.0 && a.1 == b.1 && close(a.2, b.2)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    // On failure proptest prints the case, smaller ones first, and the seed.
    #[test]
    fn filling_is_what_the_model_says(
        rows in prop::collection::vec(
            (0_i64..400, prop::sample::select(vec![None, Some("a"), Some("b"), Some("c")]), prop::option::weighted(0.6, -50_i64..50)),
            0..60,
        ),
        width in prop::sample::select(vec!["1s", "7s", "1m", "1h", "1d", "1w", "1mo", "1y"]),
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
        range in (0_i64..300, 1_i64..200),
        batch_rows in prop::sample::select(vec![1_usize, 2, 7, 8192]),
        partitions in 1_usize..4,
        by_arguments in any::<bool>(),
    ) {
        // Rows every second, every hour and so on, so that some buckets have rows and some have none.
        let step = match width { "1s" | "7s" => 1, "1m" => 17, "1h" => 1_700, "1d" => 30_000, "1w" => 100_000, _ => 900_000 };
        let rows: Vec<Row> = rows.into_iter().map(|(at, symbol, value)| (1_300_000_000 + at * step, symbol, value)).collect();
        let (first, last) = (1_300_000_000 + range.0 * step, 1_300_000_000 + (range.0 + range.1) * step);
        let session = session(batch_rows, partitions);
        tables(&session, &rows, partitions);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let buckets = Buckets::try_new(Bucketer::TimeBucket, &ScalarValue::from(width), &utc, zone, 0).unwrap();
        // What arguments bound are buckets, all of their rows.
        let edge = |second: i64, up: bool| {
            let bucket = buckets.bucket_of(second * 1_000_000 - i64::from(up)).unwrap();
            buckets.start(BucketId(bucket.0 + i64::from(up))) / 1_000_000
        };
        let (from, to) = if by_arguments { (edge(first, false), edge(last, true)) } else { (first, last) };
        let (call, condition) = if by_arguments {
            (format!("time_bucket_gapfill('{width}', ts, to_timestamp_seconds({first}), to_timestamp_seconds({last}), '{zone}')"), "true".to_owned())
        } else {
            (format!("time_bucket_gapfill('{width}', ts, '{zone}')"), format!("ts >= to_timestamp_seconds({first}) AND ts < to_timestamp_seconds({last})"))
        };
        let sql = format!(
            "SELECT s, {call} AS b, sum(v) AS x, locf(sum(v)) AS l, interpolate(sum(v)) AS i FROM t WHERE {condition} GROUP BY b, s"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(query(&session, &sql)).unwrap();
        prop_assert!(batches.iter().all(|batch| batch.num_rows() <= batch_rows));
        let (found, expected) = (answered(&batches), model(&rows, &buckets, from, to));
        prop_assert!(same(&found, &expected), "{sql}\nfound {found:?}\nexpected {expected:?}");
    }
}

#[test]
fn local_days_around_every_change_of_clocks_are_filled_once() {
    let (mut windows, mut short, mut long) = (0, 0, 0);
    calendar_oracle::days_around_changes(|zone, days| {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        let width = ScalarValue::from("1d");
        let buckets = Buckets::try_new(Bucketer::TimeBucket, &width, &seconds, zone, 0).unwrap();
        for starts in days {
            let (Some(first), Some(last)) = (starts.first(), starts.last()) else { continue };
            let window = Window {
                first: buckets.bucket_of(*first).unwrap(),
                last: buckets.bucket_of(*last).unwrap(),
                buckets: buckets.clone(),
            };
            assert_eq!(
                window.buckets.count(window.first, window.last),
                starts.len() as u128,
                "{zone}"
            );
            let schema = Arc::new(Schema::new(vec![Field::new("b", seconds.clone(), true)]));
            let layout = Layout { schema, group_count: 1, bucket: 0, window, fills: Vec::new() };
            let mut filler = Filler::new(Arc::new(layout), 3);
            filler.finish();
            let mut made = Vec::new();
            while let Some((batch, _)) = filler.next().unwrap() {
                let column = crate::segment::buffer::index_values(batch.column(0)).unwrap();
                made.extend_from_slice(&column);
            }
            assert_eq!(made, *starts, "{zone}");
            windows += 1;
            let lengths: Vec<i64> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
            short += i32::from(lengths.contains(&(23 * 3600)));
            long += i32::from(lengths.contains(&(25 * 3600)));
        }
    });
    // All of it was looked at: hundreds of zones with dozens of changes each.
    assert!(windows > 15_000 && short > 8_000 && long > 8_000, "{windows} {short} {long}");
}
