//! What a filter says about the index column, as far as it is sound to conclude. Pure.
//!
//! Two things are derived. [`rewrite`] replaces comparisons of a time function of the index (`date_trunc`, `date_bin`,
//! `time_bucket`, casts) by the plain range of index values in which they can be true, which min and max values can be held against.
//! [`index_span`] is the smallest range found around all of a filter, for skipping most of many segments cheaply;
//! [`exact_span`] exists only where the filter is that range and nothing else.
//!
//! Everything here errs towards keeping rows: a form that is not understood stays as it is, or spans everything.
//!
//! How a time function is understood: for `f(ts)` it is enough to know bounds of `f(ts) - ts`. `date_trunc('day', ts)` lies
//! in `ts - (1 day - 1 tick) ..= ts`, so `date_trunc('day', ts) = d` can only hold in `d ..= d + (1 day - 1 tick)`. Bounds of
//! nested functions add up. In a zone other than UTC, truncation and casts follow the local clock: a day of slack on
//! either side covers every offset and every DST change.

use arrow::datatypes::{DataType, IntervalDayTimeType, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, col, lit};

use crate::datafusion::{AT_TIME_ZONE, bucket_length, marked};
use crate::schema::TableLayout;
use crate::types::{IndexType, nanos_per_tick};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 86_400 * NANOS_PER_SECOND;
/// Longest month, quarter and year.
const MONTH_DAYS_MAX: i128 = 31;
const QUARTER_DAYS_MAX: i128 = 92;
const YEAR_DAYS_MAX: i128 = 366;

/// The index column of a table, as expressions name it.
#[derive(Debug, Clone)]
pub(super) struct IndexColumn<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: &'a DataType,
    pub(super) index_type: IndexType,
}

/// Index values as numbers in their own order, both ends included. `first > last` is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i128,
    pub(super) last: i128,
}

impl Span {
    pub(super) const ALL: Self = Self { first: i128::MIN, last: i128::MAX };
    const NONE: Self = Self { first: i128::MAX, last: i128::MIN };

    fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    fn or(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        !self.and(other).is_empty()
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl<'a> IndexColumn<'a> {
    /// The index column of a layout; `None` on plain tables.
    pub(super) fn of(layout: &'a TableLayout) -> Option<Self> {
        let field = layout.schema.fields().get(layout.index?)?;
        Some(Self {
            name: field.name(),
            data_type: field.data_type(),
            index_type: layout.index_type?,
        })
    }

    /// An index value as the log keeps it (bit pattern for UInt64), as a number.
    pub(super) fn number(&self, value: i64) -> i128 {
        match self.index_type {
            IndexType::UInt64 => i128::from(value.cast_unsigned()),
            IndexType::Timestamp(_) | IndexType::Int64 => i128::from(value),
        }
    }

    fn is(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Column(column) if column.name == self.name)
    }

    /// The number of a literal that has exactly the index's type.
    fn literal(&self, expr: &Expr) -> Option<i128> {
        let Expr::Literal(value, _) = expr else { return None };
        if value.data_type() != *self.data_type {
            return None;
        }
        match value {
            ScalarValue::UInt64(value) => value.map(i128::from),
            ScalarValue::Int64(value)
            | ScalarValue::TimestampSecond(value, _)
            | ScalarValue::TimestampMillisecond(value, _)
            | ScalarValue::TimestampMicrosecond(value, _)
            | ScalarValue::TimestampNanosecond(value, _) => value.map(i128::from),
            _ => None,
        }
    }

    /// A literal of the index's type; `None` when the number does not fit it.
    fn scalar(&self, number: i128) -> Option<ScalarValue> {
        if self.index_type == IndexType::UInt64 {
            return Some(ScalarValue::UInt64(Some(u64::try_from(number).ok()?)));
        }
        let value = Some(i64::try_from(number).ok()?);
        match self.data_type {
            DataType::Int64 => Some(ScalarValue::Int64(value)),
            DataType::Timestamp(unit, zone) => Some(match unit {
                TimeUnit::Second => ScalarValue::TimestampSecond(value, zone.clone()),
                TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone.clone()),
                TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone.clone()),
                TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone.clone()),
            }),
            _ => None,
        }
    }
}

