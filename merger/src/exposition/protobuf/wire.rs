//! The wire format of protobuf: fields in, fields out, and nothing of what they mean.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups, which the messages here never
//! had, are malformed. A walk allocates nothing, and no bytes make it panic.

/// The bytes are no message, or not the one that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Walks the fields of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// The number that the schema gave it.
    pub number: u32,
    /// What it holds, as far as the wire tells.
    pub value: Value<'a>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, a boolean or an enum.
    Varint(u64),
    /// A double.
    Fixed64(u64),
    /// A string, a message or packed numbers.
    Bytes(&'a [u8]),
    /// A float, which no message here has.
    Fixed32,
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// How many bytes a varint may have.
const LONGEST_VARINT: usize = 10;

/// The varint that the bytes begin with, and what follows it.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Some((u64::from(*first), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            Some((u64::from(*first & 0x7f) | u64::from(*second) << 7, rest))
        }
        _ => long_varint(bytes),
    }
}

#[cold]
fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(LONGEST_VARINT) {
        // Nine times seven bits are there already, so only one is left of 64.
        if position == LONGEST_VARINT - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if *byte < 0x80 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}

/// The `sint32` or `sint64` of a varint.
pub(super) fn zigzag(varint: u64) -> i64 {
    (varint >> 1).cast_signed() ^ -(varint & 1).cast_signed()
}

/// Writes a varint in as few bytes as it takes.
#[inline]
pub(super) fn push_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => out.push(low_bits(value)),
        0x80..0x4000 => out.extend([low_bits(value) | 0x80, low_bits(value >> 7)]),
        _ => push_long_varint(out, value),
    }
}

#[cold]
fn push_long_varint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

/// Writes a field that is an integer.
pub(super) fn push_integer(out: &mut Vec<u8>, number: u32, value: u64) {
    push_tag(out, number, VARINT);
    push_varint(out, value);
}

