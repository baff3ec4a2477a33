//! `CancelFlightInfo` and the older `CancelQuery`: answered truthfully, which is that there is nothing to cancel.
//!
//! A query runs inside the DoGet that reads it, and cancelling that call stops it. Before DoGet nothing runs, and the server
//! keeps nothing that these actions could find.

use arrow_flight::sql::{ActionCancelQueryResult, ProstMessageExt};
use prost::Message;

pub(super) const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
pub(super) const CANCEL_FLIGHT_INFO_TEXT: &str = "Answers that a query is cancelled by cancelling its DoGet. Body and result: CancelFlightInfoRequest, -Result.";
pub(super) const CANCEL_QUERY: &str = "CancelQuery";
pub(super) const CANCEL_QUERY_TEXT: &str = "Answers that a query is cancelled by cancelling its DoGet. Body and result: ActionCancelQueryRequest, -Result.";

/// "The query is not cancellable", the same number in both messages.
const NOT_CANCELLABLE: i32 = 3;

/// `CancelFlightInfoResult` of Flight.proto, which this version of arrow-flight does not have.
#[derive(Clone, PartialEq, Message)]
struct CancelFlightInfoResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) fn flight_info() -> Vec<u8> {
    CancelFlightInfoResult { status: NOT_CANCELLABLE }.encode_to_vec()
}

pub(super) fn query() -> Vec<u8> {
    ActionCancelQueryResult { result: NOT_CANCELLABLE }.as_any().encode_to_vec()
}
