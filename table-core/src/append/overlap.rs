//! An append that meets owned pairs: what its refusal says, and whether it only repeats what the table holds (C4).
//!
//! Two appends are the same when they have the same rows, as the table keeps them, in the same order. Knowing that takes the
//! whole stream, so an append whose rows so far may be those of the owner is read on, without checking or writing anything,
//! until it differs or ends.

use std::sync::Arc;

use coverline_proto::log::RowsFingerprint;

use super::fingerprint::RunningFingerprint;
use super::owner::Owner;
use super::plan::unclaimed;
use crate::Table;
use crate::coverage::CoverageDelta;
use crate::error::{Error, Overlap, Result};
use crate::snapshot::Snapshot;

/// Bytes of rows, written out, that are read of an append only to learn whether it repeats another: 1 GiB. With more, that stays
/// open.
const COMPARED_BYTES_MAX: u64 = 1 << 30;

/// Owned pairs that an append met.
#[derive(Debug)]
pub(super) struct Meeting {
    overlap: Overlap,
    owner: Option<Owner>,
    compared_bytes: u64,
}

impl Meeting {
    /// Finds out about the owner of the first of these pairs.
    ///
    /// # Errors
    /// `Internal` when there are no pairs, which cannot be.
    pub(super) async fn new(
        table: &Arc<Table>,
        snapshot: &Snapshot,
        owned: &CoverageDelta,
    ) -> Result<Self> {
        let first = owned
            .iter()
            .filter_map(|(entity, runs)| Some((entity, runs.bounds()?.first)))
            .min_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)));
        let (Some((entity, bucket)), Some(layout)) = (first, &snapshot.layout) else {
            return Err(Error::internal("an overlap without pairs"));
        };
        let Some(bucketing) = &layout.bucketing else {
            return Err(Error::internal("an overlap in a table without buckets"));
        };
        // The owner is a courtesy: a log that cannot be read now must not hide the overlap.
        let owner = table.owning_append(snapshot, entity, bucket).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the owner of an overlapped bucket could not be read");
            None
        });
        let overlap = Overlap {
            table: table.name(),
            overlap_count: count(owned),
            example_entity: entity.display(&layout.entity_names, &layout.entity_types),
            bucket_start: bucketing.format(bucketing.start(bucket)),
            bucket_end: bucketing.format(bucketing.end(bucket)),
            owner_version: owner.as_ref().map(|owner| owner.version.0),
            table_version: snapshot.version.0,
            identical: None,
        };
        Ok(Self { overlap, owner, compared_bytes: 0 })
    }

    /// Whether the append may turn out to be the owner's: `seen` are the pairs of all of its rows so far. `None` when the record
    /// of the owner does not say what rows it had.
    pub(super) fn may_repeat(
        &self,
        seen: &[&CoverageDelta],
        ours: &RunningFingerprint,
    ) -> Option<bool> {
        let (pairs, rows) = self.owner.as_ref()?.rows.as_ref()?;
        let in_pairs = || seen.iter().all(|seen| unclaimed(seen, pairs).is_empty());
        Some(!ours.differs_from(rows) && in_pairs())
    }

    /// Takes note of more rows, of `bytes` written out.
    ///
    /// # Errors
    /// The refusal, once it is known that the append is another one, or not worth finding out.
    pub(super) fn compare(&mut self, ours: &RunningFingerprint, bytes: u64) -> Result<(), Error> {
        let Some((_, rows)) = self.owner.as_ref().and_then(|owner| owner.rows.as_ref()) else {
            return Err(self.refusal(None));
        };
        if ours.differs_from(rows) {
            return Err(self.refusal(Some(false)));
        }
        self.compared_bytes = self.compared_bytes.saturating_add(bytes);
        if self.compared_bytes > COMPARED_BYTES_MAX {
            return Err(self.refusal(None));
        }
        Ok(())
    }

    /// The refusal of an append that was read to its end.
    pub(super) fn conclude(&self, ours: Option<&RowsFingerprint>) -> Error {
        let theirs = self.owner.as_ref().and_then(|owner| owner.rows.as_ref());
        self.refusal(theirs.zip(ours).map(|((_, theirs), ours)| theirs == ours))
    }

    /// The refusal, saying whether the rows are those of the owner.
    pub(super) fn refusal(&self, identical: Option<bool>) -> Error {
        let mut overlap = Overlap { identical, ..self.overlap.clone() };
        // Then its pairs are the owner's too, also those of rows that were not read when they were counted.
        if identical == Some(true)
            && let Some((pairs, _)) = self.owner.as_ref().and_then(|owner| owner.rows.as_ref())
        {
            overlap.overlap_count = count(pairs);
        }
        Error::overlap_with(overlap)
    }
}

fn count(pairs: &CoverageDelta) -> u64 {
    u64::try_from(pairs.pair_count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;
    use crate::types::Version;

    #[test]
    fn a_comparison_that_takes_too_much_is_left_open() {
        let overlap = Overlap {
            table: "t".into(),
            overlap_count: 1,
            example_entity: String::new(),
            bucket_start: "0".into(),
            bucket_end: "1".into(),
            owner_version: Some(2),
            table_version: 3,
            identical: None,
        };
        let rows = RowsFingerprint { row_count: u64::MAX, ..RowsFingerprint::default() };
        let owner = Owner { version: Version(2), rows: Some((CoverageDelta::default(), rows)) };
        let mut meeting = Meeting { overlap, owner: Some(owner), compared_bytes: 0 };
        let ours = RunningFingerprint::new(&Schema::empty());
        meeting.compare(&ours, COMPARED_BYTES_MAX).unwrap();
        let error = meeting.compare(&ours, 1).unwrap_err();
        assert_eq!(error.overlap().unwrap().identical, None);
    }
}
