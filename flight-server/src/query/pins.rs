//! The versions that one statement sees: one snapshot per table, fixed together, and what DataFusion finds under each name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coverline_proto::flight::TablePin;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::{DataFusionError, Result as DfResult};
use table_core::datafusion::{PinnedTable, SnapshotProvider, SnapshotSource};
use table_core::segment::reader::SegmentCache;
use table_core::types::{TableId, Version};
use table_core::{Catalog, Error, ErrorKind, Snapshot, Table, at_one_moment};
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use crate::catalog::{INFORMATION_SCHEMA, table_name};
use crate::engine::Engine;
use crate::limits;
use crate::query::gate::{Gated, Moment, PastTable, Statement};
use crate::query::min_versions::MinVersions;
use crate::status;

/// How often the newest versions of several tables are read until two readings agree.
const READINGS_MAX: usize = 16;

/// A table and the version of it that a statement sees.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    pub(crate) table: Arc<Table>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// The pins of one statement, by table name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins {
    by_name: BTreeMap<String, Pin>,
}

impl Pins {
    /// Pins the newest version of every table that a statement names, those of others included where they write (C7); within the
    /// staleness that is configured it may be an older one, and of a table that was dropped meanwhile. Not so for what a statement
    /// writes to, nor where its caller names the least version.
    ///
    /// # Errors
    /// NOT_FOUND for a missing table; what opening a table returns; UNAVAILABLE when the tables do not come up to `at_least` in
    /// time, which on the only server of a root is at once.
    pub(crate) async fn newest(
        engine: &Engine,
        gated: &Gated,
        at_least: &MinVersions,
    ) -> Result<Self, Status> {
        let (catalog, staleness) = (engine.catalog(), engine.max_staleness());
        let mut names = names(gated)?;
        let past = gated.past_tables.values().map(|past| past.table.clone());
        names.extend(past);
        names.sort_unstable();
        names.dedup();
        let at_least = at_least.of(&names)?;
        if names.is_empty() {
            if lists_tables(gated) {
                catalog.refresh(staleness).await.map_err(|error| status::core(&error))?;
            }
            return Ok(Self::default());
        }
        // An append to a table that was dropped would be acknowledged and lost.
        let staleness = if writes(gated) { Duration::ZERO } else { staleness };
        // A version is one of the table that has the name now: the one that had it before may well have been at a later one.
        if !staleness.is_zero() && at_least.iter().any(|version| *version > Version::default()) {
            catalog.refresh(Duration::ZERO).await.map_err(|error| status::core(&error))?;
        }
        // Somebody has seen more of the table than is known here, or that it is there at all.
        let is_behind = names.iter().zip(&at_least).any(|(name, version)| {
            *version > Version::default()
                && catalog.known_version(name).is_none_or(|known| known < *version)
        });
        let staleness = if is_behind { Duration::ZERO } else { staleness };
        let tables = catalog.fresh_tables(&names, staleness).await;
        let tables = tables.map_err(|error| status::core(&error))?;
        let patience = match catalog.access().has_rivals() {
            true => limits::MIN_VERSION_TIME,
            // What was acknowledged here is known here, and nobody else commits.
            false => Duration::ZERO,
        };
        // Of the statement, however many tables it names.
        let give_up = Instant::now() + patience;
        let mut by_name = BTreeMap::new();
        for ((name, table), version) in names.into_iter().zip(tables).zip(at_least) {
            let snapshot = reach(&table, version, give_up).await?;
            by_name.insert(name, Pin { table, snapshot });
        }
        let mut pins = Self { by_name };
        pins.settle(catalog.access().has_rivals() && staleness.is_zero()).await?;
        pins.look_back(gated, engine.clock().now_us()).await?;
        Ok(pins)
    }

