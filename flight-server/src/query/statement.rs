//! Statements: planned and ticketed when they have rows, executed exactly once when they change something.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use coverline_proto::flight::{IndexRange, QueryTicket, UpdateTicket};
use futures::FutureExt;
use futures::stream::BoxStream;
use tonic::Status;

use crate::engine::Engine;
use crate::frame::Frame;
use crate::query::call::{self, CallOptions, WireForm};
use crate::query::gate::{Gated, Statement};
use crate::query::min_versions::MinVersions;
use crate::query::plan::{self, Prepared, QueryPlan};
use crate::query::source::Source;
use crate::query::{ddl, insert, parameters, parts, stream};
use crate::status;
use crate::ticket::{self, StatementTicket};

/// Plans a query, or executes anything else at once: many clients never fetch what an update returns.
///
/// # Errors
/// What planning or executing returns.
pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    options: &CallOptions,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    flight_info_bound(engine, source, &[], options, descriptor).await
}

/// As [`flight_info`], with rows of parameters.
///
/// # Errors
/// What planning or executing returns.
pub(crate) async fn flight_info_bound(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    rows: &[RecordBatch],
    options: &CallOptions,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let gated = plan::gated(engine, source).await?;
    if gated.statement.is_update() {
        let record_count = update_gated(engine, gated, rows, &options.at_least).await?;
        let ticket = ticket::encode(&StatementTicket::Update(UpdateTicket { record_count }));
        let info = stream::flight_info(&stream::count_schema(), ticket, descriptor)?;
        return Ok(info.with_total_records(1));
    }
    // What DoGet would refuse is refused here already.
    if gated.parameter_count > 0 && rows.is_empty() {
        return Err(parameters::unbound(gated.parameter_count));
    }
    let (schema, prepared) = planned(engine, gated, rows, options).await?;
    let (sql, substrait) = prepared.gated.source.to_wire();
    let query = QueryTicket {
        sql,
        substrait,
        pins: prepared.pins.to_wire(),
        parameters: parameters::encode(rows).await?,
        query_id: engine.clock().new_id().as_bytes().to_vec().into(),
        native_types: options.form.native_types,
        compression: options.form.wire_compression() as i32,
        part: None,
    };
    if options.endpoints < 2 || !rows.is_empty() {
        return stream::flight_info(&schema, query_ticket(query), descriptor);
    }
    let plan = prepared.own_query(engine).await?;
    let parts = parts::cut(plan.logical(), options.endpoints)?;
    let mut tickets = parts.ranges.into_iter().map(|range| {
        let part = (range != IndexRange::default()).then_some(range);
        query_ticket(QueryTicket { part, ..query.clone() })
    });
    let first = tickets.next().unwrap_or_else(|| query_ticket(query.clone()));
    let info = stream::flight_info(&schema, first, descriptor)?.with_ordered(parts.ordered);
    Ok(tickets
        .fold(info, |info, ticket| info.with_endpoint(FlightEndpoint::new().with_ticket(ticket))))
}

fn query_ticket(query: QueryTicket) -> Ticket {
    ticket::encode(&StatementTicket::Query(query))
}

/// The schema that the answer of a statement has.
///
/// # Errors
/// What planning returns.
pub(crate) async fn schema(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    options: &CallOptions,
) -> Result<SchemaRef, Status> {
    let gated = plan::gated(engine, source).await?;
    if gated.statement.is_update() {
        return Ok(stream::count_schema());
    }
    Ok(planned(engine, gated, &[], options).await?.0)
}

async fn planned(
    engine: &Arc<Engine>,
    gated: Gated,
    rows: &[RecordBatch],
    options: &CallOptions,
) -> Result<(SchemaRef, Prepared), Status> {
    let prepared = Prepared::newest(engine, gated, &options.at_least).await?;
    let plan = prepared.own_query(engine).await?;
    let first = match rows {
        [] => Vec::new(),
        rows => parameters::first(rows, prepared.gated.parameter_count)?,
    };
    let schema = prepared.schema(engine, &plan.bind(first)?).await?;
    let runs = rows.iter().map(RecordBatch::num_rows).sum();
    Ok((call::of_runs(options.form.schema(&schema), runs), prepared))
}

