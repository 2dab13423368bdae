//! Delimited messages `io.prometheus.client.MetricFamily`.

use crate::exposition::{Entry, Fault, Header, Kind, Limits, Place, Point, point::Misfit};

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

/// Reads messages.
#[derive(Debug)]
pub struct Reader<'a> {
    place: Place<'a>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins at the first message of `body`.
    #[must_use]
    pub fn new(body: &'a [u8], limits: &Limits) -> Self {
        let _ = (body, limits);
        Self { place: Place::default() }
    }

    /// Where the last item stood.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

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
    /// The label pairs, plain, in the order of the source.
    pub fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        std::iter::empty()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        None
    }

    /// Shows each of its samples as a line; says whether there is something that lines cannot say: a
    /// native histogram without classic buckets, of which then nothing is shown.
    pub fn lines(&self, each: impl FnMut(Line<'_>)) -> bool {
        let _ = each;
        false
    }
}

/// Writes one family: its header, then metrics, then the length before all of it.
#[derive(Debug)]
pub struct Family {
    start: usize,
}

// === impl Family ===

impl Family {
    /// Begins a family behind what `out` holds.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>, header: &Header<'_>) -> Self {
        let _ = header;
        Self { start: out.len() }
    }

    /// Writes a metric as it came, and `more`: label pairs as fields of a `Metric`, made by
    /// [`push_label`].
    pub fn push_metric(&self, out: &mut Vec<u8>, metric: &[u8], more: &[u8]) {
        let _ = (out, metric, more);
    }

    /// Writes a point that passed [`check`].
    pub fn push_point(&self, out: &mut Vec<u8>, header: &Header<'_>, point: &Point<'_>) {
        let _ = (out, header, point);
    }

    /// Ends the family.
    pub fn end(self, out: &mut Vec<u8>) {
        let _ = (out, self.start);
    }
}

/// Whether the point can be written as one of a family with this header.
pub fn check(header: &Header<'_>, point: &Point<'_>) -> Result<(), Misfit> {
    let _ = (header, point);
    Ok(())
}

/// Writes a label pair as a field of a `Metric`; name and value are plain.
pub fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let _ = (out, name, value);
}

/// Writes what a metric holds beside its labels.
pub fn push_without_labels(out: &mut Vec<u8>, metric: &[u8]) {
    let _ = (out, metric);
}

/// The label pairs among the fields of a metric, plain.
pub fn labels(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let _ = fields;
    std::iter::empty()
}

/// The timestamp among the fields of a metric, in milliseconds since 1970.
#[must_use]
pub fn timestamp(fields: &[u8]) -> Option<i64> {
    let _ = fields;
    None
}
