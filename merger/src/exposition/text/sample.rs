//! One sample line to its parts.

use memchr::memchr;

use crate::exposition::{
    Defect, Label, Limit, Limits, Sample,
    labels::{self, skip_blanks},
    number::{self, MOST_DIGITS},
    scan::{Window, check_text, common_prefix, digits_end},
    text::{Dialect, recent::Recent, set::Set},
};

/// Why a line is no sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Error {
    /// It costs the line.
    Defect(Defect),
    /// It costs the source; with what the limit allows.
    Limit(Limit, usize),
}

/// The sample before, against which the next is read.
#[derive(Debug, Default)]
pub(super) struct Before<'a> {
    /// Its line from the name on, and not only up to its end.
    line: &'a [u8],
    /// How long its name is; nothing if that stood in quotes.
    name_len: usize,
    /// How much of the line the next is compared with: the name, and what of the set may be.
    len: usize,
    recent: Recent<'a>,
    /// Where the name of the last sample that was read to its end is among them; nothing if it stood in
    /// quotes.
    pub name_place: Option<usize>,
    /// It came there with that sample.
    pub is_new_name: bool,
    /// The line was name, labels and a number in the strict spelling, but for a comma behind the labels,
    /// all without quotes around names, so that another one may differ from it in values alone.
    pub is_plain: bool,
    pub set: Set<'a>,
}

/// Reads the line at the beginning of `text`, whose first byte is no blank, and which mostly is for a
/// `family` of which something was said just before. Gives how long the line is without its end; the
/// sample is filled in, which is cheaper than to hand it over.
#[inline(always)]
pub(super) fn read<'a>(
    text: &'a [u8],
    (dialect, family): (Dialect, &'a [u8]),
    limits: &Limits,
    before: &mut Before<'a>,
    sample: &mut Sample<'a>,
) -> Result<usize, Error> {
    let same = before.n_same(text);
    let is_same_name = same.is_some_and(|same| same >= before.name_len);
    let expected = if is_same_name { None } else { before.recent.expected(text) };
    // Its line says nothing more of the set, which is now that of this line.
    (before.len, before.is_plain) = (before.name_len, false);
    let name = match expected {
        Some((len, _)) => &text[..len],
        None if is_same_name => &text[..before.name_len],
        None => name(text, same.unwrap_or(0), family),
    };
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    let rest = &text[name.len()..];
    let (behind, is_tight) = match rest {
        [b'{', set @ ..] => {
            // One look at both names and both sets is enough where the names are the same.
            let shared = same.filter(|_| is_same_name).and_then(|n| n.checked_sub(name.len() + 1));
            let end = match shared {
                Some(shared) => before.set.read(set, shared, false, limits)?,
                None => match before.set.read_known(set) {
                    Some(end) => end,
                    None => {
                        before.set.read(set, before.set.n_same(set), name.is_empty(), limits)?
                    }
                },
            };
            (1 + end, true)
        }
        // Without braces only a blank ends the name: `a-b 1` is no sample of `a`.
        [b' ' | b'\t', blank @ ..] => match skip_blanks(blank) {
            [b'{', set @ ..] => {
                let len = before.set.read(set, 0, name.is_empty(), limits)?;
                (rest.len() - set.len() + len, false)
            }
            _ => (before.set.clear(), true),
        },
        [] | [b'\n' | b'\r', ..] => (before.set.clear(), true),
        _ => return Err(Defect::MetricName.into()),
    };
    let rest = &rest[behind..];
    let quoted = before.set.name();
    sample.name = quoted.unwrap_or(name);
    if sample.name.is_empty() {
        return Err(Defect::MetricName.into());
    }
    if sample.name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    let (len, is_tail_strict) = match number_alone(rest) {
        Some(len) => {
            sample.value = &rest[1..len];
            (sample.timestamp, sample.exemplar) = (None, None);
            (len, true)
        }
        None => read_tail(rest, dialect, sample)?,
    };
    sample.labels = before.set.as_labels();
    sample.is_quoted = before.set.is_quoted();
    let is_strict = is_tail_strict && is_tight && (behind == 0 || sample.labels.is_strict());
    sample.has_comma = is_strict && before.set.has_comma();
    sample.strict = is_strict && !sample.has_comma;
    before.keep_name((name, family), is_same_name, expected.map(|(_, place)| place));
    before.keep(text, name.len(), is_tight);
    before.is_plain = is_strict
        && !sample.is_quoted
        && sample.timestamp.is_none()
        && sample.exemplar.is_none()
        && before.len > before.name_len;
    Ok(text.len() - rest.len() + len)
}

