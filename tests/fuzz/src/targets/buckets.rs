//! Bucket arithmetic at the ends of all numbers, against plain arithmetic of 128 bits and, for calendars, against `jiff`.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use arrow::datatypes::TimeUnit;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, civil};
use table_core::types::{BucketId, BucketWidth, Bucketing, CalendarUnit, IndexType};

use crate::{Outcome, Target, mutate};

/// Every value is in one bucket, whose edges are where arithmetic says, and buckets follow one another.
pub static BUCKET_MATH: Target =
    Target { name: "bucket_math", read, mutate: mutate::bytes, inputs: 2_500, bytes_max: 512 };

/// Values of one input at most.
const VALUES_MAX: usize = 32;

/// Years whose local days are compared. Both copies of the zone data agree on these zones in them, and none of these zones
/// turns its clocks back over midnight.
const YEARS: (i16, i16) = (1980, 2026);

const ZONES: [&str; 7] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "No/Where",
];

static THEIRS: LazyLock<Vec<Option<TimeZone>>> = LazyLock::new(|| {
    let database = TimeZoneDatabase::bundled();
    ZONES.iter().map(|name| database.get(name).ok()).collect()
});

const INDEXES: [IndexType; 6] = [
    IndexType::Timestamp(TimeUnit::Second),
    IndexType::Timestamp(TimeUnit::Millisecond),
    IndexType::Timestamp(TimeUnit::Microsecond),
    IndexType::Timestamp(TimeUnit::Nanosecond),
    IndexType::Int64,
    IndexType::UInt64,
];

/// A number, more often than not near an edge or near the one before.
fn number(input: &mut Unstructured<'_>, before: i64) -> arbitrary::Result<i64> {
    let near = i64::from(input.arbitrary::<i8>()?);
    let base = match input.int_in_range(0..=7)? {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => 0,
        3 => 1 << input.int_in_range(0..=62)?,
        4 => -(1 << input.int_in_range(0..=62)?),
        5 => before,
        // Seconds of this century, in any unit.
        6 => i64::from(input.arbitrary::<i32>()?)
            .saturating_mul([1, 1_000, 1_000_000, 1_000_000_000][input.int_in_range(0..=3)?]),
        _ => input.arbitrary()?,
    };
    Ok(base.wrapping_add(near))
}

struct Case {
    bucketing: Bucketing,
    zone: usize,
    values: Vec<i64>,
}

/// What the bytes ask for; `None` when no table can be made so.
fn case(input: &[u8]) -> arbitrary::Result<Option<Case>> {
    let mut input = Unstructured::new(input);
    let index = *input.choose(&INDEXES)?;
    let zone = input.choose_index(ZONES.len())?;
    let width = width(&mut input, index)?;
    let Ok(bucketing) = Bucketing::try_new(width, index, ZONES[zone]) else { return Ok(None) };
    let mut values = Vec::new();
    while !input.is_empty() && values.len() < VALUES_MAX {
        let before = values.last().copied().unwrap_or_default();
        let value = match bucketing.bucket_of(before) {
            // An edge of the bucket that the value before is in.
            Some(bucket) if input.ratio(1, 3)? => match input.arbitrary()? {
                true => bucketing.start(bucket),
                false => bucketing.end(bucket),
            }
            .wrapping_add(input.int_in_range(-1..=1)?),
            _ => number(&mut input, before)?,
        };
        values.push(value);
    }
    Ok(Some(Case { bucketing, zone, values }))
}

/// A width that mostly goes with the index. Calendars are few: making one looks for all changes of a zone.
fn width(input: &mut Unstructured<'_>, index: IndexType) -> arbitrary::Result<BucketWidth> {
    use CalendarUnit::{Day, Month, Week, Year};
    const TYPICAL: [i64; 4] = [1_000_000, 1_000_000_000, 900_000_000_000, 3_600_000_000_000];
    let is_timestamp = matches!(index, IndexType::Timestamp(_));
    Ok(match input.int_in_range(0..=9)? {
        0 => BucketWidth::Nanos(number(input, 0)?),
        1 => BucketWidth::Steps(number(input, 0)?.cast_unsigned()),
        2 => {
            let unit = *input.choose(&[Day, Week, Month, Year])?;
            let count = match input.int_in_range(0..=3)? {
                0 => input.arbitrary()?,
                _ => input.int_in_range(0..=14)?,
            };
            BucketWidth::Calendar { count, unit }
        }
        _ if is_timestamp => BucketWidth::Nanos(*input.choose(&TYPICAL)?),
        _ => BucketWidth::Steps(input.int_in_range(1..=20)?),
    })
}

fn read(input: &[u8]) -> Outcome {
    let Ok(Some(case)) = case(input) else { return Outcome::Refused };
    let Case { bucketing, zone, values } = &case;
    let text = bucketing.width().to_string();
    assert_eq!(BucketWidth::parse(&text).unwrap(), bucketing.width());
    for value in values {
        one(bucketing, *value);
        if let Some(theirs) = &THEIRS[*zone] {
            calendar(bucketing, theirs, *value);
        }
    }
    together(bucketing, values);
    if values.is_empty() { Outcome::Refused } else { Outcome::Taken }
}

/// A value as a number of its index.
fn wide(index: IndexType, value: i64) -> i128 {
    match index {
        IndexType::UInt64 => i128::from(value.cast_unsigned()),
        IndexType::Int64 | IndexType::Timestamp(_) => i128::from(value),
    }
}

