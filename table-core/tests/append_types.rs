//! What types and encodings an append takes, and how they are stored: every form that clients send becomes the type of the
//! table, and what does not fit is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int8Array, Int32Array, Int64Array, LargeStringArray,
    NullArray, RecordBatch, RunArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::{sort_to_indices, take};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Int64Type, Schema};
use support::root::{HOUR_US, Root, append, bars, micros, spec};
use table_core::ErrorKind;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::{BucketWidth, Version};

/// One column of every encoding that clients use for the same values.
#[tokio::test]
async fn whatever_a_client_sends_for_a_type_is_stored_as_the_type_of_the_table() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", micros(), false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(20, 4), true),
    ]));
    let root = Root::new().await;
    let table = root.table(spec(), Some(schema)).await;

    let symbols: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["A", "B"])),
        Arc::new(LargeStringArray::from(vec!["A", "B"])),
        Arc::new(StringViewArray::from(vec!["A", "B"])),
        Arc::new(DictionaryArray::<Int8Type>::from_iter(["A", "B"])),
        Arc::new(RunArray::<Int32Type>::from_iter(["A", "B"])),
    ];
    let numbers: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![Some(1), None])),
        Arc::new(Int32Array::from(vec![Some(1), None])),
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Arc::new(UInt64Array::from(vec![Some(1), None])),
        Arc::new(DictionaryArray::<Int32Type>::new(
            Int32Array::from(vec![Some(0), None]),
            Arc::new(Int64Array::from(vec![1])),
        )),
    ];
    let mut expected = 0;
    for (round, symbol) in symbols.iter().enumerate() {
        for (step, number) in numbers.iter().enumerate() {
            let ms = ((round * 10 + step) as i64) * HOUR_US / 1000;
            let ts =
                TimestampMillisecondArray::from(vec![ms, ms]).with_timezone("America/New_York");
            let float = if step % 2 == 0 {
                Arc::new(Int64Array::from(vec![1 << 53, -5])) as ArrayRef
            } else {
                Arc::new(arrow::array::Float32Array::from(vec![0.5, f32::NAN]))
            };
            // Another order, the decimal missing every second time.
            let mut columns: Vec<(&str, ArrayRef)> = vec![
                ("n", Arc::clone(number)),
                ("symbol", Arc::clone(symbol)),
                ("x", float),
                ("ts", Arc::new(ts)),
            ];
            if step % 2 == 0 {
                columns.push(("d", Arc::new(Int32Array::from(vec![7, -7]))));
            }
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let receipt = append(&table, &[batch]).await;
            let receipt = receipt.unwrap_or_else(|error| panic!("{round} {step}: {error}"));
            assert_eq!(receipt.row_count, 2);
            expected += 2;
        }
    }
    let rows = root.rows(&table, &table.snapshot());
    assert_eq!(rows.num_rows(), expected);
    let n = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
    assert!((0..expected).all(|row| if row % 2 == 0 { n.value(row) == 1 } else { n.is_null(row) }));
    let d = rows.column_by_name("d").unwrap();
    assert_eq!(d.null_count(), 2 * 5 * 2);
    let d = d.as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!((d.value(0), d.value(1)), (70_000, -70_000));

    let table_of_nulls: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC"))),
        ("symbol", Arc::new(StringArray::from(vec!["A"]))),
        ("n", Arc::new(NullArray::new(1))),
    ];
    append(&table, &[RecordBatch::try_from_iter(table_of_nulls).unwrap()]).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let root = Root::new().await;
    let table = root.table(spec(), Some(bars(&[]).schema())).await;
    let ts =
        || Arc::new(TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC")) as ArrayRef;
    let naive = || Arc::new(TimestampMicrosecondArray::from(vec![0, 1])) as ArrayRef;
    let symbol = || Arc::new(StringArray::from(vec!["A", "B"])) as ArrayRef;
    let hole = || Arc::new(StringArray::from(vec![Some("A"), None])) as ArrayRef;
    let ts_hole =
        || Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None]).with_timezone("UTC"));
    let text = || Arc::new(StringArray::from(vec!["1.5", "2"])) as ArrayRef;
    let wide = || Arc::new(Int64Array::from(vec![0, (1 << 53) + 1])) as ArrayRef;
    type Case<'a> = (Vec<(&'a str, ArrayRef)>, ErrorKind, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            vec![("ts", ts()), ("symbol", hole())],
            ErrorKind::Invalid,
            "\"symbol\" is null in row 1; entity",
        ),
        (
            vec![("ts", ts_hole()), ("symbol", symbol())],
            ErrorKind::Invalid,
            "\"ts\" is null in row 1; index",
        ),
        (vec![("symbol", symbol())], ErrorKind::SchemaMismatch, "\"ts\""),
        (vec![("ts", ts())], ErrorKind::SchemaMismatch, "\"symbol\""),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("Price", wide())],
            ErrorKind::SchemaMismatch,
            "did you mean \"price\"",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("size", wide())],
            ErrorKind::SchemaMismatch,
            "\"size\"",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("price", text())],
            ErrorKind::SchemaMismatch,
            "\"price\" has type Utf8",
        ),
        (vec![("ts", naive()), ("symbol", symbol())], ErrorKind::SchemaMismatch, "no time zone"),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("price", wide())],
            ErrorKind::Invalid,
            "9007199254740993",
        ),
        (
            vec![("ts", ts()), ("symbol", symbol()), ("symbol", symbol())],
            ErrorKind::Invalid,
            "named twice",
        ),
    ];
    for (columns, kind, expected) in cases {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let error = append(&table, &[batch]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(expected), "{error} should say {expected}");
        assert!(error.message().contains("\"prices\""), "{error} should name the table");
    }
    assert_eq!(table.snapshot().version, Version(1));
    assert_eq!(root.files(&table), 0);
}

