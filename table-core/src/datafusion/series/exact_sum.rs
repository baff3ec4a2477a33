//! [`ExactSum`]: sums of doubles that no order of addition and no split into partial sums changes. Pure.
//!
//! A sum is a fixed-point number that is long enough for every finite double, in digits of 32 bits, after the small superaccumulator
//! of Radford Neal (<https://arxiv.org/abs/1505.05571>). Only digits between the least and the greatest that were touched are kept.
//! It is rounded once, at the end. Libraries for this give no access to a partial sum, which has to travel between partitions.

/// Bits of a digit.
const DIGIT_BITS: usize = 32;

/// Bits behind the binary point: those of the least double above 0.
const FRACTION_BITS: i32 = 1074;

/// How often one digit may be added to before digits overflow, where each addend is below 2^32.
const ADDITIONS_MAX: u32 = 1 << 29;

/// The sum of doubles so far.
#[derive(Debug, Default)]
pub(super) struct ExactSum {
    /// Position of the first digit that is kept.
    lowest: usize,
    /// Each with a sign of its own, the least first.
    digits: Vec<i64>,
    /// Since the digits were last brought below 2^32.
    additions: u32,
    /// The sum of those that are not finite; 0 without any.
    endless: f64,
}

impl ExactSum {
    /// Adds a number.
    pub(super) fn add(&mut self, number: f64) {
        if !number.is_finite() {
            self.endless += number;
            return;
        }
        let bits = number.to_bits();
        let exponent = usize::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
        let fraction = bits & ((1 << 52) - 1);
        // The least normal numbers have the same unit as those below them.
        let (mantissa, offset) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | (1 << 52), exponent - 1),
        };
        if mantissa == 0 {
            return;
        }
        let mut rest = u128::from(mantissa) << (offset % DIGIT_BITS);
        let mut position = offset / DIGIT_BITS;
        while rest != 0 {
            let digit = i64::from(rest as u32);
            self.add_digit(position, if number.is_sign_negative() { -digit } else { digit });
            rest >>= DIGIT_BITS;
            position += 1;
        }
        self.added();
    }

    /// The parts of a partial sum: where its digits begin, the digits, and the sum of those that are not finite.
    pub(super) fn parts(&mut self) -> (i64, &[i64], f64) {
        self.carry();
        (i64::try_from(self.lowest).unwrap_or(i64::MAX), &self.digits, self.endless)
    }

    /// Adds a partial sum.
    pub(super) fn add_parts(&mut self, lowest: i64, digits: &[i64], endless: f64) {
        let lowest = usize::try_from(lowest).unwrap_or_default();
        for (position, digit) in (lowest..).zip(digits) {
            self.add_digit(position, *digit);
        }
        self.endless += endless;
        self.added();
    }

    /// The double nearest to the sum; infinite beyond the greatest.
    pub(super) fn value(&mut self) -> f64 {
        // NaN is none either.
        if self.endless != 0.0 {
            return self.endless;
        }
        self.carry();
        let is_negative = self.digits.last().is_some_and(|digit| *digit < 0);
        if is_negative {
            self.digits.iter_mut().for_each(|digit| *digit = -*digit);
            self.carry();
        }
        let highest = self.digits.iter().rposition(|digit| *digit != 0).unwrap_or_default();
        // Of the top four digits at least 97 bits count; what is below them decides between two neighbours at most.
        let first = highest.saturating_sub(3);
        let (below, top) = self.digits.split_at(first.min(self.digits.len()));
        let top = top.iter().take(4).rev();
        let top =
            top.fold(0_u128, |top, digit| (top << DIGIT_BITS) | u128::from(digit.unsigned_abs()));
        let top = top | u128::from(below.iter().any(|digit| *digit != 0));
        let shift = i32::try_from((self.lowest + first) * DIGIT_BITS).unwrap_or(i32::MAX);
        let exponent = shift - FRACTION_BITS;
        // In two steps, both powers of which are doubles.
        let value = top as f64 * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2);
        if is_negative {
            self.digits.iter_mut().for_each(|digit| *digit = -*digit);
        }
        if is_negative { -value } else { value }
    }

    /// Bytes on the heap.
    pub(super) fn size(&self) -> usize {
        self.digits.capacity() * size_of::<i64>()
    }

    fn added(&mut self) {
        self.additions += 1;
        if self.additions >= ADDITIONS_MAX {
            self.carry();
        }
    }

    fn add_digit(&mut self, position: usize, digit: i64) {
        if self.digits.is_empty() {
            self.lowest = position;
        }
        if position < self.lowest {
            let missing = self.lowest - position;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.lowest = position;
        }
        let place = position - self.lowest;
        if place >= self.digits.len() {
            self.digits.resize(place + 1, 0);
        }
        if let Some(sum) = self.digits.get_mut(place) {
            *sum += digit;
        }
    }

    /// Brings all digits into 0..2^32 but the last, which is below that and has the sign.
    fn carry(&mut self) {
        let (mut over, mut place) = (0, 0);
        while let Some(digit) = self.digits.get_mut(place) {
            let sum = *digit + over;
            place += 1;
            let is_last = place == self.digits.len();
            let (kept, carried) = match sum >> DIGIT_BITS {
                0 | -1 if is_last => (sum, 0),
                carried => (sum - (carried << DIGIT_BITS), carried),
            };
            if let Some(digit) = self.digits.get_mut(place - 1) {
                *digit = kept;
            }
            over = carried;
            if is_last && over != 0 {
                self.digits.push(0);
            }
        }
        self.additions = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(numbers: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum
    }

    #[test]
    fn nothing_is_lost_between_large_and_small() {
        let tiny = f64::from_bits(1);
        for (numbers, expected) in [
            (vec![], 0.0),
            (vec![1e308, 1e308, -1e308], 1e308),
            (vec![1e308, tiny, -1e308], tiny),
            (vec![1e16, 1.0, -1e16, -3.0], -2.0),
            (vec![f64::MAX, f64::MAX], f64::INFINITY),
            (vec![f64::MIN, f64::MIN, f64::MAX, f64::MAX], 0.0),
            (vec![f64::NEG_INFINITY, 1.0], f64::NEG_INFINITY),
            // Half way between two doubles, and a little more than that.
            (vec![1.0, f64::EPSILON / 2.0], 1.0),
            (vec![1.0, f64::EPSILON / 2.0, tiny], 1.0 + f64::EPSILON),
            (vec![-1.0, -f64::EPSILON / 2.0, -tiny], -1.0 - f64::EPSILON),
        ] {
            assert_eq!(sum(&numbers).value().to_bits(), expected.to_bits(), "{numbers:?}");
        }
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
    }

    proptest! {
        #[test]
        fn sums_of_two_are_rounded_as_the_processor_does(a in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, b in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, near in -3..4_i32) {
            for b in [b, a * 2_f64.powi(near * 17), -a] {
                prop_assert_eq!(sum(&[a, b]).value(), a + b, "{} {}", a, b);
            }
        }

        #[test]
        fn order_and_partial_sums_change_nothing(
            numbers in prop::collection::vec((-1e9..1e9_f64, -60..60_i32), 0..40),
            cuts in prop::collection::vec(0..40_usize, 0..5),
        ) {
            let numbers: Vec<f64> = numbers.into_iter().map(|(n, power)| n * 2_f64.powi(power)).collect();
            let whole = sum(&numbers).value();
            let mut other = ExactSum::default();
            let mut rest = numbers.as_slice();
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                rest = behind;
                let mut part = sum(part);
                // What has been looked at and sent on is still the same sum.
                part.value();
                let (lowest, digits, endless) = part.parts();
                other.add_parts(lowest, digits, endless);
            }
            rest.iter().rev().for_each(|number| other.add(*number));
            prop_assert_eq!(other.value().to_bits(), whole.to_bits());
            prop_assert_eq!(other.value().to_bits(), whole.to_bits());
        }
    }
}