/// The ends of an index.
fn ends(index: IndexType) -> (i128, i128) {
    match index {
        IndexType::UInt64 => (0, i128::from(u64::MAX)),
        IndexType::Int64 | IndexType::Timestamp(_) => (i64::MIN.into(), i64::MAX.into()),
    }
}

fn nanos_per_tick(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Width in index units; `None` for calendars.
fn fixed_width(bucketing: &Bucketing) -> Option<i128> {
    match (bucketing.width(), bucketing.index()) {
        (BucketWidth::Nanos(nanos), IndexType::Timestamp(unit)) => {
            Some(i128::from(nanos) / i128::from(nanos_per_tick(unit)))
        }
        (BucketWidth::Steps(steps), _) => Some(steps.into()),
        _ => None,
    }
}

fn one(bucketing: &Bucketing, value: i64) {
    let index = bucketing.index();
    let (first, last) = ends(index);
    let text = bucketing.format(value);
    assert!(!text.is_empty());
    let Some(bucket) = bucketing.bucket_of(value) else {
        assert_eq!(fixed_width(bucketing), None, "a fixed bucket holds {value}");
        return;
    };
    let (start, end) = (bucketing.start(bucket), bucketing.end(bucket));
    let (value, start, end) = (wide(index, value), wide(index, start), wide(index, end));
    assert!(start <= value, "{bucketing:?}: {value} is before {start} in {bucket:?}");
    assert!(value < end || value == last, "{bucketing:?}: {value} is after {end} in {bucket:?}");
    if let Some(width) = fixed_width(bucketing) {
        let number = value.div_euclid(width);
        assert_eq!(start, (number * width).max(first), "{bucketing:?}: {value}");
        assert_eq!(end, ((number + 1) * width).min(last), "{bucketing:?}: {value}");
        assert!(!bucketing.is_empty(bucket));
        let stored = match index {
            IndexType::UInt64 => number + i128::from(i64::MIN),
            IndexType::Int64 | IndexType::Timestamp(_) => number,
        };
        assert_eq!(i128::from(bucket.0), stored, "{bucketing:?}: {value}");
    }
    if let Some(next) = bucket.0.checked_add(1) {
        assert_eq!(wide(index, bucketing.start(BucketId(next))), end);
    }
    let is_whole = start > first;
    if is_whole && start < end {
        let narrow = |value: i128| match index {
            IndexType::UInt64 => u64::try_from(value).unwrap().cast_signed(),
            IndexType::Int64 | IndexType::Timestamp(_) => i64::try_from(value).unwrap(),
        };
        assert_eq!(bucketing.bucket_of(narrow(start)), Some(bucket), "{bucketing:?}: {start}");
        if let Some(before) = bucketing.bucket_of(narrow(start - 1)) {
            assert!(before < bucket, "{bucketing:?}: {} and {start}", start - 1);
        }
    }
    assert!(!bucketing.is_empty(bucket), "{bucketing:?}: {value} is in no time");
}

/// Many values at once give what each gives.
fn together(bucketing: &Bucketing, values: &[i64]) {
    let expected: Vec<_> = values.iter().map(|value| bucketing.bucket_of(*value)).collect();
    let mut found = Vec::new();
    let done = bucketing.buckets_of(values, &mut found);
    let known = expected.iter().take_while(|bucket| bucket.is_some()).count();
    assert_eq!(done, values.get(known).map_or(Ok(()), |value| Err(*value)));
    let expected: Vec<_> = expected.into_iter().flatten().take(known).collect();
    assert_eq!(found, expected, "{bucketing:?}: {values:?}");
    let (low, high) = (expected.iter().min(), expected.iter().max());
    if let (Some(low), Some(high)) = (low, high) {
        let skipped = bucketing.empty_count(*low, *high);
        assert!(u128::from(skipped) <= (i128::from(high.0) - i128::from(low.0)).unsigned_abs() + 1);
    }
}

/// The local date of an instant, by the other calendar, is in the bucket of its days, weeks, months or years.
fn calendar(bucketing: &Bucketing, zone: &TimeZone, value: i64) {
    let (BucketWidth::Calendar { count, unit }, IndexType::Timestamp(ticks)) =
        (bucketing.width(), bucketing.index())
    else {
        return;
    };
    let second = value.div_euclid(1_000_000_000 / nanos_per_tick(ticks));
    let Ok(instant) = Timestamp::from_second(second) else { return };
    let date = zone.to_datetime(instant).date();
    let is_compared = (YEARS.0..YEARS.1).contains(&date.year()) || zone == &TimeZone::UTC;
    if !is_compared || date.year() <= -9_998 || date.year() >= 9_998 {
        return;
    }
    let epoch = civil::date(1970, 1, 1);
    let days = i64::from(date.since((jiff::Unit::Day, epoch)).unwrap().get_days());
    let (year, month) = (i64::from(date.year()) - 1970, i64::from(date.month()) - 1);
    let number = match unit {
        CalendarUnit::Day => days,
        // 1970-01-01 was a Thursday.
        CalendarUnit::Week => (days + 3).div_euclid(7),
        CalendarUnit::Month => year * 12 + month,
        CalendarUnit::Year => year,
    };
    let expected = BucketId(number.div_euclid(i64::from(count)));
    assert_eq!(bucketing.bucket_of(value), Some(expected), "{bucketing:?}: {value}, {date}");
}
