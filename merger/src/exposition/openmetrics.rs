//! What `OpenMetrics` 1.0.0 asks of a page beyond its lines, and the lines of a point.
//!
//! The strictest reader is the law: `prometheus_client/openmetrics/parser.py`, 0.26. What it asks of
//! one point is in [`check`]; what it asks of the page as a whole is left to who puts points together:
//! - a family is there once, and of the names that it [`claims`] no other family claims one;
//! - the lines of one label set follow each other, with timestamps that do not fall, or with none; of
//!   an info all label sets count as one here;
//! - no label name is one of those that [`takes_label`] refuses;
//! - no line is blank or a comment, and the last is [`EOF`].
//!
//! Names that are no identifiers are written in quotes, which the reader of the page must have asked
//! for: who did not gets them escaped before they come here.

use memchr::memchr3_iter;

use crate::exposition::{
    Defect, Escaping, Exemplar, Header, Kind, Point, labels,
    point::{self, Misfit, Part, Role, value},
};

mod bound;
mod series;

use self::series::{Extra, Series};

/// The last line of a page.
pub const EOF: &[u8] = b"# EOF\n";

/// How many characters the labels of an exemplar may have together.
const MOST_EXEMPLAR_CHARS: usize = 128;

/// The name under which a family stands in `# TYPE`: without `_total`, `_info`.
#[must_use]
pub fn base(name: &[u8], kind: Option<Kind>) -> &[u8] {
    let suffix: &[u8] = match kind {
        Some(Kind::Counter) => b"_total",
        Some(Kind::Info) => b"_info",
        _ => return name,
    };
    name.strip_suffix(suffix).filter(|base| !base.is_empty()).unwrap_or(name)
}

/// The names that a family of this kind takes for itself: no other family may have one of them.
/// Each is a suffix of [`base`].
#[must_use]
pub fn claims(kind: Option<Kind>) -> &'static [&'static str] {
    match kind {
        Some(Kind::Counter) => &["", "_total", "_created"],
        Some(Kind::Summary) => &["", "_count", "_sum", "_created"],
        Some(Kind::Histogram) => &["", "_count", "_sum", "_bucket", "_created"],
        Some(Kind::GaugeHistogram) => &["", "_gcount", "_gsum", "_bucket"],
        Some(Kind::Info) => &["", "_info"],
        Some(Kind::Gauge | Kind::StateSet | Kind::Untyped | Kind::Unknown) | None => &[""],
    }
}

/// Whether a label of this name may stand in a page: `prometheus_client` refuses a page with a name
/// that begins with two underscores, in text, too.
#[must_use]
pub fn takes_label(name: &[u8]) -> bool {
    !name.starts_with(b"__")
}

/// Whether the point can be written as one of a family with this header.
pub fn check(header: &Header<'_>, point: &Point<'_>) -> Result<(), Misfit> {
    let kind = header.kind.unwrap_or(Kind::Unknown);
    point::check(kind, point)?;
    let fits = match kind {
        Kind::Counter | Kind::Info => base(header.name, header.kind) != header.name,
        Kind::StateSet => has_place_for_states(header.name, point),
        Kind::Histogram => has_good_sum(point) && !has_negative_bound(point),
        Kind::GaugeHistogram => has_good_sum(point) || has_good_negative_sum(point),
        Kind::Summary => has_good_sum(point) && point.parts.iter().all(is_good_quantile),
        Kind::Gauge | Kind::Untyped | Kind::Unknown => true,
    };
    if fits { Ok(()) } else { Err(Misfit) }
}

/// Writes HELP, TYPE and UNIT; says what had to be left out.
pub fn push_header(out: &mut Vec<u8>, header: &Header<'_>) -> Option<Defect> {
    let Header { name, kind, help, unit } = header;
    let base = base(name, *kind);
    if let Some(help) = help {
        series::push_metadata(out, "HELP", base);
        labels::push_escaped(out, help, true);
        out.push(b'\n');
    }
    if kind.is_some() || is_lost_without_type(base) {
        series::push_metadata(out, "TYPE", base);
        out.extend_from_slice(word(*kind).as_bytes());
        out.push(b'\n');
    }
    let unit = (*unit)?;
    if !takes_unit(base, *kind, unit) {
        return Some(Defect::Unit);
    }
    series::push_metadata(out, "UNIT", base);
    out.extend_from_slice(unit);
    out.push(b'\n');
    None
}

/// How many bytes [`push_header`] writes, or a few less than this.
#[must_use]
pub fn most_of_header(header: &Header<'_>) -> usize {
    let Header { name, kind: _, help, unit } = header;
    // Each line has a word, a name in quotes, a blank and an end; `gaugehistogram` is the longest kind.
    let line = "# HELP ".len() + name.len() + 4;
    let n_escaped = |help: &[u8]| memchr3_iter(b'\\', b'\n', b'"', help).count();
    let help = help.map_or(0, |help| line + help.len() + n_escaped(help));
    help + line + "gaugehistogram".len() + unit.map_or(0, |unit| line + unit.len())
}

