//! Making a client's batch fit the table: columns by name in any order, lossless casts only. Pure.
//!
//! A cast is lossless when every value comes back unchanged. Types that can never do that are refused with the schema; types
//! that can for some values (int64 into int32, nanoseconds into seconds) are taken, and the first value that does not fit is
//! named. Integers go into floats only up to 2^53, where each still has a float of its own.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Fields, Schema, SchemaRef, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{FormatOptions, array_value_to_string};

use super::portable::{children, portable_type, portable_type_or_null};
use super::spec::{SpecError, TableLayout, check_schema, column_list};

/// Why a schema or a batch does not fit.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Spec and schema do not go together.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A column has a type that does not fit without loss.
    #[error("column \"{column}\" has type {found}, but the table has {expected}; {hint}")]
    TypeMismatch {
        /// Its name.
        column: String,
        /// The type that came.
        found: String,
        /// The type of the table.
        expected: String,
        /// What to do.
        hint: String,
    },
    /// A column that the table lacks.
    #[error("column \"{column}\" ({found}) is not in the table; the columns are {present}{hint}")]
    UnknownColumn {
        /// Its name.
        column: String,
        /// The type that came.
        found: String,
        /// The table's columns.
        present: String,
        /// A column whose name is nearly the same, as the end of the sentence; empty when there is none.
        hint: String,
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
    #[error("column \"{column}\" does not fit {expected}: {reason}{}", row.map_or_else(String::new, |row| format!(" in row {row}")))]
    Value {
        /// Its name.
        column: String,
        /// The table's type.
        expected: String,
        /// Row in the batch, from 0; unknown inside nested columns.
        row: Option<usize>,
        /// Which value, and why.
        reason: String,
    },
}

/// A value that does not fit, before the column is known.
struct Misfit {
    row: Option<usize>,
    reason: String,
}

impl From<ArrowError> for Misfit {
    fn from(error: ArrowError) -> Self {
        Self { row: None, reason: error.to_string() }
    }
}

impl Misfit {
    fn value(array: &ArrayRef, row: usize, why: &str) -> Self {
        Self { row: Some(row), reason: format!("value {} {why}", value_text(array, row)) }
    }

    /// The same inside a nested column, whose rows are not those of the batch.
    fn nested(mut self) -> Self {
        self.row = None;
        self
    }
}

impl SchemaError {
    /// The same error about a piece of a batch that begins at row `offset` of it.
    #[must_use]
    pub fn with_row_offset(mut self, offset: usize) -> Self {
        match &mut self {
            Self::Null { row, .. } => *row += offset,
            Self::Value { row: Some(row), .. } => *row += offset,
            _ => {}
        }
        self
    }
}

/// Options of every cast here: what does not fit becomes null, and is then found by comparing nulls.
const CAST: CastOptions<'static> = CastOptions { safe: true, format_options: FormatOptions::new() };

/// Greatest integer up to which every integer has an exact float64 (and float32) of its own.
const FLOAT64_EXACT_MAX: i64 = 1 << 53;
const FLOAT32_EXACT_MAX: i64 = 1 << 24;

const MS_PER_DAY: i64 = 86_400_000;

/// The role of a column that may not be null because the table was created so.
const ROLE_NOT_NULL: &str = "not-null";

/// Turns batches of one incoming schema into batches of the table's schema. Built once per stream.
#[derive(Debug)]
pub struct Normalizer {
    incoming: usize,
    table: SchemaRef,
    /// One per table column.
    sources: Vec<Source>,
    /// One per table column.
    roles: Vec<&'static str>,
}

/// Where a table column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The incoming column at this position.
    Column(usize),
    /// Nowhere: filled with nulls.
    Nulls,
}

