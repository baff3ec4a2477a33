//! Every path below a root, and nothing else: no other module builds one.
//!
//! Paths are relative to the root and `/`-separated. Names of tables never occur in them: a table's folder is its id, so no
//! name can reach the file system. Whatever starts with [`STAGING_PREFIX`] is unfinished and never listed.

use crate::types::{SegmentId, TableId, Version};

/// Lock file of a local root.
pub const LOCK: &str = "LOCK";

/// Folder of the catalog.
pub const CATALOG: &str = "_catalog";

/// Log of the catalog.
pub const CATALOG_LOG: &str = "_catalog/log";

/// Folder that holds one folder per table.
pub const TABLES: &str = "tables";

/// Folder in an object store for what the probe of its conditional PUT leaves for a moment.
pub const PROBES: &str = "_probe";

/// Start of every name under which an object is written before it gets its own.
pub const STAGING_PREFIX: &str = ".tmp-";

/// Digits of a version in a file name: enough for every `u64`, so that names sort like versions.
const VERSION_DIGITS: usize = 20;

const CHECKPOINT_SUFFIX: &str = ".checkpoint";

/// What a name in a log folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFile {
    /// The record of a version.
    Record(Version),
    /// The checkpoint at a version.
    Checkpoint(Version),
}

/// Folder of a table.
pub fn table(table: TableId) -> String {
    format!("{TABLES}/{table}")
}

/// Log folder of a table.
pub fn table_log(table: TableId) -> String {
    format!("{TABLES}/{table}/_log")
}

/// Folder of a table's segments.
pub fn table_data(table: TableId) -> String {
    format!("{TABLES}/{table}/data")
}

/// File of a segment.
pub fn segment(table: TableId, segment: SegmentId) -> String {
    segment_in(&self::table(table), segment)
}

/// File of a segment in a table's folder.
pub fn segment_in(table_folder: &str, segment: SegmentId) -> String {
    format!("{table_folder}/data/{segment}.parquet")
}

/// An object of one round of the probe.
pub fn probe(id: uuid::Uuid) -> String {
    format!("{PROBES}/{id}")
}

/// File of a record in a log folder.
pub fn record(log_folder: &str, version: Version) -> String {
    format!("{log_folder}/{:0VERSION_DIGITS$}", version.0)
}

/// File of a checkpoint in a log folder.
pub fn checkpoint(log_folder: &str, version: Version) -> String {
    format!("{log_folder}/{:0VERSION_DIGITS$}{CHECKPOINT_SUFFIX}", version.0)
}

/// What a name in a log folder stands for; `None` for anything that this layout does not make.
pub fn parse_log_file(name: &str) -> Option<LogFile> {
    let (digits, checkpoint) = match name.strip_suffix(CHECKPOINT_SUFFIX) {
        Some(digits) => (digits, true),
        None => (name, false),
    };
    if digits.len() != VERSION_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let version = Version(digits.parse().ok()?);
    match (version.0, checkpoint) {
        (0, _) => None,
        (_, true) => Some(LogFile::Checkpoint(version)),
        (_, false) => Some(LogFile::Record(version)),
    }
}

/// Whether a path is that of a checkpoint.
pub fn is_checkpoint(path: &str) -> bool {
    path.ends_with(CHECKPOINT_SUFFIX)
}

/// Name of a path in its folder.
pub fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Folder of a path; empty for what lies directly in the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A name inside `folder`.
pub fn child(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Whether a name is that of an unfinished object.
pub fn is_staging(name: &str) -> bool {
    name.starts_with(STAGING_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_names_parse_back_and_nothing_else_does() {
        for version in [1, 500, u64::MAX].map(Version) {
            let name = record("", version);
            assert_eq!(parse_log_file(&name[1..]), Some(LogFile::Record(version)));
            let name = checkpoint("", version);
            assert_eq!(parse_log_file(&name[1..]), Some(LogFile::Checkpoint(version)));
        }
        for name in [
            "",
            "1",
            "00000000000000000000",
            "0000000000000000001",
            "000000000000000000001",
            "0000000000000000000x",
            "+0000000000000000001",
            "99999999999999999999",
            "00000000000000000001.checkpoint.bak",
            ".checkpoint",
        ] {
            assert_eq!(parse_log_file(name), None, "{name:?}");
        }
    }

    #[test]
    fn names_sort_like_versions() {
        let names: Vec<_> = [9, 10, 99, 100].map(|v| record("f", Version(v))).into();
        assert!(names.is_sorted());
    }

    #[test]
    fn parents() {
        assert_eq!(parent("a/b/c"), "a/b");
        assert_eq!(parent("LOCK"), "");
        assert_eq!(child("", "x"), "x");
        assert_eq!(child("a", "x"), "a/x");
    }
}
