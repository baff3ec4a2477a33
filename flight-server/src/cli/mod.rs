//! The `coverline` command line: its arguments, dispatch, exit codes, and how an error looks to a person.
//!
//! `Cli` is typed and makes no system calls; each command has a file that runs it. Commands other than `serve` and
//! `demo` are ordinary Flight clients: of a running server, or of one that they start inside this process over a root
//! (see `target`). `scrub`, `backup` and `restore` read the root itself. Results go to stdout, everything else to stderr.

mod append;
mod backup;
mod coverage;
mod create;
mod demo;
pub(crate) mod embedded;
mod error;
mod log;
mod output;
mod picture;
pub(crate) mod progress;
mod query;
pub(crate) mod render;
pub(crate) mod root;
mod scrub;
mod serve;
pub(crate) mod source;
mod tables;
pub(crate) mod target;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use self::error::CliError;

/// What the exit code says, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  all done
  1  an error; the message says what to do, and nothing of what it names was committed
  2  wrong usage
  3  append: at least one file was refused because other rows hold its buckets
  4  scrub: at least one file is damaged
  5  append, create, query: nobody knows whether it was committed; append: run the same command again

A file that is already loaded is not an error: run the same job as often as you like.";

/// Log filter of `serve` when none is given.
const SERVER_LOG: &str = "info";

/// Log filter of the other commands, which speak for themselves: why a request failed is what they print anyway.
const CLIENT_LOG: &str = "error,flight_server::status=off";

/// Time-series tables over Arrow Flight SQL that know which buckets they already hold.
#[derive(Debug, Parser)]
#[command(name = "coverline", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to log to stderr, such as "debug" or "flight_server=debug" [default: info when serving, else error].
    #[arg(long, global = true, value_name = "FILTER", env = "COVERLINE_LOG")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "COVERLINE_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// Looks of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the tables of a folder or of a prefix in an object store until Ctrl-C.
    Serve(serve::Arguments),
    /// Load a year of weather, load it again, find the gaps: the whole product in half a minute.
    Demo(demo::Arguments),
    /// Create a table.
    Create(create::Arguments),
    /// Append files to a table, each as one version, none twice.
    Append(append::Arguments),
    /// Run a SQL statement and print its result.
    Query(query::Arguments),
    /// List the tables.
    Tables(tables::Arguments),
    /// Draw what a table covers: entities and time.
    Coverage(coverage::CoverageArguments),
    /// List what is missing from a table.
    Gaps(coverage::GapsArguments),
    /// Look into a table's log.
    #[command(subcommand)]
    Log(log::Command),
    /// Read every file of a root and say which are damaged.
    Scrub(scrub::Arguments),
    /// Copy a root, verified, while it is being written.
    Backup(backup::BackupArguments),
    /// Copy a backup to a new root, verified.
    Restore(backup::RestoreArguments),
}

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All done.
    Done,
    /// At least one append was refused because other rows hold its buckets.
    Refused,
    /// At least one file is damaged.
    Damaged,
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Prints help and version to stdout with code 0, usage errors to stderr with code 2.
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(3),
        Ok(Outcome::Damaged) => ExitCode::from(4),
        // Whoever read our output has seen enough (`coverline query ... | head`).
        Err(error) if error.is_reader_gone() => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when stderr is gone as well.
            let _ = writeln!(io::stderr(), "{error}");
            if error.is_outcome_unknown() { ExitCode::from(5) } else { ExitCode::FAILURE }
        }
    }
}

/// Parses arguments, with the rules that clap cannot express.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some((_, matches)) = matches.subcommand()
        && names_two_targets(innermost(matches))
    {
        return Err(command.error(
            clap::error::ErrorKind::ArgumentConflict,
            "the argument '--server' cannot be used with '--root' (or '--data-dir')",
        ));
    }
    let cli = Cli::from_arg_matches(&matches)?;
    let checked = match &cli.command {
        Command::Append(arguments) => append::check(arguments),
        Command::Log(log::Command::Show(arguments)) => log::check(arguments),
        _ => Ok(()),
    };
    match checked {
        Ok(()) => Ok(cli),
        Err((kind, message)) => Err(command.error(kind, message)),
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

/// `--server` and `--root` exclude each other as flags; a root named as a flag overrules a server named in the
/// environment, which is why clap's own conflict rule, blind to that difference, does not do.
fn names_two_targets(matches: &ArgMatches) -> bool {
    let is_flag = |name| {
        matches.try_contains_id(name).unwrap_or(false)
            && matches.value_source(name) == Some(ValueSource::CommandLine)
    };
    is_flag("server") && is_flag("root")
}

fn run(cli: Cli) -> Result<Outcome, CliError> {
    let serves = matches!(cli.command, Command::Serve(_));
    let filter = cli.log.as_deref().unwrap_or(if serves { SERVER_LOG } else { CLIENT_LOG });
    crate::telemetry::init(filter, cli.log_format == LogFormat::Json)?;
    let runtime = crate::server::runtime()?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Create(arguments) => create::run(arguments).await,
            Command::Append(arguments) => append::run(arguments).await,
            Command::Query(arguments) => query::run(arguments).await,
            Command::Tables(arguments) => tables::run(arguments).await,
            Command::Coverage(arguments) => coverage::coverage(arguments).await,
            Command::Gaps(arguments) => coverage::gaps(arguments).await,
            Command::Log(log::Command::Show(arguments)) => log::show(arguments).await,
            Command::Scrub(arguments) => scrub::run(arguments).await,
            Command::Backup(arguments) => backup::backup(arguments).await,
            Command::Restore(arguments) => backup::restore(arguments).await,
        }
    })
}

#[cfg(test)]
mod tests;
