//! Local calendars: days, weeks, months and years of a time zone, as buckets of UTC seconds.
//!
//! Pure. Holds a zone as the list of its offsets, so that both directions (which bucket, where does it start) are one
//! binary search and agree with each other by construction. Ticks of index units are `bucket`'s.
//!
//! Limits, which are those of the zone data that `chrono-tz` carries (tzdb 2025b; the host's is never read, so that a table
//! has the same buckets on every machine):
//! - Clocks change as recorded or foreseen until the end of 2099. From 2100 on every zone keeps the offset it ended 2099
//!   with: no summer time any more, or summer time all year in the south. Buckets still follow one another without a gap;
//!   their edges may be an hour off from what people will use.
//! - Changes that were ordered after that release are missing: Morocco from 2026-09-20, Cuba's winter of 2026 to 2027, and
//!   British Columbia, Alberta, Manitoba and neighbours from 2026-11-01. The tests name every difference from tzdb 2026f.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use chrono::{Datelike, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;

use super::bucket::BucketId;
use super::width::CalendarUnit;

/// Seconds of a day without a change of offset.
const DAY_SECONDS: i64 = 86_400;
/// First and last year of the calendar, a little inside of what `chrono` can represent.
const YEAR_MIN: i32 = -262_000;
const YEAR_MAX: i32 = 261_999;
/// 1 January of `YEAR_MIN`, in days since 1970-01-01.
const DAY_MIN: i64 = days_before(YEAR_MIN as i64);
/// First day after 31 December of `YEAR_MAX`, in days since 1970-01-01.
const DAY_END: i64 = days_before(YEAR_MAX as i64 + 1);
/// Instants of the calendar, in UTC seconds: `SECOND_MIN..SECOND_END`.
const SECOND_MIN: i64 = DAY_MIN * DAY_SECONDS;
const SECOND_END: i64 = DAY_END * DAY_SECONDS;
/// More than any offset from UTC in seconds (the largest in history is below 16 hours).
const OFFSET_MAX: i64 = 26 * 3_600;
/// Years in which a zone's offset may change: nothing is recorded before, and the bundled rules end with 2099. The tests
/// check both.
const CHANGE_YEARS: (i64, i64) = (1_800, 2_110);
/// Distance of the probes that find the changes. Two changes are never this close in any zone (the closest are a week
/// apart), so none that cancel out fall between two probes; the tests check that.
const PROBE_SECONDS: i64 = 2 * DAY_SECONDS;

/// Days from 1970-01-01 to 1 January of a year (proleptic Gregorian).
const fn days_before(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

/// A stretch of constant offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// First UTC second; `i64::MIN` for the first span.
    start: i64,
    /// First UTC second after it; `i64::MAX` for the last span.
    end: i64,
    /// Local minus UTC, in seconds.
    offset: i64,
    /// Latest local second that was reached before this span (`i64::MIN` for the first). Local time that repeats after
    /// clocks went back is below it and belongs to the bucket that has begun already.
    peak: i64,
}

/// Seconds around an instant that are known to share its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) bucket: BucketId,
    /// First UTC second.
    pub(super) first: i64,
    /// First UTC second after.
    pub(super) next: i64,
}

/// Calendar buckets of one width in one zone.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    unit: CalendarUnit,
    count: i64,
    spans: Arc<[Span]>,
    /// Buckets that no instant falls into, in order.
    skipped: Arc<[BucketId]>,
}

impl Calendar {
    /// `None` for a count of 0.
    pub(super) fn new(zone: Tz, unit: CalendarUnit, count: u32) -> Option<Self> {
        (count > 0).then(|| Self::of_spans(known_spans_of(zone), unit, count))
    }

    /// The calendar of a zone whose offsets are known; `count > 0`.
    fn of_spans(spans: Arc<[Span]>, unit: CalendarUnit, count: u32) -> Self {
        let mut calendar = Self { unit, count: i64::from(count), spans, skipped: Arc::new([]) };
        let mut skipped = Vec::new();
        for span in calendar.spans.iter().skip(1) {
            let landed = span.start + span.offset;
            // Only buckets that begin after the peak and end before clocks show `landed` are jumped over.
            let mut bucket = calendar.bucket_of_day((span.peak + 1).div_euclid(DAY_SECONDS));
            while calendar.first_local(bucket + 1) <= landed {
                if calendar.first_local(bucket) > span.peak {
                    skipped.push(BucketId(bucket));
                }
                bucket += 1;
            }
        }
        calendar.skipped = skipped.into();
        calendar
    }

    /// The bucket of a UTC second, and how long it surely lasts; `None` outside the calendar.
    pub(super) fn locate(&self, second: i64) -> Option<Stay> {
        if !(SECOND_MIN..SECOND_END).contains(&second) {
            return None;
        }
        let span = match &*self.spans {
            [only] => only,
            spans => spans.get(spans.partition_point(|span| span.end <= second))?,
        };
        let local = second + span.offset;
        let from = span.start.max(SECOND_MIN);
        let to = span.end.min(SECOND_END);
        if local <= span.peak {
            // Repeated local time: whatever the clock shows, the bucket of the peak is the one that has begun.
            let bucket = self.bucket_of_day(span.peak.div_euclid(DAY_SECONDS));
            let next = to.min(span.peak + 1 - span.offset);
            return Some(Stay { bucket: BucketId(bucket), first: from, next });
        }
        let bucket = self.bucket_of_day(local.div_euclid(DAY_SECONDS));
        let first = from.max(span.peak.saturating_add(1).saturating_sub(span.offset));
        Some(Stay {
            bucket: BucketId(bucket),
            first: first.max(self.first_local(bucket).saturating_sub(span.offset)),
            next: to.min(self.first_local(bucket + 1).saturating_sub(span.offset)),
        })
    }

