//! Result batches to Flight messages, in the portable wire types.
//!
//! A stream has exactly the schema that was announced for it, nullability included: clients compare the two.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow_flight::{
    FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use table_core::schema::logical_bytes;
use tonic::Status;

use crate::frame::Frame;
use crate::limits;
use crate::status;

/// Name of the one column that reports what a statement did.
const COUNT_COLUMN: &str = "count";

/// A schema as an encapsulated IPC message, as FlightInfo and SchemaResult carry it.
///
/// # Errors
/// INTERNAL when Arrow cannot write the schema.
pub(crate) fn encode_schema(schema: &Schema) -> Result<Bytes, Status> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error| status::arrow(&error))?;
    Ok(message.0)
}

/// One endpoint without locations, which every client takes as "here", and the schema of its stream.
///
/// # Errors
/// INTERNAL when Arrow cannot write the schema.
pub(crate) fn flight_info(
    schema: &Schema,
    ticket: Ticket,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| status::arrow(&error))?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    Ok(info)
}

/// Rows of a message are a multiple of this: then the bits of validity begin with a byte, and are sent as they are.
const MESSAGE_ROWS_STEP: usize = 64;

/// A message whose rows have more than this, bytes, is divided again: they are larger than most rows of their batch.
const MESSAGE_BYTES_MAX: u64 = limits::RESPONSE_MESSAGE_BYTES as u64 / 2 * 3;

/// What stands before the IPC message in a stream: a mark and its length.
const PREFIX_BYTES: usize = 8;

/// Encodes batches in exactly `schema`. Dropping the stream drops `batches`, and with it the query.
pub(crate) fn encode<S>(
    schema: SchemaRef,
    compression: Option<CompressionType>,
    batches: S,
) -> BoxStream<'static, Result<Frame, Status>>
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let announced: FlightData = SchemaAsIpc::new(&schema, &IpcWriteOptions::default()).into();
    let first = stream::iter([Ok(Frame::from(announced))]);
    let mut encoder = match BatchEncoder::new(schema, compression) {
        Ok(encoder) => encoder,
        Err(status) => return first.chain(stream::iter([Err(status)])).boxed(),
    };
    let rows = batches.map(move |batch| encoder.encode(&batch?)).flat_map(|frames| {
        stream::iter(match frames {
            Ok(frames) => frames.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        })
    });
    // What comes after an error means nothing.
    let mut failed = false;
    let until_error = move |frame: &Result<Frame, Status>| {
        let ended = std::mem::replace(&mut failed, frame.is_err());
        futures::future::ready(!ended)
    };
    first.chain(rows).take_while(until_error).boxed()
}

/// Batches to frames that share their buffers.
struct BatchEncoder {
    schema: SchemaRef,
    ipc: StreamEncoder,
}

impl BatchEncoder {
    fn new(schema: SchemaRef, compression: Option<CompressionType>) -> Result<Self, Status> {
        let failed = |error: ArrowError| status::arrow(&error);
        let options = IpcWriteOptions::default().try_with_compression(compression);
        let options = options.map_err(failed)?;
        let mut ipc = StreamEncoder::try_new_with_options(&schema, options).map_err(failed)?;
        // Its first answer holds the schema, which goes out by itself.
        ipc.encode(&RecordBatch::new_empty(Arc::clone(&schema))).map_err(failed)?;
        Ok(Self { schema, ipc })
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Frame>, Status> {
        let batch = conform(batch, &self.schema)?;
        let mut frames = Vec::new();
        // The next one is the last.
        let mut parts = divided(&batch);
        while let Some(part) = parts.pop() {
            if part.num_rows() > 1 && bytes_of(&part) > MESSAGE_BYTES_MAX {
                parts.extend(divided(&part));
                continue;
            }
            let buffers = self.ipc.encode(&part).map_err(|error| status::arrow(&error))?;
            let frame = frame(buffers)
                .ok_or_else(|| status::internal("a result was encoded as no IPC message"))?;
            frames.push(frame);
        }
        Ok(frames)
    }
}

/// The slices of a batch that are sent as a message each, the first one last. More than one where the batch has more bytes
/// than a message should have, and more than one row.
fn divided(batch: &RecordBatch) -> Vec<RecordBatch> {
    let (rows, step) = (batch.num_rows(), rows_per_message(batch));
    let starts = (0..rows).step_by(step).rev();
    starts.map(|start| batch.slice(start, step.min(rows - start))).collect()
}

/// Rows of each message but the last, such that a message has [`limits::RESPONSE_MESSAGE_BYTES`] at most if all rows are alike:
/// clients take twice as much.
fn rows_per_message(batch: &RecordBatch) -> usize {
    let messages = bytes_of(batch).div_ceil(limits::RESPONSE_MESSAGE_BYTES as u64).max(1);
    let fair = batch.num_rows() / usize::try_from(messages).unwrap_or(usize::MAX);
    match fair {
        fair if fair < MESSAGE_ROWS_STEP || messages == 1 => fair.max(1),
        fair => fair - fair % MESSAGE_ROWS_STEP,
    }
}

fn bytes_of(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|column| logical_bytes(column.as_ref())).sum()
}

