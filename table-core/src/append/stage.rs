//! The streaming half of an append: batches are made to fit, checked against the coverage, and handed to the `encoder` while the
//! next ones arrive.
//!
//! Memory is bounded whatever the length of the stream: one buffer fills up while at most one is being encoded. Rows that
//! come in order wait for little, and continue the segment that was written last. An append so small that it ends before the first
//! buffer is handed to the encoder becomes inline rows of its record.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use coverline_proto::log::RowsFingerprint;

use super::digest::RowsDigest;
use super::encoder::Encoder;
use super::fingerprint::RunningFingerprint;
use super::overlap::Meeting;
use super::plan::{AppendPlan, KeyedPayload, Owned, inline_actions, segment_actions, unclaimed};
use super::publish::publish;
use super::request::{APPEND_ID_BYTES_MAX, AppendRequest, OverlapPolicy, Receipt};
use super::slices::Slices;
use crate::Table;
use crate::coverage::{CoverageDelta, EntityRows};
use crate::error::{Error, ErrorKind, Result};
use crate::hot::{self, INLINE_BYTES_MAX};
use crate::log::record::Action;
use crate::schema::{Normalizer, TableLayout, adopted_schema};
use crate::segment::buffer::{CheckedBatch, SegmentBuffer, SegmentRows, free_rows, index_values};
use crate::snapshot::Snapshot;
use crate::types::{BucketId, EntityKey, SegmentId, encode_entities};

/// Rows of one batch at most.
pub const BATCH_ROWS_MAX: usize = 1 << 24;

/// Entities that one append may bring for the first time.
pub const NEW_ENTITIES_MAX: u64 = 10_000_000;

/// An append under way. Dropping it commits nothing and removes what was staged.
#[derive(Debug)]
pub struct Append {
    table: Arc<Table>,
    request: AppendRequest,
    state: State,
    row_count: u64,
    rows_skipped: u64,
    new_entities: u64,
    /// Pairs of the rows that were handed to the encoder while the stream ran.
    claimed: CoverageDelta,
    /// Rows taken so far, by entity.
    entity_rows: EntityRows,
    encoder: Encoder,
}

/// How far an append is.
#[derive(Debug)]
enum State {
    /// No schema yet.
    Fresh,
    /// Taking batches.
    Open(Box<Stream>),
    /// Failed: nothing more is taken.
    Poisoned,
}

/// What an append knows once it has the schema of the stream.
#[derive(Debug)]
struct Stream {
    layout: Arc<TableLayout>,
    normalizer: Normalizer,
    /// Of the rows as they came, when the append has an id.
    digest: Option<RowsDigest<blake3::Hasher>>,
    /// Of the rows as they are written, on tables that have coverage.
    fingerprint: Option<RunningFingerprint>,
    /// The append id is known: the rows are only compared, not checked and not written.
    is_retry: bool,
    /// The append is refused, and the rest of it is read only to see whether it repeats the one that it met.
    refused: Option<Meeting>,
    buffer: SegmentBuffer,
}

/// What an append is, besides its rows, once it was read to its end.
#[derive(Debug, Default)]
struct Identity {
    append_id: Option<KeyedPayload>,
    is_retry: bool,
    schema: Option<SchemaRef>,
    fingerprint: Option<RowsFingerprint>,
}

/// Rows of one slice with what they cover.
struct Located {
    keys: Vec<EntityKey>,
    rows: Vec<u32>,
    buckets: Vec<BucketId>,
    delta: CoverageDelta,
}

impl Append {
    pub(crate) fn new(table: Arc<Table>, request: AppendRequest) -> Self {
        Self {
            table,
            request,
            state: State::Fresh,
            row_count: 0,
            rows_skipped: 0,
            new_entities: 0,
            claimed: CoverageDelta::default(),
            entity_rows: EntityRows::default(),
            encoder: Encoder::default(),
        }
    }

