//! How each source of a page fared, and the series in which the page says so.

use std::{fmt::Display, iter};

use super::{Failure, Read, Scope};
use crate::{cause, exposition::labels, merge::Report, target::Source};

/// How the names of these series begin: what a source itself says under such a name would pass
/// for a statement of the page.
pub(super) const PREFIX: &str = "merger_source_";

/// How one source fared.
pub(super) struct Fare<'a> {
    read: &'a Read,
    /// Its samples, or why it gave none.
    samples: Result<usize, String>,
}

/// How all of them fared. Only what was read has a report, so these are fewer.
pub(super) fn all<'a>(reads: &'a [Read], reports: &[Report]) -> Vec<Fare<'a>> {
    let mut reports = reports.iter();
    let mut samples_of = |read: &Read| match &read.page {
        Err(missing) => Err(cause::chain(missing)),
        Ok(_) => match reports.next() {
            Some(Report { failed: Some(failure), .. }) => Err(failure.to_string()),
            report => Ok(report.map_or(0, |report| report.samples)),
        },
    };
    reads.iter().map(|read| Fare { read, samples: samples_of(read) }).collect()
}

/// What the page says of its own sources, in text 0.0.4.
pub(super) fn statement(fares: &[Fare<'_>], scope: Scope) -> Vec<u8> {
    let mut text = Vec::new();
    let help = "Whether the source gave a whole exposition.";
    push(&mut text, fares, scope, "up", help, |fare| u8::from(fare.samples.is_ok()));
    let help = "How long the source took to answer.";
    push(&mut text, fares, scope, "scrape_duration_seconds", help, |fare| {
        fare.read.duration.as_secs_f64()
    });
    let help = "Samples that the source gave.";
    push(&mut text, fares, scope, "samples", help, |fare| {
        fare.samples.as_ref().copied().unwrap_or_default()
    });
    text
}

/// One family with a series for each source.
fn push<V: Display>(
    text: &mut Vec<u8>,
    fares: &[Fare<'_>],
    scope: Scope,
    name: &str,
    help: &str,
    value: impl Fn(&Fare<'_>) -> V,
) {
    let name = format!("{PREFIX}{name}");
    text.extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} gauge\n").as_bytes());
    for fare in fares {
        text.extend_from_slice(name.as_bytes());
        // A container that is not known has no label, as on the source's own series.
        let labels = fare.read.labels(scope).into_iter().filter(|(_, value)| !value.is_empty());
        for (separator, (label, value)) in iter::once(b'{').chain(iter::repeat(b',')).zip(labels) {
            text.push(separator);
            labels::push_plain(text, label, value);
        }
        text.extend_from_slice(format!("}} {}\n", value(fare)).as_bytes());
    }
}

// === impl Fare ===

impl Fare<'_> {
    /// Why it is not on the page; nothing where it is.
    pub(super) fn failure(&self) -> Option<Failure> {
        let Read { pod, source: Source { container, endpoint, .. }, .. } = self.read;
        let reason = self.samples.as_ref().err()?.clone();
        let (container, endpoint) = (container.clone(), endpoint.clone());
        Some(Failure { pod: pod.clone(), container, endpoint, reason })
    }
}
