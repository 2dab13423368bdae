//! Label sets, each read against the one before it.
//!
//! The samples of a page come in rows that differ in little: the buckets of a histogram have all
//! labels in common but one. So a set is compared with the one before it, which is as fast as memory,
//! and only from the first byte that differs on is it read. A label that is shared was checked, and
//! who sums something up over the labels need not begin anew.

use crate::exposition::{
    Defect, Label, Labels, Limit, Limits,
    labels::{self, closing_quote, open_quote, skip_blanks},
    scan::{check_text, common_prefix, is_prefix, plain_end},
    text::sample::Error,
};

/// The labels of the sample that was read last.
#[derive(Debug, Default)]
pub(super) struct Set<'a> {
    labels: Vec<Label<'a>>,
    /// How each label ended.
    ends: Vec<End>,
    /// What followed the opening brace, and not only up to the closing one.
    text: &'a [u8],
    /// Where the last label ends.
    end: usize,
    /// How much of the text the next set is compared with: all labels if they are in the strict
    /// spelling, else nothing.
    len: usize,
    /// A comma stands between the last label and the brace, as old Java clients write it.
    has_comma: bool,
    /// The metric name that stands among the labels, in quotes.
    name: Option<&'a [u8]>,
    /// The name of a label stands in quotes.
    has_quoted: bool,
    /// How many labels are those of the sample before.
    n_shared: usize,
    /// How many are those of the last sample that was read to its end.
    n_kept: usize,
}

/// The end of a label.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Behind the closing quote, as an offset in the set.
    at: usize,
    is_plain: bool,
}

/// Where the reading of one set has got to.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// How many labels were read.
    n: usize,
    /// The names so far are those of the set before, in the same order, so none occurs twice.
    is_as_before: bool,
    is_strict: bool,
    /// Every label that is not shared is plain.
    is_plain: bool,
}

/// One label at the cursor.
struct Found<'a> {
    label: Label<'a>,
    /// Where it ends.
    end: usize,
    is_strict: bool,
    /// It is strict and says `name="value"` with plain bytes alone, so that it may be
    /// cut anywhere, and does not have to be looked at for anything else.
    is_plain: bool,
}

// === impl Set ===

impl<'a> Set<'a> {
    /// No labels, with room for as many as most samples have.
    pub(super) fn new() -> Self {
        let (labels, ends) =
            (Vec::with_capacity(labels::N_USUAL), Vec::with_capacity(labels::N_USUAL));
        Self { labels, ends, ..Self::default() }
    }

    pub(super) fn labels(&self) -> &[Label<'a>] {
        &self.labels
    }

    /// How many of the first labels are, byte for byte, those of the sample before.
    pub(super) fn n_shared(&self) -> usize {
        self.n_shared
    }

    /// How many bytes behind the opening brace the next set is compared with.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes of that are the same in a set that begins with `text`.
    pub(super) fn n_same(&self, text: &[u8]) -> usize {
        common_prefix(self.text, text, self.len)
    }

    /// Says that the sample of this set was read to its end.
    pub(super) fn keep(&mut self) {
        self.n_shared = self.n_shared.min(self.n_kept);
        self.n_kept = usize::MAX;
    }

    /// Where the last label begins, and its name, if it is plain.
    pub(super) fn last(&self) -> Option<(usize, &'a [u8])> {
        let [others @ .., last] = &self.ends[..] else { return None };
        let begin = others.last().map_or(0, |end| end.at + 1);
        self.labels.last().filter(|_| last.is_plain).map(|label| (begin, label.name))
    }

    /// Says that a sample was read to its end that has the labels of this set but for the last one, which
    /// ends at `end` in the text behind the opening brace.
    pub(super) fn keep_last(&mut self, label: Label<'a>, text: &'a [u8], end: usize) {
        let Some(last) = self.labels.len().checked_sub(1) else { return };
        self.labels[last] = label;
        self.ends[last].at = end;
        (self.n_shared, self.n_kept) = (last, usize::MAX);
        (self.text, self.end, self.len) = (text, end, end);
    }

