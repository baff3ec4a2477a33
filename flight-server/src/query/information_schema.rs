//! `information_schema`: what DataFusion answers of the tables that a statement sees, and what there is none of: views, and
//! constraints. Tools ask for those all the same: Power BI does not show a table before they have answered.
//!
//! Tables have no constraints but NOT NULL: two rows of one append may agree in index and entity, so nothing is a key. DataFusion
//! lists every table among the views.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;

use crate::catalog::{INFORMATION_SCHEMA, SCHEMA_NAME};

/// A view that is empty here: its name, its columns of text, and its columns of numbers.
type EmptyView = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What there is none of, as the SQL standard describes it.
const EMPTY: [EmptyView; 5] = [
    ("views", &["table_catalog", "table_schema", "table_name", "definition"], &[]),
    (
        "table_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "constraint_type",
            "is_deferrable",
            "initially_deferred",
            "enforced",
        ],
        &[],
    ),
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
        ],
        &["ordinal_position", "position_in_unique_constraint"],
    ),
    (
        "constraint_column_usage",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
        ],
        &[],
    ),
    (
        "referential_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "unique_constraint_catalog",
            "unique_constraint_schema",
            "unique_constraint_name",
            "match_option",
            "update_rule",
            "delete_rule",
        ],
        &[],
    ),
];

/// The one catalog as DataFusion sees it in one statement.
#[derive(Debug)]
pub(crate) struct StatementCatalog {
    /// The tables.
    pub(crate) tables: Arc<dyn SchemaProvider>,
    /// What describes them; `None` to those who describe them.
    pub(crate) information: Option<Arc<InformationSchema>>,
}

impl CatalogProvider for StatementCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA_NAME.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA_NAME => Some(Arc::clone(&self.tables)),
            INFORMATION_SCHEMA => {
                self.information.clone().map(|schema| schema as Arc<dyn SchemaProvider>)
            }
            _ => None,
        }
    }
}

/// The schema of views that describe the tables.
#[derive(Debug)]
pub(crate) struct InformationSchema {
    /// DataFusion's views.
    pub(crate) described: InformationSchemaProvider,
}

impl InformationSchema {
    fn empty(name: &str) -> Option<Arc<dyn TableProvider>> {
        let (_, texts, numbers) =
            EMPTY.iter().find(|(view, ..)| name.eq_ignore_ascii_case(view))?;
        let columns = |names: &[&str], data_type: DataType| -> Vec<Field> {
            names.iter().map(|name| Field::new(*name, data_type.clone(), true)).collect()
        };
        let mut fields = columns(texts, DataType::Utf8);
        fields.extend(columns(numbers, DataType::Int32));
        Some(Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))))
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let described = self.described.table_names();
        let described = described.into_iter().filter(|name| Self::empty(name).is_none());
        described.chain(EMPTY.iter().map(|(name, ..)| (*name).to_owned())).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match Self::empty(name) {
            Some(view) => Ok(Some(view)),
            None => self.described.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        Self::empty(name).is_some() || self.described.table_exist(name)
    }
}
