//! What SQL clients call an Arrow type, its precision and its scale. Pure.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

/// An Arrow type in the words of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SqlType {
    /// Its name.
    pub(super) name: &'static str,
    /// Digits, or digits of the fraction for times; `None` where the word has no meaning.
    pub(super) precision: Option<i32>,
    /// Digits behind the point.
    pub(super) scale: Option<i32>,
}

const fn sized(name: &'static str, precision: i32, scale: i32) -> SqlType {
    SqlType { name, precision: Some(precision), scale: Some(scale) }
}

const fn unsized_(name: &'static str) -> SqlType {
    SqlType { name, precision: None, scale: None }
}

/// The SQL type of a column.
pub(super) fn sql_type(data_type: &DataType) -> SqlType {
    match data_type {
        DataType::Boolean => sized("BOOLEAN", 1, 0),
        DataType::Int8 => sized("TINYINT", 3, 0),
        DataType::Int16 => sized("SMALLINT", 5, 0),
        DataType::Int32 => sized("INTEGER", 10, 0),
        DataType::Int64 => sized("BIGINT", 19, 0),
        DataType::UInt8 => sized("TINYINT UNSIGNED", 3, 0),
        DataType::UInt16 => sized("SMALLINT UNSIGNED", 5, 0),
        DataType::UInt32 => sized("INTEGER UNSIGNED", 10, 0),
        DataType::UInt64 => sized("BIGINT UNSIGNED", 20, 0),
        DataType::Float16 | DataType::Float32 => sized("REAL", 7, 0),
        DataType::Float64 => sized("DOUBLE", 15, 0),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            sized("DECIMAL", i32::from(*precision), i32::from(*scale))
        }
        DataType::Date32 | DataType::Date64 => unsized_("DATE"),
        DataType::Time32(unit) | DataType::Time64(unit) => timed("TIME", *unit),
        DataType::Timestamp(unit, None) => timed("TIMESTAMP", *unit),
        DataType::Timestamp(unit, Some(_)) => timed("TIMESTAMP WITH TIME ZONE", *unit),
        DataType::Duration(_)
        | DataType::Interval(
            IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
        ) => unsized_("INTERVAL"),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => unsized_("VARBINARY"),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(_, _) => unsized_("ARRAY"),
        DataType::Struct(_) | DataType::Union(_, _) => unsized_("STRUCT"),
        DataType::Map(_, _) => unsized_("MAP"),
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::RunEndEncoded(_, values) => sql_type(values.data_type()),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            unsized_("VARCHAR")
        }
    }
}

fn timed(name: &'static str, unit: TimeUnit) -> SqlType {
    let digits = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    SqlType { name, precision: Some(digits), scale: None }
}
