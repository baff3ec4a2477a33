//! The join against a loop over all pairs, in batches and partitions of every size, and what it costs and says of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::datafusion::PhysicalPlans;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
});

fn session(batch_rows: usize, partitions: usize) -> SessionContext {
    let config =
        SessionConfig::new().with_batch_size(batch_rows).with_target_partitions(partitions);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rule(Arc::new(AsofFilters))
        .with_query_planner(Arc::new(PhysicalPlans))
        .build();
    SessionContext::new_with_state(state)
}

/// A row of either side: two keys, the ordered value, and two more.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    a: Option<String>,
    b: Option<i32>,
    v: Option<i64>,
    x: Option<i32>,
    y: i32,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Int32, true),
        Field::new("v", DataType::Int64, true),
        Field::new("x", DataType::Int32, true),
        Field::new("y", DataType::Int32, false),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.a.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.b).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.v).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.y)).collect::<Int32Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// How a side is stored.
#[derive(Debug, Clone, Copy)]
struct Storage {
    partitions: usize,
    batch_rows: usize,
    /// Sorted by the keys and the value, which the scan says.
    sorted: bool,
}

/// Keys of a join: `b`, `a` or both, in this order.
type Keys = &'static [&'static str];

fn scan(name: &str, rows: &[Row], storage: Storage, keys: Keys) -> LogicalPlan {
    let mut rows = rows.to_vec();
    if storage.sorted {
        // Nulls last.
        let order = |row: &Row| {
            let keys = keys.iter().map(|key| match *key {
                "a" => (row.a.is_none(), row.a.clone(), None),
                _ => (row.b.is_none(), None, row.b),
            });
            (keys.collect::<Vec<_>>(), row.v.is_none(), row.v)
        };
        rows.sort_by_key(order);
    }
    let partitions = if storage.sorted { 1 } else { storage.partitions };
    let share = rows.len().div_ceil(partitions).max(1);
    let mut shares: Vec<_> = rows.chunks(share).collect();
    shares.resize(partitions, &[]);
    let batches = shares.iter().map(|rows| rows.chunks(storage.batch_rows).map(batch).collect());
    let mut table = MemTable::try_new(schema(), batches.collect()).unwrap();
    if storage.sorted {
        let columns = keys.iter().copied().chain(["v"]);
        table =
            table.with_sort_order(vec![columns.map(|name| col(name).sort(true, false)).collect()]);
    }
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::scan(name, source, None).unwrap().build().unwrap()
}

#[derive(Debug, Clone, Copy)]
struct Join {
    keys: Keys,
    comparison: &'static str,
    tolerance: Option<(i64, bool)>,
}

impl Join {
    fn on(self) -> AsofKeys {
        let keys = self.keys.iter().map(|key| col(format!("q.{key}")).eq(col(format!("t.{key}"))));
        keys.reduce(Expr::and).map_or(AsofKeys::All, AsofKeys::On)
    }

    fn match_condition(self) -> Expr {
        let (left, right) = (col("t.v"), col("q.v"));
        let (comparison, distance) = match self.comparison {
            ">=" => (left.clone().gt_eq(right.clone()), left - right),
            ">" => (right.clone().lt(left.clone()), left - right),
            "<=" => (left.clone().lt_eq(right.clone()), right - left),
            _ => (left.clone().lt(right.clone()), right - left),
        };
        match self.tolerance {
            Some((units, true)) => distance.lt_eq(lit(units)).and(comparison),
            Some((units, false)) => comparison.and(lit(units).gt(distance)),
            None => comparison,
        }
    }

