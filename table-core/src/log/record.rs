//! One commit as a value. A thin layer over the protobuf message: everything a commit says, with the types of this crate.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use coverline_proto::log as proto;
use prost::Message;
use serde_json::{Value, json};

use super::LogError;
use crate::coverage::CoverageDelta;
use crate::schema::TableLayout;
use crate::types::{AttemptId, EntityKey, SegmentId, TableId, Version};

/// What one commit does. Order matters: actions are applied one after the other.
pub type Action = proto::action::Action;

/// One commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number.
    pub version: Version,
    /// Microseconds since the epoch, strictly greater than the previous commit's.
    pub commit_time_us: i64,
    /// The attempt that wrote it.
    pub attempt_id: AttemptId,
    /// "create", "append", ...
    pub operation: String,
    /// Who asked; empty when authentication is off.
    pub principal: String,
    /// Keys of the appends in it.
    pub append_ids: Vec<proto::AppendId>,
    /// What it does.
    pub actions: Vec<Action>,
}

impl Record {
    /// The payload of the record's frame.
    pub fn encode(&self) -> Vec<u8> {
        proto::CommitRecord {
            version: self.version.0,
            commit_time_us: self.commit_time_us,
            attempt_id: Bytes::copy_from_slice(self.attempt_id.as_bytes()),
            operation: self.operation.clone(),
            principal: self.principal.clone(),
            append_ids: self.append_ids.clone(),
            actions: self
                .actions
                .iter()
                .map(|action| proto::Action { action: Some(action.clone()) })
                .collect(),
        }
        .encode_to_vec()
    }

    /// Reads a payload back. `file` names it in errors.
    ///
    /// # Errors
    /// `Future` for an action that this code does not know, `Damaged` for anything else.
    pub fn decode(payload: Bytes, file: &str) -> Result<Self, LogError> {
        let damaged = |what: String| LogError::Damaged { file: file.to_owned(), what };
        let record = proto::CommitRecord::decode(payload)
            .map_err(|error| damaged(format!("it is not a commit record: {error}")))?;
        let attempt_id = AttemptId::from_slice(&record.attempt_id).ok_or_else(|| {
            damaged(format!("its attempt id has {} bytes, not 16", record.attempt_id.len()))
        })?;
        let actions = record.actions.into_iter().map(|action| {
            action.action.ok_or_else(|| LogError::Future {
                file: file.to_owned(),
                what: "an action that this version does not know".to_owned(),
            })
        });
        Ok(Self {
            version: Version(record.version),
            commit_time_us: record.commit_time_us,
            attempt_id,
            operation: record.operation,
            principal: record.principal,
            append_ids: record.append_ids,
            actions: actions.collect::<Result<_, _>>()?,
        })
    }

    /// The segments it adds.
    pub fn added_segments(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.actions.iter().filter_map(|action| match action {
            Action::AddSegment(add) => SegmentId::from_slice(&add.segment_id),
            _ => None,
        })
    }

    /// The record for people: ids as UUIDs, times as RFC 3339, coverage as counts. `layout` turns index values and entity
    /// keys into text where it is known.
    pub fn to_json(&self, layout: Option<&TableLayout>) -> Value {
        let append_ids: Vec<_> = self.append_ids.iter().map(append_id_json).collect();
        let actions: Vec<_> =
            self.actions.iter().map(|action| action_json(action, layout)).collect();
        json!({
            "version": self.version.0,
            "commit_time": time_text(self.commit_time_us),
            "attempt_id": self.attempt_id.to_string(),
            "operation": self.operation,
            "principal": self.principal,
            "append_ids": append_ids,
            "actions": actions,
        })
    }
}

/// A time in microseconds since the epoch for people: RFC 3339, or the number when no calendar has it.
pub(crate) fn time_text(time_us: i64) -> String {
    match DateTime::from_timestamp_micros(time_us) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
        None => time_us.to_string(),
    }
}

fn append_id_json(id: &proto::AppendId) -> Value {
    json!({
        "principal": id.principal,
        "key": id.key,
        "payload_digest": hex(&id.payload_digest),
        "row_count": id.row_count,
        "rows_skipped": id.rows_skipped,
        "buckets_covered": id.buckets_covered,
        "segment_count": id.segment_count,
    })
}

