//! The fold of a log: random sequences of appends, flushes, properties and records that do not follow, against a fold that is
//! too simple to be wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arbitrary::Unstructured;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use coverline_proto::log as proto;
use table_core::coverage::CoverageDelta;
use table_core::fuzzing::{fold, state_digest};
use table_core::log::record::Action;
use table_core::log::{Record, encode_schema, encode_spec};
use table_core::segment::{RowGroupMeta, SegmentMeta};
use table_core::types::{AttemptId, BucketId, EntityKey, EntityValue, SegmentId, Version};
use table_core::{Snapshot, hot};
use uuid::Uuid;

use super::log::sound_table;
use crate::{Outcome, Target, mutate, seeds};

/// The fold of any sequence of records is what a naive one says, and refuses what that refuses.
pub static LOG_REPLAY: Target =
    Target { name: "log_replay", read, mutate: mutate::bytes, inputs: 300, bytes_max: 512 };

/// Records of one log at most.
const RECORDS_MAX: usize = 24;

/// Index values of a bucket.
const BUCKET: i64 = 10;

const ENTITIES: [&str; 3] = ["a", "b", "é\0"];

/// An entity and a bucket.
type Pair = (usize, i64);

/// Something that holds rows.
#[derive(Debug, Clone, PartialEq)]
struct Rows {
    id: SegmentId,
    version: u64,
    count: u64,
    bytes: u64,
    pairs: Vec<Pair>,
}

/// The naive fold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    version: u64,
    time: i64,
    owners: BTreeMap<Pair, u64>,
    segments: Vec<Rows>,
    hot: Vec<Rows>,
    /// Rows of each entity, as far as the records say.
    counts: BTreeMap<usize, Option<u64>>,
    properties: BTreeMap<String, String>,
    keys: BTreeMap<String, u64>,
}

fn key(entity: usize) -> EntityKey {
    EntityKey::encode(&[EntityValue::Utf8(ENTITIES[entity].to_owned())])
}

fn encoded(pairs: &[Pair]) -> Bytes {
    let mut delta = CoverageDelta::default();
    for (entity, bucket) in pairs {
        delta.insert(&key(*entity), BucketId(*bucket));
    }
    delta.encode().into()
}

impl Model {
    /// Takes what a record says of the rows of an entity; `false` when that cannot be.
    fn count(&mut self, entity: usize, said: &[u64]) -> bool {
        let before = self.counts.get(&entity).copied();
        let after = match (before, said) {
            (_, []) => None,
            (None, [0]) => return false,
            (None, [rows]) => Some(*rows),
            (Some(before), [rows]) => before.map(|before| before + rows),
            _ => return false,
        };
        self.counts.insert(entity, after);
        true
    }

    /// Whether the rows of all entities are those of the table, when they are known.
    fn counts_add_up(&self) -> bool {
        let rows = self.segments.iter().chain(&self.hot).map(|rows| rows.count).sum::<u64>();
        let counted = self.counts.values().copied().sum::<Option<u64>>();
        self.counts.is_empty() || counted.is_none_or(|counted| counted == rows)
    }
}

fn covers(id: SegmentId, pairs: &[Pair], version: u64, entity_rows: Vec<u64>) -> Action {
    Action::CoverageDelta(proto::CoverageDelta {
        segment_id: Bytes::copy_from_slice(id.as_bytes()),
        encoded: encoded(pairs),
        version,
        rows: None,
        entity_rows,
    })
}

fn adds(rows: &Rows) -> Action {
    let bounds =
        |pick: fn(&mut dyn Iterator<Item = &Pair>) -> Option<Pair>| pick(&mut rows.pairs.iter());
    let least = bounds(|pairs| pairs.min().copied()).unwrap();
    let most = bounds(|pairs| pairs.max().copied()).unwrap();
    let end = 4 + rows.bytes / 2;
    let group = RowGroupMeta { row_count: rows.count, start: 4, end, crc32c: 1 };
    Action::AddSegment(
        SegmentMeta {
            id: rows.id,
            file_bytes: rows.bytes,
            footer_bytes: 8,
            row_count: rows.count,
            index_range: Some((least.1, most.1)),
            entity_range: Some((key(least.0), key(most.0))),
            columns: Vec::new(),
            row_groups: vec![group],
            tail_crc32c: 1,
            file_digest: [7; 32],
            sorted: true,
        }
        .to_proto(),
    )
}

