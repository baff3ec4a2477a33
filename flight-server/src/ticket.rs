//! Tickets: self-contained bytes that any server on the root can redeem. Pure.
//!
//! A ticket is a packed Flight SQL `TicketStatementQuery` whose handle is one of our own packed messages. It carries no
//! authority: the SQL inside goes through the same gate as any other when the ticket is redeemed.

use arrow_flight::Ticket;
use arrow_flight::sql::{Any, Command, ProstMessageExt, TicketStatementQuery};
use coverline_proto::flight::{QueryTicket, UpdateTicket};
use prost::Message;
use tonic::Status;

use crate::status;

const QUERY_TYPE_URL: &str = "type.googleapis.com/coverline.flight.v1.QueryTicket";
const UPDATE_TYPE_URL: &str = "type.googleapis.com/coverline.flight.v1.UpdateTicket";

/// What a ticket redeems.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatementTicket {
    /// Run this query at these versions.
    Query(QueryTicket),
    /// Report what a statement did when its FlightInfo was asked for.
    Update(UpdateTicket),
}

/// What a DoGet asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Redeemed {
    /// A ticket of ours.
    Statement(StatementTicket),
    /// A Flight SQL command used as its own ticket, as metadata commands are.
    Command(Command),
    /// The whole table, from a client that writes plain names or SQL into tickets.
    RawSql(String),
}

/// Encodes a ticket.
pub(crate) fn encode(ticket: &StatementTicket) -> Ticket {
    let (type_url, value) = match ticket {
        StatementTicket::Query(query) => (QUERY_TYPE_URL, query.encode_to_vec()),
        StatementTicket::Update(update) => (UPDATE_TYPE_URL, update.encode_to_vec()),
    };
    let handle = Any { type_url: type_url.to_owned(), value: value.into() }.encode_to_vec();
    let command = TicketStatementQuery { statement_handle: handle.into() };
    Ticket::new(command.as_any().encode_to_vec())
}

/// Reads a ticket.
///
/// # Errors
/// NOT_FOUND for the ticket of another kind of server; INVALID_ARGUMENT when the bytes are no ticket at all.
pub(crate) fn decode(ticket: &Ticket) -> Result<Redeemed, Status> {
    let any = match Any::decode(&*ticket.ticket) {
        Ok(any) if any.type_url.starts_with(crate::command::TYPE_URL_PREFIX) => any,
        _ => return raw(&ticket.ticket),
    };
    match Command::try_from(any) {
        Ok(Command::TicketStatementQuery(command)) => {
            statement(&command.statement_handle).map(Redeemed::Statement)
        }
        Ok(command) => Ok(Redeemed::Command(command)),
        Err(_) => Err(damaged()),
    }
}

fn statement(handle: &[u8]) -> Result<StatementTicket, Status> {
    let Ok(any) = Any::decode(handle) else { return Err(foreign()) };
    let ticket = match any.type_url.as_str() {
        QUERY_TYPE_URL => QueryTicket::decode(&*any.value).map(StatementTicket::Query),
        UPDATE_TYPE_URL => UpdateTicket::decode(&*any.value).map(StatementTicket::Update),
        _ => return Err(foreign()),
    };
    ticket.map_err(|_| damaged())
}

fn raw(bytes: &[u8]) -> Result<Redeemed, Status> {
    match std::str::from_utf8(bytes) {
        // Damaged messages are often valid UTF-8, but hold control characters that no SQL has.
        Ok(sql)
            if !sql.trim().is_empty()
                && !sql.chars().any(|c| c.is_control() && !c.is_whitespace()) =>
        {
            Ok(Redeemed::RawSql(sql.to_owned()))
        }
        _ => Err(damaged()),
    }
}

fn foreign() -> Status {
    status::not_found("the ticket was made by another server; ask this one with GetFlightInfo")
}

fn damaged() -> Status {
    status::invalid("the ticket was not made by this server; ask for a new one with GetFlightInfo")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use coverline_proto::flight::{IndexRange, TablePin};

    use super::*;

    #[test]
    fn tickets_come_back_as_they_went() {
        let query = StatementTicket::Query(QueryTicket {
            sql: "SELECT * FROM prices".into(),
            substrait: Vec::new().into(),
            pins: vec![TablePin {
                table_id: vec![7; 16].into(),
                name: "prices".into(),
                version: 41,
                past_name: "prices/version=41".into(),
            }],
            parameters: vec![1, 2, 3].into(),
            query_id: vec![8; 16].into(),
            native_types: true,
            compression: 2,
            part: Some(IndexRange { from: None, to: Some(-3) }),
        });
        let update = StatementTicket::Update(UpdateTicket { record_count: 5 });
        for ticket in [query, update] {
            assert_eq!(decode(&encode(&ticket)).unwrap(), Redeemed::Statement(ticket));
        }
    }

    #[test]
    fn foreign_bytes_are_refused_without_a_panic() {
        for bytes in [vec![], vec![0xff], b"  ".to_vec(), vec![0x0a, 0x05, 0x01]] {
            let ticket = Ticket::new(bytes.clone());
            assert_eq!(
                decode(&ticket).unwrap_err().code(),
                tonic::Code::InvalidArgument,
                "{bytes:?}"
            );
        }
        let unknown = Any { type_url: "type.googleapis.com/x.Y".into(), value: Vec::new().into() };
        let ours = Any { type_url: QUERY_TYPE_URL.into(), value: vec![0xff].into() };
        for (handle, code) in [
            (b"SELECT 1".to_vec(), tonic::Code::NotFound),
            (unknown.encode_to_vec(), tonic::Code::NotFound),
            (ours.encode_to_vec(), tonic::Code::InvalidArgument),
        ] {
            let packed = TicketStatementQuery { statement_handle: handle.into() };
            let ticket = Ticket::new(packed.as_any().encode_to_vec());
            assert_eq!(decode(&ticket).unwrap_err().code(), code);
        }
    }
}
