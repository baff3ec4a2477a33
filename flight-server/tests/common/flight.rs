//! The calls of Flight and of prepared statements, as messages.

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{FlightClient, FlightDescriptor, FlightInfo, Ticket};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use prost::Message;
use tonic::Code;

use super::{Server, messages};

pub(crate) fn flight(server: &Server) -> FlightClient {
    FlightClient::new(server.channel.clone())
}

pub(crate) async fn info(server: &Server, sql: &str) -> FlightInfo {
    let descriptor = FlightDescriptor::new_cmd(sql.to_owned());
    flight(server).get_flight_info(descriptor).await.unwrap()
}

pub(crate) fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

pub(crate) fn code(error: &FlightError) -> Code {
    match error {
        FlightError::Tonic(status) => status.code(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn prepare(server: &Server, sql: &str) -> Bytes {
    let request =
        ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
    let body = request.as_any().encode_to_vec();
    let answers = server.raw_action("CreatePreparedStatement", body).await.unwrap();
    let any = Any::decode(&*answers[0]).unwrap();
    let created: ActionCreatePreparedStatementResult = any.unpack().unwrap().unwrap();
    created.prepared_statement_handle
}

pub(crate) async fn close(server: &Server, handle: &Bytes) {
    let request = ActionClosePreparedStatementRequest { prepared_statement_handle: handle.clone() };
    let body = request.as_any().encode_to_vec();
    server.raw_action("ClosePreparedStatement", body).await.unwrap();
}

pub(crate) fn prepared(handle: &Bytes) -> FlightDescriptor {
    let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// Sends rows with a command, and reads the answer.
pub(crate) async fn put<M: Message + Default>(
    server: &Server,
    descriptor: FlightDescriptor,
    rows: RecordBatch,
) -> Result<M, tonic::Status> {
    let sent = stream::iter(messages(descriptor, &[rows]));
    let answers = server.client.clone().do_put(sent).await?.into_inner();
    let answers: Vec<_> = answers.try_collect().await?;
    Ok(M::decode(answers[0].app_metadata.clone()).unwrap())
}

pub(crate) async fn bind(server: &Server, handle: &Bytes, rows: RecordBatch) -> Bytes {
    let bound = put(server, prepared(handle), rows).await;
    let bound: DoPutPreparedStatementResult = bound.unwrap();
    bound.prepared_statement_handle.unwrap()
}
