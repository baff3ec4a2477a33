//! Holding the bytes of a segment against what the log says of them.

use std::sync::Arc;

use coverline_proto::log as proto;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::segment::FIRST_ROW_GROUP_BYTE;

/// A stretch of a file with a checksum of its own.
struct Span {
    name: String,
    start: u64,
    end: u64,
    crc32c: u32,
}

/// Running checksums over the bytes of one segment, which come in order.
pub(super) struct SegmentCheck<'a> {
    segment: &'a proto::AddSegment,
    spans: Vec<Span>,
    /// The span that the next byte is in, or in front of.
    span: usize,
    found: u32,
    position: u64,
    digest: blake3::Hasher,
    damaged: Vec<String>,
}

impl<'a> SegmentCheck<'a> {
    pub(super) fn new(segment: &'a proto::AddSegment) -> Self {
        let groups = segment.row_groups.iter().enumerate().map(|(number, group)| Span {
            name: format!("row group {number}"),
            start: group.start,
            end: group.end,
            crc32c: group.crc32c,
        });
        let mut spans: Vec<Span> = groups.collect();
        spans.push(Span {
            name: "the footer".to_owned(),
            start: spans.last().map_or(FIRST_ROW_GROUP_BYTE, |span| span.end),
            end: segment.file_bytes,
            crc32c: segment.tail_crc32c,
        });
        Self {
            segment,
            spans,
            span: 0,
            found: 0,
            position: 0,
            digest: blake3::Hasher::new(),
            damaged: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        let mut rest = bytes;
        while let Some((span, false)) =
            self.spans.get(self.span).map(|span| (span, rest.is_empty()))
        {
            let until = if self.position < span.start { span.start } else { span.end };
            let left = usize::try_from(until.saturating_sub(self.position)).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(left.min(rest.len()));
            if self.position >= span.start {
                self.found = crc32c::crc32c_append(self.found, now);
            }
            self.position += now.len() as u64;
            rest = later;
            if self.position >= span.end {
                if self.found != span.crc32c {
                    self.damaged.push(format!(
                        "{} has the CRC32C {:08x}, the log says {:08x}",
                        span.name, self.found, span.crc32c
                    ));
                }
                (self.span, self.found) = (self.span + 1, 0);
            }
        }
        self.position += rest.len() as u64;
    }

    /// What is wrong, once all bytes were taken.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.position != self.segment.file_bytes {
            self.damaged.insert(
                0,
                format!("it has {} bytes, the log says {}", self.position, self.segment.file_bytes),
            );
        } else if self.damaged.is_empty()
            && self.digest.finalize().as_bytes() != self.segment.file_digest.as_ref()
        {
            self.damaged.push("its BLAKE3 digest is not the one in the log".to_owned());
        }
        (!self.damaged.is_empty()).then(|| self.damaged.join("; "))
    }
}

/// Reads a whole segment, shows each piece to `each`, and says what is wrong with it.
///
/// # Errors
/// Of the storage, `NotFound` included, and of `each`.
pub(super) async fn read_segment(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    segment: &proto::AddSegment,
    mut each: impl AsyncFnMut(bytes::Bytes) -> std::io::Result<()> + Send,
) -> std::io::Result<Option<String>> {
    let mut check = SegmentCheck::new(segment);
    let mut pieces = store.get(&Path::from(path)).await?.into_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        check.update(&piece);
        each(piece).await?;
    }
    Ok(check.finish())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
