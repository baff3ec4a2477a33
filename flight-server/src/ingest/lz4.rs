//! How much an LZ4 frame can unfold to, read from its block headers without decompressing anything. Pure.
//!
//! arrow-ipc reads a frame to its end and compares the length with the claimed one only afterwards, so a frame that claims
//! little and unfolds to 255 times its size has to be caught before. Format:
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.

const MAGIC: u32 = 0x184D_2204;
const LEGACY_MAGIC: u32 = 0x184C_2102;
const LEGACY_BLOCK_BYTES: u64 = 8 << 20;
const FLAG_BLOCK_CHECKSUM: u8 = 0b0001_0000;
const FLAG_CONTENT_SIZE: u8 = 0b0000_1000;
const FLAG_DICTIONARY_ID: u8 = 0b0000_0001;
const BLOCK_STORED: u32 = 0x8000_0000;

/// The most bytes that one byte of an LZ4 block can unfold to: a run of 255-valued length bytes.
const EXPANSION_MAX: u64 = 255;

/// Room for the fixed part of a match, which the first bytes of a block give for free.
const EXPANSION_SLACK_BYTES: u64 = 64;

/// An upper bound of what the first frame in `bytes` unfolds to. Bytes that are no frame at all unfold to nothing: the
/// decoder refuses them.
pub(super) fn unfolded_bytes_max(bytes: &[u8]) -> u64 {
    let mut cursor = Cursor { bytes };
    let (block_bytes_max, checksum) = match cursor.u32() {
        Some(MAGIC) => match frame_header(&mut cursor) {
            Some(header) => header,
            None => return 0,
        },
        Some(LEGACY_MAGIC) => (LEGACY_BLOCK_BYTES, false),
        _ => return 0,
    };
    let mut total = 0u64;
    while let Some(head) = cursor.u32() {
        if head == 0 {
            break;
        }
        let len = u64::from(head & !BLOCK_STORED);
        total += match head & BLOCK_STORED {
            0 => block_bytes_max.min(len * EXPANSION_MAX + EXPANSION_SLACK_BYTES),
            _ => block_bytes_max.min(len),
        };
        let step = len + if checksum { 4 } else { 0 };
        if cursor.skip(step).is_none() {
            break;
        }
    }
    total
}

fn frame_header(cursor: &mut Cursor<'_>) -> Option<(u64, bool)> {
    let flags = cursor.u8()?;
    let block_bytes_max = match (cursor.u8()? >> 4) & 0b111 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return None,
    };
    if flags & FLAG_CONTENT_SIZE != 0 {
        cursor.skip(8)?;
    }
    if flags & FLAG_DICTIONARY_ID != 0 {
        cursor.skip(4)?;
    }
    cursor.skip(1)?;
    Some((block_bytes_max, flags & FLAG_BLOCK_CHECKSUM != 0))
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.bytes.split_first_chunk::<4>()?;
        self.bytes = rest;
        Some(u32::from_le_bytes(*first))
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        let count = usize::try_from(count).ok()?;
        self.bytes = self.bytes.get(count..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::unfolded_bytes_max;

    #[test]
    fn no_frame_unfolds_to_nothing() {
        for bytes in [&b""[..], b"abc", b"abcdefghijklmnop", &0x184D_2204u32.to_le_bytes()] {
            assert_eq!(unfolded_bytes_max(bytes), 0);
        }
    }

    #[test]
    fn a_frame_of_two_blocks_is_bounded_by_its_blocks() {
        let mut frame = 0x184D_2204u32.to_le_bytes().to_vec();
        frame.extend([0b0110_0000, 0b0100_0000, 0]);
        frame.extend(3u32.to_le_bytes());
        frame.extend([1, 2, 3]);
        frame.extend((5u32 | 0x8000_0000).to_le_bytes());
        frame.extend([1, 2, 3, 4, 5]);
        frame.extend(0u32.to_le_bytes());
        frame.extend([9; 100]);
        assert_eq!(unfolded_bytes_max(&frame), 3 * 255 + 64 + 5);
    }

    #[test]
    fn a_block_never_unfolds_to_more_than_its_frame_allows() {
        let mut frame = 0x184D_2204u32.to_le_bytes().to_vec();
        frame.extend([0b0110_0000, 0b0100_0000, 0]);
        for _ in 0..3 {
            frame.extend(60_000u32.to_le_bytes());
            frame.extend(vec![0xff; 60_000]);
        }
        assert_eq!(unfolded_bytes_max(&frame), 3 * (64 << 10));
    }
}
