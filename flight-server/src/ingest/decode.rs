//! [`GuardedDecoder`]: FlightData messages to record batches, for bytes that nobody vouches for.
//!
//! Pure: it knows streams of messages, not tables. Four guards stand around Arrow's reader: the numbers of a message are
//! checked first (`precheck`), the reader runs behind `catch_unwind`, its own validation stays on for every array (lengths,
//! offsets, UTF-8, dictionary keys), and what a batch would unfold to is bounded (`weight`) before anybody casts it.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Once};

use arrow::array::{Array, ArrayRef};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use arrow_ipc::MessageHeader;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use bytes::Bytes;

use super::{precheck, weight};

/// Arrow's reader uses buffers as they are when they start at a multiple of this, and copies them one by one otherwise.
const ALIGNMENT_BYTES: usize = 64;

/// Most characters of Arrow's own text that go into an error.
const REASON_CHARS_MAX: usize = 300;

/// What a stream of messages may ask for. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// Rows of one batch.
    pub(crate) rows_max: u64,
    /// Values of one nested column of one batch.
    pub(crate) node_length_max: u64,
    /// Top-level columns.
    pub(crate) columns_max: usize,
    /// Fields, nested ones included.
    pub(crate) fields_max: usize,
    /// Levels of nesting.
    pub(crate) depth_max: usize,
    /// All names of a schema together.
    pub(crate) names_bytes_max: usize,
    /// All metadata of a schema together, but for what pandas adds.
    pub(crate) metadata_bytes_max: usize,
    /// One buffer once decompressed.
    pub(crate) buffer_bytes_max: u64,
    /// All buffers of one batch once decompressed.
    pub(crate) batch_bytes_max: u64,
    /// One batch with dictionaries, runs and views unfolded.
    pub(crate) unfolded_bytes_max: u64,
    /// All dictionaries of a stream.
    pub(crate) dictionary_bytes_max: u64,
    /// How far a buffer may decompress, times its size.
    pub(crate) compression_ratio_max: u64,
    /// Buffers that decompress to no more than this are not held to the ratio.
    pub(crate) compression_ratio_floor_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            rows_max: 1 << 24,
            node_length_max: 1 << 31,
            columns_max: 1024,
            fields_max: 8192,
            depth_max: 16,
            names_bytes_max: 1 << 20,
            metadata_bytes_max: 64 << 10,
            buffer_bytes_max: 256 << 20,
            batch_bytes_max: 512 << 20,
            unfolded_bytes_max: 1 << 30,
            dictionary_bytes_max: 256 << 20,
            compression_ratio_max: 1000,
            compression_ratio_floor_bytes: 32 << 20,
        }
    }
}

/// Why a message is refused. The stream is of no more use then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes are not what they claim to be.
    #[error("malformed Arrow data: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// A message at the wrong place.
    #[error("unexpected Arrow message: {what}")]
    Order {
        /// What came, and what should have.
        what: String,
    },
    /// The schema is larger than allowed.
    #[error("{what}")]
    Schema {
        /// Which bound, and its value.
        what: String,
    },
    /// The data would take more memory than allowed.
    #[error("{what}")]
    Limit {
        /// Which bound, and its value.
        what: String,
    },
}

impl DecodeError {
    /// What a caller can do about it.
    pub(crate) fn kind(&self) -> table_core::ErrorKind {
        match self {
            Self::Malformed { .. } | Self::Order { .. } | Self::Schema { .. } => {
                table_core::ErrorKind::Invalid
            }
            Self::Limit { .. } => table_core::ErrorKind::Exhausted,
        }
    }
}

impl From<DecodeError> for table_core::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Decodes one stream of messages. After an error it returns that error for every further message.
pub(crate) struct GuardedDecoder {
    limits: DecodeLimits,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    failed: Option<DecodeError>,
}

