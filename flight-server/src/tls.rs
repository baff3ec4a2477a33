//! TLS: the certificate and key that a server shows, which clients it serves, and what the commands trust and show when they
//! connect to one.
//!
//! All are PEM files, read once. Only HTTP/2 is negotiated, TLS 1.2 and 1.3. A certificate that was renewed is taken by the
//! next start.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tracing::warn;

use crate::limits;

/// Names a file of certificates that the commands trust instead of the system's.
pub(crate) const CA_VARIABLE: &str = "COVERLINE_TLS_CA";

/// Name the files of the certificate and the key that the commands show to a server that asks for one.
const CLIENT_VARIABLES: [&str; 2] = ["COVERLINE_TLS_CLIENT_CERT", "COVERLINE_TLS_CLIENT_KEY"];

/// Where systems keep the certificates that they trust; the first one there is taken.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a server cannot show itself with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or may not be read.
    #[error("cannot read the TLS {what} \"{}\": {source}", path.display())]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in the files is no certificate, or no key, or they are not of each other.
    #[error(
        "the TLS certificate \"{}\" and the key \"{}\" cannot be used: {reason}; both must be PEM files, and the key that of the \
         first certificate",
        certificate.display(),
        key.display()
    )]
    Unusable {
        /// The file of certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// What is in the file is no authority.
    #[error(
        "the authority of clients \"{}\" cannot be used: {reason}; it must be a PEM file of certificates",
        path.display()
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A certificate chain and its key, known to fit each other.
#[derive(Clone)]
pub struct TlsIdentity {
    config: ServerTlsConfig,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither is shown: one is a secret, the other long.
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads PEM files: the certificate with those between it and its authority, its key, and the authority whose certificates
    /// clients must show; without one, clients show none.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(
        certificate: &Path,
        key: &Path,
        client_authority: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let chain = read("certificate", certificate)?;
        let secret = read("key", key)?;
        warn_of_readers(key);
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(chain, secret))
            .timeout(limits::TLS_HANDSHAKE_TIME);
        check(&config).map_err(|reason| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason,
        })?;
        let Some(path) = client_authority else { return Ok(Self { config }) };
        let authority = Certificate::from_pem(read("authority of clients", path)?);
        let config = config.client_ca_root(authority);
        check(&config).map_err(|reason| TlsError::Authority { path: path.to_owned(), reason })?;
        Ok(Self { config })
    }

    /// What tonic is told.
    pub(crate) fn config(&self) -> ServerTlsConfig {
        self.config.clone()
    }
}

/// Whether a server can be started so: nothing else says whether certificates and keys can be used.
fn check(config: &ServerTlsConfig) -> Result<(), String> {
    Server::builder().tls_config(config.clone()).map(|_| ()).map_err(|error| innermost(&error))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
}

/// A key that everybody on this host can read protects nothing from them.
fn warn_of_readers(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_READ: u32 = 0o004;
    let mode = std::fs::metadata(key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & OTHERS_READ != 0) {
        warn!(key = %key.display(), "every user of this host can read the TLS key; take the right away with chmod o-r");
    }
}

/// What the commands trust: the certificates that [`CA_VARIABLE`] names, or else those of the system; and what they show, if
/// [`CLIENT_VARIABLES`] say so.
///
/// # Errors
/// In words, when there is no such file, and for a certificate without a key.
pub(crate) fn of_commands() -> Result<ClientTlsConfig, String> {
    let named = [CA_VARIABLE, "SSL_CERT_FILE"].into_iter().find_map(std::env::var_os);
    let system = || SYSTEM_BUNDLES.into_iter().map(PathBuf::from).find(|path| path.exists());
    let Some(path) = named.map(PathBuf::from).or_else(system) else {
        return Err(format!(
            "no certificates to trust were found; name a PEM file of them in {CA_VARIABLE}"
        ));
    };
    let bundle = std::fs::read(&path).map_err(|error| {
        format!("cannot read the trusted certificates {}: {error}", path.display())
    })?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(bundle));
    let [certificate, key] = CLIENT_VARIABLES.map(std::env::var_os);
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(config),
        (Some(certificate), Some(key)) => (PathBuf::from(certificate), PathBuf::from(key)),
        _ => {
            let [certificate, key] = CLIENT_VARIABLES;
            return Err(format!("set {certificate} and {key} both, or none"));
        }
    };
    let certificate = read("certificate", &certificate).map_err(|error| error.to_string())?;
    let key = read("key", &key).map_err(|error| error.to_string())?;
    Ok(config.identity(Identity::from_pem(certificate, key)))
}

/// The cause at the bottom: "transport error" helps nobody, "connection refused" does.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
