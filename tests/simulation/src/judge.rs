//! What must hold when all is quiet again: the log explains everything that clients were told, every row is there once, the
//! index is the fold of the log, and nothing is wedged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use end_to_end::history::{self, Answer, Call, Event, History, Key};
use futures::TryStreamExt;
use table_core::coverage::CoverageDelta;
use table_core::hot::HotRows;
use table_core::log::record::Action;
use table_core::storage::layout;
use table_core::types::{BucketId, EntityKey, EntityValue, SegmentId, Version};
use table_core::{Catalog, CatalogOptions, Snapshot, Table};

use crate::client::Worker;
use crate::clock::SimClock;
use crate::data::{self, BUCKET, Row};
use crate::store::{Life, SETTLED_US, StoreHandle};
use crate::world::{TABLE, World};

type Verdict<T = ()> = Result<T, String>;

/// A server's newest state: version, digest of its coverage, rows.
type Shown = (u64, u64, u64);

/// Lets the weather clear, proves that nothing is wedged, and holds what clients saw against the log.
///
/// # Errors
/// The promise that was broken.
pub async fn judge(world: &Arc<World>, mut workers: Vec<Worker>) -> Verdict {
    world.calm_down();
    world.time.sleep_us(SETTLED_US).await;
    // After everything that went wrong, one more client is served at once, by every server and through both doors.
    let mut last = Worker::new(world, workers.len());
    for server in 0..world.addresses.len() {
        last.only = Some(server);
        // One that must end itself still may do so at the first.
        for _ in 0..3 {
            last.append_own().await;
        }
        let event = last.calls.last().map(|call| &call.event);
        if !matches!(event, Some(Event::Append { answer: Answer::Committed { .. }, .. })) {
            return Err(format!("wedged: in fair weather a client was told {event:?}"));
        }
        last.maintain().await;
    }
    workers.push(last);
    let shown: Vec<Shown> = shown_by_servers(world).await?;

    let life = Life::default();
    let store = StoreHandle::new(&world.remote, "judge".to_owned(), life.clone());
    let clock = Arc::new(SimClock::new(world.time.clone(), world.seed_of("judge")));
    let access = world.plan.access();
    let options = CatalogOptions { clock, access, ..CatalogOptions::default() };
    let opened = async {
        let catalog = Catalog::over(store, options).await?;
        catalog.table(TABLE).await
    };
    let table = opened.await.map_err(|error| format!("the judge cannot open the root: {error}"))?;
    let snapshot = table.snapshot();

    let (mut history, stored) = history_of(world, &table, &snapshot, &mut workers).await?;
    let mut counts = BTreeMap::new();
    data::count_rows(stored.iter().cloned(), &mut counts);
    let (sent, answered) = (world.moment(), world.moment());
    let event = Event::Read { version: snapshot.version.0, scope: None, rows: counts };
    history.calls.push(Call { client: workers.len(), sent, answered, event });
    history::check(&history).map_err(|violation| format!("{violation}"))?;
    old_reads_are_folds(&history, &workers)?;
    rows_are_exact(&history, stored.clone())?;
    index_is_fold(&snapshot, &stored)?;
    for (version, coverage, rows) in shown {
        let fold = table.snapshot_at(Version(version)).await.map_err(|error| error.to_string())?;
        if (fold.coverage.digest(), fold.row_count) != (coverage, rows) {
            return Err(format!("C17: a server's index is not the fold of the log at {version}"));
        }
    }
    count(world, &history);
    life.end();
    Ok(())
}

async fn shown_by_servers(world: &Arc<World>) -> Verdict<Vec<Shown>> {
    let mut shown = Vec::new();
    for address in &world.addresses {
        let Some(running) = address.current() else { continue };
        let table = running.catalog.table(TABLE).await.map_err(|error| error.to_string())?;
        let snapshot = table.snapshot();
        shown.push((snapshot.version.0, snapshot.coverage.digest(), snapshot.row_count));
    }
    Ok(shown)
}

