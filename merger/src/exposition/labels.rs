//! A label set: walk it, compare it, append to it, escape it.
//!
//! A set is held as the bytes between the braces, which a reader has checked, so that a set that
//! nobody has to look at is copied whole. Values stay escaped: in the strict spelling each value
//! is escaped in one way only, and two values are equal where their bytes are.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use crate::exposition::scan;

/// How many labels most samples have at most.
pub const N_USUAL: usize = 16;

/// A checked label set, in the order of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    /// What stands between the braces.
    bytes: &'a [u8],
    is_strict: bool,
}

/// One label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label<'a> {
    /// A label name. One that stood in quotes is without them, escaped as the source did it.
    pub name: &'a [u8],
    /// The value as the source escaped it, without the quotes.
    pub value: &'a [u8],
    /// From the name to the quote behind the value: in a strict set two labels with equal bytes are
    /// equal, and no others.
    pub bytes: &'a [u8],
}

/// Walks the labels of a set.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: &'a [u8],
}

/// Whether it is a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && name_len(text) == text.len()
}

/// Whether it is a metric name that needs no quotes: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[must_use]
pub fn is_metric_name(text: &[u8]) -> bool {
    !text.is_empty() && metric_name_len(text, 0) == text.len()
}

/// An escaped name in another scheme, strictly escaped. `escape` is given the plain name.
pub fn respell<'a>(
    name: &'a [u8],
    escape: impl for<'n> FnOnce(&'n str) -> Cow<'n, str>,
) -> Cow<'a, [u8]> {
    let plain = unescape(name, b"\"");
    // What a reader gave was checked to be UTF-8.
    let Ok(plain) = std::str::from_utf8(&plain) else { return Cow::Borrowed(name) };
    let mut spelled = Vec::with_capacity(name.len());
    push_escaped(&mut spelled, escape(plain).as_bytes(), true);
    Cow::Owned(spelled)
}

/// Writes the name of a label, in quotes where it is no identifier.
pub fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    if is_name(name) {
        out.extend_from_slice(name);
    } else {
        out.push(b'"');
        out.extend_from_slice(name);
        out.push(b'"');
    }
}

/// Writes a value that a source had escaped, in the strict spelling: `\d` becomes `\\d`.
pub fn push_value(out: &mut Vec<u8>, escaped: &[u8]) {
    push_strict(out, escaped, b"\\n\"");
}

/// Writes bytes in the strict spelling, where `known` are the bytes that may follow a backslash.
pub(super) fn push_strict(out: &mut Vec<u8>, escaped: &[u8], known: &[u8]) {
    let mut rest = escaped;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..=at]);
        rest = &rest[at + 1..];
        match rest.first() {
            Some(next) if known.contains(next) => {
                out.push(*next);
                rest = &rest[1..];
            }
            _ => out.push(b'\\'),
        }
    }
    out.extend_from_slice(rest);
}

/// What was escaped, plain: `\\\\`, `\\n`, and a backslash before one of `known`. Another backslash stands for
/// itself.
#[must_use]
pub fn unescape<'a>(text: &'a [u8], known: &[u8]) -> Cow<'a, [u8]> {
    let Some(first) = memchr(b'\\', text) else { return Cow::Borrowed(text) };
    let mut plain = Vec::with_capacity(text.len());
    plain.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let [byte, after @ ..] = rest {
        let (byte, after) = match (byte, after) {
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [other, after @ ..]) if known.contains(other) => (*other, after),
            _ => (*byte, after),
        };
        plain.push(byte);
        rest = after;
    }
    Cow::Owned(plain)
}

/// Plain text strictly escaped, as the name or the value of a label.
#[must_use]
pub fn escaped(plain: &[u8]) -> Cow<'_, [u8]> {
    if memchr3(b'\\', b'"', b'\n', plain).is_none() {
        return Cow::Borrowed(plain);
    }
    let mut escaped = Vec::with_capacity(plain.len() + 8);
    push_escaped(&mut escaped, plain, true);
    Cow::Owned(escaped)
}

/// Writes plain text escaped: a backslash, the end of a line, and a quote if `is_quoted`.
pub fn push_escaped(out: &mut Vec<u8>, plain: &[u8], is_quoted: bool) {
    let mut rest = plain;
    let quote = if is_quoted { b'"' } else { b'\n' };
    while let Some(at) = memchr3(b'\\', b'\n', quote, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(if rest[at] == b'\n' { b"\\n" } else { b"\\" });
        out.extend(Some(rest[at]).filter(|byte| *byte != b'\n'));
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Writes `name="value"` for a plain value, which is escaped on the way.
pub fn push_plain(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    push_escaped(out, value.as_bytes(), true);
    out.push(b'"');
}

// === impl Labels ===

impl<'a> Labels<'a> {
    /// Takes bytes that are a label set in the strict spelling, as a writer made it.
    #[must_use]
    pub fn from_strict(bytes: &'a [u8]) -> Self {
        Self { bytes, is_strict: true }
    }

    /// Bytes that a reader has checked.
    pub(super) fn new(bytes: &'a [u8], is_strict: bool) -> Self {
        Self { bytes, is_strict }
    }

    /// The bytes between the braces.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the strict writer writes these bytes, and braces around them. Not so where the
    /// braces are empty.
    #[must_use]
    pub fn is_strict(self) -> bool {
        self.is_strict
    }

    /// The labels in the order of the source.
    #[must_use]
    pub fn walk(self) -> Walk<'a> {
        Walk { rest: self.bytes }
    }
}

// === impl Label ===

impl Label<'_> {
    /// Whether its name stands in quotes.
    #[must_use]
    pub fn is_quoted(&self) -> bool {
        self.bytes.starts_with(b"\"")
    }
}

