//! A label set: walk it, compare it, append to it, escape it.
//!
//! A set is held as the bytes between the braces, which a reader has checked, so that a set that
//! nobody has to look at is copied whole. Values stay escaped: in the strict spelling each value
//! is escaped in one way only, and two values are equal where their bytes are.

use memchr::{memchr, memchr2};

use crate::exposition::Defect;

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
    /// A label name.
    pub name: &'a [u8],
    /// The value as the source escaped it, without the quotes.
    pub value: &'a [u8],
    /// From the name to the end of the value: in a strict set two labels with equal bytes are
    /// equal, and no others.
    pub bytes: &'a [u8],
}

/// Walks the labels of a set.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: &'a [u8],
}

/// One label at the beginning of some bytes, and what its reader saw on the way.
struct Found<'a> {
    label: Label<'a>,
    /// No blank, no needless escape.
    is_strict: bool,
    rest: &'a [u8],
}

/// The bytes of a label name. A table, since it is asked for every byte of every name.
static IN_NAME: [bool; 256] = in_name();

const fn in_name() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
}

/// Whether it is a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && name_len(text) == text.len()
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

/// Writes `name="value"` for a plain value, which is escaped on the way.
pub fn push_plain(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for byte in value.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

// === impl Labels ===

impl<'a> Labels<'a> {
    /// Takes bytes that are a label set in the strict spelling, as a writer made it.
    #[must_use]
    pub fn from_strict(bytes: &'a [u8]) -> Self {
        Self { bytes, is_strict: true }
    }

    /// Reads a label set that begins behind its opening brace; gives it and what follows it.
    ///
    /// Each label is shown to `see` once, which may refuse it.
    pub(super) fn read<E: From<Defect>>(
        text: &'a [u8],
        mut see: impl FnMut(Label<'a>) -> Result<(), E>,
    ) -> Result<(Self, &'a [u8]), E> {
        let mut rest = text;
        let mut is_strict = true;
        loop {
            let blanks = skip_blanks(rest);
            is_strict &= blanks.len() == rest.len();
            if let [b'}', after @ ..] = blanks {
                let bytes = &text[..text.len() - rest.len()];
                is_strict &= !bytes.is_empty() && bytes.last() != Some(&b',');
                return Ok((Self { bytes, is_strict }, after));
            }
            let found = Found::at(blanks)?;
            see(found.label)?;
            is_strict &= found.is_strict;
            let blanks = skip_blanks(found.rest);
            is_strict &= blanks.len() == found.rest.len();
            rest = match blanks {
                [b',', rest @ ..] => rest,
                [b'}', ..] => blanks,
                [] => return Err(Defect::LabelsOpen.into()),
                _ => return Err(Defect::LabelComma.into()),
            };
        }
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

// === impl Walk ===

impl<'a> Iterator for Walk<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        // The set was checked, so what stands between two labels is blanks and one comma.
        let skipped = self.rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b','))?;
        let Found { label, rest, .. } = Found::at(&self.rest[skipped..]).ok()?;
        self.rest = rest;
        Some(label)
    }
}

// === impl Found ===

impl<'a> Found<'a> {
    /// Inlined: the parts of a label then stay in registers, which a page of long label sets feels.
    #[inline]
    fn at(text: &'a [u8]) -> Result<Self, Defect> {
        let (name, rest) = text.split_at(name_len(text));
        if name.is_empty() {
            return Err(if text.is_empty() { Defect::LabelsOpen } else { Defect::LabelName });
        }
        let (is_tight, value) = match rest {
            [b'=', b'"', value @ ..] => (true, value),
            _ => (false, open_quote(rest).ok_or(Defect::LabelValue)?),
        };
        let (end, is_escaped_well) = closing_quote(value).ok_or(Defect::LabelValueOpen)?;
        let bytes = &text[..text.len() - value.len() + end];
        Ok(Self {
            label: Label { name, value: &value[..end], bytes },
            is_strict: is_tight && is_escaped_well,
            rest: &value[end + 1..],
        })
    }
}

