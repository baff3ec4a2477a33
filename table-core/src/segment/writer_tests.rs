#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Write;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::file::reader::{FileReader, SerializedFileReader};
use uuid::Uuid;

use super::super::buffer::{CheckedBatch, SORTED_BUFFER_BYTES, SegmentBuffer, index_values};
use super::super::row_group::ROW_GROUP_ROWS_MAX;
use super::*;
use crate::schema::{IndexSpec, TableSpec};
use crate::types::{BucketWidth, encode_entities};

/// A file in memory that takes `room` bytes.
#[derive(Debug)]
struct Memory {
    file: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock();
        if file.len() + bytes.len() > self.room {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        // Short writes are allowed, and must not upset a checksum.
        let count = bytes.len().min(1000);
        file.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for Memory {
    fn publish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }

    fn discard(self: Box<Self>) {}
}

fn layout() -> TableLayout {
    let batch = rows(&[]);
    let index = IndexSpec {
        column: "ts".into(),
        bucket: BucketWidth::parse("1h").unwrap(),
        entity_columns: vec!["symbol".into()],
        time_zone: "UTC".into(),
    };
    TableSpec { index: Some(index) }.bind(&batch.schema()).unwrap()
}

fn rows(rows: &[(&str, i64)]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("symbol", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("ts", Arc::new(TimestampSecondArray::from_iter_values(rows.iter().map(|row| row.1)))),
        (
            "noise",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| (row.1 as f64).sin()))),
        ),
        (
            "count",
            Arc::new(Int64Array::from_iter(
                rows.iter().map(|row| (row.1 % 2 == 0).then_some(row.1)),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

fn collected(layout: &TableLayout, batches: &[RecordBatch]) -> SegmentRows {
    buffered(layout, batches).finish()
}

fn buffered(layout: &TableLayout, batches: &[RecordBatch]) -> SegmentBuffer {
    let mut buffer = SegmentBuffer::new(layout);
    for batch in batches {
        let batch =
            RecordBatch::try_new(Arc::clone(&layout.schema), batch.columns().to_vec()).unwrap();
        let (keys, numbers) =
            encode_entities(&[Arc::clone(batch.column(0))], batch.num_rows()).unwrap();
        let index = index_values(batch.column(1));
        let bytes = batch.get_array_memory_size();
        let checked =
            CheckedBatch { batch, keys, rows: numbers, index, delta: CoverageDelta::default() };
        buffer.push(checked, bytes);
    }
    buffer
}

fn write(rows: SegmentRows, room: usize) -> Result<(StagedSegment, Bytes), WriteError> {
    let file = Arc::new(Mutex::new(Vec::new()));
    let staged = Box::new(Memory { file: Arc::clone(&file), room });
    let segment = write_segment(SegmentId(Uuid::from_u128(1)), &Arc::new(layout()), rows, staged)?;
    let bytes = Bytes::from(std::mem::take(&mut *file.lock()));
    Ok((segment, bytes))
}

#[test]
fn a_segment_is_described_to_the_byte() {
    let layout = layout();
    // Symbols interleaved, times going backwards, enough rows for several row groups and threads.
    let names: Vec<String> = (0..10).map(|name| format!("S{name}")).collect();
    let batches: Vec<_> = (0..5)
        .map(|part| {
            let part: Vec<_> = (0..40_000_i64)
                .map(|row| (names[(row % 10) as usize].as_str(), 1_000_000 - part * 40_000 - row))
                .collect();
            rows(&part)
        })
        .collect();
    let input = collected(&layout, &batches);
    assert!(input.order.is_some());
    let (segment, bytes) = write(input, usize::MAX).unwrap();
    let meta = &segment.meta;
    assert_eq!((meta.row_count, meta.file_bytes), (200_000, bytes.len() as u64));
    assert_eq!(&meta.file_digest, blake3::hash(&bytes).as_bytes());
    let mut end = FIRST_ROW_GROUP_BYTE;
    assert!(meta.row_groups.len() > 1);
    for group in &meta.row_groups {
        assert_eq!(group.start, end);
        end = group.end;
        let range = group.start as usize..group.end as usize;
        assert_eq!(group.crc32c, crc32c::crc32c(&bytes[range]));
    }
    assert_eq!(meta.tail_crc32c, crc32c::crc32c(&bytes[end as usize..]));
    assert_eq!(SegmentMeta::from_proto(&meta.to_proto(), &layout.schema).unwrap(), *meta);
    assert_eq!(meta.index_range, Some((800_001, 1_000_000)));

    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let file = reader.metadata().clone();
    assert!(file.row_groups().iter().all(|group| group.column(1).column_index_offset().is_some()));
    let encodings: Vec<_> = file.row_group(0).column(1).encodings().collect();
    assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{encodings:?}");
    let has_dictionary = |column: usize| file.row_group(0).column(column).dictionary_page_offset();
    assert!(has_dictionary(0).is_some(), "few symbols");
    assert!(has_dictionary(2).is_none(), "noise does not repeat itself");
    assert_eq!(file.file_metadata().schema_descr().column(1).self_type().get_basic_info().id(), 2);
    let mut last: Option<(String, i64)> = None;
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let symbols = batch.column(0).as_string::<i32>();
        let times = index_values(batch.column(1)).unwrap();
        for row in 0..batch.num_rows() {
            let here = (symbols.value(row).to_owned(), times[row]);
            assert!(last.as_ref().is_none_or(|last| *last < here), "{last:?} before {here:?}");
            last = Some(here);
        }
    }
    let stats = |id: i32| meta.column(id).unwrap().clone();
    assert_eq!(stats(4).null_count, 100_000);
    assert_eq!(stats(1).max.unwrap().to_string(), "S9");
    assert_eq!(stats(2).min.unwrap().data_type(), DataType::Timestamp(TimeUnit::Second, None));
}

/// Of the data pages of a column in the first row group, those that are compressed, and all.
fn compressed_pages(bytes: &Bytes, column: usize) -> (usize, usize) {
    let file = SerializedFileReader::new(bytes.clone()).unwrap();
    let pages = file.get_row_group(0).unwrap().get_column_page_reader(column).unwrap();
    let compressed = pages.filter_map(|page| match page.unwrap() {
        Page::DataPageV2 { is_compressed, .. } => Some(is_compressed),
        Page::DataPage { .. } => panic!("a page that cannot say whether it is compressed"),
        Page::DictionaryPage { .. } => None,
    });
    let compressed: Vec<bool> = compressed.collect();
    (compressed.iter().filter(|compressed| **compressed).count(), compressed.len())
}

#[test]
fn pages_that_compression_does_not_make_smaller_are_stored_as_they_are() {
    // More symbols than a dictionary holds, and all of them alike.
    let names: Vec<String> =
        (0..40_000).map(|name| format!("{}{name:06}", "S".repeat(94))).collect();
    let all: Vec<_> = names.iter().zip(0..).map(|(name, ts)| (name.as_str(), ts)).collect();
    let (_, bytes) = write(collected(&layout(), &[rows(&all)]), usize::MAX).unwrap();
    let (symbols, noise) = (compressed_pages(&bytes, 0), compressed_pages(&bytes, 2));
    assert!(symbols.0 > 0 && noise.1 > 0, "{symbols:?} {noise:?}");
    assert_eq!(noise.0, 0);
}

#[test]
fn sorted_rows_are_not_moved() {
    let layout = layout();
    let batches = [rows(&[("A", 1), ("A", 2)]), rows(&[("A", 2), ("B", 0)])];
    let input = collected(&layout, &batches);
    assert!(input.order.is_none() && input.places.is_some());
    let (segment, _) = write(input, usize::MAX).unwrap();
    assert_eq!(segment.meta.row_count, 4);
    for unsorted in [[("A", 2), ("A", 1)], [("B", 0), ("A", 5)]] {
        assert!(collected(&layout, &[rows(&unsorted)]).order.is_some());
    }
}

/// Rows of one symbol from `start` on, a second apart.
fn ascending(symbol: &str, start: i64, count: i64) -> RecordBatch {
    rows(&(start..start + count).map(|second| (symbol, second)).collect::<Vec<_>>())
}

#[test]
fn parts_become_one_segment_as_the_whole_would() {
    let layout = Arc::new(layout());
    let batches = [
        ascending("A", 0, 50_000),
        ascending("A", 50_000, 100_000),
        ascending("B", -7, 3_000),
        ascending("B", 2_993, 90_000),
        ascending("C", 0, 1),
    ];
    let (whole, whole_bytes) = write(collected(&layout, &batches), usize::MAX).unwrap();

    let file = Arc::new(Mutex::new(Vec::new()));
    let staged = Box::new(Memory { file: Arc::clone(&file), room: usize::MAX });
    let id = SegmentId(Uuid::from_u128(1));
    let parts = batches.each_ref().map(|batch| collected(&layout, std::slice::from_ref(batch)));
    let mut writer = SegmentWriter::create(id, &layout, &parts[0], staged).unwrap();
    for part in parts {
        assert!(writer.takes(&part));
        writer.write(part, false).unwrap();
    }
    assert!(!writer.takes(&collected(&layout, &[rows(&[("B", 9_000_000)])])), "B after C");
    assert!(writer.takes(&collected(&layout, &[rows(&[("C", 0)])])), "equal rows are in order");
    let segment = writer.finish().unwrap();
    let bytes = Bytes::from(std::mem::take(&mut *file.lock()));

    let (meta, whole) = (&segment.meta, &whole.meta);
    assert_eq!(&meta.file_digest, blake3::hash(&bytes).as_bytes());
    assert_eq!(
        (meta.row_count, meta.sorted, meta.index_range, &meta.entity_range, &meta.columns),
        (whole.row_count, whole.sorted, whole.index_range, &whole.entity_range, &whole.columns)
    );
    let mut end = FIRST_ROW_GROUP_BYTE;
    for group in &meta.row_groups {
        assert_eq!(group.start, end);
        end = group.end;
        let range = group.start as usize..group.end as usize;
        assert_eq!(group.crc32c, crc32c::crc32c(&bytes[range]));
        assert!(group.row_count <= ROW_GROUP_ROWS_MAX as u64);
    }
    assert_eq!(meta.tail_crc32c, crc32c::crc32c(&bytes[end as usize..]));
    let read = |bytes: Bytes| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    assert_eq!(read(bytes), read(whole_bytes));
}

#[test]
fn rows_in_order_do_not_wait_to_be_sorted() {
    let layout = layout();
    let in_order = ascending("A", 0, 100_000);
    let bytes = in_order.get_array_memory_size();
    let mut batches = vec![in_order; SORTED_BUFFER_BYTES.div_ceil(bytes)];
    assert!(!buffered(&layout, &batches).is_full(), "the second batch goes back in time");
    for (number, batch) in batches.iter_mut().enumerate() {
        *batch = ascending("A", 100_000 * number as i64, 100_000);
    }
    assert!(buffered(&layout, &batches).is_full());
    batches.pop();
    assert!(!buffered(&layout, &batches).is_full());
}

#[test]
fn a_full_disk_is_told_from_bad_rows() {
    let layout = layout();
    for room in [0, 3, 4, 500] {
        let error = write(collected(&layout, &[rows(&[("A", 1)])]), room).unwrap_err();
        let WriteError::Io { source, .. } = error else { panic!("with room {room}: {error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull, "with room {room}");
    }
}
