//! How large a batch is once views, dictionaries and runs are written out: known before any of it is, so that a message of a
//! few kilobytes cannot ask for gigabytes. Pure.

use arrow::array::{
    Array, AsArray, BinaryViewArray, DictionaryArray, GenericByteViewArray, GenericListViewArray,
    OffsetSizeTrait, RunArray, StringViewArray,
};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, ByteViewType, DataType, Int8Type, Int16Type,
    Int32Type, Int64Type, RunEndIndexType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

/// Bytes that one bit of validity or of a boolean is counted as, so that a batch of them is never free.
const BIT_BYTES: u64 = 1;

/// Bytes of the array in portable form, about. Linear in the rows for views and dictionaries, constant for plain columns.
pub fn logical_bytes(array: &dyn Array) -> u64 {
    let rows = array.len() as u64;
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()) + rows * 4,
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()) + rows * 4,
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()) + rows * 4,
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()) + rows * 4,
        DataType::Utf8View => views(array.as_any().downcast_ref::<StringViewArray>()) + rows * 4,
        DataType::BinaryView => views(array.as_any().downcast_ref::<BinaryViewArray>()) + rows * 4,
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::Int8 => dictionary(array.as_dictionary::<Int8Type>()),
            DataType::Int16 => dictionary(array.as_dictionary::<Int16Type>()),
            DataType::Int32 => dictionary(array.as_dictionary::<Int32Type>()),
            DataType::Int64 => dictionary(array.as_dictionary::<Int64Type>()),
            DataType::UInt8 => dictionary(array.as_dictionary::<UInt8Type>()),
            DataType::UInt16 => dictionary(array.as_dictionary::<UInt16Type>()),
            DataType::UInt32 => dictionary(array.as_dictionary::<UInt32Type>()),
            DataType::UInt64 => dictionary(array.as_dictionary::<UInt64Type>()),
            _ => rows,
        },
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs(array.as_any().downcast_ref::<RunArray<Int16Type>>()),
            DataType::Int32 => runs(array.as_any().downcast_ref::<RunArray<Int32Type>>()),
            DataType::Int64 => runs(array.as_any().downcast_ref::<RunArray<Int64Type>>()),
            _ => rows,
        },
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            inside(list.values().as_ref(), list.value_offsets()) + rows * 4
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            inside(list.values().as_ref(), list.value_offsets()) + rows * 4
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            inside(map.entries(), map.value_offsets()) + rows * 4
        }
        DataType::ListView(_) => list_view(array.as_list_view::<i32>()) + rows * 4,
        DataType::LargeListView(_) => list_view(array.as_list_view::<i64>()) + rows * 4,
        DataType::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list();
            // Offsets of a fixed-size list are implied; its values are cut to the slice already.
            let expected = array.len().saturating_mul(usize::try_from(*size).unwrap_or(0));
            let values = list.values();
            logical_bytes(values.slice(0, expected.min(values.len())).as_ref())
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|child| logical_bytes(child)).sum::<u64>() + rows
        }
        DataType::FixedSizeBinary(size) => rows * u64::try_from(*size).unwrap_or(0),
        DataType::Null | DataType::Boolean => rows * BIT_BYTES,
        other => rows * other.primitive_width().unwrap_or(1) as u64,
    }
}

fn span<O: ArrowNativeType>(offsets: &[O]) -> u64 {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => last.as_usize().saturating_sub(first.as_usize()) as u64,
        _ => 0,
    }
}

fn views<T: ByteViewType + ?Sized>(array: Option<&GenericByteViewArray<T>>) -> u64 {
    // The low 32 bits of a view are the length of its value.
    array
        .map_or(0, |array| {
            array.views().iter().map(|view| view & u128::from(u32::MAX)).sum::<u128>()
        })
        .try_into()
        .unwrap_or(u64::MAX)
}

