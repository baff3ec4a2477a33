//! The lock on a local root.
