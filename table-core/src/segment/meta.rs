//! What the log records about a segment: enough to prune and to answer min, max and count without opening the file, and
//! enough to notice any damage to it. Pure; `writer` fills it in, `log::replay` reads it back.

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit, i256};
use bytes::Bytes;
use coverline_proto::log as proto;
use datafusion::common::ScalarValue;

use crate::schema::field_id;
use crate::types::{EntityKey, SegmentId};

/// First byte behind the magic that opens every Parquet file: where the first row group starts.
pub const FIRST_ROW_GROUP_BYTE: u64 = 4;

/// Length and magic at the end of every Parquet file.
pub const FOOTER_TRAILER_BYTES: u64 = 8;

/// One row group's place in the file, with the checksum of exactly those bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroupMeta {
    /// Rows.
    pub row_count: u64,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// CRC32C of `start..end`.
    pub crc32c: u32,
}

/// Exact statistics of one top-level column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnStats {
    /// `PARQUET:field_id`.
    pub field_id: i32,
    /// Nulls.
    pub null_count: u64,
    /// Smallest value; `None` when unknown (nested types, NaN present, long strings, all null).
    pub min: Option<ScalarValue>,
    /// Greatest value; `None` exactly when `min` is.
    pub max: Option<ScalarValue>,
}

/// One segment as the log names it.
///
/// What [`SegmentMeta::from_proto`] checks of every segment:
/// 1. row groups follow one another without a gap from byte 4 on, and their rows sum up to `row_count`;
/// 2. the footer lies behind the last row group, inside the file;
/// 3. ranges are ordered: `min <= max` of index and entity.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentMeta {
    /// Identity; the file is `data/<id>.parquet` below the table's folder.
    pub id: SegmentId,
    /// Size of the file.
    pub file_bytes: u64,
    /// Size of the Parquet footer, its 8 trailing bytes included.
    pub footer_bytes: u64,
    /// Rows.
    pub row_count: u64,
    /// Smallest and greatest index value, in index units (bit pattern for UInt64); `None` on plain tables.
    pub index_range: Option<(i64, i64)>,
    /// Smallest and greatest entity; equal when the segment holds one entity. `None` without entity columns.
    pub entity_range: Option<(EntityKey, EntityKey)>,
    /// One entry per top-level column that has statistics.
    pub columns: Vec<ColumnStats>,
    /// In file order, contiguous from byte 4 on.
    pub row_groups: Vec<RowGroupMeta>,
    /// CRC32C of everything behind the last row group.
    pub tail_crc32c: u32,
    /// BLAKE3 of the file.
    pub file_digest: [u8; 32],
    /// Rows are sorted by (entity, index).
    pub sorted: bool,
}

impl SegmentMeta {
    /// The action that adds this segment to the table.
    pub fn to_proto(&self) -> proto::AddSegment {
        let key_bytes = |key: &EntityKey| Bytes::copy_from_slice(&key.0);
        proto::AddSegment {
            segment_id: Bytes::copy_from_slice(self.id.as_bytes()),
            path: relative_path(self.id),
            file_bytes: self.file_bytes,
            row_count: self.row_count,
            index_min: self.index_range.map(|(min, _)| min),
            index_max: self.index_range.map(|(_, max)| max),
            entity_min: self.entity_range.as_ref().map(|(min, _)| key_bytes(min)),
            entity_max: self.entity_range.as_ref().map(|(_, max)| key_bytes(max)),
            columns: self
                .columns
                .iter()
                .map(|column| proto::ColumnStats {
                    field_id: column.field_id,
                    null_count: column.null_count,
                    min: column.min.as_ref().and_then(scalar_to_proto),
                    max: column.max.as_ref().and_then(scalar_to_proto),
                })
                .collect(),
            row_groups: self
                .row_groups
                .iter()
                .map(|group| proto::RowGroup {
                    row_count: group.row_count,
                    start: group.start,
                    end: group.end,
                    crc32c: group.crc32c,
                })
                .collect(),
            file_digest: Bytes::copy_from_slice(&self.file_digest),
            tail_crc32c: self.tail_crc32c,
            sorted: self.sorted,
            shard: 0,
            footer_bytes: self.footer_bytes,
            // Set where checkpoints are saved.
            version: 0,
        }
    }