/// Redeems a ticket: the same query, at the same versions.
///
/// # Errors
/// What planning returns; NOT_FOUND when a table or version is gone; CANCELLED when the query was.
pub(crate) async fn stream(
    engine: &Arc<Engine>,
    ticket: QueryTicket,
    form: WireForm,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let id = ticket.query_id.clone();
    engine.running().run(&id, redeemed(engine, ticket, form)).await
}

async fn redeemed(
    engine: &Arc<Engine>,
    ticket: QueryTicket,
    form: WireForm,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let gated = plan::gated(engine, Source::of_ticket(&ticket)).await?;
    let prepared = Prepared::at(engine, gated, &ticket.pins).await?;
    let rows = parameters::decode(&ticket.parameters)?;
    let mut plan = prepared.own_query(engine).await?;
    if let Some(part) = &ticket.part {
        plan = parts::restrict(plan.logical(), part)?.into();
    }
    run(engine, prepared, plan, &rows, form).await
}

/// Runs a query whose text is the ticket, at the newest versions.
///
/// # Errors
/// INVALID_ARGUMENT for anything but a query: a DoGet may be repeated.
pub(crate) async fn direct(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    options: &CallOptions,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    direct_bound(engine, source, &[], options).await
}

/// As [`direct`], with rows of parameters.
///
/// # Errors
/// As [`direct`].
pub(crate) async fn direct_bound(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    rows: &[RecordBatch],
    options: &CallOptions,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let gated = plan::gated(engine, source).await?;
    let prepared = Prepared::newest(engine, gated, &options.at_least).await?;
    let plan = prepared.own_query(engine).await?;
    run(engine, prepared, plan, rows, options.form).await
}

async fn run(
    engine: &Arc<Engine>,
    prepared: Prepared,
    plan: QueryPlan,
    rows: &[RecordBatch],
    form: WireForm,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let count = prepared.gated.parameter_count;
    let values = parameters::rows(rows, count)?;
    // Without a row the types of the parameters are all that decides the columns.
    let plan = if values.is_empty() { plan.bind(parameters::first(rows, count)?)? } else { plan };
    parameters::run_all(engine, prepared, plan, values, form).await
}

/// Executes a statement that changes something; returns the number of rows it wrote, 0 for DDL.
///
/// # Errors
/// What executing returns; INVALID_ARGUMENT for a query.
pub(crate) async fn update(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    at_least: &MinVersions,
) -> Result<i64, Status> {
    update_bound(engine, source, &[], at_least).await
}

/// As [`update`], with rows of parameters; the statement is one append whatever their number.
///
/// # Errors
/// As [`update`].
pub(crate) async fn update_bound(
    engine: &Arc<Engine>,
    source: impl Into<Source>,
    rows: &[RecordBatch],
    at_least: &MinVersions,
) -> Result<i64, Status> {
    let gated = plan::gated(engine, source).await?;
    update_gated(engine, gated, rows, at_least).await
}

/// Executes a change, whichever call asked for it: an error, and be it a panic, says whether the change is there.
async fn update_gated(
    engine: &Arc<Engine>,
    gated: Gated,
    rows: &[RecordBatch],
    at_least: &MinVersions,
) -> Result<i64, Status> {
    let changed = AssertUnwindSafe(change(engine, gated, rows, at_least)).catch_unwind().await;
    changed.unwrap_or_else(|panic| Err(status::panicked(panic.as_ref()))).map_err(status::settled)
}

async fn change(
    engine: &Arc<Engine>,
    gated: Gated,
    rows: &[RecordBatch],
    at_least: &MinVersions,
) -> Result<i64, Status> {
    match gated.statement.clone() {
        Statement::CreateTable(table) => ddl::create_table(engine, gated, *table, at_least).await,
        Statement::DropTable { name, if_exists } => {
            ddl::drop_table(engine, &name, if_exists).await.map(|()| 0)
        }
        Statement::Insert(insert) => insert::insert(engine, gated, *insert, rows, at_least).await,
        Statement::Query(_) | Statement::Substrait(_) => {
            Err(status::invalid("the statement returns rows; run it as a query, not as an update"))
        }
    }
}
