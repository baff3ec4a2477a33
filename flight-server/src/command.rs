//! Bytes to typed requests: Flight descriptors, Flight SQL commands, our append command. Pure.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command, CommandStatementIngest};
use coverline_proto::flight::AppendCommand;
use prost::Message;
use tonic::Status;

use crate::{catalog, status};

/// What every packed message's type URL starts with.
pub(crate) const TYPE_URL_PREFIX: &str = "type.googleapis.com/";
/// Type URL of our append command.
pub(crate) const APPEND_COMMAND_TYPE_URL: &str =
    "type.googleapis.com/coverline.flight.v1.AppendCommand";

/// Where a DoPut appends to, by the door it came through.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AppendTarget {
    /// Flight SQL's bulk ingestion.
    Ingest(CommandStatementIngest),
    /// Plain Flight: descriptor path `["table"]`, or with schema, or with catalog and schema before it.
    Path(String),
    /// Our own command.
    Command(AppendCommand),
}

/// What a descriptor asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// A Flight SQL command other than an ingestion.
    Sql(Command),
    /// SQL text without any packing, as simple clients send it.
    RawSql(String),
    /// An append; in GetFlightInfo a PATH means the whole table.
    Append(AppendTarget),
}

/// Reads a descriptor.
///
/// # Errors
/// INVALID_ARGUMENT when it is neither a path of one to three names, nor a packed command, nor SQL text; NOT_FOUND for a path
/// in another catalog or schema.
pub(crate) fn parse(descriptor: &FlightDescriptor) -> Result<Request, Status> {
    match DescriptorType::try_from(descriptor.r#type) {
        Ok(DescriptorType::Path) => {
            let (catalog, schema, table) = match descriptor.path.as_slice() {
                [table] => (None, None, table),
                [schema, table] => (None, Some(schema), table),
                [catalog, schema, table] => (Some(catalog), Some(schema), table),
                path => {
                    return Err(status::invalid(format!(
                        "a path descriptor must name one table, but it has {} parts; use [\"table\"]",
                        path.len()
                    )));
                }
            };
            catalog::check_location(catalog.map(String::as_str), schema.map(String::as_str))?;
            Ok(Request::Append(AppendTarget::Path(table.clone())))
        }
        _ if descriptor.cmd.is_empty() => Err(status::invalid(
            "the descriptor is empty; send a Flight SQL command, SQL text, or a path with one table name",
        )),
        _ => parse_command(&descriptor.cmd),
    }
}

fn parse_command(bytes: &[u8]) -> Result<Request, Status> {
    match Any::decode(bytes) {
        Ok(any) if any.type_url.starts_with(TYPE_URL_PREFIX) => parse_any(any),
        _ => match std::str::from_utf8(bytes) {
            Ok(sql) => Ok(Request::RawSql(sql.to_owned())),
            Err(_) => Err(status::invalid(
                "the command is neither a packed Flight SQL message nor SQL text in UTF-8",
            )),
        },
    }
}

fn parse_any(any: Any) -> Result<Request, Status> {
    if any.type_url == APPEND_COMMAND_TYPE_URL {
        return AppendCommand::decode(&*any.value)
            .map(|command| Request::Append(AppendTarget::Command(command)))
            .map_err(|error| status::invalid(format!("the append command is damaged: {error}")));
    }
    let type_url = any.type_url.clone();
    let command = Command::try_from(any).map_err(|error| {
        status::invalid(format!("the command \"{type_url}\" is damaged: {error}"))
    })?;
    Ok(match command {
        Command::CommandStatementIngest(command) => Request::Append(AppendTarget::Ingest(command)),
        command => Request::Sql(command),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};

    use super::*;

    #[test]
    fn packed_raw_and_path_descriptors_are_told_apart() {
        let packed =
            CommandStatementQuery { query: "SELECT 1".into(), transaction_id: None }.as_any();
        let descriptor = FlightDescriptor::new_cmd(packed.encode_to_vec());
        assert!(matches!(
            parse(&descriptor).unwrap(),
            Request::Sql(Command::CommandStatementQuery(_))
        ));
        for sql in ["SELECT 1", "select * from t", "\n WITH x AS (SELECT 1) TABLE x", "é"] {
            assert_eq!(
                parse(&FlightDescriptor::new_cmd(sql)).unwrap(),
                Request::RawSql(sql.to_owned())
            );
        }
        for path in [vec!["t"], vec!["public", "t"], vec!["coverline", "public", "t"]] {
            let path = path.into_iter().map(str::to_owned).collect();
            assert_eq!(
                parse(&FlightDescriptor::new_path(path)).unwrap(),
                Request::Append(AppendTarget::Path("t".into()))
            );
        }
        let append = AppendCommand { table: "t".into(), ..Default::default() };
        let any =
            Any { type_url: APPEND_COMMAND_TYPE_URL.into(), value: append.encode_to_vec().into() };
        assert_eq!(
            parse(&FlightDescriptor::new_cmd(any.encode_to_vec())).unwrap(),
            Request::Append(AppendTarget::Command(append))
        );
    }

    #[test]
    fn a_path_into_another_schema_is_not_found() {
        for path in [vec!["main", "t"], vec!["other", "public", "t"]] {
            let path = path.into_iter().map(str::to_owned).collect();
            let error = parse(&FlightDescriptor::new_path(path)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::NotFound);
        }
    }

    #[test]
    fn a_descriptor_that_says_nothing_is_refused() {
        for descriptor in [
            FlightDescriptor::new_cmd(Vec::<u8>::new()),
            FlightDescriptor::new_cmd(vec![0xff, 0xfe]),
            FlightDescriptor::new_path(vec![]),
            FlightDescriptor::new_path(vec!["a".into(); 4]),
        ] {
            let error = parse(&descriptor).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{descriptor:?}");
        }
    }
}
