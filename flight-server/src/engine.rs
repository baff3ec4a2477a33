//! The query engine of one root: catalog, DataFusion runtime and session settings.

use std::sync::Arc;

use table_core::clock::{Clock, SystemClock};
use table_core::{Catalog, CatalogOptions};

use crate::config::ServerConfig;

/// Everything the calls of one server share.
#[derive(Debug)]
pub(crate) struct Engine {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// Opens the root and prepares the query engine over it.
    ///
    /// # Errors
    /// What [`Catalog::open`] returns.
    pub(crate) async fn open(config: &ServerConfig) -> table_core::Result<Arc<Self>> {
        let clock = SystemClock::shared();
        let options = CatalogOptions {
            clock: Arc::clone(&clock),
            owner_note: config.owner_note.clone(),
            disk_floor_bytes: config.disk_floor_bytes,
        };
        let catalog = Catalog::open(&config.data_dir, options).await?;
        Ok(Arc::new(Self { catalog, clock }))
    }

    /// The tables of the root.
    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Time and random ids.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