/// A range of index values that holds every row for which `filter` is true.
pub(super) fn index_span(filter: &Expr, index: &IndexColumn<'_>) -> Span {
    if let Some(span) = exact_span(filter, index) {
        return span;
    }
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            index_span(left, index).and(index_span(right, index))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            index_span(left, index).or(index_span(right, index))
        }
        Expr::InList(InList { expr, list, negated: false }) if index.is(expr) => {
            let numbers: Option<Vec<i128>> = list.iter().map(|item| index.literal(item)).collect();
            numbers.map_or(Span::ALL, |numbers| {
                numbers
                    .into_iter()
                    .fold(Span::NONE, |span, at| span.or(Span { first: at, last: at }))
            })
        }
        _ => Span::ALL,
    }
}

/// The range of index values, when `filter` is true for exactly the rows whose index lies in one.
pub(super) fn exact_span(filter: &Expr, index: &IndexColumn<'_>) -> Option<Span> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(exact_span(left, index)?.and(exact_span(right, index)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, number) = if index.is(left) {
                (*op, index.literal(right)?)
            } else if index.is(right) {
                (op.swap()?, index.literal(left)?)
            } else {
                return None;
            };
            match op {
                Operator::Eq => Some(Span { first: number, last: number }),
                Operator::Lt => Some(Span { last: number - 1, ..Span::ALL }),
                Operator::LtEq => Some(Span { last: number, ..Span::ALL }),
                Operator::Gt => Some(Span { first: number + 1, ..Span::ALL }),
                Operator::GtEq => Some(Span { first: number, ..Span::ALL }),
                _ => None,
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) if index.is(expr) => {
            Some(Span { first: index.literal(low)?, last: index.literal(high)? })
        }
        Expr::IsNotNull(inner) if index.is(inner) => Some(Span::ALL),
        _ => None,
    }
}

/// `filter` with comparisons of time functions of the index replaced by the index range in which they can be true. True
/// for every row for which `filter` is. `None` when nothing was to be replaced.
pub(super) fn rewrite(filter: &Expr, index: &IndexColumn<'_>) -> Option<Expr> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let (new_left, new_right) = (rewrite(left, index), rewrite(right, index));
            if new_left.is_none() && new_right.is_none() {
                return None;
            }
            let left = new_left.unwrap_or_else(|| left.as_ref().clone());
            let right = new_right.unwrap_or_else(|| right.as_ref().clone());
            Some(if *op == Operator::And { left.and(right) } else { left.or(right) })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (function, op, literal) = match (&**left, &**right) {
                (function, Expr::Literal(literal, _)) => (function, *op, literal),
                (Expr::Literal(literal, _), function) => (function, op.swap()?, literal),
                _ => return None,
            };
            let offset = time_function(function, index)?;
            let at = offset.instant(literal)?;
            match op {
                Operator::Eq => range(index, Some(at - offset.last), Some(at - offset.first)),
                Operator::Lt => range(index, None, Some(at - offset.first - 1)),
                Operator::LtEq => range(index, None, Some(at - offset.first)),
                Operator::Gt => range(index, Some(at - offset.last + 1), None),
                Operator::GtEq => range(index, Some(at - offset.last), None),
                _ => None,
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let offset = time_function(expr, index)?;
            let (Expr::Literal(low, _), Expr::Literal(high, _)) = (&**low, &**high) else {
                return None;
            };
            let (low, high) = (offset.instant(low)?, offset.instant(high)?);
            range(index, Some(low - offset.last), Some(high - offset.first))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let offset = time_function(expr, index)?;
            let mut ranges = None;
            for item in list {
                let Expr::Literal(literal, _) = item else { return None };
                let at = offset.instant(literal)?;
                let one = range(index, Some(at - offset.last), Some(at - offset.first))?;
                ranges = Some(match ranges {
                    None => one,
                    Some(ranges) => Expr::or(ranges, one),
                });
            }
            ranges
        }
        _ => None,
    }
}

/// `index >= first AND index <= last` for bounds in nanoseconds, or in steps of integers. A bound that the index cannot hold is left out; `None` when
/// none is left.
fn range(index: &IndexColumn<'_>, first: Option<i128>, last: Option<i128>) -> Option<Expr> {
    let unit = tick_nanos(index.data_type)?;
    // The first tick that is not before `first`, the last that is not after `last`.
    let first = first.and_then(|nanos| index.scalar(-(-nanos).div_euclid(unit)));
    let last = last.and_then(|nanos| index.scalar(nanos.div_euclid(unit)));
    let column = || col(datafusion::common::Column::from_name(index.name));
    let first = first.map(|value| column().gt_eq(lit(value)));
    let last = last.map(|value| column().lt_eq(lit(value)));
    match (first, last) {
        (Some(first), Some(last)) => Some(first.and(last)),
        (first, last) => first.or(last),
    }
}

