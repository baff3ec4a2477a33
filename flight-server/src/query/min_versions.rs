//! [`MinVersions`]: what a caller has heard of, such as the receipt of an append that another server answered, and what its
//! statement must not fall behind. Read from a header; waiting for it is `pins`' work. Pure.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use table_core::types::Version;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::status;

/// A number for statements about one table, or `name=version` pairs separated by commas; in names, `%` begins the code of a
/// byte.
const HEADER: &str = "x-coverline-min-version";

/// The least versions that a statement may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum MinVersions {
    /// Whatever the server knows to be the newest.
    #[default]
    Any,
    /// Of the one table of the statement.
    Single(Version),
    /// By table; those that the statement does not name do not matter.
    Named(BTreeMap<String, Version>),
}

impl MinVersions {
    /// Reads the header.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for values that are none.
    pub(crate) fn parse(headers: &MetadataMap) -> Result<Self, Status> {
        let mut found = Self::Any;
        for value in headers.get_all(HEADER) {
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| bad("bytes", "it is not UTF-8"))?;
            found = found.and(text)?;
        }
        Ok(found)
    }

    fn and(self, text: &str) -> Result<Self, Status> {
        let text = text.trim();
        match (self, text.parse()) {
            (Self::Any, Ok(version)) => Ok(Self::Single(Version(version))),
            (Self::Single(_), _) | (Self::Named(_), Ok(_)) => {
                Err(bad(text, "a number stands alone"))
            }
            (Self::Any, Err(_)) => Self::named(BTreeMap::new(), text),
            (Self::Named(pairs), Err(_)) => Self::named(pairs, text),
        }
    }

    fn named(mut pairs: BTreeMap<String, Version>, text: &str) -> Result<Self, Status> {
        for pair in text.split(',') {
            let parsed = pair.trim().rsplit_once('=').and_then(|(name, version)| {
                let name = percent_decode_str(name.trim()).decode_utf8().ok()?;
                Some((name.into_owned(), Version(version.trim().parse().ok()?)))
            });
            let Some((name, version)) = parsed else {
                return Err(bad(pair, "it is neither a number nor name=version"));
            };
            let least = pairs.entry(name).or_default();
            *least = version.max(*least);
        }
        Ok(Self::Named(pairs))
    }

    /// The least version of each of a statement's tables; zero where any will do.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bare number and several tables.
    pub(crate) fn of(&self, tables: &[String]) -> Result<Vec<Version>, Status> {
        match self {
            Self::Any => Ok(vec![Version::default(); tables.len()]),
            Self::Single(version) if tables.len() <= 1 => Ok(vec![*version; tables.len()]),
            Self::Single(version) => Err(bad(
                &version.to_string(),
                &format!(
                    "the statement is about {} tables; write name=version for each",
                    tables.len()
                ),
            )),
            Self::Named(pairs) => {
                Ok(tables.iter().map(|name| pairs.get(name).copied().unwrap_or_default()).collect())
            }
        }
    }
}

fn bad(value: &str, why: &str) -> Status {
    status::invalid(format!(
        "header \"{HEADER}\" has the value {value:?}: {why}; write the version of a receipt, such as 41 or prices=41,ticks=7"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn parse(values: &[&str]) -> Result<MinVersions, Status> {
        let mut headers = MetadataMap::new();
        for value in values {
            headers.append(HEADER, MetadataValue::try_from(*value).unwrap());
        }
        MinVersions::parse(&headers)
    }

    fn of(values: &[&str], tables: &[&str]) -> Vec<u64> {
        let tables: Vec<_> = tables.iter().map(|table| (*table).to_owned()).collect();
        parse(values).unwrap().of(&tables).unwrap().into_iter().map(|version| version.0).collect()
    }

    #[test]
    fn a_number_is_for_one_table() {
        assert_eq!(of(&[], &["prices", "ticks"]), [0, 0]);
        assert_eq!(of(&["41"], &["prices"]), [41]);
        assert_eq!(of(&[" 41 "], &[]), [0; 0]);
        let two = ["prices".to_owned(), "ticks".to_owned()];
        let refused = parse(&["41"]).unwrap().of(&two).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn pairs_are_for_the_tables_they_name() {
        assert_eq!(of(&["prices=41, ticks=7"], &["ticks", "other", "prices"]), [7, 0, 41]);
        assert_eq!(of(&["prices=41", "ticks=7,prices=3"], &["prices", "ticks"]), [41, 7]);
        assert_eq!(of(&["a%2Cb%3D%C3%A9=2", "x=y=3"], &["a,b=é", "x=y"]), [2, 3]);
    }

    #[test]
    fn other_values_are_refused() {
        for values in [
            &[""][..],
            &["-1"],
            &["4.5"],
            &["99999999999999999999"],
            &["prices"],
            &["prices="],
            &["prices=x"],
            &["prices=1,"],
            &["%ff=1"],
            &["1", "2"],
            &["prices=1", "2"],
            &["2", "prices=1"],
        ] {
            let refused = parse(values).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{values:?}");
        }
    }
}
