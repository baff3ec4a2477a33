//! `SetSessionOptions`, `GetSessionOptions`, `CloseSession`: bare protobuf messages of Flight.proto, which this version of
//! arrow-flight does not have.
//!
//! There is one catalog and one schema: setting these to the only value that they can have succeeds. The form of results is the
//! session's own; the client keeps it, in a cookie (`query::session_form`).

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::catalog::{CATALOG_NAME, SCHEMA_NAME};
use crate::query::session_form::{self, SessionForm};
use crate::status;

pub(super) const SET: &str = "SetSessionOptions";
pub(super) const SET_TEXT: &str = "Sets session options: \"catalog\", \"schema\", \"compression\", \"native_types\", \"endpoints\". Body and result: SetSessionOptionsRequest, -Result.";
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

/// The options that have one value, by their names.
const FIXED: [(&str, &str); 2] = [("catalog", CATALOG_NAME), ("schema", SCHEMA_NAME)];

/// The options that choose a form.
const COMPRESSION: &str = "compression";
const NATIVE_TYPES: &str = "native_types";
const ENDPOINTS: &str = "endpoints";

/// The answer of a call, and the cookie that goes with it.
pub(super) struct Answered {
    pub(super) body: Vec<u8>,
    pub(super) chosen: Option<SessionForm>,
}

pub(super) fn set(body: &[u8], headers: &MetadataMap) -> Result<Answered, Status> {
    let request = SetSessionOptionsRequest::decode(body).map_err(|error| {
        status::invalid(format!("the body is not a SetSessionOptionsRequest: {error}"))
    })?;
    if request.session_options.len() > OPTIONS_MAX {
        return Err(status::invalid(format!(
            "{} options are set at once; at most {OPTIONS_MAX} are allowed",
            request.session_options.len()
        )));
    }
    let before = SessionForm::of(headers)?;
    let mut form = before;
    let mut errors = HashMap::new();
    for (name, value) in request.session_options {
        if let Err(error) = set_one(&mut form, &name, value.option_value.as_ref()) {
            errors.insert(name, SetError { value: error as i32 });
        }
    }
    let body = SetSessionOptionsResult { errors }.encode_to_vec();
    Ok(Answered { body, chosen: (form != before).then_some(form) })
}

/// Sets one option. No value at all means "back to the default".
fn set_one(
    form: &mut SessionForm,
    name: &str,
    value: Option<&OptionValue>,
) -> Result<(), ErrorValue> {
    use OptionValue::{Bool, Int64, String as Text};
    let default = SessionForm::default();
    match (name, value) {
        (COMPRESSION, None) => form.compression = default.compression,
        (COMPRESSION, Some(Text(word))) => {
            form.compression = session_form::compression(word).ok_or(ErrorValue::InvalidValue)?;
        }
        (NATIVE_TYPES, None) => form.native_types = default.native_types,
        (NATIVE_TYPES, Some(Bool(native))) => form.native_types = *native,
        (NATIVE_TYPES, Some(Text(word))) => {
            form.native_types = word.parse().map_err(|_| ErrorValue::InvalidValue)?;
        }
        (ENDPOINTS, None) => form.endpoints = default.endpoints,
        (ENDPOINTS, Some(value @ (Int64(_) | Text(_)))) => {
            let count = match value {
                Int64(count) => usize::try_from(*count).ok(),
                Text(text) => text.parse().ok(),
                _ => None,
            };
            let count = count.filter(session_form::is_endpoints);
            form.endpoints = count.ok_or(ErrorValue::InvalidValue)?;
        }
        (COMPRESSION | NATIVE_TYPES | ENDPOINTS, Some(_)) => return Err(ErrorValue::InvalidValue),
        (name, value) => {
            let known = FIXED.iter().find(|(known, _)| *known == name);
            let (_, only) = known.ok_or(ErrorValue::InvalidName)?;
            match value {
                None => {}
                Some(Text(text)) if text == only => {}
                Some(_) => return Err(ErrorValue::InvalidValue),
            }
        }
    }
    Ok(())
}

