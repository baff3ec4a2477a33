#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! Every kind of file is recognised, read in full, and refused in full when it is damaged.

use std::io::Write;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;

fn sample() -> RecordBatch {
    let names = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let numbers = Arc::new(Int64Array::from(vec![1, 2, 3]));
    RecordBatch::try_from_iter_with_nullable([
        ("name", names as _, true),
        ("number", numbers as _, true),
    ])
    .unwrap()
}

fn parquet_bytes(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

async fn read(path: &Path, csv: &CsvOptions) -> Result<Vec<RecordBatch>, String> {
    let source = Source::open(path, csv).map_err(|error| error.to_string())?;
    source.into_stream().try_collect().await.map_err(|error| error.to_string())
}

async fn read_csv(text: &str, csv: &CsvOptions) -> Result<RecordBatch, String> {
    let folder = TempDir::new().unwrap();
    let batches = read(&file(&folder, "data.csv", text.as_bytes()), csv).await?;
    let schema = batches[0].schema();
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}

#[tokio::test]
async fn every_kind_of_file_is_told_by_its_content() {
    let batch = sample();
    let mut arrow_file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow_file.write(&batch).unwrap();
    let arrow_file = arrow_file.into_inner().unwrap();
    let mut arrow_stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow_stream.write(&batch).unwrap();
    let arrow_stream = arrow_stream.into_inner().unwrap();
    let csv = b"name,number\na,1\n,2\nc,3\n".to_vec();

    let folder = TempDir::new().unwrap();
    for (kind, bytes) in [
        ("parquet", parquet_bytes(&batch)),
        ("arrow file", arrow_file),
        ("arrow stream", arrow_stream),
        ("csv", csv),
    ] {
        let path = file(&folder, "data.bin", &bytes);
        let source = Source::open(&path, &CsvOptions::default()).unwrap();
        let position = source.position();
        let file_bytes = path.metadata().unwrap().len();
        let batches: Vec<_> = source.into_stream().try_collect().await.unwrap();
        assert_eq!(batches, std::slice::from_ref(&batch), "{kind}");
        assert!(position.load(Ordering::Relaxed) > file_bytes / 2, "{kind}: no progress");
    }
}

#[tokio::test]
async fn truncated_and_mislabelled_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let bytes = parquet_bytes(&sample());
    for (name, bytes, expected) in [
        ("short.parquet", &bytes[..bytes.len() / 2], "as Parquet"),
        ("text.parquet", b"name,number\n".as_slice(), "named like Parquet"),
        ("text.arrow", b"name,number\n".as_slice(), "named like Arrow IPC"),
        ("empty.csv", b"".as_slice(), "it is empty"),
        ("image.png", b"\x89PNG\0\0".as_slice(), "not text"),
        ("secret.parquet", b"PARE....".as_slice(), "encrypted"),
    ] {
        let error = read(&file(&folder, name, bytes), &CsvOptions::default()).await.unwrap_err();
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
    let missing = read(&folder.path().join("absent.csv"), &CsvOptions::default()).await;
    assert!(missing.unwrap_err().contains("absent.csv"));
    let directory = read(folder.path(), &CsvOptions::default()).await;
    assert!(directory.unwrap_err().contains("directory"));
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_the_end_of_the_rows() {
    let folder = TempDir::new().unwrap();
    let mut bytes = parquet_bytes(&sample());
    // The first page begins right behind the magic.
    bytes[4..24].fill(0xff);
    let error = read(&file(&folder, "data.parquet", &bytes), &CsvOptions::default()).await;
    assert!(error.unwrap_err().contains("data.parquet"));
}

#[tokio::test]
async fn csv_types_fit_the_next_file_too() {
    let text = "at,local,day,n,x,nothing\n\
                2013-01-01T06:00:00Z,2013-01-01 06:00:00,2013-01-01,1,1.5,\n\
                2013-01-01T07:00:00+01:00,2013-01-01 07:00:00.5,2013-01-02,2,2,\n";
    let batch = read_csv(text, &CsvOptions::default()).await.unwrap();
    let types: Vec<_> =
        batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(
        types,
        [
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Date32,
            DataType::Int64,
            DataType::Float64,
            DataType::Utf8,
        ]
    );
    // Both rows name the same instant.
    let at = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.value(0), 1_357_020_000_000_000);
    assert_eq!(at.value(1), at.value(0));
}

#[tokio::test]
async fn null_texts_are_null_in_every_type() {
    let options =
        CsvOptions { null_texts: vec!["NA".to_owned(), "-".to_owned()], ..CsvOptions::default() };
    let batch = read_csv("s,x\nNA,1.5\nok,NA\n-,-\n,2\n", &options).await.unwrap();
    assert_eq!(batch.schema().field(1).data_type(), &DataType::Float64);
    assert_eq!(batch.column(0).null_count(), 3);
    assert_eq!(batch.column(1).null_count(), 2);
    assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(0), 1.5);
}

#[tokio::test]
async fn the_tables_schema_decides_the_types() {
    let table = Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("code", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
    ]);
    let options = CsvOptions { table_schema: Some(Arc::new(table)), ..CsvOptions::default() };
    let text = "price,code,at,extra\n1,007,2013-01-01T06:00:00Z,5\n";
    let batch = read_csv(text, &options).await.unwrap();
    let types: Vec<_> =
        batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(
        types,
        [
            DataType::Float64,
            DataType::Utf8,
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            DataType::Int64,
        ]
    );
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "007");
}

#[tokio::test]
async fn a_csv_value_that_does_not_fit_is_named() {
    let table = Schema::new(vec![Field::new("price", DataType::Float64, true)]);
    let options = CsvOptions { table_schema: Some(Arc::new(table)), ..CsvOptions::default() };
    let error = read_csv("price\n1.5\nlots\n", &options).await.unwrap_err();
    assert!(error.contains("lots") && error.contains("data.csv"), "{error}");
}
