//! The query engine of one root: catalog, DataFusion runtime and session settings.

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, SchemaProvider};
use datafusion::error::Result as DfResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use table_core::clock::{Clock, SystemClock};
use table_core::datafusion::{
    AsofFilters, CastTimes, ColumnsFirst, EntitiesFromCoverage, ExactComparisons, GapFilling,
    LengthsOfTime, MarkedProjections, MergeSegments, NullAwareIn, OneWayFilters, PhysicalPlans,
    ReadEnds, ShownSubqueries, SnapshotSource, SortKeysOnce, TABLE_STORE_URL, UnorderedGroups,
    WholeFloatGroups, WholeTickFrames, guard_group_names, guard_lists, guard_pushdown,
    table_functions,
};
use table_core::segment::reader::SegmentCache;
use table_core::{Catalog, CatalogOptions, Error, ErrorKind};

use crate::catalog::{CATALOG_NAME, SCHEMA_NAME};
use crate::config::ServerConfig;
use crate::limits;
use crate::query::asof::AsofRelations;
use crate::query::functions;
use crate::query::information_schema::{InformationSchema, StatementCatalog};
use crate::query::pins::{PinnedSchema, Pins};
use crate::query::planner::Planner;
use crate::query::plans::Plans;
use crate::query::running::RunningQueries;
use crate::query::shifts::ExactShifts;
use crate::query::yielding::YieldingJoins;
use crate::session::PreparedStatements;
use crate::spill::SpillFolder;

/// Everything the calls of one server share.
#[derive(Debug)]
pub(crate) struct Engine {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    max_staleness: Duration,
    raw_sql: bool,
    /// Footers and checked row groups of segments.
    cache: Arc<SegmentCache>,
    /// Functions, rules and settings of every session; its catalog is empty.
    template: SessionState,
    planner: Planner,
    plans: Plans,
    prepared: PreparedStatements,
    running: RunningQueries,
    /// Spilled data; removed with the engine.
    _spill: SpillFolder,
}

impl Engine {
    /// Opens the root and prepares the query engine over it.
    ///
    /// # Errors
    /// What [`Catalog::open`] returns; `Unavailable` when there is no folder to spill to.
    pub(crate) async fn open(config: &ServerConfig) -> table_core::Result<Arc<Self>> {
        let options = CatalogOptions {
            clock: SystemClock::shared(),
            owner_note: config.owner_note.clone(),
            disk_floor_bytes: config.disk_floor_bytes,
            access: config.access.clone(),
        };
        let catalog = Catalog::open(config.root.clone(), options).await?;
        Self::over(catalog, config)
    }

    /// Prepares the query engine over a root that is open already.
    ///
    /// # Errors
    /// `Unavailable` when there is no folder to spill to.
    pub(crate) fn over(
        catalog: Arc<Catalog>,
        config: &ServerConfig,
    ) -> table_core::Result<Arc<Self>> {
        let spill = spill_folder(config)?;
        let runtime = runtime(config, &spill).map_err(engine_error)?;
        let template = template(&runtime).map_err(engine_error)?;
        let url = ObjectStoreUrl::parse(TABLE_STORE_URL).map_err(engine_error)?;
        runtime.register_object_store(url.as_ref(), catalog.store().object_store());
        Ok(Arc::new(Self {
            clock: Arc::clone(catalog.clock()),
            catalog,
            max_staleness: config.max_staleness,
            raw_sql: config.raw_sql,
            cache: Arc::new(SegmentCache::default()),
            template,
            planner: Planner::new(),
            plans: Plans::default(),
            prepared: PreparedStatements::default(),
            running: RunningQueries::default(),
            _spill: spill,
        }))
    }

    /// The tables of the root.
    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Time and random ids.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// How old what a query sees may be where other servers write.
    pub(crate) fn max_staleness(&self) -> Duration {
        self.max_staleness
    }

    /// Whether SQL without a message around it is run.
    pub(crate) fn runs_raw_sql(&self) -> bool {
        self.raw_sql
    }

    /// The threads that parse and plan.
    pub(crate) fn planner(&self) -> &Planner {
        &self.planner
    }

    /// Queries planned a moment ago.
    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    /// Functions and settings of every session, without a table.
    pub(crate) fn template(&self) -> &SessionState {
        &self.template
    }

    /// Prepared statements of all clients.
    pub(crate) fn prepared(&self) -> &PreparedStatements {
        &self.prepared
    }

    /// Queries that are being fetched.
    pub(crate) fn running(&self) -> &RunningQueries {
        &self.running
    }

