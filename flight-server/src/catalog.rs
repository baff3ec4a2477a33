//! From the names a client uses (catalog, schema, table) to table-core tables; name folding.

use datafusion::common::TableReference;
use tonic::Status;

use crate::status;

/// The one SQL catalog.
pub(crate) const CATALOG_NAME: &str = "coverline";
/// The one schema of tables.
pub(crate) const SCHEMA_NAME: &str = "public";
/// Schema of the views that describe the others.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// The flat name of a table reference that may carry catalog and schema.
///
/// # Errors
/// NOT_FOUND for another catalog or schema.
pub(crate) fn table_name(reference: &TableReference) -> Result<&str, Status> {
    check_location(reference.catalog(), reference.schema())?;
    Ok(reference.table())
}

/// Checks catalog and schema as a client names them; absent ones mean ours.
///
/// # Errors
/// NOT_FOUND for another catalog or schema.
pub(crate) fn check_location(catalog: Option<&str>, schema: Option<&str>) -> Result<(), Status> {
    match catalog {
        None | Some(CATALOG_NAME) => {}
        Some(other) => {
            return Err(status::not_found(format!(
                "catalog \"{other}\" does not exist; the only one is \"{CATALOG_NAME}\""
            )));
        }
    }
    match schema {
        None | Some(SCHEMA_NAME) => Ok(()),
        Some(other) => Err(status::not_found(format!(
            "schema \"{other}\" does not exist in catalog \"{CATALOG_NAME}\"; tables are in \"{SCHEMA_NAME}\""
        ))),
    }
}

/// A name quoted for SQL, so that it means exactly these characters.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query of a whole table.
pub(crate) fn whole_table(name: &str) -> String {
    format!("SELECT * FROM {}", quote(name))
}
