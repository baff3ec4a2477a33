//! A server inside this process, for the time of one command.

use std::net::SocketAddr;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::CliError;
use crate::config::ServerConfig;
use crate::server::{self, ServeError};

/// A running server. Stop it with [`Embedded::stop`]; dropped, it stops by itself a little later.
pub(crate) struct Embedded {
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Embedded {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(config: ServerConfig) -> Result<Self, CliError> {
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = oneshot::channel();
        let announce = |address| {
            // The receiver waits below.
            let _ = ready.send(address);
        };
        let shutdown = async {
            // A sender that was dropped means stop as well.
            let _ = stopped.await;
        };
        let server = tokio::spawn(server::run(config, announce, shutdown));
        match address.await {
            Ok(address) => Ok(Self { address, stop, server }),
            // The server dropped the callback: it did not come so far.
            Err(_) => Err(match ended(server).await {
                Ok(()) => CliError::new("the server ended before it was ready"),
                Err(error) => error,
            }),
        }
    }

    /// The address as clients write it.
    pub(crate) fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// Lets calls in flight finish, then lets go of the folder.
    pub(crate) async fn stop(self) -> Result<(), CliError> {
        // The server is gone already when nobody receives; then its result says why.
        let _ = self.stop.send(());
        ended(self.server).await
    }
}

async fn ended(server: JoinHandle<Result<(), ServeError>>) -> Result<(), CliError> {
    match server.await {
        Ok(result) => Ok(result?),
        Err(error) => Err(CliError::new(format!("the server stopped: {error}"))),
    }
}
