//! Prepared statements: handle, parameters, execution.
//!
//! A handle names text and bound parameters; planning happens at every use, over the newest versions. A statement that is not kept
//! here, since another server prepared it, or this one before it was started again, is kept from its first use on.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow_flight::sql::{
    ActionCreatePreparedStatementResult, Any, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo};
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use futures::stream::BoxStream;
use prost::Message;
use table_core::schema::portable_type;
use tonic::{Code, Status};

use crate::engine::Engine;
use crate::frame::Frame;
use crate::query::call::CallOptions;
use crate::query::gate::{self, Gated, Statement};
use crate::query::handle::{self, Handle};
use crate::query::min_versions::MinVersions;
use crate::query::plan::{self, Prepared};
use crate::query::source::Source;
use crate::query::{insert, parameters, statement, stream};
use crate::session::PreparedStatement;
use crate::status;

/// Field 4 of `ActionCreatePreparedStatementResult`, `is_update`, which arrow-flight 59 does not know: clients that read it
/// need not guess how to run the statement.
const IS_UPDATE: [u8; 2] = [0x20, 0x01];
const IS_QUERY: [u8; 2] = [0x20, 0x00];

/// Prepares a statement; returns the packed answer of the action.
///
/// # Errors
/// Everything that can be known before it runs: syntax, missing tables and columns, types.
pub(crate) async fn create(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    options: &CallOptions,
) -> Result<Bytes, Status> {
    let source = source.into();
    prepare(engine, source.clone(), options).await.map_err(|status| match source {
        Source::Sql(sql) if status.code() == Code::Unimplemented && gate::has_parameters(&sql) => {
            status::unsupported_with_parameters(&status)
        }
        _ => status,
    })
}

async fn prepare(
    engine: &Arc<Engine>,
    source: Source,
    options: &CallOptions,
) -> Result<Bytes, Status> {
    let gated = plan::gated(engine, source).await?;
    let source = gated.source.clone();
    let is_update = gated.statement.is_update();
    let parameter_count = gated.parameter_count;
    let described = describe(engine, gated, options).await?;
    let handle = Handle::new(engine.clock().new_id(), &source);
    engine.prepared().insert(handle.id, source, parameter_count)?;
    let result = ActionCreatePreparedStatementResult {
        prepared_statement_handle: handle.encode(),
        dataset_schema: encode_optional(&described.dataset)?,
        parameter_schema: encode_optional(&described.parameters)?,
    };
    let mut value = result.encode_to_vec();
    value.extend_from_slice(if is_update { &IS_UPDATE } else { &IS_QUERY });
    let any = Any {
        type_url: ActionCreatePreparedStatementResult::type_url().to_owned(),
        value: value.into(),
    };
    Ok(any.encode_to_vec().into())
}

struct Described {
    dataset: SchemaRef,
    parameters: SchemaRef,
}

async fn describe(
    engine: &Arc<Engine>,
    gated: Gated,
    options: &CallOptions,
) -> Result<Described, Status> {
    let count = gated.parameter_count;
    let nothing = Arc::new(Schema::empty());
    match gated.statement.clone() {
        Statement::Query(_) | Statement::Substrait(_) => {
            let prepared = Prepared::newest(engine, gated, &options.at_least).await?;
            let plan = prepared.own_query(engine).await?;
            // A plan may be impossible to optimise while the types of its parameters are open.
            let dataset = match prepared.schema(engine, &plan).await {
                Err(_) if count > 0 => prepared.shown(plan.logical().schema().inner(), &plan),
                other => other?,
            };
            let dataset = options.form.schema(&dataset);
            Ok(Described { dataset, parameters: parameter_schema(plan.logical(), count)? })
        }
        Statement::Insert(statement) => {
            let prepared = Prepared::newest(engine, gated, &options.at_least).await?;
            let (_, plan) = insert::source(engine, &prepared, *statement).await?;
            Ok(Described { dataset: nothing, parameters: parameter_schema(&plan, count)? })
        }
        Statement::CreateTable(_) | Statement::DropTable { .. } => {
            Ok(Described { dataset: Arc::clone(&nothing), parameters: nothing })
        }
    }
}

/// A schema as bytes; an empty one as none, which every client takes as "no columns".
fn encode_optional(schema: &Schema) -> Result<Bytes, Status> {
    if schema.fields().is_empty() { Ok(Bytes::new()) } else { stream::encode_schema(schema) }
}

fn parameter_schema(plan: &LogicalPlan, count: usize) -> Result<SchemaRef, Status> {
    let known = plan.get_parameter_fields().map_err(|error| status::query(&error))?;
    Ok(Arc::new(Schema::new((1..=count).map(|n| parameter_field(&known, n)).collect::<Vec<_>>())))
}

