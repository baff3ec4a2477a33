//! CSV: which types its columns have.
//!
//! A table's schema decides where there is one. Otherwise the whole file is read once: types learnt from a sample would
//! fail on the first row that differs, after half the file has been sent.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use regex::Regex;

use super::{BATCH_ROWS, BUFFER_BYTES, CsvOptions, Opened, Position, counted};

/// Rows looked at to see whether timestamps carry a zone, which type inference does not tell.
const ZONE_SAMPLE_ROWS: usize = 1000;

pub(super) fn open(
    mut file: File,
    delimiter: u8,
    options: &CsvOptions,
    position: &Position,
) -> Result<Opened, ArrowError> {
    let format = Format::default()
        .with_header(true)
        .with_delimiter(delimiter)
        .with_null_regex(null_regex(&options.null_texts)?);
    let (inferred, _) =
        format.infer_schema(BufReader::with_capacity(BUFFER_BYTES, &mut file), None)?;
    file.rewind()?;
    let zoned = zoned_columns(&mut file, &format, &inferred)?;
    file.rewind()?;
    let schema = column_types(&inferred, &zoned, options.table_schema.as_ref());
    let reader = ReaderBuilder::new(Arc::clone(&schema))
        .with_format(format)
        .with_batch_size(BATCH_ROWS)
        .build_buffered(counted(file, position))?;
    Ok((schema, Box::new(reader)))
}

/// Matches the texts that mean null; the empty text always does.
fn null_regex(null_texts: &[String]) -> Result<Regex, ArrowError> {
    let alternatives: Vec<_> = null_texts.iter().map(|text| regex::escape(text)).collect();
    Regex::new(&format!("^(?:|{})$", alternatives.join("|")))
        .map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))
}

/// The type of each column: the table's where it has the column, else the inferred one made to fit other files.
fn column_types(inferred: &Schema, zoned: &[bool], table: Option<&SchemaRef>) -> SchemaRef {
    let fields: Fields = inferred
        .fields()
        .iter()
        .zip(zoned)
        .map(|(field, zoned)| {
            let of_table = table.and_then(|table| table.field_with_name(field.name()).ok());
            let data_type = match of_table {
                Some(of_table) if is_readable(of_table.data_type()) => of_table.data_type().clone(),
                // Sent as text; the server says what does not fit.
                Some(_) => DataType::Utf8,
                None => general_type(field.data_type(), *zoned),
            };
            Field::new(field.name(), data_type, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// An inferred type, widened so that the next file with the same columns gets the same one.
fn general_type(inferred: &DataType, zoned: bool) -> DataType {
    let zone = zoned.then(|| "UTC".into());
    match inferred {
        // Whole seconds today, milliseconds tomorrow.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            DataType::Timestamp(TimeUnit::Nanosecond, zone)
        }
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, zone),
        // Nothing but nulls.
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

/// Whether the CSV reader makes arrays of this type.
fn is_readable(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Float16
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Utf8
                | DataType::Utf8View
        )
}

/// Which of the columns inferred to be timestamps carry an offset or `Z` somewhere in the first rows.
fn zoned_columns(
    file: &mut File,
    format: &Format,
    inferred: &Schema,
) -> Result<Vec<bool>, ArrowError> {
    let is_timestamp = |field: &Arc<Field>| matches!(field.data_type(), DataType::Timestamp(..));
    let timestamps: Vec<usize> = (0..inferred.fields().len())
        .filter(|&column| is_timestamp(&inferred.fields()[column]))
        .collect();
    let mut zoned = vec![false; inferred.fields().len()];
    if timestamps.is_empty() {
        return Ok(zoned);
    }
    let text: Fields = inferred
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let mut reader = ReaderBuilder::new(Arc::new(Schema::new(text)))
        .with_format(format.clone())
        .with_projection(timestamps.clone())
        .with_batch_size(ZONE_SAMPLE_ROWS)
        .build_buffered(BufReader::with_capacity(BUFFER_BYTES, file))?;
    let Some(sample) = reader.next().transpose()? else {
        return Ok(zoned);
    };
    for (values, &column) in sample.columns().iter().zip(&timestamps) {
        let values = values.as_string::<i32>();
        zoned[column] =
            (0..values.len()).any(|row| values.is_valid(row) && carries_zone(values.value(row)));
    }
    Ok(zoned)
}

/// Whether what follows the time of day says which zone it is in.
fn carries_zone(text: &str) -> bool {
    // `2013-01-01` is ten bytes; its dashes are not offsets.
    text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']))
}
