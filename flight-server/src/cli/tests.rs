#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! What the arguments mean, and which combinations are refused.

use clap::error::ErrorKind;

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    parse(line.split_whitespace().map(OsString::from))
}

fn accepted(line: &str) -> Cli {
    parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> clap::Error {
    match parsed(line) {
        Ok(_) => panic!("{line} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_with_an_about_line() {
    let root = Cli::command();
    for command in root.get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let help = refused(&format!("coverline {} --help", command.get_name()));
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    }
    assert_eq!(refused("coverline log show --help").kind(), ErrorKind::DisplayHelp);
}

#[test]
fn the_paved_path_parses() {
    for line in [
        "coverline serve",
        "coverline serve --listen 0.0.0.0:0 --data-dir /data --disk-floor-bytes 0",
        "coverline demo --once",
        "coverline create prices --index ts --bucket 1h --entity symbol,venue --time-zone Europe/Berlin",
        "coverline create airports --plain --schema-from airports.parquet --if-not-exists",
        "coverline append prices a.parquet b.csv --on-overlap skip --null NA --null -",
        "coverline append prices a.parquet --append-id today --data-dir data",
        "coverline append prices a.parquet b.parquet --no-append-id",
        "coverline query SELECT --format parquet --output out.parquet --server grpc://db:1",
        "coverline tables --format json",
        "coverline log show prices --first 1 --last 3",
        "coverline --log debug --log-format json tables",
    ] {
        accepted(line);
    }
}

#[test]
fn entity_columns_keep_their_order() {
    let cli = accepted("coverline create t --index ts --bucket 1h --entity b,a --entity c");
    let Command::Create(arguments) = cli.command else {
        panic!("not create");
    };
    assert_eq!(arguments.entity, ["b", "a", "c"]);
}

#[test]
fn wrong_usage_is_refused_before_anything_runs() {
    for (line, expected) in [
        ("coverline", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("coverline create t", ErrorKind::MissingRequiredArgument),
        ("coverline create t --index ts", ErrorKind::MissingRequiredArgument),
        ("coverline create t --plain --index ts --bucket 1h", ErrorKind::ArgumentConflict),
        ("coverline append t", ErrorKind::MissingRequiredArgument),
        ("coverline append t a b --append-id x", ErrorKind::ArgumentConflict),
        ("coverline append t a --append-id x --no-append-id", ErrorKind::ArgumentConflict),
        ("coverline append t a --append-id=", ErrorKind::InvalidValue),
        ("coverline append t a --on-overlap replace", ErrorKind::InvalidValue),
        ("coverline query x --format xml", ErrorKind::InvalidValue),
        ("coverline tables --server grpc://a:1 --data-dir b", ErrorKind::ArgumentConflict),
        ("coverline log show t --data-dir b --server grpc://a:1", ErrorKind::ArgumentConflict),
        ("coverline log show t --first -1", ErrorKind::UnknownArgument),
        ("coverline log show t --first 9 --last 3", ErrorKind::ValueValidation),
        ("coverline drop t", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(refused(line).kind(), expected, "{line}");
    }
}
