//! Whether a metric is one that every format can say; and how many lines it makes.
//!
//! What is let through here is written to protobuf as it came and to lines without another look.

use memchr::memchr;

use crate::exposition::{
    Defect, Kind, Limit, Limits, point,
    protobuf::{
        content::{self, Bucket, Content, Exemplar, Histogram, Piece, Scalar, Summary},
        wire::Malformed,
    },
    timestamp,
};

/// Why a metric is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// It costs the metric.
    Defect(Defect),
    /// It costs the source; with what the limit allows.
    Limit(Limit, usize),
}

/// Checks metrics, one after the other.
#[derive(Debug)]
pub(super) struct Verifier<'a> {
    limits: Limits,
    labels: Seen<'a>,
    exemplar: Seen<'a>,
}

/// How much a metric says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// How many lines it makes; of what lines cannot say, one.
    pub n_lines: usize,
    /// How many samples it counts as where they are limited.
    pub n_samples: usize,
}

/// The label names of one set, none of which is another.
///
/// Most metrics have the label names of the metric before, in the same order. Then none of them has
/// to be compared with each other.
#[derive(Debug, Default)]
struct Seen<'a> {
    names: Vec<&'a [u8]>,
    before: Vec<&'a [u8]>,
    is_as_before: bool,
}

/// As many bytes of labels as a line repeats for one more sample: a histogram says its labels once, and
/// in lines once for each bucket, so a small body could fill the memory.
const BYTES_PER_SAMPLE: usize = 1024;

/// Whether it is UTF-8 without a NUL.
#[inline]
pub(super) fn check_text(text: &[u8]) -> Result<(), Defect> {
    if is_plain(text) { Ok(()) } else { check_characters(text) }
}

/// Whether each byte is in `0x01..0x80`, looking at eight at a time.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|byte| (1..0x80).contains(byte));
    };
    // The last eight bytes may be looked at twice.
    let (words, _) = text.as_chunks();
    words.iter().chain([last]).fold(0, |found, word| found | strange(*word)) == 0
}

/// Zero unless a byte is 0 or above 0x7f. Of the lowest such byte the high bit is set, before or after
/// one is taken from each, since nothing is borrowed below it.
#[inline]
fn strange(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    (word | word.wrapping_sub(u64::from_le_bytes([1; 8]))) & u64::from_le_bytes([0x80; 8])
}

#[cold]
fn check_characters(text: &[u8]) -> Result<(), Defect> {
    match std::str::from_utf8(text) {
        Err(_) => Err(Defect::NotUtf8),
        Ok(_) if memchr(0, text).is_some() => Err(Defect::Nul),
        Ok(_) => Ok(()),
    }
}

// === impl Verifier ===

impl<'a> Verifier<'a> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, labels: Seen::default(), exemplar: Seen::default() }
    }

    /// Checks the name of a family.
    pub(super) fn check_name(&self, name: &[u8]) -> Result<(), Error> {
        if name.is_empty() {
            return Err(Defect::MetricName.into());
        }
        if name.len() > self.limits.name {
            return Err(Error::Limit(Limit::Name, self.limits.name));
        }
        Ok(check_text(name)?)
    }

    /// Checks a help text or a unit, which are lines elsewhere.
    pub(super) fn check_line(&self, text: &[u8]) -> Result<(), Error> {
        if text.len() > self.limits.line {
            return Err(Error::Limit(Limit::Line, self.limits.line));
        }
        Ok(check_text(text)?)
    }

    /// Checks a metric of a family of this kind.
    pub(super) fn check_metric(&mut self, metric: &'a [u8], kind: Kind) -> Result<Size, Error> {
        self.labels.clear();
        let (limits, labels) = (&self.limits, &mut self.labels);
        let mut n_bytes = 0;
        let content = Content::read(metric, kind, |label| {
            n_bytes += label.len();
            check_label(label, limits, labels)
        })?;
        // Lines have no place for one before 1970: the server's lexer reads no sign.
        if content.timestamp.is_some_and(|timestamp| timestamp < 0) {
            return Err(Defect::Timestamp.into());
        }
        if content.timestamp.is_some_and(|timestamp| timestamp >= timestamp::END) {
            return Err(Defect::TimestampUnit.into());
        }
        // Its lines would have the label twice.
        if point::bound_name(kind).is_some_and(|bound| self.labels.names.contains(&bound)) {
            return Err(Defect::LabelTwice.into());
        }
        let n_lines = self.check_content(content.value, kind)?;
        let n_samples = n_lines + (n_lines - 1) * (n_bytes / BYTES_PER_SAMPLE);
        Ok(Size { n_lines, n_samples })
    }

    /// Gives how many lines it makes, which is at least one.
    fn check_content(&mut self, message: &'a [u8], kind: Kind) -> Result<usize, Error> {
        match kind {
            Kind::Histogram | Kind::GaugeHistogram => self.check_histogram(message),
            Kind::Summary => check_summary(message),
            _ => self.check_scalar(message, kind),
        }
    }

    fn check_scalar(&mut self, message: &'a [u8], kind: Kind) -> Result<usize, Error> {
        let Scalar { value: _, exemplar, created } = Scalar::read(message, kind)?;
        self.check_exemplar(exemplar)?;
        Ok(1 + usize::from(created.is_some()))
    }

    fn check_histogram(&mut self, message: &'a [u8]) -> Result<usize, Error> {
        let mut n_buckets = 0;
        let mut last = None;
        let histogram = Histogram::read(message, |piece| match piece {
            Piece::Bucket(Bucket { bound, count: _, exemplar }) => {
                n_buckets += 1;
                ascend(&mut last, bound)?;
                self.check_exemplar(exemplar)
            }
            Piece::Exemplar(exemplar) => self.check_exemplar(Some(exemplar)),
        })?;
        let Histogram { count, sum, created, native } = histogram;
        if native.is_there() {
            native.check(count, sum)?;
            if n_buckets == 0 {
                return Ok(1);
            }
        }
        let n_infinite = usize::from(last != Some(f64::INFINITY));
        Ok(n_buckets + n_infinite + 2 + usize::from(created.is_some()))
    }

    fn check_exemplar(&mut self, exemplar: Option<&'a [u8]>) -> Result<(), Error> {
        let Some(message) = exemplar else { return Ok(()) };
        self.exemplar.clear();
        let (limits, labels) = (&self.limits, &mut self.exemplar);
        Exemplar::read(message, |label| check_label(label, limits, labels))?;
        Ok(())
    }
}

