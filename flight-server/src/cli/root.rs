//! `--root`: the root that a command works on by itself, without a server.

use std::sync::LazyLock;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use table_core::storage::Root;

/// Folder of the tables when none is named.
const DEFAULT_FOLDER: &str = "./coverline-data";

/// Older name of the variable; `COVERLINE_ROOT` goes first.
const DATA_DIR_VARIABLE: &str = "COVERLINE_DATA_DIR";

static DEFAULT_ROOT: LazyLock<String> = LazyLock::new(|| {
    std::env::var(DATA_DIR_VARIABLE).unwrap_or_else(|_| DEFAULT_FOLDER.to_owned())
});

/// The root of commands that always have one.
#[derive(Debug, clap::Args)]
pub(crate) struct RootArgument {
    /// Where the tables are: a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    ///
    /// Credentials and endpoint of an object store come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_REGION and AWS_ENDPOINT_URL, or GOOGLE_* and AZURE_*.
    #[arg(
        long,
        visible_alias = "data-dir",
        value_name = "DIR|URL",
        env = "COVERLINE_ROOT",
        default_value = DEFAULT_ROOT.as_str(),
        value_parser = parser()
    )]
    pub root: Root,
}

/// Reads a root from an argument.
pub(crate) fn parser() -> ValueParser {
    OsStringValueParser::new().try_map(|text| Root::parse(&text)).into()
}
