//! [`Scene`]: a root on a simulated disk, and the servers on it.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use table_core::clock::SeededClock;
use table_core::schema::TableSpec;
use table_core::storage::faults::{FlakyStore, SimDisk};
use table_core::{Access, Catalog, CatalogOptions, Table};

use crate::Tally;
use crate::store::TurningStore;

/// The one table.
pub(crate) const TABLE: &str = "t";

/// One root.
pub(crate) struct Scene {
    pub(crate) disk: SimDisk,
    pub(crate) tally: Arc<Tally>,
}

/// One server of it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) table: Arc<Table>,
    pub(crate) store: Arc<TurningStore>,
}

impl Scene {
    /// An empty disk.
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        table_core::sync::forget_tasks();
        let disk = SimDisk::new();
        disk.forget_steps();
        Self { disk, tally: Arc::clone(tally) }
    }

    fn store(&self, clock: &Arc<SeededClock>, access: &Access) -> Arc<TurningStore> {
        let clock: Arc<SeededClock> = Arc::clone(clock);
        let flaky = FlakyStore::over(Arc::new(self.disk.store(clock)));
        // Several servers share only what settles an unknown outcome by itself, as an object store does.
        flaky.settles_unknown(access.has_rivals());
        TurningStore::over(flaky)
    }

    /// Another server, whose ids are those of `seed`.
    pub(crate) async fn catalog(
        &self,
        seed: u64,
        access: Access,
    ) -> (Arc<Catalog>, Arc<TurningStore>) {
        let clock = Arc::new(SeededClock::new(seed));
        let store = self.store(&clock, &access);
        let options = CatalogOptions { clock, access, ..CatalogOptions::default() };
        let catalog = Catalog::over(Arc::clone(&store) as _, options).await.unwrap();
        (catalog, store)
    }

    /// The first server, with a new table.
    pub(crate) async fn first(&self, spec: TableSpec, access: Access) -> Seat {
        let (catalog, store) = self.catalog(1, access).await;
        let table = catalog.create_table(TABLE, spec, None, "").await.unwrap();
        Seat { catalog, table, store }
    }

    /// Another server, on the same table.
    pub(crate) async fn another(&self, seed: u64, access: Access) -> Seat {
        let (catalog, store) = self.catalog(seed, access).await;
        let table = catalog.fresh_table(TABLE, std::time::Duration::ZERO).await.unwrap();
        Seat { catalog, table, store }
    }
}

/// A number below `end`, which is part of the schedule.
pub(crate) fn below(end: u64) -> u64 {
    thread_rng().gen_range(0..end)
}

/// True once in so many times.
pub(crate) fn once_in(times: u64) -> bool {
    below(times) == 0
}
