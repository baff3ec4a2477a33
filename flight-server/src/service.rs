//! Our FlightService: one line per call, dispatching to the module that owns it.
//!
//! The generated trait is implemented directly, because arrow-flight's Flight SQL trait hides raw descriptors, the first
//! message of a DoPut, and GetSchema. A panic below any call becomes INTERNAL for that call; the process lives.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedSubstraitPlanRequest, Any, Command, DoPutUpdateResult, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::command::{self, AppendTarget, Request as Asked};
use crate::engine::Engine;
use crate::frame::Frame;
use crate::query::call::{CallOptions, WireForm};
use crate::query::min_versions::MinVersions;
use crate::query::{prepared, statement, substrait};
use crate::ticket::{self, Redeemed, StatementTicket};
use crate::{action, auth, catalog, ingest, limits, metadata, query, status};

/// A stream of messages to a client.
pub(crate) type Answer<T> = BoxStream<'static, Result<T, Status>>;

/// The Flight service over one root.
#[derive(Debug, Clone)]
pub(crate) struct CoverlineService {
    engine: Arc<Engine>,
}

impl CoverlineService {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Text that came without a message around it, where that is run.
    fn raw(&self, sql: String) -> Result<String, Status> {
        match self.engine.runs_raw_sql() {
            true => Ok(sql),
            false => Err(status::invalid(
                "this server was started with --no-raw-sql; send the statement as a CommandStatementQuery or CommandStatementUpdate of \
                 Flight SQL, as its clients do",
            )),
        }
    }

    async fn info(&self, request: Request<FlightDescriptor>) -> Result<FlightInfo, Status> {
        let engine = &self.engine;
        let options = &CallOptions::parse(request.metadata())?;
        let descriptor = request.into_inner();
        match command::parse(&descriptor)? {
            Asked::RawSql(sql) => {
                statement::flight_info(engine, self.raw(sql)?, options, descriptor).await
            }
            Asked::Append(AppendTarget::Path(table)) => {
                statement::flight_info(engine, catalog::whole_table(&table), options, descriptor)
                    .await
            }
            Asked::Append(_) => Err(append_is_no_query()),
            Asked::Sql(Command::CommandStatementQuery(command)) => {
                no_transaction(command.transaction_id.as_deref())?;
                statement::flight_info(engine, command.query, options, descriptor).await
            }
            Asked::Sql(Command::CommandStatementSubstraitPlan(command)) => {
                no_transaction(command.transaction_id.as_deref())?;
                let plan = substrait::source(command.plan)?;
                statement::flight_info(engine, plan, options, descriptor).await
            }
            Asked::Sql(Command::CommandPreparedStatementQuery(command)) => {
                let handle = command.prepared_statement_handle;
                prepared::flight_info(engine, &handle, options, descriptor).await
            }
            Asked::Sql(command) => metadata::flight_info(engine, command, descriptor).await,
        }
    }

    async fn schema(&self, request: Request<FlightDescriptor>) -> Result<SchemaRef, Status> {
        let engine = &self.engine;
        let options = &CallOptions::parse(request.metadata())?;
        match command::parse(request.get_ref())? {
            Asked::RawSql(sql) => statement::schema(engine, self.raw(sql)?, options).await,
            Asked::Append(AppendTarget::Path(table)) => {
                statement::schema(engine, catalog::whole_table(&table), options).await
            }
            Asked::Append(_) => Err(append_is_no_query()),
            Asked::Sql(Command::CommandStatementQuery(command)) => {
                statement::schema(engine, command.query, options).await
            }
            Asked::Sql(Command::CommandStatementSubstraitPlan(command)) => {
                statement::schema(engine, substrait::source(command.plan)?, options).await
            }
            Asked::Sql(Command::CommandPreparedStatementQuery(command)) => {
                prepared::schema(engine, &command.prepared_statement_handle, options).await
            }
            Asked::Sql(command) => metadata::schema(engine, command).await,
        }
    }

