//! One statement in planning: its pins, its DataFusion session, its plans and schemas.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use coverline_proto::flight::TablePin;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion_substrait::substrait::proto::Plan;
use tokio::runtime::Handle;
use tonic::Status;

use crate::engine::Engine;
use crate::query::gate::{self, Gated, Statement};
use crate::query::min_versions::MinVersions;
use crate::query::pins::Pins;
use crate::query::plans;
use crate::query::source::Source;
use crate::query::{shown, substrait};
use crate::status;

/// A statement that passed the gate, with the versions that it sees.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) gated: Gated,
    pub(crate) pins: Arc<Pins>,
    state: SessionState,
    /// The plan of the statement itself, once it was made.
    own: Arc<OnceLock<QueryPlan>>,
}

/// The plan of a query, and its optimised form once somebody needed it.
#[derive(Debug, Clone)]
pub(crate) struct QueryPlan {
    /// Before values took the place of parameters, which the names of columns follow.
    written: Arc<LogicalPlan>,
    logical: Arc<LogicalPlan>,
    optimized: Arc<OnceLock<LogicalPlan>>,
}

impl From<LogicalPlan> for QueryPlan {
    fn from(logical: LogicalPlan) -> Self {
        let logical = Arc::new(logical);
        Self { written: Arc::clone(&logical), logical, optimized: Arc::default() }
    }
}

impl QueryPlan {
    /// As written, not optimised.
    pub(crate) fn logical(&self) -> &LogicalPlan {
        &self.logical
    }

    /// This plan with its parameters replaced by one row of values.
    ///
    /// # Errors
    /// See [`bind`].
    pub(crate) fn bind(&self, values: Vec<ScalarValue>) -> Result<Self, Status> {
        if values.is_empty() {
            return Ok(self.clone());
        }
        let logical = Arc::new(bind(&self.logical, values)?);
        Ok(Self { written: Arc::clone(&self.written), logical, optimized: Arc::default() })
    }

    fn optimize(&self, state: &SessionState) -> Result<&LogicalPlan, Status> {
        if let Some(optimized) = self.optimized.get() {
            return Ok(optimized);
        }
        let optimized = state.optimize(&self.logical).map_err(|error| status::query(&error))?;
        Ok(self.optimized.get_or_init(|| optimized))
    }
}

/// Checks a statement without looking at any table.
///
/// # Errors
/// See [`gate::check`] and [`substrait::check`].
pub(crate) async fn gated(engine: &Engine, source: impl Into<Source>) -> Result<Gated, Status> {
    let source = source.into();
    if let Some(gated) = engine.plans().gated(&source) {
        return Ok(gated);
    }
    match source {
        Source::Sql(sql) => engine.planner().run(move || gate::check(&sql)).await,
        Source::Substrait(plan) => {
            let (state, runtime) = (engine.template().clone(), Handle::current());
            engine.planner().run(move || substrait::check(plan, &state, &runtime)).await
        }
    }
}

impl Prepared {
    /// A statement at the newest version of its tables, and at least at some.
    ///
    /// # Errors
    /// See [`gate::check`] and [`Pins::newest`].
    pub(crate) async fn newest(
        engine: &Engine,
        gated: Gated,
        at_least: &MinVersions,
    ) -> Result<Self, Status> {
        let pins = Pins::newest(engine, &gated, at_least).await?;
        Ok(Self::with(engine, gated, pins))
    }

    /// A statement at the versions of a ticket.
    ///
    /// # Errors
    /// See [`gate::check`] and [`Pins::restore`].
    pub(crate) async fn at(
        engine: &Engine,
        gated: Gated,
        wire: &[TablePin],
    ) -> Result<Self, Status> {
        let pins = Pins::restore(engine.catalog(), wire).await?;
        Ok(Self::with(engine, gated, pins))
    }

    fn with(engine: &Engine, gated: Gated, pins: Pins) -> Self {
        if let Some(prepared) = engine.plans().get(&gated.source, &pins) {
            return prepared;
        }
        let pins = Arc::new(pins);
        let state = engine.session(&pins);
        Self { gated, pins, state, own: Arc::default() }
    }

