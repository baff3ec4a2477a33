//! Several tables as they are at one moment, so that a statement which names more than one sees nothing that never was (C7).

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;

use crate::error::Result;
use crate::guard::Guard;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// Reads the newest versions of several tables again until two readings agree: only then they held at one moment, that between
/// the readings. `snapshots` is the first reading, in the order of `tables`, and in the end the last.
///
/// Where others write, `looks` finds what they committed before every reading. Tables that move all the time are read
/// `readings_max` times and left at that.
///
/// # Errors
/// As [`Table::refresh`].
pub async fn at_one_moment(
    tables: &[Arc<Table>],
    snapshots: &mut [Arc<Snapshot>],
    looks: bool,
    readings_max: usize,
) -> Result<()> {
    if tables.len() < 2 || !Guard::OneMoment.stands() {
        return Ok(());
    }
    for _ in 0..readings_max {
        if looks {
            try_join_all(tables.iter().map(|table| table.refresh(Duration::ZERO))).await?;
        }
        let mut moved = false;
        for (table, snapshot) in tables.iter().zip(snapshots.iter_mut()) {
            let newest = table.snapshot();
            moved |= newest.version != snapshot.version;
            *snapshot = newest;
        }
        if !moved {
            break;
        }
    }
    Ok(())
}
