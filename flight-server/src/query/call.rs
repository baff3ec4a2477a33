//! [`CallOptions`]: what a caller says of a query beside its text: the versions it must not fall behind, and the form in which it
//! wants the rows. Read from headers, which every client can set on its connection, and where those say nothing from what the
//! session chose (`session_form`). Pure.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use coverline_proto::flight::{Compression, QueryTicket};
use table_core::schema::{portable_field, portable_schema};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::limits;
use crate::query::min_versions::MinVersions;
use crate::query::session_form::{self, SessionForm};
use crate::status;

/// `lz4` or `zstd`: buffers of the result come compressed. Not every client can read that.
const COMPRESSION: &str = "x-coverline-compression";

/// `true`: columns come in the types that the engine gave them, not in those that every client reads.
const NATIVE_TYPES: &str = "x-coverline-native-types";

/// A number: a query that can be divided has up to so many endpoints, which together are its result.
const ENDPOINTS: &str = "x-coverline-endpoints";

/// What a caller says of one query.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOptions {
    /// The least versions to see.
    pub(crate) at_least: MinVersions,
    /// The form of the rows.
    pub(crate) form: WireForm,
    /// Endpoints to divide the result among; zero and one are the same.
    pub(crate) endpoints: usize,
}

/// The form in which rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WireForm {
    /// How buffers are compressed.
    pub(crate) compression: Option<CompressionType>,
    /// Whether types stay as they are.
    pub(crate) native_types: bool,
}

impl CallOptions {
    /// Reads the headers.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for values that are none.
    pub(crate) fn parse(headers: &MetadataMap) -> Result<Self, Status> {
        let session = SessionForm::of(headers)?;
        let endpoints = match text(headers, ENDPOINTS)? {
            None => session.endpoints,
            Some(text) => {
                text.parse().ok().filter(session_form::is_endpoints).ok_or_else(|| {
                    bad(ENDPOINTS, text, &format!("1 to {}", limits::ENDPOINTS_MAX))
                })?
            }
        };
        let (at_least, form) = (MinVersions::parse(headers)?, WireForm::parse(headers, session)?);
        Ok(Self { at_least, form, endpoints })
    }
}

impl WireForm {
    fn parse(headers: &MetadataMap, session: SessionForm) -> Result<Self, Status> {
        let native_types = match text(headers, NATIVE_TYPES)? {
            None => session.native_types,
            Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => return Err(bad(NATIVE_TYPES, other, "true or false")),
        };
        let compression = compression(headers)?.unwrap_or(session.compression);
        Ok(Self { compression, native_types })
    }

    /// The form that a ticket was made for. What the caller who redeems it says of compression goes before.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a header that makes no sense.
    pub(crate) fn of_ticket(ticket: &QueryTicket, headers: &MetadataMap) -> Result<Self, Status> {
        let announced = match ticket.compression() {
            Compression::None => None,
            Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
            Compression::Zstd => Some(CompressionType::ZSTD),
        };
        let compression = compression(headers)?.unwrap_or(announced);
        Ok(Self { compression, native_types: ticket.native_types })
    }

