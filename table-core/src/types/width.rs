//! Widths of buckets as users write them, and why one is refused.
//!
//! Text only; what a width means for index values is `bucket`.

use std::fmt;

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
    #[error(
        "time zone \"{zone}\" is not known; write an IANA name such as \"America/New_York\" or \"UTC\""
    )]
    UnknownZone {
        /// What was given.
        zone: String,
    },
}

/// Fixed units, coarsest first, with their nanoseconds.
const FIXED_UNITS: [(&str, i64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl BucketWidth {
    /// Parses `"1h"`, `"15m"`, `"1d"`, `"250"`. Units: ns us ms s m h (fixed) and d w mo y (calendar).
    ///
    /// # Errors
    /// [`BucketParseError::NotAWidth`] for zero, negative, fractional, overflowing or unknown text.
    pub fn parse(text: &str) -> Result<Self, BucketParseError> {
        Self::parse_positive(text)
            .ok_or_else(|| BucketParseError::NotAWidth { text: text.to_owned() })
    }

    fn parse_positive(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        // A sign never gets here: `split_at` left it in the unit.
        let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
        let calendar = |unit| Some(Self::Calendar { count: u32::try_from(number).ok()?, unit });
        match unit {
            "" => Some(Self::Steps(number)),
            "d" => calendar(CalendarUnit::Day),
            "w" => calendar(CalendarUnit::Week),
            "mo" => calendar(CalendarUnit::Month),
            "y" => calendar(CalendarUnit::Year),
            _ => {
                let (_, nanos) = FIXED_UNITS.into_iter().find(|(name, _)| *name == unit)?;
                Some(Self::Nanos(i64::try_from(number).ok()?.checked_mul(nanos)?))
            }
        }
    }
}

impl fmt::Display for BucketWidth {
    /// The canonical text, which parses back to the same width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nanos(nanos) => {
                let (unit, size) = FIXED_UNITS
                    .into_iter()
                    .find(|(_, size)| nanos % size == 0)
                    .unwrap_or(("ns", 1));
                write!(f, "{}{unit}", nanos / size)
            }
            Self::Calendar { count, unit } => {
                let unit = match unit {
                    CalendarUnit::Day => "d",
                    CalendarUnit::Week => "w",
                    CalendarUnit::Month => "mo",
                    CalendarUnit::Year => "y",
                };
                write!(f, "{count}{unit}")
            }
            Self::Steps(steps) => steps.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn widths_parse_and_print_canonically() {
        for (text, width, canonical) in [
            ("1ns", BucketWidth::Nanos(1), "1ns"),
            ("1500us", BucketWidth::Nanos(1_500_000), "1500us"),
            ("1000us", BucketWidth::Nanos(1_000_000), "1ms"),
            ("1s", BucketWidth::Nanos(1_000_000_000), "1s"),
            ("15m", BucketWidth::Nanos(900_000_000_000), "15m"),
            ("60m", BucketWidth::Nanos(3_600_000_000_000), "1h"),
            ("24h", BucketWidth::Nanos(86_400_000_000_000), "24h"),
            ("1d", BucketWidth::Calendar { count: 1, unit: CalendarUnit::Day }, "1d"),
            ("2w", BucketWidth::Calendar { count: 2, unit: CalendarUnit::Week }, "2w"),
            ("1mo", BucketWidth::Calendar { count: 1, unit: CalendarUnit::Month }, "1mo"),
            ("5y", BucketWidth::Calendar { count: 5, unit: CalendarUnit::Year }, "5y"),
            ("250", BucketWidth::Steps(250), "250"),
            ("18446744073709551615", BucketWidth::Steps(u64::MAX), "18446744073709551615"),
            ("9223372036854775807ns", BucketWidth::Nanos(i64::MAX), "9223372036854775807ns"),
        ] {
            assert_eq!(BucketWidth::parse(text).unwrap(), width, "{text}");
            assert_eq!(width.to_string(), canonical);
            assert_eq!(BucketWidth::parse(canonical).unwrap(), width);
        }
    }

    #[test]
    fn what_is_no_width_is_refused_with_the_text() {
        for text in [
            "",
            "0",
            "0s",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            " 1h",
            "1h ",
            "h",
            "mo",
            "1H",
            "1M",
            "1min",
            "1hour",
            "2h30m",
            "1µs",
            "1e3",
            "18446744073709551616",
            "9223372036854775808ns",
            "9223372037s",
            "4294967296d",
            "１h",
            "1\0",
        ] {
            let refused = BucketWidth::parse(text).unwrap_err();
            assert_eq!(refused, BucketParseError::NotAWidth { text: text.to_owned() }, "{text:?}");
        }
    }
}
