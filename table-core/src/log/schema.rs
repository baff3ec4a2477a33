//! Specs and schemas as the log stores them: the spec as protobuf, the schema as an Arrow IPC schema message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_flatbuffer_bytes;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use bytes::Bytes;
use coverline_proto::log as proto;

use crate::schema::{IndexSpec, TableSpec};
use crate::types::BucketWidth;

/// The schema as an Arrow IPC schema message.
pub fn encode_schema(schema: &Schema) -> Bytes {
    let mut dictionaries = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut dictionaries,
            &IpcWriteOptions::default(),
        )
        .ipc_message
        .into()
}

/// Reads an Arrow IPC schema message back.
///
/// # Errors
/// What is wrong with the bytes, for a person.
pub fn decode_schema(bytes: &[u8]) -> Result<SchemaRef, String> {
    // The decoder panics on some well-formed messages that describe impossible types.
    match catch_unwind(AssertUnwindSafe(|| try_schema_from_flatbuffer_bytes(bytes))) {
        Ok(Ok(schema)) => Ok(Arc::new(schema)),
        Ok(Err(error)) => Err(format!("the schema cannot be read: {error}")),
        Err(_) => Err("the schema describes a type that cannot exist".to_owned()),
    }
}

/// The spec as the log stores it.
pub fn encode_spec(spec: &TableSpec) -> proto::TableSpec {
    proto::TableSpec {
        index: spec.index.as_ref().map(|index| proto::IndexSpec {
            column: index.column.clone(),
            bucket: index.bucket.to_string(),
            entity_columns: index.entity_columns.clone(),
            time_zone: index.time_zone.clone(),
        }),
    }
}

/// Reads a stored spec back.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn decode_spec(spec: &proto::TableSpec) -> Result<TableSpec, String> {
    let Some(index) = &spec.index else { return Ok(TableSpec::plain()) };
    let spec = TableSpec {
        index: Some(IndexSpec {
            column: index.column.clone(),
            bucket: BucketWidth::parse(&index.bucket).map_err(|error| error.to_string())?,
            entity_columns: index.entity_columns.clone(),
            time_zone: index.time_zone.clone(),
        }),
    };
    spec.validate().map_err(|error| error.to_string())?;
    Ok(spec)
}
