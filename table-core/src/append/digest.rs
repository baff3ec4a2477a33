//! The digest of an append's rows, by which a retry is told from another use of the same append id.
//!
//! It covers the normalised rows in arrival order and does not depend on where batches begin and end: a client that retries
//! may cut its stream differently. Each column (and each field inside it) has running hashes of validity, lengths and values; what
//! lies below a null is left out, because Arrow leaves it undefined. Pure.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema};

/// Running digest of an append.
#[derive(Debug)]
pub(super) struct PayloadDigest {
    columns: Vec<ColumnDigest>,
    row_count: u64,
}

impl PayloadDigest {
    /// The digest of no rows of this schema.
    pub(super) fn new(schema: &Schema) -> Self {
        let columns =
            schema.fields().iter().map(|field| ColumnDigest::new(field.data_type())).collect();
        Self { columns, row_count: 0 }
    }

    /// Takes the columns of one batch.
    pub(super) fn update(&mut self, columns: &[ArrayRef], row_count: usize) {
        self.row_count += row_count as u64;
        for (digest, array) in self.columns.iter_mut().zip(columns) {
            digest.update(array.as_ref());
        }
    }

    /// The digest of all rows taken.
    pub(super) fn finish(self) -> [u8; 32] {
        let mut all = blake3::Hasher::new();
        all.update(&self.row_count.to_le_bytes());
        for column in self.columns {
            column.finish(&mut all);
        }
        *all.finalize().as_bytes()
    }
}

#[derive(Debug)]
struct ColumnDigest {
    /// Lengths of the stretches of valid rows between nulls.
    validity: blake3::Hasher,
    valid_rows: u64,
    /// Lengths of strings and lists.
    lengths: blake3::Hasher,
    values: blake3::Hasher,
    children: Vec<ColumnDigest>,
}

impl ColumnDigest {
    fn new(data_type: &DataType) -> Self {
        let children = match data_type {
            DataType::List(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
                vec![Self::new(field.data_type())]
            }
            DataType::Struct(fields) => {
                fields.iter().map(|field| Self::new(field.data_type())).collect()
            }
            _ => Vec::new(),
        };
        Self {
            validity: blake3::Hasher::new(),
            valid_rows: 0,
            lengths: blake3::Hasher::new(),
            values: blake3::Hasher::new(),
            children,
        }
    }

