//! DoAction and ListActions, one file per action; the three of prepared statements are in `query`.
//!
//! Flight's own session and cancellation actions carry bare protobuf messages, Flight SQL's carry packed ones, and ours
//! carry JSON.

mod cancel;
mod create_table;
mod drop_table;
mod json;
mod list_tables;
mod log_show;
mod renew;
mod session;
mod transaction;

use std::sync::Arc;

use arrow_flight::{Action, ActionType};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use crate::engine::Engine;
use crate::status;

/// Largest body of an action, bytes; the largest real one is a schema.
const BODY_BYTES_MAX: usize = 4 << 20;

type Answer = BoxStream<'static, Result<arrow_flight::Result, Status>>;

/// Flight SQL's actions of prepared statements, which `service` hands to `query::prepared`.
pub(crate) const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
pub(crate) const CREATE_PREPARED_SUBSTRAIT_PLAN: &str = "CreatePreparedSubstraitPlan";
pub(crate) const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";

/// Every action that is served, with what ListActions says about it. SqlInfo follows it, and `clients/README.md` is tested to.
const ACTIONS: [(&str, &str); 13] = [
    (CREATE_PREPARED_STATEMENT, "Prepares a statement; the answer carries its handle."),
    (CREATE_PREPARED_SUBSTRAIT_PLAN, "Prepares a Substrait plan; the answer carries its handle."),
    (CLOSE_PREPARED_STATEMENT, "Forgets a prepared statement."),
    (cancel::CANCEL_FLIGHT_INFO, cancel::CANCEL_FLIGHT_INFO_TEXT),
    (cancel::CANCEL_QUERY, cancel::CANCEL_QUERY_TEXT),
    (renew::NAME, renew::TEXT),
    (session::SET, session::SET_TEXT),
    (session::GET, session::GET_TEXT),
    (session::CLOSE, session::CLOSE_TEXT),
    (create_table::NAME, create_table::TEXT),
    (drop_table::NAME, drop_table::TEXT),
    (list_tables::NAME, list_tables::TEXT),
    (log_show::NAME, log_show::TEXT),
];

/// Runs an action.
///
/// # Errors
/// UNIMPLEMENTED for unknown ones, INVALID_ARGUMENT for bodies that are not what the action takes.
pub(crate) async fn call(
    engine: &Arc<Engine>,
    action: Action,
    headers: &MetadataMap,
) -> Result<Response<Answer>, Status> {
    let Action { r#type: name, body } = action;
    if body.len() > BODY_BYTES_MAX {
        return Err(status::invalid(format!(
            "the body of action \"{name}\" has {} bytes; at most {BODY_BYTES_MAX} are allowed",
            body.len()
        )));
    }
    let catalog = engine.catalog();
    match name.as_str() {
        session::SET => return with_cookie(session::set(&body, headers)?),
        session::CLOSE => return with_cookie(session::close(headers)),
        _ => {}
    }
    let answer = match name.as_str() {
        cancel::CANCEL_FLIGHT_INFO => cancel::flight_info(engine, &body).map(once),
        cancel::CANCEL_QUERY => cancel::query(engine, &body).map(once),
        renew::NAME => renew::run(engine, &body).await.map(once),
        session::GET => session::get(headers).map(once),
        create_table::NAME => changed(create_table::run(catalog, &body).await),
        drop_table::NAME => changed(drop_table::run(catalog, &body).await),
        list_tables::NAME => list_tables::run(catalog, engine.max_staleness()).await,
        log_show::NAME => log_show::run(catalog, &body, engine.max_staleness()).await,
        _ => match transaction::refusal(&name) {
            Some(text) => Err(status::unsupported(text)),
            None => Err(status::unsupported(format!(
                "the action \"{name}\" does not exist; ListActions names those that do"
            ))),
        },
    };
    answer.map(Response::new)
}

/// An answer that has the client keep a form, or forget it.
fn with_cookie(answered: session::Answered) -> Result<Response<Answer>, Status> {
    let mut response = Response::new(once(answered.body));
    if let Some(form) = answered.chosen {
        let (name, value) = form.cookie();
        response.metadata_mut().insert(name, value?);
    }
    Ok(response)
}

/// Every action there is, for ListActions.
pub(crate) fn list() -> Vec<ActionType> {
    ACTIONS
        .map(|(name, text)| ActionType { r#type: name.to_owned(), description: text.to_owned() })
        .to_vec()
}

/// The answer of an action that changes something: its error says whether it did.
fn changed(result: Result<Vec<u8>, Status>) -> Result<Answer, Status> {
    result.map(once).map_err(status::settled)
}

/// Whether an action is served.
pub(crate) fn serves(name: &str) -> bool {
    ACTIONS.iter().any(|(served, _)| *served == name)
}

fn once(body: Vec<u8>) -> Answer {
    stream::iter([Ok(arrow_flight::Result { body: body.into() })]).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_action_once_and_no_other() {
        let documented: Vec<&str> = include_str!("../../../clients/README.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| action `")?.split('`').next())
            .collect();
        assert_eq!(documented, ACTIONS.map(|(name, _)| name));
    }
}