fn inline(rows: &Rows) -> Action {
    let layout = seeds::layout();
    let index = rows.pairs.iter().map(|(_, bucket)| bucket * BUCKET);
    let names = rows.pairs.iter().map(|(entity, _)| ENTITIES[*entity]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(index)),
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(Float64Array::from(vec![0.5; rows.pairs.len()])),
        Arc::new(StringArray::from(vec![None::<&str>; rows.pairs.len()])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&layout.query_schema), columns).unwrap();
    Action::InlineRows(proto::InlineRows {
        segment_id: Bytes::copy_from_slice(rows.id.as_bytes()),
        ipc_stream: hot::encode(&batch).unwrap(),
        row_count: rows.count,
        ..proto::InlineRows::default()
    })
}

fn removes(id: SegmentId) -> Action {
    let segment_id = Bytes::copy_from_slice(id.as_bytes());
    Action::RemoveSegment(proto::RemoveSegment { segment_id })
}

/// Pairs of one entity, without doubles, in order.
fn pairs(input: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Pair>> {
    let entity = input.choose_index(ENTITIES.len())?;
    let first = input.int_in_range(-20..=20)?;
    let (count, step) = (input.int_in_range(1..=5)?, input.int_in_range(1..=3)?);
    Ok((0..count).map(|at| (entity, first + at * step)).collect())
}

/// One more record, and the model after it; `None` when it must be refused.
struct Next {
    record: Record,
    model: Option<Model>,
}

struct Log<'a> {
    input: Unstructured<'a>,
    model: Model,
    ids: u64,
}

