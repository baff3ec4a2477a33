//! Reading and publishing log files through the durable store.

use super::Record;

/// What became of an attempt to publish a record.
#[derive(Debug)]
pub enum PublishOutcome {
    /// It is in the log, durable.
    Committed,
    /// A rival's record is in that slot.
    Lost(Box<Record>),
    /// The slot could not be read back: nobody knows.
    Unknown(std::io::Error),
}

/// The log of one table or of the catalog.
#[derive(Debug)]
pub struct LogStore {}
