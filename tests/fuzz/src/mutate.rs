//! New inputs from old ones. Everything follows from the random numbers that are handed in.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Changes to one input at most.
const CHANGES_MAX: usize = 4;

/// Bytes that are put in or taken out at once, at most.
const STRETCH_MAX: usize = 32;

/// Numbers at the edges of what readers expect.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Up to four changes of any kind.
pub fn bytes(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..=CHANGES_MAX) {
        change(random, bytes);
    }
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let at = random.random_range(0..=bytes.len());
    let end = (at + random.random_range(1..=STRETCH_MAX)).min(bytes.len());
    match random.random_range(0..10) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.random();
            }
        }
        3 => {
            let new: Vec<u8> = (at..end.max(at + 1)).map(|_| random.random()).collect();
            bytes.splice(at..at, new);
        }
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copy = bytes[at..end].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, copy);
        }
        6 => bytes.truncate(at),
        7 => {
            let number = varint(number(random));
            let gone = if random.random() { (at + 1).min(bytes.len()) } else { at };
            bytes.splice(at..gone, number);
        }
        _ => {
            let number = number(random).to_le_bytes();
            let width = 1 << random.random_range(0..4);
            // Numbers lie at multiples of their width in most formats.
            let at = if random.random() { at / width * width } else { at };
            for (byte, new) in bytes.iter_mut().skip(at).zip(&number[..width]) {
                *byte = *new;
            }
        }
    }
}

/// A number near an edge.
fn number(random: &mut StdRng) -> u64 {
    let number = *NUMBERS.choose(random).unwrap();
    number.wrapping_add(random.random_range(0..3)).wrapping_sub(1)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Like [`bytes()`], for texts: words are put in, taken out, doubled and exchanged.
pub fn words(random: &mut StdRng, text: &mut Vec<u8>, words: &[&str]) {
    let old = String::from_utf8_lossy(text).into_owned();
    let mut parts: Vec<&str> = split(&old);
    for _ in 0..random.random_range(1..=CHANGES_MAX) {
        let at = random.random_range(0..=parts.len());
        let end = (at + random.random_range(1..=STRETCH_MAX / 4)).min(parts.len());
        match random.random_range(0..6) {
            0 | 1 => parts.splice(at..at, [" ", words.choose(random).unwrap(), " "]).for_each(drop),
            2 => drop(parts.drain(at..end)),
            3 => {
                let copy = parts[at..end].to_vec();
                let to = random.random_range(0..=parts.len());
                let times = 1 << random.random_range(0..4);
                let copies = copy.repeat(times);
                parts.splice(to..to, copies);
            }
            _ if at < parts.len() => parts[at] = words.choose(random).unwrap(),
            _ => {}
        }
    }
    *text = parts.concat().into_bytes();
    if random.random_range(0..4) == 0 {
        change(random, text);
    }
}

/// Puts one of the new words in the place of one of the old ones, where the text has any.
pub fn one_word(random: &mut StdRng, text: &mut Vec<u8>, old: &[&str], new: &[&str]) {
    let whole = String::from_utf8_lossy(text).into_owned();
    let mut parts = split(&whole);
    let places: Vec<usize> = (0..parts.len()).filter(|at| old.contains(&parts[*at])).collect();
    if let Some(at) = places.choose(random) {
        parts[*at] = new.choose(random).unwrap();
    }
    *text = parts.concat().into_bytes();
}

/// Words, and what stands between them.
fn split(text: &str) -> Vec<&str> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match is_word(first) {
            true => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}
