//! Rows of a segment before they are written: collected batch by batch, then put into (entity, index) order. Pure.
//!
//! Rows that arrive in order are never copied: whether they do is watched while they come in, at the price of one comparison
//! a row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{
    DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::coverage::CoverageDelta;
use crate::schema::TableLayout;
use crate::types::{BucketId, EntityKey, IndexType};

/// Rows that one segment holds at most.
pub const SEGMENT_ROWS_MAX: usize = 1 << 20;

/// Arrow bytes of rows out of order from which on they are put in order and written: 32 MiB. An append holds twice as much, one
/// buffer that fills up and one that is encoded.
pub const SEGMENT_BUFFER_BYTES: usize = 32 << 20;

/// Arrow bytes of rows in order from which on they are handed to the encoder, which adds them to the segment they continue:
/// 8 MiB. Rows that need no sorting have nothing to wait for.
pub const SORTED_BUFFER_BYTES: usize = 8 << 20;

/// One checked batch: normalised rows with their entities and buckets.
#[derive(Debug)]
pub struct CheckedBatch {
    /// The rows, in the table's schema.
    pub batch: RecordBatch,
    /// Distinct entities of the batch.
    pub keys: Vec<EntityKey>,
    /// For each row the position of its entity in `keys`; empty on tables without entity columns.
    pub rows: Vec<u32>,
    /// Index values; `None` on plain tables.
    pub index: Option<ScalarBuffer<i64>>,
    /// What the rows cover; empty on plain tables.
    pub delta: CoverageDelta,
}

/// Index values of a batch as `i64`, without copying them.
pub fn index_values(array: &ArrayRef) -> Option<ScalarBuffer<i64>> {
    Some(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().values().clone(),
        DataType::UInt64 => {
            let values = array.as_primitive::<UInt64Type>().values();
            // The same 64 bits: the bit pattern is what the format promises.
            ScalarBuffer::new(values.inner().clone(), 0, values.len())
        }
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().clone(),
            TimeUnit::Millisecond => {
                array.as_primitive::<TimestampMillisecondType>().values().clone()
            }
            TimeUnit::Microsecond => {
                array.as_primitive::<TimestampMicrosecondType>().values().clone()
            }
            TimeUnit::Nanosecond => {
                array.as_primitive::<TimestampNanosecondType>().values().clone()
            }
        },
        _ => return None,
    })
}

/// Rows of one segment, as they arrive.
#[derive(Debug)]
pub struct SegmentBuffer {
    /// Exclusive-or that makes index values order like `i64`.
    flip: i64,
    batches: Vec<RecordBatch>,
    /// Per batch the entity number of each row; empty vectors without entity columns.
    entities: Vec<Vec<u32>>,
    /// Per batch the index values; empty on plain tables.
    index: Vec<ScalarBuffer<i64>>,
    keys: Vec<EntityKey>,
    numbers: HashMap<EntityKey, u32>,
    delta: CoverageDelta,
    row_count: usize,
    bytes: usize,
    sorted: bool,
    /// Entity number and (flipped) index value of the first row.
    first: Option<(u32, i64)>,
    /// The same of the last row.
    last: Option<(u32, i64)>,
    /// The row with which the entity of the last one begins.
    last_entity_start: usize,
    /// Of the flipped index values.
    index_range: Option<(i64, i64)>,
}

/// Where a row belongs in (entity, index) order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Empty without entity columns.
    entity: EntityKey,
    /// Index value, such that numbers compare as index values do.
    index: i64,
}

/// A full buffer, ready to be written.
#[derive(Debug)]
pub struct SegmentRows {
    /// The rows, in arrival order.
    pub batches: Vec<RecordBatch>,
    /// Where the rows are in (entity, index) order, as (batch, row); `None` when they arrived so.
    pub order: Option<Vec<(usize, usize)>>,
    /// Where the rows of each entity end, in file order, but for the last: whether that one goes on is not known.
    pub entity_ends: Vec<usize>,
    /// Of the first and the last row, in file order; `None` on plain tables, whose rows have no order.
    pub places: Option<(Place, Place)>,
    /// Smallest and greatest index value.
    pub index_range: Option<(i64, i64)>,
    /// Smallest and greatest entity.
    pub entity_range: Option<(EntityKey, EntityKey)>,
    /// What the rows cover.
    pub delta: CoverageDelta,
    /// Rows.
    pub row_count: usize,
    /// Arrow bytes, about.
    pub bytes: usize,
}

