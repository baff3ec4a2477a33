//! What a batch takes once it is written out: dictionaries and runs unfolded, views copied. Pure.
//!
//! A small message can stand for terabytes: one long dictionary value under many keys, many views of one buffer, one run of
//! many rows. Casting such a batch to the table's types would allocate all of it, so its weight is taken first.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type,
    RunEndIndexType, UnionMode,
};
use arrow::downcast_dictionary_array;
use arrow::record_batch::RecordBatch;

/// What each value of a variable-length type costs beside its bytes: an offset.
const OFFSET_BYTES: u64 = 4;

/// Bytes of the batch with everything unfolded; saturates.
pub(super) fn batch_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().fold(0, |sum, column| sum.saturating_add(total(column)))
}

/// Weight of every value of an array.
enum Weights {
    /// All alike.
    Alike { each: u64, len: usize },
    /// One by one.
    Each(Vec<u64>),
}

impl Weights {
    fn total(&self) -> u64 {
        match self {
            Self::Alike { each, len } => each.saturating_mul(*len as u64),
            Self::Each(weights) => weights.iter().fold(0, |sum, each| sum.saturating_add(*each)),
        }
    }

    fn at(&self, index: usize) -> u64 {
        match self {
            Self::Alike { each, len } if index < *len => *each,
            Self::Alike { .. } => 0,
            Self::Each(weights) => weights.get(index).copied().unwrap_or(0),
        }
    }

    /// Running sums, for the weight of any range.
    fn range_sums(&self) -> Sums {
        match self {
            Self::Alike { each, len } => Sums::Alike { each: *each, len: *len },
            Self::Each(weights) => {
                let mut sums = Vec::with_capacity(weights.len() + 1);
                let mut sum = 0u64;
                sums.push(sum);
                for each in weights {
                    sum = sum.saturating_add(*each);
                    sums.push(sum);
                }
                Sums::Each(sums)
            }
        }
    }
}

enum Sums {
    Alike { each: u64, len: usize },
    Each(Vec<u64>),
}

impl Sums {
    fn of(&self, start: usize, end: usize) -> u64 {
        match self {
            Self::Alike { each, len } => {
                each.saturating_mul(end.min(*len).saturating_sub(start) as u64)
            }
            Self::Each(sums) => match (sums.get(start), sums.get(end)) {
                (Some(before), Some(after)) => after.saturating_sub(*before),
                _ => sums.last().copied().unwrap_or(0),
            },
        }
    }
}

/// Like `weights(array).total()`, without a weight per value where the type allows.
fn total(array: &ArrayRef) -> u64 {
    let values = match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()),
        _ => return weights(array).total(),
    };
    values.saturating_add(OFFSET_BYTES.saturating_mul(array.len() as u64))
}

fn span<O: ArrowNativeType>(offsets: &[O]) -> u64 {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => last.as_usize().saturating_sub(first.as_usize()) as u64,
        _ => 0,
    }
}

fn by_offsets<O: ArrowNativeType>(offsets: &[O], weight: impl Fn(usize, usize) -> u64) -> Weights {
    let each = |pair: &[O]| match pair {
        [start, end] => weight(start.as_usize(), end.as_usize()).saturating_add(OFFSET_BYTES),
        _ => 0,
    };
    Weights::Each(offsets.windows(2).map(each).collect())
}

fn by_views(views: &[u128]) -> Weights {
    // The low 32 bits of a view are the length of its value.
    Weights::Each(views.iter().map(|view| u64::from(*view as u32) + OFFSET_BYTES).collect())
}

fn by_sizes<O: ArrowNativeType>(offsets: &[O], sizes: &[O], child: &ArrayRef) -> Weights {
    let sums = weights(child).range_sums();
    let each = |(start, size): (&O, &O)| {
        let start = start.as_usize();
        sums.of(start, start.saturating_add(size.as_usize())).saturating_add(OFFSET_BYTES)
    };
    Weights::Each(offsets.iter().zip(sizes).map(each).collect())
}

fn by_keys<K: ArrowDictionaryKeyType>(
    keys: &arrow::array::PrimitiveArray<K>,
    values: &ArrayRef,
) -> Weights {
    match weights(values) {
        Weights::Alike { each, .. } => Weights::Alike { each, len: keys.len() },
        values @ Weights::Each(_) => {
            let each =
                |key: Option<K::Native>| key.map_or(OFFSET_BYTES, |key| values.at(key.as_usize()));
            Weights::Each(keys.iter().map(each).collect())
        }
    }
}

fn by_runs<R: RunEndIndexType>(array: &ArrayRef) -> Weights {
    let Some(array) = array.as_run_opt::<R>() else {
        return Weights::Alike { each: 0, len: 0 };
    };
    match weights(array.values()) {
        Weights::Alike { each, .. } => Weights::Alike { each, len: array.len() },
        values @ Weights::Each(_) => {
            let mut all = Vec::with_capacity(array.len());
            for (run, end) in array.run_ends().values().iter().enumerate() {
                let end = end.as_usize().min(array.len());
                all.resize(end.max(all.len()), values.at(run));
            }
            Weights::Each(all)
        }
    }
}