    /// The compression as a ticket carries it.
    pub(crate) fn wire_compression(self) -> Compression {
        match self.compression {
            Some(CompressionType::LZ4_FRAME) => Compression::Lz4,
            Some(CompressionType::ZSTD) => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// The schema in which rows of `schema` are sent.
    pub(crate) fn schema(self, schema: &Schema) -> SchemaRef {
        if !self.native_types {
            return portable_schema(schema);
        }
        let fields = schema.fields().iter().map(|field| match is_encoded(field.data_type()) {
            true => portable_field(field),
            false => Field::new(field.name(), field.data_type().clone(), field.is_nullable()),
        });
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

/// The schema of several runs that follow one another: what is never NULL in one of them may be in the next.
pub(crate) fn of_runs(sent: SchemaRef, runs: usize) -> SchemaRef {
    if runs < 2 {
        return sent;
    }
    let fields = sent.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

/// Whether there are dictionaries or runs in a type: how a column is encoded is no part of what a caller asks for, and takes messages
/// of their own.
fn is_encoded(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => is_encoded(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_encoded(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| is_encoded(field.data_type())),
        _ => false,
    }
}

/// What a caller says of compression; `None` when it says nothing.
fn compression(headers: &MetadataMap) -> Result<Option<Option<CompressionType>>, Status> {
    let Some(word) = text(headers, COMPRESSION)? else { return Ok(None) };
    let asked = session_form::compression(word);
    asked.map(Some).ok_or_else(|| bad(COMPRESSION, word, "lz4, zstd or none"))
}

/// The value of a header; one that is empty says nothing.
fn text<'a>(headers: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Status> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| bad(name, "bytes", "ASCII text"))?.trim();
    Ok((!text.is_empty()).then_some(text))
}

fn bad(header: &str, value: &str, advice: &str) -> Status {
    status::invalid(format!("header \"{header}\" has the value {value:?}; write {advice}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use tonic::Code;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut map = MetadataMap::new();
        for (name, value) in pairs {
            map.insert(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_form_is_asked_for_in_words_and_kept_by_the_ticket() {
        let form = |pairs: &[(&'static str, &str)]| {
            WireForm::parse(&headers(pairs), SessionForm::default()).unwrap()
        };
        assert_eq!(form(&[]), WireForm::default());
        assert_eq!(form(&[(COMPRESSION, ""), (NATIVE_TYPES, "false")]), WireForm::default());
        let asked = form(&[(COMPRESSION, "zstd"), (NATIVE_TYPES, "true")]);
        assert!(asked.native_types);
        let ticket = QueryTicket {
            native_types: asked.native_types,
            compression: asked.wire_compression() as i32,
            ..QueryTicket::default()
        };
        let redeemed = |pairs| WireForm::of_ticket(&ticket, &headers(pairs)).unwrap();
        assert_eq!(redeemed(&[]), asked);
        // Types were announced; compression nobody has to know of.
        assert_eq!(redeemed(&[(COMPRESSION, "none")]), WireForm { compression: None, ..asked });
        for wrong in [(COMPRESSION, "gzip"), (NATIVE_TYPES, "yes please")] {
            let refused = WireForm::parse(&headers(&[wrong]), SessionForm::default()).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn what_a_call_says_goes_before_what_its_session_chose() {
        let cookie = ("cookie", "coverline_form=zstd.native.4");
        let parse = |pairs: &[(&'static str, &str)]| CallOptions::parse(&headers(pairs)).unwrap();
        let chosen = parse(&[cookie]);
        assert_eq!(
            (chosen.form.compression, chosen.form.native_types, chosen.endpoints),
            (Some(CompressionType::ZSTD), true, 4)
        );
        let said =
            parse(&[cookie, (COMPRESSION, "none"), (NATIVE_TYPES, "false"), (ENDPOINTS, "1")]);
        assert_eq!((said.form, said.endpoints), (WireForm::default(), 1));
        let silent = parse(&[]);
        assert_eq!((silent.form, silent.endpoints), (WireForm::default(), 1));
    }

    #[test]
    fn native_types_are_all_but_encodings() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let schema = Schema::new(vec![
            Field::new("view", DataType::Utf8View, true),
            Field::new("large", DataType::LargeUtf8, false),
            Field::new("half", DataType::Float16, true),
            Field::new("coded", dictionary.clone(), true),
            Field::new_list("codes", Field::new("item", dictionary, true), true),
        ]);
        let native = WireForm { native_types: true, ..WireForm::default() }.schema(&schema);
        for column in 0..3 {
            assert_eq!(native.field(column), schema.field(column));
        }
        assert_eq!(native.field(3).data_type(), &DataType::Utf8);
        assert!(!is_encoded(native.field(4).data_type()));
        assert_eq!(WireForm::default().schema(&schema), portable_schema(&schema));
    }
}
