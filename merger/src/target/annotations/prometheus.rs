//! `prometheus.io/{scrape,scrape-slow,scheme,path,port,param_*}`.
//!
//! Names are compared as Prometheus compares them, with every character outside `[a-zA-Z0-9_]`
//! replaced by `_`: `prometheus.io/port`, `prometheus-io/port` and `prometheus_io_port` are one.
//! Source: `SanitizeLabelName` in `util/strutil/strconv.go` of prometheus/prometheus, and the jobs
//! `kubernetes-pods` and `kubernetes-pods-slow` of the Prometheus chart, whose conventions these are.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use super::value::{self, Entry, MAX_PATH, Malformed};
use crate::target::{Scheme, note::Note};

/// The annotation with the port, as it is spelled usually.
pub const PORT: &str = "prometheus.io/port";

/// The annotation with the path.
pub const PATH: &str = "prometheus.io/path";

/// What the annotations `prometheus.io/…` of a pod say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `true` and `false`; none where the pod says nothing, or nothing that is understood.
    pub scrape: Option<bool>,
    /// Whether it asks for the slow job, which is asking as well; at what pace is up to the reader.
    pub slow: bool,
    /// The port to scrape.
    pub port: Option<NonZeroU16>,
    /// How the annotation with the port is spelled.
    pub spelled: String,
    /// Path and query, the parameters in it; `/metrics` where the pod says nothing.
    pub path: String,
    /// `http` where the pod says nothing.
    pub scheme: Scheme,
}

/// Reads the annotations of a pod. Of two spellings of one name the first in byte order counts;
/// [`twice`] tells of them.
pub fn read(annotations: &BTreeMap<String, String>) -> Result<Asked, Malformed> {
    let find = |name: &str| spellings(annotations, name).next();

    let scrape = find("prometheus_io_scrape").map(said).transpose()?;
    // What is not to be scraped may say of the rest what it likes.
    if scrape == Some(false) {
        return Ok(Asked { scrape, ..Asked::default() });
    }
    let slow = find("prometheus_io_scrape_slow").map(said).transpose()?.unwrap_or_default();
    let asks = find("prometheus_io_port");
    let port = asks.map(value::port_of).transpose()?;
    let path = find("prometheus_io_path").map(value::page_of).transpose()?;
    let path = path.unwrap_or_else(|| "/metrics".to_owned());
    let path = with_parameters(path, annotations)?;
    let scheme = find("prometheus_io_scheme")
        .map(|entry| value::parse(entry, value::scheme, "\"http\" or \"https\""))
        .transpose()?;

    let spelled = value::shown_name(asks.map_or(PORT, |(spelled, _)| spelled));
    let scheme = scheme.unwrap_or_default();
    Ok(Asked { scrape, slow, port, spelled, path, scheme })
}

/// Port and path alone, whatever the others say: what an injector writes over.
#[must_use]
pub fn page(annotations: &BTreeMap<String, String>) -> Option<(NonZeroU16, String)> {
    let find = |name: &str| spellings(annotations, name).next();
    let port = value::port_of(find("prometheus_io_port")?).ok()?;
    let path = find("prometheus_io_path").map_or(Ok("/metrics".to_owned()), value::page_of);
    Some((port, path.ok()?))
}

/// The names that stand there in two spellings with two values: which counts.
pub fn twice(annotations: &BTreeMap<String, String>) -> Vec<Note> {
    const NAMES: [&str; 5] = ["scrape", "scrape_slow", "port", "path", "scheme"];
    let mut first: BTreeMap<String, Entry<'_>> = BTreeMap::new();
    let mut notes = Vec::new();
    for (spelled, value) in super::entries(annotations) {
        let Some(name) = value::after(spelled, "prometheus_io_") else { continue };
        let name: String = name.chars().map(value::sanitised).collect();
        if !NAMES.contains(&name.as_str()) && !name.starts_with("param_") {
            continue;
        }
        let (counted, counts) = *first.entry(name).or_insert((spelled, value));
        if counts != value {
            notes.push(Note::TwoSpellings {
                counted: value::shown_name(counted),
                value: value::shortened(counts),
                ignored: value::shown_name(spelled),
                other: value::shortened(value),
            });
        }
    }
    notes
}

/// The annotations that are `name` to Prometheus.
fn spellings<'a>(
    annotations: &'a BTreeMap<String, String>,
    name: &str,
) -> impl Iterator<Item = Entry<'a>> {
    let is_it = move |entry: &Entry<'_>| value::sanitised_eq(entry.0, name);
    super::entries(annotations).filter(is_it)
}

fn said(entry: Entry<'_>) -> Result<bool, Malformed> {
    let said = |value: &str| match value {
        "true" => Some(true),
        // As Go's `ParseBool` reads it for Istio: whoever declines is not asked for the spelling.
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    };
    value::parse(entry, said, "\"true\" or \"false\"")
}

/// Puts `prometheus.io/param_<name>` into the query, as the chart's `__param_<name>` does. The name
/// is the sanitised one: that is all that Prometheus has of it.
fn with_parameters(
    mut path: String,
    annotations: &BTreeMap<String, String>,
) -> Result<String, Malformed> {
    let mut known = BTreeSet::new();
    for (spelled, value) in super::entries(annotations) {
        let Some(name) = value::after(spelled, "prometheus_io_param_") else { continue };
        let name: String = name.chars().map(value::sanitised).collect();
        if name.is_empty() || known.contains(&name) {
            continue;
        }
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&name);
        known.insert(name);
        path.push('=');
        value::escape_into(&mut path, value);
        if path.len() > MAX_PATH {
            let expected = "short enough: path and parameters are up to 1024 bytes";
            return Err(Malformed::new(spelled, value, expected));
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
