//! Starts of buckets of any width, from any origin, in the unit of a column. Pure.
//!
//! Without an origin these are the buckets of tables with the same width and zone. An origin moves fixed widths by any time,
//! and says with which day, month or year the first bucket of several begins.

use arrow::datatypes::DataType;
use datafusion::error::Result;

use super::refused;
use crate::types::{BucketId, BucketWidth, Bucketing, CalendarUnit, IndexType, nanos_per_tick};

const DAYS_PER_WEEK: u32 = 7;
const MONTH_DAYS_MAX: i128 = 31;
const YEAR_DAYS_MAX: i128 = 366;
/// The clocks of a zone never go back by more in all than from one side of the date line to the other and an hour.
const CHANGE_DAYS_MAX: i128 = 2;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Dates are looked at as the seconds at which they begin.
pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// Buckets of one call. Values are what `index_values` gives: ticks, or the bit pattern of an unsigned integer.
#[derive(Debug)]
pub(super) struct Buckets {
    index: IndexType,
    rule: Rule,
    format: Bucketing,
}

#[derive(Debug)]
enum Rule {
    /// `phase + n * width`, in ticks.
    Fixed { width: i128, phase: i128 },
    /// `count` calendar units each, numbered as `bucketing` does; one begins at unit `phase`.
    Calendar { bucketing: Bucketing, count: i64, phase: i64 },
}

impl Buckets {
    /// `origin` is a value of the column's type.
    ///
    /// # Errors
    /// `Invalid` when the width does not go with the type, the zone is unknown or not needed, or no unit of the calendar begins at
    /// the origin.
    pub(super) fn try_new(
        function: &str,
        width: BucketWidth,
        index: IndexType,
        zone: Option<&str>,
        default_zone: &str,
        origin: Option<i64>,
    ) -> Result<Self> {
        let bucketing = |width, zone: &str| {
            Bucketing::try_new(width, index, zone)
                .map_err(|error| refused(format!("{function}: {error}")))
        };
        let BucketWidth::Calendar { count, unit } = width else {
            if let Some(zone) = zone {
                return Err(refused(format!(
                    "{function} of a fixed width is the same in every time zone; leave \"{zone}\" out, or write the width in \
                     days, weeks, months or years"
                )));
            }
            let format = bucketing(width, "UTC")?;
            let width = match (width, index) {
                (BucketWidth::Nanos(nanos), IndexType::Timestamp(unit)) => {
                    i128::from(nanos / nanos_per_tick(unit))
                }
                (BucketWidth::Steps(steps), _) => i128::from(steps),
                // `bucketing` has refused the others.
                _ => return Err(refused(format!("{function}: {width} is no width here"))),
            };
            let phase = origin.map_or(0, |origin| ordered(index, origin)).rem_euclid(width);
            return Ok(Self { index, rule: Rule::Fixed { width, phase }, format });
        };
        let zone = zone.unwrap_or(default_zone);
        let format = bucketing(width, zone)?;
        let Some(origin) = origin else {
            let rule = Rule::Calendar { bucketing: format.clone(), count: 1, phase: 0 };
            return Ok(Self { index, rule, format });
        };
        let (count, unit) = match unit {
            // Weeks from an origin begin on its day of the week.
            CalendarUnit::Week => (count.checked_mul(DAYS_PER_WEEK), CalendarUnit::Day),
            unit => (Some(count), unit),
        };
        let count = count.ok_or_else(|| refused(format!("{function}: {width} is too wide")))?;
        let one = bucketing(BucketWidth::Calendar { count: 1, unit }, zone)?;
        let first = one.bucket_of(origin).filter(|bucket| one.start(*bucket) == origin);
        let Some(first) = first else {
            let unit = match unit {
                CalendarUnit::Day | CalendarUnit::Week => "day",
                CalendarUnit::Month => "month",
                CalendarUnit::Year => "year",
            };
            return Err(refused(format!(
                "{function} cannot begin at {}: no {unit} begins there in {zone}; name the start of one",
                format.format(origin)
            )));
        };
        let count = i64::from(count);
        let rule = Rule::Calendar { bucketing: one, count, phase: first.0.rem_euclid(count) };
        Ok(Self { index, rule, format })
    }

