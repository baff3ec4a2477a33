//! Flight SQL's metadata commands: catalogs, schemas, tables, keys, types, and what the server can do.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::sql::Command;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo};
use futures::stream::BoxStream;
use tonic::Status;

use crate::engine::Engine;
use crate::status;

/// Where to get the answer of a metadata command, and its schema. UNIMPLEMENTED for commands that are none.
pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    command: Command,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let _ = (engine, descriptor);
    Err(unknown(&command))
}

/// The answer itself.
pub(crate) async fn stream(
    engine: &Arc<Engine>,
    command: Command,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let _ = engine;
    Err(unknown(&command))
}

/// The schema of the answer.
pub(crate) async fn schema(engine: &Arc<Engine>, command: Command) -> Result<SchemaRef, Status> {
    let _ = engine;
    Err(unknown(&command))
}

fn unknown(command: &Command) -> Status {
    status::unsupported(format!("the command \"{}\" is not served", command.type_url()))
}
