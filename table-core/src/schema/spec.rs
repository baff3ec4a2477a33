//! [`TableSpec`]: what is fixed when a table is created, and [`TableLayout`]: the spec bound to a schema. Pure.
//!
//! Owns the limits on schemas; how specs and schemas are stored is `log`'s business.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::portable::{children, portable_schema, portable_schema_with_ids, portable_type};
use crate::types::{BucketParseError, BucketWidth, Bucketing, EntityType, IndexType};

/// Top-level columns of a table, at most.
pub const COLUMNS_MAX: usize = 1024;

/// Levels of nesting below a top-level column, at most; a plain column has none.
pub const NESTING_DEPTH_MAX: usize = 16;

/// Fields of a schema, nested ones included, at most.
pub const FIELDS_MAX: usize = 4096;

/// Bytes of a column's name, at most.
pub const COLUMN_NAME_BYTES_MAX: usize = 1024;

/// Entity columns, at most.
pub const ENTITY_COLUMNS_MAX: usize = 16;

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
        let Some(index) = &self.index else { return Ok(()) };
        if index.entity_columns.len() > ENTITY_COLUMNS_MAX {
            return Err(limit(format!(
                "{} entity columns are more than the {ENTITY_COLUMNS_MAX} that a table may have",
                index.entity_columns.len()
            )));
        }
        let mut seen = HashSet::from([index.column.as_str()]);
        if index.column.is_empty() || index.entity_columns.iter().any(String::is_empty) {
            return Err(limit(
                "an index or entity column has an empty name; name the column".into(),
            ));
        }
        for column in &index.entity_columns {
            if !seen.insert(column) {
                return Err(SpecError::DuplicateColumn { column: column.clone() });
            }
        }
        // The zone is checked with the only index type that every zone and some width go with; the width itself waits for
        // the schema.
        let probe = BucketWidth::Nanos(NANOS_PER_SECOND);
        Bucketing::try_new(probe, IndexType::Timestamp(TimeUnit::Nanosecond), &index.time_zone)?;
        Ok(())
    }

    /// Binds the spec to a schema.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn bind(&self, schema: &SchemaRef) -> Result<TableLayout, SpecError> {
        self.validate()?;
        check_schema(schema)?;
        let portable = portable_schema_with_ids(schema);
        let Some(index) = &self.index else {
            return Ok(TableLayout {
                query_schema: portable_schema(&portable),
                schema: portable,
                index: None,
                index_type: None,
                entities: Vec::new(),
                entity_names: Vec::new(),
                entity_types: Vec::new(),
                bucketing: None,
            });
        };

        let index_position = position(&portable, "index", &index.column)?;
        let index_field = portable.field(index_position);
        let index_type = IndexType::from_arrow(index_field.data_type()).ok_or_else(|| {
            wrong_type(
                "index",
                index_field,
                "a timestamp (with or without time zone), int64 or uint64",
            )
        })?;
        let mut entities = Vec::with_capacity(index.entity_columns.len());
        let mut entity_types = Vec::with_capacity(index.entity_columns.len());
        for column in &index.entity_columns {
            let at = position(&portable, "entity", column)?;
            let field = portable.field(at);
            let entity_type = EntityType::from_arrow(field.data_type()).ok_or_else(|| {
                wrong_type("entity", field, "a string, an integer, a boolean or a date")
            })?;
            entities.push(at);
            entity_types.push(entity_type);
        }
        let bucketing = Bucketing::try_new(index.bucket, index_type, &index.time_zone)?;
        let fields: Fields = portable
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| {
                if at == index_position || entities.contains(&at) {
                    Arc::new(field.as_ref().clone().with_nullable(false))
                } else {
                    Arc::clone(field)
                }
            })
            .collect();
        let schema = Schema::new(fields);
        Ok(TableLayout {
            query_schema: portable_schema(&schema),
            schema: Arc::new(schema),
            index: Some(index_position),
            index_type: Some(index_type),
            entities,
            entity_names: index.entity_columns.clone(),
            entity_types,
            bucketing: Some(bucketing),
        })
    }
}

