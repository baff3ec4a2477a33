//! What became of each file, in a line, and of all of them.

use std::fmt;
use std::path::Path;

use coverline_proto::flight::AppendReceipt;

use crate::cli::render::plural;
use crate::client::OverlapDetails;

/// What became of one file.
#[derive(Debug)]
pub(super) enum FileOutcome {
    /// Its rows are in the table now, or were before under the same append id.
    Received(AppendReceipt),
    /// The table refused it: an earlier append owns its buckets. That one may have had the very same rows.
    Overlapped(OverlapDetails),
}

/// Counts for the last line.
#[derive(Debug, Default)]
pub(super) struct Summary {
    appended: u64,
    already_loaded: u64,
    refused: u64,
    rows: i64,
    rows_skipped: u64,
}

impl Summary {
    /// Counts one file and says in a line what became of it.
    pub(super) fn add(&mut self, outcome: &FileOutcome, path: &Path) -> String {
        let path = path.display();
        match outcome {
            FileOutcome::Received(receipt) if receipt.repeated => {
                self.already_loaded += 1;
                let version = receipt.version;
                format!("{path}: already loaded as version {version} ({})", contents(receipt))
            }
            FileOutcome::Received(receipt) => {
                self.appended += 1;
                self.rows += receipt.record_count;
                self.rows_skipped += receipt.rows_skipped;
                format!("{path}: {}", describe(receipt))
            }
            FileOutcome::Overlapped(OverlapDetails {
                identical: Some(true),
                owner_version: Some(version),
                overlap_count,
                ..
            }) => {
                self.already_loaded += 1;
                let buckets = plural(*overlap_count, "bucket");
                format!("{path}: already loaded as version {version} ({buckets})")
            }
            FileOutcome::Overlapped(overlap) => {
                self.refused += 1;
                format!("{path}: refused, {}", describe_overlap(overlap))
            }
        }
    }

    /// Whether other rows own the buckets of at least one file.
    pub(super) fn has_refusals(&self) -> bool {
        self.refused > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.appended + self.already_loaded + self.refused;
        let rows = plural(self.rows.unsigned_abs(), "row");
        write!(f, "{}: {} appended ({rows}", plural(files, "file"), self.appended)?;
        if self.rows_skipped > 0 {
            write!(f, ", {} skipped", self.rows_skipped)?;
        }
        write!(f, "), {} already loaded", self.already_loaded)?;
        match self.refused {
            0 => Ok(()),
            refused => write!(f, ", {refused} refused"),
        }
    }
}

fn describe(receipt: &AppendReceipt) -> String {
    let version = receipt.version;
    if receipt.record_count == 0 {
        let skipped = plural(receipt.rows_skipped, "row");
        return format!("nothing new, {skipped} skipped, still at version {version}");
    }
    format!("version {version}, {}", contents(receipt))
}

fn contents(receipt: &AppendReceipt) -> String {
    let mut text = plural(receipt.record_count.unsigned_abs(), "row");
    if receipt.buckets_covered > 0 {
        text += &format!(", {}", plural(receipt.buckets_covered, "bucket"));
    }
    if receipt.rows_skipped > 0 {
        text += &format!(", {} skipped as already loaded", plural(receipt.rows_skipped, "row"));
    }
    text
}

fn describe_overlap(overlap: &OverlapDetails) -> String {
    let buckets = plural(overlap.overlap_count, "overlapping bucket");
    let OverlapDetails { example_entity, bucket_start, bucket_end, .. } = overlap;
    let separator = if example_entity.is_empty() { "" } else { " " };
    let since = match overlap.owner_version {
        Some(version) => format!(", since version {version}"),
        None => String::new(),
    };
    format!("{buckets} (first {example_entity}{separator}[{bucket_start}, {bucket_end}){since})")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn overlap() -> OverlapDetails {
        OverlapDetails {
            overlap_count: 24,
            example_entity: "symbol=\"NVDA\"".to_owned(),
            bucket_start: "2025-03-01T00:00:00Z".to_owned(),
            bucket_end: "2025-03-01T01:00:00Z".to_owned(),
            owner_version: Some(41),
            table_version: Some(58),
            identical: None,
        }
    }

    #[test]
    fn an_overlap_is_told_in_one_line() {
        for identical in [None, Some(false)] {
            let mut summary = Summary::default();
            let outcome = FileOutcome::Overlapped(OverlapDetails { identical, ..overlap() });
            assert_eq!(
                summary.add(&outcome, Path::new("a.parquet")),
                "a.parquet: refused, 24 overlapping buckets (first symbol=\"NVDA\" \
                 [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z), since version 41)"
            );
            assert!(summary.has_refusals());
        }
        let unknown = OverlapDetails {
            overlap_count: 1,
            example_entity: String::new(),
            owner_version: None,
            ..overlap()
        };
        assert_eq!(
            describe_overlap(&unknown),
            "1 overlapping bucket (first [2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z))"
        );
    }

    #[test]
    fn a_repeat_is_already_loaded_and_no_refusal() {
        let mut summary = Summary::default();
        let outcome =
            FileOutcome::Overlapped(OverlapDetails { identical: Some(true), ..overlap() });
        assert_eq!(
            summary.add(&outcome, Path::new("a.parquet")),
            "a.parquet: already loaded as version 41 (24 buckets)"
        );
        let receipt = AppendReceipt {
            record_count: 52,
            version: 2,
            buckets_covered: 52,
            repeated: true,
            ..AppendReceipt::default()
        };
        assert_eq!(
            summary.add(&FileOutcome::Received(receipt.clone()), Path::new("b.parquet")),
            "b.parquet: already loaded as version 2 (52 rows, 52 buckets)"
        );
        let receipt = AppendReceipt { rows_skipped: 1, ..receipt };
        assert_eq!(
            summary.add(&FileOutcome::Received(receipt), Path::new("c.csv")),
            "c.csv: already loaded as version 2 (52 rows, 52 buckets, 1 row skipped as already loaded)"
        );
        assert!(!summary.has_refusals());
        assert_eq!(summary.to_string(), "3 files: 0 appended (0 rows), 3 already loaded");
    }

    #[test]
    fn receipts_and_the_summary_count_what_happened() {
        let receipt = AppendReceipt {
            record_count: 70,
            version: 3,
            rows_skipped: 2,
            buckets_covered: 70,
            ..AppendReceipt::default()
        };
        let mut summary = Summary::default();
        let line = summary.add(&FileOutcome::Received(receipt), Path::new("b.csv"));
        assert_eq!(line, "b.csv: version 3, 70 rows, 70 buckets, 2 rows skipped as already loaded");
        let nothing = AppendReceipt { version: 3, rows_skipped: 72, ..AppendReceipt::default() };
        let line = summary.add(&FileOutcome::Received(nothing), Path::new("b.csv"));
        assert_eq!(line, "b.csv: nothing new, 72 rows skipped, still at version 3");
        summary.add(&FileOutcome::Overlapped(overlap()), Path::new("c.csv"));
        assert_eq!(
            summary.to_string(),
            "3 files: 2 appended (70 rows, 74 skipped), 0 already loaded, 1 refused"
        );
    }
}
