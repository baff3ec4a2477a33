//! `coverline.CreateTable`: makes a table, with a schema or before one is known.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::json;
use table_core::schema::TableSpec;
use table_core::{Catalog, ErrorKind, Table};
use tonic::Status;

use super::json::{Body, encode};
use crate::{ingest, status};

pub(super) const NAME: &str = "coverline.CreateTable";
pub(super) const TEXT: &str = "Creates a table. Body: JSON {name, index_column, bucket, entity_columns, time_zone, schema_ipc \
                               (base64 of an Arrow IPC schema), if_not_exists}; all but the name optional. Result: {table, version}.";

/// Takes padding or leaves it, as encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn run(catalog: &Arc<Catalog>, body: &[u8]) -> Result<Vec<u8>, Status> {
    let mut body = Body::parse(NAME, body)?;
    let name = body.required("name")?;
    let column = body.text("index_column")?;
    let bucket = body.text("bucket")?;
    let entity_columns = body.texts("entity_columns")?;
    let time_zone = body.text("time_zone")?;
    let schema = body.text("schema_ipc")?.map(|text| decode_schema(&text)).transpose()?;
    let if_not_exists = body.flag("if_not_exists")?;
    body.finish()?;
    let spec = match column {
        Some(column) => ingest::index_spec(column, bucket, entity_columns, time_zone)?,
        None if bucket.is_some() || !entity_columns.is_empty() || time_zone.is_some() => {
            return Err(status::invalid(
                "bucket, entity_columns and time_zone describe an index; name its column with index_column",
            ));
        }
        None => TableSpec::plain(),
    };
    let table = match catalog.create_table(&name, spec.clone(), schema, "").await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && if_not_exists => {
            existing(catalog, &name, &spec).await?
        }
        result => result.map_err(|error| status::core(&error))?,
    };
    Ok(encode(&json!({ "table": table.name(), "version": table.snapshot().version.0 })))
}

/// A table that is there already is as good as a new one only when it means the same.
async fn existing(
    catalog: &Arc<Catalog>,
    name: &str,
    spec: &TableSpec,
) -> Result<Arc<Table>, Status> {
    let table = catalog.fresh_table(name, Duration::ZERO).await;
    let table = table.map_err(|error| status::core(&error))?;
    ingest::check_made_so(&table, spec).map_err(|error| status::core(&error))?;
    Ok(table)
}

fn decode_schema(text: &str) -> Result<SchemaRef, Status> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| status::invalid(format!("\"schema_ipc\" is not base64: {error}")))?;
    ingest::schema_from_ipc(&bytes).map_err(|error| status::core(&error.into()))
}
