//! Aggregates over rows in any order, split over partial states that are merged in any way.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Literal, col};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use crate::datafusion::{aggregate_functions, scalar_functions};

/// The function of a name.
pub(super) fn function(name: &str) -> Arc<AggregateUDF> {
    let mut functions = aggregate_functions().into_iter();
    Arc::new(functions.find(|function| function.name() == name).unwrap())
}

/// A row with where it comes and which partial state takes it.
pub(super) fn shuffled<R: std::fmt::Debug>(
    row: impl Strategy<Value = R>,
) -> impl Strategy<Value = Vec<(R, u16, usize)>> {
    prop::collection::vec((row, any::<u16>(), 0..4_usize), 0..40)
}

/// The answer of `name(columns..., constants...)`: rows come in the order of `places`, and each goes to one of the partial
/// `states`, of which `at_once` are merged into another until one is left.
pub(super) fn merged(
    name: &str,
    columns: &[ArrayRef],
    constants: &[ScalarValue],
    places: &[(u16, usize)],
    at_once: usize,
) -> ScalarValue {
    let names = ["a", "b"];
    let fields = names.into_iter().zip(columns).map(|(name, column)| (name, column.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(fields).unwrap();
    let schema = batch.schema();
    let mut arguments: Vec<Arc<dyn PhysicalExpr>> =
        schema.fields().iter().map(|field| col(field.name(), &schema).unwrap()).collect();
    for constant in constants {
        arguments.push(Arc::new(Literal::new(constant.clone())));
    }
    let expression = AggregateExprBuilder::new(function(name), arguments)
        .schema(Arc::clone(&schema))
        .alias("answer")
        .build()
        .unwrap();
    let mut rows: Vec<usize> = (0..places.len()).collect();
    rows.sort_by_key(|row| places[*row].0);
    let mut states: Vec<Vec<ScalarValue>> = (0..4)
        .map(|state| {
            let mut accumulator = expression.create_accumulator().unwrap();
            let of_state: Vec<u32> = rows
                .iter()
                .filter(|row| places[**row].1 == state)
                .map(|row| u32::try_from(*row).unwrap())
                .collect();
            for part in of_state.chunks(5) {
                let part = arrow::array::UInt32Array::from(part.to_vec());
                let mut taken =
                    arrow::compute::take_record_batch(&batch, &part).unwrap().columns().to_vec();
                for constant in constants {
                    taken.push(constant.to_array_of_size(part.values().len()).unwrap());
                }
                accumulator.update_batch(&taken).unwrap();
                assert!(accumulator.size() > 0);
            }
            accumulator.state().unwrap()
        })
        .collect();
    loop {
        let mut accumulator = expression.create_accumulator().unwrap();
        for state in states.drain(..at_once.min(states.len())).collect::<Vec<_>>() {
            let columns: Vec<ArrayRef> =
                state.iter().map(|value| value.to_array().unwrap()).collect();
            accumulator.merge_batch(&columns).unwrap();
        }
        if states.is_empty() {
            return accumulator.evaluate().unwrap();
        }
        states.push(accumulator.state().unwrap());
    }
}

/// Rows of `sql` over a table `t` whose batches are dealt out to three partitions, one text a row.
pub(super) fn query(sql: &str, batches: Vec<RecordBatch>) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
        scalar_functions().into_iter().for_each(|function| session.register_udf(function));
        aggregate_functions().into_iter().for_each(|function| session.register_udaf(function));
        let schema = batches[0].schema();
        let parts = batches.into_iter().map(|batch| vec![batch]).collect();
        let table = datafusion::datasource::MemTable::try_new(schema, parts)?;
        session.register_table("t", Arc::new(table))?;
        let batches = session.sql(sql).await?.collect().await?;
        let text = arrow::util::pretty::pretty_format_batches(&batches)?.to_string();
        let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
        Ok(lines
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                cells.join(" ")
            })
            .collect())
    })
}
