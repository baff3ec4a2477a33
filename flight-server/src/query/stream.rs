//! Result batches to Flight messages, in the portable wire types.

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::stream::BoxStream;
use tonic::Status;

use crate::status;

/// A schema as an encapsulated IPC message, as FlightInfo and SchemaResult carry it.
///
/// # Errors
/// INTERNAL when Arrow cannot write the schema.
pub(crate) fn encode_schema(schema: &Schema) -> Result<Bytes, Status> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error| status::arrow(&error))?;
    Ok(message.0)
}

/// The answer of a statement that was executed already: one row with its count.
pub(crate) fn count_stream(
    record_count: i64,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let _ = record_count;
    Err(status::unsupported("results are not served yet"))
}
