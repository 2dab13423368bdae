//! Label sets, each read against the one before it.
//!
//! The samples of a page come in rows that differ in little: the buckets of a histogram have all
//! labels in common but one. So a set is compared with the one before it, which is as fast as memory,
//! and only from the first byte that differs on is it read. A label that is shared was checked, and
//! who sums something up over the labels need not begin anew.

use crate::exposition::{
    Defect, Label, Labels, Limit, Limits,
    labels::{self, closing_quote, open_quote, skip_blanks},
    text::sample::Error,
};

/// The labels of the sample that was read last.
#[derive(Debug, Default)]
pub(super) struct Set<'a> {
    labels: Vec<Label<'a>>,
    /// Where each label ends, as an offset in `bytes`.
    ends: Vec<usize>,
    /// What stood between the braces, as far as labels were read from it.
    bytes: &'a [u8],
    /// The name of a label stands in quotes.
    has_quotes: bool,
    /// All of it is in the strict spelling. Only then is the next set compared with it.
    is_strict: bool,
    /// How many labels are those of the sample before.
    n_shared: usize,
    /// How many are those of the last sample that was read to its end.
    n_kept: usize,
}

/// What a set comes to.
pub(super) struct Read<'a> {
    pub labels: Labels<'a>,
    /// The metric name that stands among the labels, in quotes.
    pub name: Option<&'a [u8]>,
    /// A name of a label stands in quotes.
    pub is_quoted: bool,
    pub rest: &'a [u8],
}

/// Where the reading of one set has got to.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// How many labels were read.
    n: usize,
    /// Up to here the text is that of the set before.
    shared: usize,
    /// The names so far are those of the set before, in the same order, so none occurs twice.
    is_as_before: bool,
    is_strict: bool,
    is_quoted: bool,
}

/// One label at the cursor.
struct Found<'a> {
    label: Label<'a>,
    /// Where it ends.
    end: usize,
    is_strict: bool,
}

// === impl Set ===

impl<'a> Set<'a> {
    pub(super) fn labels(&self) -> &[Label<'a>] {
        &self.labels
    }

    /// How many of the first labels are, byte for byte, those of the sample before.
    pub(super) fn n_shared(&self) -> usize {
        self.n_shared
    }

    /// Says that the sample of this set was read to its end.
    pub(super) fn keep(&mut self) {
        self.n_shared = self.n_shared.min(self.n_kept);
        self.n_kept = usize::MAX;
    }

    /// There are no labels.
    pub(super) fn clear(&mut self) {
        self.begin(0);
        self.cut(0, &[], false);
    }