/// Bounds of `expr - index` in nanoseconds, or in steps of integers, and the type of `expr`.
struct Offset {
    first: i128,
    last: i128,
    data_type: DataType,
}

/// Understands `expr` as a function of the index column (not the bare column: comparisons of that need no help).
fn time_function(expr: &Expr, index: &IndexColumn<'_>) -> Option<Offset> {
    match expr {
        Expr::Column(_) => None,
        _ => offset_of(expr, index),
    }
}

fn offset_of(expr: &Expr, index: &IndexColumn<'_>) -> Option<Offset> {
    match expr {
        Expr::Column(_) if index.is(expr) => {
            tick_nanos(index.data_type)?;
            Some(Offset { first: 0, last: 0, data_type: index.data_type.clone() })
        }
        Expr::Alias(alias) => offset_of(&alias.expr, index),
        Expr::Cast(cast) => offset_of_cast(&cast.expr, cast.field.data_type(), index),
        Expr::TryCast(cast) => offset_of_cast(&cast.expr, cast.field.data_type(), index),
        Expr::ScalarFunction(function) => match function.name() {
            "date_trunc" | "datetrunc" => offset_of_date_trunc(function, index),
            "date_bin" => offset_of_date_bin(function, index),
            "time_bucket" => offset_of_time_bucket(function, index),
            AT_TIME_ZONE => offset_of_zone(function, index),
            _ => offset_of(marked(function)?, index),
        },
        _ => None,
    }
}

/// The moment when clocks of a zone show a time, in the unit of the time.
fn offset_of_zone(function: &ScalarFunction, index: &IndexColumn<'_>) -> Option<Offset> {
    let [time, Expr::Literal(zone, _)] = function.args.as_slice() else { return None };
    let DataType::Timestamp(unit, _) = offset_of(time, index)?.data_type else { return None };
    offset_of_cast(time, &DataType::Timestamp(unit, Some(zone.try_as_str()??.into())), index)
}

fn offset_of_cast(inner: &Expr, to: &DataType, index: &IndexColumn<'_>) -> Option<Offset> {
    let inner = offset_of(inner, index)?;
    let (mut first, mut last) = (inner.first, inner.last);
    match (&inner.data_type, to) {
        (DataType::Timestamp(from_unit, from_zone), DataType::Timestamp(to_unit, to_zone)) => {
            // Instants stay what they are between zones; a naive timestamp is read on the local clock.
            let clock_changes = from_zone.is_some() != to_zone.is_some();
            if clock_changes && !(is_utc(from_zone.as_deref()) && is_utc(to_zone.as_deref())) {
                first -= NANOS_PER_DAY;
                last += NANOS_PER_DAY;
            }
            let (from_unit, to_unit) = (unit_nanos(*from_unit), unit_nanos(*to_unit));
            if to_unit > from_unit {
                // Division rounds towards zero, so up before the epoch.
                first -= to_unit - from_unit;
                last += to_unit - from_unit;
            }
        }
        (DataType::Timestamp(unit, zone), DataType::Date32) => {
            first -= NANOS_PER_DAY - unit_nanos(*unit);
            if !is_utc(zone.as_deref()) {
                first -= NANOS_PER_DAY;
                last += NANOS_PER_DAY;
            }
        }
        (DataType::Date32, DataType::Timestamp(_, zone)) => {
            if !is_utc(zone.as_deref()) {
                first -= NANOS_PER_DAY;
                last += NANOS_PER_DAY;
            }
        }
        _ => return None,
    }
    Some(Offset { first, last, data_type: to.clone() })
}

fn offset_of_date_trunc(function: &ScalarFunction, index: &IndexColumn<'_>) -> Option<Offset> {
    let [Expr::Literal(granularity, _), argument] = function.args.as_slice() else { return None };
    let granularity = granularity.try_as_str()??.to_lowercase();
    let inner = offset_of(argument, index)?;
    let DataType::Timestamp(unit, zone) = &inner.data_type else { return None };
    let (width, follows_clock) = match granularity.as_str() {
        "microsecond" => (1_000, false),
        "millisecond" => (1_000_000, false),
        "second" => (NANOS_PER_SECOND, false),
        "minute" => (60 * NANOS_PER_SECOND, false),
        "hour" => (3_600 * NANOS_PER_SECOND, true),
        "day" => (NANOS_PER_DAY, true),
        "week" => (7 * NANOS_PER_DAY, true),
        "month" => (MONTH_DAYS_MAX * NANOS_PER_DAY, true),
        "quarter" => (QUARTER_DAYS_MAX * NANOS_PER_DAY, true),
        "year" => (YEAR_DAYS_MAX * NANOS_PER_DAY, true),
        _ => return None,
    };
    let (mut first, mut last) = (inner.first, inner.last);
    first -= (width - unit_nanos(*unit)).max(0);
    if follows_clock && !is_utc(zone.as_deref()) {
        first -= NANOS_PER_DAY;
        last += NANOS_PER_DAY;
    }
    Some(Offset { first, last, data_type: inner.data_type })
}

