//! Segment files, read as queries read them: a footer whose checksum the log knows, whatever it says, and row groups of which the
//! log knows those that the product wrote.
//!
//! An input names where its row groups end, as the log would, and then holds the file. Pages that the product did not write stop
//! at their checksum, and have to: Parquet's reader allocates whatever length, up to 2 GiB, a page claims to unfold to.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use bytes::Bytes;
use table_core::fuzzing::read_segment;
use table_core::segment::{RowGroupMeta, SegmentMeta};
use table_core::types::SegmentId;
use uuid::Uuid;

use crate::{Outcome, Target, corpus, mutate, seeds};

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

/// Checksums of the row groups in the inputs that the product made.
static KNOWN: LazyLock<HashSet<u32>> = LazyLock::new(|| {
    let kept = corpus::kept(&PARQUET_SEGMENT_OPEN);
    let is_seed = |kept: &&corpus::Kept| {
        kept.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"seed-"))
    };
    let groups = |kept: &corpus::Kept| cut(&kept.bytes).map(|(_, groups)| groups);
    kept.iter().filter(is_seed).filter_map(groups).flatten().map(|group| group.crc32c).collect()
});

/// The file of an input, and its row groups with the checksums that they have.
fn cut(input: &[u8]) -> Option<(Bytes, Vec<RowGroupMeta>)> {
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
    Some((file, row_groups))
}

/// The file of an input, and what the log would say of it.
fn taken_apart(input: &[u8]) -> Option<(Bytes, SegmentMeta)> {
    let (file, mut row_groups) = cut(input)?;
    for group in row_groups.iter_mut().filter(|group| !KNOWN.contains(&group.crc32c)) {
        group.crc32c ^= 1;
    }
    let start = row_groups.last().map_or(FIRST_ROW_GROUP_BYTE, |group| group.end);
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
