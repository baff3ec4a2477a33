//! Rows inside a record, as bytes and back: one encapsulated Arrow IPC record batch message. The only codec for them. Pure.
//!
//! The schema message that opens a stream is left out. It is the table's, which the log holds already, and it would be more
//! bytes than a short append's rows are. Nothing is compressed: a decoder then never has to believe a length.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};
use arrow::ipc::{MetadataVersion, root_as_message};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

/// To how many bytes each buffer is padded: the least that the format allows.
const ALIGNMENT: usize = 8;

/// What opens an encapsulated message; the length of the metadata follows in four bytes.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes before the metadata.
const PREFIX_BYTES: usize = 8;

/// The rows as bytes.
///
/// # Errors
/// When Arrow cannot write a column, which no type of a table allows.
pub fn encode(rows: &RecordBatch) -> Result<Bytes, ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
    let mut dictionaries = DictionaryTracker::new(false);
    let (_, message) = IpcDataGenerator::default().encode(
        rows,
        &mut dictionaries,
        &options,
        &mut Default::default(),
    )?;
    let mut encoded = Vec::new();
    write_message(&mut encoded, message, &options)?;
    Ok(encoded.into())
}

/// Reads rows of this schema back. Their columns share the memory of `encoded`, as far as it is aligned for them.
///
/// # Errors
/// What is wrong with the bytes, for a person.
pub(super) fn decode(encoded: &Buffer, schema: &SchemaRef) -> Result<RecordBatch, String> {
    // The decoder panics on some buffers and lengths that lead out of the message.
    match catch_unwind(AssertUnwindSafe(|| read(encoded, schema))) {
        Ok(read) => read,
        Err(_) => Err("its inline rows describe buffers that cannot exist".to_owned()),
    }
}

fn read(encoded: &Buffer, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let unreadable = |why: String| format!("its inline rows cannot be read: {why}");
    let (prefix, rest) = encoded
        .split_at_checked(PREFIX_BYTES)
        .ok_or_else(|| unreadable(format!("{} bytes are no message", encoded.len())))?;
    let (marker, length) = prefix.split_at(CONTINUATION.len());
    let length = length.try_into().map(u32::from_le_bytes).unwrap_or_default() as usize;
    let metadata = rest.get(..length).filter(|_| marker == CONTINUATION);
    let metadata =
        metadata.ok_or_else(|| unreadable("they do not start as a message does".to_owned()))?;
    let message = root_as_message(metadata).map_err(|error| unreadable(error.to_string()))?;
    let body = encoded.slice(PREFIX_BYTES + length);
    if u64::try_from(message.bodyLength()) != Ok(body.len() as u64) {
        return Err(unreadable(format!(
            "the message says that {} bytes follow, but there are {}",
            message.bodyLength(),
            body.len()
        )));
    }
    let batch = message
        .header_as_record_batch()
        .filter(|batch| batch.compression().is_none())
        .ok_or_else(|| unreadable("the message is no plain record batch".to_owned()))?;
    let (dictionaries, version) = (HashMap::new(), message.version());
    read_record_batch(&body, batch, SchemaRef::clone(schema), &dictionaries, None, &version)
        .map_err(|error| unreadable(error.to_string()))
}
