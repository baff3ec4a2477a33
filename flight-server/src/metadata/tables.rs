//! GetTables: names, and on request the schema that a query of the whole table would return.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::CommandGetTables;
use table_core::Catalog;
use table_core::schema::portable_schema;
use tonic::Status;
use tracing::warn;

use super::types::sql_type;
use super::{check_pattern, flight};
use crate::catalog::{CATALOG_NAME, SCHEMA_NAME};
use crate::engine::Engine;
use crate::query::pins;
use crate::status;

/// What every table is.
pub(super) const TABLE_TYPE: &str = "TABLE";

/// What clients call it too when they filter: the name in `information_schema`.
const TABLE_TYPE_ALIAS: &str = "BASE TABLE";

/// What columns carry for clients, under `ARROW:FLIGHT:SQL:` names.
const COLUMN_KEY_PREFIX: &str = "ARROW:FLIGHT:SQL:";

pub(super) async fn tables(
    engine: &Arc<Engine>,
    mut command: CommandGetTables,
) -> Result<RecordBatch, Status> {
    let (catalog, max_staleness) = (engine.catalog(), engine.max_staleness());
    check_pattern(command.db_schema_filter_pattern.as_deref())?;
    check_pattern(command.table_name_filter_pattern.as_deref())?;
    let types = std::mem::take(&mut command.table_types);
    let wanted = types.is_empty() || types.iter().any(|name| is_table(name));
    let include_schema = command.include_schema;

    let mut builder = command.into_builder();
    if wanted {
        catalog.refresh(max_staleness).await.map_err(|error| status::core(&error))?;
        for name in catalog.table_names() {
            let schema = match include_schema {
                true => described(catalog, &name, max_staleness).await,
                false => Schema::empty(),
            };
            builder
                .append(CATALOG_NAME, SCHEMA_NAME, &name, TABLE_TYPE, &schema)
                .map_err(|error| flight(&error))?;
        }
    }
    builder.build().map_err(|error| flight(&error))
}

fn is_table(name: &str) -> bool {
    name.eq_ignore_ascii_case(TABLE_TYPE) || name.eq_ignore_ascii_case(TABLE_TYPE_ALIAS)
}

/// The table's schema for clients; empty when it has none yet or cannot be opened, because one damaged table must not take
/// the list of all the others with it.
async fn described(catalog: &Arc<Catalog>, name: &str, max_staleness: Duration) -> Schema {
    let snapshot = async {
        let table = catalog.table(name).await?;
        pins::described(&table, max_staleness).await
    };
    match snapshot.await {
        Ok(snapshot) => match &snapshot.layout {
            Some(layout) => describe(name, &portable_schema(&layout.schema)),
            None => Schema::empty(),
        },
        Err(error) => {
            warn!(table = name, %error, "a table is listed without its schema");
            Schema::empty()
        }
    }
}

fn describe(table: &str, schema: &Schema) -> Schema {
    let fields: Vec<_> =
        schema.fields().iter().map(|field| describe_column(table, field)).collect();
    Schema::new(fields)
}

fn describe_column(table: &str, field: &Field) -> Field {
    let sql_type = sql_type(field.data_type());
    let mut metadata = HashMap::new();
    let mut put = |key: &str, value: String| {
        metadata.insert(format!("{COLUMN_KEY_PREFIX}{key}"), value);
    };
    put("CATALOG_NAME", CATALOG_NAME.to_owned());
    put("SCHEMA_NAME", SCHEMA_NAME.to_owned());
    put("TABLE_NAME", table.to_owned());
    put("TYPE_NAME", sql_type.name.to_owned());
    if let Some(precision) = sql_type.precision {
        put("PRECISION", precision.to_string());
    }
    if let Some(scale) = sql_type.scale {
        put("SCALE", scale.to_string());
    }
    // Nothing says IS_AUTO_INCREMENT: ADBC for Java 0.20 answers it with a field that its own schema of columns does not have.
    put("IS_CASE_SENSITIVE", "1".to_owned());
    put("IS_READ_ONLY", "0".to_owned());
    put("IS_SEARCHABLE", "1".to_owned());
    field.clone().with_metadata(metadata)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    #[test]
    fn every_spelling_of_a_table_is_a_table() {
        for name in ["TABLE", "table", "BASE TABLE", "base table"] {
            assert!(is_table(name), "{name}");
        }
        for name in ["VIEW", "", "TABLES", "SYSTEM TABLE"] {
            assert!(!is_table(name), "{name}");
        }
    }

    #[test]
    fn columns_carry_what_clients_look_for() {
        let schema = Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("price", DataType::Decimal128(10, 2), true),
        ]);
        let described = describe("prices", &schema);
        let get = |column: usize, key: &str| {
            described.field(column).metadata().get(&format!("ARROW:FLIGHT:SQL:{key}")).cloned()
        };
        assert_eq!(get(0, "TYPE_NAME").unwrap(), "TIMESTAMP WITH TIME ZONE");
        assert_eq!(get(0, "PRECISION").unwrap(), "6");
        assert_eq!(get(0, "SCALE"), None);
        assert_eq!(get(1, "TYPE_NAME").unwrap(), "DECIMAL");
        assert_eq!(get(1, "PRECISION").unwrap(), "10");
        assert_eq!(get(1, "SCALE").unwrap(), "2");
        assert_eq!(get(1, "TABLE_NAME").unwrap(), "prices");
        assert!(!described.field(0).is_nullable());
    }
}
