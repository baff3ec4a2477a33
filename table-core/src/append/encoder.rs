//! [`Encoder`]: the rows of one append on their way into segments, on the workers, while the next ones arrive.
//!
//! At most one lot of rows is being encoded. What was written has no name until the append commits, but for long appends.

use std::sync::Arc;

use super::publish::{publish_segments, storage_error};
use crate::Table;
use crate::error::{Error, Result};
use crate::schema::TableLayout;
use crate::segment::buffer::SegmentRows;
use crate::segment::writer::{SegmentWriter, StagedSegment, WriteError};
use crate::storage::layout;
use crate::sync::JoinHandle;
use crate::types::SegmentId;

/// Segments kept without a name, so that a failed append leaves nothing; more are published as they are written, because each
/// holds a file open.
const UNPUBLISHED_SEGMENTS_MAX: usize = 64;

/// Dropping it removes what has no name yet.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The rows that are being encoded.
    encoding: Option<JoinHandle<Result<Encoded, WriteError>>>,
    written: Encoded,
}

/// What was written so far.
#[derive(Debug, Default)]
struct Encoded {
    segments: Vec<StagedSegment>,
    /// The segment that may go on.
    open: Option<SegmentWriter>,
}

impl Encoder {
    /// It was never given rows, or has let go of them.
    pub(super) fn is_unused(&self) -> bool {
        self.encoding.is_none() && self.written.is_empty()
    }

    /// Encodes rows, when those before them are settled; `last` says that no more will come. They are put in order there, since
    /// that takes a while.
    ///
    /// # Errors
    /// Of publishing what was written before.
    pub(super) async fn start(
        &mut self,
        table: &Arc<Table>,
        layout: &Arc<TableLayout>,
        rows: impl FnOnce() -> SegmentRows + Send + 'static,
        last: bool,
    ) -> Result<()> {
        let segments = &self.written.segments;
        if segments.iter().filter(|segment| !segment.is_published()).count()
            >= UNPUBLISHED_SEGMENTS_MAX
        {
            let segments = std::mem::take(&mut self.written.segments);
            self.written.segments = publish_segments(table, segments).await?;
        }
        let mut written = std::mem::take(&mut self.written);
        let (owner, layout) = (Arc::clone(table), Arc::clone(layout));
        self.encoding = Some(table.store().workers().start(move || {
            written.write(&owner, &layout, rows(), last)?;
            Ok(written)
        }));
        Ok(())
    }

    /// Waits for the rows that are being encoded.
    ///
    /// # Errors
    /// What writing them met: nothing of the append can be committed then.
    pub(super) async fn settle(&mut self, table: &Table) -> Result<()> {
        let Some(encoding) = &mut self.encoding else { return Ok(()) };
        let written = encoding.await;
        self.encoding = None;
        let written = written
            .map_err(|error| Error::internal(format!("encoding a segment ended early: {error}")))?;
        self.written = written.map_err(|error| storage_error(table, error))?;
        Ok(())
    }

    /// All segments, once no more rows come.
    ///
    /// # Errors
    /// See [`Self::settle`].
    pub(super) async fn finish(&mut self, table: &Table) -> Result<Vec<StagedSegment>> {
        self.settle(table).await?;
        let mut written = std::mem::take(&mut self.written);
        if written.open.is_some() {
            let finished = table.store().workers().start(move || {
                written.finish_open()?;
                Ok::<_, WriteError>(written)
            });
            written = finished
                .await
                .map_err(|error| {
                    Error::internal(format!("finishing a segment ended early: {error}"))
                })?
                .map_err(|error| storage_error(table, error))?;
        }
        Ok(written.segments)
    }

    /// Lets go of what was written; the files go away with it.
    pub(super) fn discard(&mut self) {
        *self = Self::default();
    }
}

impl Encoded {
    /// Nothing was written.
    fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.open.is_none()
    }

    /// Adds rows to the segment that is open if they continue it, and otherwise begins another. Blocking.
    fn write(
        &mut self,
        table: &Table,
        layout: &Arc<TableLayout>,
        rows: SegmentRows,
        last: bool,
    ) -> Result<(), WriteError> {
        if self.open.as_ref().is_some_and(|open| !open.takes(&rows)) {
            self.finish_open()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let id = SegmentId(table.clock().new_id());
                let staged = table
                    .store()
                    .stage(&layout::segment(table.id(), id))
                    .map_err(|source| WriteError::Io { segment: id, source })?;
                SegmentWriter::create(id, layout, &rows, staged)?
            }
        };
        open.write(rows, last)?;
        if last || open.is_full() {
            self.segments.push(open.finish()?);
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    /// Ends the segment that is open. Blocking.
    fn finish_open(&mut self) -> Result<(), WriteError> {
        if let Some(open) = self.open.take() {
            self.segments.push(open.finish()?);
        }
        Ok(())
    }
}