impl Log<'_> {
    fn rows(&mut self, version: u64, count_per_pair: u64) -> arbitrary::Result<Rows> {
        let pairs = pairs(&mut self.input)?;
        self.ids += 1;
        Ok(Rows {
            id: SegmentId(Uuid::from_u64_pair(1, self.ids)),
            version,
            count: pairs.len() as u64 * count_per_pair,
            bytes: 100 + self.input.int_in_range(0..=900)?,
            pairs,
        })
    }

    /// What a record says of the rows of its one entity: mostly how many there are.
    fn said(&mut self, rows: u64) -> arbitrary::Result<Vec<u64>> {
        Ok(match self.input.int_in_range(0..=31)? {
            0 => vec![],
            1 => vec![0],
            2 => vec![rows, 1],
            3 => vec![rows + 1],
            _ => vec![rows],
        })
    }

    /// The pairs are owned by this version from now on; `false` when one of them is owned already.
    fn own(model: &mut Model, rows: &Rows) -> bool {
        rows.pairs.iter().all(|pair| model.owners.insert(*pair, rows.version).is_none())
    }

    fn next(&mut self) -> arbitrary::Result<Next> {
        let mut model = self.model.clone();
        model.version += 1;
        let version = model.version;
        model.time += self.input.int_in_range(1..=1_000)?;
        let mut record = Record {
            version: Version(version),
            commit_time_us: model.time,
            attempt_id: AttemptId(Uuid::from_u64_pair(2, version)),
            operation: "fuzz".to_owned(),
            principal: String::new(),
            append_ids: Vec::new(),
            actions: Vec::new(),
        };
        let mut follows = true;
        for _ in 0..self.input.int_in_range(1..=3)? {
            follows &= self.act(&mut model, &mut record)?;
        }
        follows &= model.counts_add_up();
        match self.input.int_in_range(0..=15)? {
            0 => (record.version, follows) = (Version(version + 1), false),
            1 => (record.commit_time_us, follows) = (self.model.time, false),
            _ => {}
        }
        Ok(Next { record, model: follows.then_some(model) })
    }

    /// One more change; says whether it may follow.
    fn act(&mut self, model: &mut Model, record: &mut Record) -> arbitrary::Result<bool> {
        let version = model.version;
        match self.input.int_in_range(0..=11)? {
            0..=2 => {
                let rows = self.rows(version, 3)?;
                let said = self.said(rows.count)?;
                let is_sound = model.count(rows.pairs[0].0, &said) & Self::own(model, &rows);
                record.actions.extend([adds(&rows), covers(rows.id, &rows.pairs, 0, said)]);
                model.segments.push(rows);
                self.name(model, record)?;
                Ok(is_sound)
            }
            3..=6 => {
                let rows = self.rows(version, 1)?;
                let said = self.said(rows.count)?;
                let is_sound = model.count(rows.pairs[0].0, &said) & Self::own(model, &rows);
                record.actions.extend([inline(&rows), covers(rows.id, &rows.pairs, 0, said)]);
                model.hot.push(rows);
                self.name(model, record)?;
                Ok(is_sound)
            }
            7 | 8 => Ok(self.flush(model, record)),
            9 => {
                let key = ["one", "two"][self.input.choose_index(2)?].to_owned();
                let value = ["", "x", "y"][self.input.choose_index(3)?].to_owned();
                match value.is_empty() {
                    true => drop(model.properties.remove(&key)),
                    false => drop(model.properties.insert(key.clone(), value.clone())),
                }
                let properties = HashMap::from([(key, value)]);
                record.actions.push(Action::SetProperties(proto::SetProperties { properties }));
                Ok(true)
            }
            10 => {
                // Out goes any segment, or one that is not there. Its pairs stay owned, and so nobody may count its rows.
                let at = self.input.int_in_range(0..=model.segments.len())?;
                let gone = (at < model.segments.len()).then(|| model.segments.remove(at));
                let id = gone.as_ref().map_or(SegmentId(Uuid::nil()), |rows| rows.id);
                record.actions.push(removes(id));
                Ok(gone.is_some())
            }
            _ => {
                // A move of pairs that nobody owns, or of a version that is not yet.
                let pairs = pairs(&mut self.input)?;
                let owner = self.input.int_in_range(1..=version)?;
                let is_covered = pairs.iter().all(|pair| model.owners.contains_key(pair));
                record.actions.push(covers(SegmentId(Uuid::nil()), &pairs, owner, Vec::new()));
                Ok(is_covered && owner < version)
            }
        }
    }

    /// All inline rows become a segment, as the product's flush has it. Rows of this very record cannot be moved by it.
    fn flush(&mut self, model: &mut Model, record: &mut Record) -> bool {
        if model.hot.is_empty() {
            return true;
        }
        self.ids += 1;
        let flushed = std::mem::take(&mut model.hot);
        let segment = Rows {
            id: SegmentId(Uuid::from_u64_pair(1, self.ids)),
            version: model.version,
            count: flushed.iter().map(|rows| rows.count).sum(),
            bytes: 200,
            pairs: flushed.iter().flat_map(|rows| rows.pairs.clone()).collect(),
        };
        record.actions.extend(flushed.iter().map(|rows| removes(rows.id)));
        record.actions.push(adds(&segment));
        let moves =
            flushed.iter().map(|rows| covers(segment.id, &rows.pairs, rows.version, Vec::new()));
        record.actions.extend(moves);
        let are_older = flushed.iter().all(|rows| rows.version < model.version);
        model.segments.push(segment);
        are_older
    }

    fn name(&mut self, model: &mut Model, record: &mut Record) -> arbitrary::Result<()> {
        let key = format!("k{}", self.input.int_in_range(0..=5)?);
        let is_twice = record.append_ids.iter().any(|id| id.key == key);
        if !is_twice && self.input.ratio(3, 4)? {
            let version = model.version;
            model.keys.insert(key.clone(), version);
            record.append_ids.push(proto::AppendId { key, version, ..Default::default() });
        }
        Ok(())
    }
}

