//! CREATE TABLE and DROP TABLE, taken from the syntax tree and executed by the catalog.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    ColumnOption, CreateTable, CreateTableOptions, Expr, ObjectName, SqlOption,
    Statement as SqlStatement, Value,
};
use table_core::schema::{IndexSpec, TableSpec, portable_schema};
use table_core::types::BucketWidth;
use table_core::{Error, ErrorKind, Table};
use tonic::Status;

use crate::auth;
use crate::catalog;
use crate::engine::Engine;
use crate::query::gate::Gated;
use crate::query::insert;
use crate::query::min_versions::MinVersions;
use crate::query::plan::Prepared;
use crate::status;
use crate::target::{self, Target};

/// The options that CREATE TABLE knows.
const OPTIONS: &str = "index_column, bucket, entity_columns, time_zone";

/// Flat name of the table that a statement creates or drops.
///
/// # Errors
/// NOT_FOUND for another catalog or schema; INVALID_ARGUMENT for more than three parts.
pub(crate) fn flat_name(name: &ObjectName) -> Result<String, Status> {
    let reference = object_name_to_table_reference(name.clone(), true)
        .map_err(|error| status::query(&error))?;
    catalog::table_name(&reference).map(str::to_owned)
}

/// Drops a table.
///
/// # Errors
/// NOT_FOUND unless `if_exists`.
pub(crate) async fn drop_table(
    engine: &Arc<Engine>,
    name: &ObjectName,
    if_exists: bool,
) -> Result<(), Status> {
    let name = flat_name(name)?;
    match engine.catalog().drop_table(&name, auth::ANONYMOUS).await {
        Err(error) if if_exists && error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| status::core(&error)),
    }
}

/// Creates a table; returns the number of rows that an AS SELECT wrote.
///
/// # Errors
/// ALREADY_EXISTS unless `IF NOT EXISTS`; INVALID_ARGUMENT for bad options; what the query returns. A table whose rows
/// could not be written does not stay.
pub(crate) async fn create_table(
    engine: &Arc<Engine>,
    gated: Gated,
    mut table: CreateTable,
    at_least: &MinVersions,
) -> Result<i64, Status> {
    let name = flat_name(&table.name)?;
    engine.catalog().refresh(Duration::ZERO).await.map_err(|error| status::core(&error))?;
    let existing = Existing::of(&table)?;
    if matches!(existing, Existing::Keep) && engine.catalog().contains(&name) {
        return Ok(0);
    }
    let options = std::mem::take(&mut table.table_options);
    let spec = TableSpec { index: index_spec(&options)? };
    spec.validate().map_err(|error| status::invalid(error.to_string()))?;
    check_columns(&table)?;

    if table.columns.is_empty() && table.query.is_none() {
        if spec.index.is_none() {
            return Err(status::invalid(format!(
                "table \"{name}\" has neither columns nor an index; list its columns, or write WITH (index_column = \
                 'ts', bucket = '1h') to take the schema from the first append"
            )));
        }
        return create(engine, &name, spec, None, existing).await.map(|_| 0);
    }
    let with_query = table.query.is_some();
    let prepared = Prepared::newest(engine, gated, at_least).await?;
    let statement = DfStatement::Statement(Box::new(SqlStatement::CreateTable(table)));
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create_plan)) =
        prepared.logical(engine, statement).await?
    else {
        return Err(status::internal("CREATE TABLE was planned as something else"));
    };
    let input = Arc::unwrap_or_clone(create_plan.input);
    let schema = portable_schema(input.schema().as_arrow());
    if !with_query {
        return create(engine, &name, spec, Some(schema), existing).await.map(|_| 0);
    }
    let other = match existing {
        Existing::Fail | Existing::Keep => target::Existing::Stays,
        Existing::Replace => target::Existing::IsReplaced { seen: None, is_made_alike: false },
    };
    let created = Target::create(engine.catalog(), &name, spec, Some(schema), other).await;
    let Some(mut target) = unless_there(created, existing)? else { return Ok(0) };
    let append = insert::fill(engine, &prepared, target.table(), vec![input]).await;
    match target.commit(append.map_err(status::not_committed)?).await {
        // Somebody else made one meanwhile.
        Err(error) if existing.is_kept(&error) => Ok(0),
        committed => insert::row_count(committed),
    }
}

/// What is to become of a table that has the name already.
#[derive(Debug, Clone, Copy)]
enum Existing {
    Fail,
    /// `IF NOT EXISTS`.
    Keep,
    /// `OR REPLACE`. The statement says all of the new table: nothing of the old one is kept.
    Replace,
}

