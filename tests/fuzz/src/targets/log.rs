//! Files of a log: records and checkpoints, as they are and with their checksum repaired, so that what is inside is read too.

use bytes::Bytes;
use coverline_proto::log as proto;
use prost::Message;
use table_core::Snapshot;
use table_core::coverage::Coverage;
use table_core::fuzzing::{
    fold, frame, read_checkpoint, read_record, rewrite_catalog_checkpoint, state_digest,
    write_checkpoint,
};
use table_core::log::{Digest, FrameKind, LogError, Record};
use table_core::types::Version;

use crate::{Outcome, Target, mutate};

/// A record is refused, or is the one that was written; whatever it says, the fold of it is refused or sound.
pub static COMMIT_RECORD_DECODE: Target = Target {
    name: "commit_record_decode",
    read: read_record_file,
    mutate: mutate::bytes,
    inputs: 3_000,
    bytes_max: 16 << 10,
};

/// A checkpoint is refused, or gives a table of which the same checkpoint is made.
pub static CHECKPOINT_DECODE: Target = Target {
    name: "checkpoint_decode",
    read: read_checkpoint_file,
    mutate: mutate::bytes,
    inputs: 3_000,
    bytes_max: 16 << 10,
};

/// Bytes of a frame before its payload, and behind it.
const HEADER_BYTES: usize = 52;
const CRC_BYTES: usize = 4;

/// Where the digest of the record before begins.
const PREVIOUS_AT: usize = 20;

/// The digest and the payload that a file of any kind would have, whatever its checksum.
fn taken_apart(file: &[u8]) -> Option<(Digest, &[u8])> {
    let end = file.len().checked_sub(CRC_BYTES)?;
    let payload = file.get(HEADER_BYTES..end)?;
    Some((file.get(PREVIOUS_AT..HEADER_BYTES)?.try_into().ok()?, payload))
}

/// Everything that is wrong with a file is called damage, or asks for an upgrade.
fn refused(error: &LogError) -> Outcome {
    assert!(matches!(error, LogError::Damaged { .. } | LogError::Future { .. }), "{error:?}");
    assert!(error.to_string().contains("fuzzed"), "{error}");
    Outcome::Refused
}

fn read_record_file(input: &[u8]) -> Outcome {
    let as_it_is = Bytes::copy_from_slice(input);
    if let Err(error) = read_record(&as_it_is) {
        refused(&error);
    }
    let Some((previous, payload)) = taken_apart(input) else { return Outcome::Refused };
    match read_record(&frame(FrameKind::Record, &previous, payload)) {
        Err(error) => refused(&error),
        Ok(record) => {
            sound_record(&record);
            Outcome::Taken
        }
    }
}

fn sound_record(record: &Record) {
    let again = read_record(&frame(FrameKind::Record, &[0; 32], &record.encode())).unwrap();
    // Numbers that are none are not equal to themselves.
    assert_eq!(format!("{again:?}"), format!("{record:?}"));
    assert_eq!(record.to_json(None), again.to_json(None));
    assert!(record.added_segments().count() <= record.actions.len());
    let first = Record { version: Version(1), ..record.clone() };
    if let Ok(snapshot) = fold(None, &first) {
        sound_table(&snapshot);
    }
    for base in crate::seeds::tables() {
        let next = Record {
            version: base.version.next(),
            commit_time_us: record.commit_time_us.max(base.commit_time_us.saturating_add(1)),
            ..record.clone()
        };
        let before = state_digest(base);
        if let Ok(snapshot) = fold(Some(base), &next) {
            assert_eq!(snapshot.version, next.version);
            sound_table(&snapshot);
            record.to_json(snapshot.layout.as_deref());
        }
        assert_eq!(state_digest(base), before, "the table before was changed");
    }
}

/// A table is what its own checkpoint says.
pub(super) fn sound_table(snapshot: &Snapshot) {
    let written = write_checkpoint(snapshot);
    let read = read_checkpoint(&written, snapshot.version)
        .unwrap_or_else(|error| panic!("a table cannot read its own checkpoint: {error}"));
    assert_eq!(state_digest(&read), state_digest(snapshot));
    assert_eq!((read.row_count, read.file_bytes), (snapshot.row_count, snapshot.file_bytes));
    assert_eq!(read.segments, snapshot.segments);
}

fn read_checkpoint_file(input: &[u8]) -> Outcome {
    let as_it_is = Bytes::copy_from_slice(input);
    if let Err(error) = read_checkpoint(&as_it_is, Version(1)) {
        refused(&error);
    }
    let Some((_, payload)) = taken_apart(input) else { return Outcome::Refused };
    let Ok(mut checkpoint) = proto::Checkpoint::decode(payload) else { return Outcome::Refused };
    let version = Version(checkpoint.version);
    let file = |checkpoint: &proto::Checkpoint| {
        let digest = checkpoint.record_digest.as_ref().try_into().unwrap_or([0; 32]);
        frame(FrameKind::Checkpoint, &digest, &checkpoint.encode_to_vec())
    };
    if let Err(error) = read_checkpoint(&file(&checkpoint), version) {
        refused(&error);
    }
    // The digests of what is inside are repaired too.
    checkpoint.state_digest = 0;
    if let Ok(coverage) = Coverage::decode(&checkpoint.coverage, &checkpoint.entity_rows) {
        checkpoint.coverage_digest = coverage.digest();
    }
    let repaired = file(&checkpoint);
    let catalog = rewrite_catalog_checkpoint(&repaired, version).map(|written| {
        let again = rewrite_catalog_checkpoint(&written, version).unwrap();
        assert_eq!(again, written);
    });
    let table = read_checkpoint(&repaired, version).map(|snapshot| sound_table(&snapshot));
    match (catalog, table) {
        (Err(catalog), Err(table)) => {
            refused(&catalog);
            refused(&table)
        }
        _ => Outcome::Taken,
    }
}
