//! A run of lines: each is the one before with another value of its last label and another number.
//!
//! The buckets of a histogram are one. All that stands before the value is compared as a whole, and
//! nothing of it is looked at again. A run is read without the reader, which [goes on](super::Reader::resume)
//! behind it.

use crate::exposition::{
    Label, Limits, number,
    scan::{Window, plain_end},
    text::sample::{Before, number_alone},
};

/// Lines that may follow, and what they have in common.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    body: &'a [u8],
    /// The offset of the next line.
    at: usize,
    /// What each line begins with: all up to the value of its last label.
    prefix: &'a [u8],
    /// Where in a line its last label begins.
    label: usize,
    has_comma: bool,
    limits: Limits,
    n_lines: usize,
    last: Line,
}

/// A line of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Its offset in the body.
    pub at: usize,
    /// How long it is, without its end.
    pub len: usize,
    /// The offset in the line behind the last label.
    pub labels_end: usize,
    /// The value of that label was seen to be a number.
    is_number: bool,
}

/// Where in a line the value of its last label ends and where the line ends, and whether that value was seen to
/// be a number.
type Ends = (usize, usize, bool);

// === impl Run ===

impl<'a> Run<'a> {
    /// Begins behind the line `before`, which is in `body` and ends before `at`. At most as many lines are
    /// read as `limits` say of samples.
    #[inline]
    pub(super) fn new(
        body: &'a [u8],
        at: usize,
        before: &Before<'a>,
        limits: Limits,
    ) -> Option<Self> {
        let text = &body[at..];
        // To look at the first line twice costs less than to begin where there is none.
        let (prefix, label) =
            before.up_to_last_value(text).filter(|(prefix, _)| text.starts_with(prefix))?;
        let has_comma = before.set.has_comma();
        Some(Self { body, at, prefix, label, has_comma, limits, n_lines: 0, last: Line::default() })
    }

    /// The offset of the next line.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many lines were read, and the last of them.
    pub(super) fn lines(&self) -> (usize, Line) {
        (self.n_lines, self.last)
    }

    /// The name of the last label of each line.
    #[inline]
    #[must_use]
    pub fn label_name(&self) -> &'a [u8] {
        // A quote stands before the value, and before that `=`.
        &self.prefix[self.label..self.prefix.len() - 2]
    }

    /// The last label of a line.
    #[inline]
    #[must_use]
    pub fn label(&self, line: &Line) -> Label<'a> {
        let text = &self.body[line.at..];
        let value = &text[self.prefix.len()..line.labels_end - 1];
        Label { name: self.label_name(), value, bytes: &text[self.label..line.labels_end] }
    }

    /// Whether the value of that label is a number.
    #[inline]
    #[must_use]
    pub fn is_number(&self, line: &Line) -> bool {
        line.is_number || number::is_float(self.label(line).value)
    }

    /// The ends of the line at the beginning of `text`, where behind its prefix little is left of it.
    #[inline]
    fn short(&self, text: &[u8]) -> Option<Ends> {
        let start = self.prefix.len();
        let window = Window::new(text.get(start..)?)?;
        let quote = window.plain_end();
        let number = match window.from(quote) {
            [b'"', b'}', b' ', ..] if !self.has_comma => quote + 3,
            [b'"', b',', b'}', b' ', ..] if self.has_comma => quote + 4,
            _ => return None,
        };
        let end = window.digits_end(number);
        if end == number || window.from(end).first() != Some(&b'\n') {
            return None;
        }
        Some((start + quote, start + end, window.is_number(quote)))
    }

    /// The ends of the line at the beginning of `text`.
    #[inline(never)]
    fn long(&self, text: &[u8]) -> Option<Ends> {
        let quote = plain_end(text, self.prefix.len())?;
        let behind = match text[quote..] {
            [b'"', b'}', ref behind @ ..] if !self.has_comma => behind,
            [b'"', b',', b'}', ref behind @ ..] if self.has_comma => behind,
            _ => return None,
        };
        let len = text.len() - behind.len() + number_alone(behind)?;
        let is_number = number::is_plain(text, self.prefix.len(), quote);
        Some((quote, len, is_number))
    }
}