/// The pieces of one IPC message: what its prefix counts is the header, what follows the body.
fn frame(pieces: Vec<Buffer>) -> Option<Frame> {
    let mut pieces = VecDeque::from(pieces);
    let prefix = take(&mut pieces, PREFIX_BYTES)?;
    let length = u32::from_le_bytes(*prefix.last_chunk()?);
    let header = take(&mut pieces, usize::try_from(length).ok()?)?;
    Some(Frame { header: header.into(), body: pieces.into(), ..Frame::default() })
}

/// Takes bytes off the front.
fn take(pieces: &mut VecDeque<Buffer>, count: usize) -> Option<Vec<u8>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let piece = pieces.pop_front()?;
        let here = piece.len().min(count - taken.len());
        taken.extend_from_slice(piece.get(..here)?);
        if here < piece.len() {
            pieces.push_front(piece.slice(here));
        }
    }
    Some(taken)
}

/// A batch in the announced schema.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Status> {
    if batch.num_columns() != schema.fields().len() {
        return Err(status::internal(format!(
            "a result has {} columns, but {} were announced",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, ArrowError>>()
        .map_err(|error| status::arrow(&error))?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| {
        status::internal(format!("a result does not fit what was announced: {error}"))
    })
}

/// Schema of the answer of a statement that changes something.
pub(crate) fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(COUNT_COLUMN, DataType::Int64, false)]))
}