    /// The answer of a DoGet, in the form in which it is served.
    ///
    /// # Errors
    /// What redeeming the ticket returns.
    pub(crate) async fn get_frames(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Answer<Frame>>, Status> {
        guarded(self.get(request)).await.map(guarded_stream)
    }

    async fn get(&self, request: Request<Ticket>) -> Result<Answer<Frame>, Status> {
        let engine = &self.engine;
        let options = &CallOptions::parse(request.metadata())?;
        match ticket::decode(request.get_ref())? {
            // Its versions are fixed, by a call that could say what it wanted.
            Redeemed::Statement(StatementTicket::Query(query)) => {
                let form = WireForm::of_ticket(&query, request.metadata())?;
                statement::stream(engine, query, form).await
            }
            Redeemed::Statement(StatementTicket::Update(update)) => {
                query::count_stream(update.record_count)
            }
            Redeemed::RawSql(sql) => statement::direct(engine, self.raw(sql)?, options).await,
            Redeemed::Command(Command::CommandStatementSubstraitPlan(command)) => {
                no_transaction(command.transaction_id.as_deref())?;
                statement::direct(engine, substrait::source(command.plan)?, options).await
            }
            Redeemed::Command(Command::CommandPreparedStatementQuery(command)) => {
                prepared::stream(engine, &command.prepared_statement_handle, options).await
            }
            Redeemed::Command(command) => metadata::stream(engine, command).await,
        }
    }

    async fn put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Answer<PutResult>, Status> {
        let engine = &self.engine;
        let (headers, _, mut messages) = request.into_parts();
        let at_least = &MinVersions::parse(&headers).map_err(status::not_committed)?;
        let first = tokio::time::timeout(limits::FIRST_MESSAGE_TIME, messages.message()).await;
        let first = first
            .unwrap_or_else(|_| {
                Err(status::deadline(format!(
                    "no message came within {} s; send the descriptor first",
                    limits::FIRST_MESSAGE_TIME.as_secs()
                )))
            })
            .map_err(status::not_committed)?;
        // ADBC ingests an empty reader by sending nothing at all, not even the descriptor.
        let Some(first) = first else { return Ok(put_count(0)) };
        let Some(descriptor) = &first.flight_descriptor else {
            return Err(status::invalid(
                "the first message of a DoPut must carry the descriptor that says where the rows go",
            ));
        };
        let rest = messages.boxed();
        match command::parse(descriptor)? {
            Asked::Append(target) => ingest::do_put(engine, target, &headers, first, rest).await,
            Asked::RawSql(sql) => {
                Ok(put_count(statement::update(engine, self.raw(sql)?, at_least).await?))
            }
            Asked::Sql(Command::CommandStatementUpdate(command)) => {
                no_transaction(command.transaction_id.as_deref())?;
                Ok(put_count(statement::update(engine, command.query, at_least).await?))
            }
            Asked::Sql(Command::CommandPreparedStatementUpdate(command)) => {
                let handle = command.prepared_statement_handle;
                let updated = prepared::update(engine, &handle, first, rest, at_least).await?;
                Ok(put_count(updated))
            }
            Asked::Sql(Command::CommandPreparedStatementQuery(command)) => {
                let handle = command.prepared_statement_handle;
                let bound = prepared::bind(engine, &handle, first, rest).await?;
                let app_metadata = bound.encode_to_vec().into();
                Ok(stream::iter([Ok(PutResult { app_metadata })]).boxed())
            }
            Asked::Sql(Command::CommandStatementSubstraitPlan(_)) => Err(status::unsupported(
                "a Substrait plan changes nothing here; ask for its rows with GetFlightInfo, and write with an append or with SQL",
            )),
            Asked::Sql(command) => Err(status::unsupported(format!(
                "the command \"{}\" cannot be sent with DoPut",
                command.type_url()
            ))),
        }
    }

    async fn act(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Answer<arrow_flight::Result>>, Status> {
        let engine = &self.engine;
        let (headers, _, action) = request.into_parts();
        match action.r#type.as_str() {
            action::CREATE_PREPARED_STATEMENT => {
                let command: ActionCreatePreparedStatementRequest = unpack(&action)?;
                no_transaction(command.transaction_id.as_deref())?;
                let options = CallOptions::parse(&headers)?;
                let body = prepared::create(engine, command.query, &options).await?;
                Ok(Response::new(stream::iter([Ok(arrow_flight::Result { body })]).boxed()))
            }
            action::CREATE_PREPARED_SUBSTRAIT_PLAN => {
                let command: ActionCreatePreparedSubstraitPlanRequest = unpack(&action)?;
                no_transaction(command.transaction_id.as_deref())?;
                let options = CallOptions::parse(&headers)?;
                let plan = substrait::source(command.plan)?;
                let body = prepared::create(engine, plan, &options).await?;
                Ok(Response::new(stream::iter([Ok(arrow_flight::Result { body })]).boxed()))
            }
            action::CLOSE_PREPARED_STATEMENT => {
                let command: ActionClosePreparedStatementRequest = unpack(&action)?;
                prepared::close(engine, &command.prepared_statement_handle);
                Ok(Response::new(stream::empty().boxed()))
            }
            _ => action::call(engine, action, &headers).await,
        }
    }
}

#[tonic::async_trait]
impl FlightService for CoverlineService {
    type HandshakeStream = Answer<HandshakeResponse>;
    type ListFlightsStream = Answer<FlightInfo>;
    type DoGetStream = Answer<FlightData>;
    type DoPutStream = Answer<PutResult>;
    type DoExchangeStream = Answer<FlightData>;
    type DoActionStream = Answer<arrow_flight::Result>;
    type ListActionsStream = Answer<ActionType>;

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        auth::handshake()
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let criteria = request.into_inner();
        guarded(metadata::flights::list(&self.engine, &criteria.expression))
            .await
            .map(guarded_stream)
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        guarded(self.info(request)).await.map(Response::new)
    }