fn check_summary(message: &[u8]) -> Result<usize, Error> {
    let mut n_quantiles = 0;
    let mut last = None;
    let summary = Summary::read(message, |quantile, _| {
        n_quantiles += 1;
        ascend(&mut last, quantile).map_err(Error::from)
    })?;
    Ok(n_quantiles + 2 + usize::from(summary.created.is_some()))
}

#[inline]
fn check_label<'a>(message: &'a [u8], limits: &Limits, seen: &mut Seen<'a>) -> Result<(), Error> {
    let (name, value) = content::label(message)?;
    if name.len() > limits.name {
        return Err(Error::Limit(Limit::Name, limits.name));
    }
    if value.len() > limits.value {
        return Err(Error::Limit(Limit::Value, limits.value));
    }
    check_text(value)?;
    if !seen.add(name)? {
        return Err(Defect::LabelTwice.into());
    }
    if seen.names.len() > limits.labels {
        return Err(Error::Limit(Limit::Labels, limits.labels));
    }
    Ok(())
}

/// Buckets and quantiles are in order, so that none is there twice: two lines would be one series.
fn ascend(last: &mut Option<f64>, next: f64) -> Result<(), Malformed> {
    let is_above = last.is_none_or(|last| last < next);
    *last = Some(next);
    if is_above && !next.is_nan() { Ok(()) } else { Err(Malformed) }
}

// === impl Error ===

impl From<Defect> for Error {
    fn from(what: Defect) -> Self {
        Self::Defect(what)
    }
}

impl From<Malformed> for Error {
    fn from(Malformed: Malformed) -> Self {
        Self::Defect(Defect::Message)
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    /// Begins with the next set.
    fn clear(&mut self) {
        std::mem::swap(&mut self.names, &mut self.before);
        self.names.clear();
        self.is_as_before = true;
    }

    /// Adds a name; says whether it is new. One that was there in the set before was checked there.
    #[inline]
    fn add(&mut self, name: &'a [u8]) -> Result<bool, Defect> {
        let before = self.before.get(self.names.len());
        self.is_as_before &= before.is_some_and(|before| *before == name);
        let is_new = self.is_as_before || {
            check_label_name(name)?;
            !self.names.contains(&name)
        };
        if is_new {
            self.names.push(name);
        }
        Ok(is_new)
    }
}

fn check_label_name(name: &[u8]) -> Result<(), Defect> {
    match name {
        b"" => Err(Defect::LabelName),
        b"__name__" => Err(Defect::ReservedLabel),
        _ => check_text(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as two walks of the standard library say.
    #[track_caller]
    fn check(text: &[u8]) {
        let expected = match std::str::from_utf8(text) {
            Err(_) => Err(Defect::NotUtf8),
            Ok(text) if text.contains('\0') => Err(Defect::Nul),
            Ok(_) => Ok(()),
        };
        assert_eq!(check_text(text), expected, "{text:?}");
    }

    #[test]
    fn every_byte_is_seen_wherever_it_stands() {
        for len in 0..25 {
            let mut text = vec![b'a'; len];
            check(&text);
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    text[at] = byte;
                    check(&text);
                }
                text[at] = b'\x01';
            }
        }
    }

    #[test]
    fn characters_of_more_than_a_byte_are_text() {
        for text in ["é", "aaaaaaaé", "été été été été", "\u{10ffff}", "é\0"] {
            check(text.as_bytes());
        }
    }
}
