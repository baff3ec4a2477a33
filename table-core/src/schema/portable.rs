//! The portable subset of Arrow types that tables store and the wire carries, and field ids.
//!
//! Views and large variants become Utf8 and Binary, dictionaries and run-end encodings their values, decimal32/64
//! decimal128, f16 f32, list views and large lists lists, a Null column Utf8. See the table in the Flight client notes: these
//! are the types that every client reads.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Metadata key of Parquet's and ours field ids.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// The portable form of a type, recursively.
pub fn portable_type(data_type: &DataType) -> DataType {
    todo!()
}

/// The portable form of a field: same name and nullability, metadata dropped.
pub fn portable_field(field: &Field) -> Field {
    todo!()
}

/// The portable form of a schema: metadata dropped.
pub fn portable_schema(schema: &Schema) -> SchemaRef {
    todo!()
}

/// The same schema with `PARQUET:field_id` on every field, counting up from 1, nested fields included.
pub fn assign_field_ids(schema: &Schema) -> SchemaRef {
    todo!()
}

/// A field's id.
pub fn field_id(field: &Field) -> Option<i32> {
    todo!()
}
