//! [`TableSpec`]: what is fixed when a table is created, and [`TableLayout`]: the spec bound to a schema.

use arrow::datatypes::SchemaRef;

use crate::types::{BucketParseError, BucketWidth, Bucketing, EntityType, IndexType};

/// Index column, bucket, entities and time zone of a time-series table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSpec {
    /// Name of the index column.
    pub column: String,
    /// Width of a bucket.
    pub bucket: BucketWidth,
    /// Names of the entity columns, in order; may be empty.
    pub entity_columns: Vec<String>,
    /// IANA zone that calendar buckets follow; "UTC" when none was given.
    pub time_zone: String,
}

/// What is fixed at creation. A table without an index is a plain table: no coverage, never an overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSpec {
    /// The index, for time-series tables.
    pub index: Option<IndexSpec>,
}

/// Why a spec is refused, alone or together with a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// See [`BucketParseError`].
    #[error(transparent)]
    Bucket(#[from] BucketParseError),
    /// The spec names a column that the schema lacks.
    #[error("{role} column \"{column}\" is not in the schema; the columns are {present}")]
    MissingColumn {
        /// "index" or "entity".
        role: &'static str,
        /// Its name.
        column: String,
        /// The names there are.
        present: String,
    },
    /// The column's type cannot serve.
    #[error("{role} column \"{column}\" has type {found}; it must be {expected}")]
    WrongType {
        /// "index" or "entity".
        role: &'static str,
        /// Its name.
        column: String,
        /// The Arrow type it has.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A column is named twice, among the entity columns, as index and entity, or in the schema.
    #[error("column \"{column}\" is named twice")]
    DuplicateColumn {
        /// Its name.
        column: String,
    },
    /// More columns, nesting or metadata than the limits allow, an empty name, an unsupported type.
    #[error("{what}")]
    Limit {
        /// Which, and what to do.
        what: String,
    },
}

impl TableSpec {
    /// A plain table.
    pub fn plain() -> Self {
        Self { index: None }
    }

    /// Checks what can be checked without a schema: zone, duplicate and empty names.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn validate(&self) -> Result<(), SpecError> {
        todo!()
    }

    /// Binds the spec to a schema.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn bind(&self, schema: &SchemaRef) -> Result<TableLayout, SpecError> {
        todo!()
    }
}

/// A spec bound to a (portable) schema: where index and entity columns are, and the bucket arithmetic.
#[derive(Debug, Clone)]
pub struct TableLayout {
    /// Portable schema: field ids assigned; index and entity columns not nullable.
    pub schema: SchemaRef,
    /// Position of the index column; `None` on plain tables, and then the fields below are empty.
    pub index: Option<usize>,
    /// Type of the index column.
    pub index_type: Option<IndexType>,
    /// Positions of the entity columns, in configured order.
    pub entities: Vec<usize>,
    /// Their names.
    pub entity_names: Vec<String>,
    /// Their types.
    pub entity_types: Vec<EntityType>,
    /// Bucket arithmetic.
    pub bucketing: Option<Bucketing>,
}
