//! [`Digits`]: a written number as a decimal of some type. Pure.

use arrow::datatypes::DECIMAL128_MAX_PRECISION;
use datafusion::common::ScalarValue;

/// The shortest decimal that means a double, which is the one that was written: what has more digits is planned as a decimal.
pub(super) struct Digits {
    number: i128,
    /// Of `number`, behind the point.
    pub(super) scale: i8,
}

impl Digits {
    /// `None` for what is no double, for infinities, and for what has too many digits.
    pub(super) fn of(value: &ScalarValue) -> Option<Self> {
        let text = match value {
            ScalarValue::Float64(Some(value)) => value.to_string(),
            ScalarValue::Float32(Some(value)) => value.to_string(),
            _ => return None,
        };
        let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let number = format!("{integer}{fraction}").parse().ok()?;
        Some(Self { number, scale: i8::try_from(fraction.len()).ok()? })
    }

    /// In a type that just holds it.
    pub(super) fn natural(&self) -> Option<ScalarValue> {
        let digits = self.number.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
        let precision = u8::try_from(digits).ok()?.max(u8::try_from(self.scale).ok()?);
        (precision <= DECIMAL128_MAX_PRECISION).then_some(ScalarValue::Decimal128(
            Some(self.number),
            precision,
            self.scale,
        ))
    }

    /// In this type, of two neighbours the one farther from zero where it is half way; `None` where that has too few digits.
    pub(super) fn rounded(&self, precision: u8, scale: i8) -> Option<ScalarValue> {
        let by = 10_i128.checked_pow(u32::from(scale.abs_diff(self.scale)))?;
        let number = match scale >= self.scale {
            true => self.number.checked_mul(by)?,
            false => {
                let rest = self.number % by;
                let away = if rest.abs() >= by - rest.abs() { self.number.signum() } else { 0 };
                self.number / by + away
            }
        };
        let fits = number.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?;
        fits.then_some(ScalarValue::Decimal128(Some(number), precision, scale))
    }
}