#[tokio::test]
async fn a_small_message_cannot_ask_for_gigabytes() {
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(65 << 20)]));
    let note = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0; 100]), long);
    let ts = TimestampMicrosecondArray::from_iter_values(0..100).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts)),
        ("symbol", Arc::new(StringArray::from(vec!["A"; 100]))),
        ("note", Arc::new(note)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let error = append(&table, &[batch]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.message().contains("row 0"), "{error}");
}

#[tokio::test]
async fn integer_indexes_order_by_value_up_to_the_end_of_u64() {
    let root = Root::new().await;
    let spec = TableSpec {
        index: Some(IndexSpec {
            column: "block".into(),
            bucket: BucketWidth::parse("100").unwrap(),
            entity_columns: Vec::new(),
            time_zone: "UTC".into(),
        }),
    };
    let table = root.table(spec, None).await;
    let blocks = |values: Vec<u64>| {
        RecordBatch::try_from_iter([("block", Arc::new(UInt64Array::from(values)) as ArrayRef)])
            .unwrap()
    };
    append(&table, &[blocks(vec![u64::MAX, 5, 1 << 63, 0])]).await.unwrap();
    let rows = root.rows(&table, &table.snapshot());
    let stored = rows.column(0).as_primitive::<arrow::datatypes::UInt64Type>();
    assert_eq!(stored.values(), &[0, 5, 1 << 63, u64::MAX]);
    let hot = table.snapshot().hot.iter().map(|rows| rows.index_range).collect::<Vec<_>>();
    assert_eq!(hot, [Some((0, -1))], "bit patterns");
    table.flush().await.unwrap();
    assert_eq!(table.snapshot().segments[0].index_range, Some((0, -1)), "bit patterns");
    let error = append(&table, &[blocks(vec![(1 << 63) + 1])]).await.unwrap_err();
    assert_eq!(error.overlap().unwrap().bucket_start, "9223372036854775800");
    assert_eq!(error.overlap().unwrap().example_entity, "");
}

#[tokio::test]
async fn nested_columns_survive() {
    use arrow::array::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    let root = Root::new().await;
    let table = root.table(spec(), None).await;
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None]);
    list.append_null();
    list.append_value([]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(5);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    // Rows in reverse order, so that nested values are moved too.
    let ts = TimestampMicrosecondArray::from(vec![2, 1, 0]).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts)),
        ("symbol", Arc::new(StringArray::from(vec!["A"; 3]))),
        ("list", Arc::new(list.finish())),
        ("map", Arc::new(map.finish())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    append(&table, std::slice::from_ref(&batch)).await.unwrap();
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    for flushed in [false, true] {
        let rows = root.rows(&table, &table.snapshot());
        for name in ["list", "map"] {
            let sent = take(batch.column_by_name(name).unwrap(), &order, None).unwrap();
            let stored = rows.column_by_name(name).unwrap();
            let text = |array: &ArrayRef, row| {
                arrow::util::display::array_value_to_string(array, row).unwrap()
            };
            for row in 0..3 {
                assert_eq!(text(stored, row), text(&sent, row), "{name} row {row} {flushed}");
                assert_eq!(stored.is_null(row), sent.is_null(row), "{name} row {row} {flushed}");
            }
        }
        table.flush().await.unwrap();
    }
}
