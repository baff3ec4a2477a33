//! Doors for the fuzz targets in `tests/fuzz` into what is private otherwise: everything that reads bytes of a client. Only with
//! the feature `testing`; nothing here decides anything.

use std::sync::Arc;

use arrow_flight::Ticket;
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use table_core::{Catalog, Result};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::query::gate::{self, Statement};
use crate::query::handle::Handle;
use crate::query::min_versions::MinVersions;
use crate::query::parameters;
use crate::query::plan::{self, Prepared};
use crate::ticket::{Redeemed, StatementTicket};
use crate::{catalog, limits, ticket};

pub use crate::ingest::fuzzing::{Put, StreamDecoder, read_request};

/// Longest append id, bytes.
pub const APPEND_ID_BYTES_MAX: usize = limits::APPEND_ID_BYTES_MAX;

/// Stack of the threads that parse and plan, bytes.
pub const PLANNER_STACK_BYTES: usize = limits::PLANNER_STACK_BYTES;

/// Reads a ticket, with the parameters in it, and writes those of ours again.
///
/// # Errors
/// As DoGet.
pub fn rewrite_ticket(bytes: Bytes) -> Result<Option<Bytes>, Status> {
    let Redeemed::Statement(statement) = ticket::decode(&Ticket::new(bytes))? else {
        return Ok(None);
    };
    if let StatementTicket::Query(query) = &statement {
        parameters::decode(&query.parameters)?;
    }
    Ok(Some(ticket::encode(&statement).ticket))
}

/// Reads the handle of a prepared statement, with the parameters in it, and writes it again.
///
/// # Errors
/// As every call that takes a handle.
pub fn rewrite_handle(bytes: &[u8]) -> Result<Bytes, Status> {
    let handle = Handle::decode(bytes)?;
    parameters::decode(&handle.parameters)?;
    Ok(handle.encode())
}

/// Reads parameters as a ticket carries them for a statement that has so many; the number of rows.
///
/// # Errors
/// As DoGet.
pub fn read_parameters(bytes: &Bytes, parameter_count: usize) -> Result<usize, Status> {
    let batches = parameters::decode(bytes)?;
    parameters::check(&batches, parameter_count)?;
    parameters::first(&batches, parameter_count)?;
    Ok(parameters::rows(&batches, parameter_count)?.len())
}

/// Reads what a caller has heard of.
///
/// # Errors
/// As every call that takes the header.
pub fn read_min_versions(headers: &MetadataMap) -> Result<(), Status> {
    MinVersions::parse(headers).map(drop)
}

/// What the gate lets through.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Tables that it reads or writes: catalog, schema and name, as far as they were written.
    pub tables: Vec<(Option<String>, Option<String>, String)>,
    /// Whether it changes something.
    pub is_update: bool,
}

/// Puts a statement through the gate. Needs [`PLANNER_STACK_BYTES`] of stack.
///
/// # Errors
/// As every call that takes SQL.
pub fn gate(sql: &str) -> Result<Passed, Status> {
    let gated = gate::check(sql)?;
    let tables = gated.tables.iter().map(|table| {
        let owned = |part: Option<&str>| part.map(str::to_owned);
        (owned(table.catalog()), owned(table.schema()), table.table().to_owned())
    });
    Ok(Passed { tables: tables.collect(), is_update: gated.statement.is_update() })
}

/// The query that plain Flight clients mean by the name of a table.
pub fn whole_table(name: &str) -> String {
    format!("SELECT * FROM {}", catalog::quote(name))
}

/// The gate and the planner above the tables of a catalog.
#[derive(Debug)]
pub struct SqlPlanner(Arc<Engine>);

impl SqlPlanner {
    /// The planner of a server of these tables.
    ///
    /// # Errors
    /// When there is no folder to spill to.
    pub fn over(catalog: Arc<Catalog>) -> Result<Self> {
        Engine::over(catalog, &ServerConfig::new(".")).map(Self)
    }

    /// The plan of a query, optimised once; `None` for what passes the gate and is no query.
    ///
    /// # Errors
    /// As every call that takes SQL.
    pub async fn plan(&self, sql: &str) -> Result<Option<LogicalPlan>, Status> {
        let gated = plan::gated(&self.0, sql).await?;
        if !matches!(gated.statement, Statement::Query(_)) {
            return Ok(None);
        }
        let prepared = Prepared::newest(&self.0, gated, &MinVersions::Any).await?;
        let plan = prepared.own_query(&self.0).await?;
        prepared.schema(&self.0, &plan).await?;
        Ok(Some(plan.logical().clone()))
    }
}
