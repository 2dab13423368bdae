//! Strict lines: each has one spelling, and the source's labels fit in.

use memchr::{memchr, memchr2_iter};

use crate::exposition::{Header, Labels, labels};

/// A sample line, without its end: `name{labels} value timestamp # exemplar`. It is strict but for
/// a comma that may stand behind the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The whole line.
    pub bytes: &'a [u8],
    /// Where more labels fit in: the offset of the closing brace, or of a comma before it, or of the
    /// blank after the name.
    pub insert: usize,
}

/// What follows the labels of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail<'a> {
    /// A number.
    pub value: &'a [u8],
    /// In the unit of the line's format.
    pub timestamp: Option<&'a [u8]>,
    /// What follows `# `.
    pub exemplar: Option<&'a [u8]>,
}

/// What a header needs that is not in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Quotes around its name, which is no identifier.
    pub quotes: bool,
    /// Escapes in its help, in which a backslash or the end of a line may stand.
    pub escapes: bool,
}

/// Writes the HELP and TYPE lines of a family in text; a kind without a word in text is left out.
pub fn push_header(out: &mut Vec<u8>, header: &Header<'_>, needs: Needs) {
    let Header { name, kind, help, unit: _ } = header;
    let push_family = |out: &mut Vec<u8>| {
        if needs.quotes {
            push_quoted(out, name);
        } else {
            out.extend_from_slice(name);
        }
        out.push(b' ');
    };
    if let Some(help) = help {
        out.extend_from_slice(b"# HELP ");
        push_family(out);
        if needs.escapes {
            // expfmt knows two escapes in a help text; `\"` is an error there.
            labels::push_escaped(out, help, false);
        } else {
            out.extend_from_slice(help);
        }
        out.push(b'\n');
    }
    if let Some(kind) = kind.filter(|kind| kind.is_said_in_text()) {
        out.extend_from_slice(b"# TYPE ");
        push_family(out);
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'\n');
    }
}

/// How many bytes [`push_header`] writes, or a few less than this.
#[must_use]
pub fn most_of_header(header: &Header<'_>, needs: Needs) -> usize {
    let Header { name, kind, help, unit: _ } = header;
    // Both lines have a word, a name in quotes, a blank and an end; the longest kind in text is
    // `histogram`.
    let line = "# HELP ".len() + name.len() + 4;
    let n_escaped = |help: &[u8]| {
        if needs.escapes { memchr2_iter(b'\\', b'\n', help).count() } else { 0 }
    };
    let help = help.map_or(0, |help| line + help.len() + n_escaped(help));
    help + kind.map_or(0, |_| line + "histogram".len())
}

/// Writes a metric name and strict labels; gives where more labels fit in, as an offset from where it
/// began. A name that is no identifier stands among the labels.
pub fn push_head<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    name: &[u8],
    labels: &[(N, V)],
) -> usize {
    let start = out.len();
    let is_quoted = !labels::is_metric_name(name);
    if is_quoted {
        out.push(b'{');
        push_quoted(out, name);
    } else {
        out.extend_from_slice(name);
    }
    for (at, (name, value)) in labels.iter().enumerate() {
        out.push(if at == 0 && !is_quoted { b'{' } else { b',' });
        labels::push_name(out, name.as_ref());
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(value.as_ref());
        out.push(b'"');
    }
    let insert = out.len() - start;
    if is_quoted || !labels.is_empty() {
        out.push(b'}');
    }
    insert
}

