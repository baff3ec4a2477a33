//! Bucket arithmetic: which bucket an index value falls into, and where a bucket starts and ends.
//!
//! Pure. Fixed widths count from the Unix epoch (or from zero on integer indexes); calendar widths follow the local
//! calendar of the table's time zone, exact across DST. Buckets are half-open, `[start, end)`, contiguous and ordered:
//! `start(b + 1) == end(b)` always holds. The text form of widths is in `width`, zones and local days in `calendar`.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;

use super::calendar::Calendar;
use super::unit::{nanos_per_tick, ticks_per_second};
use super::width::{BucketParseError, BucketWidth};

/// Number of one bucket; neighbours in time have neighbouring numbers. Ordered like the index.
///
/// UInt64 indexes map their bucket number `n: u64` to `(n as i64) ^ i64::MIN`, which keeps the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

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

impl IndexType {
    /// The index type of an Arrow type, or `None` when it cannot be an index.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Timestamp(unit, _) => Some(Self::Timestamp(*unit)),
            DataType::Int64 => Some(Self::Int64),
            DataType::UInt64 => Some(Self::UInt64),
            _ => None,
        }
    }

    /// The type as messages name it: `timestamp[us]`, `int64`, `uint64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamp(TimeUnit::Second) => "timestamp[s]",
            Self::Timestamp(TimeUnit::Millisecond) => "timestamp[ms]",
            Self::Timestamp(TimeUnit::Microsecond) => "timestamp[us]",
            Self::Timestamp(TimeUnit::Nanosecond) => "timestamp[ns]",
            Self::Int64 => "int64",
            Self::UInt64 => "uint64",
        }
    }
}

/// How buckets follow from index values, with the widths in index units.
#[derive(Debug, Clone)]
enum Rule {
    /// `floor(value / width)` on signed values; `width > 0`.
    Signed { width: i64 },
    /// A width above `i64::MAX` on signed values: only the buckets -1 and 0 hold values.
    Halves { width: u64 },
    /// `floor(value / width)` on unsigned values; `width > 0`.
    Unsigned { width: u64 },
    /// Local calendar of a zone.
    Calendar { calendar: Calendar, ticks_per_second: i64 },
}

/// Bucket arithmetic of one table: width, index type and time zone, checked to go together.
///
/// Index values are `i64` in the unit of the index column (bit pattern for UInt64).
#[derive(Debug, Clone)]
pub struct Bucketing {
    width: BucketWidth,
    index: IndexType,
    zone: Tz,
    rule: Rule,
}

impl Bucketing {
    /// Checks that width, index type and zone go together. The zone must be known even where the width does not use it.
    ///
    /// # Errors
    /// When the width does not go with the index type (a fixed width that is no multiple of the index unit, steps on a
    /// timestamp, a duration on an integer) or the zone is unknown.
    pub fn try_new(
        width: BucketWidth,
        index: IndexType,
        time_zone: &str,
    ) -> Result<Self, BucketParseError> {
        let zone: Tz = time_zone
            .parse()
            .map_err(|_| BucketParseError::UnknownZone { zone: time_zone.to_owned() })?;
        let wrong = |reason: String| BucketParseError::WrongIndex {
            width: width.to_string(),
            index: index.name().to_owned(),
            reason,
        };
        let rule = match (width, index) {
            (BucketWidth::Nanos(nanos), IndexType::Timestamp(unit)) => {
                if nanos <= 0 {
                    return Err(BucketParseError::NotAWidth { text: width.to_string() });
                }
                let tick = nanos_per_tick(unit);
                if nanos % tick != 0 {
                    return Err(wrong(format!(
                        "index values are whole multiples of {}; use a bucket that is one too, or an index with a finer \
                         unit such as {}",
                        BucketWidth::Nanos(tick),
                        IndexType::Timestamp(finest_unit(nanos)).name(),
                    )));
                }
                Rule::Signed { width: nanos / tick }
            }
            (BucketWidth::Calendar { count, unit: calendar_unit }, IndexType::Timestamp(unit)) => {
                let Some(calendar) = Calendar::new(zone, calendar_unit, count) else {
                    return Err(BucketParseError::NotAWidth { text: width.to_string() });
                };
                Rule::Calendar { calendar, ticks_per_second: ticks_per_second(unit) }
            }
            (BucketWidth::Steps(0), _) => {
                return Err(BucketParseError::NotAWidth { text: width.to_string() });
            }
            (BucketWidth::Steps(steps), IndexType::Int64) => match i64::try_from(steps) {
                Ok(width) => Rule::Signed { width },
                Err(_) => Rule::Halves { width: steps },
            },
            (BucketWidth::Steps(width), IndexType::UInt64) => Rule::Unsigned { width },
            (BucketWidth::Steps(steps), IndexType::Timestamp(_)) => {
                return Err(wrong(format!(
                    "a timestamp index needs a unit; write \"{steps}s\", \"{steps}m\", \"{steps}h\" or \"{steps}d\""
                )));
            }
            (
                BucketWidth::Nanos(_) | BucketWidth::Calendar { .. },
                IndexType::Int64 | IndexType::UInt64,
            ) => {
                return Err(wrong(
                    "an integer index has no time unit; write a bare number of steps such as \"1000\"".to_owned(),
                ));
            }
        };
        Ok(Self { width, index, zone, rule })
    }