/// Writes the lines of a point that passed [`check`]; `left_out` is told of each part that lost its
/// exemplar.
pub fn push_point(
    out: &mut Vec<u8>,
    header: &Header<'_>,
    point: &Point<'_>,
    left_out: &mut dyn FnMut(&Part<'_>),
) {
    let kind = header.kind.unwrap_or(Kind::Unknown);
    let mut series = Series::new(base(header.name, header.kind), point.labels);
    for part in point.parts {
        let (suffix, extra) = said_of(kind, part.role, header);
        series.push(out, suffix, extra);
        out.push(b' ');
        out.extend_from_slice(part.value);
        if let Some(timestamp) = point.timestamp {
            out.push(b' ');
            out.extend_from_slice(timestamp);
        }
        if part.exemplar.is_some_and(|exemplar| !push_exemplar(out, kind, part.role, exemplar)) {
            left_out(part);
        }
        out.push(b'\n');
    }
}

fn value_of(point: &Point<'_>, role: Role<'_>) -> Option<f64> {
    point.value(role).and_then(value::float)
}

/// The label of a state has the name of the family: it is not there yet, and it is one without quotes
/// where the family's is. A colon needs them, and a reader that knows none would refuse the page.
fn has_place_for_states(name: &[u8], point: &Point<'_>) -> bool {
    let is_spelled_alike = labels::is_name(name) || !labels::is_metric_name(name);
    is_spelled_alike && point.labels.iter().all(|label| label.name != name)
}

/// A sum counts up like a counter, so it is a number, and not negative.
fn has_good_sum(point: &Point<'_>) -> bool {
    value_of(point, Role::Sum).is_none_or(|sum| sum >= 0.0)
}

/// The sum of a gauge histogram may be negative where a bucket is.
fn has_good_negative_sum(point: &Point<'_>) -> bool {
    value_of(point, Role::Sum).is_some_and(|sum| sum < 0.0) && has_negative_bound(point)
}

fn has_negative_bound(point: &Point<'_>) -> bool {
    point.parts.iter().any(|part| match part.role {
        Role::Bucket(bound) => value::float(bound).is_some_and(|bound| bound < 0.0),
        _ => false,
    })
}

/// A quantile lies between 0 and 1, and its value is not negative; it may be NaN.
fn is_good_quantile(part: &Part<'_>) -> bool {
    let Role::Quantile(quantile) = part.role else { return true };
    let is_in_range = value::float(quantile).is_some_and(|q| (0.0..=1.0).contains(&q));
    is_in_range && value::float(part.value).is_some_and(|value| value >= 0.0 || value.is_nan())
}

/// Whether a family without a TYPE line would be misunderstood. `prometheus_client` refuses a name in
/// quotes without one; to Prometheus the type of the family before goes on, and where that one is a
/// counter, `_created` is its start, and no series.
fn is_lost_without_type(base: &[u8]) -> bool {
    !labels::is_metric_name(base) || base.ends_with(b"_created")
}

/// The word after `# TYPE`: `untyped` is none here.
fn word(kind: Option<Kind>) -> &'static str {
    match kind {
        None | Some(Kind::Untyped) => Kind::Unknown.as_str(),
        Some(kind) => kind.as_str(),
    }
}

/// Whether the name of the family ends in its unit, as both readers ask, and its kind may have one.
/// The name is escaped and the unit is not, so that one has no need of escapes.
fn takes_unit(base: &[u8], kind: Option<Kind>, unit: &[u8]) -> bool {
    let is_plain = unit.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
    let is_named = base.strip_suffix(unit).is_some_and(|rest| rest.ends_with(b"_"));
    is_plain && is_named && !matches!(kind, Some(Kind::Info | Kind::StateSet))
}

/// What follows the base of the name on the line of a part, and the label that it has of its own.
fn said_of<'a>(kind: Kind, role: Role<'a>, header: &Header<'a>) -> (&'static str, Extra<'a>) {
    let is_gauge = kind == Kind::GaugeHistogram;
    match role {
        Role::Value if kind == Kind::Counter => ("_total", Extra::Nothing),
        Role::Value if kind == Kind::Info => ("_info", Extra::Nothing),
        Role::Value => ("", Extra::Nothing),
        Role::Bucket(bound) => ("_bucket", Extra::Bound("le", bound)),
        Role::Quantile(quantile) => ("", Extra::Bound("quantile", quantile)),
        Role::State(state) => ("", Extra::State(header.name, state)),
        Role::Sum => (if is_gauge { "_gsum" } else { "_sum" }, Extra::Nothing),
        Role::Count => (if is_gauge { "_gcount" } else { "_count" }, Extra::Nothing),
        Role::Created => ("_created", Extra::Nothing),
    }
}

/// Writes an exemplar, if one may stand there and every reader takes this one; says whether.
fn push_exemplar(out: &mut Vec<u8>, kind: Kind, role: Role<'_>, exemplar: &[u8]) -> bool {
    let has_place = matches!(
        (kind, role),
        (Kind::Counter, Role::Value) | (Kind::Histogram | Kind::GaugeHistogram, Role::Bucket(_))
    );
    let exemplar = Exemplar::read(exemplar).filter(|exemplar| {
        has_place
            && exemplar.n_chars() <= MOST_EXEMPLAR_CHARS
            && exemplar.labels().all(|label| takes_label(label.name))
    });
    let Some(exemplar) = exemplar else { return false };
    let line = out.len();
    out.extend_from_slice(b" # ");
    let start = out.len();
    exemplar.push(out, Escaping::AllowUtf8);
    let is_good = is_read_without_escapes(&out[start..]);
    out.truncate(if is_good { out.len() } else { line });
    is_good
}

/// Whether its labels end where a reader finds their end that takes every quote for the beginning or
/// the end of a value, the escaped ones, too: so does `_parse_remaining_text`.
fn is_read_without_escapes(exemplar: &[u8]) -> bool {
    let end = memchr::memrchr(b'}', exemplar);
    let mut is_quoted = false;
    let first = exemplar.iter().position(|b| {
        is_quoted ^= *b == b'"';
        *b == b'}' && !is_quoted
    });
    first.is_some() && first == end
}

#[cfg(test)]
mod tests;
