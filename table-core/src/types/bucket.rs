//! Bucket arithmetic: which bucket an index value falls into, and where a bucket starts and ends.
//!
//! Pure. Fixed widths count from the Unix epoch (or from zero on integer indexes); calendar widths follow the local
//! calendar of the table's time zone, exact across DST. Buckets are half-open, `[start, end)`, contiguous and ordered:
//! `start(b + 1) == end(b)` always holds.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

/// Number of one bucket; neighbours in time have neighbouring numbers. Ordered like the index.
///
/// UInt64 indexes map their bucket number `n: u64` to `(n as i64) ^ i64::MIN`, which keeps the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

/// A calendar width's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// Local days.
    Day,
    /// ISO weeks, Monday to Sunday.
    Week,
    /// Calendar months.
    Month,
    /// Calendar years.
    Year,
}

/// Width of a bucket, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketWidth {
    /// A fixed time, in nanoseconds: `1ns 1us 1ms 1s 15m 1h`. Only on timestamp indexes. Greater than 0.
    Nanos(i64),
    /// `count` calendar units: `1d 1w 1mo 1y`. Only on timestamp indexes. `count > 0`.
    Calendar {
        /// How many units.
        count: u32,
        /// The unit.
        unit: CalendarUnit,
    },
    /// A plain number of index steps: `1`, `250`. Only on integer indexes. Greater than 0.
    Steps(u64),
}

/// Why a bucket width is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketParseError {
    /// The text is not a width.
    #[error(
        "bucket \"{text}\" is not a width; write a positive number with ns, us, ms, s, m, h, d, w, mo or y (\"15m\", \
         \"1d\"), or a bare number on an integer index"
    )]
    NotAWidth {
        /// What was given.
        text: String,
    },
    /// The width does not go with the type of the index.
    #[error("bucket \"{width}\" does not fit an index of type {index}: {reason}")]
    WrongIndex {
        /// The width.
        width: String,
        /// The index type.
        index: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No such IANA zone.
    #[error("time zone \"{zone}\" is not known; write an IANA name such as \"America/New_York\" or \"UTC\"")]
    UnknownZone {
        /// What was given.
        zone: String,
    },
}

/// Type of an index column, reduced to what bucket arithmetic needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexType {
    /// Arrow Timestamp; values are ticks of the unit since the epoch.
    Timestamp(TimeUnit),
    /// Arrow Int64.
    Int64,
    /// Arrow UInt64; index values travel as their bit pattern in an `i64`.
    UInt64,
}

impl BucketWidth {
    /// Parses `"1h"`, `"15m"`, `"1d"`, `"250"`. Units: ns us ms s m h (fixed) and d w mo y (calendar).
    ///
    /// # Errors
    /// [`BucketParseError::NotAWidth`] for zero, negative, fractional, overflowing or unknown text.
    pub fn parse(text: &str) -> Result<Self, BucketParseError> {
        todo!()
    }
}

impl fmt::Display for BucketWidth {
    /// The canonical text, which parses back to the same width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl IndexType {
    /// The index type of an Arrow type, or `None` when it cannot be an index.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        todo!()
    }
}

/// Bucket arithmetic of one table: width, index type and time zone, checked to go together.
///
/// Index values are `i64` in the unit of the index column (bit pattern for UInt64).
#[derive(Debug, Clone)]
pub struct Bucketing {
    // private fields
}

impl Bucketing {
    /// # Errors
    /// When the width does not go with the index type (a fixed width that is no multiple of the index unit, steps on a
    /// timestamp, a duration on an integer) or the zone is unknown.
    pub fn try_new(
        width: BucketWidth,
        index: IndexType,
        time_zone: &str,
    ) -> Result<Self, BucketParseError> {
        todo!()
    }

    /// The bucket that holds `value`; `None` when the value is outside what the calendar can represent.
    pub fn bucket_of(&self, value: i64) -> Option<BucketId> {
        todo!()
    }

    /// Buckets of many values; much faster than one by one where neighbours share a bucket. `None` in the result never
    /// happens: the first value outside the calendar is returned as the error.
    pub fn buckets_of(&self, values: &[i64], out: &mut Vec<BucketId>) -> Result<(), i64> {
        todo!()
    }

    /// First index value of the bucket, saturating at the ends of the index type.
    pub fn start(&self, bucket: BucketId) -> i64 {
        todo!()
    }

    /// First index value after the bucket (equals `start` of the next), saturating at the ends of the index type.
    pub fn end(&self, bucket: BucketId) -> i64 {
        todo!()
    }

    /// A calendar bucket that no instant falls into (a local day skipped at the date line): never a gap.
    pub fn is_empty(&self, bucket: BucketId) -> bool {
        todo!()
    }

    /// `value` as text: RFC 3339 in UTC for timestamps (`2025-03-01T00:00:00Z`), decimal for integers.
    pub fn format(&self, value: i64) -> String {
        todo!()
    }
}