fn parameter_field(known: &HashMap<String, Option<FieldRef>>, number: usize) -> Field {
    let name = format!("${number}");
    let data_type = match known.get(&name).and_then(Option::as_ref).map(|field| field.data_type()) {
        // JDBC binds epoch milliseconds whatever the unit says.
        Some(DataType::Timestamp(_, zone)) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        Some(DataType::Null) | None => DataType::Utf8,
        Some(other) => portable_type(other),
    };
    Field::new(name, data_type, true)
}

/// Forgets a statement; unknown handles are fine.
pub(crate) fn close(engine: &Arc<Engine>, handle: &[u8]) {
    if let Ok(handle) = Handle::decode(handle) {
        engine.prepared().close(handle.id);
    }
}

/// A statement that a handle names, kept from now on.
struct Found {
    handle: Handle,
    statement: Arc<PreparedStatement>,
}

impl Found {
    async fn by(engine: &Arc<Engine>, handle: &[u8]) -> Result<Self, Status> {
        let handle = Handle::decode(handle)?;
        if let Some(statement) = engine.prepared().get(handle.id) {
            return Ok(Self { handle, statement });
        }
        if engine.prepared().is_closed(handle.id) {
            return Err(handle::unknown());
        }
        let gated = plan::gated(engine, &handle.source).await?;
        let statement = engine.prepared().insert(handle.id, gated.source, gated.parameter_count)?;
        Ok(Self { handle, statement })
    }

    /// The rows bound last: those in the handle, or else what was bound here.
    fn parameters(&self) -> Result<Vec<RecordBatch>, Status> {
        match self.handle.parameters.is_empty() {
            true => Ok(self.statement.parameters()),
            false => parameters::decode(&self.handle.parameters),
        }
    }
}

/// Plans the query with the bound parameters, or executes the update, exactly once.
///
/// # Errors
/// NOT_FOUND for an unknown handle; what planning or executing returns.
pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    handle: &[u8],
    options: &CallOptions,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let found = Found::by(engine, handle).await?;
    let rows = found.parameters()?;
    statement::flight_info_bound(engine, &found.statement.source, &rows, options, descriptor).await
}

/// The schema of the answer.
///
/// # Errors
/// NOT_FOUND for an unknown handle; what planning returns.
pub(crate) async fn schema(
    engine: &Arc<Engine>,
    handle: &[u8],
    options: &CallOptions,
) -> Result<SchemaRef, Status> {
    let found = Found::by(engine, handle).await?;
    statement::schema(engine, &found.statement.source, options).await
}

/// Runs the query for clients that use the command as a ticket.
///
/// # Errors
/// NOT_FOUND for an unknown handle; what planning returns.
pub(crate) async fn stream(
    engine: &Arc<Engine>,
    handle: &[u8],
    options: &CallOptions,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let found = Found::by(engine, handle).await?;
    let rows = found.parameters()?;
    statement::direct_bound(engine, &found.statement.source, &rows, options).await
}

/// Binds parameters for the next use of a query.
///
/// # Errors
/// NOT_FOUND for an unknown handle; INVALID_ARGUMENT for parameters that do not fit; RESOURCE_EXHAUSTED for too many.
pub(crate) async fn bind(
    engine: &Arc<Engine>,
    handle: &[u8],
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<DoPutPreparedStatementResult, Status> {
    let found = Found::by(engine, handle).await?;
    let rows = parameters::read(first, rest).await?;
    parameters::check(&rows, found.statement.parameter_count)?;
    engine.prepared().bind(&found.statement, &rows)?;
    let encoded = match parameters::encode(&rows).await {
        Ok(encoded) => encoded,
        // Too many, or of a kind that does not travel: they are bound here, for a client that stays here.
        Err(_) => Bytes::new(),
    };
    // Without a handle some clients would replace theirs by an empty one, and others do not look at it.
    let handle = found.handle.binding(encoded).encode();
    Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
}

/// Executes an update with the parameters of this stream, or else with those bound before.
///
/// A statement without parameters is answered at once: some clients read the answer before they end their stream.
///
/// # Errors
/// NOT_FOUND for an unknown handle; what executing returns.
pub(crate) async fn update(
    engine: &Arc<Engine>,
    handle: &[u8],
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
    at_least: &MinVersions,
) -> Result<i64, Status> {
    let found = Found::by(engine, handle).await?;
    let statement = &found.statement;
    if statement.parameter_count == 0 {
        return statement::update(engine, &statement.source, at_least).await;
    }
    let read = parameters::read(first, rest).await.map_err(status::not_committed)?;
    let rows: Vec<RecordBatch> = match read {
        rows if rows.is_empty() => found.parameters()?,
        rows => rows,
    };
    statement::update_bound(engine, &statement.source, &rows, at_least).await
}
