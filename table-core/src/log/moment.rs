//! Which version was the newest at a moment: a search in the log, whose records have strictly ascending times (C15).

use super::{LogError, LogStore};
use crate::types::Version;

/// The newest of the versions 1 to `newest` that was committed at `time_us` (microseconds since the epoch) or before; when the
/// first came later, the time of that. Reads as many records as there are doublings from 1 to `newest`.
///
/// # Errors
/// `Missing` or `Damaged` for a record, `Io` when the storage cannot be read.
pub(crate) async fn newest_at(
    log: &LogStore,
    newest: Version,
    time_us: i64,
) -> Result<Result<Version, i64>, LogError> {
    // Versions up to `before` were there at the moment, from `after` on they were not.
    let (mut before, mut after) = (0, newest.0.saturating_add(1));
    let mut first_us = i64::MAX;
    while before + 1 < after {
        let middle = Version(before + (after - before) / 2);
        let stored = log.read_record(middle).await?;
        let stored = stored.ok_or_else(|| LogError::Missing { file: log.record_file(middle) })?;
        first_us = stored.record.commit_time_us;
        if first_us <= time_us {
            before = middle.0;
        } else {
            after = middle.0;
        }
    }
    // With no version before the moment, the record read last was the first.
    Ok(if before > 0 { Ok(Version(before)) } else { Err(first_us) })
}

#[cfg(test)]
#[path = "moment_tests.rs"]
mod tests;