    /// Starts of the buckets of many values, saturating at the ends of the type. Where `valid` says no, the answer is 0.
    ///
    /// # Errors
    /// `Invalid` for a value outside of the calendar.
    pub(super) fn starts(
        &self,
        function: &str,
        values: &[i64],
        valid: impl Fn(usize) -> bool,
    ) -> Result<Vec<i64>> {
        let mut starts = Vec::with_capacity(values.len());
        // Rows that follow each other mostly share their bucket.
        let mut known = 0..0;
        let mut start = 0;
        for (row, value) in values.iter().copied().enumerate() {
            if !valid(row) {
                starts.push(0);
                continue;
            }
            let position = ordered(self.index, value);
            if !known.contains(&position) {
                known = self.bucket(value, position).ok_or_else(|| {
                    refused(format!(
                        "{function}: {} is outside of the calendar; leave such rows out",
                        self.format.format(value)
                    ))
                })?;
                start = raw(self.index, known.start);
            }
            starts.push(start);
        }
        Ok(starts)
    }

    /// A length that no bucket exceeds, in nanoseconds or, of integers, in steps. No value is before the start of its bucket.
    pub(super) fn longest(&self) -> i128 {
        let width = match self.format.width() {
            BucketWidth::Nanos(nanos) => return i128::from(nanos),
            BucketWidth::Steps(steps) => return i128::from(steps),
            BucketWidth::Calendar { count, unit } => {
                i128::from(count)
                    * match unit {
                        CalendarUnit::Day => 1,
                        CalendarUnit::Week => i128::from(DAYS_PER_WEEK),
                        CalendarUnit::Month => MONTH_DAYS_MAX,
                        CalendarUnit::Year => YEAR_DAYS_MAX,
                    }
            }
        };
        let changes = if self.format.time_zone() == "UTC" { 0 } else { CHANGE_DAYS_MAX };
        (width + changes) * i128::from(SECONDS_PER_DAY) * NANOS_PER_SECOND
    }

    /// The bucket of a value, from its start to the next one's.
    fn bucket(&self, value: i64, position: i128) -> Option<std::ops::Range<i128>> {
        match &self.rule {
            Rule::Fixed { width, phase } => {
                let start = position - (position - phase).rem_euclid(*width);
                Some(start..start + width)
            }
            Rule::Calendar { bucketing, count, phase } => {
                let number = bucketing.bucket_of(value)?.0;
                let first = number - (number - phase).rem_euclid(*count);
                let edge = |number| ordered(self.index, bucketing.start(BucketId(number)));
                Some(edge(first)..edge(first + count))
            }
        }
    }
}

/// The zone that buckets of a column follow when the call names none: the column's own. Timestamps without a zone, and those
/// whose zone is a spelling of UTC, count in UTC.
pub(super) fn zone_of(data_type: &DataType) -> &str {
    match data_type {
        DataType::Timestamp(_, Some(zone)) => match zone.as_ref() {
            "+00:00" | "-00:00" | "+00" | "+0000" | "Z" => "UTC",
            zone => zone,
        },
        _ => "UTC",
    }
}

/// The number that a value stands for.
fn ordered(index: IndexType, value: i64) -> i128 {
    match index {
        IndexType::UInt64 => i128::from(value.cast_unsigned()),
        IndexType::Int64 | IndexType::Timestamp(_) => i128::from(value),
    }
}

/// The value of a number, or the end of the type on its side.
fn raw(index: IndexType, number: i128) -> i64 {
    match index {
        IndexType::UInt64 if number < 0 => 0,
        IndexType::UInt64 => u64::try_from(number).unwrap_or(u64::MAX).cast_signed(),
        IndexType::Int64 | IndexType::Timestamp(_) => {
            i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
        }
    }
}
