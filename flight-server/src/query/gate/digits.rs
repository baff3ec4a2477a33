//! Literals with more digits than the planner would keep: it reads numbers as doubles, and a TIMESTAMP or TIME without a precision has
//! six digits behind the second. Those that need more are given a type that has them.

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, Value};

use super::each_expression;

/// Significant digits that every double keeps.
const DOUBLE_DIGITS: usize = 15;

/// Most digits of a decimal.
const DECIMAL_DIGITS_MAX: usize = 38;

/// Digits behind the second where a type does not say how many, and most that there can be.
const TIME_DIGITS: usize = 6;
const TIME_DIGITS_MAX: u64 = 9;

/// Gives such literals their types.
pub(super) fn keep(statement: &mut DfStatement) {
    each_expression(statement, keep_of);
}

fn keep_of(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => {
            let Value::Number(text, _) = &value.value else { return };
            let Some((precision, scale)) = decimal(text) else { return };
            let mut written = value.clone();
            written.value = Value::SingleQuotedString(text.clone());
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Value(written)),
                data_type: DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)),
                array: false,
                format: None,
            };
        }
        Expr::TypedString(literal) => {
            let (DataType::Timestamp(digits @ None, _) | DataType::Time(digits @ None, _)) =
                &mut literal.data_type
            else {
                return;
            };
            let text = literal.value.value.clone().into_string();
            if text.is_some_and(|text| digits_of_second(&text) > TIME_DIGITS) {
                *digits = Some(TIME_DIGITS_MAX);
            }
        }
        _ => {}
    }
}

/// Precision and scale of the decimal that keeps a number; `None` where a double or an integer does, or nothing.
fn decimal(text: &str) -> Option<(u64, i64)> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !integer.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let integer = integer.trim_start_matches('0');
    let is_integer = !text.contains('.');
    let kept = match is_integer {
        true => integer.is_empty() || integer.parse::<u64>().is_ok(),
        false => {
            let digits = format!("{integer}{}", fraction.trim_end_matches('0'));
            digits.trim_start_matches('0').len() <= DOUBLE_DIGITS
        }
    };
    let digits = integer.len() + fraction.len();
    let fits = !kept && digits <= DECIMAL_DIGITS_MAX;
    fits.then_some(())
        .and_then(|()| Some((digits.try_into().ok()?, fraction.len().try_into().ok()?)))
}

/// Digits behind the second, without the noughts at their end.
fn digits_of_second(text: &str) -> usize {
    let behind = text.rsplit_once('.').map_or("", |(_, behind)| behind);
    let length = behind.bytes().take_while(u8::is_ascii_digit).count();
    behind.get(..length).unwrap_or_default().trim_end_matches('0').len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_double_keeps_are_decimals() {
        for (text, expected) in [
            ("1.5", None),
            ("0.000000000000000000000123456789012345", None),
            ("123456789012345.0000", None),
            ("18446744073709551615", None),
            ("1e300", None),
            ("1234567890123456.5e3", None),
            ("0018446744073709551616", Some((20, 0))),
            ("1234567890123456.5", Some((17, 1))),
            ("0.1234567890123456789", Some((19, 19))),
            (".1234567890123456", Some((16, 16))),
            ("30000000000000000000000000000000000001", Some((38, 0))),
            ("300000000000000000000000000000000000001", None),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn digits_behind_the_second_are_counted() {
        for (text, expected) in [
            ("2024-01-01", 0),
            ("2024-01-01 00:00:00.123456789", 9),
            ("2024-01-01 00:00:00.123456000", 6),
            ("00:00:00.1234567Z", 7),
            ("2024-01-01T00:00:00.5+01:00", 1),
        ] {
            assert_eq!(digits_of_second(text), expected, "{text}");
        }
    }
}
