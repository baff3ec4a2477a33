//! Rows that begin with the entity columns of a table, made batch by batch while the query runs.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use tokio::sync::mpsc::Sender;

use super::arguments::CoveredTable;
use super::external;
use super::picks::Picks;
use crate::coverage::Runs;
use crate::error::Error;
use crate::schema::portable_field;
use crate::types::{EntityKey, EntityType, EntityValue, IndexType};

/// Rows in one batch of the answer.
const BATCH_ROWS: usize = 8192;

/// Batches made ahead of the reader.
const BATCHES_AHEAD: usize = 2;

/// What a column behind the entity columns holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value of the index column's type.
    Index,
    /// The same, or null.
    MaybeIndex,
    /// A number of buckets, as Int64.
    Count,
    /// A number of rows, or null, as Int64.
    MaybeCount,
    /// A number from 0 to 1, as Float64.
    Ratio,
}

/// Its values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    Index(Option<i64>),
    Count(Option<u64>),
    Ratio(f64),
}

/// Makes the rows of one entity and hands them over one by one; ends early when they are no longer wanted.
type Make = dyn Fn(&CoveredTable, &EntityKey, &Runs, &mut Rows<'_>) -> Result<Wanted> + Send + Sync;

/// Whether somebody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    More,
    Enough,
}

/// An answer with the entity columns of `table` and `columns`, whose rows `make` makes for each entity.
pub(super) fn answer(
    table: CoveredTable,
    columns: &[(&str, Kind)],
    make: impl Fn(&CoveredTable, &EntityKey, &Runs, &mut Rows<'_>) -> Result<Wanted>
    + Send
    + Sync
    + 'static,
) -> Result<Arc<dyn TableProvider>> {
    let entities =
        table.layout.entities.iter().filter_map(|at| table.layout.schema.fields().get(*at));
    let mut fields: Vec<Field> = entities.map(|field| portable_field(field)).collect();
    for (name, kind) in columns {
        // An entity column may be called like one of ours.
        let mut name = (*name).to_owned();
        while fields.iter().any(|field| *field.name() == name) {
            name.push('_');
        }
        let (data_type, nullable) = match kind {
            Kind::Index => (table.index.data_type().clone(), false),
            Kind::MaybeIndex => (table.index.data_type().clone(), true),
            Kind::Count => (DataType::Int64, false),
            Kind::MaybeCount => (DataType::Int64, true),
            Kind::Ratio => (DataType::Float64, false),
        };
        fields.push(Field::new(name, data_type, nullable));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    Ok(Arc::new(EntityTable { table: Arc::new(table), make: Arc::new(make), schema }))
}

/// An answer that is yet to be asked for.
struct EntityTable {
    table: Arc<CoveredTable>,
    make: Arc<Make>,
    schema: SchemaRef,
}

impl fmt::Debug for EntityTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntityTable")
            .field("table", &self.table.name)
            .field("version", &self.table.snapshot.version)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for EntityTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support =
            filters.iter().map(|filter| match Picks::is_known(&self.table.layout, filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            });
        Ok(support.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = AnswerRows {
            table: Arc::clone(&self.table),
            make: Arc::clone(&self.make),
            schema: Arc::clone(&self.schema),
            picks: Picks::of(&self.table.layout, filters),
            limit,
        };
        let stream = StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(rows)])?;
        stream.scan(state, projection, &[], limit).await
    }
}

/// An answer that is yet to be made.
struct AnswerRows {
    table: Arc<CoveredTable>,
    make: Arc<Make>,
    schema: SchemaRef,
    picks: Picks,
    /// Most rows that anybody wants.
    limit: Option<usize>,
}

impl fmt::Debug for AnswerRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerRows")
            .field("table", &self.table.name)
            .field("version", &self.table.snapshot.version)
            .field("picks", &self.picks)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for AnswerRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let sender = builder.tx();
        let (table, make, schema) =
            (Arc::clone(&self.table), Arc::clone(&self.make), Arc::clone(&self.schema));
        let (picks, limit) = (self.picks.clone(), self.limit);
        builder.spawn_blocking(move || {
            let mut rows = Rows::new(&table, schema, sender, limit);
            for (entity, runs) in picks.entities(&table.snapshot.coverage) {
                if make(&table, &entity, runs, &mut rows)? == Wanted::Enough {
                    return Ok(());
                }
            }
            rows.send()?;
            Ok(())
        });
        builder.build()
    }
}

