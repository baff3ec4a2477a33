//! Segments: immutable Parquet files. `meta` says what the log knows of one (pure), `buffer` puts rows in order (pure),
//! `row_group` says where row groups end (pure), `columns` encodes, `writer` makes files, `reader` hands verified bytes to
//! scans.

pub mod buffer;
mod columns;
pub mod meta;
mod output;
pub mod reader;
pub mod row_group;
mod stats;
pub mod writer;

pub use meta::{ColumnStats, FIRST_ROW_GROUP_BYTE, RowGroupMeta, SegmentMeta};
pub(crate) use stats::column_stats;
