#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::array::{
    Date64Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array,
    Int32Array, Int64Array, LargeListArray, StringArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt64Array,
};
use arrow::datatypes::{Field, Int64Type};

use super::*;

/// One column on its way into a column of type `to`.
fn through(array: ArrayRef, to: DataType) -> Result<ArrayRef, SchemaError> {
    let table = Arc::new(Schema::new(vec![Field::new("c", to, true)]));
    let incoming = Schema::new(vec![Field::new("c", array.data_type().clone(), true)]);
    let normalizer = Normalizer::try_new(&incoming, &table)?;
    let batch = RecordBatch::try_new(Arc::new(incoming), vec![array]).unwrap();
    normalizer.normalize(&batch).map(|batch| Arc::clone(batch.column(0)))
}

fn timestamp(unit: TimeUnit, zone: Option<&str>) -> DataType {
    DataType::Timestamp(unit, zone.map(Into::into))
}

#[test]
fn values_that_fit_come_through_unchanged() {
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(-3), None, Some(100)]));
    let cases: Vec<(ArrayRef, DataType)> = vec![
        (Arc::clone(&ints), DataType::Int8),
        (Arc::clone(&ints), DataType::Float64),
        (Arc::clone(&ints), DataType::Float32),
        (Arc::clone(&ints), DataType::Decimal128(5, 2)),
        (Arc::new(UInt64Array::from(vec![i64::MAX as u64])), DataType::Int64),
        (Arc::new(Int8Array::from(vec![5])), DataType::UInt64),
        (Arc::new(Float32Array::from(vec![0.1, f32::INFINITY])), DataType::Float64),
        (
            Arc::new(Decimal128Array::from(vec![123]).with_precision_and_scale(10, 2).unwrap()),
            DataType::Decimal256(40, 5),
        ),
        (
            Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab", b"cd"].into_iter()).unwrap()),
            DataType::Binary,
        ),
        (Arc::new(TimestampSecondArray::from(vec![-5])), timestamp(TimeUnit::Nanosecond, None)),
        (
            Arc::new(TimestampNanosecondArray::from(vec![-7_000_000_000])),
            timestamp(TimeUnit::Second, None),
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![5]).with_timezone("UTC")),
            timestamp(TimeUnit::Second, Some("Asia/Tokyo")),
        ),
        (Arc::new(Date64Array::from(vec![-86_400_000])), DataType::Date32),
    ];
    for (array, to) in cases {
        let from = array.data_type().clone();
        let came = through(Arc::clone(&array), to.clone())
            .unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        assert_eq!(came.data_type(), &to);
        let back = cast_with_options(&came, &from, &CAST).unwrap();
        assert_eq!(&back, &array, "{from} to {to} and back");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let big = (1_i64 << 53) + 1;
    let cases: Vec<(ArrayRef, DataType, &str)> = vec![
        (
            Arc::new(Int64Array::from(vec![None, Some(128)])),
            DataType::Int8,
            "value 128 is out of range in row 1",
        ),
        (
            Arc::new(Int64Array::from(vec![-1])),
            DataType::UInt64,
            "value -1 is out of range in row 0",
        ),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Int64, "18446744073709551615"),
        (Arc::new(Int64Array::from(vec![0, -big])), DataType::Float64, "value -9007199254740993"),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Float64, "floats skip integers"),
        (Arc::new(Int32Array::from(vec![(1 << 24) + 1])), DataType::Float32, "16777217"),
        (Arc::new(Int64Array::from(vec![1000])), DataType::Decimal128(5, 2), "value 1000"),
        (
            Arc::new(TimestampSecondArray::from(vec![i64::MAX / 1000])),
            timestamp(TimeUnit::Nanosecond, None),
            "out of range in row 0",
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000, 1])),
            timestamp(TimeUnit::Second, None),
            "finer than the unit of the column in row 1",
        ),
        (Arc::new(Date64Array::from(vec![86_400_001])), DataType::Date32, "finer"),
    ];
    for (array, to, expected) in cases {
        let error = through(array, to).unwrap_err();
        assert!(matches!(error, SchemaError::Value { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error} should say {expected}");
        assert!(error.to_string().contains("column \"c\""), "{error}");
    }
}

#[test]
fn types_that_never_fit_are_refused_with_the_schema() {
    let cases: Vec<(ArrayRef, DataType)> = vec![
        (Arc::new(Float64Array::from(vec![1.0])), DataType::Float32),
        (Arc::new(Float64Array::from(vec![1.0])), DataType::Int64),
        (Arc::new(StringArray::from(vec!["1"])), DataType::Int64),
        (Arc::new(Int64Array::from(vec![1])), DataType::Utf8),
        (Arc::new(StringArray::from(vec!["1"])), DataType::Binary),
        (Arc::new(Int64Array::from(vec![1])), timestamp(TimeUnit::Second, None)),
        (Arc::new(TimestampSecondArray::from(vec![1])), timestamp(TimeUnit::Second, Some("UTC"))),
        (
            Arc::new(TimestampSecondArray::from(vec![1]).with_timezone("UTC")),
            timestamp(TimeUnit::Second, None),
        ),
        (
            Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(5, 3).unwrap()),
            DataType::Decimal128(20, 2),
        ),
        (Arc::new(Int64Array::from(vec![1])), DataType::new_list(DataType::Int64, true)),
        (Arc::new(Date64Array::from(vec![1])), timestamp(TimeUnit::Millisecond, None)),
    ];
    for (array, to) in cases {
        let from = array.data_type().clone();
        let error = through(array, to.clone()).unwrap_err();
        assert!(matches!(error, SchemaError::TypeMismatch { .. }), "{from} to {to}: {error}");
    }
}

#[test]
fn nested_columns_are_rebuilt_in_the_type_of_the_table() {
    let large = LargeListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1_000_000)]),
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let to = DataType::List(Arc::new(Field::new("item", DataType::Int16, true)));
    // The value that does not fit lies before the slice.
    let sliced: ArrayRef = Arc::new(large.slice(1, 3));
    let came = through(sliced, to.clone()).unwrap();
    assert_eq!(came.data_type(), &to);
    let list = came.as_list::<i32>();
    assert_eq!((list.value_length(0), list.is_null(1), list.value_length(2)), (2, true, 0));
    let error = through(Arc::new(large), to).unwrap_err();
    assert!(error.to_string().contains("value 1000000 is out of range"), "{error}");

    let inner = |a: DataType, b: DataType| {
        Fields::from(vec![Field::new("a", a, true), Field::new("b", b, true)])
    };
    let from = inner(DataType::UInt8, DataType::LargeUtf8);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from(vec![1, 2])),
        Arc::new(arrow::array::LargeStringArray::from(vec!["x", "y"])),
    ];
    let reversed = Fields::from_iter(from.iter().rev().cloned());
    let columns = columns.into_iter().rev().collect();
    let structs = StructArray::new(reversed, columns, Some(vec![true, false].into()));
    let to = DataType::Struct(inner(DataType::Int64, DataType::Utf8));
    let came = through(Arc::new(structs), to.clone()).unwrap();
    assert_eq!(came.data_type(), &to);
    let came = came.as_struct();
    assert_eq!(came.column(0).as_primitive::<Int64Type>().value(0), 1);
    assert!(came.is_null(1));
}
