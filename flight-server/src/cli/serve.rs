//! `coverline serve`: serves a root until SIGINT or SIGTERM.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};

use super::Outcome;
use super::error::CliError;
use super::root::RootArgument;
use crate::config::ServerConfig;
use crate::server;

/// Address listened on when none is given; what the client commands ask by default.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:50051";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A folder is made when it does not exist, and one server at a time can hold it. In an object store a start first proves that two
conditional PUTs of one key never both succeed, which takes 264 small PUTs; where they can, or where the credentials allow no
PUT, the server starts read-only and says so.

Examples:
  coverline serve --root ./coverline-data
  AWS_REGION=eu-central-1 coverline serve --root s3://lake/coverline")]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 takes any free port.
    ///
    /// When the server is ready it prints one line to stdout: `listening on grpc://HOST:PORT`.
    #[arg(long, value_name = "HOST:PORT", env = "COVERLINE_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: String,
    #[command(flatten)]
    place: RootArgument,
    /// Free disk below which appends are refused, bytes [default: 1 GiB or 5 % of the disk].
    #[arg(long, value_name = "BYTES", env = "COVERLINE_DISK_FLOOR_BYTES")]
    disk_floor_bytes: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    let config = ServerConfig {
        listen: resolve(&arguments.listen)?,
        disk_floor_bytes: arguments.disk_floor_bytes,
        ..ServerConfig::new(arguments.place.root)
    };
    let shutdown = server::shutdown_signal()?;
    server::run(config, announce, shutdown).await?;
    Ok(Outcome::Done)
}

/// The line that scripts wait for.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout();
    let announced = writeln!(stdout, "listening on grpc://{address}").and_then(|()| stdout.flush());
    if let Err(error) = announced {
        // Whoever started the server does not listen to it; clients may all the same.
        tracing::warn!(%address, %error, "nobody reads stdout");
    }
}

/// The address that a `--listen` names; a host name becomes the first address it has.
pub(crate) fn resolve(listen: &str) -> Result<SocketAddr, CliError> {
    let unusable = |reason: &str| {
        CliError::new(format!("cannot listen on \"{listen}\": {reason}"))
            .hint("write HOST:PORT, such as 127.0.0.1:50051, or port 0 for any free one")
    };
    listen
        .to_socket_addrs()
        .map_err(|error| unusable(&error.to_string()))?
        .next()
        .ok_or_else(|| unusable("the host has no address"))
}
