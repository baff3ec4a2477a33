//! S3 for tests: a real server of its own in a temporary folder ([`S3`]), or a user's; and a tiny one inside the test that can be
//! told to misbehave ([`bad`]).

pub mod bad;
mod weed;

pub use weed::Weed;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Server, TestResult, binary, skipped};

/// The root in a user's own S3 that tests work below, such as `s3://bucket/prefix`; `AWS_*` say how to reach it.
const USER_URL: &str = "COVERLINE_TEST_S3_URL";

/// An S3 that works, and a bucket in it.
#[derive(Debug)]
pub struct S3 {
    /// `None` for a user's own.
    weed: Option<Weed>,
    base: String,
    folder: TempDir,
}

impl S3 {
    /// A user's S3, or else a server started here. `None` when there is neither: then it has been said that `what` is not shown.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn for_test(what: &str) -> TestResult<Option<Self>> {
        let folder = tempfile::tempdir()?;
        if let Ok(url) = std::env::var(USER_URL) {
            let base = format!("{}/test-{}", url.trim_end_matches('/'), std::process::id());
            return Ok(Some(Self { weed: None, base, folder }));
        }
        let Some(weed) = Weed::start(folder.path()).await? else {
            skipped(
                what,
                "there is no S3 server: `tests/run python` installs one, or set COVERLINE_TEST_S3_URL",
            );
            return Ok(None);
        };
        Ok(Some(Self { weed: Some(weed), base: format!("s3://{}", weed::BUCKET), folder }))
    }

    /// The same for tests that need to kill the S3 server, which a user's is too good for.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn to_kill(what: &str) -> TestResult<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let Some(weed) = Weed::start(folder.path()).await? else {
            skipped(what, "there is no S3 server: `tests/run python` installs one");
            return Ok(None);
        };
        Ok(Some(Self { weed: Some(weed), base: format!("s3://{}", weed::BUCKET), folder }))
    }

    /// A root that nobody else uses when each caller has a name of its own.
    pub fn root(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// What processes need in their environment to reach it.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.weed.as_ref().map(Weed::environment).unwrap_or_default()
    }

    /// A folder for whatever a test writes beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A Coverline server on a root.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn serve(&self, root: &str) -> TestResult<Server> {
        let place = self.folder.path().join("coverline");
        Server::start_at(root, &place, &[], &self.environment()).await
    }

    /// SIGKILL to the S3 server; nothing to a user's.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn kill(&mut self) -> TestResult {
        match &mut self.weed {
            Some(weed) => weed.kill().await,
            None => Ok(()),
        }
    }

    /// Starts the S3 server again on the same ports and files, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart(&mut self) -> TestResult {
        match &mut self.weed {
            Some(weed) => weed.restart().await,
            None => Ok(()),
        }
    }
}

/// A command that has ended, and how long it took.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

/// Runs `coverline` to its end.
///
/// # Errors
/// When it cannot be started.
pub async fn coverline(arguments: &[&str], environment: &[(String, String)]) -> TestResult<Ran> {
    let began = Instant::now();
    let mut command = Command::new(binary()?);
    command.args(arguments).envs(environment.iter().cloned()).kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await?;
    Ok(Ran {
        code: status.code(),
        stdout: String::from_utf8(stdout)?,
        stderr: String::from_utf8(stderr)?,
        took: began.elapsed(),
    })
}
