//! Tests of the guarded decoder: what it takes, what it refuses, and ten thousand mutants of streams that it takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, NullArray, RunArray, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Int8Type, Int32Type};
use arrow_flight::SchemaAsIpc;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

use super::*;

/// Mutants per run of `mutants_are_refused_or_valid`.
const MUTANTS: u64 = 12_000;

/// splitmix64: enough randomness for a corpus, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn options(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(compression).unwrap()
}

fn encode(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<FlightData> {
    let options = options(compression);
    encode_with(batches.iter().collect(), &options)
}

fn encode_with(batches: Vec<&RecordBatch>, options: &IpcWriteOptions) -> Vec<FlightData> {
    let generator = IpcDataGenerator::default();
    let mut tracker = DictionaryTracker::new(false);
    let schema = batches[0].schema();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, options);
    let mut messages: Vec<FlightData> = vec![schema.into()];
    let mut context = IpcWriteContext::default();
    for batch in batches {
        let (dictionaries, batch) =
            generator.encode(batch, &mut tracker, options, &mut context).unwrap();
        messages.extend(dictionaries.into_iter().map(Into::into));
        messages.push(batch.into());
    }
    messages
}

fn decode(messages: Vec<FlightData>) -> Result<Vec<RecordBatch>> {
    decode_within(DecodeLimits::default(), messages)
}

fn decode_within(limits: DecodeLimits, messages: Vec<FlightData>) -> Result<Vec<RecordBatch>> {
    let mut decoder = GuardedDecoder::new(limits);
    let mut batches = Vec::new();
    for message in messages {
        batches.extend(decoder.push(message)?);
    }
    Ok(batches)
}

fn column(name: &str, array: impl Array + 'static) -> (String, ArrayRef) {
    (name.to_owned(), Arc::new(array))
}

fn prices(rows: i64) -> RecordBatch {
    let symbols: Vec<String> = (0..rows).map(|row| format!("S{}", row % 7)).collect();
    RecordBatch::try_from_iter([
        column("ts", TimestampMicrosecondArray::from_iter_values(0..rows).with_timezone("UTC")),
        column("symbol", StringArray::from(symbols)),
        column(
            "price",
            Float64Array::from_iter((0..rows).map(|row| (row % 3 != 0).then_some(row as f64))),
        ),
        column("volume", UInt64Array::from_iter_values(0..rows as u64)),
        column("open", BooleanArray::from_iter((0..rows).map(|row| Some(row % 2 == 0)))),
    ])
    .unwrap()
}

fn nested() -> RecordBatch {
    let long = "a value that is longer than a view's twelve bytes";
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(3)]),
    ]);
    let point = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef,
    )]);
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![3, 4]),
        &StringArray::from(vec!["first", "second"]),
    )
    .unwrap();
    let dictionary: DictionaryArray<Int8Type> =
        [Some("a"), None, Some("b"), Some("a")].into_iter().collect();
    RecordBatch::try_from_iter([
        column("list", list),
        column("point", point),
        column("runs", runs),
        column("dictionary", dictionary),
        column("view", StringViewArray::from(vec![Some("short"), None, Some(long), Some(long)])),
        column("bytes", BinaryArray::from_vec(vec![b"x", b"", b"yz", b"w"])),
        column("amount", Decimal128Array::from(vec![1, 2, 3, 4])),
        column("nothing", NullArray::new(4)),
    ])
    .unwrap()
}

fn corpus() -> Vec<Vec<FlightData>> {
    let mut corpus = Vec::new();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        corpus.push(encode(&[prices(100), prices(3)], compression));
        corpus.push(encode(&[nested(), nested()], compression));
        corpus.push(encode(&[prices(5000)], compression));
    }
    corpus
}