    /// Answers when the information is complete, so the first poll is the last.
    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let info = guarded(self.info(request)).await?;
        Ok(Response::new(PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: Some(1.0),
            expiration_time: None,
        }))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let schema = guarded(self.schema(request)).await?;
        Ok(Response::new(SchemaResult { schema: query::encode_schema(&schema)? }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let frames = self.get_frames(request).await?;
        Ok(frames.map(|frames| frames.map_ok(FlightData::from).boxed()))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        // Whatever a DoPut does is a change, and so is what goes wrong in it.
        let answer = guarded(self.put(request)).await.map_err(status::settled)?;
        let answer = guarded_stream(answer).into_inner();
        Ok(Response::new(answer.map(|item| item.map_err(status::settled)).boxed()))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(status::unsupported(
            "DoExchange is not served; append with DoPut and query with GetFlightInfo and DoGet",
        ))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let (headers, answer, _) = guarded(self.act(request)).await?.into_parts();
        let mut response = guarded_stream(answer);
        *response.metadata_mut() = headers;
        Ok(response)
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let all: Vec<_> = action::list().into_iter().map(Ok).collect();
        Ok(Response::new(stream::iter(all).boxed()))
    }
}

/// One PutResult with a count, then the end.
fn put_count(record_count: i64) -> Answer<PutResult> {
    let app_metadata = DoPutUpdateResult { record_count }.encode_to_vec().into();
    stream::iter([Ok(PutResult { app_metadata })]).boxed()
}

fn append_is_no_query() -> Status {
    status::invalid("an append command has no result to fetch; send it with DoPut")
}

fn no_transaction(id: Option<&[u8]>) -> Result<(), Status> {
    match id {
        None | Some([]) => Ok(()),
        Some(_) => Err(status::unsupported(
            "transactions are not supported; every statement commits by itself",
        )),
    }
}

fn unpack<M: ProstMessageExt>(action: &Action) -> Result<M, Status> {
    Any::decode(&*action.body).ok().and_then(|any| any.unpack::<M>().ok().flatten()).ok_or_else(
        || {
            status::invalid(format!(
                "the body of action \"{}\" is not a packed \"{}\"",
                action.r#type,
                M::type_url()
            ))
        },
    )
}

/// A panic is a bug in one request; it must not be one in all the others on the connection.
async fn guarded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(status::panicked(panic.as_ref())),
    }
}

fn guarded_stream<T: Send + 'static>(answer: Answer<T>) -> Response<Answer<T>> {
    let guarded = AssertUnwindSafe(answer)
        .catch_unwind()
        .map(|item| item.unwrap_or_else(|panic| Err(status::panicked(panic.as_ref()))));
    Response::new(guarded.boxed())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_call_and_nothing_else() {
        let error = guarded::<()>(async { panic!("boom") }).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Internal);
        assert!(!error.message().contains("boom"));

        let answer: Answer<u8> =
            stream::iter([1_u8, 2]).map(|n| if n == 2 { panic!("boom") } else { Ok(n) }).boxed();
        let items: Vec<_> = guarded_stream(answer).into_inner().collect().await;
        assert_eq!(items.len(), 2);
        assert_eq!(*items[0].as_ref().unwrap(), 1);
        assert_eq!(items[1].as_ref().unwrap_err().code(), tonic::Code::Internal);
    }
}
