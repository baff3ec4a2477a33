//! A table's specification and schema, and how foreign batches are made to fit. Pure.

mod normalize;
mod portable;
mod size;
mod spec;

pub use normalize::{Normalizer, SchemaError};
pub use portable::{
    FIELD_ID_KEY, adopted_schema, assign_field_ids, field_id, portable_field, portable_schema,
    portable_type,
};
pub use size::logical_bytes;
pub use spec::{
    COLUMN_NAME_BYTES_MAX, COLUMNS_MAX, ENTITY_COLUMNS_MAX, FIELDS_MAX, IndexSpec,
    NESTING_DEPTH_MAX, SpecError, TableLayout, TableSpec,
};

use crate::error::{Error, ErrorKind};

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string()).with_source(error)
    }
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Self {
        let kind = match &error {
            SchemaError::TypeMismatch { .. }
            | SchemaError::UnknownColumn { .. }
            | SchemaError::MissingColumn { .. } => ErrorKind::SchemaMismatch,
            SchemaError::Spec(_) | SchemaError::Null { .. } | SchemaError::Value { .. } => {
                ErrorKind::Invalid
            }
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