    /// Reads the action back. Scalars get the type that `schema` gives the field id.
    ///
    /// # Errors
    /// A text that names the field that is missing or contradicts another.
    pub fn from_proto(add: &proto::AddSegment, schema: &Schema) -> Result<Self, String> {
        let id = SegmentId::from_slice(&add.segment_id)
            .ok_or_else(|| format!("segment_id has {} bytes, not 16", add.segment_id.len()))?;
        let of = |what: String| format!("segment {id}: {what}");
        if add.path != relative_path(id) {
            return Err(of(format!("path \"{}\" does not belong to its id", add.path)));
        }
        if add.shard != 0 {
            return Err(of(format!("shard {} is from a newer version of coverline", add.shard)));
        }
        let file_digest: [u8; 32] =
            add.file_digest.as_ref().try_into().map_err(|_| {
                of(format!("file_digest has {} bytes, not 32", add.file_digest.len()))
            })?;

        let index_range = match (add.index_min, add.index_max) {
            (Some(min), Some(max)) => Some((min, max)),
            (None, None) => None,
            _ => return Err(of("index_min and index_max must come together".into())),
        };
        let entity_range = match (&add.entity_min, &add.entity_max) {
            (Some(min), Some(max)) if min <= max => {
                Some((EntityKey(min.as_ref().into()), EntityKey(max.as_ref().into())))
            }
            (Some(_), Some(_)) => return Err(of("entity_min is greater than entity_max".into())),
            (None, None) => None,
            _ => return Err(of("entity_min and entity_max must come together".into())),
        };

        let row_groups = row_groups_from_proto(add).map_err(of)?;
        let columns = add
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| column_from_proto(column, position, schema))
            .collect::<Result<_, _>>()
            .map_err(of)?;
        Ok(Self {
            id,
            file_bytes: add.file_bytes,
            footer_bytes: add.footer_bytes,
            row_count: add.row_count,
            index_range,
            entity_range,
            columns,
            row_groups,
            tail_crc32c: add.tail_crc32c,
            file_digest,
            sorted: add.sorted,
        })
    }

    /// Statistics of one column by its field id.
    pub fn column(&self, field_id: i32) -> Option<&ColumnStats> {
        self.columns.iter().find(|column| column.field_id == field_id)
    }
}

/// The file's path below its table's folder, as the record names it.
fn relative_path(id: SegmentId) -> String {
    format!("data/{id}.parquet")
}

fn row_groups_from_proto(add: &proto::AddSegment) -> Result<Vec<RowGroupMeta>, String> {
    let mut next = FIRST_ROW_GROUP_BYTE;
    let mut rows: u64 = 0;
    let mut row_groups = Vec::with_capacity(add.row_groups.len());
    for (position, group) in add.row_groups.iter().enumerate() {
        if group.start != next || group.end < group.start {
            return Err(format!(
                "row group {position} lies at {}..{} but must start at {next}",
                group.start, group.end
            ));
        }
        next = group.end;
        rows = rows
            .checked_add(group.row_count)
            .ok_or_else(|| format!("row group {position} has an impossible row_count"))?;
        row_groups.push(RowGroupMeta {
            row_count: group.row_count,
            start: group.start,
            end: group.end,
            crc32c: group.crc32c,
        });
    }
    if rows != add.row_count {
        return Err(format!("row groups hold {rows} rows but the segment {}", add.row_count));
    }
    let tail = add.file_bytes.checked_sub(next);
    if tail.is_none_or(|tail| tail < add.footer_bytes) || add.footer_bytes < FOOTER_TRAILER_BYTES {
        return Err(format!(
            "a footer of {} bytes behind byte {next} does not fit a file of {} bytes",
            add.footer_bytes, add.file_bytes
        ));
    }
    Ok(row_groups)
}

