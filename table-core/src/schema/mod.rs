//! A table's specification and schema, and how foreign batches are made to fit. Pure.

mod normalize;
mod portable;
mod spec;

pub use normalize::{Normalizer, SchemaError};
pub use portable::{assign_field_ids, field_id, portable_field, portable_schema, portable_type};
pub use spec::{IndexSpec, SpecError, TableLayout, TableSpec};
