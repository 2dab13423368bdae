//! Copying lines with something put in, in as few copies as can be.
//!
//! The lines of a page mostly follow each other in a body. So what stands behind the labels of one line
//! and before those of the next is one piece, and is copied as one. What is put in is short and always
//! the same: for it the call of `memcpy` costs more than the bytes do, so a fixed number of bytes is
//! copied, which takes but some instructions, and what was too much is cut off again. Whose bytes they
//! are is left to the caller.

/// How many bytes more than it needs a page has room for, so that it does not grow for a moment.
pub(super) const SLACK: usize = PART;

/// How long a part is that is copied without a call.
const PART: usize = 64;

/// Bytes that are put in again and again.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Vec<u8>,
    /// The same, and zeros behind them, if they are short enough.
    padded: Option<[u8; PART]>,
}

/// Writes lines to a page.
#[derive(Debug)]
pub(super) struct Lines<'o, 'b> {
    out: &'o mut Vec<u8>,
    /// What is not copied yet: a piece of this body.
    body: &'b [u8],
    from: usize,
    to: usize,
}

// === impl Part ===

impl Part {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let mut padded = [0; PART];
        let is_short = bytes.len() <= PART;
        if is_short {
            padded[..bytes.len()].copy_from_slice(&bytes);
        }
        Self { bytes, padded: is_short.then_some(padded) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn push(&self, out: &mut Vec<u8>) {
        if let Some(padded) = &self.padded {
            let end = out.len() + self.len();
            out.extend_from_slice(padded);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.bytes);
        }
    }
}

// === impl Lines ===

impl<'o, 'b> Lines<'o, 'b> {
    /// Writes behind what `out` holds.
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, body: b"", from: 0, to: 0 }
    }

    /// Writes the line that goes from `start` to `end` in `body`, without its end, and puts `part` in
    /// where `hole` is, which is left out.
    #[expect(clippy::inline_always, reason = "a call for each line takes a hundredth of a merge")]
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        body: &'b [u8],
        [start, end]: [usize; 2],
        hole: [usize; 2],
        part: &Part,
    ) {
        let is_next = start == self.to + 1
            && std::ptr::eq(body, self.body)
            && body.get(self.to) == Some(&b'\n');
        if !is_next {
            self.begin(body, start);
        }
        self.out.extend_from_slice(&body[self.from..hole[0]]);
        part.push(self.out);
        (self.from, self.to) = (hole[1], end);
    }

    /// Begins a piece that follows no other.
    #[inline(never)]
    fn begin(&mut self, body: &'b [u8], start: usize) {
        self.flush();
        (self.body, self.from) = (body, start);
    }

    /// Writes what was not copied yet.
    pub(super) fn flush(&mut self) {
        if !self.body.is_empty() {
            self.out.extend_from_slice(&self.body[self.from..self.to]);
            self.out.push(b'\n');
        }
        (self.body, self.from, self.to) = (b"", 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_any_length_is_written_without_its_padding() {
        for len in 0..150 {
            let bytes: Vec<u8> = (0..len).collect();
            let part = Part::new(bytes.clone());
            assert_eq!((part.as_bytes(), part.len()), (&bytes[..], usize::from(len)));
            let mut out = Vec::new();
            part.push(&mut out);
            assert_eq!(out, bytes);
        }
    }

    /// Each line as its span and its hole, all of one body.
    #[track_caller]
    fn check(body: &str, lines: &[([usize; 2], [usize; 2])], expected: &str) {
        let mut out = b"before\n".to_vec();
        let mut copy = Lines::new(&mut out);
        let part = Part::new(b"+".to_vec());
        for (span, hole) in lines {
            copy.push(body.as_bytes(), *span, *hole, &part);
        }
        copy.flush();
        assert_eq!(String::from_utf8(out).unwrap(), format!("before\n{expected}"));
    }

    #[test]
    fn lines_are_written_whether_they_follow_each_other_or_not() {
        let body = "a 1\nb 2\nc 3\r\nd 4";
        let line = |start: usize| ([start, start + 3], [start + 1, start + 1]);
        check(body, &[], "");
        check(body, &[line(0), line(4), line(8)], "a+ 1\nb+ 2\nc+ 3\n");
        check(body, &[line(0), line(8), line(13)], "a+ 1\nc+ 3\nd+ 4\n");
        check(body, &[line(8), line(4), line(4), line(0)], "c+ 3\nb+ 2\nb+ 2\na+ 1\n");
    }

    #[test]
    fn what_is_in_the_hole_is_left_out() {
        check("a, 1\nb 2", &[([0, 4], [1, 2]), ([5, 8], [6, 6])], "a+ 1\nb+ 2\n");
    }

    #[test]
    fn lines_of_two_bodies_do_not_follow_each_other() {
        let mut out = Vec::new();
        let mut copy = Lines::new(&mut out);
        let part = Part::new(Vec::new());
        copy.push(b"a 1\nx 9", [0, 3], [1, 1], &part);
        copy.push(b"????b 2", [4, 7], [5, 5], &part);
        copy.flush();
        assert_eq!(out, b"a 1\nb 2\n");
    }
}
