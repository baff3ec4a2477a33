//! What an append asks for, whichever door it came through. Pure.
//!
//! The three doors say the same things in different places: our command in its fields, Flight SQL's ingestion in its fields
//! and its options map, and any of them in `x-coverline-*` headers, which is all that clients behind a driver can set.

use std::collections::HashMap;

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use coverline_proto::flight::{AppendCommand, CommitMode, OverlapPolicy as WirePolicy};
use table_core::append::OverlapPolicy;
use table_core::schema::{IndexSpec, TableSpec};
use table_core::types::BucketWidth;
use table_core::{Error, ErrorKind};
use tonic::metadata::MetadataMap;

use crate::catalog;
use crate::command::AppendTarget;
use crate::{limits, status};

/// Headers that stand for an option start with this; the rest is the option with `-` for `_`.
const HEADER_PREFIX: &str = "x-coverline-";

/// Zone of calendar buckets when none is given.
const TIME_ZONE_DEFAULT: &str = "UTC";

type Result<T> = std::result::Result<T, tonic::Status>;

/// One append as asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PutRequest {
    /// Table name.
    pub(super) table: String,
    /// What to do when the table is missing or there.
    pub(super) mode: Mode,
    /// What the table must be made with, or was made with.
    pub(super) spec: Option<TableSpec>,
    /// What to do with rows in owned buckets.
    pub(super) on_overlap: OverlapPolicy,
    /// Makes a retry harmless.
    pub(super) append_id: Option<String>,
    /// Every batch is a version of its own.
    pub(super) commit_each_batch: bool,
}

/// What to do about the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    /// Create it when it is missing; else that is an error.
    pub(super) create: bool,
    /// What to do when it is there.
    pub(super) existing: Existing,
}

/// What to do with a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Fail,
    Append,
    Replace,
}

impl Mode {
    /// Append to a table that must be there: what every door but the ingestion does.
    const APPEND: Self = Self { create: false, existing: Existing::Append };
}

impl PutRequest {
    /// Reads the request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for values that are none, NOT_FOUND for another catalog or schema, UNIMPLEMENTED for temporary
    /// tables and transactions.
    pub(super) fn parse(target: AppendTarget, headers: &MetadataMap) -> Result<Self> {
        match target {
            AppendTarget::Path(table) => {
                let options = Options { map: HashMap::new(), headers };
                Self::new(table, Mode::APPEND, &options)
            }
            AppendTarget::Command(command) => Self::from_command(command, headers),
            AppendTarget::Ingest(command) => Self::from_ingest(command, headers),
        }
    }

    /// The append id of one commit of the stream, counted from zero.
    pub(super) fn commit_id(&self, commit: u64) -> Option<String> {
        let id = self.append_id.as_ref()?;
        // One id cannot stand for several commits; the place in the stream makes it unique, and equal in a retry.
        Some(if self.commit_each_batch { format!("{id}/{commit}") } else { id.clone() })
    }

    fn from_command(command: AppendCommand, headers: &MetadataMap) -> Result<Self> {
        let options = Options { map: HashMap::new(), headers };
        let commit_each_batch = match CommitMode::try_from(command.commit) {
            Ok(CommitMode::Unspecified | CommitMode::Stream) => false,
            Ok(CommitMode::Batch) => true,
            Err(_) => {
                return Err(status::invalid(format!(
                    "commit mode {} is not known; use STREAM or BATCH",
                    command.commit
                )));
            }
        };
        let policy = WirePolicy::try_from(command.on_overlap);
        let mut request = Self::new(command.table, Mode::APPEND, &options)?;
        request.commit_each_batch = commit_each_batch;
        match policy {
            Ok(WirePolicy::Unspecified) => {}
            Ok(WirePolicy::Reject) => request.on_overlap = OverlapPolicy::Reject,
            Ok(WirePolicy::Skip) => request.on_overlap = OverlapPolicy::Skip,
            Err(_) => {
                return Err(status::invalid(format!(
                    "overlap policy {} is not known; use REJECT or SKIP",
                    command.on_overlap
                )));
            }
        }
        // An empty field is one that is left out: in this message nobody can tell the two apart.
        if !command.append_id.is_empty() {
            request.append_id = Some(command.append_id);
        }
        request.check_append_id()?;
        Ok(request)
    }

    fn from_ingest(command: CommandStatementIngest, headers: &MetadataMap) -> Result<Self> {
        // An empty name is how some clients leave a name out.
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (catalog, schema) = (named(&command.catalog), named(&command.schema));
        catalog::check_location(catalog.as_deref(), schema.as_deref())?;
        if command.temporary {
            return Err(status::unsupported(
                "temporary tables are not supported; ingest into a table and drop it when done",
            ));
        }
        if command.transaction_id.as_deref().is_some_and(|id| !id.is_empty()) {
            return Err(status::unsupported(
                "transactions are not supported; every ingestion commits by itself",
            ));
        }
        let mode = ingest_mode(&command)?;
        let options = Options { map: command.options, headers };
        Self::new(command.table, mode, &options)
    }

