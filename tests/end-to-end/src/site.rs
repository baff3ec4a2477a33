//! [`Site`]: one root in a temporary folder, and the server on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Client, Server, TestResult};

/// Arguments of every server here: the floor under the free disk is for disks of real size.
pub const ARGUMENTS: [&str; 2] = ["--disk-floor-bytes", "0"];

/// A root with its server.
#[derive(Debug)]
pub struct Site {
    data_dir: PathBuf,
    /// The server that runs, or ran last.
    pub server: Server,
    _folder: Option<TempDir>,
}

impl Site {
    /// A fresh root.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn new() -> TestResult<Self> {
        let folder = tempfile::tempdir()?;
        let mut site = Self::at(&folder.path().join("data")).await?;
        site._folder = Some(folder);
        Ok(site)
    }

    /// The root in a folder that somebody else looks after.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn at(data_dir: &Path) -> TestResult<Self> {
        let server = Server::start_with(data_dir, &ARGUMENTS).await?;
        Ok(Self { data_dir: data_dir.to_owned(), server, _folder: None })
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn client(&self) -> TestResult<Client> {
        self.server.client().await
    }

    /// Kills the server, puts a copy of another root in place of this one, and starts a server on it.
    ///
    /// # Errors
    /// When that cannot be copied, or the server does not start.
    pub async fn reset_to(&mut self, root: &Path) -> TestResult {
        self.server.end().await?;
        std::fs::remove_dir_all(&self.data_dir)?;
        copy_folder(root, &self.data_dir)?;
        self.restart().await
    }

    /// Kills the server, if it still runs, and starts another.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> TestResult {
        self.server.end().await?;
        self.server = Server::start_with(&self.data_dir, &ARGUMENTS).await?;
        Ok(())
    }
}

/// Copies a folder with everything in it to a name that is free.
///
/// # Errors
/// Of the file system.
pub fn copy_folder(from: &Path, to: &Path) -> TestResult {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("cp: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }
}
