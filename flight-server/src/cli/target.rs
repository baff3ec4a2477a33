//! Where a command finds its tables: a running server, or a root over which it starts one inside this process.

use std::net::{Ipv4Addr, SocketAddr};

use table_core::storage::Root;
use table_core::{Access, maintenance};

use super::embedded::Embedded;
use super::error::CliError;
use super::root::parser;
use crate::client::Client;
use crate::config::ServerConfig;

/// Server asked when neither a server nor a folder is named.
pub(crate) const DEFAULT_SERVER: &str = "grpc://127.0.0.1:50051";

/// Why a command that only looks changes nothing.
const ONLY_LOOKS: &str = "this command only reads";

/// `--server` or `--root`.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Server to talk to [default: grpc://127.0.0.1:50051].
    ///
    /// With grpc+tls://HOST:PORT, the certificates in the PEM file that COVERLINE_TLS_CA names are trusted, or those of the
    /// system.
    #[arg(long, value_name = "grpc://HOST:PORT", env = "COVERLINE_SERVER")]
    pub server: Option<String>,
    /// Work on this folder or URL (s3://BUCKET/PREFIX) directly, without a running server.
    #[arg(long, visible_alias = "data-dir", value_name = "DIR|URL", value_parser = parser())]
    pub root: Option<Root>,
    /// With --root: free disk below which appends are refused, bytes.
    #[arg(long, value_name = "BYTES", env = "COVERLINE_DISK_FLOOR_BYTES", hide_short_help = true)]
    pub disk_floor_bytes: Option<u64>,
}

/// A connection, with the server behind it when that runs in this process.
pub(crate) struct Session {
    /// The connection.
    pub client: Client,
    url: String,
    embedded: Option<Embedded>,
}

impl Target {
    /// Connects. End the session with [`Session::close`].
    async fn open(&self, access: Access) -> Result<Session, CliError> {
        match &self.root {
            Some(root) => {
                let embedded = Embedded::start(ServerConfig {
                    listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                    disk_floor_bytes: self.disk_floor_bytes,
                    access,
                    ..ServerConfig::new(root.clone())
                })
                .await?;
                let url = embedded.url();
                Ok(Session { client: Client::connect(&url).await?, url, embedded: Some(embedded) })
            }
            None => {
                let url = self.server.as_deref().unwrap_or(DEFAULT_SERVER).to_owned();
                Ok(Session { client: Client::connect(&url).await?, url, embedded: None })
            }
        }
    }

    /// Refuses a root that was never made: opening it would make one at every path that was mistyped.
    async fn require_root(&self) -> Result<(), CliError> {
        let Some(root) = &self.root else { return Ok(()) };
        match maintenance::is_root(root).await {
            Ok(false) => Err(CliError::new(format!("there is no coverline root at \"{root}\""))
                .hint("create a table there with `coverline create`, or correct --root")),
            // A store that does not answer would make the user wait twice.
            Err(error) if root.folder().is_none() => Err(CliError::from(error)
                .hint("check the endpoint, the bucket and the credentials in the environment")),
            // A folder that cannot be read is explained by whoever opens it.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Runs `work` on a connection and closes it whatever came of it.
    pub(crate) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        self.require_root().await?;
        self.with_new(work).await
    }

    /// The same for work that may begin a root.
    pub(crate) async fn with_new<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        self.open(Access::default()).await?.run(work).await
    }

    /// The same for work that changes nothing. A store that is only read needs no probe, which is hundreds of requests, and no
    /// leave to write.
    pub(crate) async fn with_reading<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let access = match &self.root {
            // Opened so, a prefix without a root stays without one.
            Some(Root::Objects(_)) => Access::ReadOnly { reason: ONLY_LOOKS.to_owned() },
            Some(Root::Folder(_)) | None => {
                self.require_root().await?;
                Access::default()
            }
        };
        self.open(access).await?.run(work).await
    }
}

impl Session {
    async fn run<T>(
        self,
        work: impl AsyncFnOnce(&Client) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let result = work(&self.client).await.map_err(|error| error.with_server(&self.url));
        let closed = self.close().await;
        let result = result?;
        closed.map(|()| result)
    }

    /// Disconnects; a server in this process finishes what it was doing and lets go of its folder.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        drop(self.client);
        match self.embedded {
            Some(embedded) => embedded.stop().await,
            None => Ok(()),
        }
    }
}
