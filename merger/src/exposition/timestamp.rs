//! Times since 1970: seconds with a fraction, as `OpenMetrics` says them, and milliseconds in digits.
//!
//! Both ways go over the decimal digits and never over a float, so a time that is a whole number of
//! milliseconds comes back as it was. What is finer than a millisecond is cut off, as Prometheus does
//! it (`int64(ts * 1000)` in `model/textparse/openmetricsparse.go`; there the float may lose a
//! millisecond more).

use crate::exposition::number;

/// The first second of the year 10000, in milliseconds. A protobuf `Timestamp` ends there, and a
/// time behind it is one in another unit: milliseconds that are taken for seconds are, unless they
/// are of the first eight years.
pub const END: i64 = 253_402_300_800_000;

/// The milliseconds of a number of seconds, in any spelling of a float. None where it is no number,
/// infinite, negative, or too large.
#[must_use]
pub fn millis(seconds: &[u8]) -> Option<i64> {
    let unsigned = seconds.strip_prefix(b"+").unwrap_or(seconds);
    let is_decimal = matches!(unsigned.first(), Some(b'0'..=b'9' | b'.'));
    if !is_decimal || !number::is_float(unsigned) {
        return None;
    }
    let mut parts = unsigned.splitn(2, |b| matches!(b, b'e' | b'E'));
    let mantissa = parts.next()?;
    let exponent = parts.next().map_or(0, exponent);
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    let n_digits = i64::try_from(point).ok()?.saturating_add(exponent).saturating_add(3);
    whole(mantissa[..point].iter().chain(fraction), n_digits)
}

/// Writes milliseconds as seconds, with no more digits than it takes. `millis` are digits.
pub fn push_seconds(out: &mut Vec<u8>, millis: &[u8]) {
    let n_zeros = millis.iter().take_while(|b| **b == b'0').count();
    let millis = &millis[n_zeros..];
    let (seconds, fraction) = millis.split_at(millis.len().saturating_sub(3));
    out.extend_from_slice(if seconds.is_empty() { b"0" } else { seconds });
    let n_fraction = fraction.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    if n_fraction > 0 {
        out.push(b'.');
        out.extend_from_slice(&b"000"[fraction.len()..]);
        out.extend_from_slice(&fraction[..n_fraction]);
    }
}

/// The number that the first `n` digits make, as if zeros followed those that are there.
fn whole<'d>(mut digits: impl Iterator<Item = &'d u8>, n: i64) -> Option<i64> {
    let mut number = 0_i64;
    for _ in 0..n {
        let digit = match digits.next() {
            Some(digit) => digit - b'0',
            // A zero stays one, however many zeros follow.
            None if number == 0 => break,
            None => 0,
        };
        number = number.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(number)
}

/// The exponent of a number that is a float. What does not fit belongs to a zero, or makes one.
fn exponent(text: &[u8]) -> i64 {
    let limit = if text.starts_with(b"-") { i64::MIN } else { i64::MAX };
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: &str, expected: impl Into<Option<i64>>) {
        assert_eq!(millis(seconds.as_bytes()), expected.into(), "{seconds}");
    }

    #[track_caller]
    fn check_seconds(millis_: &str, expected: &str) {
        let mut out = Vec::new();
        push_seconds(&mut out, millis_.as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(millis(&out), millis_.parse().ok(), "and back");
    }

    #[test]
    fn seconds_become_milliseconds_exactly() {
        check("1763917200.123", 1_763_917_200_123);
        check("1763917200", 1_763_917_200_000);
        check("1763917200.", 1_763_917_200_000);
        check("1763917200.1", 1_763_917_200_100);
        check("0", 0);
        check("000.5", 500);
        check(".5", 500);
        check("+2", 2000);
        // 1.001 * 1000 is 1000.9999999999999 in floats.
        check("1.001", 1001);
        check("9223372036854775.807", i64::MAX);
    }

    #[test]
    fn what_is_finer_than_a_millisecond_is_cut_off() {
        check("1763917200.1239999", 1_763_917_200_123);
        check("0.0009", 0);
        check("1e-400", 0);
    }

    #[test]
    fn an_exponent_moves_the_point() {
        check("1.763917200123e+09", 1_763_917_200_123);
        check("1.763917200123E9", 1_763_917_200_123);
        check("1763917200123e-3", 1_763_917_200_123);
        check("1763917200123e-99999999999999999999", 0);
        check("12e2", 1_200_000);
        check("1.5e-3", 1);
        check("0e99999999999999999999", 0);
        check("0.000e300", 0);
    }

    #[test]
    fn what_is_no_time_has_no_milliseconds() {
        for seconds in [
            "",
            ".",
            "-1",
            "-0.5",
            "NaN",
            "Inf",
            "+Inf",
            "1e400",
            "1e16",
            "9223372036854775.808",
            "x",
            "1 ",
            "1_0",
            "0x1",
            "++1",
        ] {
            check(seconds, None);
        }
    }

    #[test]
    fn milliseconds_become_seconds_in_the_shortest_spelling() {
        check_seconds("1763917200123", "1763917200.123");
        check_seconds("1763917200120", "1763917200.12");
        check_seconds("1763917200100", "1763917200.1");
        check_seconds("1763917200000", "1763917200");
        check_seconds("1763917200003", "1763917200.003");
        check_seconds("1000", "1");
        check_seconds("999", "0.999");
        check_seconds("50", "0.05");
        check_seconds("7", "0.007");
        check_seconds("0", "0");
        check_seconds("0000", "0");
        check_seconds("00001500", "1.5");
        check_seconds("9223372036854775807", "9223372036854775.807");
    }
}
