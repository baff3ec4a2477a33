//! A `coverline serve` child process.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

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
        Self::start_in(data_dir, arguments, &[]).await
    }

    /// The same with environment variables of its own.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_in(
        data_dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> TestResult<Self> {
        let mut command = Command::new(binary()?);
        serve(&mut command, data_dir.as_os_str(), arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        Starting::of(command, data_dir)?.ready().await
    }

    /// The same on any root, such as `s3://lake/a`. What it writes to stderr goes to a file beside `place`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_at(
        root: &str,
        place: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> TestResult<Self> {
        let mut command = Command::new(binary()?);
        serve(&mut command, root.as_ref(), arguments);
        command.envs(environment.iter().cloned()).stdin(Stdio::null());
        Starting::of(command, place)?.ready().await
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
        if self.child.try_wait()?.is_none() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// What has become of it, for messages: whether it runs, and what it wrote to stderr.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn state(&mut self) -> TestResult<String> {
        let stderr = std::fs::read_to_string(self.data_dir.with_extension("stderr"))?;
        Ok(match self.child.try_wait()? {
            None => format!("it runs; stderr: {stderr}"),
            Some(status) => format!("it ended with {status}; stderr: {stderr}"),
        })
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn ended(&mut self) -> TestResult<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// SIGTERM, which asks it to finish what is under way and end.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn terminate(&self) -> TestResult {
        let id = self.id()?;
        let sent = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        if sent.success() { Ok(()) } else { Err("kill -TERM did not work".into()) }
    }

    /// SIGTERM, and waits for a clean exit.
    ///
    /// # Errors
    /// When the exit code is not 0.
    pub async fn stop(mut self) -> TestResult {
        self.terminate().await?;
        let status = self.child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

/// A server that is not ready yet.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    data_dir: PathBuf,
}

impl Starting {
    /// A process that becomes the server when it is told to, so that somebody can attach to it before its first call.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn held(data_dir: &Path, arguments: &[&str]) -> TestResult<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "read -r _ && exec \"$@\"", "sh"]).arg(binary()?);
        serve(&mut command, data_dir.as_os_str(), arguments);
        command.stdin(Stdio::piped());
        Self::of(command, data_dir)
    }

    fn of(mut command: Command, data_dir: &Path) -> TestResult<Self> {
        let stderr = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data_dir.with_extension("stderr"))?;
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines, data_dir: data_dir.to_owned() })
    }

    /// Number of the process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn id(&self) -> TestResult<u32> {
        Ok(self.child.id().ok_or("the server is gone already")?)
    }

    /// Lets a held server begin.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn begin(&mut self) -> TestResult {
        let stdin = self.child.stdin.as_mut().ok_or("not held")?;
        Ok(stdin.write_all(b"\n").await?)
    }

    /// Waits for the line that says it is ready.
    ///
    /// # Errors
    /// When it ends before; the error holds what it wrote to stderr.
    pub async fn ready(mut self) -> TestResult<Server> {
        let address = self.address().await?;
        Ok(Server { child: self.child, address, data_dir: self.data_dir })
    }

    /// The address in that line.
    ///
    /// # Errors
    /// As [`Starting::ready`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn address(&mut self) -> TestResult<String> {
        let Some(line) = self.lines.next_line().await? else {
            let status = self.child.wait().await?;
            let stderr = std::fs::read_to_string(self.data_dir.with_extension("stderr"))?;
            return Err(
                format!("the server ended with {status} before it was ready: {stderr}").into()
            );
        };
        let address = line.strip_prefix("listening on grpc://");
        Ok(address.ok_or_else(|| format!("unexpected first line: {line}"))?.to_owned())
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn kill(mut self) -> TestResult {
        Ok(self.child.kill().await?)
    }
}

fn serve(command: &mut Command, root: &OsStr, arguments: &[&str]) {
    command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(root).args(arguments);
}

/// The `coverline` binary: `COVERLINE_BIN`, or the one that cargo built beside this test.
///
/// # Errors
/// When there is none.
pub fn binary() -> TestResult<PathBuf> {
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