/// Everything that was seen, with the log as it is; and all rows of the newest version.
async fn history_of(
    world: &World,
    table: &Table,
    snapshot: &Snapshot,
    workers: &mut [Worker],
) -> Verdict<(History, Vec<Row>)> {
    let mut history = History::default();
    for worker in workers {
        history.appends.append(&mut worker.appends);
        history.calls.append(&mut worker.calls);
    }
    let layout = snapshot.layout.as_ref().ok_or("the table has no schema")?;
    let segment = |id: SegmentId| {
        let path = layout::segment(snapshot.table_id, id);
        let file = world.remote.peek(&path).ok_or(format!("{path} is missing"))?;
        Ok::<_, String>(data::rows_in_segment(file))
    };
    let records = table.log().read_records(Version(1), snapshot.version);
    let records: Vec<_> = records.try_collect().await.map_err(|error| error.to_string())?;
    for stored in records {
        let record = stored.record;
        let mut rows = Vec::new();
        for action in record.actions.iter().filter(|_| record.operation == "append") {
            match action {
                Action::InlineRows(inline) => {
                    let hot = HotRows::from_proto(inline, record.version, layout)?;
                    rows.extend(data::rows_in(&hot.batch));
                }
                Action::AddSegment(add) => {
                    let id = SegmentId::from_slice(&add.segment_id).ok_or("an id of 16 bytes")?;
                    rows.extend(segment(id)?);
                }
                _ => {}
            }
        }
        let keys: BTreeSet<Key> = rows.iter().map(|row| row.2).collect();
        history.log.insert(record.version.0, keys.into_iter().collect());
    }
    let mut stored = Vec::new();
    for meta in &snapshot.segments {
        stored.extend(segment(meta.id)?);
    }
    stored.extend(snapshot.hot.iter().flat_map(|hot| data::rows_in(&hot.batch)));
    Ok((history, stored))
}

/// Rule 3 for reads at a version that was asked for.
fn old_reads_are_folds(history: &History, workers: &[Worker]) -> Verdict {
    for (version, rows) in workers.iter().flat_map(|worker| &worker.old_reads) {
        let keys = history.log.range(..=version).flat_map(|(_, keys)| keys);
        let fold: BTreeMap<Key, u64> =
            keys.map(|key| (*key, history.appends[key].row_count)).collect();
        if fold != *rows {
            return Err(format!("version {version} was read as {rows:?}, and is {fold:?}"));
        }
    }
    Ok(())
}

/// Every row of every append in the log, once, and no other.
fn rows_are_exact(history: &History, mut stored: Vec<Row>) -> Verdict {
    let keys = history.log.values().flatten();
    let mut expected: Vec<Row> =
        keys.flat_map(|key| data::rows(*key, &history.appends[key])).collect();
    expected.sort_unstable();
    stored.sort_unstable();
    if expected != stored {
        return Err(format!("the table holds {stored:?}, and should hold {expected:?}"));
    }
    Ok(())
}

/// C17: the pairs of the rows are covered, and no others.
fn index_is_fold(snapshot: &Snapshot, stored: &[Row]) -> Verdict {
    let mut pairs = CoverageDelta::default();
    for (entity, index, _) in stored {
        let entity = EntityKey::encode(&[EntityValue::Utf8(entity.clone())]);
        pairs.insert(&entity, BucketId(index.div_euclid(BUCKET)));
    }
    let covered = snapshot.coverage.overlap(&pairs).pair_count();
    if covered != pairs.pair_count() || covered != snapshot.coverage.pair_count() {
        return Err(format!(
            "C17: {} pairs have rows, {covered} of them are covered, and {} are covered in all",
            pairs.pair_count(),
            snapshot.coverage.pair_count()
        ));
    }
    Ok(())
}

fn count(world: &World, history: &History) {
    let mut tries: BTreeMap<Key, (bool, bool)> = BTreeMap::new();
    for call in &history.calls {
        let Event::Append { key, answer } = &call.event else { continue };
        let (acknowledged, unknown) = tries.entry(*key).or_default();
        *acknowledged |= matches!(answer, Answer::Committed { .. });
        *unknown |= matches!(answer, Answer::Unknown);
    }
    let committed: BTreeSet<Key> = history.log.values().flatten().copied().collect();
    let untold = tries.iter().filter(|(key, (acknowledged, unknown))| {
        *unknown && !acknowledged && committed.contains(key)
    });
    let (untold, shared) =
        (untold.count(), history.log.values().filter(|keys| keys.len() > 1).count());
    world.count(|counts| {
        counts.unknown_and_committed += untold as u64;
        counts.shared_versions += shared as u64;
    });
}

#[cfg(test)]
mod tests {
    use end_to_end::history::Pair;

    use super::*;

    #[test]
    fn a_missing_a_doubled_and_a_strange_row_are_noticed() {
        let pair = Pair { entity: 1, bucket: 2 };
        let mut history = History::default();
        history.appends.insert(4, data::append(4, pair));
        history.log.insert(1, vec![4]);
        let rows: Vec<Row> = data::rows(4, &history.appends[&4]).collect();
        assert!(rows.len() > 1);
        rows_are_exact(&history, rows.clone()).unwrap();
        rows_are_exact(&history, rows[1..].to_vec()).unwrap_err();
        rows_are_exact(&history, [rows.clone(), rows[..1].to_vec()].concat()).unwrap_err();
        let strange = ("e2".to_owned(), 7, 4);
        rows_are_exact(&history, [rows, vec![strange]].concat()).unwrap_err();
    }
}
