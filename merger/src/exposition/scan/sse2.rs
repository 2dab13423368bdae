//! Blocks by SSE2, which every x86-64 has: all bytes of a block answer in one instruction.

#![expect(unsafe_code, reason = "intrinsics, and loads from a pointer")]

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_max_epu8, _mm_min_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_sub_epi8,
};

use super::{BLOCK, Block};

/// How many bytes stand before the first that differs, of which there is one.
#[inline]
pub(super) fn n_same(a: &[u8; 2 * BLOCK], b: &[u8; 2 * BLOCK]) -> usize {
    let same = |a: &Block, b: &Block| {
        // SAFETY: SSE2 is there on every x86-64.
        answers(unsafe { _mm_cmpeq_epi8(load(a), load(b)) })
    };
    let ([a, more_a], [b, more_b]) = (halves(a), halves(b));
    (!(same(a, b) | same(more_a, more_b) << BLOCK)).trailing_zeros() as usize
}

/// How many bytes stand before the first that differs, if one does.
#[inline]
pub(super) fn n_equal(a: &Block, b: &Block) -> usize {
    // SAFETY: SSE2 is there on every x86-64.
    n_before(!answers(unsafe { _mm_cmpeq_epi8(load(a), load(b)) }))
}

/// How many bytes stand before the first that is not plain.
#[inline]
pub(super) fn n_plain(block: &Block) -> usize {
    n_before(strange(block))
}

/// A bit for each byte that is not plain.
#[inline]
pub(super) fn strange(block: &Block) -> u32 {
    // SAFETY: SSE2 is there on every x86-64.
    let strange = unsafe {
        let block = load(block);
        // As signed numbers, what is not ASCII is below a blank, too.
        let low = _mm_cmplt_epi8(block, all(b' '));
        let quote = _mm_cmpeq_epi8(block, all(b'"'));
        let backslash = _mm_cmpeq_epi8(block, all(b'\\'));
        _mm_or_si128(low, _mm_or_si128(quote, backslash))
    };
    answers(strange)
}

/// How many bytes stand before the first that is no digit.
#[inline]
pub(super) fn n_digits(block: &Block) -> usize {
    n_before(!digits(block))
}

/// A bit for each byte that is a digit.
#[inline]
pub(super) fn digits(block: &Block) -> u32 {
    // SAFETY: SSE2 is there on every x86-64.
    let digits = unsafe {
        let above_zero = _mm_sub_epi8(load(block), all(b'0'));
        _mm_cmpeq_epi8(_mm_max_epu8(above_zero, all(9)), all(9))
    };
    answers(digits)
}

/// How many bytes stand before the first that may not stand in a label name.
#[inline]
pub(super) fn n_name(block: &Block) -> usize {
    // SAFETY: SSE2 is there on every x86-64.
    let names = unsafe {
        let block = load(block);
        let is_up_to = |first: u8, n: u8| {
            let above = _mm_sub_epi8(block, all(first));
            _mm_cmpeq_epi8(_mm_min_epu8(above, all(n)), above)
        };
        let (lower, upper) = (is_up_to(b'a', 25), is_up_to(b'A', 25));
        let underscore = _mm_cmpeq_epi8(block, all(b'_'));
        _mm_or_si128(_mm_or_si128(lower, upper), _mm_or_si128(is_up_to(b'0', 9), underscore))
    };
    n_before(!answers(names))
}

#[inline]
fn load(block: &Block) -> __m128i {
    // SAFETY: a block has the 16 bytes that are read, and they need no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
fn all(byte: u8) -> __m128i {
    // SAFETY: SSE2 is there on every x86-64.
    unsafe { _mm_set1_epi8(byte.cast_signed()) }
}

/// A bit for each byte that is not zero but all ones.
#[inline]
fn answers(bytes: __m128i) -> u32 {
    // SAFETY: SSE2 is there on every x86-64.
    unsafe { _mm_movemask_epi8(bytes) }.cast_unsigned()
}

/// How many answers of a block stand before the first yes.
#[inline]
fn n_before(answers: u32) -> usize {
    (answers | 1 << BLOCK).trailing_zeros() as usize
}

#[inline]
fn halves(both: &[u8; 2 * BLOCK]) -> [&Block; 2] {
    let (first, second) = both.split_at(BLOCK);
    [first, second].map(|half| half.first_chunk().unwrap_or(&[0; BLOCK]))
}
