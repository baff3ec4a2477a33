//! `coverage('t')` and `gaps('t' [, start, end])`: answered from the snapshot alone, no file is opened.
//!
//! Rows are made while the query runs, batch by batch; planning only resolves the table and the bounds.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::coverage::Run;
use crate::error::{Error, ErrorKind};
use crate::schema::{TableLayout, portable_field};
use crate::snapshot::Snapshot;
use crate::types::{Bucketing, EntityKey, EntityType, EntityValue, IndexType};

/// Rows in one batch of the answer.
const BATCH_ROWS: usize = 8192;

/// Batches made ahead of the reader.
const BATCHES_AHEAD: usize = 2;

/// Finds the pinned snapshot of a table by the name that a query used.
pub trait SnapshotSource: fmt::Debug + Send + Sync {
    /// The snapshot, or an error that names the table.
    fn snapshot(&self, table: &str) -> datafusion::error::Result<Arc<Snapshot>>;
}

/// The table function `coverage`.
#[derive(Debug)]
pub struct CoverageFunction(pub Arc<dyn SnapshotSource>);

/// The table function `gaps`.
#[derive(Debug)]
pub struct GapsFunction(pub Arc<dyn SnapshotSource>);

impl TableFunctionImpl for CoverageFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let [table] = args.exprs() else {
            return plan_err!(
                "coverage takes one argument, the name of a table; write coverage('prices')"
            );
        };
        let table = table_name("coverage", table, args.session())?;
        let covered = CoveredTable::find(self.0.as_ref(), &table)?;
        covered.answer(["start", "end", "buckets"], None)
    }
}

impl TableFunctionImpl for GapsFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let (table, bounds) = match args.exprs() {
            [table] => (table, None),
            [table, start, end] => (table, Some((start, end))),
            _ => {
                return plan_err!(
                    "gaps takes the name of a table and, optionally, a start and an end; write gaps('prices') or \
                     gaps('prices', '2025-01-01', '2025-02-01')"
                );
            }
        };
        let table = table_name("gaps", table, args.session())?;
        let covered = CoveredTable::find(self.0.as_ref(), &table)?;
        let range = match bounds {
            None => None,
            Some((start, end)) => Some(covered.range(start, end, args.session())?),
        };
        covered.answer(["gap_start", "gap_end", "missing_buckets"], Some(range))
    }
}

/// The value of a constant argument, whatever constant expression it is written as.
fn constant(what: &str, expr: &Expr, session: &dyn Session) -> Result<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Ok(value.clone());
    }
    let not_constant =
        || DataFusionError::Plan(format!("{what} is \"{expr}\"; it must be a constant"));
    let physical = session
        .create_physical_expr(expr.clone(), &DFSchema::empty())
        .map_err(|error| error.context(not_constant().strip_backtrace()))?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    match physical.evaluate(&one_row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) if array.len() == 1 => ScalarValue::try_from_array(&array, 0),
        ColumnarValue::Array(_) => Err(not_constant()),
    }
}

fn table_name(function: &str, expr: &Expr, session: &dyn Session) -> Result<String> {
    let name = match expr {
        Expr::Column(_) => None,
        expr => constant(&format!("the table of {function}"), expr, session)?
            .try_as_str()
            .flatten()
            .map(str::to_owned),
    };
    name.ok_or_else(|| {
        DataFusionError::Plan(format!(
            "the first argument of {function} is {expr}; it must be the name of a table in single quotes: \
             {function}('prices')"
        ))
    })
}

/// A time-series table that has a schema, so that its buckets can be shown in the index column's type.
struct CoveredTable {
    name: String,
    snapshot: Arc<Snapshot>,
    layout: Arc<TableLayout>,
    index: Field,
    index_type: IndexType,
    bucketing: Bucketing,
}

impl CoveredTable {
    fn find(source: &dyn SnapshotSource, table: &str) -> Result<Self> {
        let snapshot = source.snapshot(table)?;
        if snapshot.spec.index.is_none() {
            return Err(refused(format!(
                "table \"{table}\" is a plain table: it has no index column, and so no coverage"
            )));
        }
        let Some(layout) = snapshot.layout.clone() else {
            return Err(refused(format!(
                "table \"{table}\" has no data and no schema yet; append to it first"
            )));
        };
        let bound = layout.index.and_then(|position| {
            let field = layout.schema.fields().get(position)?;
            Some((portable_field(field), layout.index_type?, layout.bucketing.clone()?))
        });
        let Some((index, index_type, bucketing)) = bound else {
            return Err(external(Error::internal(format!(
                "the layout of table \"{table}\" lacks the index column of its spec"
            ))));
        };
        Ok(Self { name: table.to_owned(), snapshot, layout, index, index_type, bucketing })
    }