#[track_caller]
fn check_refused(messages: Vec<FlightData>, expected: &str) {
    let error = decode(messages).expect_err(expected);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn what_was_encoded_comes_back() {
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        for batch in [prices(0), prices(1), prices(10_000), nested()] {
            let back = decode(encode(&[batch.clone(), batch.clone()], compression)).unwrap();
            assert_eq!(back.len(), 2);
            for back in back {
                assert_eq!(back.columns(), batch.columns());
            }
        }
    }
}

#[test]
fn constant_columns_compress_as_far_as_they_like() {
    let zeros =
        RecordBatch::try_from_iter([column("zero", Int64Array::from(vec![0; 2 << 20]))]).unwrap();
    let messages = encode(&[zeros], Some(CompressionType::ZSTD));
    assert!(messages[1].data_body.len() < 16 << 10, "the case is about a high ratio");
    assert_eq!(decode(messages).unwrap()[0].num_rows(), 2 << 20);
}

#[test]
fn messages_out_of_order_are_refused() {
    let messages = encode(&[nested()], None);
    let (schema, dictionary, batch) =
        (messages[0].clone(), messages[1].clone(), messages[2].clone());
    check_refused(vec![batch], "record batch came before the schema");
    check_refused(vec![dictionary], "dictionary came before the schema");
    check_refused(vec![schema.clone(), schema], "second schema");
}

#[test]
fn messages_without_a_header_mean_nothing() {
    let mut messages = encode(&[prices(2)], None);
    messages.insert(0, FlightData::default());
    messages
        .insert(2, FlightData { app_metadata: Bytes::from_static(b"note"), ..Default::default() });
    assert_eq!(decode(messages).unwrap().len(), 1);
}

#[test]
fn the_first_error_is_the_last_word() {
    let messages = encode(&[prices(2)], None);
    let mut decoder = GuardedDecoder::new(DecodeLimits::default());
    let error = decoder.push(messages[1].clone()).unwrap_err();
    assert_eq!(decoder.push(messages[0].clone()).unwrap_err(), error);
}

#[test]
fn a_claim_of_terabytes_is_refused_before_it_is_allocated() {
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let mut messages = encode(&[prices(5000)], Some(compression));
        let mut body = messages[1].data_body.to_vec();
        body[..8].copy_from_slice(&(1i64 << 46).to_le_bytes());
        messages[1].data_body = body.into();
        let error = decode(messages).unwrap_err();
        assert!(matches!(error, DecodeError::Limit { .. }), "{error}");
    }
}

#[test]
fn a_frame_that_unfolds_to_more_than_it_claims_is_refused() {
    let zeros =
        RecordBatch::try_from_iter([column("zero", Int64Array::from(vec![0; 4 << 20]))]).unwrap();
    let mut messages = encode(&[zeros], Some(CompressionType::LZ4_FRAME));
    let mut body = messages[1].data_body.to_vec();
    body[..8].copy_from_slice(&1i64.to_le_bytes());
    messages[1].data_body = body.into();
    let limits = DecodeLimits { batch_bytes_max: 1 << 20, ..DecodeLimits::default() };
    let error = decode_within(limits, messages).unwrap_err();
    assert!(matches!(error, DecodeError::Limit { .. }), "{error}");
}

#[test]
fn a_dictionary_bomb_is_refused() {
    let value = "x".repeat(1 << 20);
    let keys = arrow::array::Int8Array::from(vec![0i8; 1 << 14]);
    let values = Arc::new(StringArray::from(vec![value.as_str()]));
    let bomb = DictionaryArray::<Int8Type>::new(keys, values);
    let batch = RecordBatch::try_from_iter([column("bomb", bomb)]).unwrap();
    let error = decode(encode(&[batch], None)).unwrap_err();
    assert!(matches!(error, DecodeError::Limit { .. }), "{error}");
}

