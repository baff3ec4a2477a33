//! Calendar buckets of every zone against `jiff`, another calendar library with its own, newer copy of the time zone data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use jiff::{Timestamp, ToSpan, civil};

use super::*;

/// A second of these years is compared: from the first to before the second.
const YEARS: (i16, i16) = (1900, 2100);
/// Offsets further away than this do not matter to an instant's bucket or to an edge: clocks were never set by more.
const NEAR_SECONDS: i64 = 50 * 3_600;
/// Seed of the random instants; part of every message.
const SEED: u64 = 0x5eed_c0de;

/// Where the two copies of the time zone data (2025b in `chrono-tz`, 2026f in `jiff`) differ, all of it: the zones, the days
/// between which they do, and why. When a copy is upgraded this list shrinks; it never grows without a reason.
const DIFFERING: [(&[&str], &str, &str, &str); 10] = [
    (
        &["CST6CDT", "EST5EDT", "MST7MDT", "PST8PDT"],
        "1800-01-01",
        "1967-01-01",
        "legacy names: a city's history in `chrono-tz`, the rules of the whole nation in `jiff`",
    ),
    (&["Eire", "Europe/Dublin"], "1925-09-20", "1925-10-05", "history corrected after 2025b"),
    (
        &["America/Ensenada", "America/Santa_Isabel", "America/Tijuana", "Mexico/BajaNorte"],
        "1953-01-01",
        "1975-12-31",
        "history corrected after 2025b (the only corrections since 1970 of more than a day)",
    ),
    (
        &[
            "America/Araguaina",
            "America/Bahia",
            "America/Belem",
            "America/Boa_Vista",
            "America/Campo_Grande",
            "America/Cuiaba",
            "America/Eirunepe",
            "America/Fortaleza",
            "America/Maceio",
            "America/Manaus",
            "America/Noronha",
            "America/Porto_Acre",
            "America/Porto_Velho",
            "America/Recife",
            "America/Rio_Branco",
            "America/Santarem",
            "America/Sao_Paulo",
            "Brazil/Acre",
            "Brazil/DeNoronha",
            "Brazil/East",
            "Brazil/West",
        ],
        "1965-03-31",
        "1966-03-02",
        "history corrected after 2025b, by one day at most",
    ),
    (
        &["Asia/Tehran", "Iran"],
        "1979-05-25",
        "1979-05-27",
        "history corrected by a day after 2025b",
    ),
    (&["America/Bogota"], "1992-05-02", "1992-05-04", "history corrected by a day after 2025b"),
    (
        &["Europe/Chisinau", "Europe/Tiraspol"],
        "2022-03-27",
        "2100-01-10",
        "clocks change an hour earlier or later in the night of the change",
    ),
    (&["America/Havana", "Cuba"], "2026-11-01", "2027-03-15", "changes ordered after 2025b"),
    (
        &["Africa/Casablanca", "Africa/El_Aaiun"],
        "2026-09-20",
        "2100-01-10",
        "changes ordered after 2025b: back to UTC+0",
    ),
    (
        &[
            "America/Edmonton",
            "America/Inuvik",
            "America/Rainy_River",
            "America/Vancouver",
            "America/Winnipeg",
            "America/Yellowknife",
            "Canada/Central",
            "Canada/Mountain",
            "Canada/Pacific",
        ],
        "2026-11-01",
        "2100-01-10",
        "changes ordered after 2025b: summer time for good",
    ),
];

/// Widths that are compared.
const WIDTHS: [(CalendarUnit, u32); 9] = [
    (CalendarUnit::Day, 1),
    (CalendarUnit::Day, 10),
    (CalendarUnit::Week, 1),
    (CalendarUnit::Week, 2),
    (CalendarUnit::Month, 1),
    (CalendarUnit::Month, 3),
    (CalendarUnit::Month, 5),
    (CalendarUnit::Year, 1),
    (CalendarUnit::Year, 10),
];

/// One zone as both libraries know it.
struct Zone {
    name: String,
    ours: Arc<[Span]>,
    /// Offsets of `jiff` and the seconds they begin at; the first begins with time.
    theirs: Vec<(i64, i64)>,
    /// Stretches from `CHANGE_YEARS.0` to a little beyond the compared years whose offsets differ.
    differing: Vec<(i64, i64)>,
}

