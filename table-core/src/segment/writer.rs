//! Writing a segment: sorted rows in, a durable Parquet file and its [`SegmentMeta`] out.
