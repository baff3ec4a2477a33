//! `coverline serve`: serves a root until SIGINT or SIGTERM.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use table_core::Access;

use super::Outcome;
use super::error::CliError;
use super::root::RootArgument;
use crate::config::ServerConfig;
use crate::server;
use crate::tls::TlsIdentity;

/// Address listened on when none is given; what the client commands ask by default.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:50051";

/// Why a server that was started so writes nothing.
const ASKED_TO_READ: &str =
    "this server was started with --read-only; send changes to one that may write to the root";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A folder is made when it does not exist, and one server at a time can hold it; others may serve it with --read-only. Any number
of servers can write to one root in an object store. There a start first proves that two conditional PUTs of one key never both
succeed, which takes 264 small PUTs; where they can, or where the credentials allow no PUT, the server starts read-only and
says so.

Examples:
  coverline serve --root ./coverline-data
  coverline serve --root ./coverline-data --listen 127.0.0.1:50052 --read-only
  coverline serve --root ./coverline-data --listen 0.0.0.0:50051 --tls-cert server.pem --tls-key server.key
  AWS_REGION=eu-central-1 coverline serve --root s3://lake/coverline")]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 takes any free port.
    ///
    /// When the server is ready it prints one line to stdout: `listening on grpc://HOST:PORT`.
    #[arg(long, value_name = "HOST:PORT", env = "COVERLINE_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: String,
    /// Listen with TLS: PEM file of the server's certificate, those between it and its authority behind it.
    ///
    /// The line on stdout then says `listening on grpc+tls://HOST:PORT`, and only clients that speak TLS are served.
    #[arg(long, value_name = "FILE", env = "COVERLINE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, value_name = "FILE", env = "COVERLINE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve only clients that show a certificate of this authority: PEM file of its certificate, or of several.
    ///
    /// The `coverline` commands show the one that COVERLINE_TLS_CLIENT_CERT and COVERLINE_TLS_CLIENT_KEY name.
    #[arg(long, value_name = "FILE", env = "COVERLINE_TLS_CLIENT_CA", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    #[command(flatten)]
    place: RootArgument,
    /// Only read: beside the server that owns the folder, or where nothing may be written.
    ///
    /// Sees what the owner acknowledged at once, refuses every change, and leaves no file and no lock.
    #[arg(long, env = "COVERLINE_READ_ONLY")]
    read_only: bool,
    /// Run only SQL that is sent as Flight SQL sends it, not text that is a descriptor's command or a ticket by itself.
    #[arg(long, env = "COVERLINE_NO_RAW_SQL")]
    no_raw_sql: bool,
    /// How old what queries see may be where other servers write, such as 500ms or 5s; 0 to look at every query.
    #[arg(long, value_name = "DURATION", env = "COVERLINE_MAX_STALENESS", default_value = "0", value_parser = duration)]
    max_staleness: Duration,
    /// Free disk below which appends are refused, bytes [default: 1 GiB or 5 % of the disk].
    #[arg(long, value_name = "BYTES", env = "COVERLINE_DISK_FLOOR_BYTES")]
    disk_floor_bytes: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(TlsIdentity::read(certificate, key, arguments.tls_client_ca.as_deref())?)
        }
        _ => None,
    };
    let config = ServerConfig {
        listen: resolve(&arguments.listen)?,
        tls,
        disk_floor_bytes: arguments.disk_floor_bytes,
        access: match arguments.read_only {
            true => Access::ReadOnly { reason: ASKED_TO_READ.to_owned() },
            false => Access::default(),
        },
        max_staleness: arguments.max_staleness,
        raw_sql: !arguments.no_raw_sql,
        ..ServerConfig::new(arguments.place.root)
    };
    let shutdown = server::shutdown_signal()?;
    let told = config.clone();
    server::run(config, |address| announce(&told.url(address)), shutdown).await?;
    Ok(Outcome::Done)
}

/// The line that scripts wait for.
fn announce(url: &str) {
    let mut stdout = io::stdout();
    let announced = writeln!(stdout, "listening on {url}").and_then(|()| stdout.flush());
    if let Err(error) = announced {
        // Whoever started the server does not listen to it; clients may all the same.
        tracing::warn!(url, %error, "nobody reads stdout");
    }
}

/// A duration as people write it: a number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_per_unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if number == "0" => 0,
        _ => return Err("write a number and a unit, ms, s, m or h, such as 500ms".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "the number is missing or too large".to_owned())?;
    let ms = number.checked_mul(ms_per_unit).ok_or("the number is too large")?;
    Ok(Duration::from_millis(ms))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("2 m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 days",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            duration(text).unwrap_err();
        }
    }
}
