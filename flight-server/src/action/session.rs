//! `SetSessionOptions`, `GetSessionOptions`, `CloseSession`: bare protobuf messages of Flight.proto, which this version of
//! arrow-flight does not have.
//!
//! There is one catalog and one schema, so a session has nothing to remember: setting an option to the only value it can
//! have succeeds, and every session has the same options.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};
use tonic::Status;

use crate::catalog::{CATALOG_NAME, SCHEMA_NAME};
use crate::status;

pub(super) const SET: &str = "SetSessionOptions";
pub(super) const SET_TEXT: &str = "Sets session options; \"catalog\" and \"schema\" are known. Body and result: SetSessionOptionsRequest, -Result.";
pub(super) const GET: &str = "GetSessionOptions";
pub(super) const GET_TEXT: &str =
    "Returns the session options. Body and result: GetSessionOptionsRequest, -Result.";
pub(super) const CLOSE: &str = "CloseSession";
pub(super) const CLOSE_TEXT: &str =
    "Ends a session. Body and result: CloseSessionRequest, CloseSessionResult.";

/// Options in one request.
const OPTIONS_MAX: usize = 1_000;

#[derive(Clone, PartialEq, Message)]
struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    option_value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OptionValue {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    StringList(StringListValue),
}

#[derive(Clone, PartialEq, Message)]
struct StringListValue {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, SetError>,
}

#[derive(Clone, PartialEq, Message)]
struct SetError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    value: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    status: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// The only value of an option, by its name.
const OPTIONS: [(&str, &str); 2] = [("catalog", CATALOG_NAME), ("schema", SCHEMA_NAME)];

pub(super) fn set(body: &[u8]) -> Result<Vec<u8>, Status> {
    let request = SetSessionOptionsRequest::decode(body).map_err(|error| {
        status::invalid(format!("the body is not a SetSessionOptionsRequest: {error}"))
    })?;
    if request.session_options.len() > OPTIONS_MAX {
        return Err(status::invalid(format!(
            "{} options are set at once; at most {OPTIONS_MAX} are allowed",
            request.session_options.len()
        )));
    }
    let errors = request
        .session_options
        .into_iter()
        .filter_map(|(name, value)| {
            let error = check(&name, value.option_value.as_ref())?;
            Some((name, SetError { value: error as i32 }))
        })
        .collect();
    Ok(SetSessionOptionsResult { errors }.encode_to_vec())
}

/// What is wrong with an option. No value at all means "back to the default", which is fine for every option there is.
fn check(name: &str, value: Option<&OptionValue>) -> Option<ErrorValue> {
    let Some((_, only)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
        return Some(ErrorValue::InvalidName);
    };
    match value {
        None => None,
        Some(OptionValue::String(text)) if text == only => None,
        Some(_) => Some(ErrorValue::InvalidValue),
    }
}

pub(super) fn get() -> Vec<u8> {
    let session_options = OPTIONS
        .map(|(name, value)| {
            let option_value = Some(OptionValue::String(value.to_owned()));
            (name.to_owned(), SessionOptionValue { option_value })
        })
        .into();
    GetSessionOptionsResult { session_options }.encode_to_vec()
}

pub(super) fn close() -> Vec<u8> {
    CloseSessionResult { status: CloseStatus::Closed as i32 }.encode_to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn set_one(name: &str, value: Option<OptionValue>) -> Option<i32> {
        let option = SessionOptionValue { option_value: value };
        let request =
            SetSessionOptionsRequest { session_options: [(name.to_owned(), option)].into() };
        let result = set(&request.encode_to_vec()).unwrap();
        let result = SetSessionOptionsResult::decode(&*result).unwrap();
        result.errors.get(name).map(|error| error.value)
    }

    #[test]
    fn options_take_their_only_value() {
        let text = |text: &str| Some(OptionValue::String(text.to_owned()));
        assert_eq!(set_one("catalog", text("coverline")), None);
        assert_eq!(set_one("schema", text("public")), None);
        assert_eq!(set_one("schema", None), None);
        assert_eq!(set_one("catalog", text("other")), Some(2));
        assert_eq!(set_one("schema", Some(OptionValue::Bool(true))), Some(2));
        assert_eq!(set_one("lol_invalid", text("x")), Some(1));
    }

    /// Bytes as protoc's own encoders write them, so that a wrong field number cannot agree with itself.
    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        // {"schema": string_value "public"}
        let set_schema = b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06public";
        assert_eq!(set(set_schema).unwrap(), b"");
        // {"a": string_value "b"} answered by {"a": INVALID_NAME}
        let unknown = b"\x0a\x08\x0a\x01a\x12\x03\x0a\x01b";
        assert_eq!(set(unknown).unwrap(), b"\x0a\x07\x0a\x01a\x12\x02\x08\x01");
        assert_eq!(close(), b"\x08\x01");
        let options = get();
        for expected in [
            &b"\x0a\x16\x0a\x07catalog\x12\x0b\x0a\x09coverline"[..],
            b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06public",
        ] {
            assert!(options.windows(expected.len()).any(|window| window == expected));
        }
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        assert_eq!(set(b"\xff\xff").unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
