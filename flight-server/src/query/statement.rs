//! Statements: what a client asks for, executed or planned.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo};
use coverline_proto::flight::QueryTicket;
use futures::stream::BoxStream;
use tonic::Status;

use crate::engine::Engine;
use crate::status;

pub(crate) async fn flight_info(
    engine: &Arc<Engine>,
    sql: &str,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let _ = (engine, sql, descriptor);
    Err(status::unsupported("queries are not served yet"))
}

pub(crate) async fn schema(engine: &Arc<Engine>, sql: &str) -> Result<SchemaRef, Status> {
    let _ = (engine, sql);
    Err(status::unsupported("queries are not served yet"))
}

pub(crate) async fn stream(
    engine: &Arc<Engine>,
    ticket: QueryTicket,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let _ = (engine, ticket);
    Err(status::unsupported("queries are not served yet"))
}

pub(crate) async fn direct(
    engine: &Arc<Engine>,
    sql: &str,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let _ = (engine, sql);
    Err(status::unsupported("queries are not served yet"))
}

pub(crate) async fn update(engine: &Arc<Engine>, sql: &str) -> Result<i64, Status> {
    let _ = (engine, sql);
    Err(status::unsupported("updates are not served yet"))
}
