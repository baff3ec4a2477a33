//! Durable files on a local disk: tmp, fsync, link, directory fsync.

/// A root on a local disk.
#[derive(Debug)]
pub struct LocalStore {}
