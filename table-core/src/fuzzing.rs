//! Doors for the fuzz targets in `tests/fuzz` into what is private otherwise: the bytes of log files, the fold of records, and
//! the reader of segments. Only with the feature `testing`; nothing here decides anything.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;

use crate::catalog::CatalogState;
use crate::log::frame::{self, FrameKind};
use crate::log::replay::ReplayError;
use crate::log::{Digest, LogError, Record, State, checkpoint};
use crate::schema::TableLayout;
use crate::segment::SegmentMeta;
use crate::segment::reader::{ScanSegment, SegmentCache, SegmentReaderFactory};
use crate::snapshot::Snapshot;
use crate::types::Version;

/// What errors call the file that is read.
const FILE: &str = "fuzzed";

/// A payload in the frame of a file of this kind.
pub fn frame(kind: FrameKind, previous: &Digest, payload: &[u8]) -> Bytes {
    frame::encode(kind, previous, payload)
}

/// Reads the file of a record.
///
/// # Errors
/// As the log's own reader.
pub fn read_record(framed: &Bytes) -> Result<Record, LogError> {
    let frame = frame::decode(FrameKind::Record, framed, FILE)?;
    Record::decode(frame.payload, FILE)
}

/// Reads the file of a table's checkpoint.
///
/// # Errors
/// As the log's own reader.
pub fn read_checkpoint(framed: &Bytes, version: Version) -> Result<Snapshot, LogError> {
    checkpoint::decode(framed, version, FILE)
}

/// The file of a table's checkpoint.
pub fn write_checkpoint(snapshot: &Snapshot) -> Bytes {
    checkpoint::encode(snapshot)
}

/// Reads the file of the catalog's checkpoint and writes it again.
///
/// # Errors
/// As the log's own reader.
pub fn rewrite_catalog_checkpoint(framed: &Bytes, version: Version) -> Result<Bytes, LogError> {
    checkpoint::decode::<CatalogState>(framed, version, FILE)
        .map(|state| checkpoint::encode(&state))
}

/// The table that the first record makes, or the one that the next record makes of a table.
///
/// # Errors
/// When the record does not follow.
pub fn fold(before: Option<&Snapshot>, record: &Record) -> Result<Snapshot, ReplayError> {
    let digest = *blake3::hash(&record.encode()).as_bytes();
    match before {
        None => Snapshot::first(record, digest),
        Some(before) => before.apply(record, digest),
    }
}

/// The number that two equal tables share (C17).
pub fn state_digest(snapshot: &Snapshot) -> u64 {
    snapshot.fold_digest()
}

/// Reads all of a segment, with the reader that queries use, from the bytes of its file.
///
/// # Errors
/// What a query would be told.
pub async fn read_segment(
    file: Bytes,
    meta: SegmentMeta,
    layout: Arc<TableLayout>,
) -> Result<(SchemaRef, Vec<RecordBatch>), ParquetError> {
    let outside = |error: object_store::Error| ParquetError::External(Box::new(error));
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from(FILE);
    let file_bytes = file.len() as u64;
    store.put(&path, file.into()).await.map_err(outside)?;
    let cache = Arc::new(SegmentCache::default());
    let factory = SegmentReaderFactory::new(FILE.into(), store, cache);
    let segment = ScanSegment { meta: Arc::new(meta), layout };
    let scanned = PartitionedFile::new(FILE, file_bytes).with_extension(segment);
    let reader: Box<dyn AsyncFileReader> = factory
        .create_reader(0, scanned, None, &ExecutionPlanMetricsSet::new())
        .map_err(|error| ParquetError::External(Box::new(error)))?;
    let stream = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
    let schema = Arc::clone(stream.schema());
    Ok((schema, stream.try_collect().await?))
}