    /// The width as configured.
    pub fn width(&self) -> BucketWidth {
        self.width
    }

    /// Type of the index.
    pub fn index(&self) -> IndexType {
        self.index
    }

    /// IANA name of the time zone that calendar widths follow.
    pub fn time_zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The bucket that holds `value`; `None` when the value is outside what the calendar can represent.
    pub fn bucket_of(&self, value: i64) -> Option<BucketId> {
        match &self.rule {
            Rule::Signed { width } => Some(BucketId(value.div_euclid(*width))),
            Rule::Halves { .. } => Some(BucketId(if value < 0 { -1 } else { 0 })),
            Rule::Unsigned { width } => Some(unsigned_bucket(value.cast_unsigned() / width)),
            Rule::Calendar { calendar, ticks_per_second } => {
                Some(calendar.locate(value.div_euclid(*ticks_per_second))?.bucket)
            }
        }
    }

    /// Buckets of many values; much faster than one by one where neighbours share a bucket. `out` is cleared first.
    ///
    /// # Errors
    /// The first value that lies outside the calendar; `out` then holds the buckets of the values before it.
    pub fn buckets_of(&self, values: &[i64], out: &mut Vec<BucketId>) -> Result<(), i64> {
        out.clear();
        out.reserve(values.len());
        match &self.rule {
            Rule::Signed { width } => fill(
                values,
                out,
                |value| value,
                |value| {
                    let bucket = value.div_euclid(*width);
                    let first = bucket.checked_mul(*width).unwrap_or(i64::MIN);
                    let next = bucket.checked_add(1).and_then(|next| next.checked_mul(*width));
                    Some((BucketId(bucket), first, next.map_or(i64::MAX, |next| next - 1)))
                },
            ),
            Rule::Halves { .. } => fill(
                values,
                out,
                |value| value,
                |value| {
                    Some(if value < 0 {
                        (BucketId(-1), i64::MIN, -1)
                    } else {
                        (BucketId(0), 0, i64::MAX)
                    })
                },
            ),
            Rule::Unsigned { width } => fill(values, out, i64::cast_unsigned, |value| {
                let first = value - value % width;
                Some((unsigned_bucket(value / width), first, first.saturating_add(width - 1)))
            }),
            Rule::Calendar { calendar, ticks_per_second } => fill(
                values,
                out,
                |value| value,
                |value| {
                    let stay = calendar.locate(value.div_euclid(*ticks_per_second))?;
                    let first = stay.first.saturating_mul(*ticks_per_second);
                    let next = stay.next.checked_mul(*ticks_per_second);
                    Some((stay.bucket, first, next.map_or(i64::MAX, |next| next - 1)))
                },
            ),
        }
    }

    /// First index value of the bucket, saturating at the ends of the index type.
    pub fn start(&self, bucket: BucketId) -> i64 {
        self.edge(i128::from(bucket.0))
    }

