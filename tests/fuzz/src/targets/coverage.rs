//! Coverage as bytes, as records and checkpoints hold it.

use std::collections::BTreeMap;

use table_core::coverage::{Coverage, CoverageDelta, Run};

use crate::{Outcome, Target, mutate};

/// Bytes of coverage are refused, or are the only ones for the pairs that they hold.
pub static COVERAGE_DECODE: Target = Target {
    name: "coverage_decode",
    read,
    mutate: mutate::bytes,
    inputs: 20_000,
    bytes_max: 4 << 10,
};

/// What a table may hold in memory for coverage of any size.
const MEMORY_BYTES: usize = 16 << 10;

/// What a table may hold in memory for each byte of coverage that it read.
const MEMORY_PER_BYTE: usize = 400;

fn read(input: &[u8]) -> Outcome {
    let delta = match CoverageDelta::decode(input) {
        Ok(delta) => delta,
        Err(error) => {
            assert_eq!(Coverage::decode(input, &[]).unwrap_err(), error);
            let mut coverage = Coverage::default();
            assert_eq!(coverage.add_encoded(input, &[]).unwrap_err(), error);
            return Outcome::Refused;
        }
    };
    assert_eq!(delta.encode(), input);
    let coverage = Coverage::decode(input, &[]).unwrap();
    assert_eq!(coverage.encode(), input);
    let memory_bytes = coverage.memory_bytes();
    assert!(memory_bytes <= MEMORY_BYTES + MEMORY_PER_BYTE * input.len(), "{memory_bytes}");

    let pairs: BTreeMap<_, Vec<Run>> =
        delta.iter().map(|(entity, runs)| (entity.clone(), runs.iter().collect())).collect();
    let counted = |run: &Run| (i128::from(run.last.0) - i128::from(run.first.0) + 1) as u128;
    let count: u128 = pairs.values().flatten().map(counted).sum();
    assert_eq!((delta.pair_count(), coverage.pair_count()), (count, count));
    assert_eq!((delta.entity_count(), coverage.entity_count()), (pairs.len(), pairs.len()));
    for (entity, runs) in &pairs {
        for neighbours in runs.windows(2) {
            assert!(i128::from(neighbours[0].last.0) + 1 < i128::from(neighbours[1].first.0));
        }
        for run in runs {
            assert!(run.first <= run.last);
            assert!(coverage.contains(entity, run.first) && coverage.contains(entity, run.last));
        }
    }
    assert_eq!(coverage.overlap(&delta), delta);
    let mut other = Coverage::default();
    assert_eq!(other.add_encoded(input, &[]).unwrap(), 0);
    assert_eq!(other.digest(), coverage.digest());
    assert_eq!(other.add_encoded(input, &[]).unwrap(), count);
    Outcome::Taken
}
