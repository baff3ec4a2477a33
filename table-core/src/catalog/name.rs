//! Names of tables: which are allowed, and which are near a name that is not there.

use crate::error::{Error, ErrorKind, Result};

/// Longest name, in bytes.
pub const TABLE_NAME_BYTES_MAX: usize = 255;

/// Names that start like this are kept for Coverline itself.
pub const RESERVED_PREFIX: &str = "_coverline";

/// How alike two names must be for one to be suggested, from 0 to 1.
const SIMILARITY_MIN: f64 = 0.8;

/// Names suggested at most.
const SUGGESTIONS_MAX: usize = 3;

/// Checks a table's name.
///
/// # Errors
/// `Invalid`, with the rule that it breaks.
pub fn check_table_name(name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "a name must not be empty".to_owned()
    } else if name.len() > TABLE_NAME_BYTES_MAX {
        format!("it has {} bytes, and {TABLE_NAME_BYTES_MAX} are allowed", name.len())
    } else if name.chars().any(char::is_control) {
        "control characters are not allowed".to_owned()
    } else if name.contains(['/', '\\']) {
        "slashes are not allowed".to_owned()
    } else if name == "." || name == ".." {
        "it means a folder".to_owned()
    } else if name.starts_with(RESERVED_PREFIX) {
        format!("names that start with \"{RESERVED_PREFIX}\" are reserved")
    } else {
        return Ok(());
    };
    // Debug quoting keeps control characters out of terminals and logs; a long name is cut.
    let shown: String = name.chars().take(64).collect();
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{shown:?} cannot be the name of a table: {rule}; choose another name"),
    ))
}

/// The names most like `name`, best first.
pub(super) fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let folded = name.to_lowercase();
    let mut scored: Vec<_> = names
        .map(|other| (strsim::jaro_winkler(&folded, &other.to_lowercase()), other))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(SUGGESTIONS_MAX).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_refused() {
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "_coverline_x", &long] {
            let refused = check_table_name(name).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::Invalid), "{name:?}");
        }
    }

    #[test]
    fn names_that_are_allowed() {
        for name in ["prices", "Preise 2025", "数据", "...", "%2f", "_x", &"x".repeat(255)] {
            assert!(check_table_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn near_names_come_best_first() {
        let names = ["prices", "prizes", "sensors", "Price"];
        assert_eq!(near("price", names.into_iter()), ["Price", "prices", "prizes"]);
        assert!(near("zzz", names.into_iter()).is_empty());
    }
}