fn push_quoted(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(name);
    out.push(b'"');
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Its labels.
    #[must_use]
    pub fn labels(self) -> Labels<'a> {
        let head = &self.bytes[..self.insert];
        // No name has a brace in it but one in quotes, which stands behind the brace itself.
        let start = memchr(b'{', head).map_or(head.len(), |brace| brace + 1);
        Labels::from_strict(&head[start..])
    }

    /// What follows its labels.
    #[must_use]
    pub fn tail(self) -> Tail<'a> {
        let tail = &self.bytes[self.insert..];
        let tail = tail.strip_prefix(b",").unwrap_or(tail);
        let tail = tail.strip_prefix(b"}").unwrap_or(tail);
        let mut words = tail.splitn(3, |b| *b == b' ').skip(1);
        let value = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default();
        match rest {
            [] => Tail { value, timestamp: None, exemplar: None },
            [b'#', b' ', exemplar @ ..] => {
                Tail { value, timestamp: None, exemplar: Some(exemplar) }
            }
            _ => {
                let at = memchr(b' ', rest).unwrap_or(rest.len());
                let exemplar = rest[at..].strip_prefix(b" # ");
                Tail { value, timestamp: Some(&rest[..at]), exemplar }
            }
        }
    }

    /// Its timestamp.
    #[must_use]
    pub fn timestamp(self) -> Option<&'a [u8]> {
        self.tail().timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Kind;

    const ESCAPES: Needs = Needs { quotes: false, escapes: true };

    #[track_caller]
    fn check(name: &str, labels: &[(&str, &str)], expected: &str, insert: usize) {
        let mut out = b"before ".to_vec();
        assert_eq!(push_head(&mut out, name.as_bytes(), labels), insert);
        assert_eq!(String::from_utf8_lossy(&out[7..]), expected);
        let walked = Line { bytes: &out[7..], insert }.labels().walk().count();
        assert_eq!(walked, labels.len());
    }

    #[test]
    fn a_name_that_is_no_identifier_stands_among_the_labels() {
        check("m", &[], "m", 1);
        check("m", &[("a", "1"), ("b.c", "{")], "m{a=\"1\",\"b.c\"=\"{\"}", 17);
        check("a.b", &[], "{\"a.b\"}", 6);
        check("a{", &[("c", "1")], "{\"a{\",c=\"1\"}", 11);
    }

    #[test]
    fn a_line_knows_its_labels_and_what_follows_them() {
        let check = |bytes: &str, insert, labels: &str, value: &str, timestamp, exemplar| {
            let line = Line { bytes: bytes.as_bytes(), insert };
            assert_eq!(String::from_utf8_lossy(line.labels().as_bytes()), labels);
            let tail = Tail { value: value.as_bytes(), timestamp, exemplar };
            assert_eq!(line.tail(), tail);
        };
        check("m{a=\" 7 \"} 1 2", 9, "a=\" 7 \"", "1", Some(&b"2"[..]), None);
        check("m 1", 1, "", "1", None, None);
        check("m{a=\"1\",} 1 2", 7, "a=\"1\"", "1", Some(&b"2"[..]), None);
        check("m{a=\"}\"} 1 # {b=\"c\"} 2", 7, "a=\"}\"", "1", None, Some(&b"{b=\"c\"} 2"[..]));
        check("m 1 2.5 # {} 2 3", 1, "", "1", Some(b"2.5"), Some(b"{} 2 3"));
    }

    #[test]
    fn a_header_says_what_text_has_words_for() {
        let check = |kind, expected: &str| {
            let mut out = Vec::new();
            let help = Some(&b"a\nb\\c\"d"[..]);
            push_header(&mut out, &Header { name: b"m", kind, help, unit: Some(b"s") }, ESCAPES);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        check(Some(Kind::Gauge), "# HELP m a\\nb\\\\c\"d\n# TYPE m gauge\n");
        check(Some(Kind::GaugeHistogram), "# HELP m a\\nb\\\\c\"d\n");
        check(None, "# HELP m a\\nb\\\\c\"d\n");
    }

    #[test]
    fn a_header_is_known_not_to_be_longer() {
        for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
            for (name, help) in
                [("m", None), ("a.b", Some("\\\n\n\\")), ("m_total", Some("What it is."))]
            {
                let help = help.map(str::as_bytes);
                let header = Header { name: name.as_bytes(), kind, help, unit: None };
                let mut out = Vec::new();
                let needs = Needs { quotes: name.contains('.'), ..ESCAPES };
                push_header(&mut out, &header, needs);
                let most = most_of_header(&header, needs);
                assert!(out.len() <= most, "{header:?}: {} are more than {most}", out.len());
            }
        }
    }
}
