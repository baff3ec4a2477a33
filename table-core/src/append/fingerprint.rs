//! The fingerprint that every append to a time-series table leaves in its record, and how a later one is held against it.
//!
//! Besides the digest of all rows it has digests of the first 4,096, 8,192, 16,384, ... rows: sixteen bytes and eight for each
//! doubling. So an append that differs is known to differ after at most twice the rows that it takes to see it, and only one that
//! does repeat has to be read to its end. Pure.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Schema;
use bytes::Bytes;
use coverline_proto::log::RowsFingerprint;

use super::digest::{RowsDigest, Xxh3};

/// Rows of the first prefix that has a digest of its own.
const PREFIX_ROWS_MIN: u64 = 4096;

/// The fingerprint of an append under way.
#[derive(Debug)]
pub(super) struct RunningFingerprint {
    rows: RowsDigest<Xxh3>,
    prefixes: Vec<u64>,
}

impl RunningFingerprint {
    /// Of no rows of this schema.
    pub(super) fn new(schema: &Schema) -> Self {
        Self { rows: RowsDigest::new(schema), prefixes: Vec::new() }
    }

    /// Takes the columns of one batch.
    pub(super) fn update(&mut self, columns: &[ArrayRef], row_count: usize) {
        let mut start = 0;
        while start < row_count {
            let boundary = PREFIX_ROWS_MIN << self.prefixes.len();
            let room = usize::try_from(boundary - self.rows.row_count()).unwrap_or(usize::MAX);
            let taken = room.min(row_count - start);
            if taken == row_count {
                self.rows.update(columns, taken);
            } else {
                let columns: Vec<_> =
                    columns.iter().map(|column| column.slice(start, taken)).collect();
                self.rows.update(&columns, taken);
            }
            start += taken;
            if self.rows.row_count() == boundary {
                self.prefixes.push(leading(&self.rows.digest()));
            }
        }
    }

    /// The fingerprint of the rows taken so far.
    pub(super) fn value(&self) -> RowsFingerprint {
        RowsFingerprint {
            row_count: self.rows.row_count(),
            digest: Bytes::copy_from_slice(&self.rows.digest()),
            prefixes: self.prefixes.clone(),
        }
    }

    /// Whether no rows that may still come can make these the rows of `theirs`.
    pub(super) fn differs_from(&self, theirs: &RowsFingerprint) -> bool {
        self.rows.row_count() > theirs.row_count
            || self.prefixes.iter().zip(&theirs.prefixes).any(|(ours, theirs)| ours != theirs)
    }
}

fn leading(digest: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("s", DataType::Utf8, true),
        ])
    }

    /// `row_count` rows, of which row `changed` is another than usual.
    fn columns(row_count: usize, changed: Option<usize>) -> Vec<ArrayRef> {
        let numbers = (0..row_count).map(|row| row as i64 + i64::from(Some(row) == changed));
        let texts = (0..row_count).map(|row| (row % 7 != 3).then(|| format!("s{}", row % 11)));
        vec![
            Arc::new(Int64Array::from_iter_values(numbers)),
            Arc::new(texts.collect::<StringArray>()),
        ]
    }

    fn of(columns: &[ArrayRef], step: usize) -> RunningFingerprint {
        let mut running = RunningFingerprint::new(&schema());
        let row_count = columns[0].len();
        for start in (0..row_count).step_by(step) {
            let count = step.min(row_count - start);
            let part: Vec<_> = columns.iter().map(|column| column.slice(start, count)).collect();
            running.update(&part, count);
        }
        running
    }

    #[test]
    fn batch_boundaries_do_not_matter() {
        let all = columns(20_000, None);
        let whole = of(&all, 20_000).value();
        assert_eq!((whole.row_count, whole.prefixes.len()), (20_000, 3));
        for step in [1_000, 4_096, 4_097, 8_192] {
            assert_eq!(of(&all, step).value(), whole, "in steps of {step}");
        }
        assert_eq!(of(&columns(4_096, None), 4_096).value().prefixes, whole.prefixes[..1]);
    }

    #[test]
    fn rows_that_differ_are_seen_by_twice_as_many() {
        let theirs = of(&columns(20_000, None), 20_000).value();
        for (changed, seen_by) in [(0, 4_096), (4_095, 4_096), (4_096, 8_192), (9_000, 16_384)] {
            let ours = columns(20_000, Some(changed));
            let first = |count: usize| -> Vec<ArrayRef> {
                ours.iter().map(|column| column.slice(0, count)).collect()
            };
            assert!(!of(&first(seen_by - 1), 500).differs_from(&theirs), "{changed}");
            assert!(of(&first(seen_by), 500).differs_from(&theirs), "{changed}");
        }
        // Behind the last prefix only the whole tells.
        let ours = of(&columns(20_000, Some(19_999)), 500);
        assert!(!ours.differs_from(&theirs));
        assert_ne!(ours.value(), theirs);
    }

    #[test]
    fn more_rows_differ_at_once_and_fewer_at_the_end() {
        let theirs = of(&columns(100, None), 100).value();
        assert!(of(&columns(101, None), 101).differs_from(&theirs));
        let fewer = of(&columns(99, None), 99);
        assert!(!fewer.differs_from(&theirs));
        assert_ne!(fewer.value(), theirs);
    }
}