    /// All labels, without the braces and a comma behind the last.
    pub(super) fn as_labels(&self) -> Labels<'a> {
        Labels::new(&self.text[..self.end], self.len > 0)
    }

    /// Whether a comma stands between the last label and the brace.
    pub(super) fn has_comma(&self) -> bool {
        self.has_comma
    }

    /// The metric name that stands among the labels, in quotes.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        self.name
    }

    /// Whether a name stands in quotes.
    pub(super) fn is_quoted(&self) -> bool {
        self.has_quoted || self.name.is_some()
    }

    /// There is no set, which is no byte long.
    pub(super) fn clear(&mut self) -> usize {
        self.begin(0);
        self.cut(0, &[], 0, 0);
        0
    }

    /// Reads a set that is the one before or that without its last label, as behind the buckets of a
    /// histogram. Gives the offset behind the closing brace. Where it is another one, nothing has happened.
    #[inline]
    pub(super) fn read_known(&mut self, text: &'a [u8]) -> Option<usize> {
        let closed = |end: &End| match text.get(end.at..)? {
            [b'}', ..] => Some((end.at, false)),
            [b',', b'}', ..] => Some((end.at, true)),
            _ => None,
        };
        let n_less = self.ends.iter().rev().take(2).position(|end| closed(end).is_some())?;
        let n = self.ends.len() - n_less;
        let (end, has_comma) = closed(&self.ends[n - 1])?;
        if end > self.len || !text.starts_with(&self.text[..end]) {
            return None;
        }
        self.begin(n);
        self.cut(n, text, end, end);
        self.has_comma = has_comma;
        Some(end + 1 + usize::from(has_comma))
    }

    /// Reads a set that begins behind its opening brace, and of which the first `shared` bytes are
    /// [the same](Self::n_same) as before. A metric name may stand in it if `is_nameless`. Gives the
    /// offset behind the closing brace.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        text: &'a [u8],
        shared: usize,
        is_nameless: bool,
        limits: &Limits,
    ) -> Result<usize, Error> {
        let n = self.n_labels(shared);
        self.begin(n);
        let (n, at) = self.read_as_before(text, n, shared, limits);
        let end = match text.get(at..) {
            Some([b'}', ..]) if n > 0 => at + 1,
            Some([b',', b'}', ..]) if n > 0 => {
                self.has_comma = true;
                at + 2
            }
            _ => {
                let (is_as_before, is_strict, is_plain) = (true, true, true);
                let cursor = Cursor { text, at, n, is_as_before, is_strict, is_plain };
                return self.read_otherwise(cursor, is_nameless, limits);
            }
        };
        self.cut(n, text, at, at);
        Ok(end)
    }

    /// Reads a set that has the labels of the one before with other values, of which the first `shared`
    /// bytes are [the same](Self::n_same). Gives the offset behind the closing brace. Where it is
    /// another set, what was read of it is the set that the next is read against.
    #[inline(always)]
    pub(super) fn read_again(
        &mut self,
        text: &'a [u8],
        shared: usize,
        limits: &Limits,
    ) -> Option<usize> {
        let n_shared = self.n_labels(shared);
        let (n, at) = self.read_as_before(text, n_shared, shared, limits);
        let end = self.brace_as_before(text, at).filter(|_| n == self.labels.len());
        if end.is_none() {
            self.labels.truncate(n);
            self.ends.truncate(n);
        }
        (self.n_shared, self.n_kept) = (n_shared, n_shared);
        (self.text, self.end, self.len) = (text, at, at);
        end
    }

    /// The offset behind the brace that closes a set whose last label ends here, if it does so as that of
    /// the set before did: with a comma or without one.
    #[inline(always)]
    fn brace_as_before(&self, text: &[u8], at: usize) -> Option<usize> {
        let brace = at + usize::from(self.has_comma);
        let is_closed = text.get(brace) == Some(&b'}') && (!self.has_comma || text[at] == b',');
        is_closed.then_some(brace + 1)
    }

    /// How many labels end within the first bytes.
    #[inline(always)]
    fn n_labels(&self, n_bytes: usize) -> usize {
        let mut ends = &self.ends[..];
        while let [others @ .., last] = ends
            && last.at > n_bytes
        {
            ends = others;
        }
        ends.len()
    }

    /// Goes over plain labels that have the names of those in their places before, of which the first
    /// `n` are shared. Gives how many labels there are then, and where the last of them ends.
    #[inline(always)]
    fn read_as_before(
        &mut self,
        text: &'a [u8],
        mut n: usize,
        shared: usize,
        limits: &Limits,
    ) -> (usize, usize) {
        let mut at = if n == 0 { 0 } else { self.ends[n - 1].at };
        // Up to here the label was compared already.
        let mut known = shared;
        while let (Some(label), Some(end)) = (self.labels.get_mut(n), self.ends.get_mut(n)) {
            let begin = match text.get(at) {
                Some(b',') if n > 0 => at + 1,
                _ if n == 0 => 0,
                _ => break,
            };
            let start = begin + label.name.len() + 2;
            let has_name = || {
                let before = &self.text[end.at - label.bytes.len()..];
                is_prefix(before, &text[begin..], start - begin)
            };
            if !end.is_plain || known < start && !has_name() {
                break;
            }
            // The value is known up to where the labels differ; if they do not, up to its quote.
            let from = known.clamp(start, begin + label.bytes.len() - 1);
            match plain_end(text, from) {
                Some(quote) if text[quote] == b'"' && quote - start <= limits.value => {
                    label.value = &text[start..quote];
                    at = quote + 1;
                    label.bytes = &text[begin..at];
                }
                _ => break,
            }
            end.at = at;
            known = 0;
            n += 1;
        }
        (n, at)
    }

    /// Reads from the cursor on, where the set is not what it mostly is.
    #[inline(never)]
    fn read_otherwise(
        &mut self,
        mut cursor: Cursor<'a>,
        is_nameless: bool,
        limits: &Limits,
    ) -> Result<usize, Error> {
        let text = cursor.text;
        // What the next set is compared with is known to be checked.
        let read = self.read_on(&mut cursor, is_nameless, limits).and_then(|brace| {
            if !cursor.is_plain {
                check_text(&text[..brace])?;
            }
            Ok(brace)
        });
        match read {
            Ok(brace) => {
                let end = brace - usize::from(self.has_comma);
                let is_strict = cursor.is_strict && self.name.is_none();
                self.cut(cursor.n, text, end, if is_strict { end } else { 0 });
                Ok(brace + 1)
            }
            Err(error) => {
                self.cut(0, &[], 0, 0);
                Err(error)
            }
        }
    }

    /// Reads from the cursor to the closing brace, and gives where that is.
    fn read_on(
        &mut self,
        cursor: &mut Cursor<'a>,
        is_nameless: bool,
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
                    self.has_comma = cursor.is_strict && cursor.n > 0 && self.name.is_none();
                    cursor.is_strict &= self.has_comma;
                    return Ok(cursor.at);
                }
                if is_nameless
                    && self.name.is_none()
                    && let Some((name, end)) = quoted_alone(&cursor.text[cursor.at..])
                {
                    self.name = Some(name);
                    cursor.at += end;
                    cursor.is_plain = false;
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
    fn label(&mut self, cursor: &mut Cursor<'a>) -> Result<Found<'a>, Defect> {
        let Cursor { text, at, n, .. } = *cursor;
        let rest = &text[at..];
        let (name, name_end, is_name_strict) = if rest.first() == Some(&b'"') {
            self.has_quoted = true;
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
        let plain_end = plain_end(text, start).filter(|end| text[*end] == b'"');
        let (end, is_value_strict) = match plain_end {
            Some(end) => (end, true),
            None => closing_quote(text, start).ok_or(Defect::LabelValueOpen)?,
        };
        cursor.is_as_before &= self.labels.get(n).is_some_and(|before| before.name == name);
        let label = Label { name, value: &text[start..end], bytes: &text[at..=end] };
        let is_strict = is_name_strict && is_tight && is_value_strict;
        let is_plain = is_strict && plain_end.is_some() && rest[0] != b'"';
        Ok(Found { label, end: end + 1, is_strict, is_plain })
    }

    /// Takes in a label that was found, if it may stand here.
    fn push(
        &mut self,
        cursor: &mut Cursor<'a>,
        found: &Found<'a>,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Found { label, end, is_strict, is_plain } = found;
        let Label { name, value, bytes: _ } = label;
        if name.len() > limits.name {
            return Err(Error::Limit(Limit::Name, limits.name));
        }
        if value.len() > limits.value {
            return Err(Error::Limit(Limit::Value, limits.value));
        }
        if !cursor.is_as_before {
            if *name == b"__name__" {
                return Err(Defect::ReservedLabel.into());
            }
            if self.labels[..cursor.n].iter().any(|other| other.name == *name) {
                return Err(Defect::LabelTwice.into());
            }
            if cursor.n == limits.labels {
                return Err(Error::Limit(Limit::Labels, limits.labels));
            }
        }
        let behind = End { at: *end, is_plain: *is_plain };
        if let Some(place) = self.labels.get_mut(cursor.n) {
            *place = *label;
            self.ends[cursor.n] = behind;
        } else {
            self.labels.push(*label);
            self.ends.push(behind);
        }
        cursor.n += 1;
        cursor.at = *end;
        cursor.is_strict &= *is_strict;
        cursor.is_plain &= *is_plain;
        Ok(())
    }

    /// Begins a set of which the first `n` labels are those of the set before.
    fn begin(&mut self, n: usize) {
        self.n_shared = n;
        self.n_kept = self.n_kept.min(n);
        (self.name, self.has_comma) = (None, false);
        if self.has_quoted {
            self.has_quoted = self.labels[..n].iter().any(|label| label.bytes.starts_with(b"\""));
        }
    }

    /// Ends a set of `n` labels, which are the text up to `end`.
    fn cut(&mut self, n: usize, text: &'a [u8], end: usize, len: usize) {
        self.labels.truncate(n);
        self.ends.truncate(n);
        (self.text, self.end, self.len) = (text, end, len);
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

#[cfg(test)]
mod tests;
