//! Reaching an object store: credentials and endpoint from the environment variables that its own tools use (`AWS_*`,
//! `GOOGLE_*`, `AZURE_*`), time limits that suit a server with people waiting at it.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::RemoteStore;
use super::failure::into_io;
use crate::storage::{ObjectRoot, ObjectScheme};

/// A connection that is not there by then is given up.
const CONNECT_TIME_MAX: &str = "3 seconds";

/// A request that has no answer by then is given up, its body included. `AWS_TIMEOUT` and the like overrule it.
const REQUEST_TIME_MAX: &str = "20 seconds";

/// How often a request is repeated that can be.
const RETRIES_MAX: usize = 6;

/// After this time no repetition is begun.
const RETRY_TIME_MAX: Duration = Duration::from_secs(15);

/// Longest wait before a repetition.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3);

/// Value of `AWS_CHECKSUM_ALGORITHM` for no checksum header.
const NO_CHECKSUM: &str = "none";

/// Why a store cannot be used. Holds no value of a variable that may be secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The endpoint would show data and keys to the network.
    #[error(
        "{variable} is \"{endpoint}\", which sends everything unencrypted; write https://, or set {allow}=true if that is what \
         you want"
    )]
    Unencrypted { variable: &'static str, endpoint: String, allow: &'static str },
    /// An endpoint without its scheme, or no URL at all: the client library takes it and panics at the first request.
    #[error("{variable} is no URL; write https://HOST[:PORT]")]
    NoUrl { variable: &'static str },
    /// Somebody else's S3, and no keys for it.
    #[error(
        "no credentials for {endpoint}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_SKIP_SIGNATURE=true for a store \
         that asks for none)"
    )]
    NoCredentials { endpoint: String },
    /// Settings that do not go together, or are not understood.
    #[error("{0}")]
    Settings(std::io::Error),
}

impl From<object_store::Error> for ConnectError {
    fn from(error: object_store::Error) -> Self {
        Self::Settings(into_io(error))
    }
}

/// Looks a variable up; the process environment outside tests.
type Variables<'a> = &'a dyn Fn() -> Vec<(String, String)>;

/// A client of the store that the root lies in. Sends nothing.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) fn connect(root: &ObjectRoot) -> Result<RemoteStore, ConnectError> {
    let environment = || {
        let pairs = std::env::vars_os();
        pairs
            .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
            .collect()
    };
    connect_with(root, &environment)
}

fn connect_with(root: &ObjectRoot, variables: Variables<'_>) -> Result<RemoteStore, ConnectError> {
    match root.scheme() {
        ObjectScheme::S3 => s3(root, variables),
        ObjectScheme::Google => google(root, variables),
        ObjectScheme::Azure => azure(root, variables),
    }
}

fn s3(root: &ObjectRoot, variables: Variables<'_>) -> Result<RemoteStore, ConnectError> {
    let mut builder = AmazonS3Builder::new();
    for (key, value) in time_limits() {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let mut says_checksum = false;
    for (key, value) in settings::<AmazonS3ConfigKey>("aws_", variables) {
        if key == AmazonS3ConfigKey::Checksum {
            says_checksum = true;
            if value.eq_ignore_ascii_case(NO_CHECKSUM) {
                continue;
            }
        }
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::StsEndpoint) {
        require_url(&endpoint, "AWS_ENDPOINT_URL_STS")?;
    }
    // The first goes before the second.
    let endpoints = [
        ("AWS_ENDPOINT_URL_S3", AmazonS3ConfigKey::S3Endpoint),
        ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
    ];
    let endpoint = endpoints
        .iter()
        .find_map(|(variable, key)| Some((*variable, builder.get_config_value(key)?)));
    match endpoint {
        Some((variable, endpoint)) => {
            let allowed = is_true(
                builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)),
            );
            if may_go_unencrypted(&endpoint, allowed, variable, "AWS_ALLOW_HTTP")? {
                builder = builder.with_allow_http(true);
            }
            let is_set = |key| builder.get_config_value(&key).is_some();
            let names_credentials = is_set(AmazonS3ConfigKey::AccessKeyId)
                || is_set(AmazonS3ConfigKey::SecretAccessKey)
                || is_set(AmazonS3ConfigKey::WebIdentityTokenFile)
                || is_set(AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
                || is_set(AmazonS3ConfigKey::ContainerCredentialsFullUri)
                || is_set(AmazonS3ConfigKey::MetadataEndpoint)
                || is_true(builder.get_config_value(&AmazonS3ConfigKey::SkipSignature));
            if !names_credentials {
                return Err(ConnectError::NoCredentials { endpoint });
            }
        }
        // S3 itself keeps the checksum with the object. SHA-256, computed for the signature anyway, is the only one that this
        // client can send; others' S3 may not know the header, and get it when they are asked to.
        None if !says_checksum => builder = builder.with_checksum_algorithm(Checksum::SHA256),
        None => {}
    }
    let builder = builder.with_bucket_name(root.container());
    let store = builder.clone().with_retry(retries()).build()?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_credentials(credentials).with_retry(no_retries()).build()?;
    Ok(below(root, store, once))
}