impl fmt::Debug for GuardedDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedDecoder")
            .field("schema", &self.schema)
            .field("dictionaries", &self.dictionaries.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl GuardedDecoder {
    /// A decoder at the start of a stream.
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        Self { limits, schema: None, dictionaries: HashMap::new(), failed: None }
    }

    /// The schema, once it came, with every column nullable.
    pub(crate) fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// Takes the next message. Only a record batch gives one back; messages without an Arrow header mean nothing here.
    ///
    /// # Errors
    /// See [`DecodeError`]; the same one again after the first.
    pub(crate) fn push(&mut self, message: FlightData) -> Result<Option<RecordBatch>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.decode(&message.data_header, message.data_body);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn decode(&mut self, header: &[u8], body: Bytes) -> Result<Option<RecordBatch>> {
        if header.is_empty() {
            return Ok(None);
        }
        let message = guarded(|| arrow_ipc::root_as_message(header))?;
        precheck::version(message.version())?;
        let body_length = precheck::length(message.bodyLength(), "body length")?;
        if body_length > body.len() as u64 {
            return malformed(format!(
                "a message claims a body of {body_length} bytes and has {}",
                body.len()
            ));
        }
        match message.header_type() {
            MessageHeader::NONE => Ok(None),
            MessageHeader::Schema => {
                let Some(schema) = message.header_as_schema() else {
                    return malformed("a schema message holds no schema");
                };
                self.take_schema(schema)?;
                Ok(None)
            }
            MessageHeader::DictionaryBatch => {
                let Some(batch) = message.header_as_dictionary_batch() else {
                    return malformed("a dictionary message holds no dictionary");
                };
                self.take_dictionary(batch, message.version(), &body)?;
                Ok(None)
            }
            MessageHeader::RecordBatch => {
                let Some(batch) = message.header_as_record_batch() else {
                    return malformed("a record batch message holds no record batch");
                };
                self.take_batch(batch, message.version(), &body).map(Some)
            }
            MessageHeader::Tensor | MessageHeader::SparseTensor => {
                order("tensors are not supported; send record batches")
            }
            other => malformed(format!("message type {} is not known", other.0)),
        }
    }

    fn take_schema(&mut self, schema: arrow_ipc::Schema<'_>) -> Result<()> {
        if self.schema.is_some() {
            return order("a second schema came; one stream has one schema");
        }
        precheck::schema(&schema, &self.limits)?;
        let schema = guarded(|| Ok::<_, ArrowError>(relaxed(&fb_to_schema(schema))))?;
        self.schema = Some(Arc::new(schema));
        Ok(())
    }

    fn take_dictionary(
        &mut self,
        batch: arrow_ipc::DictionaryBatch<'_>,
        version: arrow_ipc::MetadataVersion,
        body: &Bytes,
    ) -> Result<()> {
        let Some(schema) = &self.schema else {
            return order("a dictionary came before the schema");
        };
        let Some(data) = batch.data() else {
            return malformed("a dictionary message holds no values");
        };
        let values = dictionary_values(schema, batch.id())?;
        precheck::record_batch(&data, version, &values, body, &self.limits)?;
        let body = aligned(body);
        let dictionaries = &mut self.dictionaries;
        guarded(|| read_dictionary(&body, batch, schema, dictionaries, &version))?;

        let bytes = self
            .dictionaries
            .values()
            .map(|values| values.get_array_memory_size() as u64)
            .sum::<u64>();
        if bytes > self.limits.dictionary_bytes_max {
            return Err(DecodeError::Limit {
                what: format!(
                    "the dictionaries of the stream take {bytes} bytes; at most {} are allowed, send plain values",
                    self.limits.dictionary_bytes_max
                ),
            });
        }
        Ok(())
    }

    fn take_batch(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        version: arrow_ipc::MetadataVersion,
        body: &Bytes,
    ) -> Result<RecordBatch> {
        let Some(schema) = &self.schema else {
            return order("a record batch came before the schema");
        };
        precheck::record_batch(&batch, version, schema, body, &self.limits)?;
        let body = aligned(body);
        let schema = Arc::clone(schema);
        let batch = guarded(|| {
            read_record_batch(&body, batch, schema, &self.dictionaries, None, &version)
        })?;
        let bytes = guarded(|| Ok::<_, ArrowError>(weight::batch_bytes(&batch)))?;
        if bytes > self.limits.unfolded_bytes_max {
            return Err(DecodeError::Limit {
                what: format!(
                    "the batch unfolds to {bytes} bytes; at most {} are allowed, send smaller batches",
                    self.limits.unfolded_bytes_max
                ),
            });
        }
        Ok(batch)
    }
}

