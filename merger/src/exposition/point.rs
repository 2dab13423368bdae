//! What a family says of one label set at one time: the unit in which `OpenMetrics` and protobuf think.
//!
//! In the formats of lines a histogram is a row of samples that share their labels but one. Here they
//! are together, so that a writer sees whether they make a whole. All bytes are in the strict
//! spelling of text.
//!
//! [`check`] asks for what both formats ask for, so that a writer has nothing to invent: protobuf's
//! readers take a sum that is not there for 0. What one of them alone refuses is left to that one's
//! writer.

use crate::exposition::{Kind, Label, timestamp};

pub mod value;

/// One label set of one family at one time.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The labels that all parts share, those of the source included, none with an empty value.
    pub labels: &'a [Label<'a>],
    /// The time since 1970, in the unit of the page: milliseconds in digits, and in `OpenMetrics`
    /// seconds.
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
    let Point { labels, timestamp: _, parts } = point;
    if !parts.iter().all(|part| part.role.belongs_to(kind)) {
        return Err(Misfit);
    }
    if bound_name(kind).is_some_and(|bound| labels.iter().any(|label| label.name == bound)) {
        return Err(Misfit);
    }
    match kind {
        Kind::Counter => check_counter(parts),
        Kind::Gauge | Kind::Untyped | Kind::Unknown => one(parts, Role::Value).map(|_| ()),
        Kind::Info => check_info(parts),
        Kind::StateSet => check_states(parts),
        Kind::Histogram | Kind::GaugeHistogram => check_histogram(parts),
        Kind::Summary => check_summary(parts),
    }
}

/// Puts the parts in the order that [`check`] asks for, whatever the order of the source was: buckets
/// and quantiles by their number, and behind them what occurs once.
pub fn sort(parts: &mut [Part<'_>]) {
    if parts.is_sorted_by_key(|part| part.role.place()) {
        return;
    }
    parts.sort_by(|a, b| {
        let ((a, a_bound), (b, b_bound)) = (a.role.place(), b.role.place());
        a.cmp(&b).then(a_bound.total_cmp(&b_bound))
    });
}

/// The label that tells the parts of a point of this kind from each other.
pub(super) fn bound_name(kind: Kind) -> Option<&'static [u8]> {
    match kind {
        Kind::Histogram | Kind::GaugeHistogram => Some(b"le"),
        Kind::Summary => Some(b"quantile"),
        _ => None,
    }
}

fn check_counter(parts: &[Part<'_>]) -> Result<(), Misfit> {
    let value = value::float(one(parts, Role::Value)?).ok_or(Misfit)?;
    require(value >= 0.0)?;
    check_created(parts)
}

fn check_info(parts: &[Part<'_>]) -> Result<(), Misfit> {
    require(value::count(one(parts, Role::Value)?) == Some(1))
}

/// A state that is there twice would be one series twice.
fn check_states(parts: &[Part<'_>]) -> Result<(), Misfit> {
    let mut states = Vec::with_capacity(parts.len());
    for part in parts {
        let Role::State(state) = part.role else { return Err(Misfit) };
        require(matches!(value::count(part.value), Some(0 | 1)))?;
        states.push(state);
    }
    states.sort_unstable();
    require(!states.is_empty() && states.windows(2).all(|pair| pair[0] != pair[1]))
}

fn check_histogram(parts: &[Part<'_>]) -> Result<(), Misfit> {
    let mut last: Option<(f64, u64)> = None;
    for part in parts {
        let Role::Bucket(bound) = part.role else { continue };
        let bound = value::float(bound).filter(|bound| !bound.is_nan()).ok_or(Misfit)?;
        let count = value::count(part.value).ok_or(Misfit)?;
        require(last.is_none_or(|(bound_before, before)| bound_before < bound && before <= count))?;
        last = Some((bound, count));
    }
    let (bound, in_all) = last.ok_or(Misfit)?;
    require(bound == f64::INFINITY)?;
    require(value::count(one(parts, Role::Count)?) == Some(in_all))?;
    one(parts, Role::Sum)?;
    check_created(parts)
}

/// Clients leave out quantiles, and some the sum and the count: `OpenMetrics` asks for none of them.
fn check_summary(parts: &[Part<'_>]) -> Result<(), Misfit> {
    let mut last: Option<f64> = None;
    for part in parts {
        let Role::Quantile(quantile) = part.role else { continue };
        let quantile = value::float(quantile).filter(|q| !q.is_nan()).ok_or(Misfit)?;
        require(last.is_none_or(|before| before < quantile))?;
        last = Some(quantile);
    }
    let count = at_most_one(parts, Role::Count)?;
    require(count.is_none_or(|count| value::count(count).is_some()))?;
    let sum = at_most_one(parts, Role::Sum)?;
    require(last.is_some() || count.is_some() || sum.is_some())?;
    check_created(parts)
}

/// A time that protobuf can say, too.
fn check_created(parts: &[Part<'_>]) -> Result<(), Misfit> {
    let is_time =
        |seconds| timestamp::millis(seconds).is_some_and(|millis| millis < timestamp::END);
    require(at_most_one(parts, Role::Created)?.is_none_or(is_time))
}

/// The value of the one part with this role.
fn one<'a>(parts: &[Part<'a>], role: Role<'_>) -> Result<&'a [u8], Misfit> {
    at_most_one(parts, role)?.ok_or(Misfit)
}

/// The value of the part with this role, unless there are two.
fn at_most_one<'a>(parts: &[Part<'a>], role: Role<'_>) -> Result<Option<&'a [u8]>, Misfit> {
    let mut found = parts.iter().filter(|part| part.role == role);
    let first = found.next().map(|part| part.value);
    require(found.next().is_none())?;
    Ok(first)
}

fn require(is_so: bool) -> Result<(), Misfit> {
    if is_so { Ok(()) } else { Err(Misfit) }
}

// === impl Point ===

impl<'a> Point<'a> {
    /// The value of the first part with this role.
    #[must_use]
    pub fn value(&self, role: Role<'_>) -> Option<&'a [u8]> {
        self.parts.iter().find(|part| part.role == role).map(|part| part.value)
    }
}

// === impl Role ===

impl Role<'_> {
    /// Whether a family of this kind says such a thing.
    fn belongs_to(self, kind: Kind) -> bool {
        use Kind::{Counter, Gauge, GaugeHistogram, Histogram, Info, Summary, Unknown, Untyped};
        match self {
            Self::Value => matches!(kind, Counter | Gauge | Untyped | Unknown | Info),
            Self::Bucket(_) => matches!(kind, Histogram | GaugeHistogram),
            Self::Quantile(_) => kind == Summary,
            Self::State(_) => kind == Kind::StateSet,
            Self::Sum | Self::Count => matches!(kind, Histogram | GaugeHistogram | Summary),
            Self::Created => matches!(kind, Counter | Histogram | Summary),
        }
    }

    /// Where it stands among the parts of a point, and there by which number. States stay as they
    /// are.
    fn place(self) -> (u8, f64) {
        let number = |bound| value::float(bound).unwrap_or(f64::NAN);
        match self {
            Self::Value | Self::State(_) => (0, 0.0),
            Self::Bucket(bound) | Self::Quantile(bound) => (1, number(bound)),
            Self::Sum => (2, 0.0),
            Self::Count => (3, 0.0),
            Self::Created => (4, 0.0),
        }
    }
}

#[cfg(test)]
mod tests;
