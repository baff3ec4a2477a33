//! Streams of Arrow messages, as DoPut takes them: length-delimited FlightData, of which headers and bodies are changed apart.

use arrow_flight::FlightData;
use bytes::Bytes;
use flight_server::fuzzing::StreamDecoder;
use prost::Message;
use rand::Rng;
use rand::rngs::StdRng;

use crate::measure::peak_bytes;
use crate::{Outcome, Target, mutate};

/// What the decoder allows a batch, bytes: little enough for a short input to ask for more.
const BUDGET_BYTES: u64 = 8 << 20;

/// Messages of a stream at most.
const MESSAGES_MAX: usize = 64;

/// Streams are refused, or give batches that are what they claim to be.
pub static FLIGHT_DATA_STREAM: Target = Target {
    name: "flight_data_stream",
    read: read_stream,
    mutate: mutate_stream,
    inputs: 3_000,
    bytes_max: 64 << 10,
};

/// What the check of numbers refuses, the decoder refuses; what it lets through costs no more than was allowed.
pub static IPC_PRECHECK: Target = Target {
    name: "ipc_precheck",
    read: read_checked,
    mutate: mutate_stream,
    inputs: 3_000,
    bytes_max: 64 << 10,
};

/// The messages of an input, up to the first that is none.
fn messages(input: &[u8]) -> Vec<FlightData> {
    let mut bytes = Bytes::copy_from_slice(input);
    let mut messages = Vec::new();
    while !bytes.is_empty()
        && messages.len() < MESSAGES_MAX
        && let Ok(message) = FlightData::decode_length_delimited(&mut bytes)
    {
        messages.push(message);
    }
    messages
}

/// The input that holds these messages.
pub fn input(messages: &[FlightData]) -> Vec<u8> {
    messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn read_stream(input: &[u8]) -> Outcome {
    let mut decoder = StreamDecoder::new(BUDGET_BYTES);
    let mut outcome = Outcome::Refused;
    let mut failure: Option<String> = None;
    for message in messages(input) {
        match (decoder.push(message), &failure) {
            (Ok(_), Some(failure)) => panic!("a stream went on after {failure}"),
            (Ok(None), None) => {}
            (Ok(Some(batch)), None) => {
                for column in batch.columns() {
                    assert_eq!(column.len(), batch.num_rows());
                    column.to_data().validate_full().unwrap();
                }
                outcome = Outcome::Taken;
            }
            (Err(error), None) => failure = Some(error),
            (Err(error), Some(failure)) => assert_eq!(error, *failure),
        }
    }
    outcome
}

fn read_checked(input: &[u8]) -> Outcome {
    let mut decoder = StreamDecoder::new(BUDGET_BYTES);
    let mut outcome = Outcome::Refused;
    for message in messages(input) {
        let message_bytes = message.data_header.len() + message.data_body.len();
        let (checked, bytes) = peak_bytes(|| decoder.precheck(&message));
        let allowed = (64 << 10) + 16 * message_bytes;
        assert!(bytes <= allowed, "the check of {message_bytes} bytes takes {bytes}");
        let (pushed, bytes) = peak_bytes(|| decoder.push(message));
        match (checked, &pushed) {
            (Some(Err(error)), Ok(_)) => panic!("taken, although {error}"),
            (Some(Err(error)), Err(pushed)) => {
                // What the message claims of its body is looked at before.
                let is_other = pushed.contains("body") || pushed.contains("version");
                assert!(error == *pushed || is_other, "{error} became {pushed}");
            }
            (Some(Ok(())), _) => {
                // Compressed buffers grow while they are read; unaligned bodies are copied.
                let allowed = (1 << 20) + 4 * BUDGET_BYTES as usize + 64 * message_bytes;
                assert!(bytes <= allowed, "{message_bytes} bytes that are checked take {bytes}");
                outcome = Outcome::Taken;
            }
            (None, _) => {}
        }
        if pushed.is_err() {
            break;
        }
    }
    outcome
}

fn mutate_stream(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let mut messages = messages(bytes);
    if messages.is_empty() || random.random_range(0..16) == 0 {
        mutate::bytes(random, bytes);
        return;
    }
    for _ in 0..random.random_range(1..=2) {
        let which = random.random_range(0..messages.len());
        let other = random.random_range(0..messages.len());
        match random.random_range(0..12) {
            0..=4 => change(random, &mut messages[which].data_header),
            5..=7 => change(random, &mut messages[which].data_body),
            8 => messages.swap(which, other),
            9 => messages.insert(which, messages[other].clone()),
            10 => messages[which].data_body = messages[other].data_body.clone(),
            _ if messages.len() > 1 => drop(messages.remove(which)),
            _ => {}
        }
    }
    *bytes = input(&messages);
}

fn change(random: &mut StdRng, bytes: &mut Bytes) {
    let mut changed = bytes.to_vec();
    mutate::bytes(random, &mut changed);
    *bytes = changed.into();
}
