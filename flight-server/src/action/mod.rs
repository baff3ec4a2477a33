//! DoAction and ListActions, one file per action; the two of prepared statements are in `query`.

use std::sync::Arc;

use arrow_flight::{Action, ActionType};
use futures::stream::BoxStream;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::engine::Engine;
use crate::status;

/// Runs an action. UNIMPLEMENTED for unknown ones.
pub(crate) async fn call(
    engine: &Arc<Engine>,
    action: Action,
    metadata: &MetadataMap,
) -> Result<BoxStream<'static, Result<arrow_flight::Result, Status>>, Status> {
    let _ = (engine, metadata);
    Err(status::unsupported(format!(
        "the action \"{}\" does not exist; ListActions names those that do",
        action.r#type
    )))
}

/// Every action there is, for ListActions.
pub(crate) fn list() -> Vec<ActionType> {
    Vec::new()
}
