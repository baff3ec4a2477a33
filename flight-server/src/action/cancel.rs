//! `CancelFlightInfo` and the older `CancelQuery`: stop a query on whatever connection it is fetched.
//!
//! A query is known by the id in its tickets. A statement that changes something has run before its FlightInfo is there, so it
//! cannot be cancelled; nor can a query be, for certain, that another server on the same root may be asked for.

use std::sync::Arc;

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Any, ProstMessageExt};
use arrow_flight::{CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use prost::Message;
use tonic::Status;
use uuid::Uuid;

use crate::engine::Engine;
use crate::status;
use crate::ticket::{self, Redeemed, StatementTicket};

pub(super) const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
pub(super) const CANCEL_FLIGHT_INFO_TEXT: &str =
    "Stops a query, while it is fetched too. Body and result: CancelFlightInfoRequest, -Result.";
pub(super) const CANCEL_QUERY: &str = "CancelQuery";
pub(super) const CANCEL_QUERY_TEXT: &str =
    "The older form of CancelFlightInfo. Body and result: ActionCancelQueryRequest, -Result.";

pub(super) fn flight_info(engine: &Arc<Engine>, body: &[u8]) -> Result<Vec<u8>, Status> {
    let request = CancelFlightInfoRequest::decode(body)
        .map_err(|error| unreadable(CANCEL_FLIGHT_INFO, &error.to_string()))?;
    let info = request.info.unwrap_or_default();
    let status = cancel(engine, &info)?;
    Ok(CancelFlightInfoResult { status: status as i32 }.encode_to_vec())
}

pub(super) fn query(engine: &Arc<Engine>, body: &[u8]) -> Result<Vec<u8>, Status> {
    let request = Any::decode(body)
        .ok()
        .and_then(|any| any.unpack::<ActionCancelQueryRequest>().ok().flatten())
        .ok_or_else(|| unreadable(CANCEL_QUERY, "it is not packed so"))?;
    let info = FlightInfo::decode(&*request.info)
        .map_err(|error| unreadable(CANCEL_QUERY, &error.to_string()))?;
    // The numbers of the two messages are the same.
    let result = cancel(engine, &info)? as i32;
    Ok(ActionCancelQueryResult { result }.as_any().encode_to_vec())
}

fn cancel(engine: &Arc<Engine>, info: &FlightInfo) -> Result<CancelStatus, Status> {
    let mut ids = Vec::new();
    for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
        match ticket::decode(ticket)? {
            Redeemed::Statement(StatementTicket::Query(query)) => {
                ids.extend(Uuid::from_slice(&query.query_id).ok());
            }
            Redeemed::Statement(StatementTicket::Update(_))
            | Redeemed::Command(_)
            | Redeemed::RawSql(_) => return Ok(CancelStatus::NotCancellable),
        }
    }
    if ids.is_empty() {
        return Err(status::invalid(
            "the FlightInfo has no ticket of a query; send the one that GetFlightInfo returned",
        ));
    }
    let was_running = engine.running().cancel(&ids);
    match was_running || !engine.catalog().access().has_rivals() {
        true => Ok(CancelStatus::Cancelled),
        false => Ok(CancelStatus::NotCancellable),
    }
}

fn unreadable(action: &str, why: &str) -> Status {
    status::invalid(format!("the body of action \"{action}\" cannot be read: {why}"))
}
