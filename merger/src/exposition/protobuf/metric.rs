//! A metric as it came: its labels, and its samples as the formats of lines say them.
//!
//! The lines are those that Prometheus makes of a metric (`Series` and `getMagicName` in
//! prometheus, `model/textparse/protobufparse.go`), in the order of expfmt (`MetricFamilyToText` in
//! prometheus/common, `expfmt/text_create.go`).

use crate::exposition::{
    Kind,
    float::Digits,
    labels,
    protobuf::{
        content::{self, Bucket, Content, Count, Exemplar, Histogram, Piece, Scalar, Summary},
        schema::{METRIC_LABEL, METRIC_TIMESTAMP},
        timestamp::Timestamp,
        wire::{Fields, Malformed},
    },
};

/// One `Metric` message of a family, checked: each field that is known is well-formed, names and
/// labels are UTF-8 and in their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The name of its family, plain.
    pub family: &'a [u8],
    /// The type that its family declares.
    pub kind: Kind,
    /// The message.
    pub bytes: &'a [u8],
}

/// The name and the value of a label, plain.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// One sample of a metric, as the formats of lines say it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'e> {
    /// What follows the name of the family, which for `_created` is without `_total`: empty,
    /// `_bucket`, `_sum`, `_count`, `_gsum`, `_gcount`, `_created`.
    pub suffix: &'static str,
    /// The label that it has beside those of the metric: `le` or `quantile`, and its value.
    pub bound: Option<(&'static str, &'e str)>,
    /// A number.
    pub value: &'e str,
    /// An exemplar as `OpenMetrics` writes it behind `# `.
    pub exemplar: Option<&'e [u8]>,
}

// === impl Metric ===

impl<'a> Metric<'a> {
    /// The labels in the order of the source.
    pub fn labels(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        let mut fields = Fields::new(self.bytes);
        std::iter::from_fn(move || {
            loop {
                let field = fields.next_field().ok()??;
                if field.number == METRIC_LABEL {
                    return content::label(field.value.bytes().ok()?).ok();
                }
            }
        })
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        let mut timestamp = None;
        let mut fields = Fields::new(self.bytes);
        while let Ok(Some(field)) = fields.next_field() {
            if field.number == METRIC_TIMESTAMP {
                timestamp = field.value.integer().ok();
            }
        }
        timestamp.map(u64::cast_signed)
    }

