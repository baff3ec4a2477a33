//! Reading a segment: a `ParquetFileReaderFactory` that caches footers by segment and verifies each row group's CRC32C
//! against the log before the first byte of it is decoded.