/// Reads the line at the beginning of `text` if it is a number of the `family` of which something was said
/// just before, and nothing else: many families are one such line. Gives how long it is without its end.
/// Otherwise nothing has happened.
#[inline]
pub(super) fn read_lone<'a>(
    text: &'a [u8],
    family: &'a [u8],
    limits: &Limits,
    before: &mut Before<'a>,
    sample: &mut Sample<'a>,
) -> Option<usize> {
    if text.get(family.len()) != Some(&b' ') || family.is_empty() || !text.starts_with(family) {
        return None;
    }
    let rest = &text[family.len()..];
    let len = family.len() + number_alone(rest).filter(|len| family.len() + len <= limits.line)?;
    let value = &text[family.len() + 1..len];
    *sample = Sample { name: family, value, strict: true, ..Sample::default() };
    before.set.clear();
    before.is_plain = false;
    before.keep_name((family, family), false, None);
    before.keep(text, family.len(), true);
    Some(len)
}

/// Reads the line at the beginning of `text` if it is the one before with other values of labels and
/// another number. Gives how long the line is without its end. Otherwise the sample is as it was, and the
/// set may be read up to where it is another one.
#[inline(always)]
pub(super) fn read_again<'a>(
    text: &'a [u8],
    limits: &Limits,
    before: &mut Before<'a>,
    sample: &mut Sample<'a>,
) -> Option<usize> {
    // Another name mostly has another length, too.
    if !before.is_plain || text.get(before.name_len) != Some(&b'{') {
        return None;
    }
    let same = common_prefix(before.line, text, before.len);
    let start = before.name_len + 1;
    let shared = same.checked_sub(start)?;
    // From here on the line before says nothing of the set.
    before.len = before.name_len;
    let behind = start + before.set.read_again(&text[start..], shared, limits)?;
    let rest = &text[behind..];
    let len = number_alone(rest).filter(|len| behind + len <= limits.line)?;
    sample.value = &rest[1..len];
    sample.labels = before.set.as_labels();
    before.set.keep();
    (before.line, before.len, before.is_new_name) = (text, start + before.set.len(), false);
    Some(behind + len)
}

/// The name at the beginning, of which the first `known` bytes are the beginning of one. It may well be that of
/// the `family`, which then is given again.
fn name<'a>(text: &'a [u8], known: usize, family: &'a [u8]) -> &'a [u8] {
    let ends_there = matches!(text.get(family.len()), Some(b' ' | b'{'));
    if ends_there && !family.is_empty() && text.starts_with(family) {
        family
    } else {
        &text[..labels::metric_name_len(text, known)]
    }
}

/// Where a line ends behind its labels, if there is but a number in the strict spelling: a blank,
/// digits, maybe a point among them, and maybe an exponent.
#[inline]
pub(super) fn number_alone(text: &[u8]) -> Option<usize> {
    // Mostly one look is enough for all of it.
    let window = Window::new(text);
    let short = window.and_then(|window| number_end(text, |from| window.digits_end(from)));
    short.or_else(|| long_number_alone(text))
}

#[inline(never)]
fn long_number_alone(text: &[u8]) -> Option<usize> {
    number_end(text, |from| digits_end(text, from))
}

/// The same, where `digits_end` says how far digits go.
#[inline]
fn number_end(text: &[u8], digits_end: impl Fn(usize) -> usize) -> Option<usize> {
    let mut end = digits_end(1);
    if text.first() != Some(&b' ') || !(2..=MOST_DIGITS).contains(&end) {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits_end(end + 1);
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let start = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(start);
        if !(1..=2).contains(&end.saturating_sub(start)) {
            return None;
        }
    }
    matches!(text.get(end), None | Some(b'\n')).then_some(end)
}

/// Reads what follows the labels, and gives how long it is without the line end, and whether it is
/// in the strict spelling.
#[inline(never)]
fn read_tail<'a>(
    text: &'a [u8],
    dialect: Dialect,
    sample: &mut Sample<'a>,
) -> Result<(usize, bool), Defect> {
    let mut line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    // All of them: what is written of a line must not end in what is a line end to a reader.
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    let (value, timestamp, exemplar) = read_values(line, dialect)?;
    // A line of that length that holds these parts in this order has one byte before each of them.
    let is_strict = line.len() == 1 + value.len() + timestamp.map_or(0, |t| 1 + t.len())
        && line[0] == b' '
        && line[1 + value.len()..].first() != Some(&b'\t');
    (sample.value, sample.timestamp, sample.exemplar) = (value, timestamp, exemplar);
    Ok((line.len(), is_strict))
}

