//! Numbers that this program has to spell itself, since protobuf holds them as bits.
//!
//! The spelling is that of Go's `strconv.FormatFloat(f, 'g', -1, 64)`, in which expfmt writes values,
//! `le` and `quantile`: a series keeps its labels, whether its source is read as text or protobuf.

use std::fmt::{self, Write as _};

/// A number in ASCII, on the stack.
#[derive(Clone, Copy)]
pub struct Digits {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

// === impl Digits ===

impl Digits {
    /// More than a float (`-2.2250738585072014e-308`), a count or a time of nanoseconds takes.
    const LONGEST: usize = 32;

    /// A float in the shortest spelling that reads back equal.
    #[must_use]
    pub fn of_float(value: f64) -> Self {
        let magnitude = value.abs();
        if value.is_nan() {
            return Self::written(format_args!("NaN"));
        }
        if value.is_infinite() {
            let sign = if value > 0.0 { '+' } else { '-' };
            return Self::written(format_args!("{sign}Inf"));
        }
        // Most values are small counts, and dividing by ten is faster than searching the shortest.
        if let Some(count) = small_count(value) {
            return Self::of_count(count);
        }
        // `%g` takes an exponent below -4, and from 6 on where it writes the shortest.
        if magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
            return Self::written(format_args!("{value}"));
        }
        Self::with_exponent(value)
    }

    /// A count, to the last digit.
    #[must_use]
    pub fn of_count(count: u64) -> Self {
        let mut reversed = [0; Self::LONGEST];
        let mut len = 0;
        let mut rest = count;
        while len == 0 || rest > 0 {
            reversed[len] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            len += 1;
        }
        reversed[..len].reverse();
        Self { bytes: reversed, len }
    }

    /// What the arguments come to. What is longer than any number is cut.
    pub(super) fn written(arguments: fmt::Arguments<'_>) -> Self {
        let mut digits = Self { bytes: [0; Self::LONGEST], len: 0 };
        let _ = digits.write_fmt(arguments);
        digits
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // They are whole characters: `write_str` takes all of a string or nothing.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Rust writes `1e6` and `1e-7` where Go writes `1e+06` and `1e-07`.
    fn with_exponent(value: f64) -> Self {
        let rust = Self::written(format_args!("{value:e}"));
        let (mantissa, exponent) = rust.as_str().split_once('e').unwrap_or_default();
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        Self::written(format_args!("{mantissa}e{sign}{exponent:0>2}"))
    }
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The whole number that `value` is, if it is one that `%g` writes without an exponent and a sign.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in 0..1e6")]
fn small_count(value: f64) -> Option<u64> {
    let is_small = (0.0..1e6).contains(&value) && value.is_sign_positive();
    (is_small && value.trunc().to_bits() == value.to_bits()).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(Digits::of_float(value).as_str(), expected);
    }

    /// What Go prints for them, by its documentation of `%g` and by pages that were recorded.
    #[test]
    fn a_float_is_spelled_as_go_spells_it() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.5, "0.5"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (-1e6, "-1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1_763_917_200.123, "1.763917200123e+09"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (-0.000_012_5, "-1.25e-05"),
            (2.5e-100, "2.5e-100"),
        ] {
            check(value, expected);
        }
    }

    #[test]
    fn what_is_no_finite_number_has_a_word() {
        check(f64::NAN, "NaN");
        check(-f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn the_longest_fit() {
        check(f64::MAX, "1.7976931348623157e+308");
        check(-f64::MIN_POSITIVE, "-2.2250738585072014e-308");
        check(f64::from_bits(1), "5e-324");
        assert_eq!(Digits::of_count(u64::MAX).as_str(), "18446744073709551615");
        assert_eq!(Digits::of_count(0).as_str(), "0");
        assert_eq!(Digits::of_count(1_000_000).as_str(), "1000000");
    }

    #[test]
    fn every_float_reads_back_equal() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            let read: f64 = Digits::of_float(value).as_str().parse().unwrap();
            assert!(read.to_bits() == bits || value.is_nan(), "{value:e}");
        }
    }
}
