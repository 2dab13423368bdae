//! Strict lines of text 0.0.4: each has one spelling, and the source's labels fit in.

use crate::exposition::{Kind, Labels, Sample, labels};

/// A strict sample line, without its end: `name{labels} value timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The whole line.
    pub bytes: &'a [u8],
    /// Where more labels fit in: the offset of the closing brace, or of the blank after the name.
    pub insert: usize,
}

/// Writes a HELP line.
pub fn push_help(out: &mut Vec<u8>, family: &[u8], help: &[u8]) {
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(family);
    out.push(b' ');
    // expfmt knows two escapes in a help text; `\"` is an error there.
    labels::push_escaped(out, help, false);
    out.push(b'\n');
}

/// Writes a TYPE line; a kind without a word in this format is `untyped`.
pub fn push_type(out: &mut Vec<u8>, family: &[u8], kind: Kind) {
    let kind = if kind.is_said_in_text() { kind } else { Kind::Untyped };
    out.extend_from_slice(b"# TYPE ");
    out.extend_from_slice(family);
    out.push(b' ');
    out.extend_from_slice(kind.as_str().as_bytes());
    out.push(b'\n');
}

/// Writes a strict sample line without its end, each label by `push_label`; gives where more
/// labels fit in, as an offset from where it began. The exemplar is left out.
pub fn push_sample<'a>(
    out: &mut Vec<u8>,
    sample: &Sample<'a>,
    labels: impl IntoIterator<Item = (impl AsRef<[u8]>, &'a [u8])>,
) -> usize {
    let start = out.len();
    out.extend_from_slice(sample.name);
    let mut separator = b'{';
    for (name, value) in labels {
        out.push(separator);
        out.extend_from_slice(name.as_ref());
        out.extend_from_slice(b"=\"");
        labels::push_value(out, value);
        out.push(b'"');
        separator = b',';
    }
    let insert = out.len() - start;
    if separator == b',' {
        out.push(b'}');
    }
    for part in [Some(sample.value), sample.timestamp].into_iter().flatten() {
        out.push(b' ');
        out.extend_from_slice(part);
    }
    insert
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Where more labels fit into the line of a strict sample.
    #[must_use]
    pub fn insert(sample: &Sample<'_>) -> usize {
        match sample.labels.as_bytes().len() {
            0 => sample.name.len(),
            n => sample.name.len() + 1 + n,
        }
    }

    /// Its labels, where the name has `name` bytes.
    #[must_use]
    pub fn labels(self, name: usize) -> Labels<'a> {
        Labels::from_strict(self.bytes[..self.insert].get(name + 1..).unwrap_or_default())
    }

    /// Its timestamp.
    #[must_use]
    pub fn timestamp(self) -> Option<&'a [u8]> {
        let values = &self.bytes[self.insert..];
        values.splitn(3, |b| *b == b' ').nth(2)
    }

    /// Writes the line with its end, and with `more` put in: strict labels without braces, maybe
    /// none. Takes at most `more.len() + 3` bytes more than the line has.
    pub fn push_with(self, out: &mut Vec<u8>, more: &[u8]) {
        let (before, after) = self.bytes.split_at(self.insert);
        out.extend_from_slice(before);
        if !more.is_empty() {
            let has_labels = after.first() == Some(&b'}');
            out.push(if has_labels { b',' } else { b'{' });
            out.extend_from_slice(more);
            if !has_labels {
                out.push(b'}');
            }
        }
        out.extend_from_slice(after);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, insert: usize, expected: [&str; 2]) {
        let line = Line { bytes: line.as_bytes(), insert };
        let mut out = Vec::new();
        line.push_with(&mut out, b"");
        line.push_with(&mut out, b"c=\"1\"");
        assert_eq!(String::from_utf8_lossy(&out), format!("{}\n{}\n", expected[0], expected[1]));
    }

    #[test]
    fn labels_are_put_behind_those_that_are_there() {
        check("m{a=\"} \"} 1 2", 8, ["m{a=\"} \"} 1 2", "m{a=\"} \",c=\"1\"} 1 2"]);
    }

    #[test]
    fn a_line_without_labels_gets_braces() {
        check("m 1", 1, ["m 1", "m{c=\"1\"} 1"]);
    }

    #[test]
    fn a_line_knows_its_labels_and_its_timestamp() {
        let line = Line { bytes: b"m{a=\" 7 \"} 1 2", insert: 9 };
        assert_eq!(
            (line.labels(1).as_bytes(), line.timestamp()),
            (&b"a=\" 7 \""[..], Some(&b"2"[..]))
        );
        let line = Line { bytes: b"m 1", insert: 1 };
        assert_eq!((line.labels(1).as_bytes(), line.timestamp()), (&b""[..], None));
    }

    #[test]
    fn help_knows_two_escapes() {
        let mut out = Vec::new();
        push_help(&mut out, b"m", b"a\nb\\c\"d");
        assert_eq!(out, b"# HELP m a\\nb\\\\c\"d\n");
    }

    #[test]
    fn a_kind_of_openmetrics_is_written_as_untyped() {
        let mut out = Vec::new();
        push_type(&mut out, b"m", Kind::Info);
        assert_eq!(out, b"# TYPE m untyped\n");
    }
}
