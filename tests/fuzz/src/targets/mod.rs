//! Every target. Those of bytes from clients are in `flight`, `requests` and `sql`; those of bytes from storage in `log`,
//! `coverage`, `replay` and `segment`; those of values in `names` and `buckets`.

pub mod buckets;
pub mod coverage;
pub mod flight;
pub mod log;
pub mod names;
pub mod replay;
pub mod requests;
pub mod segment;
pub mod sql;

use crate::Target;

/// All of them.
pub const ALL: [&Target; 15] = [
    &flight::FLIGHT_DATA_STREAM,
    &flight::IPC_PRECHECK,
    &requests::TICKET_DECODE,
    &requests::ANY_COMMAND_DECODE,
    &requests::PREPARED_HANDLE_PARAMS,
    &requests::APPEND_ID_HEADER,
    &requests::MIN_VERSION_HEADER,
    &sql::SQL_GATE,
    &log::COMMIT_RECORD_DECODE,
    &log::CHECKPOINT_DECODE,
    &coverage::COVERAGE_DECODE,
    &names::TABLE_NAME,
    &buckets::BUCKET_MATH,
    &replay::LOG_REPLAY,
    &segment::PARQUET_SEGMENT_OPEN,
];
