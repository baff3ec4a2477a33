//! Segment files, read as queries read them: a file whose checksums the log knows, so that every byte of it reaches the reader
//! of Parquet.
//!
//! An input names where its row groups end, as the log would, and then holds the file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use table_core::fuzzing::read_segment;
use table_core::segment::{RowGroupMeta, SegmentMeta};
use table_core::types::SegmentId;
use uuid::Uuid;

use crate::{Outcome, Target, mutate, seeds};

/// A segment is refused, or read to its end; neither ends the process.
pub static PARQUET_SEGMENT_OPEN: Target = Target {
    name: "parquet_segment_open",
    read,
    mutate: mutate::bytes,
    inputs: 700,
    bytes_max: 16 << 10,
};

/// First byte behind the magic number.
const FIRST_ROW_GROUP_BYTE: u64 = 4;

/// The input for a file with these row groups.
pub fn input(meta: &SegmentMeta, file: &[u8]) -> Vec<u8> {
    let mut input = vec![u8::try_from(meta.row_groups.len()).unwrap()];
    for group in &meta.row_groups {
        input.extend_from_slice(&u16::try_from(group.end).unwrap().to_le_bytes());
    }
    input.extend_from_slice(file);
    input
}

/// The file of an input, and what the log would say of it.
fn taken_apart(input: &[u8]) -> Option<(Bytes, SegmentMeta)> {
    let (count, mut rest) = input.split_first()?;
    let mut ends = Vec::new();
    for _ in 0..*count {
        let (end, after) = rest.split_first_chunk::<2>()?;
        ends.push(u64::from(u16::from_le_bytes(*end)));
        rest = after;
    }
    let file = Bytes::copy_from_slice(rest);
    let mut start = FIRST_ROW_GROUP_BYTE;
    let mut row_groups = Vec::new();
    for end in ends {
        let bytes = file.get(start as usize..end as usize)?;
        row_groups.push(RowGroupMeta { row_count: 1, start, end, crc32c: crc32c::crc32c(bytes) });
        start = end;
    }
    let meta = SegmentMeta {
        id: SegmentId(Uuid::nil()),
        file_bytes: file.len() as u64,
        footer_bytes: 8,
        row_count: row_groups.len() as u64,
        index_range: None,
        entity_range: None,
        columns: Vec::new(),
        row_groups,
        tail_crc32c: crc32c::crc32c(file.get(start as usize..)?),
        file_digest: [0; 32],
        sorted: false,
    };
    Some((file, meta))
}

fn read(input: &[u8]) -> Outcome {
    let Some((file, meta)) = taken_apart(input) else { return Outcome::Refused };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reading = || runtime.block_on(read_segment(file, meta, seeds::layout()));
    // Nobody but the owner of a root can bring such a file there; a panic of the reader is one query's error, as in the server.
    match catch_unwind(AssertUnwindSafe(reading)) {
        Err(_) | Ok(Err(_)) => Outcome::Refused,
        Ok(Ok((schema, batches))) => {
            for batch in batches {
                assert_eq!(batch.schema(), schema);
                for column in batch.columns() {
                    column.to_data().validate_full().unwrap();
                }
            }
            Outcome::Taken
        }
    }
}