type Values<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// The value, the timestamp and the exemplar.
fn read_values(line: &[u8], dialect: Dialect) -> Result<Values<'_>, Defect> {
    let (value, rest) = super::split_word(skip_blanks(line));
    if value.is_empty() {
        return Err(Defect::NoValue);
    }
    if !number::is_float(value) {
        return Err(Defect::Value);
    }
    if rest.is_empty() || rest.starts_with(b"#") {
        return Ok((value, None, exemplar(rest)?));
    }
    let (timestamp, rest) = super::split_word(rest);
    let is_timestamp = match dialect {
        Dialect::Text => number::is_timestamp(timestamp),
        Dialect::OpenMetrics => number::is_seconds(timestamp),
    };
    if !is_timestamp {
        return Err(Defect::Timestamp);
    }
    Ok((value, Some(timestamp), exemplar(rest)?))
}

fn exemplar(text: &[u8]) -> Result<Option<&[u8]>, Defect> {
    match text {
        [] => Ok(None),
        [b'#', exemplar @ ..] if skip_blanks(exemplar).starts_with(b"{") => {
            check_text(exemplar)?;
            Ok(Some(skip_blanks(exemplar)))
        }
        _ => Err(Defect::Trailing),
    }
}

// === impl Before ===

impl<'a> Before<'a> {
    /// No sample.
    pub(super) fn new() -> Self {
        Self { set: Set::new(), ..Self::default() }
    }

    /// How many bytes the line at the beginning of `text` shares with the one before, if it may have its name.
    #[inline]
    fn n_same(&self, text: &[u8]) -> Option<usize> {
        // Another name mostly has another length, too.
        let may_be = self.name_len > 0 && matches!(text.get(self.name_len), Some(b'{' | b' '));
        may_be.then(|| common_prefix(self.line, text, self.len))
    }

    /// The line up to the value of its last label, and where in it that label begins: if the one that
    /// `text` begins with may differ from it in what follows alone.
    #[inline]
    pub(super) fn up_to_last_value(&self, text: &[u8]) -> Option<(&'a [u8], usize)> {
        // Another name mostly has another length, too.
        if !self.is_plain || self.len == self.name_len || text.get(self.name_len) != Some(&b'{') {
            return None;
        }
        let (begin, name) = self.set.last()?;
        let label = self.name_len + 1 + begin;
        Some((&self.line[..label + name.len() + 2], label))
    }

    /// Lines were read that differ from this one in the value of the last label alone: `text` begins with
    /// the last of them, whose labels end at `end`.
    #[inline]
    pub(super) fn keep_last(&mut self, text: &'a [u8], label: Label<'a>, end: usize) {
        let set = self.name_len + 1;
        self.set.keep_last(label, &text[set..], end - set);
        (self.line, self.len, self.is_new_name) = (text, end, false);
    }

    /// The name of a line that was read to its end is that of the one before, or is where it was expected,
    /// or is another one.
    #[inline]
    fn keep_name(
        &mut self,
        (name, family): (&'a [u8], &[u8]),
        is_same: bool,
        expected: Option<usize>,
    ) {
        self.is_new_name = false;
        if is_same {
            return;
        }
        self.name_place = match expected {
            Some(place) => Some(self.recent.go_to(place)),
            None if name.is_empty() => None,
            None => {
                let (place, is_new) = self.recent.take(name, family);
                self.is_new_name = is_new;
                Some(place)
            }
        };
    }

    /// A line was read to its end. Only a set that stands right behind its name is found again
    /// together with that.
    #[inline]
    fn keep(&mut self, line: &'a [u8], name_len: usize, is_tight: bool) {
        let set_len = self.set.len();
        let has_set = set_len > 0 && is_tight && name_len > 0;
        self.len = if has_set { name_len + 1 + set_len } else { name_len };
        (self.line, self.name_len) = (line, name_len);
        self.set.keep();
    }
}

// === impl Error ===

impl From<Defect> for Error {
    fn from(what: Defect) -> Self {
        Self::Defect(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_alone_wherever_the_line_ends() {
        let digits = "1".repeat(40);
        let dots = format!("{digits}.{digits}e+06");
        for number in
            ["1", "12345", "1.5", "1.", "1e5", "1.5e+06", "2E-07", &digits, &dots, &digits[..31]]
        {
            let line = format!(" {number}");
            for end in
                ["", "\n", "\nm 1\n", "\n# a line that is longer than what is seen at once\n"]
            {
                let text = format!("{line}{end}");
                assert_eq!(number_alone(text.as_bytes()), Some(line.len()), "{text}");
            }
        }
        for other in [
            "", " ", " x", "1", "  1", " -1", " NaN", " .5", " 1e", " 1e+", " 1e123", " 1 2",
            " 1.5x",
        ] {
            for end in ["", "\n", "\n# a line that is longer than what is seen at once\n"] {
                assert_eq!(number_alone(format!("{other}{end}").as_bytes()), None, "{other}{end}");
            }
        }
        assert_eq!(number_alone(format!(" {}", "1".repeat(MOST_DIGITS)).as_bytes()), None);
    }
}
