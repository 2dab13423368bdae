//! Looking at many bytes at once: what two texts share, where a string ends, how long digits go on.
//!
//! A page mostly says again what it said before, so a reader mostly compares long runs, and goes
//! over short ones. Blocks of 16 bytes are looked at together, by SSE2 where there is one and by
//! words elsewhere; what is less than a block at the end of a text, byte by byte, with the same answer.
//! What the bytes mean is left to the caller.

use memchr::memchr;

use crate::exposition::Defect;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(not(target_arch = "x86_64"))]
use self::portable as block;
#[cfg(target_arch = "x86_64")]
use self::sse2 as block;

/// As many bytes as are looked at together.
type Block = [u8; BLOCK];

const BLOCK: usize = 16;

/// The beginning of a text, about which many questions are answered by one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    text: &'a [u8; WINDOW],
    /// A bit for each byte that is not plain, and for all behind the last one.
    strange: u64,
    /// A bit for each byte that is a digit.
    digits: u64,
}

const WINDOW: usize = 2 * BLOCK;

/// How many bytes at the beginning are the same, at most `len`. The texts may go on behind that, and
/// better do, so that blocks are all that is looked at.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8], len: usize) -> usize {
    // Long runs by two blocks, which is a loop of few instructions.
    const BOTH: usize = 2 * BLOCK;
    let (in_a, in_b) = (a.as_chunks::<BOTH>().0, b.as_chunks::<BOTH>().0);
    let n_both = len.div_ceil(BOTH).min(in_a.len()).min(in_b.len());
    let (in_a, in_b) = (&in_a[..n_both], &in_b[..n_both]);
    let mut n = 0;
    while n < n_both && in_a[n] == in_b[n] {
        n += 1;
    }
    let at = n * BOTH;
    if n < n_both {
        return len.min(at + block::n_same(&in_a[n], &in_b[n]));
    }
    let rest = tail(a, at).iter().zip(tail(b, at)).take(len.saturating_sub(at));
    at.min(len) + rest.take_while(|(a, b)| a == b).count()
}

/// Whether that many bytes at the beginning are the same. The texts may go on behind that, and better do, so
/// that a short beginning is looked at as a block.
#[inline]
pub(super) fn is_prefix(a: &[u8], b: &[u8], len: usize) -> bool {
    match (a.first_chunk(), b.first_chunk()) {
        (Some(a), Some(b)) if len <= BLOCK => block::n_equal(a, b) >= len,
        _ => a.get(..len).is_some_and(|a| b.starts_with(a)),
    }
}

/// The offset of the first byte from `from` on for which [`is_plain`] does not hold.
#[inline]
pub(super) fn plain_end(text: &[u8], from: usize) -> Option<usize> {
    let end = run_end(text, from, block::n_plain, is_plain);
    (end < text.len()).then_some(end)
}

/// The offset of the first byte from `from` on that is no digit; at the latest the end of the text.
#[inline]
pub(super) fn digits_end(text: &[u8], from: usize) -> usize {
    run_end(text, from, block::n_digits, |byte| byte.is_ascii_digit())
}

/// The offset of the first byte from `from` on that may not stand in a label name; at the latest the end
/// of the text.
#[inline]
pub(super) fn name_end(text: &[u8], from: usize) -> usize {
    run_end(text, from, block::n_name, is_in_name)
}

/// Whether it is UTF-8 without a NUL.
#[inline]
pub(super) fn check_text(text: &[u8]) -> Result<(), Defect> {
    if is_ascii_text(text) { Ok(()) } else { check_characters(text) }
}

#[cold]
fn check_characters(text: &[u8]) -> Result<(), Defect> {
    match std::str::from_utf8(text) {
        Err(_) => Err(Defect::NotUtf8),
        Ok(_) if memchr(0, text).is_some() => Err(Defect::Nul),
        Ok(_) => Ok(()),
    }
}

/// Whether each byte is in `0x01..0x80`, looking at eight at a time: what is checked is often less than
/// a block.
#[inline]
pub(super) fn is_ascii_text(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|byte| (1..0x80).contains(byte));
    };
    // The last eight bytes may be looked at twice.
    let (words, _) = text.as_chunks();
    words.iter().chain([last]).fold(0, |found, word| found | strange(*word)) == 0
}

/// Zero unless a byte is 0 or above 0x7f. Of the lowest such byte the high bit is set, before or after
/// one is taken from each, since nothing is borrowed below it.
#[inline]
fn strange(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    (word | word.wrapping_sub(u64::from_le_bytes([1; 8]))) & u64::from_le_bytes([0x80; 8])
}

// === impl Window ===

impl<'a> Window<'a> {
    /// Looks at the first bytes of `text`, if there are as many.
    #[inline]
    pub(super) fn new(text: &'a [u8]) -> Option<Self> {
        let text: &[u8; WINDOW] = text.first_chunk()?;
        let [first, second] = text.as_chunks().0 else { return None };
        let both = |of: fn(&Block) -> u32| u64::from(of(first) | of(second) << BLOCK);
        let (strange, digits) = (both(block::strange), both(block::digits));
        Some(Self { text, strange: strange | u64::MAX << WINDOW, digits })
    }

