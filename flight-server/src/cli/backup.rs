//! `coverline backup` and `coverline restore`: a verified copy of a data directory, and the way back.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use table_core::maintenance;

use super::Outcome;
use super::error::CliError;
use super::progress;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the folder itself; a server may go on writing to it. Of each table the copy holds the newest version that was there when
its turn came, with all older ones. Every file is verified on the way and durable at the end. The copy is a data directory: it
can be served, queried with --data-dir, and backed up.

Example:
  coverline backup /backups/monday --data-dir ./coverline-data")]
pub(crate) struct BackupArguments {
    /// Folder to copy into; new or empty.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Folder of the tables.
    #[arg(
        long,
        value_name = "DIR",
        env = "COVERLINE_DATA_DIR",
        default_value = "./coverline-data"
    )]
    data_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every file is verified on the way. A data directory that exists is never written over: move it away first.

Example:
  coverline restore /backups/monday --data-dir ./coverline-data")]
pub(crate) struct RestoreArguments {
    /// Folder that `coverline backup` made.
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Folder to restore into; new or empty.
    #[arg(
        long,
        value_name = "DIR",
        env = "COVERLINE_DATA_DIR",
        default_value = "./coverline-data"
    )]
    data_dir: PathBuf,
}

pub(crate) async fn backup(arguments: BackupArguments) -> Result<Outcome, CliError> {
    copy(&arguments.data_dir, &arguments.target).await
}

pub(crate) async fn restore(arguments: RestoreArguments) -> Result<Outcome, CliError> {
    copy(&arguments.backup, &arguments.data_dir).await
}

async fn copy(source: &Path, target: &Path) -> Result<Outcome, CliError> {
    let bar = progress::bytes_read();
    let copied = maintenance::backup(source, target, &|bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    let copied = copied?;
    let mut out = io::stdout();
    for (table, version) in &copied.tables {
        writeln!(out, "{table} at version {version}")?;
    }
    writeln!(
        out,
        "{} tables, {} files, {} bytes copied to {}",
        copied.tables.len(),
        copied.files,
        copied.bytes,
        target.display()
    )?;
    out.flush()?;
    Ok(Outcome::Done)
}
