//! Metrics as they came, and points, to delimited messages.
//!
//! What is written is what the server's parser and expfmt take, with the shortest varints and each
//! number in its place, zeros included. Kinds that the schema does not have are gauges
//! (an info, the states of a state set) or untyped.

use std::borrow::Cow;

use crate::exposition::{
    Defect, Header, Kind, Point, labels,
    point::Role,
    protobuf::{
        schema::{
            FAMILY_HELP, FAMILY_METRIC, FAMILY_NAME, FAMILY_TYPE, FAMILY_UNIT, LABEL_NAME,
            LABEL_VALUE, METRIC_LABEL, type_of,
        },
        wire::{self, Fields},
    },
};

mod exemplar;
mod fold;

pub use self::{exemplar::takes_exemplar, fold::check};

/// Writes one family: its header, then metrics, and the length before all of it.
#[derive(Debug)]
pub struct Family {
    /// Where it begins, if its length is not known before its end.
    start: Option<usize>,
}

/// What of the header cannot be said: a unit that the name does not end in. The server refuses a page
/// that says such a one (`Next` in prometheus, `model/textparse/protobufparse.go`).
#[must_use]
pub fn left_out(header: &Header<'_>) -> Option<Defect> {
    let Header { name, kind, help: _, unit } = header;
    let base = match kind {
        Some(Kind::Counter) => name.strip_suffix(b"_total").unwrap_or(name),
        _ => name,
    };
    let fits = |unit: &[u8]| base.strip_suffix(unit).is_some_and(|rest| rest.ends_with(b"_"));
    unit.is_some_and(|unit| !fits(unit)).then_some(Defect::Unit)
}

/// The names that a family of this kind takes for itself, as suffixes of its own: the server calls so
/// the series that it makes of its metrics, those of a gauge histogram, too (`getMagicName` in
/// prometheus, `model/textparse/protobufparse.go`).
#[must_use]
pub fn claims(kind: Option<Kind>) -> &'static [&'static str] {
    match kind {
        Some(Kind::Summary) => &["", "_count", "_sum"],
        Some(Kind::Histogram | Kind::GaugeHistogram) => &["", "_count", "_sum", "_bucket"],
        _ => &[""],
    }
}

/// Whether an exemplar of such a part of a point can be said.
#[must_use]
pub fn has_exemplar(kind: Option<Kind>, role: Role<'_>) -> bool {
    matches!(role, Role::Bucket(_)) || (kind == Some(Kind::Counter) && role == Role::Value)
}

/// Writes a label pair as a field of a `Metric`; name and value are plain.
pub fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let sizes = [name, value].map(|text| 1 + wire::varint_len(text.len()) + text.len());
    wire::push_len(out, METRIC_LABEL, sizes.iter().sum());
    wire::push_bytes(out, LABEL_NAME, name);
    wire::push_bytes(out, LABEL_VALUE, value);
}

/// Writes what a metric holds beside its labels.
pub fn push_without_labels(out: &mut Vec<u8>, metric: &[u8]) {
    let mut fields = Fields::new(metric);
    let mut start = 0;
    while let Ok(Some(field)) = fields.next_field() {
        let end = metric.len() - fields.rest().len();
        if field.number != METRIC_LABEL {
            out.extend_from_slice(&metric[start..end]);
        }
        start = end;
    }
}

/// How many bytes a family takes at most beside its metrics.
#[must_use]
pub fn most_of_header(header: &Header<'_>) -> usize {
    let Header { name, kind: _, help, unit } = header;
    let texts = [Some(*name), *help, *unit].into_iter().flatten();
    let fields = texts.map(|text| 1 + wire::varint_len(text.len()) + text.len());
    // The two bytes of the type, and the length, which has 35 bits at most.
    2 + 5 + fields.sum::<usize>()
}

/// How many bytes [`Family::push_metric`] writes for as many bytes of a metric and label pairs.
#[must_use]
pub fn len_of_metric(n_bytes: usize) -> usize {
    1 + wire::varint_len(n_bytes) + n_bytes
}

/// A name or value without its escapes. In the strict spelling there are three.
fn plain(strict: &[u8]) -> Cow<'_, [u8]> {
    labels::unescape(strict, b"\"")
}

// === impl Family ===

impl Family {
    /// Begins a family behind what `out` holds.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>, header: &Header<'_>) -> Self {
        let start = out.len();
        push_header(out, header);
        Self { start: Some(start) }
    }

    /// Begins a family of metrics that all are as they came, and take `n_bytes` by [`len_of_metric`].
    #[must_use]
    pub fn begin_with(out: &mut Vec<u8>, header: &Header<'_>, n_bytes: usize) -> Self {
        let start = out.len();
        push_header(out, header);
        wire::insert_len_with(out, start, n_bytes);
        Self { start: None }
    }

    /// Writes a metric as it came, and `more`: label pairs as fields of a `Metric`, made by
    /// [`push_label`].
    #[inline]
    pub fn push_metric(&self, out: &mut Vec<u8>, metric: &[u8], more: &[u8]) {
        wire::push_len(out, FAMILY_METRIC, metric.len() + more.len());
        out.extend_from_slice(metric);
        out.extend_from_slice(more);
    }

    /// Writes a point that passed [`check`].
    pub fn push_point(&self, out: &mut Vec<u8>, header: &Header<'_>, point: &Point<'_>) {
        fold::push_point(out, header, point);
    }

    /// Ends the family.
    pub fn end(self, out: &mut Vec<u8>) {
        if let Some(start) = self.start {
            wire::insert_len(out, start);
        }
    }
}

fn push_header(out: &mut Vec<u8>, header: &Header<'_>) {
    let Header { name, kind, help, unit } = header;
    wire::push_bytes(out, FAMILY_NAME, &plain(name));
    if let Some(help) = help {
        wire::push_bytes(out, FAMILY_HELP, help);
    }
    let (type_, _) = type_of(*kind);
    wire::push_integer(out, FAMILY_TYPE, type_);
    if let Some(unit) = unit.filter(|_| left_out(header).is_none()) {
        wire::push_bytes(out, FAMILY_UNIT, &plain(unit));
    }
}
