//! `coverline backup` and `coverline restore`: a verified copy of a root, and the way back.

use std::io::{self, Write};

use table_core::storage::Root;
use table_core::{ErrorKind, maintenance};

use super::Outcome;
use super::error::CliError;
use super::progress;
use super::render::plural;
use super::root::{RootArgument, parser};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the files itself; a server may go on writing to them. Of each table the copy holds the newest version that was there when
its turn came, with all older ones. Every file is verified on the way and durable at the end. The copy is a root like any other:
it can be served, queried with --root, and backed up.

Examples:
  coverline backup /backups/monday --root ./coverline-data
  coverline backup s3://lake/backups/monday --root ./coverline-data")]
pub(crate) struct BackupArguments {
    /// Folder or URL to copy to; new or empty.
    #[arg(value_name = "TARGET", value_parser = parser())]
    target: Root,
    #[command(flatten)]
    place: RootArgument,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every file is verified on the way. A root that exists is never written over: move it away first, or restore to another place.

Examples:
  coverline restore /backups/monday --root ./coverline-data
  coverline restore s3://lake/backups/monday --root ./coverline-data")]
pub(crate) struct RestoreArguments {
    /// Folder or URL that `coverline backup` copied to.
    #[arg(value_name = "BACKUP", value_parser = parser())]
    backup: Root,
    #[command(flatten)]
    place: RootArgument,
}

pub(crate) async fn backup(arguments: BackupArguments) -> Result<Outcome, CliError> {
    copy(&arguments.place.root, &arguments.target, "correct --root").await
}

pub(crate) async fn restore(arguments: RestoreArguments) -> Result<Outcome, CliError> {
    copy(&arguments.backup, &arguments.place.root, "name what `coverline backup` wrote").await
}

/// `if_no_source` says what to do when there is nothing to copy.
async fn copy(source: &Root, target: &Root, if_no_source: &str) -> Result<Outcome, CliError> {
    let bar = progress::bytes_read();
    let copied = maintenance::backup(source.clone(), target.clone(), &|bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    let copied = copied.map_err(|error| match error.kind() {
        ErrorKind::NotFound => CliError::from(error).hint(if_no_source),
        _ => error.into(),
    })?;
    let mut out = io::stdout();
    for (table, version) in &copied.tables {
        writeln!(out, "{table} at version {version}")?;
    }
    writeln!(
        out,
        "{}, {}, {} copied to {target}",
        plural(copied.tables.len() as u64, "table"),
        plural(copied.files, "file"),
        plural(copied.bytes, "byte"),
    )?;
    out.flush()?;
    Ok(Outcome::Done)
}