#[test]
fn schemas_beyond_the_limits_are_refused() {
    let wide = Schema::new(
        (0..1025).map(|i| Field::new(format!("c{i}"), DataType::Int8, true)).collect::<Vec<_>>(),
    );
    let mut deep = Field::new("leaf", DataType::Int8, true);
    for _ in 0..16 {
        deep = Field::new("list", DataType::List(Arc::new(deep)), true);
    }
    let noisy = Schema::new_with_metadata(
        vec![Field::new("a", DataType::Int8, true)],
        [("note".to_owned(), "x".repeat(65 << 10))].into(),
    );
    for (schema, expected) in
        [(wide, "1025 columns"), (Schema::new(vec![deep]), "16 levels"), (noisy, "metadata")]
    {
        check_refused(vec![SchemaAsIpc::new(&schema, &options(None)).into()], expected);
    }
}

#[test]
fn delta_dictionaries_extend_and_replacements_replace() {
    let dictionary = |values: &[&str], keys: &[i8]| {
        let values = Arc::new(StringArray::from(values.to_vec()));
        let keys = arrow::array::Int8Array::from(keys.to_vec());
        let array = DictionaryArray::<Int8Type>::new(keys, values);
        RecordBatch::try_from_iter([column("d", array)]).unwrap()
    };
    let first = dictionary(&["a"], &[0, 0]);
    for second in [dictionary(&["a", "b"], &[1, 0]), dictionary(&["c"], &[0])] {
        for handling in [
            arrow_ipc::writer::DictionaryHandling::Resend,
            arrow_ipc::writer::DictionaryHandling::Delta,
        ] {
            let options = options(None).with_dictionary_handling(handling);
            let back = decode(encode_with(vec![&first, &second], &options)).unwrap();
            assert_eq!(back[0].column(0), first.column(0));
            assert_eq!(back[1].column(0), second.column(0));
        }
    }
}

/// One to three changes to one message of a stream.
fn mutate(random: &mut Random, messages: &mut Vec<FlightData>) {
    for _ in 0..=random.below(3) {
        let which = random.below(messages.len());
        let message = &mut messages[which];
        let mut header = message.data_header.to_vec();
        let mut body = message.data_body.to_vec();
        match random.below(10) {
            0..=3 => change_bytes(random, &mut header),
            4 => change_bytes(random, &mut body),
            5 => header.truncate(random.below(header.len() + 1)),
            6 => body.truncate(random.below(body.len() + 1)),
            7 if body.len() >= 8 => {
                // A claimed length, where the body is compressed; any eight bytes, where it is not.
                let at = random.below(body.len() / 8) * 8;
                let claim = 1u64 << random.below(64);
                if let Some(place) = body.get_mut(at..at + 8) {
                    place.copy_from_slice(&claim.to_le_bytes());
                }
            }
            8 => {
                let copy = messages[which].clone();
                messages.insert(which, copy);
                continue;
            }
            _ => {
                messages.swap_remove(which);
                if messages.is_empty() {
                    return;
                }
                continue;
            }
        }
        message.data_header = header.into();
        message.data_body = body.into();
    }
}

fn change_bytes(random: &mut Random, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at] ^ (1 << random.below(8)),
            _ => random.next() as u8,
        };
    }
}

#[test]
fn mutants_are_refused_or_valid() {
    let seed = std::env::var("COVERLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_123);
    println!("seed {seed}");
    let mut random = Random(seed);
    let corpus = corpus();
    let (mut refused, mut taken) = (0u64, 0u64);
    for _ in 0..MUTANTS {
        let mut messages = corpus[random.below(corpus.len())].clone();
        mutate(&mut random, &mut messages);
        match decode(messages) {
            Err(_) => refused += 1,
            Ok(batches) => {
                taken += 1;
                for batch in batches {
                    for column in batch.columns() {
                        assert_eq!(column.len(), batch.num_rows());
                        column.to_data().validate_full().unwrap();
                    }
                }
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > MUTANTS / 4 && taken > MUTANTS / 20, "{refused} refused, {taken} taken");
}
