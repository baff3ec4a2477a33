//! Doors for the fuzz targets into what is private to `ingest`. Only with the feature `testing`.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::{FlightData, FlightDescriptor};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::decode::{DecodeLimits, GuardedDecoder};
use super::precheck;
use super::request::PutRequest;
use crate::command::{self, Request};

/// The decoder of a stream, with limits that inputs of some kilobytes can reach.
#[derive(Debug)]
pub struct StreamDecoder {
    decoder: GuardedDecoder,
    limits: DecodeLimits,
}

impl StreamDecoder {
    /// A decoder that allows a batch, and all dictionaries together, so many bytes.
    pub fn new(budget_bytes: u64) -> Self {
        let limits = DecodeLimits {
            buffer_bytes_max: budget_bytes,
            batch_bytes_max: budget_bytes,
            unfolded_bytes_max: budget_bytes,
            dictionary_bytes_max: budget_bytes,
            compression_ratio_floor_bytes: budget_bytes / 4,
            ..DecodeLimits::default()
        };
        Self { decoder: GuardedDecoder::new(limits.clone()), limits }
    }

    /// The schema, once it came.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.decoder.schema()
    }

    /// What is said of the numbers of a record batch before Arrow sees it; `None` for everything else.
    pub fn precheck(&self, message: &FlightData) -> Option<Result<(), String>> {
        let schema = self.decoder.schema()?;
        let header = arrow_ipc::root_as_message(&message.data_header).ok()?;
        let batch = header.header_as_record_batch()?;
        let (version, body) = (header.version(), &message.data_body);
        let checked = precheck::record_batch(&batch, version, schema, body, &self.limits);
        Some(checked.map_err(|error| error.to_string()))
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// As DoPut.
    pub fn push(&mut self, message: FlightData) -> Result<Option<RecordBatch>, String> {
        self.decoder.push(message).map_err(|error| error.to_string())
    }
}

/// What was understood of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The table.
    pub table: String,
    /// What makes a retry harmless.
    pub append_id: Option<String>,
}

/// Reads a descriptor and, when it asks for an append, what the headers say of it.
///
/// # Errors
/// As DoPut.
pub fn read_request(
    descriptor: &FlightDescriptor,
    headers: &MetadataMap,
) -> Result<Option<Put>, Status> {
    match command::parse(descriptor)? {
        Request::Append(target) => {
            let PutRequest { table, append_id, .. } = PutRequest::parse(target, headers)?;
            Ok(Some(Put { table, append_id }))
        }
        Request::Sql(_) | Request::RawSql(_) => Ok(None),
    }
}
