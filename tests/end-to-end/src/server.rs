//! A `coverline serve` child process.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Client, TestResult};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    data_dir: PathBuf,
}

impl Server {
    /// Starts a server on `data_dir` and a free port, and waits for the line that says it is ready.
    ///
    /// # Errors
    /// When it ends before it is ready; the error holds what it wrote to stderr.
    pub async fn start(data_dir: &Path) -> TestResult<Self> {
        Self::start_with(data_dir, &[]).await
    }

    /// The same with more arguments to `coverline serve`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(data_dir: &Path, arguments: &[&str]) -> TestResult<Self> {
        let stderr = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data_dir.with_extension("stderr"))?;
        let mut child = Command::new(binary()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let Some(line) = lines.next_line().await? else {
            let status = child.wait().await?;
            let stderr = std::fs::read_to_string(data_dir.with_extension("stderr"))?;
            return Err(
                format!("the server ended with {status} before it was ready: {stderr}").into()
            );
        };
        let address = line
            .strip_prefix("listening on grpc://")
            .ok_or_else(|| format!("unexpected first line: {line}"))?
            .to_owned();
        Ok(Self { child, address, data_dir: data_dir.to_owned() })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder served.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn client(&self) -> TestResult<Client> {
        Client::connect(&self.address).await
    }

    /// Number of the process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn id(&self) -> TestResult<u32> {
        Ok(self.child.id().ok_or("the server is gone already")?)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn kill(mut self) -> TestResult {
        self.end().await
    }

    /// The same for a server that stays in its place until another replaces it.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn end(&mut self) -> TestResult {
        self.child.kill().await?;
        Ok(())
    }

    /// SIGTERM, and waits for a clean exit.
    ///
    /// # Errors
    /// When the exit code is not 0.
    pub async fn stop(mut self) -> TestResult {
        let id = self.id()?;
        let sent = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        if !sent.success() {
            return Err("kill -TERM did not work".into());
        }
        let status = self.child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

/// The `coverline` binary: `COVERLINE_BIN`, or the one that cargo built beside this test.
fn binary() -> TestResult<PathBuf> {
    if let Some(path) = env::var_os("COVERLINE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let test = env::current_exe()?;
    let beside = test.parent().and_then(Path::parent).ok_or("no target folder")?.join("coverline");
    if beside.is_file() {
        Ok(beside)
    } else {
        Err("no coverline binary: run `cargo build`, or set COVERLINE_BIN".into())
    }
}