fn column_from_proto(
    stored: &proto::ColumnStats,
    position: usize,
    schema: &Schema,
) -> Result<ColumnStats, String> {
    let is_named = |field: &&FieldRef| field_id(field) == Some(stored.field_id);
    let fields = schema.fields();
    // Statistics come in schema order, so the place of the column among them is tried first.
    let field =
        fields.get(position).filter(is_named).or_else(|| fields.iter().find(is_named)).ok_or_else(
            || format!("statistics name field id {}, which no column has", stored.field_id),
        )?;
    let scalar = |stored: &Option<proto::Scalar>| match stored {
        None => Ok(None),
        Some(scalar) => scalar_from_proto(scalar, field).map(Some),
    };
    let (min, max) = (scalar(&stored.min)?, scalar(&stored.max)?);
    if min.is_some() != max.is_some() {
        return Err(format!("column \"{}\" has only one of min and max", field.name()));
    }
    Ok(ColumnStats { field_id: stored.field_id, null_count: stored.null_count, min, max })
}

/// The stored form of a value, or `None` for values that have none (nulls, nested types).
fn scalar_to_proto(scalar: &ScalarValue) -> Option<proto::Scalar> {
    use ScalarValue as S;
    use proto::scalar::Value as P;
    let value = match scalar {
        S::Boolean(value) => P::BoolValue((*value)?),
        S::Int8(value) => P::IntValue((*value)?.into()),
        S::Int16(value) => P::IntValue((*value)?.into()),
        S::Int32(value)
        | S::Date32(value)
        | S::Time32Second(value)
        | S::Time32Millisecond(value) => P::IntValue((*value)?.into()),
        S::Int64(value)
        | S::Date64(value)
        | S::Time64Microsecond(value)
        | S::Time64Nanosecond(value)
        | S::TimestampSecond(value, _)
        | S::TimestampMillisecond(value, _)
        | S::TimestampMicrosecond(value, _)
        | S::TimestampNanosecond(value, _)
        | S::DurationSecond(value)
        | S::DurationMillisecond(value)
        | S::DurationMicrosecond(value)
        | S::DurationNanosecond(value) => P::IntValue((*value)?),
        S::UInt8(value) => P::UintValue((*value)?.into()),
        S::UInt16(value) => P::UintValue((*value)?.into()),
        S::UInt32(value) => P::UintValue((*value)?.into()),
        S::UInt64(value) => P::UintValue((*value)?),
        S::Float32(value) => P::DoubleValue((*value)?.into()),
        S::Float64(value) => P::DoubleValue((*value)?),
        S::Utf8(value) => P::StringValue(value.clone()?),
        S::Binary(value) | S::FixedSizeBinary(_, value) => P::BytesValue(value.clone()?.into()),
        S::Decimal128(value, _, _) => {
            P::BytesValue(Bytes::copy_from_slice(&(*value)?.to_be_bytes()))
        }
        S::Decimal256(value, _, _) => {
            P::BytesValue(Bytes::copy_from_slice(&(*value)?.to_be_bytes()))
        }
        _ => return None,
    };
    Some(proto::Scalar { value: Some(value) })
}

