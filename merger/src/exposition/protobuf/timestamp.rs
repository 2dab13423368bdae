//! A `google.protobuf.Timestamp`, and the decimal seconds that the formats of lines have for it.
//!
//! Both ways are exact to the nanosecond: no float is between them.

use crate::exposition::{
    float::Digits,
    number,
    protobuf::{
        schema::{TIMESTAMP_NANOS, TIMESTAMP_SECONDS},
        wire::{self, Fields, Malformed},
    },
};

/// A time: `nanos` count forward from `seconds` since 1970, also before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp {
    seconds: i64,
    /// Below a billion.
    nanos: u32,
}

const BILLION: u32 = 1_000_000_000;

/// The first second of the year 1, and the first one behind 9999: `timestamp.proto` allows no other.
const FIRST: i64 = -62_135_596_800;
const END: i64 = 253_402_300_800;

// === impl Timestamp ===

impl Timestamp {
    pub(super) fn read(message: &[u8]) -> Result<Self, Malformed> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                TIMESTAMP_SECONDS => seconds = field.value.integer()?.cast_signed(),
                TIMESTAMP_NANOS => nanos = field.value.integer()?,
                _ => {}
            }
        }
        let nanos = u32::try_from(nanos).map_err(|_| Malformed)?;
        Self::new(seconds, nanos).ok_or(Malformed)
    }

    /// The time of a number of seconds, in any spelling of a float. What is finer than a nanosecond is
    /// cut off.
    pub(super) fn from_seconds(text: &[u8]) -> Option<Self> {
        if !number::is_float(text) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (is_negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if unsigned.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let nanos = nanos(mantissa, exponent.parse().ok()?)?;
        let nanos = if is_negative { -nanos } else { nanos };
        let seconds = i64::try_from(nanos.div_euclid(BILLION.into())).ok()?;
        Self::new(seconds, u32::try_from(nanos.rem_euclid(BILLION.into())).ok()?)
    }

    /// The seconds with as many digits behind the point as it takes.
    pub(super) fn to_seconds(self) -> Digits {
        let Self { seconds, nanos } = self;
        // Before 1970 the digits count the other way.
        let (sign, seconds, nanos) = match (seconds < 0, nanos) {
            (false, _) => ("", seconds, nanos),
            (true, 0) => ("-", -seconds, 0),
            (true, _) => ("-", -seconds - 1, BILLION - nanos),
        };
        if nanos == 0 {
            return Digits::written(format_args!("{sign}{seconds}"));
        }
        let (mut fraction, mut n_digits) = (nanos, 9);
        while fraction % 10 == 0 {
            fraction /= 10;
            n_digits -= 1;
        }
        Digits::written(format_args!("{sign}{seconds}.{fraction:0n_digits$}"))
    }

    /// Writes the fields of the message.
    pub(super) fn push(self, out: &mut Vec<u8>) {
        let Self { seconds, nanos } = self;
        wire::push_integer(out, TIMESTAMP_SECONDS, seconds.cast_unsigned());
        wire::push_integer(out, TIMESTAMP_NANOS, nanos.into());
    }

    fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let is_time = (FIRST..END).contains(&seconds) && nanos < BILLION;
        is_time.then_some(Self { seconds, nanos })
    }
}

/// The nanoseconds of seconds that are digits with maybe a point among them, times a power of ten.
fn nanos(mantissa: &str, exponent: i32) -> Option<i128> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut n_digits = i64::try_from(whole.len()).ok()? + i64::from(exponent) + 9;
    let mut nanos = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if n_digits <= 0 {
            return Some(nanos);
        }
        nanos = nanos.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        n_digits -= 1;
    }
    // The digits that the power of ten adds are zeros, which a zero does not feel.
    while n_digits > 0 && nanos > 0 {
        nanos = nanos.checked_mul(10)?;
        n_digits -= 1;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of seconds, and how they are spelled once they were a timestamp.
    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let timestamp = Timestamp::from_seconds(text.as_bytes());
        assert_eq!(timestamp.map(Timestamp::to_seconds).as_ref().map(Digits::as_str), expected);
        if let Some(timestamp) = timestamp {
            let mut message = Vec::new();
            timestamp.push(&mut message);
            assert_eq!(Timestamp::read(&message), Ok(timestamp));
        }
    }

    #[test]
    fn a_time_keeps_its_digits_to_the_nanosecond() {
        check("1763917200", Some("1763917200"));
        check("1763917200.123", Some("1763917200.123"));
        check("1763917200.000000001", Some("1763917200.000000001"));
        check("+1763917200.10", Some("1763917200.1"));
        check("0.1234567899", Some("0.123456789"));
        check("0", Some("0"));
        check(".5", Some("0.5"));
        check("0000000000000000000000000000000000000000000001.", Some("1"));
    }

    #[test]
    fn an_exponent_moves_the_point() {
        check("1.763917200123e+09", Some("1763917200.123"));
        check("1763917200123E-3", Some("1763917200.123"));
        check("1e-9", Some("0.000000001"));
        check("1e-400", Some("0"));
        check("0e300", Some("0"));
    }

    #[test]
    fn a_time_before_1970_counts_back() {
        check("-1", Some("-1"));
        check("-0.25", Some("-0.25"));
        check("-1.000000001", Some("-1.000000001"));
    }

    #[test]
    fn what_no_calendar_has_is_no_time() {
        for text in ["NaN", "+Inf", "-inf", "1e300", "253402300800", "-62135596801", "x", ""] {
            check(text, None);
        }
        check("253402300799.999999999", Some("253402300799.999999999"));
        check("-62135596800", Some("-62135596800"));
    }

    #[test]
    fn a_message_with_too_many_nanoseconds_is_malformed() {
        assert_eq!(Timestamp::read(b"\x10\x80\x94\xeb\xdc\x03"), Err(Malformed));
        assert_eq!(
            Timestamp::read(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            Err(Malformed)
        );
        assert_eq!(
            Timestamp::read(b"").map(|t| t.to_seconds().as_str().to_owned()),
            Ok("0".into())
        );
    }
}