fn first() -> Record {
    let table_id = Bytes::from_static(&[5; 16]);
    Record {
        version: Version(1),
        commit_time_us: 0,
        attempt_id: AttemptId(Uuid::nil()),
        operation: "create".to_owned(),
        principal: String::new(),
        append_ids: Vec::new(),
        actions: vec![Action::CreateTable(proto::CreateTable {
            table_id,
            spec: Some(encode_spec(&seeds::spec())),
            ipc_schema: encode_schema(&seeds::layout().schema),
        })],
    }
}

fn read(input: &[u8]) -> Outcome {
    let model = Model { version: 1, ..Model::default() };
    let mut log = Log { input: Unstructured::new(input), model, ids: 0 };
    let mut snapshot = fold(None, &first()).unwrap();
    let mut refused = 0;
    let mut records = 0;
    while !log.input.is_empty() && records < RECORDS_MAX {
        let Ok(Next { record, model }) = log.next() else { break };
        records += 1;
        let before = state_digest(&snapshot);
        let folded = fold(Some(&snapshot), &record);
        assert_eq!(state_digest(&snapshot), before, "the version before was changed");
        match (folded, model) {
            (Ok(next), Some(model)) => {
                same(&next, &model);
                (snapshot, log.model) = (next, model);
            }
            (Err(_), None) => refused += 1,
            (Ok(_), None) => panic!("{record:?} was taken, after {:?}", log.model),
            (Err(error), Some(_)) => panic!("{error}: {record:?}, after {:?}", log.model),
        }
    }
    sound_table(&snapshot);
    if records == refused { Outcome::Refused } else { Outcome::Taken }
}

/// The table shows what the model holds.
fn same(snapshot: &Snapshot, model: &Model) {
    assert_eq!((snapshot.version.0, snapshot.commit_time_us), (model.version, model.time));
    let count = |rows: &[Rows]| rows.iter().map(|rows| rows.count).sum::<u64>();
    assert_eq!(snapshot.row_count, count(&model.segments) + count(&model.hot));
    assert_eq!(snapshot.file_bytes, model.segments.iter().map(|rows| rows.bytes).sum::<u64>());
    let added = |id: SegmentId| snapshot.segment_version(id).map(|version| version.0);
    let segments: Vec<_> = snapshot.segments.iter().map(|meta| (meta.id, added(meta.id))).collect();
    let expected: Vec<_> =
        model.segments.iter().map(|rows| (rows.id, Some(rows.version))).collect();
    assert_eq!(segments, expected);
    let hot: Vec<_> = snapshot.hot.iter().map(|rows| (rows.id, added(rows.id))).collect();
    let expected: Vec<_> = model.hot.iter().map(|rows| (rows.id, Some(rows.version))).collect();
    assert_eq!(hot, expected);
    let mut covered = Vec::new();
    for (entity, runs) in snapshot.coverage.iter() {
        let entity = (0..ENTITIES.len()).find(|number| key(*number) == entity).unwrap();
        covered.extend(runs.iter().flat_map(|run| run.first.0..=run.last.0).map(|at| (entity, at)));
    }
    covered.sort_unstable();
    assert_eq!(covered, model.owners.keys().copied().collect::<Vec<_>>());
    for (entity, rows) in &model.counts {
        assert_eq!(snapshot.coverage.rows(&key(*entity)), *rows);
    }
    let properties: BTreeMap<_, _> = snapshot.properties.clone().into_iter().collect();
    assert_eq!(properties, model.properties);
    let keys = snapshot.append_ids.iter().map(|((_, key), id)| (key.clone(), id.version));
    assert_eq!(keys.collect::<BTreeMap<_, _>>(), model.keys);
}
