//! Reading a segment: a `ParquetFileReaderFactory` that caches footers by segment and verifies each row group's CRC32C
//! against the log before the first byte of it is decoded.
//!
//! Owns the [`SegmentCache`]. Which segments to read is decided in `scan`; what the checksums must be comes from the log
//! through [`SegmentMeta`]. A segment that is damaged or missing fails the reads that need it, as
//! [`ErrorKind::Corrupt`], and no others.

mod cache;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

pub use cache::{SEGMENT_CACHE_BYTES, SegmentCache};

use self::cache::CachedSegment;
use super::{RowGroupMeta, SegmentMeta};
use crate::error::{Error, ErrorKind};
use crate::schema::TableLayout;

/// Bytes of the magic number that opens every Parquet file; the first row group starts behind it.
const MAGIC_BYTES: u64 = 4;

/// What a scan attaches to each `PartitionedFile`.
#[derive(Debug, Clone)]
pub(crate) struct ScanSegment {
    /// What the log knows of the segment.
    pub(crate) meta: Arc<SegmentMeta>,
    /// Of the table.
    pub(crate) layout: Arc<TableLayout>,
}

/// Hands out readers that verify what they read. One per scan.
#[derive(Debug)]
pub(crate) struct SegmentReaderFactory {
    table: Arc<str>,
    store: Arc<dyn ObjectStore>,
    cache: Arc<SegmentCache>,
}

impl SegmentReaderFactory {
    /// Readers of segments of `table`, which is only named in errors.
    pub(crate) fn new(
        table: Arc<str>,
        store: Arc<dyn ObjectStore>,
        cache: Arc<SegmentCache>,
    ) -> Self {
        Self { table, store, cache }
    }
}

impl ParquetFileReaderFactory for SegmentReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        partitioned_file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        let Some(ScanSegment { meta, .. }) = partitioned_file.extension::<ScanSegment>() else {
            return Err(DataFusionError::External(Box::new(Error::internal(format!(
                "file \"{}\" is scanned without its segment",
                partitioned_file.object_meta.location
            )))));
        };
        let path = partitioned_file.object_meta.location.clone();
        Ok(Box::new(SegmentReader {
            metrics: ParquetFileMetrics::new(partition_index, path.as_ref(), metrics),
            table: Arc::clone(&self.table),
            store: Arc::clone(&self.store),
            cache: Arc::clone(&self.cache),
            meta: Arc::clone(meta),
            path,
            opened: None,
        }))
    }
}

/// Reads one segment, verified.
struct SegmentReader {
    metrics: ParquetFileMetrics,
    table: Arc<str>,
    store: Arc<dyn ObjectStore>,
    cache: Arc<SegmentCache>,
    meta: Arc<SegmentMeta>,
    path: Path,
    opened: Option<Arc<CachedSegment>>,
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentReader").field("path", &self.path.as_ref()).finish_non_exhaustive()
    }
}

