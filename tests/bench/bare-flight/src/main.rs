//! A bare arrow-flight server for the transport benchmark: DoGet streams the rows of one Parquet file from memory, DoPut
//! decodes and drops what it gets. Same socket settings as `coverline serve`; no table, no SQL, no disk.

#![allow(clippy::print_stdout, reason = "the address is this program's output")]

use std::error::Error;
use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Stream<T> = BoxStream<'static, Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

const WINDOW_BYTES: u32 = 8 << 20;
const FRAME_BYTES: u32 = 1 << 20;
const MESSAGE_BYTES_MAX: usize = 256 << 20;

struct Bare {
    batches: Arc<Vec<RecordBatch>>,
}

fn unsupported<T>() -> Answer<T> {
    Err(Status::unimplemented("a bare server only moves rows"))
}

#[tonic::async_trait]
impl FlightService for Bare {
    type HandshakeStream = Stream<HandshakeResponse>;
    type ListFlightsStream = Stream<FlightInfo>;
    type DoGetStream = Stream<FlightData>;
    type DoPutStream = Stream<PutResult>;
    type DoActionStream = Stream<arrow_flight::Result>;
    type ListActionsStream = Stream<ActionType>;
    type DoExchangeStream = Stream<FlightData>;

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let batches = Arc::clone(&self.batches);
        let rows = stream::iter((0..batches.len()).map(move |index| Ok(batches[index].clone())));
        let encoded = FlightDataEncoderBuilder::new().build(rows).map_err(Status::from);
        Ok(Response::new(encoded.boxed()))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let messages = request.into_inner().map_err(FlightError::from);
        let mut rows = FlightRecordBatchStream::new_from_flight_data(messages);
        while rows.try_next().await.map_err(Status::from)?.is_some() {}
        Ok(Response::new(stream::iter([Ok(PutResult::default())]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        unsupported()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        unsupported()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        unsupported()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        unsupported()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        unsupported()
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        unsupported()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        unsupported()
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        unsupported()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: bare-flight FILE.parquet")?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()?;
    let batches = Arc::new(reader.collect::<Result<Vec<_>, _>>()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on grpc://{}", listener.local_addr()?);
    let service = FlightServiceServer::new(Bare { batches })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}