fn google(root: &ObjectRoot, variables: Variables<'_>) -> Result<RemoteStore, ConnectError> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in time_limits() {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (key, value) in settings::<GoogleConfigKey>("google_", variables) {
        builder = builder.with_config(key, value);
    }
    // The first goes before the second.
    if let Some(endpoint) = builder.get_config_value(&GoogleConfigKey::BaseUrl) {
        require_url(&endpoint, "GOOGLE_BASE_URL")?;
    } else if let Some(endpoint) = endpoint_of_key(&builder) {
        require_url(&endpoint, "gcs_base_url in the key of the service account")?;
    }
    let builder = builder.with_bucket_name(root.container());
    let store = builder.clone().with_retry(retries()).build()?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_credentials(credentials).with_retry(no_retries()).build()?;
    Ok(below(root, store, once))
}

/// The endpoint that the key of a service account names. A key that cannot be read has none: building the client says why.
fn endpoint_of_key(builder: &GoogleCloudStorageBuilder) -> Option<String> {
    let key = match builder.get_config_value(&GoogleConfigKey::ServiceAccount) {
        Some(path) => std::fs::read(path).ok()?,
        None => builder.get_config_value(&GoogleConfigKey::ServiceAccountKey)?.into_bytes(),
    };
    let key: serde_json::Value = serde_json::from_slice(&key).ok()?;
    key.get("gcs_base_url")?.as_str().map(str::to_owned)
}

fn azure(root: &ObjectRoot, variables: Variables<'_>) -> Result<RemoteStore, ConnectError> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in time_limits() {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (key, value) in settings::<AzureConfigKey>("azure_", variables) {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = builder.get_config_value(&AzureConfigKey::Endpoint) {
        let allowed =
            is_true(builder.get_config_value(&AzureConfigKey::Client(ClientConfigKey::AllowHttp)));
        if may_go_unencrypted(&endpoint, allowed, "AZURE_ENDPOINT", "AZURE_ALLOW_HTTP")? {
            builder = builder.with_allow_http(true);
        }
    }
    let builder = builder.with_container_name(root.container());
    let store = builder.clone().with_retry(retries()).build()?;
    let credentials = Arc::clone(store.credentials());
    let once = builder.with_credentials(credentials).with_retry(no_retries()).build()?;
    Ok(below(root, store, once))
}

fn below(root: &ObjectRoot, store: impl ObjectStore, once: impl ObjectStore) -> RemoteStore {
    RemoteStore::with_single_tries(Arc::new(store), Arc::new(once), root.prefix())
}

/// The variables that set something of a store, those that are empty left out.
fn settings<K: FromStr>(prefix: &str, variables: Variables<'_>) -> Vec<(K, String)> {
    let named = variables().into_iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let is_ours = name.starts_with(prefix) && !value.is_empty();
        is_ours.then(|| name.parse().ok()).flatten().map(|key| (key, value))
    });
    named.collect()
}

fn time_limits() -> [(ClientConfigKey, &'static str); 2] {
    [
        (ClientConfigKey::ConnectTimeout, CONNECT_TIME_MAX),
        (ClientConfigKey::Timeout, REQUEST_TIME_MAX),
    ]
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { max_backoff: RETRY_WAIT_MAX, ..BackoffConfig::default() },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
    }
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..retries() }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| {
        ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
    })
}

/// Refuses an endpoint that does not say how to reach which host. What it says instead may be secret.
fn require_url(endpoint: &str, variable: &'static str) -> Result<(), ConnectError> {
    let host = endpoint.split_once("://").and_then(|(scheme, rest)| {
        let is_known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        is_known.then_some(rest)
    });
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(()),
        _ => Err(ConnectError::NoUrl { variable }),
    }
}

/// Whether the endpoint is to be reached without TLS: on this machine always, elsewhere when allowed.
fn may_go_unencrypted(
    endpoint: &str,
    allowed: bool,
    variable: &'static str,
    allow: &'static str,
) -> Result<bool, ConnectError> {
    require_url(endpoint, variable)?;
    let is_http = endpoint.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
    if !is_http || allowed {
        return Ok(is_http);
    }
    let authority = endpoint.get(7..).unwrap_or_default().split('/').next().unwrap_or_default();
    // What is before an @ may be secret.
    let host = authority.rsplit('@').next().unwrap_or_default();
    if is_loopback(host) {
        return Ok(true);
    }
    Err(ConnectError::Unencrypted { variable, endpoint: format!("http://{host}"), allow })
}