    fn update(&mut self, array: &dyn Array) {
        self.update_validity(array.nulls(), array.len());
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.update_valid(array),
            Some(nulls) => {
                for (start, end) in nulls.valid_slices() {
                    self.update_valid(array.slice(start, end - start).as_ref());
                }
            }
        }
    }

    fn update_validity(&mut self, nulls: Option<&NullBuffer>, row_count: usize) {
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
            self.valid_rows += row_count as u64;
            return;
        };
        for valid in nulls {
            if valid {
                self.valid_rows += 1;
            } else {
                self.validity.update(&self.valid_rows.to_le_bytes());
                self.valid_rows = 0;
            }
        }
    }

    /// Rows without nulls among them.
    fn update_valid(&mut self, array: &dyn Array) {
        match array.data_type() {
            DataType::Utf8 => {
                let strings = array.as_string::<i32>();
                self.update_bytes(strings.value_offsets(), strings.value_data());
            }
            DataType::Binary => {
                let binaries = array.as_binary::<i32>();
                self.update_bytes(binaries.value_offsets(), binaries.value_data());
            }
            DataType::Boolean => {
                let bytes: Vec<u8> = array.as_boolean().values().iter().map(u8::from).collect();
                self.values.update(&bytes);
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                self.update_list(list.value_offsets(), list.values().as_ref());
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                self.update_list(map.value_offsets(), map.entries());
            }
            DataType::FixedSizeList(_, _) => {
                let values = array.as_fixed_size_list().values();
                if let Some(child) = self.children.first_mut() {
                    child.update(values.as_ref());
                }
            }
            DataType::Struct(_) => {
                let structs: &StructArray = array.as_struct();
                for (child, column) in self.children.iter_mut().zip(structs.columns()) {
                    child.update(column.as_ref());
                }
            }
            other => {
                let width = match other {
                    DataType::FixedSizeBinary(size) => usize::try_from(*size).unwrap_or(0),
                    other => other.primitive_width().unwrap_or(0),
                };
                let data = array.to_data();
                if let Some(buffer) = data.buffers().first() {
                    let (start, end) =
                        (data.offset() * width, (data.offset() + data.len()) * width);
                    self.values.update(buffer.get(start..end).unwrap_or_default());
                }
            }
        }
    }

    fn update_bytes(&mut self, offsets: &[i32], bytes: &[u8]) {
        self.update_lengths(offsets);
        let at = |offset: Option<&i32>| {
            offset.and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0)
        };
        let (start, end) = (at(offsets.first()), at(offsets.last()));
        self.values.update(bytes.get(start..end).unwrap_or_default());
    }

    fn update_list(&mut self, offsets: &[i32], values: &dyn Array) {
        self.update_lengths(offsets);
        let at = |offset: Option<&i32>| {
            offset.and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0)
        };
        let (start, end) = (at(offsets.first()), at(offsets.last()));
        if let Some(child) = self.children.first_mut() {
            child.update(values.slice(start, end - start).as_ref());
        }
    }

    fn update_lengths(&mut self, offsets: &[i32]) {
        let lengths: Vec<u8> = offsets
            .windows(2)
            .flat_map(|pair| (pair[1].wrapping_sub(pair[0])).to_le_bytes())
            .collect();
        self.lengths.update(&lengths);
    }

    fn finish(mut self, all: &mut blake3::Hasher) {
        self.validity.update(&self.valid_rows.to_le_bytes());
        for part in [&self.validity, &self.lengths, &self.values] {
            all.update(part.finalize().as_bytes());
        }
        for child in self.children {
            child.finish(all);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::{Field, Int32Type};
    use arrow::record_batch::RecordBatch;

    use super::*;

    fn example(change: usize) -> RecordBatch {
        let mut ints: Vec<Option<i64>> = (0..20).map(|i| (i % 3 != 0).then_some(i)).collect();
        let mut strings: Vec<Option<String>> =
            (0..20).map(|i| (i % 4 != 1).then(|| "s".repeat(i % 5))).collect();
        let mut lists: Vec<Option<Vec<Option<i32>>>> = (0..20)
            .map(|i| (i % 5 != 2).then(|| (0..i % 4).map(|j| (j != 1).then_some(j)).collect()))
            .collect();
        match change {
            1 => ints[7] = Some(-7),
            2 => ints[7] = None,
            3 => strings.swap(2, 3),
            4 => lists[3] = Some(vec![]),
            5 => lists[3] = None,
            _ => {}
        }
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("l", DataType::new_list(DataType::Int32, true), true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ints)),
            Arc::new(StringArray::from(strings)),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn digest_in(batch: &RecordBatch, step: usize) -> [u8; 32] {
        let mut digest = PayloadDigest::new(&batch.schema());
        for start in (0..batch.num_rows()).step_by(step) {
            let part = batch.slice(start, step.min(batch.num_rows() - start));
            digest.update(part.columns(), part.num_rows());
        }
        digest.finish()
    }

    #[test]
    fn batch_boundaries_do_not_matter() {
        let batch = example(0);
        let whole = digest_in(&batch, 20);
        for step in [1, 2, 3, 7, 19] {
            assert_eq!(digest_in(&batch, step), whole, "in steps of {step}");
        }
    }

    #[test]
    fn every_change_of_a_row_matters() {
        let mut seen = std::collections::HashSet::new();
        for change in 0..=5 {
            assert!(seen.insert(digest_in(&example(change), 6)), "change {change}");
        }
    }
}
