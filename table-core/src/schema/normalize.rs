//! Making a client's batch fit the table: columns by name in any order, lossless casts only.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::SpecError;

/// Why a schema or a batch does not fit.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Spec and schema do not go together.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A column has a type that does not fit without loss.
    #[error("column \"{column}\" has type {found}, but the table has {expected}; cast it before appending")]
    TypeMismatch {
        /// Its name.
        column: String,
        /// The type that came.
        found: String,
        /// The type of the table.
        expected: String,
    },
    /// A column that the table lacks.
    #[error("column \"{column}\" ({found}) is not in the table; the columns are {present}")]
    UnknownColumn {
        /// Its name.
        column: String,
        /// The type that came.
        found: String,
        /// The table's columns.
        present: String,
    },
    /// A column without which no row can be stored.
    #[error("column \"{column}\" ({expected}) is missing; it must be in every batch")]
    MissingColumn {
        /// Its name.
        column: String,
        /// Its type.
        expected: String,
    },
    /// A null where none may be.
    #[error("column \"{column}\" is null in row {row}; {role} values must not be null")]
    Null {
        /// Its name.
        column: String,
        /// Row in the batch, from 0.
        row: usize,
        /// "index", "entity" or "not-null".
        role: &'static str,
    },
    /// A value that the table's type cannot hold.
    #[error("column \"{column}\" does not fit {expected}: {reason}")]
    Value {
        /// Its name.
        column: String,
        /// The table's type.
        expected: String,
        /// Which value, and why.
        reason: String,
    },
}

/// Turns batches of one incoming schema into batches of the table's schema. Built once per stream.
#[derive(Debug)]
pub struct Normalizer {
    // private
}

impl Normalizer {
    /// Plans the casts. Incoming nullability and metadata are ignored; a missing nullable column is filled with nulls.
    ///
    /// # Errors
    /// [`SchemaError`] naming the first column that does not fit.
    pub fn try_new(incoming: &Schema, table: &SchemaRef) -> Result<Self, SchemaError> {
        todo!()
    }

    /// One batch in the table's schema.
    ///
    /// # Errors
    /// [`SchemaError::Null`] and [`SchemaError::Value`].
    pub fn normalize(&self, batch: &RecordBatch) -> Result<RecordBatch, SchemaError> {
        todo!()
    }
}
