//! What differs from DataFusion's own functions and types: sizes are bounded, times are microseconds.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::exec_err;
use datafusion::error::Result as DfResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};

use crate::limits;
use crate::query::now;

/// Functions whose result is as large as their second argument says.
const SIZED_BY_ARGUMENT: [&str; 4] = ["repeat", "lpad", "rpad", "array_resize"];
/// The same for the position of the argument: `array_repeat(element, count)`.
const SIZE_ARGUMENT: usize = 1;
/// Functions that make a list from two bounds; the table functions of the same names stay, they make rows step by step.
const LIST_MAKERS: [&str; 2] = ["range", "generate_series"];

/// Functions that give the time of the statement.
const TIMES: [&str; 2] = ["now", "current_time"];

/// Types as SQL names them.
#[derive(Debug)]
pub(crate) struct SqlTypes;

impl TypePlanner for SqlTypes {
    /// TIMESTAMP and TIME without a precision mean microseconds, as in PostgreSQL: nanoseconds end in the year 2262. One of any
    /// number of digits is of the unit that holds them. Names of the SQL standard for text and bytes are taken too: ADBC for Java
    /// creates its tables with CLOB columns.
    fn plan_type_field(&self, sql_type: &SqlType) -> DfResult<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Timestamp(digits, zone) => {
                let zone = match zone {
                    TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some("UTC".into()),
                    TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
                };
                match unit_of(*digits) {
                    Some(unit) => DataType::Timestamp(unit, zone),
                    None => return Ok(None),
                }
            }
            SqlType::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                match unit_of(*digits) {
                    Some(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => {
                        DataType::Time32(unit)
                    }
                    Some(unit) => DataType::Time64(unit),
                    None => return Ok(None),
                }
            }
            SqlType::Clob(_) | SqlType::CharacterLargeObject(_) | SqlType::CharLargeObject(_) => {
                DataType::Utf8
            }
            SqlType::Blob(_) | SqlType::Binary(_) | SqlType::Varbinary(_) => DataType::Binary,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// The unit of times with so many digits behind the second; `None` for more than there are units for.
fn unit_of(digits: Option<u64>) -> Option<TimeUnit> {
    match digits {
        Some(0) => Some(TimeUnit::Second),
        Some(1..=3) => Some(TimeUnit::Millisecond),
        None | Some(4..=6) => Some(TimeUnit::Microsecond),
        Some(7..=9) => Some(TimeUnit::Nanosecond),
        Some(_) => None,
    }
}

/// Puts bounds on the functions that could fill the memory from one short statement, our `date_bin`, `date_trunc`, `min`
/// and `max` in place of its own, the time of the statement in microseconds, and adds those of time series and of gap filling.
///
/// # Errors
/// When a function cannot be replaced.
pub(crate) fn bound(state: &mut SessionState) -> DfResult<()> {
    for name in LIST_MAKERS {
        state.deregister_udf(name)?;
    }
    let date_bin = state.udf("date_bin")?;
    state.register_udf(Arc::new(table_core::datafusion::date_bin(date_bin)))?;
    let date_trunc = state.udf("date_trunc")?;
    state.register_udf(Arc::new(table_core::datafusion::date_trunc(date_trunc)))?;
    for name in TIMES {
        let nanoseconds = state.udf(name)?;
        state.register_udf(Arc::new(now::in_microseconds(nanoseconds)))?;
    }
    for name in ["min", "max"] {
        let bound = state.udaf(name)?;
        state.register_udaf(Arc::new(table_core::datafusion::float_bounds(bound)))?;
    }
    let series = table_core::datafusion::scalar_functions();
    for function in series.into_iter().chain(table_core::datafusion::gapfill_functions()) {
        state.register_udf(Arc::new(function))?;
    }
    for function in table_core::datafusion::aggregate_functions() {
        state.register_udaf(Arc::new(function))?;
    }
    for name in SIZED_BY_ARGUMENT.into_iter().chain(["array_repeat"]) {
        if let Ok(inner) = state.udf(name) {
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner })))?;
        }
    }
    Ok(())
}

/// A function with a bound on the size that its argument asks for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let asked = asked_size(&args)?;
        // A constant is copied into every row of a batch.
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let max = if constant {
            limits::GENERATED_CONSTANT_BYTES_MAX
        } else {
            limits::GENERATED_BYTES_MAX
        };
        if asked > max {
            return exec_err!(
                "{} would make {asked} bytes or elements at once, but at most {max} are made; ask for less",
                self.name()
            );
        }
        self.inner.invoke_with_args(args)
    }
}

