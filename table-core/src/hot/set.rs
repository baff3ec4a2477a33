//! [`HotRows`], the rows of one small append, and [`HotSet`], all of them that a snapshot holds. Pure.

use std::fmt;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use coverline_proto::log as proto;
use imbl::Vector;

use super::{HotView, codec};
use crate::coverage::CoverageDelta;
use crate::schema::TableLayout;
use crate::segment::buffer::index_values;
use crate::sync::Mutex;
use crate::types::{BucketId, EntityKey, IndexType, SegmentId, Version};

/// Arrow bytes that an append may have to be carried inside its record: 256 KiB. Above that its own segment costs little more.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// Hot rows from which on a flush is due.
pub const FLUSH_ROWS: u64 = 64 << 10;

/// Bytes of hot rows from which on a flush is due: 8 MiB.
pub const FLUSH_BYTES: u64 = 8 << 20;

/// Small appends from which on a flush is due: the first query of each version merges a batch of each.
pub const FLUSH_APPENDS: usize = 1024;

/// Hot rows above which appends write segments again, however small they are: memory and checkpoints stay bounded when no
/// flush succeeds.
pub const HOT_ROWS_MAX: u64 = 4 * FLUSH_ROWS;

/// The same in bytes: 32 MiB.
pub const HOT_BYTES_MAX: u64 = 4 * FLUSH_BYTES;

/// The same in appends: more than the groups of commits that many clients can make while a flush runs.
pub const HOT_APPENDS_MAX: usize = 16 * FLUSH_APPENDS;

/// Rows of one small append.
#[derive(Clone)]
pub struct HotRows {
    /// Identity, as the record gives it.
    pub id: SegmentId,
    /// The version that added them.
    pub version: Version,
    /// The rows, in the table's query schema, in the order in which a segment would hold them.
    pub batch: RecordBatch,
    /// Smallest and greatest index value (bit pattern for UInt64); `None` on plain tables.
    pub index_range: Option<(i64, i64)>,
    /// The pairs that the rows cover, encoded; empty on plain tables.
    pub(crate) owned: Bytes,
    /// The bytes of the record, whose memory the columns share.
    encoded: Buffer,
}

impl HotRows {
    /// Reads rows as a record or a checkpoint holds them.
    ///
    /// # Errors
    /// What is wrong with them, for a person.
    pub fn from_proto(
        stored: &proto::InlineRows,
        version: Version,
        layout: &TableLayout,
    ) -> Result<Self, String> {
        let id = SegmentId::from_slice(&stored.segment_id).ok_or_else(|| {
            format!("the id of inline rows has {} bytes, not 16", stored.segment_id.len())
        })?;
        // Copied once, to memory that is aligned for the columns and does not hold on to the whole record.
        let encoded = Buffer::from(stored.ipc_stream.as_ref());
        let batch = codec::decode(&encoded, &layout.query_schema)?;
        if batch.num_rows() as u64 != stored.row_count || batch.num_rows() == 0 {
            return Err(format!(
                "its inline rows are {}, but {} were written",
                batch.num_rows(),
                stored.row_count
            ));
        }
        let index_range = index_range(&batch, layout);
        let owned = Bytes::copy_from_slice(&stored.coverage);
        Ok(Self { id, version, batch, index_range, owned, encoded })
    }

    /// The rows as a checkpoint holds them.
    pub(crate) fn to_proto(&self) -> proto::InlineRows {
        proto::InlineRows {
            segment_id: Bytes::copy_from_slice(self.id.as_bytes()),
            ipc_stream: Bytes::copy_from_slice(&self.encoded),
            row_count: self.row_count(),
            version: self.version.0,
            coverage: self.owned.clone(),
        }
    }

    /// Rows.
    pub fn row_count(&self) -> u64 {
        self.batch.num_rows() as u64
    }

    /// Whether the append that brought the rows owns this pair.
    pub fn owns(&self, entity: &EntityKey, bucket: BucketId) -> bool {
        CoverageDelta::decode(&self.owned).is_ok_and(|pairs| pairs.contains(entity, bucket))
    }

    /// Bytes that the record spends on them.
    pub fn bytes(&self) -> u64 {
        self.encoded.len() as u64
    }
}

impl fmt::Debug for HotRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotRows")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("row_count", &self.row_count())
            .finish_non_exhaustive()
    }
}