impl Iterator for Run<'_> {
    type Item = Line;

    #[inline]
    fn next(&mut self) -> Option<Line> {
        let Self { body, at, prefix, limits, .. } = *self;
        let text = &body[at..];
        if self.n_lines >= limits.samples || !text.starts_with(prefix) {
            return None;
        }
        // As values: by way of memory they are written as bytes and read as words, which stalls.
        let (quote, len, is_number) = match self.short(text) {
            Some((quote, len, is_number)) => (quote, len, is_number),
            None => self.long(text)?,
        };
        if quote - prefix.len() > limits.value || len > limits.line {
            return None;
        }
        self.at = at + len + usize::from(len < text.len());
        self.n_lines += 1;
        self.last = Line { at, len, labels_end: quote + 1, is_number };
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text::{Dialect, Reader};

    /// Reads a run behind the first line, at the end of a body and before much more.
    #[track_caller]
    fn check(body: &str, n_lines: usize) {
        check_run(body, n_lines);
        if body.ends_with('\n') {
            check_run(&format!("{body}# {}\n", "x".repeat(40)), n_lines);
        }
    }

    /// Reads a run behind the first line, and goes on behind it: each line says what it says alone.
    #[track_caller]
    fn check_run(body: &str, n_lines: usize) {
        let limits = Limits { value: 8, line: 50, samples: 20, ..Limits::default() };
        let reader = |body| Reader::new(body, Dialect::Text, &limits);
        let mut lines = reader(body.as_bytes());
        lines.step();
        let Some(mut run) = lines.run() else { return assert_eq!(n_lines, 0, "{body}") };
        while let Some(line) = run.next() {
            let text = &body.as_bytes()[line.at..][..line.len];
            let mut alone = reader(text);
            alone.step();
            assert_eq!(alone.labels().last(), Some(&run.label(&line)), "{body}");
            let labels = &text[alone.sample().name.len() + 1..line.labels_end];
            assert_eq!(alone.sample().labels.as_bytes(), labels, "{body}");
            let is_number = number::is_float(run.label(&line).value);
            assert_eq!(run.is_number(&line), is_number, "{body}");
        }
        assert_eq!(run.lines().0, n_lines, "{body}");
        lines.resume(&run);
        let mut alone = reader(lines.place().text);
        alone.step();
        assert_eq!((lines.sample(), lines.labels()), (alone.sample(), alone.labels()), "{body}");
        assert_eq!(lines.place().line, n_lines + 1, "{body}");
    }

    #[test]
    fn lines_that_differ_in_the_last_value_are_a_run() {
        check("m{le=\"1\"} 1\nm{le=\"2\"} 2\nm{le=\"+Inf\"} 3e4\nm_sum 1\n", 2);
        check("m{a=\"b\",le=\"1\"} 1\nm{a=\"b\",le=\"\"} 2.5\nm{a=\"b\",le=\".\"} 7", 2);
        check("m{a=\"b\",} 1\nm{a=\"c\",} 1\nm{a=\"2.\",} 1\n", 2);
    }

    #[test]
    fn a_run_ends_where_a_line_is_not_like_it() {
        for next in [
            "m{b=\"1\"} 1",
            "m{a=\"1\",b=\"1\"} 1",
            "m{a=\"1\",} 1",
            "m{a=\"1\" } 1",
            "m{a=\"1\"}  1",
            "m{a=\"1\"} 1 1",
            "m{a=\"1\"} -1",
            "m{a=\"1\"} 1\r",
            "m{a=\"\\n\"} 1",
            "m{a=\"123456789\"} 1",
            "m{a=\"1\"} 123456789012345678901234567890123456789012345",
            "m{a=\"1\"",
            "m 1",
            "n{a=\"1\"} 1",
            "",
        ] {
            check(&format!("m{{a=\"0\"}} 1\nm{{a=\"1\"}} 1\n{next}\n"), 1);
        }
    }

    #[test]
    fn nothing_follows_a_line_that_is_not_plain() {
        for first in ["m 1", "m{} 1", "m{a=\"\\n\"} 1", "m{\"a\"=\"0\"} 1", "m{a=\"0\"} 1 1"] {
            check(&format!("{first}\nm{{a=\"1\"}} 1\n"), 0);
        }
    }

    #[test]
    fn no_more_samples_are_read_than_are_allowed() {
        check(&"m{a=\"1\"} 1\n".repeat(30), 19);
    }
}