    /// Adds the tables that the statement reads as of a moment, under the names that they have in it.
    async fn look_back(&mut self, gated: &Gated, now_us: i64) -> Result<(), Status> {
        let mut past = BTreeMap::new();
        for (name, PastTable { table, moment }) in &gated.past_tables {
            let Some(newest) = self.by_name.get(table) else {
                return Err(status::internal(format!("table \"{table}\" was not pinned")));
            };
            let version = match *moment {
                Moment::Version(version) => Version(version),
                Moment::Time(time_us) if time_us > now_us.max(newest.snapshot.commit_time_us) => {
                    return Err(status::invalid(format!(
                        "nobody knows yet what table \"{table}\" will hold then; name a time that has passed, or no time for the \
                         newest version"
                    )));
                }
                Moment::Time(time_us) => {
                    newest.table.version_at(time_us).await.map_err(|error| status::core(&error))?
                }
            };
            let snapshot = newest.table.snapshot_at(version).await;
            let snapshot = snapshot.map_err(|error| status::core(&error))?;
            past.insert(name.clone(), Pin { table: Arc::clone(&newest.table), snapshot });
        }
        if !past.is_empty() {
            let named = names(gated)?;
            let is_named = |name: &String| named.contains(name);
            // Only there to be looked back from.
            self.by_name.retain(|name, _| is_named(name));
            self.by_name.append(&mut past);
        }
        Ok(())
    }

    /// Reads all versions again until nothing moved in between: only then they held at one moment. `looks` where others write.
    async fn settle(&mut self, looks: bool) -> Result<(), Status> {
        if self.by_name.len() < 2 {
            return Ok(());
        }
        let readings_max = if looks { limits::LOOKS_MAX } else { READINGS_MAX };
        let (tables, mut snapshots): (Vec<_>, Vec<_>) = self
            .by_name
            .values()
            .map(|pin| (Arc::clone(&pin.table), Arc::clone(&pin.snapshot)))
            .unzip();
        at_one_moment(&tables, &mut snapshots, looks, readings_max)
            .await
            .map_err(|error| status::core(&error))?;
        for (pin, snapshot) in self.by_name.values_mut().zip(snapshots) {
            pin.snapshot = snapshot;
        }
        Ok(())
    }

    /// Pins exactly the versions that a ticket names.
    ///
    /// # Errors
    /// NOT_FOUND when a table or version is gone, or another table has its name now.
    pub(crate) async fn restore(catalog: &Catalog, wire: &[TablePin]) -> Result<Self, Status> {
        let mut by_name = BTreeMap::new();
        for pin in wire {
            let is_it = |table: &Table| pin.table_id == table.id().as_bytes()[..];
            let table = match catalog.table(&pin.name).await {
                Ok(table) if is_it(&table) => Ok(table),
                // Created by the server that made the ticket, as far as this one knows.
                Ok(_) => catalog.fresh_table(&pin.name, Duration::ZERO).await,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    catalog.fresh_table(&pin.name, Duration::ZERO).await
                }
                Err(error) => Err(error),
            };
            let mut table = table.map_err(|error| status::core(&error))?;
            if !is_it(&table)
                && let Some(id) = TableId::from_slice(&pin.table_id)
                && let Some(replaced) = catalog
                    .replaced_table(id, &pin.name)
                    .await
                    .map_err(|error| status::core(&error))?
            {
                table = replaced;
            }
            if !is_it(&table) {
                return Err(status::not_found(format!(
                    "the table \"{}\" of this ticket was dropped, and another one has its name; run the query again",
                    pin.name
                )));
            }
            let snapshot = table
                .snapshot_at(Version(pin.version))
                .await
                .map_err(|error| status::core(&error))?;
            let name = if pin.past_name.is_empty() { &pin.name } else { &pin.past_name };
            by_name.insert(name.clone(), Pin { table, snapshot });
        }
        Ok(Self { by_name })
    }

    /// The pins as a ticket carries them.
    pub(crate) fn to_wire(&self) -> Vec<TablePin> {
        let pin = |(name, pin): (&String, &Pin)| {
            let own = pin.table.name();
            TablePin {
                table_id: pin.table.id().as_bytes().to_vec().into(),
                past_name: if *name == own { String::new() } else { name.clone() },
                name: own,
                version: pin.snapshot.version.0,
            }
        };
        self.by_name.iter().map(pin).collect()
    }

    /// Whether both see the same tables at the same versions.
    pub(crate) fn same_versions(&self, other: &Self) -> bool {
        self.by_name.len() == other.by_name.len()
            && self.by_name.iter().zip(&other.by_name).all(|((name, pin), (other_name, other))| {
                name == other_name
                    && Arc::ptr_eq(&pin.table, &other.table)
                    && pin.snapshot.version == other.snapshot.version
            })
    }

    /// The pin of a table.
    pub(crate) fn get(&self, name: &str) -> Option<&Pin> {
        self.by_name.get(name)
    }
}

