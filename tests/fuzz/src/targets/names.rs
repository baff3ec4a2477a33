//! Names of tables: which are allowed, and that SQL means the table and nothing else by them.

use flight_server::fuzzing;
use rand::rngs::StdRng;
use table_core::ErrorKind;
use table_core::catalog::check_table_name;

use crate::{Outcome, Target, mutate};

/// Names are refused by the rules that are documented, and the query of a table names it alone.
pub static TABLE_NAME: Target =
    Target { name: "table_name", read, mutate: change, inputs: 3_000, bytes_max: 300 };

fn read(input: &[u8]) -> Outcome {
    let Ok(name) = std::str::from_utf8(input) else { return Outcome::Refused };
    let is_allowed = (1..=255).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.starts_with("_coverline")
        && !name.chars().any(|character| character.is_control() || "/\\".contains(character));
    match check_table_name(name) {
        Err(error) => {
            assert!(!is_allowed, "{error}");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.message().chars().any(char::is_control), "{error:?}");
            return Outcome::Refused;
        }
        Ok(()) => assert!(is_allowed, "{name:?} is allowed"),
    }
    let sql = fuzzing::whole_table(name);
    let passed = fuzzing::gate(&sql).unwrap_or_else(|error| panic!("{sql:?}: {error}"));
    assert_eq!(passed.tables, [(None, None, name.to_owned())]);
    assert!(!passed.is_update);
    Outcome::Taken
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>) {
    const WORDS: [&str; 14] = [
        "\"",
        "\"\"",
        "'",
        ";",
        "--",
        "/*",
        "*/",
        ".",
        "\\",
        "\0",
        "_coverline",
        "é",
        "$1",
        "DROP TABLE t",
    ];
    mutate::words(random, bytes, &WORDS);
}
