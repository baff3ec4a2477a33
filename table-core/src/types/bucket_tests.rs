//! Bucket arithmetic at its edges; against another calendar library in `calendar_tests`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::datatypes::TimeUnit;

use super::*;

const UNITS: [TimeUnit; 4] =
    [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
const EXTREMES: [i64; 9] =
    [i64::MIN, i64::MIN + 1, -86_401, -1, 0, 1, 86_400, i64::MAX - 1, i64::MAX];

fn bucketing(width: &str, index: IndexType, zone: &str) -> Bucketing {
    Bucketing::try_new(BucketWidth::parse(width).unwrap(), index, zone).unwrap()
}

/// What must hold for any value in any bucketing: it lies in its bucket, edges meet, and batches agree with single values.
fn check(bucketing: &Bucketing, values: &[i64]) {
    let order = |value: i64| match bucketing.index() {
        IndexType::UInt64 => i128::from(value.cast_unsigned()),
        _ => i128::from(value),
    };
    let top = match bucketing.index() {
        IndexType::UInt64 => i128::from(u64::MAX),
        _ => i128::from(i64::MAX),
    };
    let mut known = Vec::new();
    for &value in values {
        let Some(bucket) = bucketing.bucket_of(value) else {
            assert_eq!(bucketing.buckets_of(&[value], &mut Vec::new()), Err(value));
            continue;
        };
        known.push((value, bucket));
        let (start, end) = (order(bucketing.start(bucket)), order(bucketing.end(bucket)));
        assert!(start <= order(value), "{bucketing:?} {value}");
        assert!(order(value) < end || end == top, "{bucketing:?} {value}");
        if let Some(next) = bucket.0.checked_add(1) {
            assert_eq!(bucketing.end(bucket), bucketing.start(BucketId(next)));
        }
        assert!(!bucketing.is_empty(bucket));
    }
    let (values, expected): (Vec<_>, Vec<_>) = known.into_iter().unzip();
    let mut buckets = vec![BucketId(7)];
    assert_eq!(bucketing.buckets_of(&values, &mut buckets), Ok(()));
    assert_eq!(buckets, expected);
}

#[test]
fn every_i64_in_every_unit_and_width_is_placed_or_refused() {
    let calendars = [
        "1d",
        "2d",
        "1w",
        "3w",
        "1mo",
        "5mo",
        "1y",
        "100y",
        "4294967295d",
        "4294967295mo",
        "4294967295y",
    ];
    let fixed = [
        "1ns",
        "1us",
        "1ms",
        "1s",
        "7s",
        "15m",
        "1h",
        "24h",
        "9223372036854775807ns",
        "9223372036s",
    ];
    for unit in UNITS {
        let index = IndexType::Timestamp(unit);
        for zone in ["UTC", "America/New_York", "Pacific/Apia", "America/St_Johns", "Asia/Manila"] {
            for width in calendars {
                check(&bucketing(width, index, zone), &EXTREMES);
            }
        }
        for width in fixed {
            let width = BucketWidth::parse(width).unwrap();
            if let Ok(bucketing) = Bucketing::try_new(width, index, "UTC") {
                check(&bucketing, &EXTREMES);
                for value in EXTREMES {
                    assert!(bucketing.bucket_of(value).is_some(), "fixed widths hold all of i64");
                }
            }
        }
    }
    for index in [IndexType::Int64, IndexType::UInt64] {
        for width in
            ["1", "2", "250", "9223372036854775807", "9223372036854775808", "18446744073709551615"]
        {
            let bucketing = bucketing(width, index, "UTC");
            check(&bucketing, &EXTREMES);
            for value in EXTREMES {
                assert!(bucketing.bucket_of(value).is_some());
            }
        }
    }
}

#[test]
fn edges_never_overflow_and_never_go_back() {
    for zone in ["UTC", "Europe/Berlin", "Pacific/Apia"] {
        for width in ["1d", "1w", "1mo", "1y", "4294967295y", "1ns", "1h"] {
            for unit in UNITS {
                let width = BucketWidth::parse(width).unwrap();
                let Ok(bucketing) = Bucketing::try_new(width, IndexType::Timestamp(unit), zone)
                else {
                    continue;
                };
                let ids = [
                    i64::MIN,
                    i64::MIN + 1,
                    i64::MIN / 2,
                    -96_000_000,
                    -3_200_000,
                    -262_001,
                    -1,
                    0,
                    1,
                    262_000,
                    3_200_000,
                    96_000_000,
                    i64::MAX / 2,
                    i64::MAX - 1,
                    i64::MAX,
                ];
                let mut before = i64::MIN;
                for id in ids {
                    let (start, end) = (bucketing.start(BucketId(id)), bucketing.end(BucketId(id)));
                    assert!(before <= start && start <= end, "{bucketing:?} {id}");
                    before = start;
                }
            }
        }
    }
}

#[test]
fn unsigned_buckets_keep_the_order_of_the_values() {
    let bucketing = bucketing("10", IndexType::UInt64, "UTC");
    let values = [0_u64, 9, 10, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
    let buckets: Vec<_> =
        values.iter().map(|value| bucketing.bucket_of(value.cast_signed()).unwrap()).collect();
    assert!(buckets.is_sorted());
    assert_eq!(buckets[0], BucketId(i64::MIN));
    assert_eq!(buckets[0], buckets[1]);
    assert_eq!(buckets[2], BucketId(i64::MIN + 1));
    assert_eq!(bucketing.start(buckets[5]).cast_unsigned(), u64::MAX - 5);
    assert_eq!(bucketing.end(buckets[5]).cast_unsigned(), u64::MAX);
}

#[test]
fn fixed_widths_floor_towards_the_past() {
    let bucketing = bucketing("1h", IndexType::Timestamp(TimeUnit::Second), "UTC");
    assert_eq!(bucketing.bucket_of(-1), Some(BucketId(-1)));
    assert_eq!(bucketing.bucket_of(-3_600), Some(BucketId(-1)));
    assert_eq!(bucketing.bucket_of(-3_601), Some(BucketId(-2)));
    assert_eq!(bucketing.bucket_of(3_599), Some(BucketId(0)));
    assert_eq!((bucketing.start(BucketId(-1)), bucketing.end(BucketId(-1))), (-3_600, 0));
}

#[test]
fn calendar_numbers_count_from_1970() {
    let second = IndexType::Timestamp(TimeUnit::Second);
    let at = |width: &str, text: &str| {
        let value = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp();
        bucketing(width, second, "UTC").bucket_of(value).unwrap().0
    };
    assert_eq!(at("1d", "1969-12-31T23:59:59Z"), -1);
    assert_eq!(at("1d", "2025-03-01T00:00:00Z"), 20_148);
    assert_eq!(at("2d", "1969-12-31T00:00:00Z"), -1);
    assert_eq!(at("1w", "1970-01-04T23:59:59Z"), 0);
    assert_eq!(at("1w", "1970-01-05T00:00:00Z"), 1);
    assert_eq!(at("1w", "1969-12-28T23:59:59Z"), -1);
    assert_eq!(at("1mo", "1969-12-31T23:59:59Z"), -1);
    assert_eq!(at("1mo", "2024-02-29T12:00:00Z"), 54 * 12 + 1);
    assert_eq!(at("3mo", "1970-04-01T00:00:00Z"), 1);
    assert_eq!(at("1y", "2025-12-31T23:59:59Z"), 55);
}

#[test]
fn new_york_days_are_23_24_and_25_hours_long() {
    let bucketing =
        bucketing("1d", IndexType::Timestamp(TimeUnit::Millisecond), "America/New_York");
    let hours = |text: &str| {
        let noon = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let bucket = bucketing.bucket_of(noon).unwrap();
        (bucketing.end(bucket) - bucketing.start(bucket)) / 3_600_000
    };
    assert_eq!(hours("2025-03-09T17:00:00Z"), 23);
    assert_eq!(hours("2025-03-10T17:00:00Z"), 24);
    assert_eq!(hours("2025-11-02T17:00:00Z"), 25);
}

#[test]
fn a_midnight_that_does_not_exist_starts_the_day_at_the_change() {
    // Sao Paulo moved from 00:00 to 01:00 on 2018-11-04: the day starts at 03:00 UTC, which is 01:00 there.
    let bucketing = bucketing("1d", IndexType::Timestamp(TimeUnit::Second), "America/Sao_Paulo");
    let change = chrono::DateTime::parse_from_rfc3339("2018-11-04T03:00:00Z").unwrap().timestamp();
    let bucket = bucketing.bucket_of(change).unwrap();
    assert_eq!(bucketing.bucket_of(change - 1), Some(BucketId(bucket.0 - 1)));
    assert_eq!(bucketing.start(bucket), change);
    assert_eq!(bucketing.end(bucket) - change, 23 * 3_600);
}

#[test]
fn a_midnight_that_happens_twice_starts_the_day_the_first_time() {
    // St. John's went back from 00:01 to 23:01 on 2010-11-07: 23:01 to 24:00 belongs to the day that had begun.
    let bucketing = bucketing("1d", IndexType::Timestamp(TimeUnit::Second), "America/St_Johns");
    let midnight =
        chrono::DateTime::parse_from_rfc3339("2010-11-07T00:00:00-02:30").unwrap().timestamp();
    let day = bucketing.bucket_of(midnight).unwrap();
    assert_eq!(bucketing.start(day), midnight);
    assert_eq!(bucketing.bucket_of(midnight - 1), Some(BucketId(day.0 - 1)));
    for second in [59, 60, 61, 1_800, 3_600, 3_659, 3_660] {
        assert_eq!(bucketing.bucket_of(midnight + second), Some(day), "{second}");
    }
    assert_eq!(bucketing.end(day) - midnight, 25 * 3_600);
}

#[test]
fn the_day_that_samoa_skipped_is_empty_and_nothing_else() {
    let index = IndexType::Timestamp(TimeUnit::Microsecond);
    let days = bucketing("1d", index, "Pacific/Apia");
    let skipped = chrono::NaiveDate::from_ymd_opt(2011, 12, 30).unwrap().to_epoch_days();
    let skipped = BucketId(i64::from(skipped));
    assert!(days.is_empty(skipped));
    assert_eq!(days.start(skipped), days.end(skipped));
    assert_eq!(days.empty_count(BucketId(i64::MIN), BucketId(i64::MAX)), 1);
    assert_eq!(days.empty_count(BucketId(skipped.0 + 1), BucketId(i64::MAX)), 0);
    for width in ["2d", "1w", "1mo", "1y", "1h"] {
        let width = bucketing(width, index, "Pacific/Apia");
        assert_eq!(width.empty_count(BucketId(i64::MIN), BucketId(i64::MAX)), 0);
    }
}

#[test]
fn widths_that_do_not_go_with_the_index_say_what_would() {
    let refused = |width: &str, index| {
        Bucketing::try_new(BucketWidth::parse(width).unwrap(), index, "UTC")
            .unwrap_err()
            .to_string()
    };
    let second = IndexType::Timestamp(TimeUnit::Second);
    assert_eq!(
        refused("1500ms", second),
        "bucket \"1500ms\" does not fit an index of type timestamp[s]: index values are whole multiples of 1s; use a \
         bucket that is one too, or an index with a finer unit such as timestamp[ms]"
    );
    assert!(refused("250", second).contains("\"250s\""));
    assert!(refused("1h", IndexType::Int64).contains("a bare number"));
    assert!(refused("1d", IndexType::UInt64).contains("a bare number"));
    let hour = BucketWidth::parse("1h").unwrap();
    for zone in ["", "Mars/Olympus", "america/new_york", "+01:00", "EST5EDT4"] {
        let refused = Bucketing::try_new(hour, second, zone).unwrap_err();
        assert_eq!(refused, BucketParseError::UnknownZone { zone: zone.to_owned() });
    }
    for width in [
        BucketWidth::Nanos(0),
        BucketWidth::Nanos(-1_000_000_000),
        BucketWidth::Steps(0),
        BucketWidth::Calendar { count: 0, unit: super::super::CalendarUnit::Day },
    ] {
        let refused = Bucketing::try_new(width, second, "UTC").unwrap_err();
        assert_eq!(refused, BucketParseError::NotAWidth { text: width.to_string() });
    }
}

#[test]
fn values_print_as_instants_or_numbers() {
    let micros = bucketing("1h", IndexType::Timestamp(TimeUnit::Microsecond), "Europe/Berlin");
    assert_eq!(micros.format(1_740_787_200_000_000), "2025-03-01T00:00:00Z");
    assert_eq!(micros.format(1_740_787_200_000_001), "2025-03-01T00:00:00.000001Z");
    assert_eq!(micros.format(-1), "1969-12-31T23:59:59.999999Z");
    let seconds = bucketing("1h", IndexType::Timestamp(TimeUnit::Second), "UTC");
    assert_eq!(seconds.format(i64::MAX), "9223372036854775807 s since 1970-01-01T00:00:00Z");
    assert_eq!(bucketing("1", IndexType::Int64, "UTC").format(-5), "-5");
    assert_eq!(bucketing("1", IndexType::UInt64, "UTC").format(-1), "18446744073709551615");
}

#[test]
fn a_batch_stops_at_the_first_value_outside_the_calendar() {
    let days = bucketing("1d", IndexType::Timestamp(TimeUnit::Second), "UTC");
    let mut out = Vec::new();
    assert_eq!(days.buckets_of(&[0, 86_400, i64::MAX, 5, i64::MIN], &mut out), Err(i64::MAX));
    assert_eq!(out, [BucketId(0), BucketId(1)]);
}
