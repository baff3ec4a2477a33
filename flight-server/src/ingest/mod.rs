//! DoPut of rows: guarded decoding, the append, the receipt. Which door a stream came through is `command`'s knowledge.
//!
//! `precheck` looks at a message before Arrow does, `decode` turns messages into batches and never panics, `weight` says
//! what a batch would take once written out.

mod decode;
mod lz4;
mod precheck;
mod weight;

use std::sync::Arc;

use arrow_flight::{FlightData, PutResult};
use futures::stream::BoxStream;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::command::AppendTarget;
use crate::engine::Engine;
use crate::status;

#[allow(
    unused_imports,
    dead_code,
    reason = "taken into use by the append and by prepared statements"
)]
pub(crate) use decode::{DecodeError, DecodeLimits, GuardedDecoder};

/// Appends a stream of Flight data to the table that `target` names.
///
/// `first` is the message that carried the descriptor; it may carry the schema too. `rest` are the messages after it.
pub(crate) async fn do_put(
    engine: &Arc<Engine>,
    target: AppendTarget,
    metadata: &MetadataMap,
    first: FlightData,
    rest: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<BoxStream<'static, Result<PutResult, Status>>, Status> {
    let _ = (engine, target, metadata, first, rest);
    Err(status::unsupported("appends are not served yet"))
}
