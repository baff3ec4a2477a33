//! Catalogs, schemas and table types: there is one of each.

use arrow::record_batch::RecordBatch;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes};
use tonic::Status;

use super::tables::TABLE_TYPE;
use super::{check_pattern, flight};
use crate::catalog::{CATALOG_NAME, SCHEMA_NAME};

pub(super) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    builder.append(CATALOG_NAME);
    builder.build().map_err(|error| flight(&error))
}

pub(super) fn schemas(command: CommandGetDbSchemas) -> Result<RecordBatch, Status> {
    check_pattern(command.db_schema_filter_pattern.as_deref())?;
    let mut builder = command.into_builder();
    builder.append(CATALOG_NAME, SCHEMA_NAME);
    builder.build().map_err(|error| flight(&error))
}

pub(super) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    builder.append(TABLE_TYPE);
    builder.build().map_err(|error| flight(&error))
}