/// Rows on their way into a batch, and to the reader.
pub(super) struct Rows<'a> {
    table: &'a CoveredTable,
    schema: SchemaRef,
    sender: Sender<Result<RecordBatch>>,
    entities: Vec<Vec<EntityValue>>,
    cells: Vec<Vec<Cell>>,
    row_count: usize,
    /// Rows still wanted.
    missing: usize,
}

impl<'a> Rows<'a> {
    fn new(
        table: &'a CoveredTable,
        schema: SchemaRef,
        sender: Sender<Result<RecordBatch>>,
        limit: Option<usize>,
    ) -> Self {
        let entity_count = table.layout.entities.len();
        let cell_count = schema.fields().len() - entity_count;
        Self {
            table,
            schema,
            sender,
            entities: vec![Vec::new(); entity_count],
            cells: vec![Vec::new(); cell_count],
            row_count: 0,
            missing: limit.unwrap_or(usize::MAX),
        }
    }

    /// Takes a row, with one cell for each column behind the entity columns.
    pub(super) fn push(&mut self, entity: &EntityKey, cells: &[Cell]) -> Result<Wanted> {
        if self.missing == 0 {
            return Ok(Wanted::Enough);
        }
        let values = entity.decode(&self.table.layout.entity_types).ok_or_else(|| {
            external(Error::internal(format!(
                "an entity of table \"{}\" is not of the types of its entity columns",
                self.table.name
            )))
        })?;
        for (column, value) in self.entities.iter_mut().zip(values) {
            column.push(value);
        }
        for (column, cell) in self.cells.iter_mut().zip(cells) {
            column.push(*cell);
        }
        self.row_count += 1;
        self.missing -= 1;
        match self.missing {
            0 => self.send().map(|_| Wanted::Enough),
            _ if self.row_count < BATCH_ROWS => Ok(Wanted::More),
            _ => self.send(),
        }
    }

    /// Hands over the rows taken since the last batch.
    fn send(&mut self) -> Result<Wanted> {
        if std::mem::take(&mut self.row_count) == 0 {
            return Ok(Wanted::More);
        }
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for ((values, kind), field) in
            self.entities.iter_mut().zip(&self.table.layout.entity_types).zip(self.schema.fields())
        {
            columns.push(cast(&entity_array(std::mem::take(values), *kind), field.data_type())?);
        }
        for (cells, field) in
            self.cells.iter_mut().zip(self.schema.fields().iter().skip(columns.len()))
        {
            columns.push(cell_array(&std::mem::take(cells), field, self.table)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        // Sending fails when the reader has gone: then nobody wants the rest.
        Ok(match self.sender.blocking_send(Ok(batch)) {
            Ok(()) => Wanted::More,
            Err(_) => Wanted::Enough,
        })
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

fn cell_array(cells: &[Cell], field: &Field, table: &CoveredTable) -> Result<ArrayRef> {
    let wrong = || {
        let name = field.name();
        external(Error::internal(format!("a cell of column \"{name}\" is of another kind")))
    };
    let array: ArrayRef = match cells.first().ok_or_else(wrong)? {
        Cell::Index(_) => {
            let values = cells.iter().map(|cell| match cell {
                Cell::Index(value) => Ok(*value),
                _ => Err(wrong()),
            });
            index_array(values.collect::<Result<Vec<_>>>()?, table)?
        }
        Cell::Count(_) => {
            let values = cells.iter().map(|cell| match cell {
                Cell::Count(count) => {
                    Ok(count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
                }
                _ => Err(wrong()),
            });
            Arc::new(Int64Array::from(values.collect::<Result<Vec<_>>>()?))
        }
        Cell::Ratio(_) => {
            let values = cells.iter().map(|cell| match cell {
                Cell::Ratio(ratio) => Ok(*ratio),
                _ => Err(wrong()),
            });
            Arc::new(Float64Array::from(values.collect::<Result<Vec<_>>>()?))
        }
    };
    Ok(array)
}

/// Index values as an array of the index column's type.
pub(super) fn index_array(
    values: Vec<Option<i64>>,
    table: &CoveredTable,
) -> Result<ArrayRef, DataFusionError> {
    if table.index_type == IndexType::UInt64 {
        let values = values.into_iter().map(|value| value.map(i64::cast_unsigned));
        return Ok(Arc::new(values.collect::<UInt64Array>()));
    }
    Ok(cast(&Int64Array::from(values), table.index.data_type())?)
}