/// Bytes or elements that the result will have, about: for `repeat` the length of the text counts too.
fn asked_size(args: &ScalarFunctionArgs) -> DfResult<i64> {
    let Some(size) = args.args.get(SIZE_ARGUMENT) else { return Ok(0) };
    let rows = i64::try_from(args.number_rows).unwrap_or(i64::MAX);
    let unit = args.args.first().map_or(1, unit_size);
    let total = match size {
        ColumnarValue::Scalar(value) => match value.cast_to(&DataType::Int64) {
            Ok(datafusion::scalar::ScalarValue::Int64(Some(count))) => {
                let all_scalar =
                    args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
                count.max(0).saturating_mul(if all_scalar { 1 } else { rows })
            }
            _ => 0,
        },
        ColumnarValue::Array(values) => {
            let counts = cast(values, &DataType::Int64)?;
            let counts = counts.as_primitive::<Int64Type>();
            counts.iter().flatten().fold(0_i64, |sum, count| sum.saturating_add(count.max(0)))
        }
    };
    Ok(total.saturating_mul(unit))
}

/// Bytes of the longest text of the first argument; 1 for what is no text.
fn unit_size(value: &ColumnarValue) -> i64 {
    let longest = match value {
        ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
            Some(Some(text)) => text.len(),
            _ => 1,
        },
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => {
                array.as_string::<i32>().iter().flatten().map(str::len).max().unwrap_or(1)
            }
            DataType::LargeUtf8 => {
                array.as_string::<i64>().iter().flatten().map(str::len).max().unwrap_or(1)
            }
            DataType::Utf8View => {
                array.as_string_view().iter().flatten().map(str::len).max().unwrap_or(1)
            }
            _ => 1,
        },
    };
    i64::try_from(longest.max(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use datafusion::prelude::SessionContext;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    async fn run(sql: &str) -> DfResult<usize> {
        let mut state = SessionContext::new().state();
        bound(&mut state)?;
        let batches = SessionContext::new_with_state(state).sql(sql).await?.collect().await?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    }

    #[tokio::test]
    async fn small_results_are_made_and_large_ones_refused() {
        for sql in [
            "SELECT repeat('ab', 1000), lpad('x', 5), rpad('x', 5, 'yz')",
            "SELECT repeat(s, n) FROM (VALUES ('a', 3), (NULL, 2), ('b', NULL)) t(s, n)",
            "SELECT repeat('a', -1)",
            "SELECT array_repeat(1, 3), array_resize([1, 2], 5, 0)",
            "SELECT count(*) FROM generate_series(1, 1000000)",
        ] {
            run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        for sql in [
            "SELECT repeat('ab', 100000000)",
            "SELECT lpad('x', 2000000000, 'y')",
            "SELECT rpad(s, 1000000) FROM (SELECT 'a' AS s FROM generate_series(1, 8000))",
            "SELECT repeat(repeat('x', 10000000), n) FROM (VALUES (10), (1)) t(n)",
            "SELECT array_repeat(1, 1000000000)",
            "SELECT array_resize([1], 1000000000)",
            "SELECT range(1, 1000000000)",
            "SELECT generate_series(1, 1000000000)",
        ] {
            assert!(run(sql).await.is_err(), "{sql}");
        }
    }

    #[test]
    fn times_have_as_many_digits_as_they_are_given() -> DfResult<()> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let utc = || Some("UTC".into());
        for (name, expected) in [
            ("TIMESTAMP", Some(DataType::Timestamp(Microsecond, None))),
            ("TIMESTAMP(0)", Some(DataType::Timestamp(Second, None))),
            ("TIMESTAMP(2) WITH TIME ZONE", Some(DataType::Timestamp(Millisecond, utc()))),
            ("TIMESTAMPTZ(5)", Some(DataType::Timestamp(Microsecond, utc()))),
            ("TIMESTAMP(8) WITHOUT TIME ZONE", Some(DataType::Timestamp(Nanosecond, None))),
            ("TIMESTAMP(10)", None),
            ("TIME", Some(DataType::Time64(Microsecond))),
            ("TIME(0)", Some(DataType::Time32(Second))),
            ("TIME(3)", Some(DataType::Time32(Millisecond))),
            ("TIME(6) WITHOUT TIME ZONE", Some(DataType::Time64(Microsecond))),
            ("TIME(9)", Some(DataType::Time64(Nanosecond))),
            ("TIME WITH TIME ZONE", None),
        ] {
            let sql_type = Parser::new(&GenericDialect {}).try_with_sql(name)?.parse_data_type()?;
            let field = SqlTypes.plan_type_field(&sql_type)?;
            assert_eq!(field.map(|field| field.data_type().clone()), expected, "{name}");
        }
        Ok(())
    }

    #[test]
    fn standard_names_of_text_and_bytes_are_known() -> DfResult<()> {
        for (name, expected) in [
            ("CLOB", DataType::Utf8),
            ("CLOB(1000)", DataType::Utf8),
            ("CHARACTER LARGE OBJECT", DataType::Utf8),
            ("CHAR LARGE OBJECT", DataType::Utf8),
            ("BLOB", DataType::Binary),
            ("BINARY(16)", DataType::Binary),
            ("VARBINARY(16)", DataType::Binary),
        ] {
            let sql_type = Parser::new(&GenericDialect {}).try_with_sql(name)?.parse_data_type()?;
            let field = SqlTypes.plan_type_field(&sql_type)?;
            assert_eq!(field.map(|field| field.data_type().clone()), Some(expected), "{name}");
        }
        Ok(())
    }
}