impl Normalizer {
    /// Plans the casts. Incoming nullability and metadata are ignored; a missing nullable column is filled with nulls.
    ///
    /// # Errors
    /// [`SchemaError`] naming the first column that does not fit.
    pub fn try_new(incoming: &Schema, table: &SchemaRef) -> Result<Self, SchemaError> {
        check_schema(incoming)?;
        let mut sources = vec![Source::Nulls; table.fields().len()];
        for (position, field) in incoming.fields().iter().enumerate() {
            let Some((target, expected)) = table.column_with_name(field.name()) else {
                return Err(unknown_column(field, table));
            };
            if let Err(hint) = fits(&portable_type_or_null(field.data_type()), expected.data_type())
            {
                return Err(SchemaError::TypeMismatch {
                    column: field.name().clone(),
                    found: field.data_type().to_string(),
                    expected: shown(expected.data_type()),
                    hint,
                });
            }
            sources[target] = Source::Column(position);
        }
        let missing = table
            .fields()
            .iter()
            .zip(&sources)
            .find(|(field, source)| **source == Source::Nulls && !field.is_nullable());
        if let Some((field, _)) = missing {
            return Err(SchemaError::MissingColumn {
                column: field.name().clone(),
                expected: shown(field.data_type()),
            });
        }
        Ok(Self {
            incoming: incoming.fields().len(),
            table: Arc::clone(table),
            roles: vec![ROLE_NOT_NULL; table.fields().len()],
            sources,
        })
    }

    /// The same for a bound table, so that a null is reported with the role of its column.
    ///
    /// # Errors
    /// See [`Normalizer::try_new`].
    pub fn for_layout(incoming: &Schema, layout: &TableLayout) -> Result<Self, SchemaError> {
        let mut normalizer = Self::try_new(incoming, &layout.schema)?;
        for entity in &layout.entities {
            normalizer.roles[*entity] = "entity";
        }
        if let Some(index) = layout.index {
            normalizer.roles[index] = "index";
        }
        Ok(normalizer)
    }

    /// The table's schema: that of every batch that comes out.
    pub fn schema(&self) -> &SchemaRef {
        &self.table
    }

    /// One batch in the table's schema.
    ///
    /// # Errors
    /// [`SchemaError::Null`] and [`SchemaError::Value`].
    pub fn normalize(&self, batch: &RecordBatch) -> Result<RecordBatch, SchemaError> {
        let row_count = batch.num_rows();
        let mut columns = Vec::with_capacity(self.sources.len());
        for ((field, source), role) in
            self.table.fields().iter().zip(&self.sources).zip(&self.roles)
        {
            let column = match source {
                Source::Nulls => new_null_array(field.data_type(), row_count),
                Source::Column(position) => {
                    let Some(column) = batch.columns().get(*position) else {
                        return Err(self.other_schema(batch));
                    };
                    convert(column, field.data_type()).map_err(|misfit| SchemaError::Value {
                        column: field.name().clone(),
                        expected: shown(field.data_type()),
                        row: misfit.row,
                        reason: misfit.reason,
                    })?
                }
            };
            if !field.is_nullable()
                && let Some(nulls) = column.nulls()
                && let Some(row) = nulls.iter().position(|valid| !valid)
            {
                return Err(SchemaError::Null { column: field.name().clone(), row, role });
            }
            columns.push(column);
        }
        if batch.num_columns() != self.incoming {
            return Err(self.other_schema(batch));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(row_count));
        RecordBatch::try_new_with_options(Arc::clone(&self.table), columns, &options).map_err(
            |error| SchemaError::Value {
                column: String::new(),
                expected: "the table's schema".to_owned(),
                row: None,
                reason: error.to_string(),
            },
        )
    }

    fn other_schema(&self, batch: &RecordBatch) -> SchemaError {
        SchemaError::Spec(SpecError::Limit {
            what: format!(
                "a batch has {} columns but the stream began with a schema of {}",
                batch.num_columns(),
                self.incoming
            ),
        })
    }
}

fn unknown_column(field: &arrow::datatypes::Field, table: &Schema) -> SchemaError {
    let lower = field.name().to_lowercase();
    let near = table.fields().iter().find(|known| known.name().to_lowercase() == lower);
    SchemaError::UnknownColumn {
        column: field.name().clone(),
        found: field.data_type().to_string(),
        present: column_list(table),
        hint: near.map_or_else(String::new, |near| {
            format!("; names are compared exactly, did you mean \"{}\"?", near.name())
        }),
    }
}

/// A type as messages show it: without our field ids.
fn shown(data_type: &DataType) -> String {
    portable_type(data_type).to_string()
}

