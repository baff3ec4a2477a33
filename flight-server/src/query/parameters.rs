//! Bound parameters: rows of a client's batches as values, their way through a ticket, and a query run once per row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use bytes::{Bytes, BytesMut};
use datafusion::scalar::ScalarValue;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::Status;

use crate::engine::Engine;
use crate::frame::Frame;
use crate::ingest::{DecodeLimits, GuardedDecoder};
use crate::limits;
use crate::query::call::{self, WireForm};
use crate::query::plan::{Prepared, QueryPlan};
use crate::query::stream::encode as encode_stream;
use crate::status;

/// Collects the batches of a stream of parameters within bounds.
#[derive(Debug)]
pub(crate) struct Collector {
    decoder: GuardedDecoder,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Collector {
    pub(crate) fn new() -> Self {
        let bounds = DecodeLimits {
            batch_bytes_max: limits::PARAMETER_BYTES_MAX as u64,
            unfolded_bytes_max: limits::PARAMETER_BYTES_MAX as u64,
            ..DecodeLimits::default()
        };
        Self { decoder: GuardedDecoder::new(bounds), batches: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Takes one message; messages without Arrow data mean nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for malformed data, RESOURCE_EXHAUSTED for too much of it.
    pub(crate) fn push(&mut self, message: FlightData) -> Result<(), Status> {
        let decoded = self.decoder.push(message).map_err(|error| status::core(&error.into()))?;
        let Some(batch) = decoded else { return Ok(()) };
        self.rows = self.rows.saturating_add(batch.num_rows());
        self.bytes = self.bytes.saturating_add(batch.get_array_memory_size());
        if self.rows > limits::PARAMETER_ROWS_MAX || self.bytes > limits::PARAMETER_BYTES_MAX {
            return Err(status::exhausted(format!(
                "the parameters have more than {} rows or {} bytes; append the rows instead",
                limits::PARAMETER_ROWS_MAX,
                limits::PARAMETER_BYTES_MAX
            )));
        }
        self.batches.push(batch);
        Ok(())
    }

    /// What came. A stream of columns without rows is one empty batch: no rows were bound, which is not the same as nothing.
    pub(crate) fn finish(self) -> Vec<RecordBatch> {
        match self.decoder.schema() {
            Some(schema) if self.batches.is_empty() && !schema.fields().is_empty() => {
                vec![RecordBatch::new_empty(Arc::clone(schema))]
            }
            _ => self.batches,
        }
    }
}

/// Reads a whole stream of parameters.
///
/// # Errors
/// As [`Collector::push`], and those of the stream.
pub(crate) async fn read(
    first: FlightData,
    mut rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<Vec<RecordBatch>, Status> {
    let mut collector = Collector::new();
    collector.push(first)?;
    while let Some(message) = rest.try_next().await? {
        collector.push(message)?;
    }
    Ok(collector.finish())
}

/// Parameters as a ticket carries them: length-delimited Flight messages; nothing when there are none.
///
/// # Errors
/// RESOURCE_EXHAUSTED when they do not fit a ticket.
pub(crate) async fn encode(rows: &[RecordBatch]) -> Result<Bytes, Status> {
    let Some(first) = rows.first() else { return Ok(Bytes::new()) };
    let batches: Vec<_> = rows.iter().cloned().map(Ok::<_, FlightError>).collect();
    let messages: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_schema(first.schema())
        .build(stream::iter(batches))
        .try_collect()
        .await
        .map_err(|error| status::invalid(format!("the parameters cannot be kept: {error}")))?;
    let mut bytes = BytesMut::new();
    for message in messages {
        if bytes.len() + message.encoded_len() > limits::TICKET_PARAMETER_BYTES_MAX {
            return Err(status::exhausted(format!(
                "the parameters of a query take more than {} bytes; bind fewer rows at a time",
                limits::TICKET_PARAMETER_BYTES_MAX
            )));
        }
        message
            .encode_length_delimited(&mut bytes)
            .map_err(|error| status::internal(format!("a ticket cannot be written: {error}")))?;
    }
    Ok(bytes.freeze())
}

/// Parameters from a ticket. Its bytes went through a client's hands: they are decoded behind the same guards as any.
///
/// # Errors
/// INVALID_ARGUMENT when they are damaged.
pub(crate) fn decode(bytes: &Bytes) -> Result<Vec<RecordBatch>, Status> {
    let mut bytes = bytes.clone();
    let mut collector = Collector::new();
    while !bytes.is_empty() {
        let message = FlightData::decode_length_delimited(&mut bytes)
            .map_err(|_| status::invalid("the parameters in the ticket are damaged"))?;
        collector.push(message)?;
    }
    Ok(collector.finish())
}

/// Checks the width of bound parameters, before they are used.
///
/// # Errors
/// INVALID_ARGUMENT when the number of columns is not the number of parameters.
pub(crate) fn check(batches: &[RecordBatch], parameter_count: usize) -> Result<(), Status> {
    // Clients bind an empty batch to a statement without parameters, and mean nothing by it.
    if parameter_count == 0 {
        return Ok(());
    }
    batches.iter().try_for_each(|batch| check_width(batch, parameter_count))
}

/// One list of values per row; a single empty list for a statement without parameters.
///
/// # Errors
/// INVALID_ARGUMENT when the number of columns is not the number of parameters, or nothing was bound.
pub(crate) fn rows(
    batches: &[RecordBatch],
    parameter_count: usize,
) -> Result<Vec<Vec<ScalarValue>>, Status> {
    if parameter_count == 0 {
        return Ok(vec![Vec::new()]);
    }
    if batches.is_empty() {
        return Err(unbound(parameter_count));
    }
    let mut rows = Vec::new();
    for batch in batches {
        check_width(batch, parameter_count)?;
        for row in 0..batch.num_rows() {
            rows.push(values(batch, row)?);
        }
    }
    Ok(rows)
}

/// The values of the first row; nulls of the types of the columns when there is no row, and none when nothing was bound.
///
/// # Errors
/// As [`rows`].
pub(crate) fn first(
    batches: &[RecordBatch],
    parameter_count: usize,
) -> Result<Vec<ScalarValue>, Status> {
    check(batches, parameter_count)?;
    if parameter_count == 0 {
        return Ok(Vec::new());
    }
    match (batches.iter().find(|batch| batch.num_rows() > 0), batches.first()) {
        (Some(batch), _) => values(batch, 0),
        (None, Some(empty)) => {
            let fields = empty.schema_ref().fields().iter();
            let null = |field: &FieldRef| ScalarValue::try_from(field.data_type());
            Ok(fields.map(|field| null(field).map_or(ScalarValue::Null, plain)).collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// The refusal of a statement whose parameters have no values.
pub(crate) fn unbound(parameter_count: usize) -> Status {
    status::invalid(format!(
        "the statement has {parameter_count} parameters, but none are bound; prepare it and bind them first"
    ))
}

fn check_width(batch: &RecordBatch, parameter_count: usize) -> Result<(), Status> {
    if batch.num_columns() == parameter_count {
        return Ok(());
    }
    Err(status::invalid(format!(
        "the statement has {parameter_count} parameters, but {} columns are bound",
        batch.num_columns()
    )))
}

fn values(batch: &RecordBatch, row: usize) -> Result<Vec<ScalarValue>, Status> {
    batch
        .columns()
        .iter()
        .map(|column| {
            ScalarValue::try_from_array(column, row)
                .map(plain)
                .map_err(|error| status::query(&error))
        })
        .collect()
}

/// The value itself, without the encoding that a client chose for its column.
fn plain(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Dictionary(_, inner) | ScalarValue::RunEndEncoded(_, _, inner) => {
            plain(*inner)
        }
        ScalarValue::Union(Some((_, inner)), _, _) => plain(*inner),
        ScalarValue::Union(None, _, _) => ScalarValue::Null,
        ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => ScalarValue::Utf8(text),
        ScalarValue::BinaryView(bytes) | ScalarValue::LargeBinary(bytes) => {
            ScalarValue::Binary(bytes)
        }
        other => other,
    }
}

/// Runs a query once for every row of values; the results follow one another in one stream.
///
/// # Errors
/// What planning the first run returns; later ones fail in the stream.
pub(crate) async fn run_all(
    engine: &Arc<Engine>,
    prepared: Prepared,
    plan: QueryPlan,
    values: Vec<Vec<ScalarValue>>,
    form: WireForm,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let runs = values.len();
    let mut values = values.into_iter();
    let Some(first) = values.next() else {
        let schema = prepared.schema(engine, &plan).await?;
        return Ok(encode_stream(form.schema(&schema), form.compression, stream::empty()));
    };
    let (schema, batches) = prepared.execute(engine, plan.bind(first)?).await?;
    let sent = call::of_runs(form.schema(&schema), runs);
    let batches = batches.map_err(|error| status::query(&error));
    let (engine, announced) = (Arc::clone(engine), Arc::clone(&sent));
    let rest = stream::iter(values)
        .then(move |row| {
            let (engine, prepared, plan) = (Arc::clone(&engine), prepared.clone(), plan.clone());
            let announced = Arc::clone(&announced);
            async move {
                let (schema, batches) = prepared.execute(&engine, plan.bind(row)?).await?;
                check_types(&announced, &form.schema(&schema))?;
                Ok::<_, Status>(batches.map_err(|error| status::query(&error)))
            }
        })
        .try_flatten();
    Ok(encode_stream(sent, form.compression, batches.chain(rest)))
}

/// A union may bind values of several types, which can make columns of several types.
fn check_types(announced: &Schema, found: &Schema) -> Result<(), Status> {
    let differing = announced
        .fields()
        .iter()
        .zip(found.fields())
        .find(|(announced, found)| !announced.data_type().equals_datatype(found.data_type()));
    match differing {
        None => Ok(()),
        Some((announced, found)) => Err(status::invalid(format!(
            "column \"{}\" is {} for the first row of parameters and {} for a later one; cast it in the statement",
            announced.name(),
            announced.data_type(),
            found.data_type()
        ))),
    }
}