// === impl Walk ===

impl<'a> Iterator for Walk<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        let text = self.rest.strip_prefix(b",").unwrap_or(self.rest);
        if let Some(label) = plain_label(text) {
            self.rest = &text[label.bytes.len()..];
            return Some(label);
        }
        loop {
            // The set was checked, so what stands between two labels is blanks and one comma.
            let skipped = self.rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b','))?;
            let text = &self.rest[skipped..];
            let (name, name_end) = match text {
                [b'"', ..] => {
                    let (end, _) = closing_quote(text, 1)?;
                    (&text[1..end], end + 1)
                }
                _ => text.split_at_checked(name_len(text)).map(|(name, _)| (name, name.len()))?,
            };
            let Some(value) = open_quote(&text[name_end..]) else {
                // A metric name, which stands among the labels where it is no identifier.
                self.rest = &text[name_end..];
                continue;
            };
            let start = text.len() - value.len();
            let (end, _) = closing_quote(text, start)?;
            self.rest = &text[end + 1..];
            return Some(Label { name, value: &text[start..end], bytes: &text[..=end] });
        }
    }
}

/// The label at the beginning, if it is written without blanks and quotes around its name, and without
/// escapes, which most are.
fn plain_label(text: &[u8]) -> Option<Label<'_>> {
    let name = &text[..name_len(text)];
    let start = name.len() + 2;
    let is_tight = !name.is_empty() && text.get(name.len()..start)? == b"=\"";
    let end = scan::plain_end(text, start).filter(|end| is_tight && text[*end] == b'"')?;
    Some(Label { name, value: &text[start..end], bytes: &text[..=end] })
}

/// What follows `="` with blanks around.
pub(super) fn open_quote(text: &[u8]) -> Option<&[u8]> {
    let text = skip_blanks(text).strip_prefix(b"=")?;
    skip_blanks(text).strip_prefix(b"\"")
}

/// The offset of the quote that ends the string which goes on at `from`, and whether all escapes
/// before it are known. A string does not go on in the next line.
#[inline]
pub(super) fn closing_quote(text: &[u8], from: usize) -> Option<(usize, bool)> {
    let mut at = from;
    let mut is_escaped_well = true;
    loop {
        at += memchr3(b'"', b'\\', b'\n', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some((at, is_escaped_well)),
            b'\n' => return None,
            _ => {}
        }
        let escaped = *text.get(at + 1)?;
        if escaped == b'\n' {
            return None;
        }
        is_escaped_well &= matches!(escaped, b'\\' | b'n' | b'"');
        at += 2;
    }
}

/// How many bytes at the beginning are a label name.
pub(super) fn name_len(text: &[u8]) -> usize {
    match text.first() {
        Some(b'0'..=b'9') => 0,
        _ => scan::name_end(text, 0),
    }
}

/// How many bytes at the beginning are a metric name that needs no quotes. The first `known` are the
/// beginning of one.
pub(super) fn metric_name_len(text: &[u8], known: usize) -> usize {
    let mut end = scan::name_end(text, known);
    while text.get(end) == Some(&b':') {
        end = scan::name_end(text, end + 1);
    }
    if text.first().is_some_and(u8::is_ascii_digit) { 0 } else { end }
}

/// What follows the blanks at the beginning.
pub(super) fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_in_one_spelling() {
        let mut out = Vec::new();
        push_value(&mut out, br#"\d\n\\\"\"#);
        assert_eq!(out, br#"\\d\n\\\"\\"#);
    }

    #[track_caller]
    fn check_walk(set: &str, expected: &[(&str, &str, &str)]) {
        let walk = Walk { rest: set.as_bytes() };
        let found: Vec<_> = walk.map(|label| [label.name, label.value, label.bytes]).collect();
        let expected: Vec<_> =
            expected.iter().map(|(n, v, b)| [n.as_bytes(), v.as_bytes(), b.as_bytes()]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_set_is_walked_however_it_is_written() {
        check_walk("", &[]);
        check_walk("a=\"1\",b=\"\"", &[("a", "1", "a=\"1\""), ("b", "", "b=\"\"")]);
        check_walk("a=\"1,\",b=\"}\",", &[("a", "1,", "a=\"1,\""), ("b", "}", "b=\"}\"")]);
        check_walk(" a = \"1\" , b=\"é\"", &[("a", "1", "a = \"1\""), ("b", "é", "b=\"é\"")]);
        check_walk(r#"a="\"",b="\\""#, &[("a", r#"\""#, r#"a="\"""#), ("b", r"\\", r#"b="\\""#)]);
        check_walk(
            "\"a.b\"=\"1\",c=\"2\"",
            &[("a.b", "1", "\"a.b\"=\"1\""), ("c", "2", "c=\"2\"")],
        );
        // A metric name among the labels is none of them.
        check_walk("\"m.n\",c=\"2\"", &[("c", "2", "c=\"2\"")]);
        check_walk("c=\"2\",\"m.n\"", &[("c", "2", "c=\"2\"")]);
    }

    #[test]
    fn a_plain_value_is_escaped() {
        let mut out = Vec::new();
        push_plain(&mut out, "a", "\"\\\n}");
        assert_eq!(out, br#"a="\"\\\n}""#);
    }
}
