//! [`Target`]: the table that an append goes to, which is undone when it was made for that append and nothing came of it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use table_core::append::{Append, Receipt};
use table_core::schema::TableSpec;
use table_core::types::Version;
use table_core::{Catalog, Error, ErrorKind, Table};
use tracing::warn;

use crate::auth;

/// The version that a creation makes. Asking the new table for its newest one would take an append that came right after for
/// part of the creation.
const CREATION: Version = Version(1);

/// The table appended to. One that was created for the append goes with it when the append fails or its client goes away, so
/// that a retry finds what the first try found; unless somebody else has committed to it, whose rows are never taken away.
#[derive(Debug)]
pub(crate) struct Target {
    table: Arc<Table>,
    /// Where the table was created for this append; `None` once it is to stay.
    created_in: Option<Arc<Catalog>>,
}

impl Target {
    /// A table that was there before.
    pub(crate) fn existing(table: Arc<Table>) -> Self {
        Self { table, created_in: None }
    }

    /// Creates a table for one append.
    ///
    /// # Errors
    /// As [`Catalog::create_table`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the creation, but the table does not stay.
    pub(crate) async fn create(
        catalog: &Arc<Catalog>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
    ) -> Result<Self, Error> {
        let (catalog, name) = (Arc::clone(catalog), name.to_owned());
        // In a task of its own, so that there is always somebody to undo what was created.
        let creation = tokio::spawn(async move {
            let table = catalog.create_table(&name, spec, schema, auth::ANONYMOUS).await?;
            Ok(Self { table, created_in: Some(catalog) })
        });
        creation.await.map_err(|ended| Error::internal(format!("creating a table: {ended}")))?
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Commits an append to the table, which then stays.
    ///
    /// # Errors
    /// As [`Append::commit`].
    pub(crate) async fn commit(&mut self, append: Append) -> Result<Receipt, Error> {
        let outcome = append.commit().await;
        let stays = match &outcome {
            Ok(_) => true,
            // What nobody knows is left as it is for the one who looks.
            Err(error) => matches!(error.kind(), ErrorKind::Indeterminate | ErrorKind::Internal),
        };
        if stays {
            self.created_in = None;
        }
        outcome
    }

    /// Undoes the creation; does nothing once the table is to stay. For those who answer an error: the client's retry may
    /// come right after it.
    pub(crate) async fn undo(&mut self) {
        if let Some(catalog) = self.created_in.take() {
            drop_unused(catalog, Arc::clone(&self.table)).await;
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(catalog) = self.created_in.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(drop_unused(catalog, Arc::clone(&self.table)));
    }
}

async fn drop_unused(catalog: Arc<Catalog>, table: Arc<Table>) {
    match catalog.drop_unchanged(&table, CREATION, auth::ANONYMOUS).await {
        Ok(_) => {}
        // Somebody dropped it by hand.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            let table = table.name();
            warn!(table, %error, "a table whose first append failed could not be dropped");
        }
    }
}
