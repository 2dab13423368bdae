//! How each source of a page fared, and the series in which the page says so.

use std::fmt::Display;

use super::{Failure, Read};
use crate::{cause, exposition::labels, merge::Report, scrape::Scraped, target::Source};

/// How the names of these series begin: what a source itself says under such a name would pass
/// for a statement of the page.
pub(super) const PREFIX: &str = "merger_source_";

/// How one source fared.
pub(super) struct Fare<'a> {
    read: &'a Read,
    /// Its samples, or why it gave none.
    samples: Result<usize, String>,
}

/// How all of them fared. Only what was scraped has a report, so these are fewer.
pub(super) fn all<'a>(reads: &'a [Read], reports: &[Report]) -> Vec<Fare<'a>> {
    let mut reports = reports.iter();
    let mut samples_of = |Read { source: _, scraped }: &Read| match &scraped.page {
        Err(error) => Err(cause::chain(&**error)),
        Ok(_) => match reports.next() {
            Some(Report { failed: Some(failure), .. }) => Err(failure.to_string()),
            report => Ok(report.map_or(0, |report| report.samples)),
        },
    };
    reads.iter().map(|read| Fare { read, samples: samples_of(read) }).collect()
}

/// What the page says of its own sources, in text 0.0.4.
pub(super) fn statement(fares: &[Fare<'_>]) -> Vec<u8> {
    let mut text = Vec::new();
    push(&mut text, fares, "up", "Whether the source gave a whole exposition.", |fare| {
        u8::from(fare.samples.is_ok())
    });
    let help = "How long the source took to answer.";
    push(&mut text, fares, "scrape_duration_seconds", help, |fare| {
        let Scraped { page: _, duration } = fare.read.scraped;
        duration.as_secs_f64()
    });
    push(&mut text, fares, "samples", "Samples that the source gave.", |fare| {
        fare.samples.as_ref().copied().unwrap_or_default()
    });
    text
}

/// One family with a series for each source.
fn push<V: Display>(
    text: &mut Vec<u8>,
    fares: &[Fare<'_>],
    name: &str,
    help: &str,
    value: impl Fn(&Fare<'_>) -> V,
) {
    let name = format!("{PREFIX}{name}");
    text.extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} gauge\n").as_bytes());
    for fare in fares {
        let Source { container, endpoint, .. } = &fare.read.source;
        text.extend_from_slice(name.as_bytes());
        text.push(b'{');
        // A container that is not known has no label, as on the source's own series.
        if !container.is_empty() {
            labels::push_plain(text, "container", container);
            text.push(b',');
        }
        labels::push_plain(text, "endpoint", endpoint);
        text.extend_from_slice(format!("}} {}\n", value(fare)).as_bytes());
    }
}

// === impl Fare ===

impl Fare<'_> {
    /// Why it is not on the page; nothing where it is.
    pub(super) fn failure(&self) -> Option<Failure> {
        let Source { container, endpoint, .. } = &self.read.source;
        let reason = self.samples.as_ref().err()?.clone();
        Some(Failure { container: container.clone(), endpoint: endpoint.clone(), reason })
    }
}