    /// First index value after the bucket (equals `start` of the next), saturating at the ends of the index type. Where it
    /// saturates, the last value of the index type still belongs to the bucket.
    pub fn end(&self, bucket: BucketId) -> i64 {
        self.edge(i128::from(bucket.0) + 1)
    }

    /// Lower edge of a bucket; wider than a `BucketId`, for the end of the last one.
    fn edge(&self, bucket: i128) -> i64 {
        match &self.rule {
            Rule::Signed { width } => saturate(bucket * i128::from(*width)),
            Rule::Halves { width } => saturate(bucket.saturating_mul(i128::from(*width))),
            Rule::Unsigned { width } => {
                // Undoes the mapping of `unsigned_bucket`: never below 0, at most 2^64.
                let number = (bucket - i128::from(i64::MIN)).unsigned_abs();
                let edge = number.saturating_mul(u128::from(*width));
                u64::try_from(edge).unwrap_or(u64::MAX).cast_signed()
            }
            Rule::Calendar { calendar, ticks_per_second } => {
                calendar.edge(saturate(bucket)).saturating_mul(*ticks_per_second)
            }
        }
    }

    /// A calendar bucket that no instant falls into (a local day skipped at the date line): never a gap.
    pub fn is_empty(&self, bucket: BucketId) -> bool {
        self.empty_count(bucket, bucket) > 0
    }

    /// How many buckets of `first..=last` no instant falls into; costs a binary search, whatever the span.
    pub fn empty_count(&self, first: BucketId, last: BucketId) -> u64 {
        match &self.rule {
            Rule::Calendar { calendar, .. } => calendar.skipped_between(first, last),
            Rule::Signed { .. } | Rule::Halves { .. } | Rule::Unsigned { .. } => 0,
        }
    }

    /// `value` as text: RFC 3339 in UTC for timestamps (`2025-03-01T00:00:00Z`), decimal for integers. Timestamps that no
    /// calendar date can express are ticks: `9223372036854775807 s since 1970-01-01T00:00:00Z`.
    pub fn format(&self, value: i64) -> String {
        match self.index {
            IndexType::Int64 => value.to_string(),
            IndexType::UInt64 => value.cast_unsigned().to_string(),
            IndexType::Timestamp(unit) => {
                let ticks = ticks_per_second(unit);
                let nanos = value.rem_euclid(ticks) * (1_000_000_000 / ticks);
                let instant = u32::try_from(nanos)
                    .ok()
                    .and_then(|nanos| DateTime::from_timestamp(value.div_euclid(ticks), nanos));
                match instant {
                    Some(instant) => instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                    None => {
                        let unit = match unit {
                            TimeUnit::Second => "s",
                            TimeUnit::Millisecond => "ms",
                            TimeUnit::Microsecond => "us",
                            TimeUnit::Nanosecond => "ns",
                        };
                        format!("{value} {unit} since 1970-01-01T00:00:00Z")
                    }
                }
            }
        }
    }
}

/// The coarsest timestamp unit that `nanos` is a whole multiple of.
fn finest_unit(nanos: i64) -> TimeUnit {
    match nanos {
        n if n % 1_000_000_000 == 0 => TimeUnit::Second,
        n if n % 1_000_000 == 0 => TimeUnit::Millisecond,
        n if n % 1_000 == 0 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// Maps a bucket number of an unsigned index so that the order of `u64` becomes the order of `i64`.
fn unsigned_bucket(number: u64) -> BucketId {
    BucketId(number.cast_signed() ^ i64::MIN)
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Looks a value up only when it leaves the stretch of values (`first..=last`) that the one before it was found in.
fn fill<T: Copy + PartialOrd>(
    values: &[i64],
    out: &mut Vec<BucketId>,
    ordered: impl Fn(i64) -> T,
    locate: impl Fn(T) -> Option<(BucketId, T, T)>,
) -> Result<(), i64> {
    let mut values = values.iter().copied().peekable();
    while let Some(value) = values.next() {
        let (bucket, first, last) = locate(ordered(value)).ok_or(value)?;
        let mut count = 1;
        let stays = |value: &i64| {
            let value = ordered(*value);
            first <= value && value <= last
        };
        while values.next_if(stays).is_some() {
            count += 1;
        }
        out.resize(out.len() + count, bucket);
    }
    Ok(())
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
