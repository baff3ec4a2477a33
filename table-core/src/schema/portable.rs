//! The portable subset of Arrow types that tables store and the wire carries, and field ids.
//!
//! Views and large variants become Utf8 and Binary, dictionaries and run-end encodings their values, decimal32/64
//! decimal128, f16 f32, list views and large lists lists, a Null column Utf8. See the table in the Flight client notes: these
//! are the types that every client reads. Which types a table refuses is `spec`'s business, how values get here is
//! `normalize`'s.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

/// Metadata key of Parquet's and ours field ids.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// Name of the child of every stored list, whatever the client called it: pyarrow, polars and Java differ here.
const LIST_CHILD: &str = "item";

/// Greatest precision of decimal128.
const DECIMAL128_PRECISION_MAX: u8 = 38;

/// The portable form of a type, recursively.
pub fn portable_type(data_type: &DataType) -> DataType {
    portable_type_with(data_type, Ids::Drop)
}

/// The portable form of a field: same name and nullability, metadata dropped.
pub fn portable_field(field: &Field) -> Field {
    portable_field_with(field, field.name(), Ids::Drop)
}

/// The portable form of a schema: metadata dropped.
pub fn portable_schema(schema: &Schema) -> SchemaRef {
    portable_schema_with(schema, Ids::Drop)
}

/// The portable form of a schema that a table without one adopts from its first append: every column and nested field
/// nullable, because what clients declare there says nothing about what they will send tomorrow. Binding makes index and entity
/// columns not nullable again.
pub fn adopted_schema(incoming: &Schema) -> SchemaRef {
    let portable = portable_schema(incoming);
    Arc::new(Schema::new(
        portable.fields().iter().map(|field| nullable_throughout(field)).collect::<Fields>(),
    ))
}

/// The same schema with `PARQUET:field_id` on every field, counting up from 1, nested fields included.
pub fn assign_field_ids(schema: &Schema) -> SchemaRef {
    let mut next = 1;
    let fields: Fields =
        schema.fields().iter().map(|field| with_field_ids(field, &mut next)).collect();
    Arc::new(Schema::new(fields))
}

/// A field's id.
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID_KEY)?.parse().ok()
}

/// The portable form of a schema that keeps its field ids when every field has one and no two agree, and numbers all fields
/// afresh when not (a client's ids, say of a file that it read, mean nothing here).
pub(super) fn portable_schema_with_ids(schema: &Schema) -> SchemaRef {
    let portable = portable_schema_with(schema, Ids::Keep);
    let mut seen = HashSet::new();
    if portable.fields().iter().all(|field| ids_are_distinct(field, &mut seen)) {
        portable
    } else {
        assign_field_ids(&portable)
    }
}

/// The portable form of a type, but for its Null parts: those fit every type of a table.
pub(super) fn portable_type_or_null(data_type: &DataType) -> DataType {
    portable_type_with(data_type, Ids::DropButKeepNull)
}

/// Whether field ids, and Null types, survive the way to portable form.
#[derive(Clone, Copy)]
enum Ids {
    Keep,
    Drop,
    DropButKeepNull,
}

fn portable_schema_with(schema: &Schema, ids: Ids) -> SchemaRef {
    let fields: Fields =
        schema.fields().iter().map(|field| portable_field_with(field, field.name(), ids)).collect();
    Arc::new(Schema::new(fields))
}

fn portable_field_with(field: &Field, name: &str, ids: Ids) -> Field {
    // A column of nothing but nulls has to be nullable, whatever it says.
    let nullable = field.is_nullable() || matches!(field.data_type(), DataType::Null);
    let portable = Field::new(name, portable_type_with(field.data_type(), ids), nullable);
    match (ids, field.metadata().get(FIELD_ID_KEY)) {
        (Ids::Keep, Some(id)) => {
            portable.with_metadata(HashMap::from([(FIELD_ID_KEY.to_owned(), id.clone())]))
        }
        _ => portable,
    }
}

fn portable_type_with(data_type: &DataType, ids: Ids) -> DataType {
    let item = |field: &FieldRef| Arc::new(portable_field_with(field, LIST_CHILD, ids));
    match data_type {
        DataType::Null if matches!(ids, Ids::DropButKeepNull) => DataType::Null,
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128((*precision).min(DECIMAL128_PRECISION_MAX), *scale)
        }
        DataType::Dictionary(_, values) => portable_type_with(values, ids),
        DataType::RunEndEncoded(_, values) => portable_type_with(values.data_type(), ids),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => DataType::List(item(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field), *size),
        DataType::Struct(fields) => DataType::Struct(
            fields.iter().map(|field| portable_field_with(field, field.name(), ids)).collect(),
        ),
        DataType::Map(entries, sorted) => DataType::Map(portable_entries(entries, ids), *sorted),
        other => other.clone(),
    }
}

/// Entries of a map under the names that the Arrow format recommends; keys are never null.
fn portable_entries(entries: &FieldRef, ids: Ids) -> FieldRef {
    let portable = portable_field_with(entries, "entries", ids).with_nullable(false);
    let DataType::Struct(fields) = portable.data_type() else { return Arc::new(portable) };
    let renamed: Fields = fields
        .iter()
        .enumerate()
        .map(|(position, field)| match position {
            0 => field.as_ref().clone().with_name("key").with_nullable(false),
            1 => field.as_ref().clone().with_name("value"),
            _ => field.as_ref().clone(),
        })
        .collect();
    Arc::new(portable.with_data_type(DataType::Struct(renamed)))
}

