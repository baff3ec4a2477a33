//! Segments: immutable Parquet files. `meta` says what the log knows of one (pure), `writer` makes them, `reader` hands
//! verified bytes to scans.

pub mod meta;
pub mod reader;
pub mod writer;

pub use meta::{ColumnStats, RowGroupMeta, SegmentMeta};
