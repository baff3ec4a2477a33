//! Hashing the rows of an append, so that other rows are told from the same ones.
//!
//! It covers the normalised rows in arrival order and does not depend on where batches begin and end: a client that retries
//! may cut its stream differently. Each column (and each field inside it) has running hashes of validity, lengths and values; what
//! lies below a null is left out, because Arrow leaves it undefined. Pure.
//!
//! An append id stands for rows by their BLAKE3 (C4). The fingerprint that every append leaves (`fingerprint`) is of XXH3, which
//! costs a tenth: nothing rests on it but the word "identical" in a refusal.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema};
use xxhash_rust::xxh3::Xxh3Default;

/// A hash function that takes its input piece by piece.
pub(super) trait HashFunction: Clone + Default {
    /// A digest.
    type Output: AsRef<[u8]>;

    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);

    /// The digest of all bytes taken.
    fn digest(&self) -> Self::Output;
}

impl HashFunction for blake3::Hasher {
    type Output = [u8; 32];

    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn digest(&self) -> [u8; 32] {
        *self.finalize().as_bytes()
    }
}

/// XXH3 of 128 bits.
#[derive(Clone, Default)]
pub(super) struct Xxh3(Xxh3Default);

impl fmt::Debug for Xxh3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xxh3").finish_non_exhaustive()
    }
}

impl HashFunction for Xxh3 {
    type Output = [u8; 16];

    fn take(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn digest(&self) -> [u8; 16] {
        self.0.digest128().to_be_bytes()
    }
}

/// A hash that takes no room, which is hundreds of bytes to two thousand, until there is something to hash: most columns have
/// neither nulls nor lengths, and a table may have many columns.
#[derive(Debug, Default)]
struct Running<F>(Option<Box<F>>);

impl<F: HashFunction> Running<F> {
    fn take(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().take(bytes);
        }
    }

    /// A hash that goes on from here.
    fn fork(&self) -> F {
        self.0.as_deref().cloned().unwrap_or_default()
    }

    fn digest(&self) -> F::Output {
        match &self.0 {
            Some(hash) => hash.digest(),
            None => F::default().digest(),
        }
    }
}

/// Running digest of the rows of an append.
#[derive(Debug)]
pub(super) struct RowsDigest<F> {
    columns: Vec<ColumnDigest<F>>,
    row_count: u64,
}

impl<F: HashFunction> RowsDigest<F> {
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

    /// Rows taken.
    pub(super) fn row_count(&self) -> u64 {
        self.row_count
    }

    /// The digest of all rows taken so far.
    pub(super) fn digest(&self) -> F::Output {
        let mut all = F::default();
        all.take(&self.row_count.to_le_bytes());
        for column in &self.columns {
            column.add_to(&mut all);
        }
        all.digest()
    }
}

#[derive(Debug)]
struct ColumnDigest<F> {
    /// Lengths of the stretches of valid rows between nulls.
    validity: Running<F>,
    valid_rows: u64,
    /// Lengths of strings and lists.
    lengths: Running<F>,
    values: Running<F>,
    children: Vec<ColumnDigest<F>>,
}

impl<F: HashFunction> ColumnDigest<F> {
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
            validity: Running(None),
            valid_rows: 0,
            lengths: Running(None),
            values: Running(None),
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
                self.validity.take(&self.valid_rows.to_le_bytes());
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
                self.values.take(&bytes);
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
                    self.values.take(buffer.get(start..end).unwrap_or_default());
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
        self.values.take(bytes.get(start..end).unwrap_or_default());
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
        self.lengths.take(&lengths);
    }

    fn add_to(&self, all: &mut F) {
        let mut validity = self.validity.fork();
        validity.take(&self.valid_rows.to_le_bytes());
        all.take(validity.digest().as_ref());
        for part in [&self.lengths, &self.values] {
            all.take(part.digest().as_ref());
        }
        for child in &self.children {
            child.add_to(all);
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

    fn digest_in<F: HashFunction>(batch: &RecordBatch, step: usize) -> Vec<u8> {
        let mut digest = RowsDigest::<F>::new(&batch.schema());
        for start in (0..batch.num_rows()).step_by(step) {
            let part = batch.slice(start, step.min(batch.num_rows() - start));
            digest.update(part.columns(), part.num_rows());
        }
        digest.digest().as_ref().to_vec()
    }

    #[test]
    fn batch_boundaries_do_not_matter() {
        let batch = example(0);
        let whole = digest_in::<blake3::Hasher>(&batch, 20);
        let quick = digest_in::<Xxh3>(&batch, 20);
        assert_eq!((whole.len(), quick.len()), (32, 16));
        for step in [1, 2, 3, 7, 19] {
            assert_eq!(digest_in::<blake3::Hasher>(&batch, step), whole, "in steps of {step}");
            assert_eq!(digest_in::<Xxh3>(&batch, step), quick, "in steps of {step}");
        }
    }

    /// Digests are in logs: a retry must find its first try, whatever version of the server took that.
    #[test]
    fn digests_stay_what_they_are() {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
            ("s", Arc::new(StringArray::from(vec!["a", "", "bc"])) as ArrayRef),
        ])
        .unwrap();
        let all = |parts: &[&[u8]]| *blake3::hash(&parts.concat()).as_bytes();
        let numbers = [1_u64, 1, 3_u64].map(u64::to_le_bytes);
        let count = 3_u64.to_le_bytes();
        let expected = all(&[
            &count,
            // One valid row before the null, one behind it; no lengths; the values without what lies below the null.
            &all(&[&numbers[0], &numbers[1]]),
            &all(&[]),
            &all(&[&numbers[0], &numbers[2]]),
            &all(&[&count]),
            &all(&[&1_i32.to_le_bytes(), &0_i32.to_le_bytes(), &2_i32.to_le_bytes()]),
            &all(&[b"abc"]),
        ]);
        assert_eq!(digest_in::<blake3::Hasher>(&batch, 2), expected);
    }

    #[test]
    fn every_change_of_a_row_matters() {
        let mut seen = std::collections::HashSet::new();
        for change in 0..=5 {
            let digest = digest_in::<blake3::Hasher>(&example(change), 6);
            assert!(seen.insert(digest), "change {change}");
            let digest = digest_in::<Xxh3>(&example(change), 6);
            assert!(seen.insert(digest), "change {change}");
        }
    }
}