fn nullable_throughout(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(Arc::new(nullable_throughout(item))),
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(Arc::new(nullable_throughout(item)), *size)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| nullable_throughout(field)).collect())
        }
        DataType::Map(entries, sorted) => {
            let inner = nullable_throughout(entries).with_nullable(false);
            let inner = match inner.data_type() {
                DataType::Struct(fields) => {
                    let fields: Fields = fields
                        .iter()
                        .enumerate()
                        .map(|(position, field)| {
                            field.as_ref().clone().with_nullable(position != 0)
                        })
                        .collect();
                    inner.with_data_type(DataType::Struct(fields))
                }
                _ => inner,
            };
            DataType::Map(Arc::new(inner), *sorted)
        }
        other => other.clone(),
    };
    field.clone().with_data_type(data_type).with_nullable(true)
}

fn with_field_ids(field: &Field, next: &mut i32) -> Field {
    let id = *next;
    *next += 1;
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(Arc::new(with_field_ids(item, next))),
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(Arc::new(with_field_ids(item, next)), *size)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| with_field_ids(field, next)).collect())
        }
        DataType::Map(entries, sorted) => {
            DataType::Map(Arc::new(with_field_ids(entries, next)), *sorted)
        }
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.insert(FIELD_ID_KEY.to_owned(), id.to_string());
    field.clone().with_data_type(data_type).with_metadata(metadata)
}

fn ids_are_distinct(field: &Field, seen: &mut HashSet<i32>) -> bool {
    let own = field_id(field).is_some_and(|id| id > 0 && seen.insert(id));
    own && children(field.data_type()).iter().all(|child| ids_are_distinct(child, seen))
}

/// The fields directly inside a portable type.
pub(super) fn children(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => vec![field],
        DataType::Struct(fields) => fields.iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn encodings_and_rare_variants_become_plain_types() {
        let list = DataType::LargeList(Arc::new(Field::new("element", DataType::Utf8View, true)));
        let cases = [
            (DataType::Utf8View, DataType::Utf8),
            (DataType::LargeBinary, DataType::Binary),
            (DataType::Null, DataType::Utf8),
            (DataType::Float16, DataType::Float32),
            (DataType::Decimal32(9, 2), DataType::Decimal128(9, 2)),
            (
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8)),
                DataType::Utf8,
            ),
            (list, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
            (
                DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
                DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
            ),
        ];
        for (from, to) in cases {
            assert_eq!(portable_type(&from), to, "{from}");
            assert_eq!(portable_type(&to), to, "portable is a fixed point: {to}");
        }
    }

    #[test]
    fn ids_are_assigned_in_depth_first_order_and_kept_only_when_whole() {
        let inner = DataType::Struct(
            vec![
                Field::new("x", DataType::Int64, true),
                Field::new("y", DataType::LargeUtf8, true),
            ]
            .into(),
        );
        let schema =
            Schema::new(vec![Field::new("a", inner, true), Field::new("b", DataType::Int64, true)]);
        let first = portable_schema_with_ids(&schema);
        let ids = |schema: &Schema| {
            let mut ids = Vec::new();
            for field in schema.fields() {
                ids.push(field_id(field));
                ids.extend(children(field.data_type()).iter().map(|child| field_id(child)));
            }
            ids
        };
        assert_eq!(ids(&first), vec![Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(portable_schema_with_ids(&first), first);

        let tagged = |id: &str, name: &str| {
            Field::new(name, DataType::Int64, true)
                .with_metadata(HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_owned())]))
        };
        let kept = portable_schema_with_ids(&Schema::new(vec![tagged("7", "a"), tagged("3", "b")]));
        assert_eq!(ids(&kept), vec![Some(7), Some(3)]);
        for bad in ["7", "-1", "x"] {
            let afresh =
                portable_schema_with_ids(&Schema::new(vec![tagged("7", "a"), tagged(bad, "b")]));
            assert_eq!(ids(&afresh), vec![Some(1), Some(2)], "second id {bad}");
        }
    }

    #[test]
    fn an_adopted_schema_is_nullable_but_for_map_keys() {
        let entries = Field::new(
            "key_value",
            DataType::Struct(
                vec![
                    Field::new("k", DataType::Utf8, false),
                    Field::new("v", DataType::Int64, false),
                ]
                .into(),
            ),
            false,
        );
        let schema =
            Schema::new(vec![Field::new("m", DataType::Map(Arc::new(entries), false), false)]);
        let adopted = adopted_schema(&schema);
        assert!(adopted.field(0).is_nullable());
        let DataType::Map(entries, _) = adopted.field(0).data_type() else { panic!("a map") };
        assert!(!entries.is_nullable());
        let DataType::Struct(fields) = entries.data_type() else { panic!("a struct") };
        assert_eq!((fields[0].name().as_str(), fields[0].is_nullable()), ("key", false));
        assert_eq!((fields[1].name().as_str(), fields[1].is_nullable()), ("value", true));
    }
}
