//! One sample line of text 0.0.4 to its parts.

use crate::exposition::{
    Defect, Labels, Limit, Limits, Sample,
    labels::{self, Label, skip_blanks},
    number,
};

/// Why a line is no sample.
#[derive(Debug)]
pub(super) enum Error {
    /// It costs the line.
    Defect(Defect),
    /// It costs the source; with what the limit allows.
    Limit(Limit, usize),
}

/// The labels of one sample, none of which has the name of another.
///
/// Most lines have the label names of the line before, in the same order. Then none of them has to
/// be compared with each other.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    labels: Vec<Label<'a>>,
    /// The labels of the sample before, as far as they were read.
    before: Vec<Label<'a>>,
    is_as_before: bool,
}

/// Reads a line without the blanks before it. `strict` says: this text is a strict line.
pub(super) fn read<'a>(
    text: &'a [u8],
    limits: &Limits,
    seen: &mut Seen<'a>,
) -> Result<Sample<'a>, Error> {
    let (name, rest) = text.split_at(name_len(text));
    if name.is_empty() {
        return Err(Defect::MetricName.into());
    }
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    let braces = skip_blanks(rest);
    seen.clear();
    let (labels, rest) = match braces {
        [b'{', rest @ ..] => Labels::read(rest, |label| see(label, limits, seen))?,
        // Without braces only a blank ends the name: `a-b 1` is no sample of `a`.
        _ if braces.len() == rest.len() && !rest.is_empty() => {
            return Err(Defect::MetricName.into());
        }
        _ => (Labels::default(), rest),
    };
    let (value, timestamp, exemplar) = read_values(rest)?;
    let is_head_strict = match braces {
        [b'{', ..] => labels.is_strict() && text[name.len()] == b'{',
        _ => true,
    };
    let strict = is_head_strict && is_tail_strict(rest, value, timestamp);
    Ok(Sample { name, labels, value, timestamp, exemplar, strict })
}

/// Whether what follows the labels is a blank, the value and maybe a blank and the timestamp.
/// A text of that length that holds these parts in this order has one byte before each of them.
fn is_tail_strict(tail: &[u8], value: &[u8], timestamp: Option<&[u8]>) -> bool {
    tail.len() == 1 + value.len() + timestamp.map_or(0, |timestamp| 1 + timestamp.len())
        && tail[0] == b' '
        && tail[1 + value.len()..].first() != Some(&b'\t')
}

type Values<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// The value, the timestamp and the exemplar, from what follows name and labels.
fn read_values(text: &[u8]) -> Result<Values<'_>, Defect> {
    let (value, rest) = super::split_word(skip_blanks(text));
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
    if !number::is_timestamp(timestamp) {
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

#[inline]
fn see<'a>(label: Label<'a>, limits: &Limits, seen: &mut Seen<'a>) -> Result<(), Error> {
    let Label { name, value, bytes: _ } = label;
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    if value.len() > limits.value {
        return Err(Error::Limit(Limit::Value, limits.value));
    }
    if name == b"__name__" {
        return Err(Defect::ReservedLabel.into());
    }
    if !seen.add(label) {
        return Err(Defect::LabelTwice.into());
    }
    if seen.labels.len() > limits.labels {
        return Err(Error::Limit(Limit::Labels, limits.labels));
    }
    Ok(())
}

/// How many bytes at the beginning are a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(super) fn name_len(text: &[u8]) -> usize {
    let mut len = labels::name_run(text);
    while text.get(len) == Some(&b':') {
        len += 1 + labels::name_run(&text[len + 1..]);
    }
    if text.first().is_some_and(u8::is_ascii_digit) { 0 } else { len }
}

// === impl Error ===

impl From<Defect> for Error {
    fn from(what: Defect) -> Self {
        Self::Defect(what)
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    pub(super) fn labels(&self) -> &[Label<'a>] {
        &self.labels
    }

    /// Begins with the next sample.
    fn clear(&mut self) {
        std::mem::swap(&mut self.labels, &mut self.before);
        self.labels.clear();
        self.is_as_before = true;
    }

    /// Adds a label if its name is new; says whether it is.
    #[inline]
    fn add(&mut self, label: Label<'a>) -> bool {
        let before = self.before.get(self.labels.len());
        self.is_as_before &= before.is_some_and(|before| before.name == label.name);
        let is_new = self.is_as_before || self.labels.iter().all(|seen| seen.name != label.name);
        if is_new {
            self.labels.push(label);
        }
        is_new
    }
}
