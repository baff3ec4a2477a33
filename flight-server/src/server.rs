//! Listener to running server: sockets, HTTP/2 settings, graceful drain. Shutdown is an argument.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::{FutureExt, Stream};
use http::Request;
use table_core::Catalog;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tower::util::MapRequestLayer;
use tracing::{error, info, warn};

use crate::cancellation;
use crate::config::ServerConfig;
use crate::engine::Engine;
use crate::frame::FrameServer;
use crate::limits;
use crate::pieces::MessagePieces;
use crate::reflection;
use crate::service::CoverlineService;
use crate::telemetry;

/// Why a server did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The root cannot be served.
    #[error(transparent)]
    Open(#[from] table_core::Error),
    /// The transport failed.
    #[error("the server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// What the server says of itself cannot be read.
    #[error("descriptors that were compiled in cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The outcome of a commit is unknown, which only a fresh start can settle (C14).
    #[error(
        "{0}; the server has stopped: start it again, which verifies the log and takes what is in it for committed"
    )]
    OutcomeUnknown(String),
    /// The process cannot be told to stop.
    #[error("cannot listen for signals: {0}")]
    Signal(#[source] io::Error),
}

/// Binds `config.listen`, opens the root, calls `ready` with the address served, and serves until `shutdown` ends.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(
    mut config: ServerConfig,
    ready: impl FnOnce(SocketAddr) + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let listen_error = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    if config.owner_note.is_empty() {
        config.owner_note = config.url(address);
    }
    let engine = Engine::open(&config).await?;
    ready(address);
    serve_engine(accepted(listener), engine, &config, shutdown).await
}

/// Opens the root and serves it on a listener that is bound already, until `shutdown` ends or nobody knows whether a commit is
/// durable.
///
/// Clients may connect from the start: they wait in the listener's queue while the root opens.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let engine = Engine::open(&config).await?;
    serve_engine(accepted(listener), engine, &config, shutdown).await
}

/// Serves a root that is open already on connections of any kind, until `shutdown` ends or nobody knows whether a commit is
/// durable. Of the settings, those of the root and of the listener have no effect.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_catalog<C>(
    connections: impl Stream<Item = io::Result<C>>,
    catalog: Arc<Catalog>,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let engine = Engine::over(catalog, config)?;
    serve_engine(connections, engine, config, shutdown).await
}

/// Ends at SIGTERM or SIGINT. The handlers are in place when this returns, so no signal after it is missed.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown_signal() -> Result<impl Future<Output = ()> + Send, ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
    })
}

/// A runtime to serve on. Its threads have stacks for the deepest expressions that the SQL gate lets through: evaluating a
/// plan recurses as deep as the plan is, and an overflow would end the process.
///
/// # Errors
/// When threads cannot be started.
pub fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(limits::WORKER_STACK_BYTES)
        .build()
}

/// Nagle on an accepted socket costs four fifths of DoPut's throughput, and tonic's own tcp_nodelay does not reach a listener
/// that is handed in.
fn accepted(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

fn in_pieces(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(MessagePieces::new(body)))
}

async fn serve_engine<C>(
    incoming: impl Stream<Item = io::Result<C>>,
    engine: Arc<Engine>,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let service = FrameServer::new(CoverlineService::new(Arc::clone(&engine)));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FrameServer>().await;

    let reflection = reflection::services()?;

    let (draining, drain_started) = oneshot::channel::<()>();
    let alarm = engine.catalog().alarm().clone();
    let raised = alarm.clone();
    let stop = async move {
        tokio::select! {
            () = shutdown => {}
            reason = raised.raised() => error!(%reason, "stopping, since the outcome of a commit is unknown"),
        }
        health.set_not_serving::<FrameServer>().await;
        // The receiver lives as long as the server does.
        let _unheard = draining.send(());
    };
    let drain_time = config.drain_time;
    let mut builder = Server::builder();
    if let Some(identity) = &config.tls {
        builder = builder.tls_config(identity.config())?;
    }
    let serving = builder
        .layer(MapRequestLayer::new(telemetry::told))
        .layer(MapRequestLayer::new(cancellation::into_error))
        .layer(MapRequestLayer::new(in_pieces))
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_frame_size(limits::FRAME_BYTES_MAX)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(limits::PENDING_RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(limits::LOCAL_RESET_STREAMS_MAX))
        .add_routes(reflection)
        .add_service(service)
        .add_service(health_service)
        .serve_with_incoming_shutdown(incoming, stop);
    let drain_over = async move {
        match drain_started.await {
            Ok(()) => tokio::time::sleep(drain_time).await,
            // The server ended by itself; the other branch reports it.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serving => served?,
        () = drain_over => {
            warn!(seconds = drain_time.as_secs(), "calls still in flight are cut off");
        }
    }
    match alarm.raised().now_or_never() {
        Some(reason) => Err(ServeError::OutcomeUnknown(reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod outcome_tests;
