//! Checksums over pieces of any size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

/// 100 bytes: magic, two row groups, footer.
fn sample() -> (Vec<u8>, proto::AddSegment) {
    let bytes: Vec<u8> = (0..100_u8).map(|byte| byte.wrapping_mul(37)).collect();
    let group = |start: usize, end: usize| proto::RowGroup {
        row_count: 1,
        start: start as u64,
        end: end as u64,
        crc32c: crc32c::crc32c(&bytes[start..end]),
    };
    let segment = proto::AddSegment {
        file_bytes: 100,
        row_groups: vec![group(4, 30), group(30, 71)],
        tail_crc32c: crc32c::crc32c(&bytes[71..]),
        file_digest: blake3::hash(&bytes).as_bytes().to_vec().into(),
        ..proto::AddSegment::default()
    };
    (bytes, segment)
}

fn check(bytes: &[u8], segment: &proto::AddSegment, piece: usize) -> Option<String> {
    let mut check = SegmentCheck::new(segment);
    bytes.chunks(piece).for_each(|piece| check.update(piece));
    check.finish()
}

#[test]
fn a_sound_segment_passes_however_it_is_cut() {
    let (bytes, segment) = sample();
    for piece in 1..=101 {
        assert_eq!(check(&bytes, &segment, piece), None, "pieces of {piece}");
    }
}

#[test]
fn every_flipped_bit_is_found_and_placed() {
    let (bytes, segment) = sample();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..4 => "BLAKE3",
            4..30 => "row group 0",
            30..71 => "row group 1",
            _ => "the footer",
        };
        let found = check(&damaged, &segment, 7).unwrap();
        assert!(found.contains(expected), "bit {bit}: {found}");
    }
}

#[test]
fn every_other_length_is_found() {
    let (bytes, segment) = sample();
    for length in 0..100 {
        let found = check(&bytes[..length], &segment, 16).unwrap();
        assert!(found.contains(&format!("{length} bytes")), "{found}");
    }
    let longer = [bytes.as_slice(), b"more"].concat();
    assert!(check(&longer, &segment, 16).unwrap().contains("104 bytes"));
}
