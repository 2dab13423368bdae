//! The numbers of a point as numbers, where a rule has to be held against them. They are never written
//! from this.

use crate::exposition::number;

/// 2^64: the first whole number that is no `u64`.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

/// The number, if it is one to every reader of a page.
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    if !number::is_float(text) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// How many of something: a whole number, in any spelling, that protobuf has a field for.
///
/// One that is written in digits alone is exact, as it is to `prometheus_client`, which holds counts
/// against each other as integers; any other is the float that it stands for.
#[must_use]
pub fn count(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(digits).ok()?.parse().ok();
    }
    let float = float(text)?;
    let is_count = float.fract() == 0.0 && (0.0..BEYOND).contains(&float);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within the range of a u64"
    )]
    is_count.then_some(float as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: impl Into<Option<u64>>) {
        assert_eq!(count(text.as_bytes()), expected.into(), "{text}");
    }

    #[test]
    fn a_count_is_whole_in_any_spelling() {
        check("0", 0);
        check("-0", 0);
        check("-0.0", 0);
        check("+7", 7);
        check("007", 7);
        check("7.", 7);
        check("7.0", 7);
        check("1.5e1", 15);
        check("1e+06", 1_000_000);
    }

    #[test]
    fn digits_alone_are_exact() {
        check("9007199254740993", 9_007_199_254_740_993);
        check("9007199254740993.0", 9_007_199_254_740_992);
        check("18446744073709551615", u64::MAX);
    }

    #[test]
    fn what_counts_nothing_is_none() {
        for text in [
            "",
            "+",
            "-1",
            "0.5",
            "1e-3",
            "NaN",
            "+Inf",
            "-Inf",
            "18446744073709551616",
            "1e20",
            "x",
            "1_0",
            "0x1",
            "++1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_float_is_what_every_reader_takes() {
        assert_eq!(float(b"-1.5e-3"), Some(-0.0015));
        assert_eq!(float(b"+inf"), Some(f64::INFINITY));
        assert!(float(b"NaN").is_some_and(f64::is_nan));
        assert_eq!(float(b"1e400"), None);
        assert_eq!(float(b"one"), None);
    }
}