    /// Reads a set that begins behind its opening brace, where a metric name may stand in it if
    /// `is_nameless`.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        text: &'a [u8],
        is_nameless: bool,
        limits: &Limits,
    ) -> Result<Read<'a>, Error> {
        let shared = if self.is_strict { common_prefix(self.bytes, text) } else { 0 };
        let mut n = self.ends.len();
        while n > 0 && self.ends[n - 1] > shared {
            n -= 1;
        }
        self.begin(n);
        let at = if n == 0 { 0 } else { self.ends[n - 1] };
        // Hardly any page has one, so that the labels are not looked at.
        let is_quoted = self.has_quotes && self.labels[..n].iter().any(Label::is_quoted);
        let (is_as_before, is_strict) = (true, true);
        let mut cursor = Cursor { text, at, n, shared, is_as_before, is_strict, is_quoted };
        let mut name = None;
        let read = self.read_on(&mut cursor, is_nameless.then_some(&mut name), limits);
        let Cursor { n, is_strict, is_quoted, .. } = cursor;
        self.has_quotes = is_quoted;
        match read {
            Ok(end) => {
                let is_strict = is_strict && end > 0 && name.is_none();
                self.cut(n, &text[..end], is_strict);
                let labels = Labels::new(&text[..end], is_strict);
                Ok(Read { labels, name, is_quoted, rest: &text[end + 1..] })
            }
            Err(error) => {
                self.cut(n, &[], false);
                Err(error)
            }
        }
    }

    /// Reads from the cursor to the closing brace, and gives where that is.
    #[inline(always)]
    fn read_on(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut name: Option<&mut Option<&'a [u8]>>,
        limits: &Limits,
    ) -> Result<usize, Error> {
        let mut is_behind = cursor.n > 0;
        loop {
            if is_behind {
                match cursor.text.get(cursor.at) {
                    Some(b',') => cursor.at += 1,
                    Some(b'}') => return Ok(cursor.at),
                    _ => cursor.separate()?,
                }
            }
            if !matches!(cursor.text.get(cursor.at), Some(b'a'..=b'z' | b'A'..=b'Z' | b'_')) {
                cursor.skip_blanks();
                if cursor.text.get(cursor.at) == Some(&b'}') {
                    // An empty set, or a comma before the brace.
                    cursor.is_strict = false;
                    return Ok(cursor.at);
                }
                if let Some(name) = name.take_if(|name| name.is_none())
                    && let Some((found, end)) = quoted_alone(&cursor.text[cursor.at..])
                {
                    *name = Some(found);
                    cursor.at += end;
                    is_behind = true;
                    continue;
                }
            }
            let found = self.label(cursor)?;
            self.push(cursor, &found, limits)?;
            is_behind = true;
        }
    }

    /// The label at the cursor.
    #[inline(always)]
    fn label(&self, cursor: &mut Cursor<'a>) -> Result<Found<'a>, Defect> {
        let Cursor { text, at, n, shared, .. } = *cursor;
        let rest = &text[at..];
        let before = self.labels.get(n).filter(|_| cursor.is_as_before);
        if let Some(Label { name, value, bytes }) = before
            && !bytes.starts_with(b"\"")
            && let [b'=', b'"', ..] = rest.strip_prefix(*name).unwrap_or_default()
        {
            let start = at + name.len() + 2;
            // What is shared of the value was looked at, unless the end cuts an escape in two.
            let known = shared.saturating_sub(start).min(value.len());
            let from = if value[..known].contains(&b'\\') { start } else { start + known };
            let (end, is_strict) = closing_quote(text, from).ok_or(Defect::LabelValueOpen)?;
            let name = &rest[..name.len()];
            let label = Label { name, value: &text[start..end], bytes: &text[at..=end] };
            return Ok(Found { label, end: end + 1, is_strict });
        }
        cursor.is_as_before = false;
        let (name, name_end, is_name_strict) = if rest.first() == Some(&b'"') {
            cursor.is_quoted = true;
            let (end, is_strict) = closing_quote(text, at + 1).ok_or(Defect::LabelName)?;
            let name = &text[at + 1..end];
            (name, end + 1, is_strict && !labels::is_name(name))
        } else {
            let len = labels::name_len(rest);
            (&rest[..len], at + len, true)
        };
        if name.is_empty() {
            let is_open = matches!(rest.first(), None | Some(b'\n' | b'\r'));
            return Err(if is_open { Defect::LabelsOpen } else { Defect::LabelName });
        }
        let (start, is_tight) = match &text[name_end..] {
            [b'=', b'"', ..] => (name_end + 2, true),
            spaced => {
                let value = open_quote(spaced).ok_or(Defect::LabelValue)?;
                (text.len() - value.len(), false)
            }
        };
        let (end, is_value_strict) = closing_quote(text, start).ok_or(Defect::LabelValueOpen)?;
        let label = Label { name, value: &text[start..end], bytes: &text[at..=end] };
        Ok(Found { label, end: end + 1, is_strict: is_name_strict && is_tight && is_value_strict })
    }

    /// Takes in a label that was found, if it may stand here.
    #[inline(always)]
    fn push(
        &mut self,
        cursor: &mut Cursor<'a>,
        found: &Found<'a>,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Found { label, end, is_strict } = found;
        let Label { name, value, bytes: _ } = label;
        if name.len() > limits.name {
            return Err(Error::Limit(Limit::Name, limits.name));
        }
        if value.len() > limits.value {
            return Err(Error::Limit(Limit::Value, limits.value));
        }
        if !cursor.is_as_before {
            if name.starts_with(b"__") {
                return Err(Defect::ReservedLabel.into());
            }
            if self.labels[..cursor.n].iter().any(|other| other.name == *name) {
                return Err(Defect::LabelTwice.into());
            }
            if cursor.n == limits.labels {
                return Err(Error::Limit(Limit::Labels, limits.labels));
            }
        }
        match self.labels.get_mut(cursor.n) {
            Some(place) => {
                *place = *label;
                self.ends[cursor.n] = *end;
            }
            None => {
                self.labels.push(*label);
                self.ends.push(*end);
            }
        }
        cursor.n += 1;
        cursor.at = *end;
        cursor.is_strict &= *is_strict;
        Ok(())
    }

    /// Begins a set of which the first `n` labels are those of the set before.
    fn begin(&mut self, n: usize) {
        self.n_shared = n;
        self.n_kept = self.n_kept.min(n);
    }

    /// Ends a set of `n` labels.
    fn cut(&mut self, n: usize, bytes: &'a [u8], is_strict: bool) {
        self.labels.truncate(n);
        self.ends.truncate(n);
        (self.bytes, self.is_strict) = (bytes, is_strict);
    }
}

