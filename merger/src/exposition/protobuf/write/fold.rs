//! A point to one metric, of a state set to one for each state.
//!
//! Only a point that says all that a metric would be read to say is written: there is no sum of 0
//! where the source had none.

use crate::exposition::{
    Header, Kind, Label, Point,
    point::{self, Misfit, Part, Role},
    protobuf::{
        content::Count,
        schema::{
            BUCKET_BOUND, BUCKET_COUNT, BUCKET_COUNT_FLOAT, BUCKET_EXEMPLAR, COUNTER_CREATED,
            COUNTER_EXEMPLAR, FAMILY_METRIC, HISTOGRAM_BUCKET, HISTOGRAM_COUNT,
            HISTOGRAM_COUNT_FLOAT, HISTOGRAM_CREATED, HISTOGRAM_SUM, METRIC_TIMESTAMP,
            QUANTILE_QUANTILE, QUANTILE_VALUE, SCALAR_VALUE, SUMMARY_COUNT, SUMMARY_CREATED,
            SUMMARY_QUANTILE, SUMMARY_SUM, type_of,
        },
        timestamp::Timestamp,
        wire,
        write::{exemplar, has_exemplar, plain, push_label},
    },
};

/// What a point says once, as numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    value: Option<f64>,
    sum: Option<f64>,
    count: Option<Count>,
    created: Option<Timestamp>,
    /// How many parts say what may be said often.
    n_rows: usize,
}

/// Whether the point can be written as one of a family with this header: each number fits its field,
/// and no reader would read more than was said, such as a sum of 0 where there is none.
pub fn check(header: &Header<'_>, point: &Point<'_>) -> Result<(), Misfit> {
    let kind = header.kind.unwrap_or(Kind::Untyped);
    point::check(kind, point)?;
    if point.timestamp.is_some_and(|timestamp| millis(timestamp).is_none()) {
        return Err(Misfit);
    }
    let totals = Totals::of(point, kind).ok_or(Misfit)?;
    let Totals { value, sum, count, created, n_rows } = totals;
    let has = (value.is_some(), sum.is_some(), count.is_some());
    let is_whole = match kind {
        Kind::Histogram | Kind::GaugeHistogram => has == (false, true, true),
        // A summary has no field for half an observation.
        Kind::Summary => has == (false, true, true) && matches!(count, Some(Count::Whole(_))),
        Kind::StateSet => has == (false, false, false) && n_rows > 0,
        _ => has == (true, false, false),
    };
    let has_place = created.is_none()
        || matches!(kind, Kind::Counter | Kind::Summary | Kind::Histogram | Kind::GaugeHistogram);
    if is_whole && has_place { Ok(()) } else { Err(Misfit) }
}

/// Writes a point that passed [`check`]; of another one nothing.
pub(super) fn push_point(out: &mut Vec<u8>, header: &Header<'_>, point: &Point<'_>) {
    let kind = header.kind.unwrap_or(Kind::Untyped);
    let Some(totals) = Totals::of(point, kind) else { return };
    if kind == Kind::StateSet {
        for part in point.parts {
            let Role::State(state) = part.role else { continue };
            push_metric(out, header, point, Some(state), |out| push_double_of(out, part.value));
        }
        return;
    }
    push_metric(out, header, point, None, |out| match kind {
        Kind::Histogram | Kind::GaugeHistogram => push_histogram(out, point, &totals),
        Kind::Summary => push_summary(out, point, &totals),
        _ => push_scalar(out, kind, point, &totals),
    });
}

/// Writes a metric: labels, what `content` writes into the field of its kind, timestamp.
fn push_metric(
    out: &mut Vec<u8>,
    header: &Header<'_>,
    point: &Point<'_>,
    state: Option<&[u8]>,
    content: impl FnOnce(&mut Vec<u8>),
) {
    wire::push_message(out, FAMILY_METRIC, |out| {
        for Label { name, value, bytes: _ } in point.labels {
            push_label(out, &plain(name), &plain(value));
        }
        if let Some(state) = state {
            push_label(out, &plain(header.name), &plain(state));
        }
        let (_, field) = type_of(header.kind);
        wire::push_message(out, field, content);
        if let Some(millis) = point.timestamp.and_then(millis) {
            wire::push_integer(out, METRIC_TIMESTAMP, millis.cast_unsigned());
        }
    });
}

fn push_scalar(out: &mut Vec<u8>, kind: Kind, point: &Point<'_>, totals: &Totals) {
    wire::push_double(out, SCALAR_VALUE, totals.value.unwrap_or_default());
    if kind != Kind::Counter {
        return;
    }
    for part in point.parts {
        push_exemplar(out, COUNTER_EXEMPLAR, kind, part);
    }
    push_created(out, COUNTER_CREATED, totals);
}

