//! The canonical spelling of `le` and `quantile`: `1.0`, `0.5`, `1e+06`, `+Inf`.
//!
//! They are label values, so two spellings of one number are two series. `OpenMetrics` has one:
//! that of Go's `strconv.FormatFloat(f, 'g', -1, 64)`, and `.0` behind a whole number
//! (`FormatOpenMetricsFloat` in prometheus, `model/labels/float.go`; `floatToGoString` in
//! `prometheus_client/utils.py`).

use std::io::Write as _;

use crate::exposition::point::value;

/// From here on, and below [`SMALLEST`], Go writes an exponent.
const LARGEST: f64 = 1e6;
const SMALLEST: f64 = 1e-4;

/// So many digits are in a float as they are, and come back as they were.
const EXACT_DIGITS: usize = 15;

/// Writes a number in its canonical spelling. What is no number stays as it is.
pub(super) fn push(out: &mut Vec<u8>, number: &[u8]) {
    if is_plain_whole(number) {
        out.extend_from_slice(number);
        return out.extend_from_slice(b".0");
    }
    if is_plain_fraction(number) {
        return out.extend_from_slice(number);
    }
    match value::float(number) {
        None => out.extend_from_slice(number),
        Some(float) if float.is_nan() => out.extend_from_slice(b"NaN"),
        Some(f64::INFINITY) => out.extend_from_slice(b"+Inf"),
        Some(f64::NEG_INFINITY) => out.extend_from_slice(b"-Inf"),
        Some(0.0) => out.extend_from_slice(b"0.0"),
        Some(float) if (SMALLEST..LARGEST).contains(&float.abs()) => push_plain(out, float),
        Some(float) => push_exponent(out, float),
    }
}

/// Whether only the point is missing: most bounds of text are so, and need not become a float.
fn is_plain_whole(number: &[u8]) -> bool {
    let is_short = number == b"0" || matches!(number, [b'1'..=b'9', ..]) && number.len() <= 6;
    is_short && number.iter().all(u8::is_ascii_digit)
}

/// Whether it is spelled so already: a short whole number, a point, and no needless digit.
fn is_plain_fraction(number: &[u8]) -> bool {
    let Some(point) = number.iter().position(|b| *b == b'.') else { return false };
    let (whole, fraction) = (&number[..point], &number[point + 1..]);
    let is_short = number.len() <= EXACT_DIGITS && !fraction.starts_with(b"000");
    let is_minimal = fraction == b"0" || !matches!(fraction, [] | [.., b'0']);
    is_short && is_minimal && is_plain_whole(whole) && fraction.iter().all(u8::is_ascii_digit)
}

/// Rust writes the shortest digits that read back equal, as Go does.
fn push_plain(out: &mut Vec<u8>, float: f64) {
    let start = out.len();
    push_display(out, format_args!("{float}"));
    if !out[start..].contains(&b'.') {
        out.extend_from_slice(b".0");
    }
}

/// Rust's exponents have no plus and no leading zero; Go's have a sign and two digits.
fn push_exponent(out: &mut Vec<u8>, float: f64) {
    let start = out.len();
    push_display(out, format_args!("{float:e}"));
    let Some(at) = out[start..].iter().position(|b| *b == b'e') else { return };
    let mut digits = start + at + 1;
    if out.get(digits) != Some(&b'-') {
        out.insert(digits, b'+');
    }
    digits += 1;
    if out.len() - digits < 2 {
        out.insert(digits, b'0');
    }
}

fn push_display(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: &str, expected: &str) {
        let mut out = b"x".to_vec();
        push(&mut out, number.as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), format!("x{expected}"), "{number}");
    }

    #[test]
    fn a_whole_number_has_a_point() {
        check("1", "1.0");
        check("+1.", "1.0");
        check("-1", "-1.0");
        check("0", "0.0");
        check("-0", "0.0");
        check("10", "10.0");
        check("100000", "100000.0");
        check("999999", "999999.0");
    }

    #[test]
    fn a_fraction_has_no_more_digits_than_it_takes() {
        check(".50", "0.5");
        check("0.1", "0.1");
        check("5e-1", "0.5");
        check("0.30000000000000004", "0.30000000000000004");
        check("0.3000000000000000444", "0.30000000000000004");
        check("2.5000", "2.5");
        check("0.0001", "0.0001");
        check("123456.789", "123456.789");
        check("999999.9999999999", "999999.9999999999");
    }

    #[test]
    fn large_and_small_numbers_have_an_exponent_of_two_digits() {
        check("1000000", "1e+06");
        check("1234567", "1.234567e+06");
        check("1E7", "1e+07");
        check("-2500000", "-2.5e+06");
        check("0.00001", "1e-05");
        check("0.000099", "9.9e-05");
        check("5e-324", "5e-324");
        check("1e100", "1e+100");
        check("1.7976931348623157e308", "1.7976931348623157e+308");
    }

    #[test]
    fn what_is_canonical_already_is_what_the_float_comes_to() {
        for whole in ["0", "1", "9", "10", "123456", "999999", "1000000"] {
            for fraction in ["", ".", ".0", ".5", ".50", ".001", ".0001", ".00001", ".123456789"] {
                let number = format!("{whole}{fraction}");
                let mut by_float = Vec::new();
                match value::float(number.as_bytes()) {
                    Some(0.0) => by_float.extend_from_slice(b"0.0"),
                    Some(float) if (SMALLEST..LARGEST).contains(&float) => {
                        push_plain(&mut by_float, float);
                    }
                    float => push_exponent(&mut by_float, float.unwrap()),
                }
                check(&number, std::str::from_utf8(&by_float).unwrap());
            }
        }
    }

    #[test]
    fn infinity_is_spelled_in_one_way() {
        check("+Inf", "+Inf");
        check("inf", "+Inf");
        check("INFINITY", "+Inf");
        check("-inf", "-Inf");
        check("nan", "NaN");
    }
}