    /// The buckets that `[start, end)` touches.
    fn range(&self, start: &Expr, end: &Expr, session: &dyn Session) -> Result<Run> {
        let (first, end) = (self.bound("start", start, session)?, self.bound("end", end, session)?);
        let order = |value: i64| match self.index_type {
            IndexType::UInt64 => value ^ i64::MIN,
            IndexType::Timestamp(_) | IndexType::Int64 => value,
        };
        if order(end) <= order(first) {
            return Err(refused(format!(
                "the range of gaps('{}', ...) is empty: it ends at {}, not after its start {}; the end is exclusive",
                self.name,
                self.bucketing.format(end),
                self.bucketing.format(first),
            )));
        }
        let bucket = |what: &str, value: i64| {
            self.bucketing.bucket_of(value).ok_or_else(|| {
                refused(format!(
                    "the {what} of gaps('{}', ...) is outside the calendar; give an earlier end or a later start",
                    self.name
                ))
            })
        };
        Ok(Run { first: bucket("start", first)?, last: bucket("end", end.wrapping_sub(1))? })
    }

    /// A bound as an index value.
    fn bound(&self, what: &str, expr: &Expr, session: &dyn Session) -> Result<i64> {
        let value = constant(&format!("the {what} of gaps"), expr, session)?;
        let wrong = || {
            let example = match self.index_type {
                IndexType::Timestamp(_) => {
                    "'2025-01-31T00:00:00Z' or TIMESTAMP '2025-01-31 00:00:00'"
                }
                IndexType::Int64 | IndexType::UInt64 => "1000",
            };
            refused(format!(
                "the {what} of gaps('{}', ...) is {value}, which is no {} such as index column \"{}\" holds; write {example}",
                self.name,
                self.index.data_type(),
                self.index.name(),
            ))
        };
        let is_text =
            matches!(value.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let fits = match self.index_type {
            IndexType::Timestamp(_) => {
                is_text
                    || matches!(
                        value.data_type(),
                        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
                    )
            }
            IndexType::Int64 | IndexType::UInt64 => is_text || value.data_type().is_integer(),
        };
        if !fits || value.is_null() {
            return Err(wrong());
        }
        match value.cast_to(self.index.data_type()).map_err(|_| wrong())? {
            ScalarValue::UInt64(Some(value)) => Ok(value.cast_signed()),
            ScalarValue::Int64(Some(value))
            | ScalarValue::TimestampSecond(Some(value), _)
            | ScalarValue::TimestampMillisecond(Some(value), _)
            | ScalarValue::TimestampMicrosecond(Some(value), _)
            | ScalarValue::TimestampNanosecond(Some(value), _) => Ok(value),
            _ => Err(wrong()),
        }
    }

    /// A table of runs: the covered ones when `gaps` is `None`, else the missing ones, between the ends of each entity or
    /// inside a range.
    fn answer(self, names: [&str; 3], gaps: Option<Option<Run>>) -> Result<Arc<dyn TableProvider>> {
        let entities =
            self.layout.entities.iter().filter_map(|at| self.layout.schema.fields().get(*at));
        let mut fields: Vec<Field> = entities.map(|field| portable_field(field)).collect();
        for name in names {
            // An entity column may be called like one of ours.
            let mut name = name.to_owned();
            while fields.iter().any(|field| *field.name() == name) {
                name.push('_');
            }
            let data_type = match fields.len() - self.layout.entities.len() {
                0 | 1 => self.index.data_type().clone(),
                _ => DataType::Int64,
            };
            fields.push(Field::new(name, data_type, false));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let runs = RunStream { table: Arc::new(self), gaps, schema: Arc::clone(&schema) };
        Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(runs)])?))
    }
}

/// Makes the rows of an answer.
struct RunStream {
    table: Arc<CoveredTable>,
    gaps: Option<Option<Run>>,
    schema: SchemaRef,
}