pub(super) fn get(headers: &MetadataMap) -> Result<Vec<u8>, Status> {
    let form = SessionForm::of(headers)?;
    let compression = session_form::compression_word(form.compression);
    let endpoints = i64::try_from(form.endpoints).unwrap_or(i64::MAX);
    let text = |text: &str| OptionValue::String(text.to_owned());
    let options = FIXED.map(|(name, value)| (name, text(value))).into_iter().chain([
        (COMPRESSION, text(compression)),
        (NATIVE_TYPES, OptionValue::Bool(form.native_types)),
        (ENDPOINTS, OptionValue::Int64(endpoints)),
    ]);
    let options = options
        .map(|(name, value)| (name.to_owned(), SessionOptionValue { option_value: Some(value) }));
    Ok(GetSessionOptionsResult { session_options: options.collect() }.encode_to_vec())
}

pub(super) fn close(headers: &MetadataMap) -> Answered {
    let body = CloseSessionResult { status: CloseStatus::Closed as i32 }.encode_to_vec();
    // One that makes no sense goes as well.
    let chosen = SessionForm::of(headers).map_or(true, |form| form != SessionForm::default());
    Answered { body, chosen: chosen.then(SessionForm::default) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn set_one(name: &str, value: Option<OptionValue>) -> Option<i32> {
        let option = SessionOptionValue { option_value: value };
        let request =
            SetSessionOptionsRequest { session_options: [(name.to_owned(), option)].into() };
        let result = set(&request.encode_to_vec(), &MetadataMap::new()).unwrap();
        let result = SetSessionOptionsResult::decode(&*result.body).unwrap();
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

    #[test]
    fn a_form_is_taken_in_words_and_in_types_of_its_own() {
        let text = |text: &str| Some(OptionValue::String(text.to_owned()));
        for (name, value) in [
            ("compression", text("zstd")),
            ("compression", None),
            ("native_types", text("true")),
            ("native_types", Some(OptionValue::Bool(false))),
            ("endpoints", text("64")),
            ("endpoints", Some(OptionValue::Int64(1))),
        ] {
            assert_eq!(set_one(name, value.clone()), None, "{name} {value:?}");
        }
        for (name, value) in [
            ("compression", text("gzip")),
            ("compression", Some(OptionValue::Bool(true))),
            ("native_types", text("perhaps")),
            ("native_types", Some(OptionValue::Int64(1))),
            ("endpoints", text("65")),
            ("endpoints", Some(OptionValue::Int64(0))),
            ("endpoints", Some(OptionValue::Int64(-1))),
            ("endpoints", Some(OptionValue::Double(2.0))),
        ] {
            assert_eq!(set_one(name, value.clone()), Some(2), "{name} {value:?}");
        }
    }

    /// Bytes as protoc's own encoders write them, so that a wrong field number cannot agree with itself.
    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        // {"schema": string_value "public"}
        let set_schema = b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06public";
        assert_eq!(set(set_schema, &MetadataMap::new()).unwrap().body, b"");
        // {"a": string_value "b"} answered by {"a": INVALID_NAME}
        let unknown = b"\x0a\x08\x0a\x01a\x12\x03\x0a\x01b";
        assert_eq!(
            set(unknown, &MetadataMap::new()).unwrap().body,
            b"\x0a\x07\x0a\x01a\x12\x02\x08\x01"
        );
        assert_eq!(close(&MetadataMap::new()).body, b"\x08\x01");
        let options = get(&MetadataMap::new()).unwrap();
        for expected in [
            &b"\x0a\x16\x0a\x07catalog\x12\x0b\x0a\x09coverline"[..],
            b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06public",
        ] {
            assert!(options.windows(expected.len()).any(|window| window == expected));
        }
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        let refused = set(b"\xff\xff", &MetadataMap::new()).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
