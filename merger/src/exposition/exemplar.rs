//! What follows the `#` of an exemplar: labels, a value and maybe a time in seconds.
//!
//! The reader takes blanks wherever they may be meant, the writer has one spelling, which
//! `OpenMetrics` reads. What a page's format asks of an exemplar beyond that is left to its writer.

use std::borrow::Cow;

use memchr::memchr2;

use crate::exposition::{
    Escaping, Label,
    labels::{self, skip_blanks},
    number, timestamp,
};

/// How many labels an exemplar may have. `OpenMetrics` allows 128 characters in all of them, and a
/// row without an end would cost more than its line.
const MOST_LABELS: usize = 64;

/// An exemplar that was checked: label names are distinct, the value is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar<'a> {
    /// What stands between the braces.
    labels: &'a [u8],
    /// A number.
    pub value: &'a [u8],
    /// Seconds since 1970, which [`timestamp::millis`] reads, before [`timestamp::END`].
    pub timestamp: Option<&'a [u8]>,
}

/// Walks the labels of an exemplar, up to the closing brace or to what is no label.
#[derive(Clone, Debug)]
struct Walk<'a> {
    rest: &'a [u8],
    /// Whether a comma has to come before the next label.
    is_behind: bool,
}

// === impl Exemplar ===

impl<'a> Exemplar<'a> {
    /// Reads what follows the `#`, with blanks anywhere around its parts.
    #[must_use]
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let text = skip_blanks(text).strip_prefix(b"{")?;
        let mut walk = Walk::new(text);
        let mut names = [&[][..]; MOST_LABELS];
        for (n_before, Label { name, .. }) in walk.by_ref().enumerate() {
            let is_new = n_before < MOST_LABELS && !names[..n_before].contains(&name);
            if !is_new || name.is_empty() || name == b"__name__" {
                return None;
            }
            names[n_before] = name;
        }
        let rest = walk.end()?;
        let labels = &text[..text.len() - rest.len()];
        let (value, rest) = split_word(rest.strip_prefix(b"}")?);
        let (timestamp, rest) = split_word(rest);
        let timestamp = Some(timestamp).filter(|timestamp| !timestamp.is_empty());
        let is_time =
            |seconds| timestamp::millis(seconds).is_some_and(|time| time < timestamp::END);
        let is_good = number::is_float(value) && timestamp.is_none_or(is_time) && rest.is_empty();
        is_good.then_some(Self { labels, value, timestamp })
    }

    /// The labels in the order of the source. Names and values are escaped as the source did it.
    pub fn labels(&self) -> impl Iterator<Item = Label<'a>> {
        Walk::new(self.labels)
    }

    /// How many characters the names and values of its labels have together.
    #[must_use]
    pub fn n_chars(&self) -> usize {
        self.labels().map(|Label { name, value, .. }| n_chars(name) + n_chars(value)).sum()
    }

    /// Writes it as it stands behind `# `, names in the scheme that the reader of the page knows.
    pub fn push(&self, out: &mut Vec<u8>, escaping: Escaping) {
        let mut separator = b'{';
        for Label { name, value, .. } in self.labels() {
            out.push(separator);
            push_name(out, name, escaping);
            out.extend_from_slice(b"=\"");
            labels::push_value(out, value);
            out.push(b'"');
            separator = b',';
        }
        out.extend_from_slice(if separator == b'{' { b"{} " } else { b"} " });
        out.extend_from_slice(self.value);
        if let Some(timestamp) = self.timestamp {
            out.push(b' ');
            out.extend_from_slice(timestamp);
        }
    }
}

fn push_name(out: &mut Vec<u8>, name: &[u8], escaping: Escaping) {
    if labels::is_name(name) {
        return out.extend_from_slice(name);
    }
    let plain = labels::unescape(name, b"\"");
    // The reader of the line has found that it is UTF-8.
    let escaped =
        std::str::from_utf8(&plain).map_or(Cow::Borrowed("_"), |n| escaping.label_name(n));
    if labels::is_name(escaped.as_bytes()) {
        return out.extend_from_slice(escaped.as_bytes());
    }
    out.push(b'"');
    labels::push_value(out, name);
    out.push(b'"');
}

/// How many characters stand for themselves or behind a known backslash.
fn n_chars(escaped: &[u8]) -> usize {
    labels::unescape(escaped, b"\"").iter().filter(|b| !matches!(b, 0x80..=0xbf)).count()
}

/// What stands before the next blank, behind blanks; and what follows it, behind blanks.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = skip_blanks(text);
    let end = text.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    (&text[..end], skip_blanks(&text[end..]))
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text, is_behind: false }
    }

    /// What follows the labels and a last comma.
    fn end(&self) -> Option<&'a [u8]> {
        let rest = skip_blanks(self.rest);
        let rest = if self.is_behind { rest.strip_prefix(b",").unwrap_or(rest) } else { rest };
        Some(skip_blanks(rest)).filter(|rest| rest.starts_with(b"}"))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        let mut text = skip_blanks(self.rest);
        if self.is_behind {
            text = skip_blanks(text.strip_prefix(b",")?);
        }
        let (name, rest) = if let [b'"', quoted @ ..] = text {
            split_quoted(quoted)?
        } else {
            let is_end = |b: &u8| matches!(b, b'=' | b' ' | b'\t');
            let (name, rest) = text.split_at(text.iter().position(is_end)?);
            labels::is_name(name).then_some((name, rest))?
        };
        let rest = skip_blanks(skip_blanks(rest).strip_prefix(b"=")?);
        let (value, rest) = split_quoted(rest.strip_prefix(b"\"")?)?;
        (self.rest, self.is_behind) = (rest, true);
        Some(Label { name, value, bytes: &text[..text.len() - rest.len()] })
    }
}

/// What stands before the closing quote, and what follows it.
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests;