    /// First UTC second of a bucket: the earliest instant at which the zone's clocks have reached the bucket's first
    /// midnight. Outside the calendar the ends of `i64`.
    pub(super) fn edge(&self, bucket: i64) -> i64 {
        let local = self.first_local(bucket);
        if local == i64::MIN || local == i64::MAX {
            return local;
        }
        // Spans that end more than the largest offset before `local` cannot reach it.
        let candidate = self.spans.partition_point(|span| span.end <= local - OFFSET_MAX);
        self.spans
            .iter()
            .skip(candidate)
            .find(|span| span.end.saturating_add(span.offset) > local)
            .map_or(i64::MAX, |span| span.start.max(local - span.offset))
    }

    /// How many of the buckets `first..=last` are skipped.
    pub(super) fn skipped_between(&self, first: BucketId, last: BucketId) -> u64 {
        let before = self.skipped.partition_point(|bucket| *bucket < first);
        let through = self.skipped.partition_point(|bucket| *bucket <= last);
        through.saturating_sub(before) as u64
    }

    /// Bucket of a local day of the calendar.
    fn bucket_of_day(&self, day: i64) -> i64 {
        let number = match self.unit {
            CalendarUnit::Day => day,
            // 1970-01-01 was a Thursday, three days after its Monday.
            CalendarUnit::Week => (day + 3).div_euclid(7),
            CalendarUnit::Month => {
                let date = date_of(day);
                (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0())
            }
            CalendarUnit::Year => i64::from(date_of(day).year()) - 1970,
        };
        number.div_euclid(self.count)
    }

    /// Local second of a bucket's first midnight; the ends of `i64` outside the calendar.
    fn first_local(&self, bucket: i64) -> i64 {
        let number = bucket.saturating_mul(self.count);
        let day = match self.unit {
            CalendarUnit::Day => number,
            CalendarUnit::Week => number.saturating_mul(7).saturating_sub(3),
            CalendarUnit::Month => {
                let year = 1970 + number.div_euclid(12);
                let month = u32::try_from(number.rem_euclid(12)).unwrap_or(0);
                first_day_of(year, month + 1)
            }
            CalendarUnit::Year => first_day_of(number.saturating_add(1970), 1),
        };
        // One day of margin on both sides, so that the first and the last local day have two true edges.
        if day < DAY_MIN - 1 {
            i64::MIN
        } else if day > DAY_END + 1 {
            i64::MAX
        } else {
            day * DAY_SECONDS
        }
    }
}

/// First day of a month (1 to 12), in days since 1970-01-01; the ends of `i64` far outside the calendar.
fn first_day_of(year: i64, month: u32) -> i64 {
    if year < i64::from(YEAR_MIN) - 1 {
        return i64::MIN;
    }
    if year > i64::from(YEAR_MAX) + 2 {
        return i64::MAX;
    }
    let months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let past = months.get(month as usize - 1).copied().unwrap_or(0);
    days_before(year) + past + i64::from(leap && month > 2)
}

/// Date of a day of the calendar (or of the one day of margin that offsets need on both sides).
fn date_of(day: i64) -> NaiveDate {
    let day = day.clamp(DAY_MIN - 1, DAY_END + 1);
    // 1970-01-01 is day 719,163 of the common era.
    i32::try_from(day + 719_163)
        .ok()
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .unwrap_or_default()
}

/// Offset of a zone at a UTC second of the years that may change.
fn offset_at(zone: Tz, second: i64) -> i64 {
    let utc = chrono::DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The offsets of a zone, found once in a process: they never change, there are some hundred zones, and functions of SQL ask
/// for every batch.
fn known_spans_of(zone: Tz) -> Arc<[Span]> {
    static KNOWN: LazyLock<Mutex<HashMap<Tz, Arc<[Span]>>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(known.entry(zone).or_insert_with(|| spans_of(zone).into()))
}

/// All offsets of a zone. `chrono-tz` keeps its list of changes to itself, so it is found again: probe, then bisect.
fn spans_of(zone: Tz) -> Vec<Span> {
    let probe_from = days_before(CHANGE_YEARS.0) * DAY_SECONDS;
    let probe_to = days_before(CHANGE_YEARS.1) * DAY_SECONDS;
    let mut changes = vec![(i64::MIN, offset_at(zone, probe_from))];
    let mut probe = probe_from;
    let mut offset = offset_at(zone, probe);
    while probe < probe_to {
        let next = probe + PROBE_SECONDS;
        let next_offset = offset_at(zone, next);
        let mut low = probe;
        while offset != next_offset {
            // First second in (low, next] whose offset is not the one at low.
            let mut high = next;
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset_at(zone, middle) == offset { low = middle } else { high = middle }
            }
            offset = offset_at(zone, high);
            changes.push((high, offset));
            low = high;
        }
        probe = next;
    }
    let mut spans = Vec::with_capacity(changes.len());
    let mut peak = i64::MIN;
    for (number, &(start, offset)) in changes.iter().enumerate() {
        let end = changes.get(number + 1).map_or(i64::MAX, |next| next.0);
        spans.push(Span { start, end, offset, peak });
        if end < i64::MAX {
            peak = peak.max(end - 1 + offset);
        }
    }
    spans
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
pub(crate) mod tests;