static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| {
    // Not the machine's zones: those would make the outcome depend on the machine.
    let database = TimeZoneDatabase::bundled();
    let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
    let zone = |name: &String| {
        let ours = spans_of(name.parse().ok()?).into();
        let theirs = changes_of(&database.get(name).unwrap());
        let differing = differing_of(&ours, &theirs);
        Some(Zone { name: name.clone(), ours, theirs, differing })
    };
    // Finding the changes of all zones is most of the work of these tests.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let share = names.len().div_ceil(threads);
        let shares = names.chunks(share);
        let work = shares.map(|names| scope.spawn(|| names.iter().filter_map(zone).collect()));
        let work: Vec<std::thread::ScopedJoinHandle<'_, Vec<Zone>>> = work.collect();
        work.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
});

fn second_of(date: &str) -> i64 {
    format!("{date}T00:00:00Z").parse::<Timestamp>().unwrap().as_second()
}

fn text(second: i64) -> Timestamp {
    // The first span begins with time itself.
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

/// First second of a year in UTC.
fn year(year: i16) -> i64 {
    days_before(i64::from(year)) * DAY_SECONDS
}

fn changes_of(zone: &jiff::tz::TimeZone) -> Vec<(i64, i64)> {
    let mut changes = vec![(i64::MIN, i64::from(zone.to_offset(Timestamp::MIN).seconds()))];
    let end = text(year(YEARS.1 + 3));
    for change in zone.following(Timestamp::MIN).take_while(|change| change.timestamp() < end) {
        let offset = i64::from(change.offset().seconds());
        if changes.last().unwrap().1 != offset {
            changes.push((change.timestamp().as_second(), offset));
        }
    }
    changes
}

fn differing_of(ours: &Arc<[Span]>, theirs: &[(i64, i64)]) -> Vec<(i64, i64)> {
    // No zone changes in the first days of 2100, so the last compared instants have their neighbours here.
    let (from, to) = (year(CHANGE_YEARS.0 as i16), year(YEARS.1) + 2 * NEAR_SECONDS);
    let mut cuts = BTreeSet::from([from, to]);
    cuts.extend(ours.iter().map(|span| span.start));
    cuts.extend(theirs.iter().map(|change| change.0));
    let cuts: Vec<i64> = cuts.range(from..=to).copied().collect();
    let differ = |second: i64| {
        let ours = ours.iter().rfind(|span| span.start <= second).unwrap().offset;
        let theirs = theirs.iter().rfind(|change| change.0 <= second).unwrap().1;
        ours != theirs
    };
    cuts.windows(2).filter(|cut| differ(cut[0])).map(|cut| (cut[0], cut[1])).collect()
}

#[test]
fn offsets_of_every_zone_are_those_of_jiff_but_for_named_differences() {
    assert!(ZONES.len() > 590, "{}", ZONES.len());
    let mut unused: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (names, _, _, reason) in DIFFERING {
        unused.extend(names.iter().map(|name| (*name, reason)));
    }
    let mut differing_days = (0, 0);
    for zone in ZONES.iter() {
        for &(from, to) in &zone.differing {
            let known = DIFFERING.iter().find(|(names, first, last, _)| {
                names.contains(&zone.name.as_str())
                    && second_of(first) <= from
                    && to <= second_of(last)
            });
            let Some((.., reason)) = known else {
                panic!("{} differs from {} to {}", zone.name, text(from), text(to))
            };
            unused.remove(&(zone.name.as_str(), *reason));
            let from = from.max(year(YEARS.0));
            differing_days.0 += (to.min(0) - from.min(0)).max(0) / DAY_SECONDS;
            differing_days.1 += (to.max(0) - from.max(0)) / DAY_SECONDS;
        }
    }
    assert!(unused.is_empty(), "no longer differ, take them off the list: {unused:?}");
    // Known names are no licence for anything: shares of all zones' days, 1900 to 1970 and 1970 to 2100.
    let days = |from, to| (year(to) - year(from)) / DAY_SECONDS * ZONES.len() as i64;
    assert!(differing_days.0 * 1_000 < days(YEARS.0, 1970) * 3, "{differing_days:?}");
    assert!(differing_days.1 * 1_000 < days(1970, YEARS.1) * 6, "{differing_days:?}");
}

#[test]
fn no_change_hides_between_two_probes() {
    for zone in ZONES.iter() {
        let name = &zone.name;
        // `jiff` lists its changes, nothing is probed there.
        let theirs: Vec<i64> = zone.theirs.iter().skip(1).map(|change| change.0).collect();
        let ours: Vec<i64> = zone.ours.iter().skip(1).map(|span| span.start).collect();
        for changes in [&theirs, &ours] {
            for pair in changes.windows(2) {
                assert!(pair[1] - pair[0] > 2 * PROBE_SECONDS, "{name} {}", text(pair[0]));
            }
            assert!(
                changes.first().is_none_or(|first| *first > year(CHANGE_YEARS.0 as i16)),
                "{name}"
            );
        }
        // Where the lists are equal, nothing was missed. Where they are not, look closer.
        let zone_of_ours: Tz = name.parse().unwrap();
        for &(from, to) in &zone.differing {
            let mut second = from;
            while second < to {
                let span = zone.ours.iter().rfind(|span| span.start <= second).unwrap();
                let until = to.min(span.end);
                while second < until {
                    assert_eq!(
                        offset_at(zone_of_ours, second),
                        span.offset,
                        "{name} {}",
                        text(second)
                    );
                    second += 6 * 3_600;
                }
            }
        }
    }
}

/// First local seconds of the buckets of one width around the compared years, from `jiff`'s calendar.
struct Midnights {
    unit: CalendarUnit,
    count: u32,
    first: i64,
    seconds: Vec<i64>,
}

impl Midnights {
    fn new(unit: CalendarUnit, count: u32) -> Self {
        let step = i64::from(count);
        let date = |bucket: i64| {
            let number = bucket * step;
            let epoch = civil::date(1970, 1, 1);
            match unit {
                CalendarUnit::Day => epoch.checked_add(number.days()),
                // The Monday of the week (ISO 8601) that 1970-01-01 is in.
                CalendarUnit::Week => civil::date(1969, 12, 29).checked_add(number.weeks()),
                CalendarUnit::Month => epoch.checked_add(number.months()),
                CalendarUnit::Year => epoch.checked_add(number.years()),
            }
            .unwrap()
        };
        let mut first = 0;
        while date(first) > civil::date(YEARS.0 - 1, 1, 1) {
            first -= 1;
        }
        // Two more on both sides, for neighbours of the outermost bucket.
        first -= 2;
        let last = civil::date(YEARS.1 + 1, 1, 1);
        let mut seconds = Vec::new();
        let mut beyond = 0;
        for bucket in first.. {
            let date = date(bucket);
            let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
            seconds.push(midnight.timestamp().as_second());
            beyond += i32::from(date > last);
            if beyond > 3 {
                break;
            }
        }
        Self { unit, count, first, seconds }
    }

    fn of(&self, bucket: i64) -> i64 {
        self.seconds[(bucket - self.first) as usize]
    }
}

impl Zone {
    /// First second at which the clocks have reached `local`, from `jiff`'s offsets.
    fn reached(&self, local: i64) -> i64 {
        let from = self.theirs.partition_point(|change| change.0 <= local - NEAR_SECONDS);
        for number in from.saturating_sub(1).. {
            let (start, offset) = self.theirs[number];
            let end = self.theirs.get(number + 1).map_or(i64::MAX, |next| next.0);
            let second = start.max(local - offset);
            if second < end {
                return second;
            }
        }
        unreachable!()
    }

    /// The bucket of a second, by definition: the last one whose first midnight has been reached.
    fn bucket(&self, midnights: &Midnights, second: i64) -> i64 {
        let near = midnights.seconds.partition_point(|midnight| *midnight <= second) as i64;
        let mut bucket = midnights.first + near - 1;
        while self.reached(midnights.of(bucket)) > second {
            bucket -= 1;
        }
        while self.reached(midnights.of(bucket + 1)) <= second {
            bucket += 1;
        }
        bucket
    }

    /// Whether both libraries use the same offsets around a second.
    fn agreed(&self, second: i64) -> bool {
        if second >= year(YEARS.1) + NEAR_SECONDS {
            return false;
        }
        let past = self.differing.partition_point(|(_, to)| *to <= second - NEAR_SECONDS);
        self.differing.get(past).is_none_or(|(from, _)| *from > second + NEAR_SECONDS)
    }

    /// Compares the bucket of a second; `false` where the data differ.
    fn compare_second(&self, calendar: &Calendar, midnights: &Midnights, second: i64) -> bool {
        if !self.agreed(second) {
            return false;
        }
        let (unit, count) = (midnights.unit, midnights.count);
        let context = || format!("{} {count} {unit:?} {} seed {SEED:#x}", self.name, text(second));
        let bucket = self.bucket(midnights, second);
        let stay = calendar.locate(second).unwrap();
        assert_eq!(stay.bucket, BucketId(bucket), "{}", context());
        assert!(stay.first <= second && second < stay.next, "{stay:?} {}", context());
        let (edge, next) = (midnights.of(bucket), midnights.of(bucket + 1));
        assert!(!self.agreed(edge) || self.reached(edge) <= stay.first, "{stay:?} {}", context());
        assert!(!self.agreed(next) || stay.next <= self.reached(next), "{stay:?} {}", context());
        true
    }

    /// Compares the start of a bucket, the seconds before and at it, and whether the bucket is skipped.
    fn compare_edge(&self, calendar: &Calendar, midnights: &Midnights, bucket: i64) {
        let local = midnights.of(bucket);
        if !self.agreed(local) {
            return;
        }
        let (unit, count) = (midnights.unit, midnights.count);
        let context = || format!("{} {count} {unit:?} bucket {bucket} seed {SEED:#x}", self.name);
        let edge = self.reached(local);
        assert_eq!(calendar.edge(bucket), edge, "{}", context());
        self.compare_second(calendar, midnights, edge - 1);
        self.compare_second(calendar, midnights, edge);
        let next = midnights.of(bucket + 1);
        if self.agreed(next) {
            let skipped = calendar.skipped_between(BucketId(bucket), BucketId(bucket));
            assert_eq!(skipped, u64::from(self.reached(next) == edge), "{}", context());
        }
    }
}

#[test]
fn buckets_of_every_zone_are_those_of_jiff() {
    let widths = WIDTHS.map(|(unit, count)| Midnights::new(unit, count));
    let named: BTreeSet<&str> = DIFFERING.iter().flat_map(|known| known.0).copied().collect();
    let (from, to) = (year(YEARS.0), year(YEARS.1));
    let mut state = SEED;
    let mut random = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + ((mixed ^ (mixed >> 31)) % (to - from).unsigned_abs()).cast_signed()
    };
    // Links share the offsets of the zone they stand for, in both libraries; one of them stands for all.
    let mut distinct = BTreeMap::new();
    for zone in ZONES.iter() {
        let ours: Vec<(i64, i64)> =
            zone.ours.iter().map(|span| (span.start, span.offset)).collect();
        distinct.entry((ours, &zone.theirs)).or_insert(zone);
    }
    let (mut compared, mut left_out) = ([0_u64; 2], [0_u64; 2]);
    let mut latest = i64::MIN;
    for zone in distinct.values() {
        let changes = zone.theirs.iter().map(|change| change.0);
        let changes = changes.filter(|change| (from..to).contains(change));
        let mut instants: Vec<i64> =
            changes.flat_map(|change| [change - 1, change, change + 1]).collect();
        instants.extend(std::iter::repeat_with(&mut random).take(60));
        instants.sort_unstable();
        latest = latest.max(*instants.last().unwrap());
        for midnights in &widths {
            let calendar = Calendar::of_spans(zone.ours.clone(), midnights.unit, midnights.count);
            let mut done = i64::MIN;
            for &second in &instants {
                let era = usize::from(second >= 0);
                if zone.compare_second(&calendar, midnights, second) {
                    compared[era] += 1;
                } else {
                    assert!(named.contains(zone.name.as_str()), "{}", zone.name);
                    left_out[era] += 1;
                }
                let bucket = zone.bucket(midnights, second);
                // The buckets around it, unless the instant before has had them compared.
                for bucket in (bucket - 1).max(done + 1)..=bucket + 2 {
                    zone.compare_edge(&calendar, midnights, bucket);
                    done = bucket;
                }
            }
        }
    }
    assert!(distinct.len() > 300, "{}", distinct.len());
    assert!(latest > year(YEARS.1 - 1), "{}", text(latest));
    // Only instants of the named zones are left out.
    assert!(left_out[0] * 100 < compared[0], "{left_out:?} of {compared:?} seed {SEED:#x}");
    assert!(left_out[1] * 100 < compared[1], "{left_out:?} of {compared:?} seed {SEED:#x}");
}

