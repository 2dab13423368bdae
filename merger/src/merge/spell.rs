//! How the samples of a source are spelled on the page: names in its escaping, times in its unit,
//! exemplars where it has them.
//!
//! Most lines are already what the page would say, and are told from the others here. What of a
//! sample has no place on the page is given back as a defect; to report it is left to the caller.

use std::borrow::Cow;

use crate::{
    exposition::{
        Defect, Escaping, Exemplar, Format, Label, Output, Sample, labels, openmetrics,
        text::{Dialect, line},
        timestamp,
    },
    merge::relabel::Pair,
};

/// Spells for one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speller {
    escaping: Escaping,
    /// The unit of the timestamps in lines.
    dialect: Dialect,
    /// Exemplars go into the lines.
    has_exemplars: bool,
}

/// What follows the value of a line.
#[derive(Debug, Default)]
pub(super) struct Times<'a> {
    timestamp: Option<Cow<'a, [u8]>>,
    exemplar: Option<Vec<u8>>,
}

// === impl Speller ===

impl Speller {
    pub(super) fn new(output: Output) -> Self {
        let Output { format, escaping } = output;
        let escaping = match (format, escaping) {
            (Format::Text, Escaping::AllowUtf8) => Escaping::Underscores,
            _ => escaping,
        };
        Self {
            escaping,
            dialect: format.dialect(),
            has_exemplars: !matches!(format, Format::Text | Format::Text1),
        }
    }

    /// What becomes of names that are no identifiers.
    pub(super) fn escaping(self) -> Escaping {
        self.escaping
    }

    /// Whether the page can have the line of a sample as it is, but for a comma behind its labels.
    #[inline]
    pub(super) fn is_as_is(self, format: Format, sample: &Sample<'_>) -> bool {
        (sample.strict || sample.has_comma)
            && (!sample.is_quoted || self.escaping == Escaping::AllowUtf8)
            && (sample.timestamp.is_none() || format.dialect() == self.dialect)
    }

    /// Whether the page can have a label of this name as it is.
    #[inline]
    pub(super) fn takes_name(self, name: &[u8]) -> bool {
        self.escaping == Escaping::AllowUtf8 || labels::is_name(name)
    }

    /// Whether no label of the page may have this name, in the page's spelling.
    #[inline]
    pub(super) fn refuses(self, name: &[u8]) -> bool {
        self.dialect == Dialect::OpenMetrics && !openmetrics::takes_label(name)
    }

    /// A metric name in the spelling of the page, from one that is escaped.
    #[inline]
    pub(super) fn metric_name(self, name: &[u8]) -> Cow<'_, [u8]> {
        if self.escaping == Escaping::AllowUtf8 || labels::is_metric_name(name) {
            Cow::Borrowed(name)
        } else {
            labels::respell(name, |plain| self.escaping.metric_name(plain))
        }
    }

    /// The name of a label in the spelling of the page, from one that is escaped.
    fn label_name(self, name: &[u8]) -> Cow<'_, [u8]> {
        if labels::is_name(name) {
            Cow::Borrowed(name)
        } else {
            labels::respell(name, |plain| self.escaping.label_name(plain))
        }
    }

    /// A label of a metric in the spelling of the page.
    pub(super) fn plain_pair<'a>(self, (name, value): (&'a [u8], &'a [u8])) -> Pair<'a> {
        let name = match labels::escaped(name) {
            Cow::Borrowed(name) => self.label_name(name),
            Cow::Owned(name) => Cow::Owned(self.label_name(&name).into_owned()),
        };
        (name, labels::escaped(value))
    }

    /// The exemplar of a metric in the spelling of the page, and what of it was left out.
    pub(super) fn exemplar(self, text: Option<&[u8]>) -> (Option<Vec<u8>>, Option<Defect>) {
        match text {
            None => (None, None),
            Some(_) if !self.has_exemplars => (None, Some(Defect::Exemplar)),
            Some(text) => match Exemplar::read(text) {
                None => (None, Some(Defect::BadExemplar)),
                Some(exemplar) => {
                    let mut spelled = Vec::new();
                    exemplar.push(&mut spelled, self.escaping);
                    // Two names may be one in this spelling.
                    if spelled != text && Exemplar::read(&spelled).is_none() {
                        return (None, Some(Defect::BadExemplar));
                    }
                    (Some(spelled), None)
                }
            },
        }
    }

    /// A label in the spelling of the page.
    pub(super) fn pair<'a>(self, label: &Label<'a>) -> Pair<'a> {
        let name = self.label_name(label.name);
        let mut value = Cow::Borrowed(label.value);
        if label.value.contains(&b'\\') {
            let mut strict = Vec::with_capacity(label.value.len());
            labels::push_value(&mut strict, label.value);
            value = Cow::Owned(strict);
        }
        (name, value)
    }

    /// The timestamp and the exemplar in the spelling of the page, and what of them was left out.
    pub(super) fn times<'a>(
        self,
        format: Format,
        sample: &Sample<'a>,
    ) -> Result<(Times<'a>, Option<Defect>), Defect> {
        let timestamp = match sample.timestamp {
            Some(timestamp) => Some(self.timestamp(format, timestamp).ok_or(Defect::Timestamp)?),
            None => None,
        };
        let (exemplar, lost) = self.exemplar(sample.exemplar);
        Ok((Times { timestamp, exemplar }, lost))
    }

    /// A timestamp in the unit of the page.
    fn timestamp(self, format: Format, timestamp: &[u8]) -> Option<Cow<'_, [u8]>> {
        if format.dialect() == self.dialect {
            return Some(Cow::Borrowed(timestamp));
        }
        let millis = format.dialect().milliseconds(timestamp)?;
        Some(Cow::Owned(self.milliseconds(millis)))
    }

    /// Milliseconds in the unit of the page.
    pub(super) fn milliseconds(self, millis: i64) -> Vec<u8> {
        let millis = millis.to_string().into_bytes();
        match self.dialect {
            Dialect::Text => millis,
            Dialect::OpenMetrics => {
                let mut seconds = Vec::new();
                timestamp::push_seconds(&mut seconds, &millis);
                seconds
            }
        }
    }
}

// === impl Times ===

impl Times<'_> {
    pub(super) fn is_any(&self) -> bool {
        self.timestamp.is_some() || self.exemplar.is_some()
    }

    /// Writes a strict line without its end; gives where more labels fit in, as an offset from where
    /// it began.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        name: &[u8],
        labels: &[Pair<'_>],
        value: &[u8],
    ) -> usize {
        let Self { timestamp, exemplar } = self;
        let insert = line::push_head(out, name, labels);
        for part in [Some(value), timestamp.as_deref()].into_iter().flatten() {
            out.push(b' ');
            out.extend_from_slice(part);
        }
        if let Some(exemplar) = exemplar {
            out.extend_from_slice(b" # ");
            out.extend_from_slice(exemplar);
        }
        insert
    }
}