fn scalar_from_proto(stored: &proto::Scalar, field: &Field) -> Result<ScalarValue, String> {
    use ScalarValue as S;
    use proto::scalar::Value as P;
    let wrong =
        || format!("a statistic of column \"{}\" is no {}", field.name(), field.data_type());
    let value = stored.value.as_ref().ok_or_else(wrong)?;
    let int32 = |value: &i64| i32::try_from(*value).map(Some).map_err(|_| wrong());
    Ok(match (field.data_type(), value) {
        (DataType::Boolean, P::BoolValue(value)) => S::Boolean(Some(*value)),
        (DataType::Int8, P::IntValue(value)) => {
            S::Int8(Some((*value).try_into().map_err(|_| wrong())?))
        }
        (DataType::Int16, P::IntValue(value)) => {
            S::Int16(Some((*value).try_into().map_err(|_| wrong())?))
        }
        (DataType::Int32, P::IntValue(value)) => S::Int32(int32(value)?),
        (DataType::Date32, P::IntValue(value)) => S::Date32(int32(value)?),
        (DataType::Time32(TimeUnit::Second), P::IntValue(value)) => S::Time32Second(int32(value)?),
        (DataType::Time32(_), P::IntValue(value)) => S::Time32Millisecond(int32(value)?),
        (DataType::Int64, P::IntValue(value)) => S::Int64(Some(*value)),
        (DataType::Date64, P::IntValue(value)) => S::Date64(Some(*value)),
        (DataType::Time64(TimeUnit::Microsecond), P::IntValue(value)) => {
            S::Time64Microsecond(Some(*value))
        }
        (DataType::Time64(_), P::IntValue(value)) => S::Time64Nanosecond(Some(*value)),
        (DataType::Timestamp(unit, zone), P::IntValue(value)) => {
            let (value, zone) = (Some(*value), zone.clone());
            match unit {
                TimeUnit::Second => S::TimestampSecond(value, zone),
                TimeUnit::Millisecond => S::TimestampMillisecond(value, zone),
                TimeUnit::Microsecond => S::TimestampMicrosecond(value, zone),
                TimeUnit::Nanosecond => S::TimestampNanosecond(value, zone),
            }
        }
        (DataType::Duration(unit), P::IntValue(value)) => match unit {
            TimeUnit::Second => S::DurationSecond(Some(*value)),
            TimeUnit::Millisecond => S::DurationMillisecond(Some(*value)),
            TimeUnit::Microsecond => S::DurationMicrosecond(Some(*value)),
            TimeUnit::Nanosecond => S::DurationNanosecond(Some(*value)),
        },
        (DataType::UInt8, P::UintValue(value)) => {
            S::UInt8(Some((*value).try_into().map_err(|_| wrong())?))
        }
        (DataType::UInt16, P::UintValue(value)) => {
            S::UInt16(Some((*value).try_into().map_err(|_| wrong())?))
        }
        (DataType::UInt32, P::UintValue(value)) => {
            S::UInt32(Some((*value).try_into().map_err(|_| wrong())?))
        }
        (DataType::UInt64, P::UintValue(value)) => S::UInt64(Some(*value)),
        // Written from an f32, so the way back is exact.
        #[allow(clippy::cast_possible_truncation, reason = "a widened f32 narrows without loss")]
        (DataType::Float32, P::DoubleValue(value)) => S::Float32(Some(*value as f32)),
        (DataType::Float64, P::DoubleValue(value)) => S::Float64(Some(*value)),
        (DataType::Utf8, P::StringValue(value)) => S::Utf8(Some(value.clone())),
        (DataType::Binary, P::BytesValue(value)) => S::Binary(Some(value.to_vec())),
        (DataType::FixedSizeBinary(size), P::BytesValue(value))
            if usize::try_from(*size).is_ok_and(|size| size == value.len()) =>
        {
            S::FixedSizeBinary(*size, Some(value.to_vec()))
        }
        (DataType::Decimal128(precision, scale), P::BytesValue(value)) => {
            let bytes = value.as_ref().try_into().map_err(|_| wrong())?;
            S::Decimal128(Some(i128::from_be_bytes(bytes)), *precision, *scale)
        }
        (DataType::Decimal256(precision, scale), P::BytesValue(value)) => {
            let bytes = value.as_ref().try_into().map_err(|_| wrong())?;
            S::Decimal256(Some(i256::from_be_bytes(bytes)), *precision, *scale)
        }
        _ => return Err(wrong()),
    })
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;
