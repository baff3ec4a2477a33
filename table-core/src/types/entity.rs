//! Entities: one value of the entity columns, in their configured order, and its stable binary key.
//!
//! The key is what the coverage index interns and what the log stores. It is the same for every Arrow type that
//! normalises to the same value, its byte order is the order of the values, and it decodes without the schema's help
//! beyond the [`EntityType`]s.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

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

impl EntityType {
    /// The entity type of an Arrow type, or `None` when such a column cannot name an entity.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        todo!()
    }
}

impl EntityKey {
    /// Encodes one value per entity column.
    pub fn encode(values: &[EntityValue]) -> Self {
        todo!()
    }

    /// The values back; `None` when the bytes are not a key of these types.
    pub fn decode(&self, types: &[EntityType]) -> Option<Vec<EntityValue>> {
        todo!()
    }

    /// `symbol="NVDA", venue=3`; empty for tables without entity columns.
    pub fn display(&self, columns: &[String], types: &[EntityType]) -> String {
        todo!()
    }
}

/// Splits a batch's rows into entities: the distinct keys of this batch in order of first appearance, and for each row
/// the position of its key. Consecutive equal rows cost next to nothing.
///
/// `columns` are the entity columns in configured order, already normalised (Utf8, (U)Int8..64, Boolean, Date32) and free
/// of nulls. With no columns there is one empty key and all rows are 0.
pub fn encode_entities(columns: &[ArrayRef], row_count: usize) -> (Vec<EntityKey>, Vec<u32>) {
    todo!()
}