/// Whether values of a portable type can go into a column of the table without loss, judging by the types alone; values are
/// judged by [`convert`]. The error is what to do instead.
fn fits(from: &DataType, to: &DataType) -> Result<(), String> {
    use DataType as T;
    let cast_it = || "cast it before appending".to_owned();
    let yes = match (from, to) {
        (T::Null, _) => true,
        (T::List(from), T::List(to)) | (T::FixedSizeList(from, _), T::List(to)) => {
            return fits(from.data_type(), to.data_type());
        }
        (T::FixedSizeList(from, size), T::FixedSizeList(to, expected)) if size == expected => {
            return fits(from.data_type(), to.data_type());
        }
        (T::Map(from, _), T::Map(to, _)) => return fits(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            if from.len() != to.len() {
                return Err("its fields must be those of the table".to_owned());
            }
            for (position, expected) in to.iter().enumerate() {
                match struct_source(from, expected.name(), position, to) {
                    Some(at) => fits(from[at].data_type(), expected.data_type())?,
                    None => {
                        return Err(format!("its field \"{}\" is missing", expected.name()));
                    }
                }
            }
            return Ok(());
        }
        (T::Timestamp(_, from_zone), T::Timestamp(_, to_zone)) => {
            match (from_zone.is_some(), to_zone.is_some()) {
                (false, true) => {
                    return Err("the incoming values have no time zone: attach the one they are meant in before appending".to_owned());
                }
                (true, false) => {
                    return Err("the table keeps local times without zone: convert to local time and drop the zone before appending".to_owned());
                }
                _ => true,
            }
        }
        (
            T::Decimal128(_, from) | T::Decimal256(_, from),
            T::Decimal128(_, to) | T::Decimal256(_, to),
        ) => to >= from,
        (from, T::Decimal128(_, _) | T::Decimal256(_, _)) if from.is_integer() => true,
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, T::Float32 | T::Float64) if from.is_integer() => true,
        (T::Float32, T::Float64)
        | (T::Date32, T::Date64)
        | (T::Date64, T::Date32)
        | (T::FixedSizeBinary(_), T::Binary)
        | (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_))
        | (T::Duration(_), T::Duration(_)) => true,
        (from, to) => from == &portable_type(to),
    };
    if yes { Ok(()) } else { Err(cast_it()) }
}

/// Where a struct field comes from: by name, or by position in the entries of a map, whose names are free.
fn struct_source(from: &Fields, name: &str, position: usize, to: &Fields) -> Option<usize> {
    let by_name = from.iter().position(|field| field.name() == name);
    by_name.filter(|_| from.len() == to.len()).or_else(|| {
        let foreign = from.get(position)?;
        // Positions count only where no name is known on either side.
        let is_entry = to.len() == 2 && to[0].name() == "key" && to[1].name() == "value";
        (is_entry && to.iter().all(|field| field.name() != foreign.name())).then_some(position)
    })
}

/// The array in the table's type, or which value does not fit and why.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Misfit> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let from = array.data_type();
    if let DataType::Null = from {
        return Ok(new_null_array(to, array.len()));
    }
    let portable = portable_type(from);
    if &portable != from && !is_nested(from) {
        let plain = cast_with_options(array, &portable, &CAST)?;
        return convert(&plain, to);
    }
    match to {
        DataType::List(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Struct(_)
        | DataType::Map(_, _) => convert_nested(array, to),
        _ => convert_leaf(array, to),
    }
}

fn is_nested(data_type: &DataType) -> bool {
    !children(data_type).is_empty() && !matches!(data_type, DataType::RunEndEncoded(_, _))
}