fn action_json(action: &Action, layout: Option<&TableLayout>) -> Value {
    match action {
        Action::CreateTable(create) => json!({ "create_table": {
            "table_id": table_text(&create.table_id),
            "index": create.spec.as_ref().and_then(|spec| spec.index.as_ref()).map(|index| json!({
                "column": index.column,
                "bucket": index.bucket,
                "entity_columns": index.entity_columns,
                "time_zone": index.time_zone,
            })),
            "schema": schema_json(&create.ipc_schema),
        }}),
        Action::AddSegment(add) => json!({ "add_segment": segment_json(add, layout) }),
        Action::RemoveSegment(remove) => {
            json!({ "remove_segment": { "segment_id": segment_text(&remove.segment_id) } })
        }
        Action::CoverageDelta(delta) => {
            let mut pairs = coverage_json(&delta.segment_id, &delta.encoded);
            if delta.version != 0 {
                pairs["owner_version"] = delta.version.into();
            }
            if let Some(rows) = &delta.rows {
                pairs["append_rows"] = rows.row_count.into();
                pairs["append_digest"] = hex(&rows.digest).into();
            }
            if !delta.entity_rows.is_empty() {
                pairs["entity_rows"] = delta
                    .entity_rows
                    .iter()
                    .fold(0, |sum: u64, rows| sum.saturating_add(*rows))
                    .into();
            }
            json!({ "coverage_delta": pairs })
        }
        Action::SetSchema(set) => {
            json!({ "set_schema": { "schema": schema_json(&set.ipc_schema) } })
        }
        Action::SetProperties(set) => {
            let properties: std::collections::BTreeMap<_, _> = set.properties.iter().collect();
            json!({ "set_properties": properties })
        }
        Action::InlineRows(rows) => json!({ "inline_rows": {
            "segment_id": segment_text(&rows.segment_id),
            "row_count": rows.row_count,
            "bytes": rows.ipc_stream.len(),
        }}),
        Action::MaskSegment(mask) => {
            json!({ "mask_segment": coverage_json(&mask.segment_id, &mask.encoded) })
        }
        Action::PutTable(put) => json!({ "put_table": {
            "table_id": table_text(&put.table_id),
            "name": put.name,
        }}),
        Action::DropTable(drop) => {
            json!({ "drop_table": { "table_id": table_text(&drop.table_id) } })
        }
    }
}

fn segment_json(add: &proto::AddSegment, layout: Option<&TableLayout>) -> Value {
    let index_value = |value: Option<i64>| match (value, layout.and_then(|l| l.bucketing.as_ref()))
    {
        (Some(value), Some(bucketing)) => bucketing.format(value).into(),
        (value, _) => json!(value),
    };
    let entity = |key: &Option<Bytes>| {
        key.as_ref().map(|key| match layout {
            Some(layout) => {
                EntityKey(key.as_ref().into()).display(&layout.entity_names, &layout.entity_types)
            }
            None => hex(key),
        })
    };
    let column_name = |id: i32| {
        layout.and_then(|layout| {
            let fields = layout.schema.fields();
            let field = fields.iter().find(|field| crate::schema::field_id(field) == Some(id))?;
            Some(field.name().clone())
        })
    };
    let columns: Vec<_> = add
        .columns
        .iter()
        .map(|column| {
            json!({
                "field_id": column.field_id,
                "name": column_name(column.field_id),
                "null_count": column.null_count,
                "min": column.min.as_ref().map(scalar_json),
                "max": column.max.as_ref().map(scalar_json),
            })
        })
        .collect();
    json!({
        "segment_id": segment_text(&add.segment_id),
        "path": add.path,
        "file_bytes": add.file_bytes,
        "row_count": add.row_count,
        "row_groups": add.row_groups.len(),
        "index_min": index_value(add.index_min),
        "index_max": index_value(add.index_max),
        "entity_min": entity(&add.entity_min),
        "entity_max": entity(&add.entity_max),
        "columns": columns,
        "file_digest": hex(&add.file_digest),
        "sorted": add.sorted,
    })
}

fn scalar_json(scalar: &proto::Scalar) -> Value {
    use proto::scalar::Value as Scalar;
    match &scalar.value {
        None => Value::Null,
        Some(Scalar::BoolValue(value)) => json!(value),
        Some(Scalar::IntValue(value)) => json!(value),
        Some(Scalar::UintValue(value)) => json!(value),
        Some(Scalar::DoubleValue(value)) => json!(value),
        Some(Scalar::BytesValue(value)) => json!(hex(value)),
        Some(Scalar::StringValue(value)) => json!(value),
    }
}

fn coverage_json(segment_id: &[u8], encoded: &[u8]) -> Value {
    let segment_id = segment_text(segment_id);
    match CoverageDelta::decode(encoded) {
        // JSON numbers end at 64 bits; more pairs than that are written as text.
        Ok(delta) => json!({
            "segment_id": segment_id,
            "entities": delta.entity_count(),
            "pairs": u64::try_from(delta.pair_count())
                .map_or_else(|_| json!(delta.pair_count().to_string()), Value::from),
        }),
        Err(error) => json!({ "segment_id": segment_id, "unreadable": error.to_string() }),
    }
}

fn schema_json(ipc_schema: &[u8]) -> Value {
    if ipc_schema.is_empty() {
        return Value::Null;
    }
    match super::decode_schema(ipc_schema) {
        Ok(schema) => schema
            .fields()
            .iter()
            .map(|field| {
                json!({
                    "name": field.name(),
                    "type": field.data_type().to_string(),
                    "nullable": field.is_nullable(),
                    "field_id": crate::schema::field_id(field),
                })
            })
            .collect(),
        Err(error) => json!({ "unreadable": error }),
    }
}

fn segment_text(bytes: &[u8]) -> String {
    SegmentId::from_slice(bytes).map_or_else(|| hex(bytes), |id| id.to_string())
}

fn table_text(bytes: &[u8]) -> String {
    TableId::from_slice(bytes).map_or_else(|| hex(bytes), |id| id.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