impl Existing {
    fn of(table: &CreateTable) -> Result<Self, Status> {
        match (table.or_replace, table.if_not_exists) {
            (false, false) => Ok(Self::Fail),
            (false, true) => Ok(Self::Keep),
            (true, false) => Ok(Self::Replace),
            (true, true) => Err(status::invalid(
                "OR REPLACE and IF NOT EXISTS say two things of a table that is there; write one of them",
            )),
        }
    }

    /// Whether the error says that a table is there, and that is fine.
    fn is_kept(self, error: &Error) -> bool {
        matches!(self, Self::Keep) && error.kind() == ErrorKind::AlreadyExists
    }
}

/// The new table, or `None` when one was there and that is fine.
async fn create(
    engine: &Arc<Engine>,
    name: &str,
    spec: TableSpec,
    schema: Option<SchemaRef>,
    existing: Existing,
) -> Result<Option<Arc<Table>>, Status> {
    let catalog = engine.catalog();
    let created = match existing {
        Existing::Fail | Existing::Keep => {
            catalog.create_table(name, spec, schema, auth::ANONYMOUS).await
        }
        Existing::Replace => catalog.replace_table(name, spec, schema, auth::ANONYMOUS).await,
    };
    unless_there(created, existing)
}

/// What was created, or `None` when a table of that name was there and that is fine.
fn unless_there<T>(created: Result<T, Error>, existing: Existing) -> Result<Option<T>, Status> {
    match created {
        Ok(created) => Ok(Some(created)),
        Err(error) if existing.is_kept(&error) => Ok(None),
        Err(error) => Err(status::core(&error)),
    }
}

/// Refuses what the planner would take and nobody would keep.
fn check_columns(table: &CreateTable) -> Result<(), Status> {
    if !table.constraints.is_empty() {
        return Err(status::unsupported(
            "table constraints are not supported; only NOT NULL on columns is",
        ));
    }
    for column in &table.columns {
        for option in &column.options {
            if !matches!(option.option, ColumnOption::Null | ColumnOption::NotNull) {
                return Err(status::unsupported(format!(
                    "column \"{}\" has the option \"{}\"; only NULL and NOT NULL are supported",
                    column.name.value, option.option
                )));
            }
        }
    }
    Ok(())
}

/// The index of a table from the options in its WITH clause.
fn index_spec(options: &CreateTableOptions) -> Result<Option<IndexSpec>, Status> {
    let options = match options {
        CreateTableOptions::None => return Ok(None),
        CreateTableOptions::With(options) => options,
        other => {
            return Err(status::invalid(format!(
                "\"{other}\" is not supported; write WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
            )));
        }
    };
    let (mut column, mut bucket, mut entities, mut zone) = (None, None, None, None);
    for option in options {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(status::invalid(format!(
                "\"{option}\" is not an option; the options are {OPTIONS}, each written as name = 'value'"
            )));
        };
        let slot = match key.value.to_lowercase().as_str() {
            "index_column" => &mut column,
            "bucket" => &mut bucket,
            "entity_columns" => &mut entities,
            "time_zone" => &mut zone,
            other => {
                return Err(status::invalid(format!(
                    "the option \"{other}\" is not known; the options are {OPTIONS}"
                )));
            }
        };
        if slot.replace(text(&key.value, value)?).is_some() {
            return Err(status::invalid(format!("the option \"{}\" is given twice", key.value)));
        }
    }
    let (column, bucket) = match (column, bucket) {
        (Some(column), Some(bucket)) => (column, bucket),
        (None, None) if entities.is_none() && zone.is_none() => return Ok(None),
        _ => {
            return Err(status::invalid(
                "index_column and bucket go together; write WITH (index_column = 'ts', bucket = '1h')",
            ));
        }
    };
    let names = entities.unwrap_or_default();
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(Some(IndexSpec {
        column,
        bucket: BucketWidth::parse(&bucket).map_err(|error| status::invalid(error.to_string()))?,
        entity_columns: names.map(str::to_owned).collect(),
        time_zone: zone.unwrap_or_else(|| "UTC".to_owned()),
    }))
}

/// The value of an option: a string, or a bare number for integer buckets.
fn text(key: &str, value: &Expr) -> Result<String, Status> {
    if let Expr::Value(value) = value {
        match &value.value {
            Value::SingleQuotedString(text) => return Ok(text.clone()),
            Value::Number(digits, _) => return Ok(digits.to_string()),
            _ => {}
        }
    }
    Err(status::invalid(format!(
        "the option \"{key}\" has the value {value}; write it as a string, {key} = '...'"
    )))
}
