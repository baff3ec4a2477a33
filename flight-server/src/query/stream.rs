//! Result batches to Flight messages, in the portable wire types.
//!
//! A stream has exactly the schema that was announced for it, nullability included: clients compare the two.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{
    FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tonic::Status;

use crate::limits;
use crate::status;

/// Name of the one column that reports what a statement did.
const COUNT_COLUMN: &str = "count";

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

/// One endpoint without locations, which every client takes as "here", and the schema of its stream.
///
/// # Errors
/// INTERNAL when Arrow cannot write the schema.
pub(crate) fn flight_info(
    schema: &Schema,
    ticket: Ticket,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| status::arrow(&error))?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    Ok(info)
}

/// Encodes batches in exactly `schema`. Dropping the stream drops `batches`, and with it the query.
pub(crate) fn encode<S>(
    schema: SchemaRef,
    batches: S,
) -> BoxStream<'static, Result<FlightData, Status>>
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let announced = Arc::clone(&schema);
    let batches = batches.map(move |batch| {
        batch.and_then(|batch| conform(&batch, &announced)).map_err(FlightError::from)
    });
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(limits::RESPONSE_MESSAGE_BYTES)
        .build(batches)
        .map(|message| message.map_err(flight_error))
        .boxed()
}

fn flight_error(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(error) => status::arrow(&error),
        other => status::internal(format!("a result cannot be encoded: {other}")),
    }
}

/// A batch in the announced schema.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Status> {
    if batch.num_columns() != schema.fields().len() {
        return Err(status::internal(format!(
            "a result has {} columns, but {} were announced",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, ArrowError>>()
        .map_err(|error| status::arrow(&error))?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| {
        status::internal(format!("a result does not fit what was announced: {error}"))
    })
}

/// Schema of the answer of a statement that changes something.
pub(crate) fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(COUNT_COLUMN, DataType::Int64, false)]))
}

/// The answer of a statement that was executed already: one row with its count.
///
/// # Errors
/// INTERNAL when the batch cannot be made.
pub(crate) fn count_stream(
    record_count: i64,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let schema = count_schema();
    let column = Arc::new(Int64Array::from(vec![record_count]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])
        .map_err(|error| status::arrow(&error))?;
    Ok(encode(schema, stream::iter([Ok(batch)])))
}
