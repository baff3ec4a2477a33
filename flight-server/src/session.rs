//! Per-client state: prepared statements and session options, bounded.
