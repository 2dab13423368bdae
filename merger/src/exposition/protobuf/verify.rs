//! Whether a metric is one that every format can say; and how many lines it makes.
//!
//! What is let through here is written to protobuf as it came and to lines without another look.

use crate::exposition::{
    Defect, Kind, Limit, Limits, point,
    protobuf::{
        content::{Bucket, Content, Exemplar, Histogram, Piece, Scalar, Summary},
        set::Set,
        wire::Malformed,
    },
    scan::check_text,
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
    found: Found,
    labels: Set<'a>,
    exemplar: Set<'a>,
}

/// What was found out of a metric beside that it is good, so that nobody has to walk over it for that
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// How many lines it makes; of what lines cannot say, one.
    pub n_lines: usize,
    /// How many samples it counts as where they are limited.
    pub weight: usize,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// As many bytes of labels as a line repeats for one more sample: a histogram says its labels once, and
/// in lines once for each bucket, so a small body could fill the memory.
const BYTES_PER_SAMPLE: usize = 1024;

// === impl Verifier ===

impl<'a> Verifier<'a> {
    pub(super) fn new(limits: &Limits) -> Self {
        let (found, labels, exemplar) = Default::default();
        Self { limits: *limits, found, labels, exemplar }
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

    /// What was found out of the metric that was checked last, if it is good.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// The labels of that metric.
    pub(super) fn labels(&self) -> &Set<'a> {
        &self.labels
    }

    /// Checks a metric of a family of this kind.
    pub(super) fn check_metric(&mut self, metric: &'a [u8], kind: Kind) -> Result<(), Error> {
        self.labels.begin();
        let is_good = self.find(metric, kind);
        self.labels.is_cut = is_good.is_err();
        is_good
    }

    fn find(&mut self, metric: &'a [u8], kind: Kind) -> Result<(), Error> {
        let (limits, labels) = (&self.limits, &mut self.labels);
        let mut n_bytes = 0;
        let content = Content::read(metric, kind, |label| {
            n_bytes += label.len();
            labels.take(label, limits)
        })?;
        // Lines have no place for one before 1970: the server's lexer reads no sign.
        if content.timestamp.is_some_and(|timestamp| timestamp < 0) {
            return Err(Defect::Timestamp.into());
        }
        if content.timestamp.is_some_and(|timestamp| timestamp >= timestamp::END) {
            return Err(Defect::TimestampUnit.into());
        }
        // Its lines would have the label twice.
        if point::bound_name(kind).is_some_and(|bound| self.labels.has(bound)) {
            return Err(Defect::LabelTwice.into());
        }
        let n_lines = self.check_content(content.value, kind)?;
        let weight = n_lines + (n_lines - 1) * (n_bytes / BYTES_PER_SAMPLE);
        self.found = Found { n_lines, weight, timestamp: content.timestamp };
        Ok(())
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
        self.exemplar.begin();
        let (limits, labels) = (&self.limits, &mut self.exemplar);
        Exemplar::read(message, |label| labels.take(label, limits))?;
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
