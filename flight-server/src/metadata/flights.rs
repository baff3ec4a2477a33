//! ListFlights: one flight per table, with its columns, its rows and a ticket for all of them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::StringArray;
use arrow::compute::kernels::comparison::like;
use arrow::datatypes::Schema;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::StreamExt;
use futures::stream;
use table_core::schema::portable_schema;
use table_core::{Catalog, ErrorKind, Snapshot};
use tonic::Status;
use tracing::warn;

use super::check_pattern;
use crate::catalog::whole_table;
use crate::engine::Engine;
use crate::query::pins;
use crate::service::Answer;
use crate::status;

/// Every table whose name is like `pattern`, which has SQL's `%` and `_`; all of them when it is empty. One after the other: there
/// may be many, and not all have been opened.
///
/// # Errors
/// INVALID_ARGUMENT for a pattern that is none; what looking at the catalog returns.
pub(crate) async fn list(
    engine: &Arc<Engine>,
    pattern: &[u8],
) -> Result<Answer<FlightInfo>, Status> {
    let pattern = std::str::from_utf8(pattern).map_err(|_| {
        status::invalid("the criteria of ListFlights are a table name with % and _, in UTF-8")
    })?;
    check_pattern(Some(pattern))?;
    let (catalog, max_staleness) = (Arc::clone(engine.catalog()), engine.max_staleness());
    catalog.refresh(max_staleness).await.map_err(|error| status::core(&error))?;
    let names = matching(catalog.table_names(), pattern)?;
    let flights = stream::iter(names).filter_map(move |name| {
        let catalog = Arc::clone(&catalog);
        async move { flight(&catalog, &name, max_staleness).await.transpose() }
    });
    Ok(flights.boxed())
}

fn matching(names: Vec<String>, pattern: &str) -> Result<Vec<String>, Status> {
    if pattern.is_empty() {
        return Ok(names);
    }
    let column = StringArray::from_iter_values(&names);
    let hits =
        like(&column, &StringArray::new_scalar(pattern)).map_err(|error| status::arrow(&error))?;
    Ok(names
        .into_iter()
        .zip(hits.iter())
        .filter(|(_, hit)| *hit == Some(true))
        .map(|(name, _)| name)
        .collect())
}

/// `None` for a table that was dropped meanwhile.
async fn flight(
    catalog: &Catalog,
    name: &str,
    max_staleness: Duration,
) -> Result<Option<FlightInfo>, Status> {
    let described = async {
        let table = catalog.table(name).await?;
        pins::described(&table, max_staleness).await
    };
    let (schema, rows) = match described.await {
        Ok(snapshot) => (columns(&snapshot), i64::try_from(snapshot.row_count).unwrap_or(-1)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // One damaged table must not take the list of all the others with it.
        Err(error) => {
            warn!(table = name, %error, "a table is listed without its schema");
            (Arc::new(Schema::empty()), -1)
        }
    };
    let ticket = Ticket::new(whole_table(name));
    FlightInfo::new()
        .try_with_schema(&schema)
        .map(|info| info.with_descriptor(FlightDescriptor::new_path(vec![name.to_owned()])))
        .map(|info| info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)))
        .map(|info| info.with_total_records(rows))
        .map(Some)
        .map_err(|error| status::arrow(&error))
}

/// The columns of a query of the whole table.
fn columns(snapshot: &Snapshot) -> Arc<Schema> {
    match &snapshot.layout {
        Some(layout) => portable_schema(&layout.schema),
        None => Arc::new(Schema::empty()),
    }
}
