//! Blocks by words of eight bytes: what any processor has.

use super::{BLOCK, Block, is_in_name, is_plain};

/// Eight bytes, the first one lowest.
///
/// In what is computed of it, the highest bit of a byte is the answer for that byte. A borrow may
/// spoil the answers behind the first, which nobody asks for.
#[derive(Clone, Copy)]
struct Word(u64);

/// How many bytes stand before the first that differs, of which there is one.
pub(super) fn n_same(a: &[u8; 2 * BLOCK], b: &[u8; 2 * BLOCK]) -> usize {
    let words = a.as_chunks().0.iter().zip(b.as_chunks().0);
    n_of(words.map(|(a, b)| Word::new(*a).n_same(Word::new(*b))))
}

/// How many bytes stand before the first that differs, if one does.
pub(super) fn n_equal(a: &Block, b: &Block) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How many bytes stand before the first that is not plain.
pub(super) fn n_plain(block: &Block) -> usize {
    n_of(block.as_chunks().0.iter().map(|word| Word::new(*word).n_plain()))
}

/// How many bytes stand before the first that is no digit.
pub(super) fn n_digits(block: &Block) -> usize {
    n_of(block.as_chunks().0.iter().map(|word| Word::new(*word).n_digits()))
}

/// A bit for each byte that is not plain.
pub(super) fn strange(block: &Block) -> u32 {
    bits(block, |byte| !is_plain(byte))
}

/// A bit for each byte that is a digit.
pub(super) fn digits(block: &Block) -> u32 {
    bits(block, |byte| byte.is_ascii_digit())
}

/// How many bytes stand before the first that may not stand in a label name.
pub(super) fn n_name(block: &Block) -> usize {
    block.iter().take_while(|byte| is_in_name(**byte)).count()
}

/// A bit for each byte of which it is so, the lowest for the first one.
fn bits(block: &Block, is: impl Fn(u8) -> bool) -> u32 {
    block.iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(is(*byte)))
}

/// The sum of what the words say, up to the first that says less than it could.
fn n_of(words: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    for n in words {
        sum += n;
        if n < Word::LEN {
            break;
        }
    }
    sum
}

// === impl Word ===

impl Word {
    const LEN: usize = 8;

    fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    fn n_same(self, other: Self) -> usize {
        (self.0 ^ other.0).trailing_zeros() as usize / 8
    }

    fn n_plain(self) -> usize {
        // What is less than a blank borrows; what is not ASCII has the bit already.
        let low = self.0.wrapping_sub(Self::all(b' '));
        Self::n_before(self.0 | low | self.equals(b'"') | self.equals(b'\\'))
    }

    fn n_digits(self) -> usize {
        // With the bits of `0` taken out, only a digit is less than 10, and stays below the highest
        // bit in the sum. Nothing is carried, since that bit is taken out before.
        let apart = self.0 ^ Self::all(b'0');
        let sum = (apart & !Self::all(0x80)) + Self::all(0x80 - 10);
        Self::n_before(apart | sum)
    }

    /// Answers which bytes are this one.
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