fn is_loopback(host_and_port: &str) -> bool {
    let host = match host_and_port.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || IpAddr::from_str(host).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::storage::Root;

    fn tried(url: &str, variables: &[(&str, &str)]) -> Result<(), String> {
        let Ok(Root::Objects(root)) = url.parse() else { panic!("{url}") };
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        connect_with(&root, &|| variables.clone()).map(|_| ()).map_err(|error| error.to_string())
    }

    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "SECRET")];

    #[test]
    fn an_endpoint_without_tls_is_for_this_machine() {
        for (endpoint, allow, expected) in [
            ("http://127.0.0.1:8333", "", true),
            ("http://localhost:8333", "", true),
            ("http://[::1]:8333", "", true),
            ("https://s3.example.com", "", true),
            ("http://s3.example.com", "", false),
            ("http://s3.example.com", "true", true),
            ("http://localhost.example.com", "", false),
        ] {
            for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"] {
                let variables = [KEYS[0], KEYS[1], (name, endpoint), ("AWS_ALLOW_HTTP", allow)];
                let outcome = tried("s3://lake/a", &variables);
                assert_eq!(outcome.is_ok(), expected, "{endpoint} {allow}: {outcome:?}");
                if let Err(error) = outcome {
                    assert!(error.contains("AWS_ALLOW_HTTP"), "{error}");
                }
            }
        }
    }

    /// The library below takes any text for an endpoint, and panics when it is used.
    #[test]
    fn an_endpoint_that_is_no_url_is_refused_and_not_shown() {
        let account =
            [("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")];
        let unsigned = ("GOOGLE_SKIP_SIGNATURE", "true");
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key.json");
        for endpoint in
            ["HIDDEN", "HIDDEN:9000", "ftp://HIDDEN", "//HIDDEN", "https:///HIDDEN", "https://"]
        {
            for (url, variables) in [
                ("s3://lake", vec![KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", endpoint)]),
                ("s3://lake", vec![KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_S3", endpoint)]),
                ("s3://lake", vec![KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", endpoint)]),
                ("az://lake", vec![account[0], account[1], ("AZURE_ENDPOINT", endpoint)]),
                ("gs://lake", vec![unsigned, ("GOOGLE_BASE_URL", endpoint)]),
            ] {
                let error = tried(url, &variables).unwrap_err();
                let variable = variables.last().unwrap().0;
                assert_eq!(error, format!("{variable} is no URL; write https://HOST[:PORT]"));
            }
            let key = service_account(endpoint);
            std::fs::write(&key_file, &key).unwrap();
            for (variable, value) in [
                ("GOOGLE_SERVICE_ACCOUNT_KEY", key.as_str()),
                ("GOOGLE_SERVICE_ACCOUNT", key_file.to_str().unwrap()),
            ] {
                let error = tried("gs://lake", &[(variable, value)]).unwrap_err();
                let expected = "gcs_base_url in the key of the service account is no URL; write https://HOST[:PORT]";
                assert_eq!(error, expected);
                // The variable goes before the key.
                let url = ("GOOGLE_BASE_URL", "https://gcs.example.com");
                tried("gs://lake", &[(variable, value), url]).unwrap();
            }
        }
        for endpoint in ["HTTPS://s3.example.com", "Http://127.0.0.1:9000"] {
            tried("s3://lake", &[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", endpoint)]).unwrap();
        }
        tried("gs://lake", &[unsigned, ("GOOGLE_BASE_URL", "https://gcs.example.com")]).unwrap();
    }

    #[test]
    fn missing_settings_are_named_and_secrets_are_not_shown() {
        let endpoint = ("AWS_ENDPOINT_URL", "http://user:SECRET@s3.example.com:9000/x");
        let error = tried("s3://lake", &[KEYS[0], KEYS[1], endpoint]).unwrap_err();
        assert!(error.contains("http://s3.example.com:9000") && !error.contains("SECRET"));

        let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        let error = tried("s3://lake", &[endpoint]).unwrap_err();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
        tried("s3://lake", &[endpoint, ("AWS_SKIP_SIGNATURE", "true")]).unwrap();

        let error = tried("s3://lake", &[KEYS[1]]).unwrap_err();
        assert!(!error.contains("SECRET"), "{error}");

        let error = tried("s3://lake", &[KEYS[0], KEYS[1], ("AWS_CHECKSUM_ALGORITHM", "md5")]);
        assert!(error.unwrap_err().contains("md5"));
        tried("s3://lake", &[KEYS[0], KEYS[1], ("AWS_CHECKSUM_ALGORITHM", "none")]).unwrap();

        let error = tried("az://lake", &[]).unwrap_err();
        assert!(error.to_lowercase().contains("account"), "{error}");
        let account =
            [("AZURE_STORAGE_ACCOUNT_NAME", "a"), ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")];
        tried("az://lake/a", &account).unwrap();
    }

    #[test]
    fn google_takes_a_service_account() {
        let error = tried("gs://lake", &[("GOOGLE_SERVICE_ACCOUNT", "/nowhere.json")]).unwrap_err();
        assert!(error.contains("/nowhere.json"), "{error}");
        let key = service_account("http://localhost:1");
        tried("gs://lake", &[("GOOGLE_SERVICE_ACCOUNT_KEY", &key)]).unwrap();
    }

    /// The key of a service account that signs nothing.
    fn service_account(endpoint: &str) -> String {
        format!(
            r#"{{"gcs_base_url": "{endpoint}", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}}"#
        )
    }
}
