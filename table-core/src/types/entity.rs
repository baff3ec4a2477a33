//! Entities: one value of the entity columns, in their configured order, and its stable binary key.
//!
//! The key is what the coverage index interns and what the log stores. It is the same for every Arrow type that
//! normalises to the same value, its byte order is the order of the values, and it decodes without the schema's help
//! beyond the [`EntityType`]s.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int64Array, StringArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;

/// Type of one entity column, reduced to what a key needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntityType {
    /// Utf8 and its variants.
    Utf8,
    /// Signed integers of any width.
    Int,
    /// Unsigned integers of any width.
    UInt,
    /// Booleans.
    Bool,
    /// Date32, days since the epoch.
    Date,
}

/// One value of one entity column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityValue {
    /// A string.
    Utf8(String),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A boolean.
    Bool(bool),
    /// Days since the epoch.
    Date(i32),
}

/// An encoded entity: order-preserving bytes. Empty for tables without entity columns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityKey(pub Box<[u8]>);

impl Borrow<[u8]> for EntityKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl EntityType {
    /// The entity type of an Arrow type, or `None` when such a column cannot name an entity.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::Utf8),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(Self::Int),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Some(Self::UInt)
            }
            DataType::Boolean => Some(Self::Bool),
            DataType::Date32 => Some(Self::Date),
            DataType::Dictionary(_, values) => Self::from_arrow(values),
            _ => None,
        }
    }
}

// The order-preserving form. Strings end with 00 00 and write a NUL as 00 FF, so that a prefix sorts first; numbers are
// big-endian, signed ones with the sign bit flipped.

fn put_str(key: &mut Vec<u8>, text: &str) {
    for (number, part) in text.as_bytes().split(|byte| *byte == 0).enumerate() {
        if number > 0 {
            key.extend([0x00, 0xff]);
        }
        key.extend_from_slice(part);
    }
    key.extend([0x00, 0x00]);
}

fn put_int(key: &mut Vec<u8>, value: i64) {
    key.extend((value ^ i64::MIN).to_be_bytes());
}

fn put_uint(key: &mut Vec<u8>, value: u64) {
    key.extend(value.to_be_bytes());
}

fn put_bool(key: &mut Vec<u8>, value: bool) {
    key.push(u8::from(value));
}

fn put_date(key: &mut Vec<u8>, value: i32) {
    key.extend((value ^ i32::MIN).to_be_bytes());
}

fn take_str(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let nul = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(rest.get(..nul)?);
        let (escape, after) = rest.get(nul + 1..)?.split_first()?;
        rest = after;
        match escape {
            0x00 => return Some((String::from_utf8(text).ok()?, rest)),
            0xff => text.push(0),
            _ => return None,
        }
    }
}

impl EntityKey {
    /// Encodes one value per entity column.
    pub fn encode(values: &[EntityValue]) -> Self {
        let mut key = Vec::new();
        for value in values {
            match value {
                EntityValue::Utf8(text) => put_str(&mut key, text),
                EntityValue::Int(value) => put_int(&mut key, *value),
                EntityValue::UInt(value) => put_uint(&mut key, *value),
                EntityValue::Bool(value) => put_bool(&mut key, *value),
                EntityValue::Date(value) => put_date(&mut key, *value),
            }
        }
        Self(key.into())
    }

    /// The values back; `None` when the bytes are not a key of these types.
    pub fn decode(&self, types: &[EntityType]) -> Option<Vec<EntityValue>> {
        let mut rest = &*self.0;
        let mut values = Vec::with_capacity(types.len());
        for entity_type in types {
            let value;
            (value, rest) = match entity_type {
                EntityType::Utf8 => {
                    let (text, rest) = take_str(rest)?;
                    (EntityValue::Utf8(text), rest)
                }
                EntityType::Int => {
                    let (bytes, rest) = rest.split_first_chunk()?;
                    (EntityValue::Int(i64::from_be_bytes(*bytes) ^ i64::MIN), rest)
                }
                EntityType::UInt => {
                    let (bytes, rest) = rest.split_first_chunk()?;
                    (EntityValue::UInt(u64::from_be_bytes(*bytes)), rest)
                }
                EntityType::Bool => match rest.split_first()? {
                    (0, rest) => (EntityValue::Bool(false), rest),
                    (1, rest) => (EntityValue::Bool(true), rest),
                    _ => return None,
                },
                EntityType::Date => {
                    let (bytes, rest) = rest.split_first_chunk()?;
                    (EntityValue::Date(i32::from_be_bytes(*bytes) ^ i32::MIN), rest)
                }
            };
            values.push(value);
        }
        rest.is_empty().then_some(values)
    }

    /// `symbol="NVDA", venue=3`; empty for tables without entity columns. A key that is not of these types shows its bytes.
    pub fn display(&self, columns: &[String], types: &[EntityType]) -> String {
        let mut text = String::new();
        let Some(values) = self.decode(types) else {
            text.push_str("0x");
            for byte in &self.0 {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            return text;
        };
        for (column, value) in columns.iter().zip(values) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            let _ = match value {
                EntityValue::Utf8(value) => write!(text, "{column}={value:?}"),
                EntityValue::Int(value) => write!(text, "{column}={value}"),
                EntityValue::UInt(value) => write!(text, "{column}={value}"),
                EntityValue::Bool(value) => write!(text, "{column}={value}"),
                EntityValue::Date(days) => match chrono::NaiveDate::from_epoch_days(days) {
                    Some(date) => write!(text, "{column}={date}"),
                    None => write!(text, "{column}={days}"),
                },
            };
        }
        text
    }
}