fn dictionary<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>) -> u64 {
    let values = array.values().as_ref();
    let rows = array.len() as u64;
    if let Some(width) = values.data_type().primitive_width() {
        return rows * width as u64;
    }
    let mut total: u64 = rows * 4;
    for position in array.keys().iter().flatten() {
        total = total.saturating_add(value_bytes(values, position.as_usize()));
    }
    total
}

fn runs<R: RunEndIndexType>(array: Option<&RunArray<R>>) -> u64 {
    let Some(array) = array else { return 0 };
    let values = array.values().as_ref();
    let rows = array.len() as u64;
    if let Some(width) = values.data_type().primitive_width() {
        return rows * width as u64;
    }
    let (first, end) = (array.offset(), array.offset() + array.len());
    let mut total: u64 = rows * 4;
    let mut start = 0_usize;
    for (position, run_end) in array.run_ends().values().iter().enumerate() {
        let run_end = run_end.as_usize();
        let rows_inside = run_end.min(end).saturating_sub(start.max(first)) as u64;
        if rows_inside > 0 && position < values.len() {
            total = total.saturating_add(rows_inside.saturating_mul(value_bytes(values, position)));
        }
        start = run_end;
        if start >= end {
            break;
        }
    }
    total
}

/// Bytes of one value of a dictionary or run.
fn value_bytes(values: &dyn Array, position: usize) -> u64 {
    fn between<O: ArrowNativeType>(offsets: &[O], position: usize) -> u64 {
        offsets.get(position..position + 2).map_or(0, span)
    }
    match values.data_type() {
        DataType::Utf8 => between(values.as_string::<i32>().value_offsets(), position),
        DataType::LargeUtf8 => between(values.as_string::<i64>().value_offsets(), position),
        DataType::Binary => between(values.as_binary::<i32>().value_offsets(), position),
        DataType::LargeBinary => between(values.as_binary::<i64>().value_offsets(), position),
        _ if position < values.len() => logical_bytes(values.slice(position, 1).as_ref()),
        _ => 0,
    }
}

fn inside<O: ArrowNativeType>(values: &dyn Array, offsets: &[O]) -> u64 {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) if last.as_usize() > first.as_usize() => logical_bytes(
            values.slice(first.as_usize(), last.as_usize() - first.as_usize()).as_ref(),
        ),
        _ => 0,
    }
}

fn list_view<O: OffsetSizeTrait>(array: &GenericListViewArray<O>) -> u64 {
    let values = array.values();
    let mut total: u64 = 0;
    for (offset, size) in array.value_offsets().iter().zip(array.value_sizes()) {
        let rows = values.slice(offset.as_usize(), size.as_usize());
        total = total.saturating_add(logical_bytes(rows.as_ref()));
    }
    total
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, UInt8Array};

    use super::*;

    #[test]
    fn repeated_values_count_as_often_as_they_appear() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1000)]));
        let keys = UInt8Array::from(vec![0; 500]);
        let dictionary = DictionaryArray::new(keys, Arc::clone(&long));
        assert_eq!(logical_bytes(&dictionary), 500 * 1000 + 500 * 4);
        assert_eq!(logical_bytes(&dictionary.slice(10, 20)), 20 * 1000 + 20 * 4);

        let ends = Int32Array::from(vec![1_000_000]);
        let runs = RunArray::<Int32Type>::try_new(&ends, &long).unwrap();
        assert_eq!(logical_bytes(&runs), 1_000_000 * 1004);
        assert_eq!(logical_bytes(&runs.slice(7, 10)), 10 * 1004);

        let one = "y".repeat(100);
        let view = StringViewArray::from_iter_values(std::iter::repeat_n(one.as_str(), 50));
        assert_eq!(logical_bytes(&view), 50 * 104);
    }

    #[test]
    fn slices_of_plain_columns_count_their_own_rows_only() {
        let ints = Int64Array::from_iter_values(0..100);
        assert_eq!(logical_bytes(&ints.slice(5, 10)), 80);
        let strings = StringArray::from(vec!["ab", "cdef", "g"]);
        assert_eq!(logical_bytes(&strings.slice(1, 1)), 4 + 4);
    }
}
