//! Segments: immutable Parquet files. `meta` says what the log knows of one (pure), `buffer` puts rows in order (pure),
//! `writer` makes files of them, `reader` hands verified bytes to scans.

pub mod buffer;
pub mod meta;
pub mod reader;
mod stats;
pub mod writer;

pub use meta::{ColumnStats, FIRST_ROW_GROUP_BYTE, RowGroupMeta, SegmentMeta};
pub(crate) use stats::column_stats;
