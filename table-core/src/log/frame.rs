//! The frame around every log file: magic, kind, format version, length, digest of the previous record, CRC32C.

/// BLAKE3 digest of a framed record.
pub type Digest = [u8; 32];

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A commit record.
    Record,
    /// A checkpoint.
    Checkpoint,
}