    /// An id is refused while it is short of what tables take, so that each batch of a stream can have its own. An empty one is a
    /// variable of the caller's that was never set: taken for none, it would leave a retry without the protection that was asked
    /// for.
    fn check_append_id(&self) -> Result<()> {
        match self.append_id.as_ref().map(String::len) {
            Some(0) => Err(status::invalid(
                "the append id is empty, so nothing was appended; give the append an id of its own, or leave the id out to append \
                 without one",
            )),
            None | Some(..=limits::APPEND_ID_BYTES_MAX) => Ok(()),
            Some(bytes) => Err(status::invalid(format!(
                "the append id has {bytes} bytes; at most {} are allowed",
                limits::APPEND_ID_BYTES_MAX
            ))),
        }
    }

    fn new(table: String, mode: Mode, options: &Options<'_>) -> Result<Self> {
        let on_overlap = match options.get("on_overlap")?.as_deref() {
            None | Some("") | Some("reject") => OverlapPolicy::Reject,
            Some("skip") => OverlapPolicy::Skip,
            Some(other) => {
                return Err(status::invalid(format!(
                    "on_overlap \"{other}\" is not known; use \"reject\" or \"skip\""
                )));
            }
        };
        let request = Self {
            table,
            mode,
            spec: spec(options)?,
            on_overlap,
            append_id: options.get("append_id")?,
            commit_each_batch: false,
        };
        request.check_append_id()?;
        Ok(request)
    }
}

fn ingest_mode(command: &CommandStatementIngest) -> Result<Mode> {
    let options = command.table_definition_options.unwrap_or_default();
    let create = match TableNotExistOption::try_from(options.if_not_exist) {
        Ok(TableNotExistOption::Create) => true,
        Ok(TableNotExistOption::Fail) => false,
        Ok(TableNotExistOption::Unspecified) | Err(_) => {
            return Err(status::invalid(
                "the ingestion does not say what to do when the table is missing; set if_not_exist to CREATE or FAIL",
            ));
        }
    };
    let existing = match TableExistsOption::try_from(options.if_exists) {
        Ok(TableExistsOption::Fail) => Existing::Fail,
        Ok(TableExistsOption::Append) => Existing::Append,
        Ok(TableExistsOption::Replace) => Existing::Replace,
        Ok(TableExistsOption::Unspecified) | Err(_) => {
            return Err(status::invalid(
                "the ingestion does not say what to do when the table exists; set if_exists to FAIL, APPEND or REPLACE",
            ));
        }
    };
    Ok(Mode { create, existing })
}

/// Options of a request: those in its command come before those in its headers. Unknown ones are left to whom they concern.
struct Options<'a> {
    map: HashMap<String, String>,
    headers: &'a MetadataMap,
}

impl Options<'_> {
    fn get(&self, name: &str) -> Result<Option<String>> {
        if let Some(value) = self.map.get(name) {
            return Ok(Some(value.clone()));
        }
        let header = format!("{HEADER_PREFIX}{}", name.replace('_', "-"));
        match self.headers.get(header.as_str()) {
            None => Ok(None),
            Some(value) => match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(_) => Err(status::invalid(format!("header \"{header}\" is not UTF-8"))),
            },
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.get(name)?.filter(|text| !text.is_empty()))
    }
}

fn spec(options: &Options<'_>) -> Result<Option<TableSpec>> {
    let column = options.text("index_column")?;
    let bucket = options.text("bucket")?;
    let entity_columns = options.text("entity_columns")?;
    let time_zone = options.text("time_zone")?;
    let Some(column) = column else {
        if bucket.is_some() || entity_columns.is_some() || time_zone.is_some() {
            return Err(status::invalid(
                "bucket, entity_columns and time_zone describe an index; name its column with index_column",
            ));
        }
        return Ok(None);
    };
    let names = entity_columns.iter().flat_map(|names| names.split(','));
    let entity_columns = names.map(|name| name.trim().to_owned()).collect();
    index_spec(column, bucket, entity_columns, time_zone).map(Some)
}

/// A time-series table's spec from texts.
///
/// # Errors
/// INVALID_ARGUMENT for a missing or unreadable bucket and for what [`TableSpec::validate`] refuses.
pub(crate) fn index_spec(
    column: String,
    bucket: Option<String>,
    entity_columns: Vec<String>,
    time_zone: Option<String>,
) -> Result<TableSpec> {
    let Some(bucket) = bucket else {
        return Err(status::invalid(format!(
            "index column \"{column}\" needs a bucket, for instance \"1h\", \"1d\", or a number on an integer index"
        )));
    };
    let refused = |error: String| status::core(&Error::new(ErrorKind::Invalid, error));
    let bucket = BucketWidth::parse(&bucket).map_err(|error| refused(error.to_string()))?;
    let time_zone = time_zone.unwrap_or_else(|| TIME_ZONE_DEFAULT.to_owned());
    let spec = TableSpec { index: Some(IndexSpec { column, bucket, entity_columns, time_zone }) };
    spec.validate().map_err(|error| refused(error.to_string()))?;
    Ok(spec)
}
