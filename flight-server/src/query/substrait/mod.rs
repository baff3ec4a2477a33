//! The gate that every Substrait plan passes, and planning what passed: the same tables, functions and bounds as for SQL.
//!
//! A plan is read twice by the same [`Consumer`]: at the gate to learn which tables it names, with a stand-in for each, and again once
//! their versions are pinned. Both run on a planner thread (`query::planner`).

mod consumer;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_flight::sql::SubstraitPlan;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::from_substrait_plan_with_consumer;
use datafusion_substrait::substrait::proto::Plan;
use prost::Message;
use tokio::runtime::Handle;
use tonic::Status;

use self::consumer::Consumer;
use crate::limits;
use crate::query::gate::{Gated, Statement};
use crate::query::source::Source;
use crate::status;

/// Releases of Substrait whose plans are read. Functions are known by their names since the first; the last is that of the messages.
pub(crate) const VERSION_MIN: &str = "0.20.0";
/// See [`VERSION_MIN`].
pub(crate) const VERSION_MAX: &str = "0.85.0";

/// The plan of a command.
///
/// # Errors
/// INVALID_ARGUMENT for none, for one that is too long, and for a release that is not read here.
pub(crate) fn source(plan: Option<SubstraitPlan>) -> Result<Source, Status> {
    let SubstraitPlan { plan, version } = plan.unwrap_or_default();
    let readable = || {
        let of = parse_version(&version)?;
        Some(parse_version(VERSION_MIN)? <= of && of <= parse_version(VERSION_MAX)?)
    };
    if !version.is_empty() && readable() != Some(true) {
        return Err(status::invalid(format!(
            "the plan is said to be of Substrait {version:?}; plans of {VERSION_MIN} to {VERSION_MAX} are read, and those that say \
             nothing"
        )));
    }
    if plan.is_empty() {
        return Err(status::invalid("the command has no Substrait plan in it"));
    }
    short_enough(&plan)?;
    Ok(Source::Substrait(plan))
}

fn short_enough(plan: &Bytes) -> Result<(), Status> {
    if plan.len() > limits::SUBSTRAIT_BYTES_MAX {
        return Err(status::invalid(format!(
            "the Substrait plan has {} bytes, but at most {} are taken; send data with an append or as parameters",
            plan.len(),
            limits::SUBSTRAIT_BYTES_MAX
        )));
    }
    Ok(())
}

/// `major.minor.patch`.
fn parse_version(text: &str) -> Option<[u32; 3]> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Checks a plan without looking at any table; `state` has the functions. Needs `runtime` to wait for nothing.
///
/// # Errors
/// INVALID_ARGUMENT for what is no plan, and for exceeded limits; UNIMPLEMENTED for what Coverline does not have.
pub(crate) fn check(bytes: Bytes, state: &SessionState, runtime: &Handle) -> Result<Gated, Status> {
    // A ticket or a handle may say anything.
    short_enough(&bytes)?;
    let plan = Plan::decode(bytes.clone()).map_err(|error| undecodable(&error))?;
    if let Some(version) = plan.version.as_ref().filter(|version| version.major_number > 0) {
        return Err(status::invalid(format!(
            "the plan says that it is of Substrait {}.{}.{}; plans of 0.x are read",
            version.major_number, version.minor_number, version.patch_number
        )));
    }
    let extensions = Extensions::try_from(&plan.extensions).map_err(|error| refusal(&error))?;
    let consumer = Consumer::without_tables(state, &extensions);
    consume(&consumer, &plan, runtime)?;
    let parameter_count = consumer.parameter_count();
    Ok(Gated {
        source: Source::Substrait(bytes),
        tables: consumer.into_tables(),
        statement: Statement::Substrait(Arc::new(plan)),
        function_tables: Vec::new(),
        past_tables: BTreeMap::new(),
        repeats: BTreeMap::new(),
        parameter_count,
    })
}

/// Plans what passed [`check`], over the tables of `state`.
///
/// # Errors
/// As [`check`]; what opening a table returns.
pub(crate) fn plan(
    plan: &Plan,
    state: &SessionState,
    runtime: &Handle,
) -> Result<LogicalPlan, Status> {
    let extensions = Extensions::try_from(&plan.extensions).map_err(|error| refusal(&error))?;
    consume(&Consumer::over(state, &extensions), plan, runtime)
}

/// Reads a plan. The library takes for granted that some messages are there, and panics where they are not.
fn consume(consumer: &Consumer<'_>, plan: &Plan, runtime: &Handle) -> Result<LogicalPlan, Status> {
    let consumed = || runtime.block_on(from_substrait_plan_with_consumer(consumer, plan));
    match catch_unwind(AssertUnwindSafe(consumed)) {
        Ok(consumed) => consumed.map_err(|error| refusal(&error)),
        Err(_) => {
            Err(malformed("a part that must be there is missing, or a reference leads nowhere"))
        }
    }
}

fn refusal(error: &DataFusionError) -> Status {
    match error {
        DataFusionError::Substrait(message) | DataFusionError::Internal(message) => {
            malformed(message.lines().next().unwrap_or_default())
        }
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            refusal(inner)
        }
        other => status::query(other),
    }
}

fn malformed(why: &str) -> Status {
    status::invalid(format!("the Substrait plan is not well formed: {why}"))
}

fn undecodable(error: &prost::DecodeError) -> Status {
    let error = error.to_string();
    if error.contains("recursion limit") {
        return status::invalid(format!(
            "the Substrait plan is too deep: at most {} messages may lie in one another; nest less",
            limits::SUBSTRAIT_DEPTH_MAX
        ));
    }
    status::invalid("the bytes are not a Substrait plan; send an encoded substrait.Plan")
}