/// A spec bound to a (portable) schema: where index and entity columns are, and the bucket arithmetic.
#[derive(Debug, Clone)]
pub struct TableLayout {
    /// Portable schema: field ids assigned; index and entity columns not nullable.
    pub schema: SchemaRef,
    /// The same without field ids: what queries see.
    pub query_schema: SchemaRef,
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

impl TableLayout {
    /// Name of the index column; `None` on plain tables.
    pub fn index_name(&self) -> Option<&str> {
        self.schema.fields().get(self.index?).map(|field| field.name().as_str())
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

fn limit(what: String) -> SpecError {
    SpecError::Limit { what }
}

fn wrong_type(role: &'static str, field: &Field, expected: &'static str) -> SpecError {
    SpecError::WrongType {
        role,
        column: field.name().clone(),
        found: field.data_type().to_string(),
        expected,
    }
}

fn position(schema: &Schema, role: &'static str, column: &str) -> Result<usize, SpecError> {
    schema.fields().iter().position(|field| field.name() == column).ok_or_else(|| {
        SpecError::MissingColumn { role, column: column.to_owned(), present: column_list(schema) }
    })
}

/// Names for a message, quoted; long lists are cut.
pub(super) fn column_list(schema: &Schema) -> String {
    const SHOWN_MAX: usize = 32;
    let mut names: Vec<String> = schema
        .fields()
        .iter()
        .take(SHOWN_MAX)
        .map(|field| format!("\"{}\"", field.name()))
        .collect();
    if schema.fields().len() > SHOWN_MAX {
        names.push(format!("and {} more", schema.fields().len() - SHOWN_MAX));
    }
    names.join(", ")
}

/// The limits on every schema, a client's or a stored one: counts, nesting, names, types that a segment can hold.
pub(super) fn check_schema(schema: &Schema) -> Result<(), SpecError> {
    if schema.fields().is_empty() {
        return Err(limit("the schema has no columns; a table needs at least one".into()));
    }
    if schema.fields().len() > COLUMNS_MAX {
        return Err(limit(format!(
            "{} columns are more than the {COLUMNS_MAX} that a table may have",
            schema.fields().len()
        )));
    }
    let mut names = HashSet::with_capacity(schema.fields().len());
    let mut field_count = 0;
    for field in schema.fields() {
        if !names.insert(field.name().as_str()) {
            return Err(SpecError::DuplicateColumn { column: field.name().clone() });
        }
        check_field(field, field.name(), 0, &mut field_count)?;
    }
    Ok(())
}

fn check_field(
    field: &Field,
    column: &str,
    depth: usize,
    field_count: &mut usize,
) -> Result<(), SpecError> {
    if depth > NESTING_DEPTH_MAX {
        return Err(limit(format!(
            "column \"{column}\" is nested deeper than the {NESTING_DEPTH_MAX} levels that a table may have"
        )));
    }
    *field_count += 1;
    if *field_count > FIELDS_MAX {
        return Err(limit(format!(
            "the schema has more than the {FIELDS_MAX} fields, nested ones included, that a table may have"
        )));
    }
    if field.name().is_empty() && depth == 0 {
        return Err(limit("a column has an empty name; name the column".into()));
    }
    if field.name().len() > COLUMN_NAME_BYTES_MAX {
        return Err(limit(format!(
            "a column name of {} bytes is longer than the {COLUMN_NAME_BYTES_MAX} bytes that it may have",
            field.name().len()
        )));
    }
    check_type(field.data_type(), column, depth)?;
    let mut inner = field.data_type();
    let mut depth = depth;
    while let DataType::Dictionary(_, values) = inner {
        inner = values;
        depth += 1;
        if depth > NESTING_DEPTH_MAX {
            return Err(limit(format!(
                "column \"{column}\" is nested deeper than the {NESTING_DEPTH_MAX} levels that a table may have"
            )));
        }
        check_type(inner, column, depth)?;
    }
    if let DataType::Struct(fields) = inner {
        let mut names = HashSet::with_capacity(fields.len());
        if let Some(twice) = fields.iter().find(|field| !names.insert(field.name().as_str())) {
            return Err(SpecError::DuplicateColumn {
                column: format!("{column}.{}", twice.name()),
            });
        }
    }
    children(inner).iter().try_for_each(|child| check_field(child, column, depth + 1, field_count))
}

fn check_type(data_type: &DataType, column: &str, depth: usize) -> Result<(), SpecError> {
    let refuse = |why: &str| {
        // The recursion of a type's text form is bounded by the depth check, which comes first on every level.
        let name =
            if depth == 0 { data_type.to_string() } else { portable_type(data_type).to_string() };
        Err(limit(format!("column \"{column}\" has type {name}, which a table cannot hold: {why}")))
    };
    match data_type {
        DataType::Union(_, _) => refuse("unions have no Parquet form; split it into columns"),
        DataType::Interval(_) => {
            refuse("intervals have no exact Parquet form; send a duration or integers")
        }
        DataType::Struct(fields) if fields.is_empty() => {
            refuse("a struct needs at least one field")
        }
        DataType::FixedSizeList(_, size) if *size < 1 => refuse("its size must be at least 1"),
        DataType::FixedSizeBinary(size) if *size < 1 => refuse("its size must be at least 1"),
        DataType::Time32(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Time64(TimeUnit::Second | TimeUnit::Millisecond) => {
            refuse("arrow has no such unit for this type")
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let digits_max = match data_type {
                DataType::Decimal32(_, _) => 9,
                DataType::Decimal64(_, _) => 18,
                DataType::Decimal128(_, _) => 38,
                _ => 76,
            };
            let scale_fits = u8::try_from(*scale).is_ok_and(|scale| scale <= *precision);
            if *precision < 1 || *precision > digits_max || !scale_fits {
                return refuse("the scale must be between 0 and the precision");
            }
            Ok(())
        }
        DataType::Timestamp(_, Some(zone)) if Tz::from_str(zone).is_err() => {
            refuse("its time zone is not known; use an IANA name or an offset such as \"+02:00\"")
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Ok(()),
            _ => refuse("a map's entries are a struct of key and value"),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
