//! One sample line to its parts.

use memchr::memchr;

use crate::exposition::{
    Defect, Labels, Limit, Limits, Sample,
    labels::{self, skip_blanks},
    number,
    text::{
        Dialect,
        set::{self, Set},
    },
};

/// Why a line is no sample.
#[derive(Debug)]
pub(super) enum Error {
    /// It costs the line.
    Defect(Defect),
    /// It costs the source; with what the limit allows.
    Limit(Limit, usize),
}

/// The sample before, against which the next is read.
#[derive(Debug, Default)]
pub(super) struct Before<'a> {
    name: &'a [u8],
    pub set: Set<'a>,
}

/// What follows the labels.
struct Tail<'a> {
    value: &'a [u8],
    timestamp: Option<&'a [u8]>,
    exemplar: Option<&'a [u8]>,
    /// How many bytes it has, without the line end.
    len: usize,
    is_strict: bool,
}

/// Reads the line at the beginning of `text`, whose first byte is no blank. Gives how long the line is
/// without its end; the sample is filled in, which is cheaper than to hand it over.
#[inline(always)]
pub(super) fn read<'a>(
    text: &'a [u8],
    dialect: Dialect,
    limits: &Limits,
    before: &mut Before<'a>,
    sample: &mut Sample<'a>,
) -> Result<usize, Error> {
    let name = read_name(text, before.name);
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    let rest = &text[name.len()..];
    let (set, is_tight) = match rest {
        [b'{', set @ ..] => (before.set.read(set, name.is_empty(), limits)?, true),
        // Without braces only a blank ends the name: `a-b 1` is no sample of `a`.
        [b' ' | b'\t', ..] => match skip_blanks(rest) {
            [b'{', set @ ..] => (before.set.read(set, name.is_empty(), limits)?, false),
            _ => (none(rest, &mut before.set), true),
        },
        [] | [b'\n' | b'\r', ..] => (none(rest, &mut before.set), true),
        _ => return Err(Defect::MetricName.into()),
    };
    let set::Read { labels, name: quoted, is_quoted, rest } = set;
    let name = quoted.unwrap_or(name);
    if name.is_empty() {
        return Err(Defect::MetricName.into());
    }
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    let tail = read_tail(rest, dialect)?;
    before.name = if quoted.is_some() { &[] } else { name };
    before.set.keep();
    let is_quoted = is_quoted || quoted.is_some();
    let has_braces = rest.len() + name.len() < text.len();
    let strict = tail.is_strict && is_tight && (labels.is_strict() || !has_braces);
    let Tail { value, timestamp, exemplar, len, .. } = tail;
    *sample = Sample { name, labels, value, timestamp, exemplar, is_quoted, strict };
    Ok(text.len() - rest.len() + len)
}

/// A line without labels.
fn none<'a>(rest: &'a [u8], set: &mut Set<'a>) -> set::Read<'a> {
    set.clear();
    set::Read { labels: Labels::default(), name: None, is_quoted: false, rest }
}

/// The metric name at the beginning, which mostly is that of the sample before.
#[inline(always)]
fn read_name<'a>(text: &'a [u8], before: &[u8]) -> &'a [u8] {
    match text.strip_prefix(before) {
        Some([b'{' | b' ', ..]) if !before.is_empty() => &text[..before.len()],
        _ => &text[..name_len(text)],
    }
}

/// How many bytes at the beginning are a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(in crate::exposition) fn name_len(text: &[u8]) -> usize {
    let mut len = labels::name_run(text);
    while text.get(len) == Some(&b':') {
        len += 1 + labels::name_run(&text[len + 1..]);
    }
    if text.first().is_some_and(u8::is_ascii_digit) { 0 } else { len }
}

/// Reads what follows the labels, up to the end of the line.
#[inline(always)]
fn read_tail(text: &[u8], dialect: Dialect) -> Result<Tail<'_>, Defect> {
    if let [b' ', rest @ ..] = text {
        // A counter mostly is a few digits, and nothing follows.
        let n = rest.iter().take(32).position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        if (1..32).contains(&n) && matches!(rest.get(n), None | Some(b'\n')) {
            let value = &rest[..n];
            return Ok(Tail {
                value,
                timestamp: None,
                exemplar: None,
                len: 1 + n,
                is_strict: true,
            });
        }
    }
    read_any_tail(text, dialect)
}

fn read_any_tail(text: &[u8], dialect: Dialect) -> Result<Tail<'_>, Defect> {
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
    Ok(Tail { value, timestamp, exemplar, len: line.len(), is_strict })
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
            Ok(Some(skip_blanks(exemplar)))
        }
        _ => Err(Defect::Trailing),
    }
}

// === impl Error ===

impl From<Defect> for Error {
    fn from(what: Defect) -> Self {
        Self::Defect(what)
    }
}