fn convert_leaf(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Misfit> {
    let from = array.data_type();
    if let Some(bound) = match to {
        DataType::Float64 => Some(FLOAT64_EXACT_MAX),
        DataType::Float32 => Some(FLOAT32_EXACT_MAX),
        _ => None,
    } && from.is_integer()
    {
        check_float_bound(array, bound)?;
    }
    let cast = cast_with_options(array, to, &CAST)?;
    if cast.null_count() > array.null_count() {
        let row = (0..array.len()).find(|&row| array.is_valid(row) && cast.is_null(row));
        return Err(match row {
            Some(row) => Misfit::value(array, row, "is out of range"),
            None => Misfit { row: None, reason: "a value is out of range".to_owned() },
        });
    }
    if may_truncate(from, to) {
        check_divides(array, &cast)?;
    }
    Ok(cast)
}

/// Whether the cast divides: then a value fits only if nothing is left over.
fn may_truncate(from: &DataType, to: &DataType) -> bool {
    fn ticks_per_day(data_type: &DataType) -> Option<i64> {
        let unit = match data_type {
            DataType::Date32 => return Some(1),
            DataType::Date64 => TimeUnit::Millisecond,
            DataType::Time32(unit)
            | DataType::Time64(unit)
            | DataType::Timestamp(unit, _)
            | DataType::Duration(unit) => *unit,
            _ => return None,
        };
        let per_ms = match unit {
            TimeUnit::Second => return Some(MS_PER_DAY / 1000),
            TimeUnit::Millisecond => 1,
            TimeUnit::Microsecond => 1000,
            TimeUnit::Nanosecond => 1_000_000,
        };
        Some(MS_PER_DAY * per_ms)
    }
    matches!((ticks_per_day(from), ticks_per_day(to)), (Some(from), Some(to)) if from > to)
}

fn check_divides(array: &ArrayRef, cast: &ArrayRef) -> Result<(), Misfit> {
    let back = cast_with_options(cast, array.data_type(), &CAST)?;
    let differs = distinct(array, &back)?;
    match differs.values().set_indices().next() {
        None => Ok(()),
        Some(row) => Err(Misfit::value(array, row, "is finer than the unit of the column")),
    }
}

fn check_float_bound(array: &ArrayRef, bound: i64) -> Result<(), Misfit> {
    // Every integer type has an i128: one comparison for all of them, on a path that only mismatched types take.
    let wide = cast_with_options(array, &DataType::Decimal128(38, 0), &CAST)?;
    let bound = i128::from(bound);
    let outside = wide
        .as_primitive::<Decimal128Type>()
        .iter()
        .position(|value| value.is_some_and(|value| value.abs() > bound));
    match outside {
        None => Ok(()),
        Some(row) => Err(Misfit::value(
            array,
            row,
            &format!("is beyond {bound}, where floats skip integers"),
        )),
    }
}

fn convert_nested(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Misfit> {
    match (array.data_type(), to) {
        (
            DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item),
            _,
        ) => {
            let plain = DataType::List(Arc::clone(item));
            convert(&cast_with_options(array, &plain, &CAST)?, to)
        }
        (DataType::FixedSizeList(item, _), DataType::List(_)) => {
            let plain = DataType::List(Arc::clone(item));
            convert_nested(&cast_with_options(array, &plain, &CAST)?, to)
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = rebased(list.offsets(), list.values());
            let values = convert(&values, item.data_type()).map_err(Misfit::nested)?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        (DataType::FixedSizeList(_, _), DataType::FixedSizeList(item, size)) => {
            let list = array.as_fixed_size_list();
            let values = convert(list.values(), item.data_type()).map_err(Misfit::nested)?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *size, values, nulls)?))
        }
        (DataType::Struct(from), DataType::Struct(fields)) => {
            let structs = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for (position, field) in fields.iter().enumerate() {
                let at =
                    struct_source(from, field.name(), position, fields).ok_or_else(|| Misfit {
                        row: None,
                        reason: format!("its field \"{}\" is missing", field.name()),
                    })?;
                columns.push(convert(structs.column(at), field.data_type())?);
            }
            let nulls = structs.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                nulls,
                structs.len(),
            )?))
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let all: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, values) = rebased(map.offsets(), &all);
            let values = convert(&values, entries.data_type()).map_err(Misfit::nested)?;
            let values = values.as_struct().clone();
            let nulls = map.nulls().cloned();
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, values, nulls, *sorted)?))
        }
        (from, to) => Err(Misfit {
            row: None,
            reason: format!("{} does not become {}", shown(from), shown(to)),
        }),
    }
}

/// Offsets from zero and just the values they span: values outside a slice are nobody's, and must not be judged.
fn rebased(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return (offsets.clone(), Arc::clone(values));
    };
    if first == 0 && last.as_usize() == values.len() {
        return (offsets.clone(), Arc::clone(values));
    }
    let moved = OffsetBuffer::from_lengths(offsets.lengths());
    (moved, values.slice(first.as_usize(), last.as_usize() - first.as_usize()))
}

fn value_text(array: &ArrayRef, row: usize) -> String {
    array_value_to_string(array, row).unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
#[path = "normalize_tests.rs"]
mod tests;