/// The answer of a statement that was executed already: one row with its count.
///
/// # Errors
/// INTERNAL when the batch cannot be made.
pub(crate) fn count_stream(
    record_count: i64,
) -> Result<BoxStream<'static, Result<Frame, Status>>, Status> {
    let schema = count_schema();
    let column = Arc::new(Int64Array::from(vec![record_count]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])
        .map_err(|error| status::arrow(&error))?;
    Ok(encode(schema, None, stream::iter([Ok(batch)])))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::{ArrayRef, BooleanArray, Float64Array, ListArray, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int32Type;
    use arrow_flight::decode::FlightRecordBatchStream;
    use futures::TryStreamExt;
    use proptest::prelude::*;

    use super::*;

    fn rows(count: usize, width: usize) -> RecordBatch {
        let some = |row: usize, every: usize| row % every != 1;
        let strings = (0..count).map(|row| some(row, 3).then(|| "x".repeat(row % (width + 1))));
        let lists = (0..count).map(|row| {
            some(row, 5).then(|| (0..row % 4).map(|i| Some(i as i32)).collect::<Vec<_>>())
        });
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "f",
                Arc::new(Float64Array::from_iter(
                    (0..count).map(|row| some(row, 7).then_some(row as f64)),
                )),
            ),
            ("s", Arc::new(StringArray::from_iter(strings))),
            (
                "b",
                Arc::new(BooleanArray::from_iter(
                    (0..count).map(|row| some(row, 2).then_some(row % 3 == 0)),
                )),
            ),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
            ("n", Arc::new(Int64Array::from_iter_values(0..count as i64))),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, name != "n")),
        )
        .unwrap()
    }

    /// What stock code reads of the frames, and the bytes of each message.
    async fn read(batches: Vec<RecordBatch>) -> (Vec<RecordBatch>, Vec<usize>) {
        let schema = batches[0].schema();
        let frames: Vec<Frame> = encode(schema, None, stream::iter(batches.into_iter().map(Ok)))
            .try_collect()
            .await
            .unwrap();
        let messages: Vec<FlightData> = frames.into_iter().map(FlightData::from).collect();
        let sizes = messages.iter().map(|message| message.data_body.len()).collect();
        let messages = stream::iter(messages.into_iter().map(Ok));
        let read = FlightRecordBatchStream::new_from_flight_data(messages).try_collect().await;
        (read.unwrap(), sizes)
    }

    #[tokio::test]
    async fn messages_are_small_whatever_the_size_of_a_batch() {
        let batch = rows(100_000, 200);
        let (read, sizes) = read(vec![batch.clone()]).await;
        assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
        assert!(read.len() > 1);
        let most = limits::RESPONSE_MESSAGE_BYTES * 5 / 4;
        assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
    }

    /// The bytes of each message of a batch of strings of these lengths.
    fn message_sizes(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
        let strings = StringArray::from_iter_values(lengths.map(|length| "x".repeat(length)));
        let batch = RecordBatch::try_from_iter([("s", Arc::new(strings) as ArrayRef)]).unwrap();
        let mut encoder = BatchEncoder::new(batch.schema(), None).unwrap();
        let frames = encoder.encode(&batch).unwrap();
        frames.into_iter().map(|frame| FlightData::from(frame).data_body.len()).collect()
    }

    #[test]
    fn messages_of_wide_rows_fit_clients_of_the_default_limit() {
        const CLIENT_BYTES_MAX: usize = 4 << 20;
        let kib = 1 << 10;
        for width in [20 * kib, 31 * kib, 32_000, 32 * kib, 33 * kib, 700 * kib, 1_100 * kib] {
            let count = (20 << 20) / width;
            let sizes = message_sizes(std::iter::repeat_n(width, count));
            let most = limits::RESPONSE_MESSAGE_BYTES + 64 * kib;
            assert!(sizes.iter().all(|size| *size <= most), "{width}: {sizes:?}");
            assert!(sizes.len() <= 2 * (20 << 20) / limits::RESPONSE_MESSAGE_BYTES, "{width}");
        }
        // Few wide rows among many narrow ones.
        for place in [0, 5_000, 9_900] {
            let width = |row| if (place..place + 100).contains(&row) { 100 * kib } else { 4 };
            let sizes = message_sizes((0..10_000).map(width));
            assert!(sizes.iter().all(|size| *size < CLIENT_BYTES_MAX * 7 / 8), "{sizes:?}");
        }
        // One row is one message, whatever its size.
        assert_eq!(message_sizes([3 << 20, 3 << 20].into_iter()).len(), 2);
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_error_and_begins_with_its_schema() {
        let batch = rows(3, 1);
        let batches = vec![
            Ok(batch.clone()),
            Err(Status::internal("x")),
            Ok(batch.clone()),
            Ok(batch.clone()),
        ];
        let frames: Vec<_> = encode(batch.schema(), None, stream::iter(batches)).collect().await;
        assert_eq!(frames.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
        let (read, sizes) = read(vec![RecordBatch::new_empty(batch.schema())]).await;
        assert!(read.is_empty() && sizes == [0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn stock_code_reads_what_was_sent(
            counts in prop::collection::vec(1..3_000_usize, 1..4),
            width in 0..40_usize,
            skipped in 0..70_usize,
        ) {
            // Slices whose bits and offsets begin anywhere.
            let batches: Vec<RecordBatch> = counts
                .into_iter()
                .map(|count| rows(count + skipped, width).slice(skipped, count))
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (read, _) = runtime.block_on(read(batches.clone()));
            let schema = batches[0].schema();
            let whole = |batches: &[RecordBatch]| concat_batches(&schema, batches).unwrap();
            prop_assert_eq!(whole(&read), whole(&batches));
        }
    }
}