    /// The schema of the incoming stream, before its first batch. Adopts it when the table has none yet (on commit).
    ///
    /// # Errors
    /// `SchemaMismatch` naming the column and both types; `Invalid` when it breaks a limit.
    pub async fn begin(&mut self, incoming: &SchemaRef) -> Result<()> {
        match self.state {
            State::Fresh => {}
            State::Open(_) => return Err(Error::internal("an append began twice")),
            State::Poisoned => return Err(poisoned()),
        }
        self.state = State::Poisoned;
        let stream = self.open(incoming).map_err(|error| self.about(error))?;
        // A retry writes nothing, and must hear of its first try however full the disk is.
        if !stream.is_retry {
            self.check_open()?;
        }
        self.state = State::Open(Box::new(stream));
        Ok(())
    }

    /// Takes one batch. The batch is checked whole before any of it is written.
    ///
    /// The number of pairs in an overlap covers the batches read until one overlapped; all pairs of the append if it is identical
    /// to the one that it met.
    ///
    /// # Errors
    /// `Overlap` at the first batch that touches an owned pair (policy reject), unless all rows so far may be those of the
    /// append that owns it: then later, when they differ, or from [`Append::commit`]. `SchemaMismatch`, `Invalid` (nulls),
    /// `Exhausted` (disk, limits). After an error the append accepts nothing more and can only be dropped.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if let State::Fresh = self.state {
            self.begin(&batch.schema()).await?;
        }
        // Taken out, and only put back when all went well: an error, or a caller that stops waiting, leaves a poisoned append.
        let State::Open(mut stream) = std::mem::replace(&mut self.state, State::Poisoned) else {
            return Err(poisoned());
        };
        match self.take(&mut stream, &batch).await {
            Ok(()) => {
                self.state = State::Open(stream);
                Ok(())
            }
            Err(error) => {
                self.encoder.discard();
                Err(error)
            }
        }
    }

    /// Commits everything taken so far as one version: durable when this returns.
    ///
    /// # Errors
    /// `Overlap`, `Conflict`, `Exhausted`, `Unavailable`: nothing was committed. `Indeterminate`: nobody knows.
    ///
    /// # Cancel safety
    /// Once publishing has started it runs to its end in a task of its own; dropping the future does not stop it (C16).
    pub async fn commit(mut self) -> Result<Receipt> {
        let stream = match std::mem::replace(&mut self.state, State::Poisoned) {
            State::Poisoned => return Err(poisoned()),
            State::Fresh => None,
            State::Open(stream) => Some(stream),
        };
        let mut identity = Identity::default();
        if let Some(stream) = stream {
            let Stream { layout, buffer, digest, fingerprint, refused, is_retry, .. } = *stream;
            let fingerprint = fingerprint.map(|running| running.value());
            if let Some(meeting) = refused {
                return Err(meeting.conclude(fingerprint.as_ref()));
            }
            let key = self.request.append_id.take();
            identity = Identity {
                append_id: key
                    .zip(digest)
                    .map(|(key, digest)| KeyedPayload { key, digest: digest.digest() }),
                is_retry,
                schema: Some(Arc::clone(&layout.schema)),
                fingerprint,
            };
            if self.is_small(&buffer) {
                self.check_open()?;
                let rows = buffer.finish();
                let actions = self.inline(&layout, &rows, identity.fingerprint.as_ref())?;
                let claimed = rows.delta.clone();
                let plan = self.plan(&identity, actions, claimed, 0);
                if let Some(receipt) = publish(&self.table, plan, Vec::new()).await? {
                    return Ok(receipt);
                }
                self.encode(&layout, move || rows, true).await?;
            } else if !buffer.is_empty() {
                self.encode(&layout, move || buffer.finish(), true).await?;
            }
        }
        let mut segments = self.encoder.finish(&self.table).await?;
        let mut actions = Vec::with_capacity(segments.len() * 2);
        let mut claimed = CoverageDelta::default();
        for segment in &mut segments {
            let delta = std::mem::take(&mut segment.delta);
            let owns = unclaimed(&delta, &claimed);
            let entity_rows = self.entity_rows.beside(&owns, &claimed);
            let rows = identity.fingerprint.as_ref();
            let owned = Owned { delta: &owns, entity_rows: &entity_rows, rows };
            actions.extend(segment_actions(&segment.meta, owned));
            claimed.union(&owns);
        }
        let plan = self.plan(&identity, actions, claimed, segments.len());
        let receipt = publish(&self.table, plan, segments).await?;
        receipt.ok_or_else(|| Error::internal("an append without inline rows found no room"))
    }

    /// Whether these are all rows of the append, few enough to be inside the record, and the table takes them so.
    fn is_small(&self, buffer: &SegmentBuffer) -> bool {
        !buffer.is_empty()
            && buffer.bytes() <= INLINE_BYTES_MAX
            && self.encoder.is_unused()
            && self.table.snapshot().hot.has_room()
    }

    /// The actions that add the rows inline.
    fn inline(
        &self,
        layout: &TableLayout,
        rows: &SegmentRows,
        fingerprint: Option<&RowsFingerprint>,
    ) -> Result<Vec<Action>> {
        let encoded = rows.to_batch(&layout.schema).and_then(|batch| hot::encode(&batch));
        let encoded = encoded
            .map_err(|error| Error::internal(format!("rows could not be encoded: {error}")))?;
        let id = SegmentId(self.table.clock().new_id());
        let entity_rows = self.entity_rows.beside(&rows.delta, &CoverageDelta::default());
        let owned = Owned { delta: &rows.delta, entity_rows: &entity_rows, rows: fingerprint };
        Ok(inline_actions(id, encoded, rows.row_count as u64, owned))
    }

    /// What is to be committed; inline rows when there is no segment.
    fn plan(
        &self,
        identity: &Identity,
        actions: Vec<Action>,
        claimed: CoverageDelta,
        segment_count: usize,
    ) -> AppendPlan {
        AppendPlan {
            principal: self.request.principal.clone(),
            on_overlap: self.request.on_overlap,
            append_id: identity.append_id.clone(),
            creates: self.request.creates,
            is_retry: identity.is_retry,
            schema: identity.schema.clone(),
            fingerprint: identity.fingerprint.clone(),
            is_inline: segment_count == 0 && !actions.is_empty(),
            actions,
            claimed,
            row_count: self.row_count,
            rows_skipped: self.rows_skipped,
            segment_count: u32::try_from(segment_count).unwrap_or(u32::MAX),
        }
    }

    fn open(&self, incoming: &SchemaRef) -> Result<Stream> {
        let id_bytes = self.request.append_id.as_ref().map_or(0, String::len);
        if id_bytes > APPEND_ID_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the append id has {id_bytes} bytes; at most {APPEND_ID_BYTES_MAX} are allowed"
                ),
            ));
        }
        let snapshot = self.table.snapshot();
        let layout = match &snapshot.layout {
            Some(layout) => Arc::clone(layout),
            None => Arc::new(snapshot.spec.bind(&adopted_schema(incoming))?),
        };
        let normalizer = Normalizer::for_layout(incoming, &layout)?;
        let schema = layout.schema.as_ref();
        Ok(Stream {
            normalizer,
            digest: self.request.append_id.as_ref().map(|_| RowsDigest::new(schema)),
            fingerprint: layout.bucketing.as_ref().map(|_| RunningFingerprint::new(schema)),
            is_retry: self.knows_append_id(&snapshot),
            refused: None,
            buffer: SegmentBuffer::new(&layout),
            layout,
        })
    }

    fn knows_append_id(&self, snapshot: &Snapshot) -> bool {
        let key = self.request.append_id.as_deref();
        key.is_some_and(|key| snapshot.append_id(&self.request.principal, key).is_some())
    }

    async fn take(&mut self, stream: &mut Stream, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > BATCH_ROWS_MAX {
            return Err(self.about(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a batch of {} rows is larger than the {BATCH_ROWS_MAX} that one may have; send smaller batches",
                    batch.num_rows()
                ),
            )));
        }
        let mut slices = Slices::new(batch);
        while let Some((slice, bytes)) = slices.next().map_err(|error| self.about(error))? {
            let normalized = stream.normalizer.normalize(&slice).map_err(|error| {
                self.about(Error::from(error.with_row_offset(slices.start_of_last())))
            })?;
            if let Some(digest) = &mut stream.digest {
                digest.update(normalized.columns(), normalized.num_rows());
            }
            if stream.is_retry {
                continue;
            }
            let skips = self.request.on_overlap == OverlapPolicy::Skip;
            if let Some(fingerprint) = stream.fingerprint.as_mut().filter(|_| !skips) {
                fingerprint.update(normalized.columns(), normalized.num_rows());
                if let Some(meeting) = &mut stream.refused {
                    meeting.compare(fingerprint, bytes)?;
                    continue;
                }
            }
            let Some(checked) = self.check(stream, normalized, batch, &slices).await? else {
                continue;
            };
            if let Some(fingerprint) = stream.fingerprint.as_mut().filter(|_| skips) {
                fingerprint.update(checked.batch.columns(), checked.batch.num_rows());
            }
            self.row_count += checked.batch.num_rows() as u64;
            self.entity_rows.count(&checked.keys, &checked.rows, checked.batch.num_rows());
            stream.buffer.push(checked, usize::try_from(bytes).unwrap_or(usize::MAX));
            if stream.buffer.is_full() {
                let rest = stream.buffer.split_off_last_entity(&stream.layout);
                let full = std::mem::replace(&mut stream.buffer, rest);
                self.claimed.union(full.delta());
                self.encode(&stream.layout, move || full.finish(), false).await?;
            }
        }
        Ok(())
    }

    /// Finds entities and buckets of the rows and holds them against the newest coverage. `None` when no row is left.
    async fn check(
        &mut self,
        stream: &mut Stream,
        rows: RecordBatch,
        whole: &RecordBatch,
        slices: &Slices<'_>,
    ) -> Result<Option<CheckedBatch>> {
        let layout = Arc::clone(&stream.layout);
        let Some(mut located) = self.locate(&layout, &rows, slices.start_of_last())? else {
            let plain = CheckedBatch {
                batch: rows,
                keys: Vec::new(),
                rows: Vec::new(),
                index: None,
                delta: CoverageDelta::default(),
            };
            return Ok(Some(plain));
        };
        let snapshot = self.table.snapshot();
        let mut owned = snapshot.coverage.overlap(&located.delta);
        let mut batch = rows;
        if !owned.is_empty() {
            if self.knows_append_id(&snapshot) {
                // Another try of this very append came through meanwhile: from here on only its rows are compared.
                self.become_retry(stream);
                return Ok(None);
            }
            if self.request.on_overlap == OverlapPolicy::Reject {
                self.count_overlap(stream, whole, slices, &snapshot, &mut owned);
                let meeting = Meeting::new(&self.table, &snapshot, &owned).await?;
                return self.meet(stream, meeting, &located.delta).map(|()| None);
            }
            let free = free_rows(&located.keys, &located.rows, &located.buckets, &owned);
            let row_count = batch.num_rows();
            batch = filter_record_batch(&batch, &BooleanArray::from(free))
                .map_err(|error| Error::internal(format!("rows could not be skipped: {error}")))?;
            self.rows_skipped += (row_count - batch.num_rows()) as u64;
            if batch.num_rows() == 0 {
                return Ok(None);
            }
            located = self
                .locate(&layout, &batch, 0)?
                .ok_or_else(|| Error::internal("a time-series table without an index"))?;
        }
        self.count_new_entities(stream, &snapshot, &located.delta)?;
        let index = layout.index.and_then(|index| index_values(batch.column(index)));
        if layout.entities.is_empty() {
            located.rows = Vec::new();
        }
        Ok(Some(CheckedBatch {
            batch,
            keys: located.keys,
            rows: located.rows,
            index,
            delta: located.delta,
        }))
    }

    /// Entities and buckets of the rows; `None` on plain tables. `first_row` is the place of the rows in their batch, for messages.
    fn locate(
        &self,
        layout: &TableLayout,
        rows: &RecordBatch,
        first_row: usize,
    ) -> Result<Option<Located>> {
        let (Some(index), Some(bucketing)) = (layout.index, &layout.bucketing) else {
            return Ok(None);
        };
        let index = index_values(rows.column(index))
            .ok_or_else(|| Error::internal("an index column that is none"))?;
        let columns: Vec<_> =
            layout.entities.iter().map(|&position| Arc::clone(rows.column(position))).collect();
        let (keys, numbers) = encode_entities(&columns, rows.num_rows())
            .map_err(|error| Error::internal(format!("entities cannot be encoded: {error}")))?;
        let mut buckets = Vec::with_capacity(index.len());
        bucketing.buckets_of(&index, &mut buckets).map_err(|value| {
            let row = index.iter().position(|other| *other == value).unwrap_or_default();
            self.about(Error::new(
                ErrorKind::Invalid,
                format!(
                    "index value {} in row {} lies outside the calendar of its buckets; correct that row or leave it out",
                    bucketing.format(value),
                    first_row + row
                ),
            ))
        })?;
        let mut delta = CoverageDelta::default();
        delta.insert_rows(&keys, &numbers, &buckets);
        Ok(Some(Located { keys, rows: numbers, buckets, delta }))
    }

    /// Adds to `owned` what the rest of the batch overlaps with. Rows that cannot be read no longer matter.
    fn count_overlap(
        &self,
        stream: &Stream,
        whole: &RecordBatch,
        slices: &Slices<'_>,
        snapshot: &Snapshot,
        owned: &mut CoverageDelta,
    ) {
        let mut rest = slices.rest_of(whole);
        while let Ok(Some((slice, _))) = rest.next() {
            let Ok(normalized) = stream.normalizer.normalize(&slice) else { return };
            let Ok(Some(located)) = self.locate(&stream.layout, &normalized, 0) else { return };
            owned.union(&snapshot.coverage.overlap(&located.delta));
        }
    }

    /// Refuses the append, at once or, if its rows may be those of the append that it met, when that is known.
    fn meet(&mut self, stream: &mut Stream, meeting: Meeting, met: &CoverageDelta) -> Result<()> {
        let seen = [&self.claimed, stream.buffer.delta(), met];
        let ours = stream.fingerprint.as_ref();
        let may_repeat = ours.and_then(|ours| meeting.may_repeat(&seen, ours));
        if may_repeat != Some(true) {
            return Err(meeting.refusal(may_repeat));
        }
        stream.refused = Some(meeting);
        self.let_go(stream);
        Ok(())
    }

    fn become_retry(&mut self, stream: &mut Stream) {
        stream.is_retry = true;
        self.let_go(stream);
    }

    /// Forgets the rows taken so far, none of which will be written.
    fn let_go(&mut self, stream: &mut Stream) {
        stream.buffer = SegmentBuffer::new(&stream.layout);
        self.encoder.discard();
        self.claimed = CoverageDelta::default();
        self.entity_rows = EntityRows::default();
    }

    fn count_new_entities(
        &mut self,
        stream: &Stream,
        snapshot: &Snapshot,
        delta: &CoverageDelta,
    ) -> Result<()> {
        let new = delta.iter().filter(|(entity, _)| {
            self.claimed.runs(entity).is_none()
                && stream.buffer.delta().runs(entity).is_none()
                && snapshot.coverage.runs(entity).is_none()
        });
        self.new_entities += new.count() as u64;
        if self.new_entities > NEW_ENTITIES_MAX {
            return Err(self.about(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "more than {NEW_ENTITIES_MAX} new entities in one append; check that the entity columns are the right ones, or \
                     split the append"
                ),
            )));
        }
        Ok(())
    }

    /// Whether the table takes commits and the disk has room: without either, files would be written for nothing.
    fn check_open(&self) -> Result<()> {
        match self.table.closed() {
            Some(closed) => Err(closed),
            None => self.table.check_space(),
        }
    }

    /// Hands rows to the encoder, after those before them are done; `last` says that no more will come. They are put in order
    /// there, since that takes a while.
    async fn encode(
        &mut self,
        layout: &Arc<TableLayout>,
        rows: impl FnOnce() -> SegmentRows + Send + 'static,
        last: bool,
    ) -> Result<()> {
        self.encoder.settle(&self.table).await?;
        self.check_open()?;
        self.encoder.start(&self.table, layout, rows, last).await
    }

    /// The same error, saying which append it stopped.
    fn about(&self, error: Error) -> Error {
        error.context(format!("append to table \"{}\" refused", self.table.name()))
    }
}

fn poisoned() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "this append failed earlier and takes nothing more; nothing was committed, start a new one",
    )
}