    /// Shows each of its samples as a line; says whether there is something that lines cannot say: a
    /// native histogram without classic buckets, of which then nothing is shown. One that has classic
    /// buckets as well says by them all that it observed.
    pub fn lines(&self, mut each: impl FnMut(Line<'_>)) -> bool {
        // It was checked; of one that was not, what stands before the fault is shown.
        self.show(&mut each).unwrap_or(false)
    }

    fn show(&self, each: &mut dyn FnMut(Line<'_>)) -> Result<bool, Malformed> {
        let Content { value: message, .. } = Content::read(self.bytes, self.kind, |_| Ok(()))?;
        match self.kind {
            Kind::Histogram => show_histogram(message, ["_sum", "_count"], each),
            Kind::GaugeHistogram => show_histogram(message, ["_gsum", "_gcount"], each),
            Kind::Summary => show_summary(message, each).map(|()| false),
            kind => show_scalar(message, kind, each).map(|()| false),
        }
    }
}

fn show_scalar(
    message: &[u8],
    kind: Kind,
    each: &mut dyn FnMut(Line<'_>),
) -> Result<(), Malformed> {
    let Scalar { value, exemplar, created } = Scalar::read(message, kind)?;
    let mut text = Vec::new();
    let value = Digits::of_float(value);
    let exemplar = spell_exemplar(&mut text, exemplar)?;
    each(Line { suffix: "", bound: None, value: value.as_str(), exemplar });
    show_created(created, each);
    Ok(())
}

fn show_summary(message: &[u8], each: &mut dyn FnMut(Line<'_>)) -> Result<(), Malformed> {
    let summary = Summary::read::<Malformed>(message, |quantile, value| {
        let (quantile, value) = (Digits::of_float(quantile), Digits::of_float(value));
        let bound = Some(("quantile", quantile.as_str()));
        each(Line { suffix: "", bound, value: value.as_str(), exemplar: None });
        Ok(())
    })?;
    let Summary { count, sum, created } = summary;
    show_totals(["_sum", "_count"], sum, Digits::of_count(count), each);
    show_created(created, each);
    Ok(())
}

fn show_histogram(
    message: &[u8],
    suffixes: [&'static str; 2],
    each: &mut dyn FnMut(Line<'_>),
) -> Result<bool, Malformed> {
    let mut last = None;
    let mut text = Vec::new();
    let histogram = Histogram::read::<Malformed>(message, |piece| {
        let Piece::Bucket(bucket) = piece else { return Ok(()) };
        last = Some(bucket.bound);
        show_bucket(bucket, &mut text, each)
    })?;
    let Histogram { count, sum, created, native } = histogram;
    if last.is_none() && native.is_there() {
        return Ok(true);
    }
    if last != Some(f64::INFINITY) {
        let infinite = Bucket { bound: f64::INFINITY, count, exemplar: None };
        show_bucket(infinite, &mut text, each)?;
    }
    show_totals(suffixes, sum, count.spell(), each);
    show_created(created, each);
    Ok(false)
}

fn show_bucket(
    bucket: Bucket<'_>,
    text: &mut Vec<u8>,
    each: &mut dyn FnMut(Line<'_>),
) -> Result<(), Malformed> {
    let Bucket { bound, count, exemplar } = bucket;
    let (bound, count) = (Digits::of_float(bound), count.spell());
    let exemplar = spell_exemplar(text, exemplar)?;
    let bound = Some(("le", bound.as_str()));
    each(Line { suffix: "_bucket", bound, value: count.as_str(), exemplar });
    Ok(())
}

fn show_totals(
    [sum_suffix, count_suffix]: [&'static str; 2],
    sum: f64,
    count: Digits,
    each: &mut dyn FnMut(Line<'_>),
) {
    for (suffix, value) in [(sum_suffix, Digits::of_float(sum)), (count_suffix, count)] {
        each(Line { suffix, bound: None, value: value.as_str(), exemplar: None });
    }
}

fn show_created(created: Option<Timestamp>, each: &mut dyn FnMut(Line<'_>)) {
    let Some(created) = created else { return };
    let value = created.to_seconds();
    each(Line { suffix: "_created", bound: None, value: value.as_str(), exemplar: None });
}

/// Writes an exemplar in the place of what `text` held.
fn spell_exemplar<'t>(
    text: &'t mut Vec<u8>,
    exemplar: Option<&[u8]>,
) -> Result<Option<&'t [u8]>, Malformed> {
    let Some(message) = exemplar else { return Ok(None) };
    text.clear();
    text.push(b'{');
    let exemplar = Exemplar::read::<Malformed>(message, |label| {
        if text.len() > 1 {
            text.push(b',');
        }
        let (name, value) = content::label(label)?;
        if labels::is_name(name) {
            text.extend_from_slice(name);
        } else {
            push_quoted(text, name);
        }
        text.push(b'=');
        push_quoted(text, value);
        Ok(())
    })?;
    text.extend_from_slice(b"} ");
    text.extend_from_slice(Digits::of_float(exemplar.value).as_str().as_bytes());
    if let Some(timestamp) = exemplar.timestamp {
        text.push(b' ');
        text.extend_from_slice(timestamp.to_seconds().as_str().as_bytes());
    }
    Ok(Some(text))
}

fn push_quoted(out: &mut Vec<u8>, plain: &[u8]) {
    out.push(b'"');
    labels::push_escaped(out, plain, true);
    out.push(b'"');
}

// === impl Count ===

impl Count {
    fn spell(self) -> Digits {
        match self {
            Self::Whole(count) => Digits::of_count(count),
            Self::Float(count) => Digits::of_float(count),
        }
    }
}