/// Writes a field that is a double.
pub(super) fn push_double(out: &mut Vec<u8>, number: u32, value: f64) {
    push_tag(out, number, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a field that is a string, or a message that is there in whole.
pub(super) fn push_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    push_len(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes the beginning of a field whose `len` bytes the caller writes behind it.
#[inline]
pub(super) fn push_len(out: &mut Vec<u8>, number: u32, len: usize) {
    push_tag(out, number, BYTES);
    push_varint(out, len as u64);
}

/// Writes a field that is the message that `body` writes.
pub(super) fn push_message(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
    push_tag(out, number, BYTES);
    let start = out.len();
    body(out);
    insert_len(out, start);
}

/// Puts the length of what stands from `start` on before it. Its size is not known before the
/// message is, and a move of these bytes is faster than to make the message twice.
pub(super) fn insert_len(out: &mut Vec<u8>, start: usize) {
    insert_len_with(out, start, 0);
}

/// The same, where `n_bytes` of the message follow.
pub(super) fn insert_len_with(out: &mut Vec<u8>, start: usize, n_bytes: usize) {
    let end = out.len();
    push_varint(out, (end - start + n_bytes) as u64);
    let n_added = out.len() - end;
    out[start..].rotate_right(n_added);
}

/// How many bytes a varint takes.
pub(super) fn varint_len(value: usize) -> usize {
    let bits = (usize::BITS - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

#[inline]
fn push_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    push_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
fn low_bits(value: u64) -> u8 {
    value as u8
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What was not walked yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field; none at the end of the message.
    ///
    /// Nearly all fields have a tag of one byte.
    #[expect(clippy::inline_always, reason = "a walk takes half as long where it is inlined")]
    #[inline(always)]
    pub(super) fn next_field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        let [tag @ 0x08..0x80, rest @ ..] = self.rest else {
            return if self.rest.is_empty() { Ok(None) } else { self.any_field().map(Some) };
        };
        let (value, rest) = Value::at(rest, tag & 7).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(Field { number: u32::from(tag >> 3), value }))
    }

    /// What the next field holds, if it has this number and is bytes: what is repeated mostly stands
    /// together, and so a run of it is walked without asking what each field is. A number from 16 on takes
    /// two bytes, and is not looked for.
    #[expect(clippy::inline_always, reason = "as of the walk over fields")]
    #[inline(always)]
    pub(super) fn next_of(&mut self, number: u32) -> Option<&'a [u8]> {
        let [tag, rest @ ..] = self.rest else { return None };
        if *tag >= 0x80 || u32::from(*tag) != number << 3 | u32::from(BYTES) {
            return None;
        }
        let (len, rest) = varint(rest)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(value)
    }

    #[cold]
    fn any_field(&mut self) -> Result<Field<'a>, Malformed> {
        let (tag, rest) = varint(self.rest).ok_or(Malformed)?;
        let tag = u32::try_from(tag).map_err(|_| Malformed)?;
        let number = tag >> 3;
        let (value, rest) = Value::at(rest, (tag & 7) as u8).ok_or(Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        self.rest = rest;
        Ok(Field { number, value })
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    #[expect(clippy::inline_always, reason = "as of the walk over fields")]
    #[inline(always)]
    fn at(bytes: &'a [u8], wire_type: u8) -> Option<(Self, &'a [u8])> {
        match wire_type {
            VARINT => varint(bytes).map(|(value, rest)| (Self::Varint(value), rest)),
            FIXED64 => {
                let (value, rest) = bytes.split_first_chunk()?;
                Some((Self::Fixed64(u64::from_le_bytes(*value)), rest))
            }
            BYTES => {
                let (len, rest) = varint(bytes)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                Some((Self::Bytes(value), rest))
            }
            FIXED32 => Some((Self::Fixed32, bytes.get(4..)?)),
            _ => None,
        }
    }

    pub(super) fn integer(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed),
        }
    }

    pub(super) fn double(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// Each integer of a repeated field, packed or not.
    pub(super) fn integers<E: From<Malformed>>(
        self,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self::Bytes(mut rest) = self else { return each(self.integer()?) };
        while !rest.is_empty() {
            let value;
            (value, rest) = varint(rest).ok_or(Malformed)?;
            each(value)?;
        }
        Ok(())
    }

    /// Each double of a repeated field, packed or not.
    pub(super) fn doubles<E: From<Malformed>>(
        self,
        mut each: impl FnMut(f64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self::Bytes(packed) = self else { return each(self.double()?) };
        let (doubles, []) = packed.as_chunks() else { return Err(Malformed.into()) };
        doubles.iter().try_for_each(|double| each(f64::from_le_bytes(*double)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of some bytes, or nothing where they are malformed.
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&[(u32, Value<'_>)]>) {
        let mut fields = Fields::new(bytes);
        let mut found = Vec::new();
        let is_whole = loop {
            match fields.next_field() {
                Ok(Some(Field { number, value })) => found.push((number, value)),
                Ok(None) => break true,
                Err(Malformed) => break false,
            }
        };
        assert_eq!(is_whole.then_some(&found[..]), expected);
    }

    #[test]
    fn each_wire_type_is_read() {
        check(b"", Some(&[]));
        check(b"\x08\x96\x01", Some(&[(1, Value::Varint(150))]));
        check(b"\x12\x02ab\x12\0", Some(&[(2, Value::Bytes(b"ab")), (2, Value::Bytes(b""))]));
        let bits = 1.5_f64.to_bits();
        check(&[&[0x19][..], &1.5_f64.to_le_bytes()].concat(), Some(&[(3, Value::Fixed64(bits))]));
        check(b"\x25abcd", Some(&[(4, Value::Fixed32)]));
        check(b"\xf8\xff\xff\xff\x0f\x01", Some(&[((1 << 29) - 1, Value::Varint(1))]));
    }

    #[test]
    fn what_is_cut_off_or_impossible_is_malformed() {
        check(b"\x08", None);
        check(b"\x08\x80", None);
        check(b"\x12\x03ab", None);
        check(b"\x19\0\0\0", None);
        check(b"\x25abc", None);
        check(b"\x00\x01", None);
        check(b"\x0b\x0c", None);
        check(b"\x0e", None);
        check(b"\xf8\xff\xff\xff\x1f\x01", None);
        check(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None);
    }

    #[test]
    fn a_varint_has_64_bits_and_not_one_more() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 35, u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            assert_eq!(varint(&out), Some((value, &[][..])));
            assert_eq!(varint_len(usize::try_from(value).unwrap()), out.len());
        }
        assert_eq!(varint(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), None);
        assert_eq!(varint(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), None);
        assert_eq!(varint(b"\x80\x80\x00a"), Some((0, &b"a"[..])));
    }

    #[test]
    fn a_length_is_put_before_messages_of_every_size() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
            let mut out = b"x".to_vec();
            push_message(&mut out, 1, |out| out.resize(out.len() + len, 7));
            check(&out[1..], Some(&[(1, Value::Bytes(&vec![7; len]))]));
            assert_eq!(out.len(), 2 + varint_len(len) + len);
        }
    }

    #[test]
    fn signed_numbers_are_folded() {
        let folded = [0, 1, 2, 3, u64::MAX - 1, u64::MAX].map(zigzag);
        assert_eq!(folded, [0, -1, 1, -2, i64::MAX, i64::MIN]);
    }
}
