//! Which bytes are a number to every reader of a page.
//!
//! Both textparse and expfmt call Go's `strconv.ParseFloat` and refuse `p`, `P` and `_` before
//! (`parseFloat` in prometheus, `model/textparse/promparse.go`, and in prometheus/common,
//! `expfmt/text_parse.go`).
//! Numbers of lines are checked here and travel as their bytes; who compares them or writes them as
//! protobuf converts them there.

use crate::exposition::scan::digits_end;

/// How many digits before the point are a float for sure, with an exponent of two digits, too: the
/// largest one has 309.
pub(super) const MOST_DIGITS: usize = 200;

/// Whether Go's `ParseFloat` reads it: decimal, an infinity, or NaN without a sign.
///
/// A number too large for a float is an error there and so none here.
#[must_use]
pub fn is_float(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    match unsigned.first() {
        Some(b'0'..=b'9' | b'.') => is_decimal(unsigned),
        Some(b'i' | b'I') => [&b"inf"[..], b"infinity"].iter().any(|w| is_word(unsigned, w)),
        _ => is_word(text, b"nan"),
    }
}

/// Whether the bytes from `start` to `end` are a float and nothing but digits, maybe with a point among
/// them. The text may go on behind that, and better does, so that blocks are all that is looked at.
#[inline]
#[must_use]
pub fn is_plain(text: &[u8], start: usize, end: usize) -> bool {
    let whole = digits_end(text, start);
    let behind = digits_end(text, whole + usize::from(text.get(whole) == Some(&b'.')));
    behind == end && whole > start && end - start <= MOST_DIGITS
}

/// Whether it is a timestamp: digits alone that fit an `i64`.
///
/// expfmt reads a sign, but the server's lexer does not (`sTimestamp` in promlex.l): the page with
/// one negative timestamp is lost as a whole.
#[must_use]
pub fn is_timestamp(text: &[u8]) -> bool {
    let is_short = text.len() <= 18 || as_str(text).is_some_and(|text| text.parse::<i64>().is_ok());
    !text.is_empty() && is_short && text.iter().all(u8::is_ascii_digit)
}

/// Milliseconds from their digits.
#[must_use]
pub fn milliseconds(digits: &[u8]) -> Option<i64> {
    as_str(digits)?.parse().ok()
}

/// Whether it is a timestamp of `OpenMetrics`: seconds, maybe with a fraction, not before 1970.
#[must_use]
pub fn is_seconds(text: &[u8]) -> bool {
    text.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') && is_float(text)
}

fn is_decimal(text: &[u8]) -> bool {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => split_digits(rest),
        _ => (&[][..], rest),
    };
    let exponent = match rest {
        [] => None,
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => Some(digits),
        _ => return false,
    };
    if whole.is_empty() && fraction.is_empty() {
        return false;
    }
    match exponent {
        // 1e308 is a float, so every number of 308 digits is one.
        None if whole.len() <= 308 => true,
        Some([]) => false,
        Some(digits) if !digits.iter().all(u8::is_ascii_digit) => false,
        // 1e200 times 1e99 is far from the largest.
        Some(digits) if whole.len() <= MOST_DIGITS && digits.len() <= 2 => true,
        _ => as_str(text).and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite),
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

fn is_word(text: &[u8], word: &[u8]) -> bool {
    text.eq_ignore_ascii_case(word)
}

fn as_str(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is: impl Fn(&[u8]) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is(text.as_bytes()), "{text:?} is good");
        }
        for text in bad {
            assert!(!is(text.as_bytes()), "{text:?} is bad");
        }
    }

    #[test]
    fn a_float_is_what_go_reads() {
        check(
            is_float,
            &[
                "0",
                "-0",
                "+1",
                "1.",
                ".5",
                "-.5",
                "1.5e3",
                "1E+3",
                "1e-400",
                "1e308",
                "NaN",
                "nan",
                "Inf",
                "+Inf",
                "-inf",
                "INFINITY",
                "184467440737095516150",
            ],
            &[
                "", "+", ".", "-.", "e5", "1e", "1e+", "1e400", "-1e400", "0x10", "0x1p-2",
                "1_000", "+nan", "-NaN", "infin", "1,5", "1 ", "١", "1e5.5", "--1",
            ],
        );
    }

    #[test]
    fn a_float_of_many_digits_is_one_up_to_the_largest() {
        let largest = format!("{}", f64::MAX);
        let too_large = format!("{largest}0");
        let small = format!("0.{}1", "0".repeat(500));
        check(is_float, &[&largest, &small], &[&too_large, &"9".repeat(400)]);
        let (nines, more) = ("9".repeat(200), "9".repeat(210));
        check(
            is_float,
            &[&format!("{nines}e99"), &format!("{nines}e+108"), &format!("{more}e98")],
            &[&format!("{nines}e109"), &format!("{more}e99"), &format!("{nines}e1x")],
        );
    }

    #[test]
    fn a_timestamp_is_whole_and_fits() {
        check(
            is_timestamp,
            &["0", "1395066363000", "9223372036854775807", "0000000000000000000000001"],
            &["", "-1", "+1", "1.5", "1e3", "9223372036854775808", "x"],
        );
    }
}
