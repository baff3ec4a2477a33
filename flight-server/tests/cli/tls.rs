//! TLS: a server that shows a certificate, commands that trust it or do not, and files that make no sense.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::place::{Ended, Server, coverline, run};

/// A file of `tests/tls`, whose README says what they are.
fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// `coverline query` of a server, trusting the certificates in a file.
fn query(url: &str, trusted: &Path) -> Ended {
    let arguments = ["query", "SELECT 41 + 1 AS n", "--format", "csv", "--server", url];
    Ended::of(coverline().args(arguments).env("COVERLINE_TLS_CA", trusted))
}

/// The services that a server lists by reflection, asked as `grpcurl` asks.
fn services(url: &str) -> Vec<String> {
    let authority = Certificate::from_pem(std::fs::read(pem("ca.pem")).unwrap());
    let trusting = ClientTlsConfig::new().ca_certificate(authority);
    let url = url.replace("grpc+tls", "https");
    let listed = async {
        let endpoint = Endpoint::from_shared(url).unwrap().tls_config(trusting).unwrap();
        let mut client = ServerReflectionClient::new(endpoint.connect().await.unwrap());
        let question = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request: question };
        let requests = futures::stream::iter([request]);
        let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
        answers.try_next().await.unwrap().unwrap().message_response.unwrap()
    };
    match tokio::runtime::Runtime::new().unwrap().block_on(listed) {
        MessageResponse::ListServicesResponse(listed) => {
            listed.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_with_a_certificate_is_spoken_to_in_tls_and_in_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = (pem("server.pem"), pem("server.key"));
    let arguments = [Path::new("--tls-cert"), &certificate, Path::new("--tls-key"), &key];
    let server = Server::start_with(&folder.path().join("data"), &arguments);
    assert!(server.url.starts_with("grpc+tls://127.0.0.1:"), "{}", server.url);
    assert_eq!(query(&server.url, &pem("ca.pem")).expect(0).text(), "n\n42\n");
    let by_name = server.url.replace("127.0.0.1", "localhost");
    assert_eq!(query(&by_name, &pem("ca.pem")).expect(0).text(), "n\n42\n");

    // Somebody else's authority, and a client that does not encrypt.
    query(&server.url, &pem("server.pem")).expect_error(1, &["cannot connect", "certificate"]);
    let plain = server.url.replace("grpc+tls", "grpc");
    query(&plain, &pem("ca.pem")).expect_error(1, &[]);
    query(&server.url, &pem("absent.pem")).expect_error(1, &["absent.pem"]);
    assert!(services(&server.url).contains(&"arrow.flight.protocol.FlightService".to_owned()));
    // Whoever fails so disturbs nobody.
    assert_eq!(query(&server.url, &pem("ca.pem")).expect(0).text(), "n\n42\n");
    server.stop();
}

#[test]
fn only_who_shows_a_certificate_of_the_authority_is_served() {
    let folder = TempDir::new().unwrap();
    let (certificate, key, authority) =
        (pem("server.pem"), pem("server.key"), pem("client-ca.pem"));
    let arguments = [
        Path::new("--tls-cert"),
        &certificate,
        Path::new("--tls-key"),
        &key,
        Path::new("--tls-client-ca"),
        &authority,
    ];
    let server = Server::start_with(&folder.path().join("data"), &arguments);
    let shows = |certificate: Option<&str>, key: Option<&str>| {
        let arguments = ["query", "SELECT 41 + 1 AS n", "--format", "csv", "--server", &server.url];
        let mut command = coverline();
        command.args(arguments).env("COVERLINE_TLS_CA", pem("ca.pem"));
        let shown = [("COVERLINE_TLS_CLIENT_CERT", certificate), ("COVERLINE_TLS_CLIENT_KEY", key)];
        for (variable, name) in shown {
            if let Some(name) = name {
                command.env(variable, pem(name));
            }
        }
        Ended::of(&mut command)
    };
    let served = shows(Some("client.pem"), Some("client.key"));
    assert_eq!(served.expect(0).text(), "n\n42\n");
    shows(None, None).expect_error(1, &[]);
    // Of another authority, which the clients trust and the server does not.
    shows(Some("server.pem"), Some("server.key")).expect_error(1, &[]);
    shows(Some("client.pem"), Some("server.key")).expect_error(1, &[]);
    shows(Some("client.pem"), None).expect_error(1, &["COVERLINE_TLS_CLIENT_KEY", "both"]);
    shows(Some("absent.pem"), Some("client.key")).expect_error(1, &["absent.pem"]);
    let served = shows(Some("client.pem"), Some("client.key"));
    assert_eq!(served.expect(0).text(), "n\n42\n");
    server.stop();
}

#[test]
fn a_certificate_that_cannot_be_shown_ends_the_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data").display().to_string();
    let file = |name: &str| pem(name).display().to_string();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    for (certificate, key, parts) in [
        (file("absent.pem"), file("server.key"), &["absent.pem", "cannot read"][..]),
        (file("server.pem"), file("absent.key"), &["absent.key", "cannot read"]),
        // The key is of another certificate.
        (file("ca.pem"), file("server.key"), &["ca.pem", "server.key", "cannot be used"]),
        (file("server.key"), file("server.key"), &["cannot be used", "PEM"]),
        (file("server.pem"), file("server.pem"), &["cannot be used", "PEM"]),
        (empty.clone(), file("server.key"), &["cannot be used"]),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--root", &data];
        let tls = ["--tls-cert", &certificate, "--tls-key", &key];
        run(&[&serve[..], &tls].concat()).expect_error(1, parts);
    }
    for (authority, parts) in [
        (file("absent.pem"), &["absent.pem", "cannot read"][..]),
        (file("client.key"), &["client.key", "authority of clients", "PEM"]),
        (empty, &["empty.pem", "authority of clients", "PEM"]),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--root", &data];
        let (certificate, key) = (file("server.pem"), file("server.key"));
        let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &authority];
        run(&[&serve[..], &tls].concat()).expect_error(1, parts);
    }
    run(&["serve", "--tls-client-ca", &file("client-ca.pem")]).expect_error(2, &["--tls-cert"]);
    run(&["serve", "--tls-cert", &file("server.pem")]).expect_error(2, &["--tls-key"]);
    assert!(!folder.path().join("data").exists(), "nothing is begun");
}