// === impl Cursor ===

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        let n = rest.len() - skip_blanks(rest).len();
        self.at += n;
        self.is_strict &= n == 0;
    }

    /// Goes over the comma behind a label, or up to the closing brace.
    #[cold]
    fn separate(&mut self) -> Result<(), Defect> {
        self.skip_blanks();
        match self.text.get(self.at) {
            Some(b',') => self.at += 1,
            Some(b'}') => {}
            None | Some(b'\n' | b'\r') => return Err(Defect::LabelsOpen),
            Some(_) => return Err(Defect::LabelComma),
        }
        Ok(())
    }
}

/// A string in quotes that is followed by no `=`: what stands in it, and where it ends.
fn quoted_alone(text: &[u8]) -> Option<(&[u8], usize)> {
    text.strip_prefix(b"\"")?;
    let (end, _) = closing_quote(text, 1)?;
    let is_alone = !skip_blanks(&text[end + 1..]).starts_with(b"=");
    is_alone.then_some((&text[1..end], end + 1))
}

/// How many bytes at the beginning are the same.
#[inline(always)]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let n = a.len().min(b.len());
    let (wide_a, wide_b) = (a[..n].as_chunks::<32>().0, b[..n].as_chunks::<32>().0);
    let wide = wide_a.iter().zip(wide_b).take_while(|(a, b)| a == b).count() * 32;
    let mut at = wide;
    let (a, b) = (&a[wide..n], &b[wide..n]);
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return at + differs.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let done = at - wide;
    at + a[done..].iter().zip(&b[done..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels, whether they are strict, and what follows them.
    type Expected<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);

    #[track_caller]
    fn check(text: &str, expected: Result<Expected<'_>, Defect>) {
        let mut set = Set::default();
        let found = set.read(text.as_bytes(), false, &Limits::default());
        let found = found.map(|Read { labels, rest, .. }| {
            let pairs = labels.walk().map(|l| (l.name, l.value)).collect::<Vec<_>>();
            (pairs, labels.is_strict(), rest)
        });
        let expected = expected.map(|(pairs, is_strict, rest)| {
            let pairs = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            (pairs, is_strict, rest.as_bytes())
        });
        let found = found.map_err(|error| match error {
            Error::Defect(what) => what,
            Error::Limit(..) => unreachable!(),
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
    fn what_is_common_is_found_at_every_length() {
        let text: Vec<u8> = (0..100).collect();
        for len in 0..text.len() {
            assert_eq!(common_prefix(&text[..len], &text), len);
            let mut other = text.clone();
            other[len] = 200;
            assert_eq!(common_prefix(&text, &other), len);
        }
    }
}