    /// The right row of a left one, by looking at all.
    fn naive<'a>(self, left: &Row, right: &'a [Row]) -> Option<&'a Row> {
        let same = |row: &&Row| {
            self.keys.iter().all(|key| match *key {
                "a" => left.a.is_some() && left.a == row.a,
                _ => left.b.is_some() && left.b == row.b,
            })
        };
        let value = left.v?;
        let distance = |row: &Row| {
            let right = row.v?;
            match self.comparison {
                ">=" => (value >= right).then_some(value - right),
                ">" => (value > right).then_some(value - right),
                "<=" => (value <= right).then_some(right - value),
                _ => (value < right).then_some(right - value),
            }
        };
        let near = |distance: i64| match self.tolerance {
            Some((units, true)) => distance <= units,
            Some((units, false)) => distance < units,
            None => true,
        };
        let candidates = right.iter().filter(same).filter_map(|row| Some((distance(row)?, row)));
        let candidates = candidates.filter(|(distance, _)| near(*distance));
        // Among rows that tie, the columns that are neither key nor value decide, from left to right.
        candidates
            .min_by_key(|(distance, row)| (*distance, std::cmp::Reverse(self.rest(row))))
            .map(|(_, row)| row)
    }

    /// The other columns, as the join compares them.
    fn rest(self, row: &Row) -> (Option<String>, Option<i32>, Option<i32>, i32) {
        let a = if self.keys.contains(&"a") { None } else { row.a.clone() };
        let b = if self.keys.contains(&"b") { None } else { row.b };
        (a, b, row.x, row.y)
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop_oneof![1 => Just(None), 8 => "[a-c]".prop_map(Some)],
        prop_oneof![1 => Just(None), 8 => (0..2).prop_map(Some)],
        prop_oneof![1 => Just(None), 12 => (-9_i64..9).prop_map(Some)],
        prop_oneof![1 => Just(None), 4 => (0..3).prop_map(Some)],
        0..1000,
    );
    let row = row.prop_map(|(a, b, v, x, y)| Row { a, b, v, x, y });
    prop::collection::vec(row, 0..60)
}

fn storage() -> impl Strategy<Value = Storage> {
    (1_usize..4, 1_usize..12, any::<bool>()).prop_map(|(partitions, batch_rows, sorted)| Storage {
        partitions,
        batch_rows,
        sorted,
    })
}

fn joins() -> impl Strategy<Value = Join> {
    let keys = prop::sample::select(vec![&[] as Keys, &["a"], &["b"], &["a", "b"], &["b", "a"]]);
    let comparison = prop::sample::select(vec![">=", ">", "<=", "<"]);
    let tolerance = prop::option::of((-1_i64..6, any::<bool>()));
    (keys, comparison, tolerance).prop_map(|(keys, comparison, tolerance)| Join {
        keys,
        comparison,
        tolerance,
    })
}

/// All columns of both sides; nothing of the right one where no row matched.
fn answer(session: &SessionContext, plan: LogicalPlan) -> Vec<(Row, Option<Row>)> {
    let batches = RUNTIME.block_on(async {
        session.execute_logical_plan(plan).await.unwrap().collect().await.unwrap()
    });
    let mut rows = Vec::new();
    for batch in batches {
        let (text, int, long) = (
            |at: usize| batch.column(at).as_string::<i32>(),
            |at: usize| batch.column(at).as_primitive::<Int32Type>(),
            |at: usize| batch.column(at).as_primitive::<Int64Type>(),
        );
        for row in 0..batch.num_rows() {
            let side = |first: usize| {
                let y = int(first + 4).iter().nth(row).unwrap()?;
                Some(Row {
                    a: text(first).iter().nth(row).unwrap().map(str::to_owned),
                    b: int(first + 1).iter().nth(row).unwrap(),
                    v: long(first + 2).iter().nth(row).unwrap(),
                    x: int(first + 3).iter().nth(row).unwrap(),
                    y,
                })
            };
            rows.push((side(0).unwrap(), side(5)));
        }
    }
    rows
}

fn sorted<T: std::fmt::Debug>(mut rows: Vec<T>) -> Vec<String> {
    let mut rows: Vec<_> = rows.drain(..).map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_left_row_finds_the_row_that_a_loop_finds(
        left in rows(),
        right in rows(),
        join in joins(),
        left_storage in storage(),
        right_storage in storage(),
        batch_rows in 1_usize..20,
        partitions in 1_usize..4,
    ) {
        let session = session(batch_rows, partitions);
        let plan = asof_join(
            scan("t", &left, left_storage, join.keys),
            scan("q", &right, right_storage, join.keys),
            join.on(),
            join.match_condition(),
        ).unwrap();
        let expected = left.iter().map(|row| (row.clone(), join.naive(row, &right).cloned())).collect();
        prop_assert_eq!(sorted(answer(&session, plan)), sorted::<(Row, Option<Row>)>(expected));
    }
}