impl SegmentReader {
    /// The footer, from the cache or, verified, from the file.
    async fn open(&mut self) -> Result<Arc<CachedSegment>, Error> {
        if let Some(opened) = &self.opened {
            return Ok(Arc::clone(opened));
        }
        let opened = match self.cache.get(self.meta.id) {
            Some(cached) => cached,
            None => {
                let metadata = self.load_footer().await?;
                self.cache.insert(self.meta.id, Arc::new(metadata), self.meta.row_groups.len())
            }
        };
        self.opened = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Reads everything behind the last row group (bloom filters, page index, footer) in one go and verifies it.
    async fn load_footer(&self) -> Result<ParquetMetaData, Error> {
        let tail_start = self.meta.row_groups.last().map_or(MAGIC_BYTES, |group| group.end);
        let tail = self.read_tail(tail_start..self.meta.file_bytes).await?;
        let found = crc32c::crc32c(&tail);
        if found != self.meta.tail_crc32c {
            return Err(self.corrupt(format!(
                "its footer has checksum {found:#010x}, the log says {:#010x}",
                self.meta.tail_crc32c
            )));
        }
        let mut reader =
            ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let parsed = reader
            .try_parse_sized(&tail, self.meta.file_bytes)
            .and_then(|()| reader.finish())
            .map_err(|error| self.corrupt(format!("its footer cannot be read: {error}")))?;
        if parsed.num_row_groups() != self.meta.row_groups.len() {
            return Err(self.corrupt(format!(
                "its footer lists {} row groups, the log says {}",
                parsed.num_row_groups(),
                self.meta.row_groups.len()
            )));
        }
        Ok(parsed)
    }

    /// The ranges, from row groups that have been verified. A row group that has not been is read whole, verified, and the
    /// ranges are cut from those bytes.
    async fn read_verified(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, Error> {
        let opened = self.open().await?;
        let mut fresh: Vec<(u64, Bytes)> = Vec::new();
        for range in &ranges {
            for number in row_groups_touched(&self.meta.row_groups, range) {
                if opened.is_verified(number) {
                    continue;
                }
                let group = &self.meta.row_groups[number];
                let bytes = self.read(group.start..group.end).await?;
                let found = crc32c::crc32c(&bytes);
                if found != group.crc32c {
                    return Err(self.corrupt(format!(
                        "row group {number} has checksum {found:#010x}, the log says {:#010x}",
                        group.crc32c
                    )));
                }
                opened.set_verified(number);
                fresh.push((group.start, bytes));
            }
        }
        let mut found: Vec<Option<Bytes>> = ranges
            .iter()
            .map(|range| fresh.iter().find_map(|(start, bytes)| cut(*start, bytes, range)))
            .collect();
        let missing: Vec<Range<u64>> = ranges
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(range, _)| range.clone())
            .collect();
        let mut read = self.read_many(&missing).await?.into_iter();
        for slot in &mut found {
            if slot.is_none() {
                *slot = read.next();
            }
        }
        let found: Option<Vec<Bytes>> = found.into_iter().collect();
        found.ok_or_else(|| Error::internal("the store returned fewer ranges than were asked for"))
    }

    /// The end of the file. The same answer says how long the file is, which costs no request of its own.
    async fn read_tail(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let length = range.end.saturating_sub(range.start);
        self.metrics.bytes_scanned.add(usize::try_from(length).unwrap_or(usize::MAX));
        let options =
            GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let found = match self.store.get_opts(&self.path, options).await {
            Ok(found) => found,
            Err(error) => {
                // A file that shrank gives an error of its own in each store; its size tells.
                self.check_size().await?;
                return Err(self.unreadable(error));
            }
        };
        if found.meta.size != self.meta.file_bytes {
            return Err(self.other_size(found.meta.size));
        }
        let bytes = found.bytes().await.map_err(|error| self.unreadable(error))?;
        self.check_length(&range, &bytes)?;
        Ok(bytes)
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let mut read = self.read_many(std::slice::from_ref(&range)).await?;
        match (read.pop(), read.pop()) {
            (Some(bytes), None) => Ok(bytes),
            _ => Err(Error::internal("the store did not return one range for one")),
        }
    }

    async fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let total: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.metrics.bytes_scanned.add(usize::try_from(total).unwrap_or(usize::MAX));
        let read = match self.store.get_ranges(&self.path, ranges).await {
            Ok(read) => read,
            Err(error) => {
                // A file that shrank gives an error of its own in each store; its size tells.
                self.check_size().await?;
                return Err(self.unreadable(error));
            }
        };
        for (range, bytes) in ranges.iter().zip(&read) {
            if let Err(error) = self.check_length(range, bytes) {
                self.check_size().await?;
                return Err(error);
            }
        }
        Ok(read)
    }

    async fn check_size(&self) -> Result<(), Error> {
        let found = self.store.head(&self.path).await.map_err(|error| self.unreadable(error))?.size;
        if found != self.meta.file_bytes {
            return Err(self.other_size(found));
        }
        Ok(())
    }

    fn check_length(&self, range: &Range<u64>, bytes: &Bytes) -> Result<(), Error> {
        if bytes.len() as u64 == range.end.saturating_sub(range.start) {
            return Ok(());
        }
        Err(self.corrupt(format!(
            "bytes {}..{} came back as {} bytes",
            range.start,
            range.end,
            bytes.len()
        )))
    }

    fn other_size(&self, found: u64) -> Error {
        self.corrupt(format!("it has {found} bytes, the log says {}", self.meta.file_bytes))
    }

    fn corrupt(&self, what: impl fmt::Display) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "segment file \"{}\" of table \"{}\" is damaged: {what}; restore the file from a backup",
                self.path, self.table
            ),
        )
    }

    fn unreadable(&self, error: object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => Error::new(
                ErrorKind::Corrupt,
                format!(
                    "segment file \"{}\" of table \"{}\" is missing, the log says it has {} bytes; restore the file \
                     from a backup",
                    self.path, self.table, self.meta.file_bytes
                ),
            ),
            other => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "segment file \"{}\" of table \"{}\" cannot be read: {other}; try again, and check the storage if it \
                     stays so",
                    self.path, self.table
                ),
            ),
        }
    }
}

/// Numbers of the row groups that share a byte with `range`; none when it lies in the tail.
fn row_groups_touched(groups: &[RowGroupMeta], range: &Range<u64>) -> Range<usize> {
    let first = groups.partition_point(|group| group.end <= range.start);
    let end = groups.partition_point(|group| group.start < range.end);
    first..end.max(first)
}

/// `range` out of `bytes`, which lie at `start` of the file; `None` when they do not hold all of it.
fn cut(start: u64, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
    let to = usize::try_from(range.end.checked_sub(start)?).ok()?;
    (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
}

impl AsyncFileReader for SegmentReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let mut read = self.read_verified(vec![range]).await.map_err(into_parquet)?;
            read.pop().ok_or_else(|| into_parquet(Error::internal("a range went missing")))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.read_verified(ranges).await.map_err(into_parquet) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        // The page index is always there: it was read together with the footer.
        async move {
            let opened = self.open().await.map_err(into_parquet)?;
            Ok(Arc::clone(opened.metadata()))
        }
        .boxed()
    }
}

fn into_parquet(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
