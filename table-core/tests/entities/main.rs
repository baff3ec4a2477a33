//! Rows by entity: what is taken from the coverage index, what is not read for it, and what is merged in place of sorted, never
//! changes an answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod counts;
mod latest;
mod merging;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use rand::Rng;
use rand::rngs::StdRng;
use support::fixture::Fixture;
use table_core::coverage::CoverageDelta;
use table_core::datafusion::EntitiesFromCoverage;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::{BucketWidth, EntityKey, EntityValue};

/// Index values of a bucket.
const BUCKET: i64 = 10;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Int64, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("venue", DataType::Int64, false),
        Field::new("id", DataType::Int64, false),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// A table, and the coverage of its rows.
struct Covered {
    table: Fixture,
    rows: i64,
    /// Whether appends say how many rows each entity has.
    counts: bool,
}

impl Covered {
    async fn new() -> Self {
        let spec = TableSpec {
            index: Some(IndexSpec {
                column: "ts".to_owned(),
                bucket: BucketWidth::parse(&BUCKET.to_string()).unwrap(),
                entity_columns: vec!["symbol".to_owned(), "venue".to_owned()],
                time_zone: "UTC".to_owned(),
            }),
        };
        Self { table: Fixture::new(spec, &schema()).await, rows: 0, counts: true }
    }

    /// A session that plans with the rules.
    fn narrowing(&self) -> SessionContext {
        let session = self.table.session(2);
        session.add_optimizer_rule(Arc::new(EntitiesFromCoverage));
        session
    }

    /// One append of rows (index, symbol, venue), as a segment or inline.
    fn append(&mut self, rows: &[(i64, String, i64)], hot: bool) {
        let bucketing = self.table.layout.bucketing.clone().unwrap();
        let mut delta = CoverageDelta::default();
        let mut counts: BTreeMap<EntityKey, u64> = BTreeMap::new();
        for (ts, symbol, venue) in rows {
            let key =
                EntityKey::encode(&[EntityValue::Utf8(symbol.clone()), EntityValue::Int(*venue)]);
            delta.insert(&key, bucketing.bucket_of(*ts).unwrap());
            *counts.entry(key).or_default() += 1;
        }
        let counts: Vec<u64> = counts.into_values().filter(|_| self.counts).collect();
        self.table.empty.coverage.add_encoded(&delta.encode(), &counts).unwrap();
        let ids = self.rows..self.rows + rows.len() as i64;
        self.rows = ids.end;
        let batch = RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
                Arc::new(Int64Array::from_iter_values(ids.clone())),
                Arc::new(Int64Array::from_iter(ids.map(|id| (id % 3 != 0).then_some(id * 7)))),
            ],
        );
        match hot {
            true => self.table.add_hot(&batch.unwrap()),
            false => self.table.add_segment(&batch.unwrap(), 16),
        }
    }
}

async fn rows(session: &SessionContext, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// The columns that come, with all that is said of them.
async fn schemas(session: &SessionContext, sql: &str) -> Vec<SchemaRef> {
    let query = session.sql(sql).await.unwrap();
    let optimized = session.state().optimize(query.logical_plan()).unwrap();
    let batches = query.collect().await.unwrap();
    let mut schemas: Vec<_> = batches.iter().map(RecordBatch::schema).collect();
    schemas.dedup();
    schemas.push(Arc::clone(optimized.schema().inner()));
    schemas
}

/// Files that a plan would open.
async fn files(session: &SessionContext, sql: &str) -> usize {
    fn add(plan: &Arc<dyn ExecutionPlan>, found: &mut HashSet<String>) {
        if let Some((config, _)) = plan
            .downcast_ref::<DataSourceExec>()
            .and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
        {
            let files = config.file_groups.iter().flat_map(|group| group.iter());
            found.extend(files.map(|file| file.object_meta.location.to_string()));
        }
        plan.children().into_iter().for_each(|child| add(child, found));
    }
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let mut found = HashSet::new();
    add(&plan, &mut found);
    found.len()
}

/// Rows of random appends, no two of which share a pair; with `ties`, rows of one entity may have one time.
async fn random_table(random: &mut StdRng, ties: bool, counts: bool) -> Covered {
    let mut covered = Covered { counts, ..Covered::new().await };
    let (mut taken, mut times) = (HashSet::new(), HashSet::new());
    for _ in 0..random.random_range(2..9) {
        let (mut rows, mut mine) = (Vec::new(), HashSet::new());
        let from = random.random_range(-5..12) * BUCKET;
        let until = from + random.random_range(1..5) * BUCKET;
        for _ in 0..random.random_range(1..40) {
            let ts = random.random_range(from..until);
            let pair = (
                format!("S{}", random.random_range(0..6)),
                random.random_range(-1..2),
                ts.div_euclid(BUCKET),
            );
            let tied = !times.insert((pair.0.clone(), pair.1, ts));
            if !taken.contains(&pair) && (ties || !tied) {
                rows.push((ts, pair.0.clone(), pair.1));
                mine.insert(pair);
            }
        }
        taken.extend(mine);
        if !rows.is_empty() {
            let hot = random.random_bool(0.25);
            covered.append(&rows, hot);
        }
    }
    covered
}