    /// A session in which exactly these versions are visible.
    pub(crate) fn session(&self, pins: &Arc<Pins>) -> SessionState {
        let schema = PinnedSchema {
            catalog: Arc::clone(&self.catalog),
            pins: Arc::clone(pins),
            max_staleness: self.max_staleness,
            cache: Arc::clone(&self.cache),
        };
        let mut state = self.template.clone();
        let source = Arc::clone(pins) as Arc<dyn SnapshotSource>;
        for (name, function) in table_functions(&source) {
            state.register_udtf(name, function);
        }
        let tables = Arc::new(schema) as Arc<dyn SchemaProvider>;
        // What describes the tables must not hold itself.
        let described = list(StatementCatalog { tables: Arc::clone(&tables), information: None });
        let described = InformationSchemaProvider::new(described)
            .with_table_functions(state.table_functions().clone());
        let information = Some(Arc::new(InformationSchema { described }));
        state.register_catalog_list(list(StatementCatalog { tables, information }));
        state.mark_start_execution();
        state
    }
}

/// A list of the one catalog.
fn list(catalog: StatementCatalog) -> Arc<dyn CatalogProviderList> {
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG_NAME.to_owned(), Arc::new(catalog));
    Arc::new(catalogs)
}

fn spill_folder(config: &ServerConfig) -> table_core::Result<SpillFolder> {
    let parent = config.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
    SpillFolder::create(&parent).map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "cannot make a folder for spilled query data in \"{}\": {error}; set a spill folder",
                parent.display()
            ),
        )
    })
}

fn runtime(config: &ServerConfig, spill: &SpillFolder) -> DfResult<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill.path().to_path_buf()]))
        .with_max_temp_directory_size(config.query_spill_bytes);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(config.query_memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    // Queries read the root's store and nothing else of this host.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}

fn template(runtime: &Arc<RuntimeEnv>) -> DfResult<SessionState> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG_NAME, SCHEMA_NAME)
        .with_create_default_catalog_and_schema(false)
        // Ours answers more than DataFusion's, which it asks for the rest.
        .with_information_schema(false)
        .with_target_partitions(cores)
        .with_batch_size(limits::QUERY_BATCH_ROWS);
    let options = config.options_mut();
    // Strings travel and are stored as Utf8: views would be cast on every way out.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    // Filters run after the scan unless the provider asks otherwise: where segments are pruned by time already, decoding
    // behind a filter costs more than it saves.
    options.execution.parquet.pushdown_filters = false;
    options.execution.parquet.reorder_filters = true;
    options.execution.split_file_groups_by_statistics = true;
    options.execution.time_zone = Some("UTC".to_owned());
    // `x IS TRUE` is never null to the logical plan and may be to the physical one, which is no reason to refuse to group by it.
    options.execution.skip_physical_aggregate_schema_check = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(runtime))
        .with_default_features()
        .with_type_planner(Arc::new(functions::SqlTypes))
        .with_relation_planners(vec![Arc::new(AsofRelations)])
        .with_analyzer_rules(analyzer_rules())
        .with_optimizer_rules(logical_rules())
        .with_optimizer_rule(Arc::new(SortKeysOnce))
        .with_optimizer_rule(Arc::new(EntitiesFromCoverage))
        .with_query_planner(Arc::new(PhysicalPlans))
        .with_physical_optimizer_rules(physical_rules())
        .build();
    functions::bound(&mut state)?;
    state.register_expr_planner(Arc::new(ExactShifts))?;
    Ok(state)
}

/// Ours, and between them DataFusion's, which make the types of all else agree.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(ExactComparisons));
    rules.insert(0, Arc::new(LengthsOfTime));
    rules.insert(0, Arc::new(NullAwareIn));
    rules.insert(0, Arc::new(ShownSubqueries));
    rules.push(Arc::new(WholeTickFrames));
    rules
}

/// DataFusion's rules and ours.
fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = guard_lists(guard_group_names(Optimizer::new().rules));
    // Filters have come down to the joins then, and nothing has come between.
    let behind = rules.iter().position(|rule| rule.name() == PushDownFilter::new().name());
    let behind = behind.unwrap_or_default();
    rules.insert(behind + 1, Arc::new(AsofFilters));
    rules.insert(behind, Arc::new(ColumnsFirst));
    let joins = DecorrelatePredicateSubquery::new();
    let joins = rules.iter().position(|rule| rule.name() == joins.name()).unwrap_or_default();
    rules.insert(joins, Arc::new(MarkedProjections));
    // Marks of gap filling mean something to nobody else.
    rules.insert(0, Arc::new(GapFilling));
    rules.insert(0, Arc::new(CastTimes));
    rules
}

/// DataFusion's rules between ours.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> =
        vec![Arc::new(OneWayFilters), Arc::new(UnorderedGroups)];
    rules.extend(guard_pushdown(PhysicalOptimizer::new().rules));
    rules.push(Arc::new(WholeFloatGroups));
    rules.push(Arc::new(ReadEnds));
    rules.push(Arc::new(MergeSegments));
    rules.push(Arc::new(YieldingJoins));
    rules
}

fn engine_error(error: datafusion::error::DataFusionError) -> Error {
    Error::internal("the query engine does not start").with_source(error)
}