    /// The offset of the first byte for which [`is_plain`] does not hold; at the latest the end.
    #[inline]
    pub(super) fn plain_end(&self) -> usize {
        self.strange.trailing_zeros() as usize
    }

    /// The offset of the first byte from `from` on that is no digit; at the latest the end.
    #[inline]
    pub(super) fn digits_end(&self, from: usize) -> usize {
        (!self.digits & at_or_behind(from)).trailing_zeros() as usize
    }

    /// Whether the first `len` bytes are digits, maybe with a point among them but not before them.
    #[inline]
    pub(super) fn is_number(&self, len: usize) -> bool {
        let others = !self.digits & !at_or_behind(len);
        let is_point = || self.text[others.trailing_zeros() as usize % WINDOW] == b'.';
        let is_one = others & others.wrapping_sub(1) == 0;
        self.digits & 1 == 1 && len > 0 && is_one && (others == 0 || is_point())
    }

    /// The bytes from `from` on.
    #[inline]
    pub(super) fn from(&self, from: usize) -> &'a [u8] {
        tail(self.text, from)
    }
}

/// A bit for each place from this one on.
#[inline]
fn at_or_behind(place: usize) -> u64 {
    u64::MAX << place.min(WINDOW)
}

/// Where the bytes from `from` on end that are of one kind; `n_of` says how many the first ones of
/// a block are.
#[inline]
fn run_end(
    text: &[u8],
    from: usize,
    n_of: impl Fn(&Block) -> usize,
    is: impl Fn(u8) -> bool,
) -> usize {
    let mut at = from;
    while let Some(block) = text.get(at..).and_then(|text| text.first_chunk()) {
        let n = n_of(block);
        at += n;
        if n < BLOCK {
            return at;
        }
    }
    match text.last_chunk() {
        // What was looked at already may be looked at twice.
        Some(last) if at > from => text.len() - BLOCK + n_of(last),
        _ => at + tail(text, at).iter().take_while(|byte| is(**byte)).count(),
    }
}

/// Whether a byte says nothing in a string but itself: no quote and no backslash, no control
/// character, and ASCII.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii() && byte >= b' ' && byte != b'"' && byte != b'\\'
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What is left of the text.
fn tail(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
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
            assert_eq!(is_prefix(a, b, len), len <= same, "{a:?} {b:?} {len}");
        }
        if let (Some(a), Some(b)) = (a.first_chunk(), b.first_chunk())
            && a != b
        {
            assert_eq!(block::n_same(a, b), portable::n_same(a, b), "{a:?} {b:?}");
        }
        if let (Some(a), Some(b)) = (a.first_chunk(), b.first_chunk()) {
            assert_eq!(block::n_equal(a, b), portable::n_equal(a, b), "{a:?} {b:?}");
        }
        if let Some(a) = a.first_chunk() {
            assert_eq!(block::n_plain(a), portable::n_plain(a), "{a:?}");
            assert_eq!(block::n_digits(a), portable::n_digits(a), "{a:?}");
            assert_eq!(block::n_name(a), portable::n_name(a), "{a:?}");
            assert_eq!(block::strange(a), portable::strange(a), "{a:?}");
            assert_eq!(block::digits(a), portable::digits(a), "{a:?}");
        }
        if let Some(window) = Window::new(a) {
            let text = &a[..WINDOW];
            assert_eq!(window.plain_end(), plain_end(text, 0).unwrap_or(WINDOW), "{a:?}");
            for at in 0..=WINDOW {
                assert_eq!(window.digits_end(at), digits_end(text, at), "{a:?} {at}");
                assert_eq!(window.from(at), &text[at..], "{a:?} {at}");
                let (whole, number) = (digits_end(&text[..at], 0), &text[..at]);
                let mut parts = number.split(|byte| *byte == b'.');
                let is_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
                let is_number =
                    whole > 0 && parts.by_ref().take(2).all(is_digits) && parts.next().is_none();
                assert_eq!(window.is_number(at), is_number, "{a:?} {at}");
            }
        }
        for from in 0..=a.len() {
            let plain = a[from..].iter().position(|b| !is_plain(*b)).map(|n| from + n);
            assert_eq!(plain_end(a, from), plain, "{a:?} {from}");
            let digits = a[from..].iter().take_while(|b| b.is_ascii_digit()).count();
            assert_eq!(digits_end(a, from), from + digits, "{a:?} {from}");
            let name = a[from..].iter().take_while(|b| is_in_name(**b)).count();
            assert_eq!(name_end(a, from), from + name, "{a:?} {from}");
            let text = std::str::from_utf8(&a[from..]).map_err(|_| Defect::NotUtf8);
            let is_text =
                text.and_then(|text| if text.contains('\0') { Err(Defect::Nul) } else { Ok(()) });
            assert_eq!(check_text(&a[from..]), is_text, "{a:?} {from}");
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

    #[test]
    fn characters_of_more_than_a_byte_are_text() {
        for text in ["é", "aaaaaaaé", "été été été été", "\u{10ffff}"] {
            assert_eq!(check_text(text.as_bytes()), Ok(()));
        }
        assert_eq!(check_text("é\0".as_bytes()), Err(Defect::Nul));
    }
}