/// Smallest and greatest index value of a batch that is not empty; `None` on plain tables.
pub(super) fn index_range(batch: &RecordBatch, layout: &TableLayout) -> Option<(i64, i64)> {
    let values = index_values(batch.column(layout.index?))?;
    let flip = if layout.index_type == Some(IndexType::UInt64) { i64::MIN } else { 0 };
    let ordered = || values.iter().map(|value| value ^ flip);
    Some((ordered().min()? ^ flip, ordered().max()? ^ flip))
}

/// A view, and the identity of the set that it shows.
type LastView = (Arc<()>, Arc<HotView>);

/// The hot rows of one snapshot, in commit order. Clones are cheap, and share the last view that was made of any of them:
/// one view for each table, however many of its snapshots are alive.
#[derive(Debug, Clone, Default)]
pub struct HotSet {
    appends: Vector<Arc<HotRows>>,
    row_count: u64,
    bytes: u64,
    /// Another one whenever the rows change.
    identity: Arc<()>,
    /// The last view that was made.
    view: Arc<Mutex<Option<LastView>>>,
}

impl HotSet {
    /// The appends, in commit order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<HotRows>> {
        self.appends.iter()
    }

    /// Appends whose rows are hot.
    pub fn append_count(&self) -> usize {
        self.appends.len()
    }

    /// Rows.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Bytes that the log spends on them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// No hot row.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Whether a flush should make a segment of them.
    pub fn is_flush_due(&self) -> bool {
        self.row_count >= FLUSH_ROWS
            || self.bytes >= FLUSH_BYTES
            || self.appends.len() >= FLUSH_APPENDS
    }

    /// Whether another small append may be inline.
    pub fn has_room(&self) -> bool {
        self.row_count < HOT_ROWS_MAX
            && self.bytes < HOT_BYTES_MAX
            && self.appends.len() < HOT_APPENDS_MAX
    }

    /// All rows as one sorted whole, made by the first query that needs it; `None` when there are none.
    ///
    /// # Errors
    /// When Arrow cannot put the batches together.
    pub fn view(&self, layout: &TableLayout) -> Result<Option<Arc<HotView>>, ArrowError> {
        if self.appends.is_empty() {
            return Ok(None);
        }
        if let Some((identity, view)) = &*self.view.lock()
            && Arc::ptr_eq(identity, &self.identity)
        {
            return Ok(Some(Arc::clone(view)));
        }
        // Made without the lock: a query of another version need not wait.
        let view = Arc::new(HotView::merge(self.iter(), layout)?);
        *self.view.lock() = Some((Arc::clone(&self.identity), Arc::clone(&view)));
        Ok(Some(view))
    }

    /// A 64-bit digest of the rows, their ids, versions and pairs, in order (C17).
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = blake3::Hasher::new();
        for rows in &self.appends {
            digest.update(rows.id.as_bytes());
            digest.update(&rows.version.0.to_le_bytes());
            for part in [rows.encoded.as_slice(), rows.owned.as_ref()] {
                digest.update(&(part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        digest.finalize().as_bytes().first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// Adds the rows of the newest append.
    pub fn push(&mut self, rows: HotRows) {
        self.row_count += rows.row_count();
        self.bytes += rows.bytes();
        self.appends.push_back(Arc::new(rows));
        self.identity = Arc::default();
    }

    /// Notes the pairs of the newest append, if that is `id`.
    pub(crate) fn own(&mut self, id: &[u8], owned: &[u8]) {
        if let Some(newest) = self.appends.back_mut()
            && newest.id.as_bytes() == id
        {
            Arc::make_mut(newest).owned = Bytes::copy_from_slice(owned);
        }
    }

    /// Takes the rows with this id, which `version` added, out of the set; `None` when they are not in it.
    pub(crate) fn remove(&mut self, id: SegmentId, version: Version) -> Option<Arc<HotRows>> {
        let (Ok(first) | Err(first)) = self.appends.binary_search_by(|rows| {
            // Never equal: the search ends before the first rows of that version.
            match rows.version < version {
                true => std::cmp::Ordering::Less,
                false => std::cmp::Ordering::Greater,
            }
        });
        let mut position = first;
        while self.appends.get(position)?.id != id {
            position += 1;
        }
        let removed = self.appends.remove(position);
        self.row_count -= removed.row_count();
        self.bytes -= removed.bytes();
        self.identity = Arc::default();
        Some(removed)
    }
}