/// One entity column of a batch, widened to the form that keys are made of.
enum Column {
    Utf8(StringArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Bool(BooleanArray),
    Date(Date32Array),
}

impl Column {
    fn try_new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let refuse = |reason: String| Err(ArrowError::InvalidArgumentError(reason));
        if array.logical_null_count() > 0 {
            return refuse(
                "entity columns cannot hold nulls; fill them or leave those rows out".to_owned(),
            );
        }
        // `cast` hands arrays that have the type already through without copying values.
        match EntityType::from_arrow(array.data_type()) {
            Some(EntityType::Utf8) => {
                Ok(Self::Utf8(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()))
            }
            Some(EntityType::Int) => {
                Ok(Self::Int(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
            }
            Some(EntityType::UInt) => {
                Ok(Self::UInt(cast(array, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone()))
            }
            Some(EntityType::Bool) => {
                Ok(Self::Bool(cast(array, &DataType::Boolean)?.as_boolean().clone()))
            }
            Some(EntityType::Date) => {
                Ok(Self::Date(cast(array, &DataType::Date32)?.as_primitive::<Date32Type>().clone()))
            }
            None => refuse(format!(
                "a column of type {} cannot name an entity; use strings, integers, booleans or dates",
                array.data_type()
            )),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Utf8(array) => array.len(),
            Self::Int(array) => array.len(),
            Self::UInt(array) => array.len(),
            Self::Bool(array) => array.len(),
            Self::Date(array) => array.len(),
        }
    }

    /// Sets `changed[i]` where row `i` differs from the row before it.
    fn mark_changes(&self, changed: &mut [bool]) {
        fn mark<T: PartialEq>(values: &[T], changed: &mut [bool]) {
            for (pair, changed) in values.windows(2).zip(changed.iter_mut().skip(1)) {
                *changed |= matches!(pair, [before, here] if before != here);
            }
        }
        match self {
            Self::Utf8(array) => {
                let values = array.iter().zip(array.iter().skip(1));
                for ((before, here), changed) in values.zip(changed.iter_mut().skip(1)) {
                    *changed |= before != here;
                }
            }
            Self::Int(array) => mark(array.values(), changed),
            Self::UInt(array) => mark(array.values(), changed),
            Self::Bool(array) => {
                let values = array.values().iter().zip(array.values().iter().skip(1));
                for ((before, here), changed) in values.zip(changed.iter_mut().skip(1)) {
                    *changed |= before != here;
                }
            }
            Self::Date(array) => mark(array.values(), changed),
        }
    }

    fn put(&self, row: usize, key: &mut Vec<u8>) {
        match self {
            Self::Utf8(array) => put_str(key, array.value(row)),
            Self::Int(array) => put_int(key, array.value(row)),
            Self::UInt(array) => put_uint(key, array.value(row)),
            Self::Bool(array) => put_bool(key, array.value(row)),
            Self::Date(array) => put_date(key, array.value(row)),
        }
    }
}

/// Splits a batch's rows into entities: the distinct keys of this batch in order of first appearance, and for each row
/// the position of its key. Consecutive equal rows cost next to nothing.
///
/// `columns` are the entity columns in configured order, already normalised (Utf8, (U)Int8..64, Boolean, Date32) and free
/// of nulls. With no columns there is one empty key and all rows are 0.
///
/// # Errors
/// When a column holds nulls, has another number of rows, or a type that cannot name an entity.
pub fn encode_entities(
    columns: &[ArrayRef],
    row_count: usize,
) -> Result<(Vec<EntityKey>, Vec<u32>), ArrowError> {
    if columns.is_empty() {
        return Ok((vec![EntityKey::default()], vec![0; row_count]));
    }
    let columns = columns.iter().map(Column::try_new).collect::<Result<Vec<_>, _>>()?;
    let mut changed = vec![false; row_count];
    for column in &columns {
        if column.len() != row_count {
            return Err(ArrowError::InvalidArgumentError(format!(
                "an entity column has {} rows in a batch of {row_count}",
                column.len()
            )));
        }
        column.mark_changes(&mut changed);
    }
    if let Some(first) = changed.first_mut() {
        *first = true;
    }
    let mut keys = Vec::new();
    let mut numbers: HashMap<EntityKey, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(row_count);
    let mut scratch = Vec::new();
    let mut current = 0;
    for (row, changed) in changed.into_iter().enumerate() {
        if changed {
            scratch.clear();
            for column in &columns {
                column.put(row, &mut scratch);
            }
            current = match numbers.get(scratch.as_slice()) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(keys.len()).map_err(|_| {
                        ArrowError::InvalidArgumentError(
                            "a batch names more than 2^32 entities; send smaller batches"
                                .to_owned(),
                        )
                    })?;
                    let key = EntityKey(scratch.as_slice().into());
                    keys.push(key.clone());
                    numbers.insert(key, number);
                    number
                }
            };
        }
        rows.push(current);
    }
    Ok((keys, rows))
}

#[cfg(test)]
#[path = "entity_tests.rs"]
mod tests;
