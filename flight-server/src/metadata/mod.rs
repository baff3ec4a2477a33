//! Flight SQL's metadata commands: catalogs, schemas, tables, keys, types, and what the server can do.
//!
//! A command is its own ticket: GetFlightInfo echoes it, DoGet answers it. Every answer is one batch made by arrow-flight's
//! builders, whose schemas clients compare with the specification to the letter.

mod catalogs;
pub(crate) mod flights;
mod keys;
mod sql_info;
mod tables;
mod type_info;
mod types;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::{Command, CommandGetCatalogs, CommandGetTableTypes};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::Status;

use crate::engine::Engine;
use crate::frame::Frame;
use crate::status;

/// Longest search pattern, bytes. Names are shorter, so a longer one matches nothing but the time it takes.
const PATTERN_BYTES_MAX: usize = 4 << 10;

/// Where to get the answer of a metadata command, and its schema.
///
/// # Errors
/// UNIMPLEMENTED for commands that are none.
pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    command: Command,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let schema = schema(engine, command).await?;
    let ticket = Ticket::new(descriptor.cmd.clone());
    FlightInfo::new()
        .try_with_schema(&schema)
        .map(|info| info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)))
        .map(|info| info.with_descriptor(descriptor))
        .map_err(|error| status::arrow(&error))
}

/// The schema of the answer.
///
/// # Errors
/// UNIMPLEMENTED for commands that are none.
pub(crate) async fn schema(_engine: &Arc<Engine>, command: Command) -> Result<SchemaRef, Status> {
    Ok(match command {
        Command::CommandGetCatalogs(_) => CommandGetCatalogs::default().into_builder().schema(),
        Command::CommandGetDbSchemas(command) => command.into_builder().schema(),
        Command::CommandGetTables(command) => command.into_builder().schema(),
        Command::CommandGetTableTypes(_) => CommandGetTableTypes::default().into_builder().schema(),
        Command::CommandGetSqlInfo(_) => Arc::new(SqlInfoDataBuilder::schema().clone()),
        Command::CommandGetXdbcTypeInfo(_) => type_info::schema()?,
        Command::CommandGetPrimaryKeys(_) => keys::primary_keys_schema(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => keys::foreign_keys_schema(),
        other => return Err(unknown(&other)),
    })
}

/// The answer itself.
///
/// # Errors
/// UNIMPLEMENTED for commands that are none, INVALID_ARGUMENT for patterns that are too long.
pub(crate) async fn stream(
    engine: &Arc<Engine>,
    command: Command,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let batch = answer(engine, command).await?;
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .build(stream::iter([Ok(batch)]))
        .map_ok(Frame::from)
        .map_err(|error| flight(&error));
    Ok(messages.boxed())
}

async fn answer(engine: &Arc<Engine>, command: Command) -> Result<RecordBatch, Status> {
    match command {
        Command::CommandGetCatalogs(command) => catalogs::catalogs(command),
        Command::CommandGetDbSchemas(command) => catalogs::schemas(command),
        Command::CommandGetTableTypes(command) => catalogs::table_types(command),
        Command::CommandGetTables(command) => tables::tables(engine, command).await,
        Command::CommandGetSqlInfo(command) => {
            sql_info::sql_info(command, engine.catalog().access().is_read_only())
        }
        Command::CommandGetXdbcTypeInfo(command) => type_info::type_info(command),
        Command::CommandGetPrimaryKeys(_) => Ok(empty(keys::primary_keys_schema())),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(empty(keys::foreign_keys_schema())),
        other => Err(unknown(&other)),
    }
}

fn empty(schema: Arc<Schema>) -> RecordBatch {
    RecordBatch::new_empty(schema)
}

fn unknown(command: &Command) -> Status {
    status::unsupported(format!("the command \"{}\" is not served", command.type_url()))
}

/// An error of arrow-flight's builders and encoder.
fn flight(error: &FlightError) -> Status {
    match error {
        FlightError::Arrow(inner) => status::arrow(inner),
        FlightError::Tonic(inner) => (**inner).clone(),
        other => status::internal(format!("metadata could not be encoded: {other}")),
    }
}

fn check_pattern(pattern: Option<&str>) -> Result<(), Status> {
    match pattern {
        Some(pattern) if pattern.len() > PATTERN_BYTES_MAX => Err(status::invalid(format!(
            "a search pattern has {} bytes; at most {PATTERN_BYTES_MAX} are allowed",
            pattern.len()
        ))),
        _ => Ok(()),
    }
}
