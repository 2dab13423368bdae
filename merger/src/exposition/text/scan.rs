//! Looking at many bytes at once: what two texts share, where a string ends, how long digits go on.
//!
//! A page mostly says again what it said before, so a reader mostly compares long runs, and goes
//! over short ones. The short ones are looked at by the word, the bytes of which answer all at once;
//! where no word is left in the text, byte by byte, with the same answer. What the bytes mean is left
//! to the caller.

/// Eight bytes, the first one lowest.
///
/// In what is computed of it, the highest bit of a byte is the answer for that byte. A borrow may
/// spoil the answers behind the first, which nobody asks for.
#[derive(Clone, Copy)]
struct Word(u64);

/// How many bytes at the beginning are the same, at most `len`. The texts may go on behind that, and
/// better do, so that blocks are all that is looked at.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8], len: usize) -> usize {
    let mut at = 0;
    // Long runs by blocks of 32, which two instructions compare.
    let blocks = a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0);
    for (a, b) in blocks.take(len.div_ceil(32)) {
        if a != b {
            break;
        }
        at += 32;
    }
    while let (Some(a), Some(b)) = (Word::at(a, at), Word::at(b, at)) {
        let n = a.n_same(b);
        if n < Word::LEN || at >= len {
            return len.min(at + n);
        }
        at += Word::LEN;
    }
    let rest = tail(a, at).iter().zip(tail(b, at));
    len.min(at + rest.take_while(|(a, b)| a == b).count())
}

/// The offset of the first byte from `from` on for which [`is_plain`] does not hold.
#[inline]
pub(super) fn plain_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = Word::at(text, at) {
        let n = word.n_plain();
        if n < Word::LEN {
            return Some(at + n);
        }
        at += Word::LEN;
    }
    tail(text, at).iter().position(|b| !is_plain(*b)).map(|n| at + n)
}

/// The offset of the first byte from `from` on that is no digit; at the latest the end of the text.
#[inline]
pub(super) fn digits_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = Word::at(text, at) {
        let n = word.n_digits();
        if n < Word::LEN {
            return at + n;
        }
        at += Word::LEN;
    }
    at + tail(text, at).iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Whether a byte says nothing in a string but itself: no quote and no backslash, no control
/// character, and ASCII.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii() && byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[inline]
fn block<const N: usize>(text: &[u8], at: usize) -> Option<&[u8; N]> {
    text.get(at..)?.first_chunk()
}

/// What is left of the text.
fn tail(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

// === impl Word ===

impl Word {
    const LEN: usize = 8;

    #[inline]
    fn at(text: &[u8], at: usize) -> Option<Self> {
        block(text, at).map(|bytes| Self(u64::from_le_bytes(*bytes)))
    }

    /// How many bytes stand before the first that differs.
    #[inline]
    fn n_same(self, other: Self) -> usize {
        (self.0 ^ other.0).trailing_zeros() as usize / 8
    }

    /// How many bytes stand before the first that is not plain.
    #[inline]
    fn n_plain(self) -> usize {
        // What is less than a blank borrows; what is not ASCII has the bit already.
        let low = self.0.wrapping_sub(Self::all(b' '));
        Self::n_before(self.0 | low | self.equals(b'"') | self.equals(b'\\'))
    }

    /// How many bytes stand before the first that is no digit.
    #[inline]
    fn n_digits(self) -> usize {
        // With the bits of `0` taken out, only a digit is less than 10, and stays below the highest
        // bit in the sum. Nothing is carried, since that bit is taken out before.
        let apart = self.0 ^ Self::all(b'0');
        let sum = (apart & !Self::all(0x80)) + Self::all(0x80 - 10);
        Self::n_before(apart | sum)
    }

    /// Answers which bytes are this one.
    #[inline]
    fn equals(self, byte: u8) -> u64 {
        let apart = self.0 ^ Self::all(byte);
        apart.wrapping_sub(Self::all(1)) & !apart
    }

    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }

    fn n_before(answers: u64) -> usize {
        (answers & Self::all(0x80)).trailing_zeros() as usize / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks all questions at every offset and length, and compares with what each byte says.
    #[track_caller]
    fn check(a: &[u8], b: &[u8]) {
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        for len in 0..=same + 2 {
            assert_eq!(common_prefix(a, b, len), same.min(len), "{a:?} {b:?} {len}");
        }
        for from in 0..=a.len() {
            let plain = a[from..].iter().position(|b| !is_plain(*b)).map(|n| from + n);
            assert_eq!(plain_end(a, from), plain, "{a:?} {from}");
            let digits = a[from..].iter().take_while(|b| b.is_ascii_digit()).count();
            assert_eq!(digits_end(a, from), from + digits, "{a:?} {from}");
        }
    }

    #[test]
    fn every_byte_is_told_apart_at_every_place() {
        for filler in [b'0', b'9', b'x'] {
            for byte in 0..=u8::MAX {
                for at in 0..20 {
                    let (mut a, b) = ([filler; 37], [filler; 37]);
                    a[at] = byte;
                    check(&a, &b);
                }
            }
        }
    }

    #[test]
    fn runs_of_every_length_are_gone_over() {
        // Few different bytes, those beside the borders among them, so that runs and borrows occur.
        const BYTES: &[u8] = b"0099/:xx\"\\ !#[]\x00\x1f\x7f\x80\xff";
        let mut state = 1_u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        for _ in 0..5_000 {
            let n_kinds = 1 + random(BYTES.len());
            let a: Vec<_> = (0..random(100)).map(|_| BYTES[random(n_kinds)]).collect();
            let mut b = a.clone();
            b.truncate(random(a.len() + 1));
            b.extend((0..random(20)).map(|_| BYTES[random(n_kinds)]));
            check(&a, &b);
            check(&b, &a);
        }
    }
}
