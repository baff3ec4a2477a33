//! The frame around every log file: magic and kind, format version, length, digest of the previous record, CRC32C.
//!
//! ```text
//! offset  bytes  what
//!      0      7  magic "COVERLN"
//!      7      1  kind: 'R' record, 'C' checkpoint
//!      8      4  format version, little endian
//!     12      8  payload length, little endian
//!     20     32  BLAKE3 of the whole previous framed record (zeros in the first); in a checkpoint, of the record at its version
//!     52      n  payload
//!   52+n      4  CRC32C of everything before, little endian
//! ```
//!
//! Every future format keeps the magic, the format version and the CRC32C of everything before it at the end, so that an old
//! reader tells a newer file from a damaged one. A file's length is never taken from the file: it must equal what was read.

use bytes::Bytes;

use super::LogError;

/// BLAKE3 digest of a framed record.
pub type Digest = [u8; 32];

/// What the first record names as its previous record.
pub(crate) const NO_RECORD: Digest = [0; 32];

const MAGIC: &[u8; 7] = b"COVERLN";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 52;
const CRC_BYTES: usize = 4;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A commit record.
    Record,
    /// A checkpoint.
    Checkpoint,
}

impl FrameKind {
    fn byte(self) -> u8 {
        match self {
            Self::Record => b'R',
            Self::Checkpoint => b'C',
        }
    }
}

/// A frame taken apart, its checksum verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Digest of the record before it (of the record at its version, for a checkpoint).
    pub previous: Digest,
    /// The message inside.
    pub payload: Bytes,
}

/// BLAKE3 of a framed record, by which the next record names it.
pub(super) fn digest(framed: &[u8]) -> Digest {
    *blake3::hash(framed).as_bytes()
}

/// Frames a payload.
pub(crate) fn encode(kind: FrameKind, previous: &Digest, payload: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(HEADER_BYTES + payload.len() + CRC_BYTES);
    framed.extend_from_slice(MAGIC);
    framed.push(kind.byte());
    framed.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    framed.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    framed.extend_from_slice(previous);
    framed.extend_from_slice(payload);
    let crc = crc32c::crc32c(&framed);
    framed.extend_from_slice(&crc.to_le_bytes());
    framed.into()
}

/// Takes a frame apart. `file` names it in errors.
///
/// # Errors
/// `Future` for a format this code does not know; `Damaged` for anything else, with what was expected and found.
pub(crate) fn decode(kind: FrameKind, framed: &Bytes, file: &str) -> Result<Frame, LogError> {
    let damaged = |what: String| LogError::Damaged { file: file.to_owned(), what };
    let (Some(body), Some(crc)) = (
        framed.len().checked_sub(CRC_BYTES).and_then(|end| framed.get(..end)),
        framed.last_chunk::<CRC_BYTES>(),
    ) else {
        return Err(damaged(format!("it has {} bytes, too few for a log file", framed.len())));
    };
    let Some((header, payload)) = body.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged(format!("it has {} bytes, too few for a log file", framed.len())));
    };
    if !header.starts_with(MAGIC) {
        return Err(damaged("it does not start with the magic of a log file".to_owned()));
    }
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if expected != found {
        return Err(damaged(format!(
            "its CRC32C is {found:08x}, but {expected:08x} was written into it"
        )));
    }
    // From here on the bytes are what some Coverline wrote.
    let [_, _, _, _, _, _, _, kind_found, f0, f1, f2, f3, l0, l1, l2, l3, l4, l5, l6, l7, ..] =
        *header;
    let format = u32::from_le_bytes([f0, f1, f2, f3]);
    if format != FORMAT_VERSION {
        return Err(LogError::Future { file: file.to_owned(), what: format!("format {format}") });
    }
    if kind_found != kind.byte() {
        return Err(damaged(format!(
            "it is of kind '{}' where '{}' belongs",
            char::from(kind_found).escape_default(),
            char::from(kind.byte())
        )));
    }
    let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    if length != payload.len() as u64 {
        return Err(damaged(format!(
            "it holds {} bytes of payload, but {length} were written into it",
            payload.len()
        )));
    }
    let mut previous = NO_RECORD;
    previous.copy_from_slice(&header[HEADER_BYTES - size_of::<Digest>()..]);
    Ok(Frame { previous, payload: framed.slice(HEADER_BYTES..framed.len() - CRC_BYTES) })
}
