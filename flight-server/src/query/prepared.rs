//! Prepared statements: handle, parameters, execution.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::sql::DoPutPreparedStatementResult;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo};
use bytes::Bytes;
use futures::stream::BoxStream;
use tonic::Status;

use crate::engine::Engine;
use crate::status;

pub(crate) async fn create(engine: &Arc<Engine>, sql: &str) -> Result<Bytes, Status> {
    let _ = (engine, sql);
    Err(status::unsupported("prepared statements are not served yet"))
}

pub(crate) fn close(engine: &Arc<Engine>, handle: &[u8]) {
    let _ = (engine, handle);
}

pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    handle: &[u8],
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let _ = (engine, handle, descriptor);
    Err(status::unsupported("prepared statements are not served yet"))
}

pub(crate) async fn schema(engine: &Arc<Engine>, handle: &[u8]) -> Result<SchemaRef, Status> {
    let _ = (engine, handle);
    Err(status::unsupported("prepared statements are not served yet"))
}

pub(crate) async fn stream(
    engine: &Arc<Engine>,
    handle: &[u8],
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let _ = (engine, handle);
    Err(status::unsupported("prepared statements are not served yet"))
}

pub(crate) async fn bind(
    engine: &Arc<Engine>,
    handle: &[u8],
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<DoPutPreparedStatementResult, Status> {
    let _ = (engine, handle, first, rest);
    Err(status::unsupported("prepared statements are not served yet"))
}

pub(crate) async fn update(
    engine: &Arc<Engine>,
    handle: &[u8],
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<i64, Status> {
    let _ = (engine, handle, first, rest);
    Err(status::unsupported("prepared statements are not served yet"))
}