/// The schema in an encapsulated IPC message, as files, FlightInfo and `pyarrow.Schema.serialize` carry it.
///
/// # Errors
/// See [`DecodeError`].
pub(crate) fn schema_from_ipc(bytes: &[u8]) -> Result<SchemaRef> {
    /// What stands before the length since the format's version 0.15.
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let bytes = bytes.strip_prefix(&CONTINUATION).unwrap_or(bytes);
    let Some((length, header)) = bytes.split_first_chunk::<4>() else {
        return malformed("the schema is too short for its length");
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).ok();
    let Some(header) = length.and_then(|length| header.get(..length)) else {
        return malformed("the schema is shorter than it claims");
    };
    let data_header = Bytes::copy_from_slice(header);
    let mut decoder = GuardedDecoder::new(DecodeLimits::default());
    decoder.push(FlightData { data_header, ..FlightData::default() })?;
    match decoder.schema {
        Some(schema) => Ok(schema),
        None => malformed("the message holds no schema"),
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T> {
    Err(DecodeError::Malformed { what: what.into() })
}

fn order<T>(what: impl Into<String>) -> Result<T> {
    Err(DecodeError::Order { what: what.into() })
}

/// A schema of one column: the values that the dictionary holds.
fn dictionary_values(schema: &Schema, id: i64) -> Result<Schema> {
    #[allow(
        deprecated,
        reason = "the only way to find a dictionary's type in this version of Arrow"
    )]
    let fields = guarded(|| Ok::<_, ArrowError>(schema.fields_with_dict_id(id)))?;
    match fields.first().map(|field| field.data_type()) {
        Some(DataType::Dictionary(_, values)) => {
            Ok(Schema::new(vec![Field::new("", values.as_ref().clone(), true)]))
        }
        _ => malformed(format!("dictionary {id} is not in the schema")),
    }
}

/// The same schema with every top-level column nullable: Arrow refuses a batch whose nulls contradict its schema, and what
/// clients declare is often wrong. Whether a null may be stored is the table's decision.
fn relaxed(schema: &Schema) -> Schema {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| match field.is_nullable() {
            true => Arc::clone(field),
            false => Arc::new(field.as_ref().clone().with_nullable(true)),
        })
        .collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// The body where Arrow can use it in place; gRPC puts it anywhere.
fn aligned(body: &Bytes) -> Buffer {
    match body.as_ptr().align_offset(ALIGNMENT_BYTES) {
        0 => Buffer::from(body.clone()),
        _ => Buffer::from(body.as_ref()),
    }
}

/// Runs Arrow's code on hostile data: an error or a panic inside becomes [`DecodeError::Malformed`].
///
/// The closure must leave nothing half-done that is used after a panic; the decoder is failed for good then.
fn guarded<T, E: fmt::Display>(work: impl FnOnce() -> std::result::Result<T, E>) -> Result<T> {
    quiet_panics();
    let outer = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => malformed(shortened(&error.to_string())),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            tracing::debug!(reason, "caught a panic while decoding Arrow data");
            malformed("the message contradicts itself")
        }
    }
}

thread_local! {
    /// Whether this thread is inside [`guarded`].
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics inside [`guarded`] silent: they are answers to a client, not news for the operator, and a client can cause
/// as many as it likes. Panics anywhere else reach the hook that was there before.
fn quiet_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
}

/// Arrow prints whole schemas and values into its errors.
fn shortened(reason: &str) -> String {
    let mut text: String = reason
        .chars()
        .take(REASON_CHARS_MAX)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if reason.chars().nth(REASON_CHARS_MAX).is_some() {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests;
