//! The binary form of deltas and of a checkpoint's folded coverage.
//!
//! One format for both, written in exactly one way, so that equal coverage has equal bytes:
//!
//! ```text
//! coverage = format byte 1, entity count, entity*          entities in ascending key order
//! entity   = shared, length, bytes[length], runs           key = first `shared` bytes of the key before, then `bytes`
//! runs     = run count (> 0), zig-zag of the first bucket, length - 1, (gap - 1, length - 1)*
//! ```
//!
//! Numbers are LEB128 varints of at most 64 bits in their shortest form. `gap` counts the buckets between two runs, at
//! least 1. `shared` is as long as it can be, but at most [`SHARED_MAX`].

use super::{Run, Runs};
use crate::types::BucketId;

/// Why coverage bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end in the middle of a value.
    #[error("coverage bytes end early at offset {offset}")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// A value breaks a rule of the format.
    #[error("coverage bytes are not canonical at offset {offset}: {rule}")]
    NotCanonical {
        /// Where.
        offset: usize,
        /// Which rule.
        rule: &'static str,
    },
    /// The counts of rows beside the bytes are not one for each entity.
    #[error("there are {counts} counts of rows for {entities} entities")]
    RowCounts {
        /// Counts.
        counts: usize,
        /// Entities in the bytes.
        entities: usize,
    },
    /// An entity comes without any row.
    #[error("entity number {entity} has buckets but no row")]
    NoRows {
        /// Its place in key order, from 0.
        entity: usize,
    },
}

/// The only format there is.
const FORMAT: u8 = 1;
/// Bytes of a key that may come from the key before. Bounds what a reader holds per byte read.
const SHARED_MAX: usize = 64;

/// Writes entities that come in ascending key order, each with at least one bucket.
pub(super) fn encode<'a>(entities: impl ExactSizeIterator<Item = (&'a [u8], &'a Runs)>) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    put_varint(&mut bytes, entities.len() as u64);
    let mut before: &[u8] = &[];
    for (key, runs) in entities {
        let shared = shared_prefix(before, key);
        put_varint(&mut bytes, shared as u64);
        put_entity(&mut bytes, key.get(shared..).unwrap_or_default(), runs);
        before = key;
    }
    bytes
}

/// Writes the bytes of a key, with their length, and its runs.
pub(super) fn put_entity(bytes: &mut Vec<u8>, key: &[u8], runs: &Runs) {
    put_varint(bytes, key.len() as u64);
    bytes.extend_from_slice(key);
    put_varint(bytes, runs.run_count() as u64);
    let mut before: Option<Run> = None;
    for run in runs.iter() {
        match before {
            // Runs are never adjacent, so they are at least 2 apart.
            Some(before) => put_varint(bytes, run.first.0.abs_diff(before.last.0) - 2),
            None => put_varint(bytes, zig_zag(run.first.0)),
        }
        put_varint(bytes, run.last.0.abs_diff(run.first.0));
        before = Some(run);
    }
}

/// Reads what [`encode`] writes and hands the entities over in key order.
pub(super) fn decode(bytes: &[u8], mut entity: impl FnMut(&[u8], Runs)) -> Result<(), CodecError> {
    let mut reader = Reader { bytes, offset: 0 };
    if reader.byte()? != FORMAT {
        return Err(CodecError::NotCanonical { offset: 0, rule: "unknown format" });
    }
    let count = reader.varint()?;
    let mut before = Vec::new();
    for number in 0..count {
        let offset = reader.offset;
        let refuse = |rule| Err(CodecError::NotCanonical { offset, rule });
        let shared = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        let length = reader.varint()?;
        let rest = reader.take(length)?;
        if shared > before.len() {
            return refuse("a key shares more bytes than the key before has");
        }
        let mut key = before.get(..shared).unwrap_or_default().to_vec();
        key.extend_from_slice(rest);
        if number > 0 && key <= before {
            return refuse("keys are not in ascending order");
        }
        if shared_prefix(&before, &key) != shared {
            return refuse("a key does not share what it can");
        }
        let runs = reader.runs()?;
        entity(&key, runs);
        before = key;
    }
    if reader.offset < bytes.len() {
        return Err(CodecError::NotCanonical {
            offset: reader.offset,
            rule: "bytes follow the end",
        });
    }
    Ok(())
}

fn shared_prefix(before: &[u8], key: &[u8]) -> usize {
    before.iter().zip(key).take(SHARED_MAX).take_while(|(left, right)| left == right).count()
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn zig_zag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn un_zig_zag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, CodecError> {
        let byte =
            self.bytes.get(self.offset).ok_or(CodecError::Truncated { offset: self.offset })?;
        self.offset += 1;
        Ok(*byte)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CodecError> {
        let end = usize::try_from(length).ok().and_then(|length| self.offset.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or(CodecError::Truncated { offset: self.offset })?;
        self.offset += taken.len();
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, CodecError> {
        let start = self.offset;
        let refuse = |rule| Err(CodecError::NotCanonical { offset: start, rule });
        let mut value: u64 = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return refuse("a number has more than 64 bits");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return match byte {
                    0 if shift > 0 => refuse("a number is longer than it need be"),
                    _ => Ok(value),
                };
            }
        }
        refuse("a number has more than 64 bits")
    }

    fn runs(&mut self) -> Result<Runs, CodecError> {
        let start = self.offset;
        let refuse = |offset, rule| Err(CodecError::NotCanonical { offset, rule });
        let count = self.varint()?;
        if count == 0 {
            return refuse(start, "an entity has no buckets");
        }
        // A run takes at least two bytes.
        let left = self.bytes.len() - self.offset;
        if count > left as u64 / 2 {
            return Err(CodecError::Truncated { offset: self.bytes.len() });
        }
        let mut runs: Vec<Run> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let start = self.offset;
            let number = self.varint()?;
            let first = match runs.last() {
                None => Some(un_zig_zag(number)),
                Some(before) => before
                    .last
                    .0
                    .checked_add(2)
                    .and_then(|first| first.checked_add_unsigned(number)),
            };
            let more = self.varint()?;
            let last = first.and_then(|first| first.checked_add_unsigned(more));
            let (Some(first), Some(last)) = (first, last) else {
                return refuse(start, "a run ends beyond the last bucket");
            };
            runs.push(Run { first: BucketId(first), last: BucketId(last) });
        }
        Ok(Runs::from_sorted(runs, false))
    }
}
