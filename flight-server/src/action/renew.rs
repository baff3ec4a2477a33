//! `RenewFlightEndpoint`: an endpoint that stays redeemable. Tickets do not expire by themselves, so one that can still be redeemed is
//! returned as it is; one whose table or version is gone is refused, as DoGet would refuse it.

use std::sync::Arc;

use arrow_flight::RenewFlightEndpointRequest;
use prost::Message;
use tonic::Status;

use crate::engine::Engine;
use crate::query::pins::Pins;
use crate::status;
use crate::ticket::{self, Redeemed, StatementTicket};

pub(super) const NAME: &str = "RenewFlightEndpoint";
pub(super) const TEXT: &str = "Returns an endpoint that can be redeemed from now on, or says that there is none. Body: RenewFlightEndpointRequest. Result: FlightEndpoint.";

pub(super) async fn run(engine: &Arc<Engine>, body: &[u8]) -> Result<Vec<u8>, Status> {
    let request = RenewFlightEndpointRequest::decode(body).map_err(|error| {
        status::invalid(format!("the body is not a RenewFlightEndpointRequest: {error}"))
    })?;
    let endpoint = request.endpoint.unwrap_or_default();
    let Some(ticket) = &endpoint.ticket else {
        return Err(status::invalid(
            "the endpoint has no ticket; send one that GetFlightInfo returned",
        ));
    };
    if let Redeemed::Statement(StatementTicket::Query(query)) = ticket::decode(ticket)? {
        Pins::restore(engine.catalog(), &query.pins).await?;
    }
    Ok(endpoint.encode_to_vec())
}