/// For every zone the starts of the local days around each change of its clocks from 1970 to 2037, where both copies of the
/// data agree; several days that start at the same instant are one.
pub(crate) fn days_around_changes(mut visit: impl FnMut(&str, &[Vec<i64>])) {
    let midnights = Midnights::new(CalendarUnit::Day, 1);
    // Links share the offsets of the zone they stand for, in both libraries; one of them stands for all.
    let mut seen = BTreeSet::new();
    for zone in ZONES.iter() {
        let ours: Vec<(i64, i64)> =
            zone.ours.iter().map(|span| (span.start, span.offset)).collect();
        if !seen.insert((ours, &zone.theirs)) {
            continue;
        }
        let mut all = Vec::new();
        for &(change, _) in &zone.theirs {
            if !(year(1970)..year(2038)).contains(&change) || !zone.agreed(change) {
                continue;
            }
            let day = zone.bucket(&midnights, change);
            let mut starts: Vec<i64> =
                (day - 3..=day + 3).map(|day| zone.reached(midnights.of(day))).collect();
            starts.dedup();
            if starts.iter().all(|start| zone.agreed(*start)) {
                all.push(starts);
            }
        }
        visit(&zone.name, &all);
    }
}

#[test]
fn days_that_the_date_line_skipped_are_the_known_ones() {
    let mut skipped = BTreeSet::new();
    for zone in ZONES.iter() {
        let calendar = Calendar::of_spans(zone.ours.clone(), CalendarUnit::Day, 1);
        for day in calendar.skipped.iter() {
            skipped.insert((date_of(day.0).to_string(), zone.name.as_str()));
        }
    }
    // Zones on the other side of the date line from the day before on.
    let known = [
        (
            "1844-12-31",
            &["Asia/Manila", "Pacific/Guam", "Pacific/Kosrae", "Pacific/Palau", "Pacific/Saipan"][..],
        ),
        ("1993-08-21", &["Kwajalein", "Pacific/Kwajalein"]),
        ("1994-12-31", &["Pacific/Enderbury", "Pacific/Kanton", "Pacific/Kiritimati"]),
        ("2011-12-30", &["Pacific/Apia", "Pacific/Fakaofo"]),
    ];
    let known: BTreeSet<(String, &str)> = known
        .into_iter()
        .flat_map(|(day, names)| names.iter().map(move |name| (day.to_owned(), *name)))
        .collect();
    assert_eq!(skipped, known);
}

#[test]
fn the_offset_at_the_end_of_2099_holds_from_then_on() {
    let end = year(2100);
    let mut changing = 0;
    for zone in ZONES.iter() {
        let last = zone.ours.last().unwrap();
        assert!(last.start < end, "{}", zone.name);
        changing += u32::from(zone.theirs.last().unwrap().0 >= end);
        let calendar = Calendar::of_spans(zone.ours.clone(), CalendarUnit::Day, 1);
        let first = (end + last.offset).div_euclid(DAY_SECONDS) + 1;
        for day in first..first + 366 {
            assert_eq!(calendar.edge(day), day * DAY_SECONDS - last.offset, "{}", zone.name);
        }
    }
    // The limit is real; when `chrono-tz` learns more years, `calendar`'s words on it change too.
    assert!(changing > 150, "{changing}");
}