/// Flat names of the tables of a statement, each once; an INSERT's target is among them.
fn names(gated: &Gated) -> Result<Vec<String>, Status> {
    let mut names = BTreeSet::new();
    for reference in &gated.tables {
        if reference.schema() != Some(INFORMATION_SCHEMA) {
            names.insert(table_name(reference)?.to_owned());
        }
    }
    names.extend(gated.function_tables.iter().cloned());
    Ok(names.into_iter().collect())
}

/// Whether a statement appends to one of its tables.
fn writes(gated: &Gated) -> bool {
    matches!(gated.statement, Statement::Insert(_))
}

/// Whether a statement is about the tables there are, as SHOW TABLES is.
fn lists_tables(gated: &Gated) -> bool {
    gated.tables.iter().any(|reference| reference.schema() == Some(INFORMATION_SCHEMA))
}

/// The newest version of a table, once that is at least `version`.
async fn reach(table: &Table, version: Version, give_up: Instant) -> Result<Arc<Snapshot>, Status> {
    let (mut pause, pause_max) = limits::MIN_VERSION_PAUSES;
    let mut snapshot = table.snapshot();
    while snapshot.version < version {
        snapshot = table.refresh(Duration::ZERO).await.map_err(|error| status::core(&error))?;
        if snapshot.version >= version {
            break;
        }
        if Instant::now() + pause > give_up {
            return Err(status::plain(
                ErrorKind::Unavailable,
                &format!(
                    "table \"{}\" is at version {}, and version {version} is asked for at least; ask later, or correct the version",
                    table.name(),
                    snapshot.version,
                ),
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
    Ok(snapshot)
}

impl SnapshotSource for Pins {
    fn pinned(&self, table: &str) -> DfResult<PinnedTable> {
        let pin = self.get(table).or_else(|| {
            let reference = TableReference::parse_str(table);
            self.get(reference.table())
        });
        let pinned = |pin: &Pin| PinnedTable {
            name: pin.table.name(),
            snapshot: Arc::clone(&pin.snapshot),
            store: Arc::clone(pin.table.store()),
        };
        pin.map(pinned).ok_or_else(|| {
            DataFusionError::External(Box::new(Error::new(
                ErrorKind::Invalid,
                format!("\"{table}\" must be given as a plain string, as in coverage('prices')"),
            )))
        })
    }
}

/// The one schema: pinned tables for the statement itself, the newest version of the others for `information_schema`.
#[derive(Debug)]
pub(crate) struct PinnedSchema {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) max_staleness: Duration,
    pub(crate) cache: Arc<SegmentCache>,
}

impl PinnedSchema {
    fn provider(&self, table: &Table, snapshot: &Arc<Snapshot>) -> Arc<dyn TableProvider> {
        Arc::new(SnapshotProvider::new(
            Arc::clone(snapshot),
            table.name(),
            Arc::clone(table.store()),
            Arc::clone(&self.cache),
        ))
    }
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        self.catalog.table_names()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(pin) = self.pins.get(name) {
            return Ok(Some(self.provider(&pin.table, &pin.snapshot)));
        }
        let described = async {
            let table = self.catalog.table(name).await?;
            described(&table, self.max_staleness).await.map(|snapshot| (table, snapshot))
        };
        match described.await {
            Ok((table, snapshot)) => Ok(Some(self.provider(&table, &snapshot))),
            // DataFusion looks the name of every table function up as a table first, and a table may be dropped while it is
            // listed: neither is worth a word.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // Only a listing asks for tables that the statement does not name; one bad table must not hide the others.
            Err(error) => {
                warn!(table = name, %error, "a table is left out of a listing");
                Ok(None)
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.pins.get(name).is_some() || self.catalog.contains(name)
    }
}

/// A version of a table for a listing of many: one with columns, which stay what they are, needs no look at the storage.
///
/// # Errors
/// As [`Table::refresh`].
pub(crate) async fn described(
    table: &Table,
    max_staleness: Duration,
) -> table_core::Result<Arc<Snapshot>> {
    let known = table.snapshot();
    if known.layout.is_some() { Ok(known) } else { table.refresh(max_staleness).await }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use table_core::append::AppendRequest;
    use table_core::clock::SystemClock;
    use table_core::schema::TableSpec;
    use table_core::storage::faults::SimDisk;
    use table_core::{Access, CatalogOptions};
    use tonic::Code;

    use super::*;
    use crate::config::ServerConfig;
    use crate::query::gate;
    use crate::telemetry::Captured;

    /// Far longer than anything here takes, and shorter than any wait for a version.
    const AT_ONCE: Duration = Duration::from_secs(5);

    /// How old what a seat sees may be.
    const STALENESS: Duration = Duration::from_secs(3600);

    /// One server of a simulated root, which looks for what others did once an hour unless it is asked to.
    struct Seat {
        catalog: Arc<Catalog>,
        engine: Arc<Engine>,
        _folder: tempfile::TempDir,
    }

    impl Seat {
        async fn on(disk: &SimDisk, access: Access) -> Self {
            Self::with_staleness(disk, access, STALENESS).await
        }

        async fn with_staleness(disk: &SimDisk, access: Access, max_staleness: Duration) -> Self {
            let options =
                CatalogOptions { access, disk_floor_bytes: Some(0), ..CatalogOptions::default() };
            let store = Arc::new(disk.store(SystemClock::shared()));
            let catalog = Catalog::over(store, options).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let config = ServerConfig { max_staleness, ..ServerConfig::new(folder.path()) };
            let engine = Engine::over(Arc::clone(&catalog), &config).unwrap();
            Self { catalog, engine, _folder: folder }
        }

        /// A new table at version 1 + `commits`.
        async fn make(&self, name: &str, commits: i64) -> Arc<Table> {
            let table = self.catalog.create_table(name, TableSpec::plain(), None, "");
            let table = table.await.unwrap();
            for number in 0..commits {
                let column = Arc::new(Int64Array::from(vec![number]));
                let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
                let mut append = table.append(AppendRequest::default());
                append.write(batch).await.unwrap();
                append.commit().await.unwrap();
            }
            table
        }

        async fn pins(&self, sql: &str, at_least: MinVersions) -> Result<Pins, Status> {
            let gated = gate::check(sql).unwrap();
            let pinning = Pins::newest(&self.engine, &gated, &at_least);
            tokio::time::timeout(AT_ONCE, pinning).await.unwrap()
        }
    }

    fn version(pins: &Pins, name: &str) -> u64 {
        pins.get(name).unwrap().snapshot.version.0
    }

    #[tokio::test]
    async fn a_version_that_somebody_saw_is_looked_for_whatever_is_known_here() {
        let disk = SimDisk::new();
        let (ours, theirs) =
            (Seat::on(&disk, Access::Shared).await, Seat::on(&disk, Access::Shared).await);
        ours.catalog.refresh(Duration::ZERO).await.unwrap();
        let (sql, any) = ("SELECT * FROM t", MinVersions::Any);
        let at = |version| MinVersions::Single(Version(version));

        // Of a table that nobody here has heard of.
        theirs.make("t", 1).await;
        let unheard = ours.pins(sql, any.clone()).await.unwrap_err();
        assert_eq!(unheard.code(), Code::NotFound);
        assert_eq!(version(&ours.pins(sql, at(2)).await.unwrap(), "t"), 2);

        // Of one of two; the other does not matter.
        theirs.make("u", 1).await;
        let named = MinVersions::Named([("u".to_owned(), Version(2))].into());
        let pins = ours.pins("SELECT * FROM t, u", named).await.unwrap();
        assert_eq!((version(&pins, "t"), version(&pins, "u")), (2, 2));
    }

    /// C1, C7: of a table that another server dropped and made again, the old one is what a query may still see for a while, and
    /// nothing else.
    #[tokio::test]
    async fn a_table_that_was_made_again_is_the_old_one_for_queries_only_and_not_for_long() {
        let disk = SimDisk::new();
        let (ours, theirs) =
            (Seat::on(&disk, Access::Shared).await, Seat::on(&disk, Access::Shared).await);
        let again = async || {
            theirs.catalog.drop_table("t", "").await.unwrap();
            theirs.make("t", 1).await
        };
        let (query, insert, any) =
            ("SELECT * FROM t", "INSERT INTO t VALUES (7)", MinVersions::Any);
        let at = |version| MinVersions::Single(Version(version));
        let seen = async |sql, at_least| {
            let pins = ours.pins(sql, at_least).await.unwrap();
            let pin = pins.get("t").unwrap();
            (pin.table.id(), pin.snapshot.version.0)
        };
        let old = theirs.make("t", 4).await;
        assert_eq!(seen(query, at(5)).await, (old.id(), 5));

        // A version is of the table that has the name, however far the other one was.
        let second = again().await;
        assert_eq!(seen(query, any.clone()).await, (old.id(), 5));
        assert_eq!(seen(query, at(2)).await, (second.id(), 2));

        // Rows go to the table that has the name.
        let third = again().await;
        assert_eq!(seen(query, any.clone()).await, (second.id(), 2));
        assert_eq!(seen(insert, any.clone()).await, (third.id(), 2));

        // There is an end to it.
        let impatient = Seat::with_staleness(&disk, Access::Shared, Duration::from_nanos(1)).await;
        let seen = async || {
            let pins = impatient.pins(query, any.clone()).await.unwrap();
            pins.get("t").unwrap().table.id()
        };
        assert_eq!(seen().await, third.id());
        let fourth = again().await;
        assert_eq!(seen().await, fourth.id());
    }

    #[tokio::test]
    async fn a_statement_that_is_out_of_time_looks_once_more_and_waits_no_longer() {
        let disk = SimDisk::new();
        let (ours, theirs) =
            (Seat::on(&disk, Access::Shared).await, Seat::on(&disk, Access::Shared).await);
        theirs.make("t", 2).await;
        ours.catalog.refresh(Duration::ZERO).await.unwrap();
        let table = ours.catalog.table("t").await.unwrap();
        let now = Instant::now();
        let late = tokio::time::timeout(AT_ONCE, reach(&table, Version(4), now)).await.unwrap();
        assert_eq!(late.unwrap_err().code(), Code::Unavailable);
        assert_eq!(reach(&table, Version(3), now).await.unwrap().version, Version(3));
    }

    #[tokio::test]
    async fn the_only_server_of_a_root_waits_for_nobody() {
        let seat = Seat::on(&SimDisk::new(), Access::Exclusive).await;
        seat.make("t", 1).await;
        let at = |version| MinVersions::Single(Version(version));
        assert_eq!(version(&seat.pins("SELECT * FROM t", at(2)).await.unwrap(), "t"), 2);
        let refused = seat.pins("SELECT * FROM t", at(3)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("is at version 2"), "{refused}");
    }

    #[tokio::test]
    async fn only_a_table_that_cannot_be_opened_is_worth_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let options = || CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        let catalog = Catalog::open(root.path(), options()).await.unwrap();
        catalog.create_table("damaged", TableSpec::plain(), None, "").await.unwrap();
        drop(catalog);
        for table in std::fs::read_dir(root.path().join("tables")).unwrap() {
            std::fs::remove_dir_all(table.unwrap().path()).unwrap();
        }
        let schema = PinnedSchema {
            catalog: Catalog::open(root.path(), options()).await.unwrap(),
            pins: Arc::default(),
            max_staleness: Duration::ZERO,
            cache: Arc::default(),
        };

        let log = Captured::start();
        for function in ["gaps", "coverage", "generate_series"] {
            assert!(schema.table(function).await.unwrap().is_none());
        }
        assert_eq!(log.take(), "");
        assert!(schema.table("damaged").await.unwrap().is_none());
        assert!(log.take().contains("a table is left out of a listing table=\"damaged\""));
    }
}