fn open_quote(text: &[u8]) -> Option<&[u8]> {
    let text = skip_blanks(text).strip_prefix(b"=")?;
    skip_blanks(text).strip_prefix(b"\"")
}

/// The offset of the quote that ends a value, and whether all escapes before it are known.
fn closing_quote(text: &[u8]) -> Option<(usize, bool)> {
    let mut at = 0;
    let mut is_escaped_well = true;
    loop {
        at += memchr2(b'"', b'\\', &text[at..])?;
        if text[at] == b'"' {
            return Some((at, is_escaped_well));
        }
        is_escaped_well &= matches!(text.get(at + 1)?, b'\\' | b'n' | b'"');
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

fn name_len(text: &[u8]) -> usize {
    match text.first() {
        Some(b'0'..=b'9') => 0,
        _ => name_run(text),
    }
}

/// How many bytes at the beginning may stand in a label name.
pub(super) fn name_run(text: &[u8]) -> usize {
    text.iter().position(|b| !IN_NAME[usize::from(*b)]).unwrap_or(text.len())
}

/// What follows the blanks at the beginning.
pub(super) fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels, whether they are strict, and what follows them.
    type Read<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);

    #[track_caller]
    fn check(text: &str, expected: Result<Read<'_>, Defect>) {
        let found = Labels::read::<Defect>(text.as_bytes(), |_| Ok(()));
        let found = found.map(|(labels, rest)| {
            let pairs = labels.walk().map(|l| (l.name, l.value)).collect::<Vec<_>>();
            (pairs, labels.is_strict(), rest)
        });
        let expected = expected.map(|(pairs, is_strict, rest)| {
            let pairs = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            (pairs, is_strict, rest.as_bytes())
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_label_value_may_hold_a_closing_brace() {
        check("path=\"/{id}\"} 1", Ok((&[("path", "/{id}")], true, " 1")));
    }

    #[test]
    fn a_label_value_may_hold_a_comma_an_equals_sign_a_hash_and_escaped_quotes() {
        check(r#"a=",=#",b="\"}\\"} 1"#, Ok((&[("a", ",=#"), ("b", r#"\"}\\"#)], true, " 1")));
    }

    #[test]
    fn blanks_and_a_trailing_comma_are_read_and_are_not_strict() {
        check("\ta = \"1\" , b=\"2\" , }", Ok((&[("a", "1"), ("b", "2")], false, "")));
        check("a=\"1\",}", Ok((&[("a", "1")], false, "")));
    }

    #[test]
    fn an_empty_set_is_read_and_is_not_strict() {
        check("} 1", Ok((&[], false, " 1")));
    }

    #[test]
    fn an_unknown_escape_is_read_and_is_not_strict() {
        check(r#"a="\d"}"#, Ok((&[("a", r"\d")], false, "")));
    }

    #[test]
    fn what_is_no_label_set_is_named() {
        check("", Err(Defect::LabelsOpen));
        check("a=\"1\"", Err(Defect::LabelsOpen));
        check("a=\"1\",", Err(Defect::LabelsOpen));
        check("a=\"1\" b=\"2\"}", Err(Defect::LabelComma));
        check(",}", Err(Defect::LabelName));
        check("1a=\"1\"}", Err(Defect::LabelName));
        check("a:b=\"1\"}", Err(Defect::LabelValue));
        check("a=1}", Err(Defect::LabelValue));
        check("a}", Err(Defect::LabelValue));
        check("a=\"1}", Err(Defect::LabelValueOpen));
        check("a=\"1\\", Err(Defect::LabelValueOpen));
        check("a=\"1\\\"", Err(Defect::LabelValueOpen));
    }

    #[test]
    fn a_value_is_written_in_one_spelling() {
        let mut out = Vec::new();
        push_value(&mut out, br#"\d\n\\\"\"#);
        assert_eq!(out, br#"\\d\n\\\"\\"#);
    }

    #[test]
    fn a_plain_value_is_escaped() {
        let mut out = Vec::new();
        push_plain(&mut out, "a", "\"\\\n}");
        assert_eq!(out, br#"a="\"\\\n}""#);
    }
}