impl SegmentRows {
    /// All rows as one batch, in file order.
    ///
    /// # Errors
    /// When the columns of the batches do not fit together.
    pub fn to_batch(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let Some(order) = &self.order else {
            return concat_batches(schema, &self.batches);
        };
        let columns = (0..schema.fields().len()).map(|column| {
            let arrays: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            interleave(&arrays, order)
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
    }
}

impl SegmentBuffer {
    /// An empty buffer of a table.
    pub fn new(layout: &TableLayout) -> Self {
        let flip = if layout.index_type == Some(IndexType::UInt64) { i64::MIN } else { 0 };
        Self {
            flip,
            batches: Vec::new(),
            entities: Vec::new(),
            index: Vec::new(),
            keys: Vec::new(),
            numbers: HashMap::new(),
            delta: CoverageDelta::default(),
            row_count: 0,
            bytes: 0,
            sorted: true,
            first: None,
            last: None,
            last_entity_start: 0,
            index_range: None,
        }
    }

    /// Rows taken.
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Arrow bytes taken, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// No row yet.
    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Whether the rows should be written before more come.
    pub fn is_full(&self) -> bool {
        let bytes_max = if self.sorted { SORTED_BUFFER_BYTES } else { SEGMENT_BUFFER_BYTES };
        self.bytes >= bytes_max || self.row_count >= SEGMENT_ROWS_MAX
    }

    /// What the rows cover.
    pub fn delta(&self) -> &CoverageDelta {
        &self.delta
    }

    /// Takes a batch of `bytes` logical bytes.
    pub fn push(&mut self, checked: CheckedBatch, bytes: usize) {
        let CheckedBatch { batch, keys, mut rows, index, delta } = checked;
        if batch.num_rows() == 0 {
            return;
        }
        let first_row = self.row_count;
        self.row_count += batch.num_rows();
        self.bytes += bytes;
        if !rows.is_empty() {
            let numbers: Vec<u32> = keys.into_iter().map(|key| self.number(key)).collect();
            for row in &mut rows {
                *row = numbers[*row as usize];
            }
        }
        if let Some(index) = index {
            self.watch_order(first_row, &rows, &index);
            self.index.push(index);
        }
        self.batches.push(batch);
        self.entities.push(rows);
        if self.delta.is_empty() {
            self.delta = delta;
        } else {
            self.delta.union(&delta);
        }
    }

    /// Takes out the rows of the last entity, of which more may come, so that those that stay end where an entity does: of
    /// segments that share no entity it is known that one goes on where the other ends. Takes none where rows are out of order
    /// or of one entity. Nothing is copied.
    pub fn split_off_last_entity(&mut self, layout: &TableLayout) -> Self {
        let mut rest = Self::new(layout);
        let start = self.last_entity_start;
        let Some((entity, _)) = self.last.filter(|_| self.sorted && start > 0) else { return rest };
        let key = self.keys[entity as usize].clone();
        let mut runs = self.delta.remove(&key);
        let bytes = self.bytes;
        let row_bytes = bytes / self.row_count;

        let (mut first_row, mut staying) = (0, 0);
        for position in 0..self.batches.len() {
            let (batch, index) = (self.batches[position].clone(), self.index[position].clone());
            let row_count = batch.num_rows();
            let stay = start.saturating_sub(first_row).min(row_count);
            first_row += row_count;
            staying += usize::from(stay > 0);
            if stay == row_count {
                continue;
            }
            self.batches[position] = batch.slice(0, stay);
            self.index[position] = index.slice(0, stay);
            self.entities[position].truncate(stay);
            let goes = row_count - stay;
            let mut delta = CoverageDelta::default();
            delta.insert_runs(&key, &std::mem::take(&mut runs));
            let checked = CheckedBatch {
                batch: batch.slice(stay, goes),
                keys: vec![key.clone()],
                rows: vec![0; goes],
                index: Some(index.slice(stay, goes)),
                delta,
            };
            rest.push(checked, goes * row_bytes);
        }
        self.batches.truncate(staying);
        self.index.truncate(staying);
        self.entities.truncate(staying);
        (self.row_count, self.bytes) = (start, start * row_bytes);
        rest.bytes = bytes - self.bytes;
        self.watch_again();
        rest
    }

    /// Notes the order and the ends of the index of what is there.
    fn watch_again(&mut self) {
        (self.first, self.last, self.last_entity_start, self.index_range) = (None, None, 0, None);
        let (entities, index) =
            (std::mem::take(&mut self.entities), std::mem::take(&mut self.index));
        let mut first_row = 0;
        for (entities, index) in entities.iter().zip(&index) {
            self.watch_order(first_row, entities, index);
            first_row += index.len();
        }
        (self.entities, self.index) = (entities, index);
    }

    /// The rows in order.
    pub fn finish(self) -> SegmentRows {
        let with_entities = !self.keys.is_empty();
        let has_index = self.index_range.is_some();
        let order = (has_index && !self.sorted).then(|| self.sorted_order());
        let entity_ends = match (&order, with_entities) {
            (_, false) => Vec::new(),
            (Some(order), true) => {
                entity_ends(order.iter().map(|&(batch, row)| self.entities[batch][row]))
            }
            (None, true) => entity_ends(self.entities.iter().flatten().copied()),
        };
        let places = match &order {
            None => self.first.zip(self.last),
            Some(order) => {
                let place = |&(batch, row): &(usize, usize)| {
                    let entity = self.entities[batch].get(row).copied().unwrap_or(0);
                    (entity, self.index[batch][row] ^ self.flip)
                };
                order.first().map(place).zip(order.last().map(place))
            }
        };
        let places = places.map(|(first, last)| (self.place(first), self.place(last)));
        let entity_range = match &places {
            Some((first, last)) if with_entities => {
                Some((first.entity.clone(), last.entity.clone()))
            }
            _ => None,
        };
        SegmentRows {
            entity_ends,
            places,
            order,
            index_range: self.index_range.map(|(min, max)| (min ^ self.flip, max ^ self.flip)),
            entity_range,
            delta: self.delta,
            row_count: self.row_count,
            bytes: self.bytes,
            batches: self.batches,
        }
    }

    fn place(&self, (entity, index): (u32, i64)) -> Place {
        let entity = self.keys.get(entity as usize).cloned().unwrap_or_default();
        Place { entity, index }
    }

    fn number(&mut self, key: EntityKey) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        // A segment has fewer rows, and so fewer entities, than u32 has numbers.
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// Notes whether the rows go on in order, and the ends of the index.
    fn watch_order(&mut self, first_row: usize, entities: &[u32], index: &[i64]) {
        let mut last = self.last;
        let (mut min, mut max) = self.index_range.unwrap_or((i64::MAX, i64::MIN));
        let mut sorted = self.sorted;
        for (row, value) in index.iter().enumerate() {
            let here = (entities.get(row).copied().unwrap_or(0), value ^ self.flip);
            min = min.min(here.1);
            max = max.max(here.1);
            if sorted && let Some(before) = last {
                sorted = match before.0 == here.0 {
                    true => before.1 <= here.1,
                    false => {
                        self.last_entity_start = first_row + row;
                        self.keys[before.0 as usize] < self.keys[here.0 as usize]
                    }
                };
            }
            self.first.get_or_insert(here);
            last = Some(here);
        }
        self.last = last;
        self.sorted = sorted;
        self.index_range = Some((min, max));
    }

    /// Where the rows are in (entity, index) order; rows that compare equal stay in arrival order.
    ///
    /// Rows are dealt out to their entities in arrival order first, so that the usual stream, ordered by time across
    /// entities, needs no comparison sort at all.
    fn sorted_order(&self) -> Vec<(usize, usize)> {
        let entity_count = self.keys.len().max(1);
        let mut by_key: Vec<usize> = (0..entity_count).collect();
        by_key.sort_unstable_by(|&a, &b| self.keys.get(a).cmp(&self.keys.get(b)));

        let mut counts = vec![0_usize; entity_count];
        for (entities, index) in self.entities.iter().zip(&self.index) {
            if entities.is_empty() {
                counts[0] += index.len();
            }
            for entity in entities {
                counts[*entity as usize] += 1;
            }
        }
        let mut starts = vec![0_usize; entity_count];
        let mut next = 0;
        for &entity in &by_key {
            starts[entity] = next;
            next += counts[entity];
        }

        let mut order = vec![(0, 0); self.row_count];
        let mut cursors = starts.clone();
        for (batch, (entities, index)) in self.entities.iter().zip(&self.index).enumerate() {
            for row in 0..index.len() {
                let entity = entities.get(row).map_or(0, |entity| *entity as usize);
                order[cursors[entity]] = (batch, row);
                cursors[entity] += 1;
            }
        }
        let value = |&(batch, row): &(usize, usize)| self.index[batch][row] ^ self.flip;
        for (start, count) in starts.iter().zip(&counts) {
            let rows = &mut order[*start..start + count];
            if !rows.is_sorted_by_key(value) {
                rows.sort_by_key(value);
            }
        }
        order
    }
}

/// Whether two rows belong to buckets of a delta: rows whose pair is in `owned` are dropped from a batch that skips.
pub fn free_rows(
    keys: &[EntityKey],
    rows: &[u32],
    buckets: &[BucketId],
    owned: &CoverageDelta,
) -> Vec<bool> {
    let runs: Vec<_> = keys.iter().map(|key| owned.runs(key)).collect();
    let mut last: Option<(u32, BucketId, bool)> = None;
    buckets
        .iter()
        .enumerate()
        .map(|(row, &bucket)| {
            let entity = rows.get(row).copied().unwrap_or(0);
            if let Some((last_entity, last_bucket, free)) = last
                && (last_entity, last_bucket) == (entity, bucket)
            {
                return free;
            }
            let taken = runs.get(entity as usize).copied().flatten();
            let free = taken.is_none_or(|runs| !runs.contains(bucket));
            last = Some((entity, bucket, free));
            free
        })
        .collect()
}

/// Where each stretch of one entity ends, but for the last.
fn entity_ends(entities: impl Iterator<Item = u32>) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut last = None;
    for (row, entity) in entities.enumerate() {
        if last.is_some_and(|last| last != entity) {
            ends.push(row);
        }
        last = Some(entity);
    }
    ends
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