impl fmt::Debug for RunStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunStream")
            .field("table", &self.table.name)
            .field("version", &self.table.snapshot.version)
            .field("gaps", &self.gaps)
            .finish()
    }
}

impl PartitionStream for RunStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let sender = builder.tx();
        let (table, gaps, schema) = (Arc::clone(&self.table), self.gaps, Arc::clone(&self.schema));
        builder.spawn_blocking(move || {
            let mut rows = Rows::new(&table, schema);
            // Sending fails when the reader has gone: then nobody wants the rest.
            let send = |batch: Option<RecordBatch>| match batch {
                Some(batch) => sender.blocking_send(Ok(batch)).is_ok(),
                None => true,
            };
            let coverage = &table.snapshot.coverage;
            match gaps {
                None => {
                    for (entity, runs) in coverage.iter_sorted() {
                        for run in runs.iter() {
                            if !send(rows.push(&entity, run, bucket_count(run))?) {
                                return Ok(());
                            }
                        }
                    }
                }
                Some(range) => {
                    for gap in coverage.gaps(&table.bucketing, range) {
                        if !send(rows.push(&gap.entity, gap.missing, gap.bucket_count)?) {
                            return Ok(());
                        }
                    }
                }
            }
            send(rows.finish()?);
            Ok(())
        });
        builder.build()
    }
}

/// Buckets in a run.
fn bucket_count(run: Run) -> u64 {
    let steps = i128::from(run.last.0) - i128::from(run.first.0);
    u64::try_from(steps + 1).unwrap_or(u64::MAX)
}

/// Rows on their way into a batch.
struct Rows<'a> {
    table: &'a CoveredTable,
    schema: SchemaRef,
    entities: Vec<Vec<EntityValue>>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    counts: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn new(table: &'a CoveredTable, schema: SchemaRef) -> Self {
        Self {
            table,
            schema,
            entities: vec![Vec::new(); table.layout.entities.len()],
            starts: Vec::new(),
            ends: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Takes a row; gives a batch when one is full.
    fn push(&mut self, entity: &EntityKey, run: Run, count: u64) -> Result<Option<RecordBatch>> {
        let values = entity.decode(&self.table.layout.entity_types).ok_or_else(|| {
            external(Error::internal(format!(
                "an entity of table \"{}\" is not of the types of its entity columns",
                self.table.name
            )))
        })?;
        for (column, value) in self.entities.iter_mut().zip(values) {
            column.push(value);
        }
        self.starts.push(self.table.bucketing.start(run.first));
        self.ends.push(self.table.bucketing.end(run.last));
        self.counts.push(i64::try_from(count).unwrap_or(i64::MAX));
        if self.starts.len() < BATCH_ROWS { Ok(None) } else { self.finish() }
    }

    /// The rows taken since the last batch; `None` when there are none.
    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.starts.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for ((values, kind), field) in
            self.entities.iter_mut().zip(&self.table.layout.entity_types).zip(self.schema.fields())
        {
            columns.push(cast(&entity_array(std::mem::take(values), *kind), field.data_type())?);
        }
        for values in [&mut self.starts, &mut self.ends] {
            columns.push(index_array(std::mem::take(values), self.table)?);
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.counts))));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

fn entity_array(values: Vec<EntityValue>, kind: EntityType) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $variant:ident) => {
            Arc::new(
                values
                    .into_iter()
                    .map(|value| match value {
                        EntityValue::$variant(value) => Some(value),
                        _ => None,
                    })
                    .collect::<$array>(),
            )
        };
    }
    match kind {
        EntityType::Utf8 => collect!(StringArray, Utf8),
        EntityType::Int => collect!(Int64Array, Int),
        EntityType::UInt => collect!(UInt64Array, UInt),
        EntityType::Bool => collect!(BooleanArray, Bool),
        EntityType::Date => collect!(Date32Array, Date),
    }
}

fn index_array(values: Vec<i64>, table: &CoveredTable) -> Result<ArrayRef> {
    if table.index_type == IndexType::UInt64 {
        return Ok(Arc::new(values.into_iter().map(i64::cast_unsigned).collect::<UInt64Array>()));
    }
    Ok(cast(&Int64Array::from(values), table.index.data_type())?)
}

fn refused(message: String) -> DataFusionError {
    external(Error::new(ErrorKind::Invalid, message))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