fn weights(array: &ArrayRef) -> Weights {
    let len = array.len();
    match array.data_type() {
        // Becomes a string column.
        DataType::Null => Weights::Alike { each: OFFSET_BYTES, len },
        DataType::Boolean => Weights::Alike { each: 1, len },
        DataType::Utf8 => {
            by_offsets(array.as_string::<i32>().value_offsets(), |a, b| (b - a) as u64)
        }
        DataType::LargeUtf8 => {
            by_offsets(array.as_string::<i64>().value_offsets(), |a, b| (b - a) as u64)
        }
        DataType::Binary => {
            by_offsets(array.as_binary::<i32>().value_offsets(), |a, b| (b - a) as u64)
        }
        DataType::LargeBinary => {
            by_offsets(array.as_binary::<i64>().value_offsets(), |a, b| (b - a) as u64)
        }
        DataType::Utf8View => by_views(array.as_string_view().views()),
        DataType::BinaryView => by_views(array.as_binary_view().views()),
        DataType::FixedSizeBinary(width) => {
            Weights::Alike { each: u64::try_from(*width).unwrap_or(0), len }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let sums = weights(list.values()).range_sums();
            by_offsets(list.value_offsets(), |start, end| sums.of(start, end))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let sums = weights(list.values()).range_sums();
            by_offsets(list.value_offsets(), |start, end| sums.of(start, end))
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            let sums = weights(&entries).range_sums();
            by_offsets(map.value_offsets(), |start, end| sums.of(start, end))
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            by_sizes(list.value_offsets(), list.value_sizes(), list.values())
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            by_sizes(list.value_offsets(), list.value_sizes(), list.values())
        }
        DataType::FixedSizeList(_, width) => {
            let width = usize::try_from(*width).unwrap_or(0);
            match weights(array.as_fixed_size_list().values()) {
                Weights::Alike { each, .. } => {
                    Weights::Alike { each: each.saturating_mul(width as u64), len }
                }
                values @ Weights::Each(_) => {
                    let sums = values.range_sums();
                    Weights::Each(
                        (0..len).map(|row| sums.of(row * width, (row + 1) * width)).collect(),
                    )
                }
            }
        }
        DataType::Struct(_) => sum_of_children(array.as_struct().columns(), len),
        DataType::Dictionary(_, _) => downcast_dictionary_array!(
            array => by_keys(array.keys(), array.values()),
            _ => Weights::Alike { each: 0, len }
        ),
        DataType::RunEndEncoded(run_ends, _) => match run_ends.data_type() {
            DataType::Int16 => by_runs::<Int16Type>(array),
            DataType::Int32 => by_runs::<Int32Type>(array),
            _ => by_runs::<Int64Type>(array),
        },
        DataType::Union(fields, mode) => {
            let union = array.as_union();
            let children: Vec<(i8, Weights)> =
                fields.iter().map(|(id, _)| (id, weights(union.child(id)))).collect();
            let each = |row: usize| {
                let id = union.type_id(row);
                let at = match mode {
                    UnionMode::Dense => union.value_offset(row),
                    UnionMode::Sparse => row,
                };
                children.iter().find(|child| child.0 == id).map_or(0, |child| child.1.at(at))
            };
            Weights::Each((0..len).map(each).collect())
        }
        other => {
            let each = other.primitive_width().map_or(0, |width| width as u64);
            Weights::Alike { each, len }
        }
    }
}

fn sum_of_children(children: &[ArrayRef], len: usize) -> Weights {
    let mut alike = 0u64;
    let mut each: Option<Vec<u64>> = None;
    for child in children {
        match weights(child) {
            Weights::Alike { each, .. } => alike = alike.saturating_add(each),
            Weights::Each(more) => match &mut each {
                None => each = Some(more),
                Some(sums) => {
                    sums.iter_mut()
                        .zip(more)
                        .for_each(|(sum, more)| *sum = sum.saturating_add(more));
                }
            },
        }
    }
    match each {
        None => Weights::Alike { each: alike, len },
        Some(mut sums) => {
            sums.iter_mut().for_each(|sum| *sum = sum.saturating_add(alike));
            Weights::Each(sums)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        DictionaryArray, Int8Array, Int32Array, ListArray, NullArray, RunArray, StringArray,
        StringViewArray,
    };
    use arrow::datatypes::{Int8Type, Int32Type};

    use super::*;

    #[track_caller]
    fn check(array: ArrayRef, expected: u64) {
        assert_eq!(total(&array), expected, "{}", array.data_type());
        assert_eq!(weights(&array).total(), expected, "{}", array.data_type());
    }

    #[test]
    fn plain_columns_weigh_their_bytes() {
        check(Arc::new(Int32Array::from(vec![1, 2, 3])), 12);
        check(Arc::new(StringArray::from(vec!["ab", "", "cde"])), 5 + 12);
        check(Arc::new(NullArray::new(10)), 40);
    }

    #[test]
    fn a_dictionary_weighs_what_its_rows_unfold_to() {
        let value = "x".repeat(1000);
        let keys = Int8Array::from(vec![Some(0), Some(0), Some(1), None]);
        let values = Arc::new(StringArray::from(vec![value.as_str(), "y"]));
        let array = DictionaryArray::<Int8Type>::new(keys, values);
        check(Arc::new(array), 2 * 1004 + 5 + 4);
    }

    #[test]
    fn views_of_one_buffer_weigh_each_on_their_own() {
        let value = "x".repeat(100);
        check(Arc::new(StringViewArray::from(vec![value.as_str(); 5])), 5 * 104);
    }

    #[test]
    fn runs_weigh_what_they_unfold_to() {
        let ends = Int32Array::from(vec![1000, 1001]);
        let array =
            RunArray::<Int32Type>::try_new(&ends, &StringArray::from(vec!["abcd", "e"])).unwrap();
        check(Arc::new(array), 1000 * 8 + 5);
    }

    #[test]
    fn lists_weigh_their_elements() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![]),
        ]);
        check(Arc::new(list), 8 + 12);
    }
}
