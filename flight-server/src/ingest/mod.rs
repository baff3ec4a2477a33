//! DoPut of rows: guarded decoding, the append, the receipt. Which door a stream came through is `command`'s knowledge.
//!
//! `request` reads what is asked for, `append` runs it. `precheck` looks at a message before Arrow does, `decode` turns
//! messages into batches and never panics, `weight` says what a batch would take once written out.

mod append;
mod decode;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod lz4;
mod precheck;
mod request;
mod weight;

use std::sync::Arc;

use arrow_flight::{FlightData, PutResult};
use futures::stream::BoxStream;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::command::AppendTarget;
use crate::engine::Engine;
use crate::status;

pub(crate) use append::check_made_so;
pub(crate) use decode::schema_from_ipc;
#[allow(unused_imports, reason = "for the parameters of prepared statements")]
pub(crate) use decode::{DecodeError, DecodeLimits, GuardedDecoder};
pub(crate) use request::index_spec;

/// Appends a stream of Flight data to the table that `target` names. Each result carries an `AppendReceipt`.
///
/// `first` is the message that carried the descriptor; it may carry the schema too. `rest` are the messages after it.
///
/// # Errors
/// See `status`; every one of them says whether anything was committed.
pub(crate) async fn do_put(
    engine: &Arc<Engine>,
    target: AppendTarget,
    metadata: &MetadataMap,
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<BoxStream<'static, Result<PutResult, Status>>, Status> {
    let request = request::PutRequest::parse(target, metadata).map_err(status::not_committed)?;
    append::run(engine.catalog(), request, first, rest).await
}
