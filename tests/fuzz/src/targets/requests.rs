//! What clients send beside rows: tickets, descriptors, handles and parameters of prepared statements, headers.

use std::collections::HashMap;

use arrow_flight::FlightDescriptor;
use arrow_flight::sql::{Any, CommandStatementIngest, ProstMessageExt, TableDefinitionOptions};
use bytes::Bytes;
use coverline_proto::flight::AppendCommand;
use flight_server::fuzzing::{
    APPEND_ID_BYTES_MAX, Put, read_min_versions, read_parameters, read_request, rewrite_handle,
    rewrite_ticket,
};
use prost::Message;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::{Outcome, Target, mutate};

/// Tickets are refused, or come back as they went.
pub static TICKET_DECODE: Target = Target {
    name: "ticket_decode",
    read: read_ticket,
    mutate: mutate::bytes,
    inputs: 10_000,
    bytes_max: 4 << 10,
};

/// Descriptors with any command in them are refused, or ask for something that is within bounds.
pub static ANY_COMMAND_DECODE: Target = Target {
    name: "any_command_decode",
    read: read_command,
    mutate: mutate::bytes,
    inputs: 10_000,
    bytes_max: 4 << 10,
};

/// Handles are refused, or come back as they went; parameters are refused, or are rows of as many values as the statement takes.
pub static PREPARED_HANDLE_PARAMS: Target = Target {
    name: "prepared_handle_params",
    read: read_prepared,
    mutate: mutate::bytes,
    inputs: 4_000,
    bytes_max: 16 << 10,
};

/// Append ids come whole from where they were put, or are refused.
pub static APPEND_ID_HEADER: Target = Target {
    name: "append_id_header",
    read: read_append_id,
    mutate: mutate::bytes,
    inputs: 10_000,
    bytes_max: 1 << 10,
};

/// Versions that a caller has heard of are refused, or are some.
pub static MIN_VERSION_HEADER: Target = Target {
    name: "min_version_header",
    read: read_versions,
    mutate: mutate_versions,
    inputs: 10_000,
    bytes_max: 1 << 10,
};

/// The request is wrong, and that is what the client is told.
fn refused(status: &Status, codes: &[Code]) -> Outcome {
    assert!(codes.contains(&status.code()), "{status:?}");
    let message = status.message();
    assert!(!message.is_empty() && message.len() <= 2 << 10, "{status:?}");
    Outcome::Refused
}

fn read_ticket(input: &[u8]) -> Outcome {
    match rewrite_ticket(Bytes::copy_from_slice(input)) {
        // Not found is the ticket of another kind of server.
        Err(status) => {
            refused(&status, &[Code::InvalidArgument, Code::NotFound, Code::ResourceExhausted])
        }
        Ok(None) => Outcome::Taken,
        Ok(Some(written)) => {
            let again = rewrite_ticket(written.clone()).unwrap();
            assert_eq!(again, Some(written));
            Outcome::Taken
        }
    }
}

fn check_put(put: &Put) {
    if let Some(id) = &put.append_id {
        assert!(!id.is_empty() && id.len() <= APPEND_ID_BYTES_MAX, "{id:?}");
    }
}

fn read_command(input: &[u8]) -> Outcome {
    const CODES: [Code; 3] = [Code::InvalidArgument, Code::NotFound, Code::Unimplemented];
    let headers = MetadataMap::new();
    let bare = FlightDescriptor::new_cmd(Bytes::copy_from_slice(input));
    let descriptors = [Some(bare), FlightDescriptor::decode(input).ok()];
    let mut outcome = Outcome::Refused;
    for descriptor in descriptors.into_iter().flatten() {
        match read_request(&descriptor, &headers) {
            Err(status) => drop(refused(&status, &CODES)),
            Ok(asked) => {
                if let Some(put) = &asked {
                    check_put(put);
                }
                // SQL text is everything that is text and no command.
                if asked.is_some() || std::str::from_utf8(input).is_err() {
                    outcome = Outcome::Taken;
                }
            }
        }
    }
    outcome
}

fn read_prepared(input: &[u8]) -> Outcome {
    match rewrite_handle(input) {
        Err(status) => drop(refused(
            &status,
            &[Code::NotFound, Code::InvalidArgument, Code::ResourceExhausted],
        )),
        Ok(written) => {
            assert_eq!(rewrite_handle(&written).unwrap(), written);
            return Outcome::Taken;
        }
    }
    let Some((count, parameters)) = input.split_first() else { return Outcome::Refused };
    match read_parameters(&Bytes::copy_from_slice(parameters), usize::from(*count)) {
        Err(status) => refused(&status, &[Code::InvalidArgument, Code::ResourceExhausted]),
        // A statement without parameters runs once, whatever came.
        Ok(rows) if *count == 0 => {
            assert_eq!(rows, 1);
            Outcome::Refused
        }
        Ok(_) => Outcome::Taken,
    }
}

/// A header with these bytes, which must be those that HTTP allows.
fn headers(name: &'static str, value: &[u8]) -> Option<MetadataMap> {
    let mut headers = MetadataMap::new();
    headers.insert(name, AsciiMetadataValue::try_from(value).ok()?);
    Some(headers)
}

/// The door, then the id.
fn read_append_id(input: &[u8]) -> Outcome {
    let Some((door, id)) = input.split_first() else { return Outcome::Refused };
    let text = std::str::from_utf8(id);
    let (descriptor, headers, expected) = match door % 3 {
        0 => {
            let Some(headers) = headers("x-coverline-append-id", id) else {
                return Outcome::Refused;
            };
            let path = FlightDescriptor::new_path(vec!["t".to_owned()]);
            (path, headers, text.map(str::trim))
        }
        1 => {
            let Ok(id) = text else { return Outcome::Refused };
            let command = AppendCommand {
                table: "t".to_owned(),
                append_id: id.to_owned(),
                ..AppendCommand::default()
            };
            let any = Any {
                type_url: "type.googleapis.com/coverline.flight.v1.AppendCommand".to_owned(),
                value: command.encode_to_vec().into(),
            };
            (FlightDescriptor::new_cmd(any.encode_to_vec()), MetadataMap::new(), text)
        }
        _ => {
            let Ok(id) = text else { return Outcome::Refused };
            let command = CommandStatementIngest {
                table: "t".to_owned(),
                table_definition_options: Some(TableDefinitionOptions {
                    if_not_exist: 2,
                    if_exists: 2,
                }),
                options: HashMap::from([("append_id".to_owned(), id.to_owned())]),
                ..CommandStatementIngest::default()
            };
            let any = command.as_any().encode_to_vec();
            (FlightDescriptor::new_cmd(any), MetadataMap::new(), text)
        }
    };
    match read_request(&descriptor, &headers) {
        Err(status) => refused(&status, &[Code::InvalidArgument]),
        Ok(asked) => {
            let put = asked.expect("an append became something else");
            check_put(&put);
            assert_eq!(put.append_id.as_deref().unwrap_or_default(), expected.unwrap());
            Outcome::Taken
        }
    }
}

fn read_versions(input: &[u8]) -> Outcome {
    let Some(headers) = headers("x-coverline-min-version", input) else { return Outcome::Refused };
    match read_min_versions(&headers) {
        Err(status) => refused(&status, &[Code::InvalidArgument]),
        Ok(()) => Outcome::Taken,
    }
}

fn mutate_versions(random: &mut rand::rngs::StdRng, bytes: &mut Vec<u8>) {
    mutate::words(
        random,
        bytes,
        &["=", ",", "%2C", "%3D", "%ff", "0", "18446744073709551616", "t", " "],
    );
}