fn push_double_of(out: &mut Vec<u8>, value: &[u8]) {
    wire::push_double(out, SCALAR_VALUE, float(value).unwrap_or_default());
}

fn push_summary(out: &mut Vec<u8>, point: &Point<'_>, totals: &Totals) {
    push_count(out, [SUMMARY_COUNT, SUMMARY_COUNT], totals.count);
    wire::push_double(out, SUMMARY_SUM, totals.sum.unwrap_or_default());
    for Part { role, value, exemplar: _ } in point.parts {
        let Role::Quantile(quantile) = role else { continue };
        wire::push_message(out, SUMMARY_QUANTILE, |out| {
            wire::push_double(out, QUANTILE_QUANTILE, float(quantile).unwrap_or_default());
            wire::push_double(out, QUANTILE_VALUE, float(value).unwrap_or_default());
        });
    }
    push_created(out, SUMMARY_CREATED, totals);
}

fn push_histogram(out: &mut Vec<u8>, point: &Point<'_>, totals: &Totals) {
    push_count(out, [HISTOGRAM_COUNT, HISTOGRAM_COUNT_FLOAT], totals.count);
    wire::push_double(out, HISTOGRAM_SUM, totals.sum.unwrap_or_default());
    for part in point.parts {
        let Role::Bucket(bound) = part.role else { continue };
        wire::push_message(out, HISTOGRAM_BUCKET, |out| {
            push_count(out, [BUCKET_COUNT, BUCKET_COUNT_FLOAT], count(part.value));
            wire::push_double(out, BUCKET_BOUND, float(bound).unwrap_or_default());
            push_exemplar(out, BUCKET_EXEMPLAR, Kind::Histogram, part);
        });
    }
    push_created(out, HISTOGRAM_CREATED, totals);
}

/// Writes a count to the field for integers or to that for floats.
fn push_count(out: &mut Vec<u8>, [whole, float]: [u32; 2], count: Option<Count>) {
    match count {
        Some(Count::Whole(count)) => wire::push_integer(out, whole, count),
        Some(Count::Float(count)) => wire::push_double(out, float, count),
        None => {}
    }
}

fn push_created(out: &mut Vec<u8>, field: u32, totals: &Totals) {
    if let Some(created) = totals.created {
        wire::push_message(out, field, |out| created.push(out));
    }
}

fn push_exemplar(out: &mut Vec<u8>, field: u32, kind: Kind, part: &Part<'_>) {
    let exemplar = part.exemplar.filter(|_| has_exemplar(Some(kind), part.role));
    if let Some(text) = exemplar {
        exemplar::push(out, field, text);
    }
}

fn millis(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Rust reads every spelling that Go reads, and is only asked for these.
fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A count in whatever spelling. Digits are read as such: a float would lose those beyond 2^53.
fn count(text: &[u8]) -> Option<Count> {
    if let Ok(count) = std::str::from_utf8(text).ok()?.parse() {
        return Some(Count::Whole(count));
    }
    let value = float(text)?;
    match whole(value) {
        Some(count) => Some(Count::Whole(count)),
        None => Count::new(0, value).ok(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in 0..2^64")]
fn whole(value: f64) -> Option<u64> {
    let is_count = (0.0..18_446_744_073_709_551_616.0).contains(&value) && value.fract() == 0.0;
    is_count.then_some(value as u64)
}

// === impl Totals ===

impl Totals {
    /// Nothing where a part has no place in a metric of this kind, or not this often.
    fn of(point: &Point<'_>, kind: Kind) -> Option<Self> {
        let mut totals = Self::default();
        let mut last = None;
        for Part { role, value, exemplar: _ } in point.parts {
            let number = float(value)?;
            let is_new = match (role, kind) {
                (Role::Value, _) => totals.value.replace(number).is_none(),
                (Role::Sum, _) => totals.sum.replace(number).is_none(),
                (Role::Count, _) => totals.count.replace(count(value)?).is_none(),
                (Role::Created, _) => {
                    totals.created.replace(Timestamp::from_seconds(value)?).is_none()
                }
                (Role::Bucket(bound), Kind::Histogram | Kind::GaugeHistogram) => {
                    count(value)?;
                    totals.n_rows += 1;
                    is_above(&mut last, float(bound)?)
                }
                (Role::Quantile(quantile), Kind::Summary) => {
                    totals.n_rows += 1;
                    is_above(&mut last, float(quantile)?)
                }
                (Role::State(_), Kind::StateSet) => {
                    totals.n_rows += 1;
                    true
                }
                _ => false,
            };
            is_new.then_some(())?;
        }
        Some(totals)
    }
}

/// The reader asks for bounds that ascend.
fn is_above(last: &mut Option<f64>, next: f64) -> bool {
    let before = last.replace(next);
    !next.is_nan() && before.is_none_or(|before| before < next)
}