fn offset_of_date_bin(function: &ScalarFunction, index: &IndexColumn<'_>) -> Option<Offset> {
    let (Expr::Literal(stride, _), argument, origin) = (match function.args.as_slice() {
        [stride, argument] => (stride, argument, None),
        [stride, argument, origin] => (stride, argument, Some(origin)),
        _ => return None,
    }) else {
        return None;
    };
    let (months, days, nanos) = match stride {
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            let (months, days, nanos) = IntervalMonthDayNanoType::to_parts(*value);
            (i128::from(months), i128::from(days), i128::from(nanos))
        }
        ScalarValue::IntervalDayTime(Some(value)) => {
            let (days, millis) = IntervalDayTimeType::to_parts(*value);
            (0, i128::from(days), i128::from(millis) * 1_000_000)
        }
        _ => return None,
    };
    if months < 0 || days < 0 || nanos < 0 {
        return None;
    }
    let width = (months * MONTH_DAYS_MAX + days) * NANOS_PER_DAY + nanos;
    if width == 0 {
        return None;
    }
    let inner = offset_of(argument, index)?;
    let DataType::Timestamp(unit, _) = &inner.data_type else { return None };
    let unit = unit_nanos(*unit);
    let (mut first, mut last) = (inner.first, inner.last);
    first -= (width - unit).max(0);
    // A bin that starts between two ticks (an odd origin or stride) is rounded towards zero.
    if origin.is_some() || months > 0 || width % unit != 0 {
        first -= unit;
        last += unit;
    }
    Some(Offset { first, last, data_type: inner.data_type })
}

/// A bucket starts at its first value or before, whatever the zone and the origin, and its last value is the tick before its end.
fn offset_of_time_bucket(function: &ScalarFunction, index: &IndexColumn<'_>) -> Option<Offset> {
    let [_, argument, ..] = function.args.as_slice() else { return None };
    let inner = offset_of(argument, index)?;
    let length = bucket_length(&function.args, &inner.data_type)?;
    let unit = match inner.data_type {
        DataType::Date32 => NANOS_PER_DAY,
        _ => tick_nanos(&inner.data_type)?,
    };
    let first = inner.first - (length - unit).max(0);
    Some(Offset { first, ..inner })
}

impl Offset {
    /// A literal of the function's own type, in nanoseconds since the epoch; of integers, the number.
    fn instant(&self, literal: &ScalarValue) -> Option<i128> {
        if literal.data_type() != self.data_type {
            return None;
        }
        let value = match literal {
            ScalarValue::TimestampSecond(value, _)
            | ScalarValue::TimestampMillisecond(value, _)
            | ScalarValue::TimestampMicrosecond(value, _)
            | ScalarValue::TimestampNanosecond(value, _) => i128::from((*value)?),
            ScalarValue::Int64(value) => i128::from((*value)?),
            ScalarValue::UInt64(value) => i128::from((*value)?),
            ScalarValue::Date32(value) => return Some(i128::from((*value)?) * NANOS_PER_DAY),
            _ => return None,
        };
        Some(value * tick_nanos(&self.data_type)?)
    }
}

/// What a tick of an index column is; integers count in their own steps, which nothing here mixes with nanoseconds.
fn tick_nanos(data_type: &DataType) -> Option<i128> {
    match data_type {
        DataType::Int64 | DataType::UInt64 => Some(1),
        DataType::Timestamp(unit, _) => Some(unit_nanos(*unit)),
        _ => None,
    }
}

fn unit_nanos(unit: TimeUnit) -> i128 {
    i128::from(nanos_per_tick(unit))
}

/// Whether the clock of a zone is UTC's; a timestamp without zone counts as one.
fn is_utc(zone: Option<&str>) -> bool {
    zone.is_none_or(|zone| {
        matches!(zone, "UTC" | "Z" | "+00:00" | "-00:00" | "+00" | "+0000" | "Etc/UTC")
    })
}