    /// The plan of the statement, which must be a query.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an update; as [`Self::logical`].
    pub(crate) async fn own_query(&self, engine: &Engine) -> Result<QueryPlan, Status> {
        if let Some(plan) = self.own.get() {
            return Ok(plan.clone());
        }
        let plan = match &self.gated.statement {
            Statement::Query(statement) => self.query(engine, statement.as_ref().clone()).await?,
            Statement::Substrait(plan) => self.substrait(engine, Arc::clone(plan)).await?,
            _ => return Err(status::invalid("the statement returns no rows; run it as an update")),
        };
        let plan = QueryPlan::from(plan);
        if plans::is_lasting(&plan.logical) && self.own.set(plan.clone()).is_ok() {
            engine.plans().keep(self.clone());
        }
        Ok(plan)
    }

    /// The logical plan of any statement that DataFusion knows, not yet optimised.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, NOT_FOUND and UNIMPLEMENTED from planning; see [`Planner::run`](super::planner::Planner::run).
    pub(crate) async fn logical(
        &self,
        engine: &Engine,
        statement: DfStatement,
    ) -> Result<LogicalPlan, Status> {
        let state = self.state.clone();
        let runtime = Handle::current();
        let job = move || {
            runtime
                .block_on(state.statement_to_plan(statement))
                .map_err(|error| status::query(&error))
        };
        engine.planner().run(job).await
    }

    async fn substrait(&self, engine: &Engine, plan: Arc<Plan>) -> Result<LogicalPlan, Status> {
        let (state, runtime) = (self.state.clone(), Handle::current());
        let plan = engine.planner().run(move || substrait::plan(&plan, &state, &runtime)).await?;
        read_only(&plan)?;
        Ok(plan)
    }

    /// The plan of a query, checked to write nothing.
    ///
    /// # Errors
    /// As [`Self::logical`].
    pub(crate) async fn query(
        &self,
        engine: &Engine,
        statement: DfStatement,
    ) -> Result<LogicalPlan, Status> {
        let plan = self.logical(engine, statement).await?;
        read_only(&plan)?;
        Ok(plan)
    }

    /// The schema that a query's batches will have.
    ///
    /// # Errors
    /// As [`Self::logical`].
    pub(crate) async fn schema(
        &self,
        engine: &Engine,
        plan: &QueryPlan,
    ) -> Result<SchemaRef, Status> {
        if let Some(optimized) = plan.optimized.get() {
            return Ok(self.shown(optimized.schema().inner(), plan));
        }
        let state = self.state.clone();
        let optimized = plan.clone();
        let job = move || Ok(Arc::clone(optimized.optimize(&state)?.schema().inner()));
        let schema = engine.planner().run(job).await?;
        Ok(self.shown(&schema, plan))
    }

    /// The schema of a plan with the names that the client sees.
    pub(crate) fn shown(&self, schema: &SchemaRef, plan: &QueryPlan) -> SchemaRef {
        shown::schema(schema, &plan.written, &self.gated.repeats)
    }

    /// Starts a query; also returns the schema that its batches will have for the client.
    ///
    /// # Errors
    /// As [`Self::logical`].
    pub(crate) async fn execute(
        &self,
        engine: &Engine,
        plan: impl Into<QueryPlan>,
    ) -> Result<(SchemaRef, SendableRecordBatchStream), Status> {
        let plan = plan.into();
        let started = plan.clone();
        let state = self.state.clone();
        let runtime = Handle::current();
        let job = move || {
            let _context = runtime.enter();
            let optimized = started.optimize(&state)?;
            let schema = Arc::clone(optimized.schema().inner());
            let physical = runtime
                .block_on(state.query_planner().create_physical_plan(optimized, &state))
                .map_err(|error| status::query(&error))?;
            let stream = execute_stream(physical, state.task_ctx())
                .map_err(|error| status::query(&error))?;
            Ok((schema, stream))
        };
        let (schema, stream) = engine.planner().run(job).await?;
        Ok((self.shown(&schema, &plan), stream))
    }
}

/// A plan with its parameters replaced by one row of values.
///
/// # Errors
/// INVALID_ARGUMENT when a value is missing or does not fit.
pub(crate) fn bind(plan: &LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan, Status> {
    if values.is_empty() {
        return Ok(plan.clone());
    }
    plan.clone().with_param_values(values).map_err(|error| status::query(&error))
}

/// Refuses what is no query, whatever the gate thought of the text.
pub(crate) fn read_only(plan: &LogicalPlan) -> Result<(), Status> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|error| status::query(&error))
}
