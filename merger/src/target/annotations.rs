//! What a pod asks for in its annotations, one file for each set of them.
//!
//! A set that cannot be followed costs what it asked for and nothing of the others; each fault is a
//! [`Note`] with the annotation and its value. Annotations are hostile: no list is read beyond
//! [`MAX_ENDPOINTS`], and no value beyond [`MAX_VALUE`].

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16};

use self::value::Entry;
pub(super) use self::value::{MAX_PATH, escape_into, shown_object};
pub use self::value::{Malformed, page_of, path, port, port_of, scheme, shortened, truth_of};
use super::{Asker, Scheme, note::Note};

pub mod consul;
pub mod coroot;
pub mod istio;
pub mod kuma;
pub mod opentelemetry;
pub mod own;
pub mod prometheus;
pub mod secret;
mod value;

/// Of more endpoints in one list the last ones are not read.
pub const MAX_ENDPOINTS: usize = 32;

/// A value with more bytes than this says nothing that anybody would want to say.
pub const MAX_VALUE: usize = 4096;

/// The bytes of names and values, and of what it takes to keep them, that a source of pods keeps of one pod.
const MAX_KEPT: usize = 32 << 10;

/// What it takes to keep an annotation, however short: two strings in a map.
const ENTRY: usize = 96;

/// Where [`pruned`] says how many annotations it has left out: no annotation has an empty name.
const LEFT_OUT: &str = "";

/// What all the annotations of a pod ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What `prometheus.io/scrape` says.
    pub scrape: Option<bool>,
    /// The endpoints, in the order of the merged page.
    pub endpoints: Vec<Endpoint>,
    /// Scheme and path for ports named like metrics, where it asks to be scraped and says no port.
    pub named: Option<(Scheme, String)>,
    /// Whether it may be probed, where it says so.
    pub probe: Option<bool>,
    /// What cannot be followed.
    pub notes: Vec<Note>,
}

/// An endpoint that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The port.
    pub at: At,
    /// Whether it speaks TLS.
    pub scheme: Scheme,
    /// Path and query, checked.
    pub path: String,
    /// Who asks.
    pub by: Asker,
    /// The container that it is said to be of.
    pub container: Option<String>,
    /// The address that it is said to be bound to.
    pub address: Option<IpAddr>,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// By number.
    Number(NonZeroU16),
    /// By the name that a container gives it.
    Name(String),
}

/// Reads all sets. `declared` are the ports of the pod's applications, `containers` its containers.
#[must_use]
pub fn read(
    annotations: &BTreeMap<String, String>,
    declared: impl Iterator<Item = NonZeroU16>,
    containers: &[&str],
) -> Asked {
    let mut notes = prometheus::twice(annotations);
    if let Some((_, left_out)) = find(annotations, LEFT_OUT) {
        notes.insert(0, Note::LeftOut { annotations: shortened(left_out) });
    }
    let mut endpoints = own::endpoints(annotations, containers, &mut notes);
    endpoints.extend(istio::targets(annotations, &mut notes));
    let scraped = noted(prometheus::read(annotations), &mut notes).unwrap_or_default();
    let prometheus::Asked { scrape, slow, port, spelled, path, scheme } = scraped;
    if slow {
        notes.push(Note::Slow);
    }
    let wanted = scrape == Some(true) || slow;
    match port {
        Some(port) if wanted => endpoints.push(Endpoint::new(port, scheme, path.clone(), &spelled)),
        _ => {}
    }
    endpoints.extend(consul::endpoint(annotations, &mut notes));
    endpoints.extend(kuma::endpoints(annotations, &mut notes));
    endpoints.extend(coroot::endpoint(annotations, &mut notes));
    endpoints.extend(opentelemetry::endpoints(annotations, declared, &mut notes));
    let named = (wanted && port.is_none() && endpoints.is_empty()).then_some((scheme, path));
    let probe = own::probe(annotations, &mut notes);
    Asked { scrape, endpoints, named, probe, notes }
}

/// Whether any set reads an annotation of this name; the others need not be kept.
#[must_use]
pub fn is_read(name: &str) -> bool {
    const DOMAINS: [&str; 9] = [
        "consul.hashicorp.com/",
        "coroot.com/",
        "dapr.io/",
        "merger.io/",
        "prometheus.istio.io/",
        "prometheus.metrics.kuma.io/",
        "status.sidecar.istio.io/",
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        opentelemetry::PREFIX,
    ];
    value::after(name, "prometheus_io_").is_some()
        || name.ends_with(".merger.io/endpoints")
        || name.ends_with(".merger.io/secret")
        || DOMAINS.iter().any(|domain| name.starts_with(domain))
}

/// The annotations of which something is read, none with much more than [`MAX_VALUE`] and not more than
/// what 32 KiB have room for: what a source of pods keeps. How many were too many is kept as well.
#[must_use]
pub fn pruned(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.retain(|name, _| is_read(name));
    let (mut n_bytes, mut n_left_out) = (0, 0);
    let mut kept = cut(annotations);
    kept.retain(|name, value| {
        n_bytes += name.len() + value.len() + ENTRY;
        n_left_out += usize::from(n_bytes > MAX_KEPT);
        n_bytes <= MAX_KEPT
    });
    if n_left_out > 0 {
        kept.insert(LEFT_OUT.to_owned(), n_left_out.to_string());
    }
    kept
}

/// Cuts values that are too long to say anything, and leaves them so long that this is still known.
#[must_use]
pub fn cut(mut values: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for value in values.values_mut().filter(|value| value.len() > MAX_VALUE) {
        let end = (MAX_VALUE + 1..value.len()).find(|at| value.is_char_boundary(*at));
        value.truncate(end.unwrap_or(value.len()));
        value.shrink_to_fit();
    }
    values
}

/// What is read at all.
fn entries(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = Entry<'_>> {
    annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn find<'a>(annotations: &'a BTreeMap<String, String>, name: &str) -> Option<Entry<'a>> {
    annotations.get_key_value(name).map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Those that can be followed; the others are noted.
fn kept<T>(read: impl Iterator<Item = Result<T, Malformed>>, notes: &mut Vec<Note>) -> Vec<T> {
    read.filter_map(|read| noted(read, notes)).collect()
}

fn noted<T>(read: Result<T, Malformed>, notes: &mut Vec<Note>) -> Option<T> {
    read.map_err(|malformed| notes.push(Note::Malformed(malformed))).ok()
}

/// A list or a document, as long as it may be.
fn short(entry: Entry<'_>) -> Result<&str, Malformed> {
    let (annotation, value) = entry;
    let expected = "up to 4096 bytes";
    (value.len() <= MAX_VALUE).then_some(value).ok_or(Malformed::new(annotation, value, expected))
}

/// Notes what a list has beyond [`MAX_ENDPOINTS`].
fn note_rest(annotation: &str, n_listed: usize, notes: &mut Vec<Note>) {
    if n_listed > MAX_ENDPOINTS {
        let left_out = n_listed - MAX_ENDPOINTS;
        notes.push(Note::LongList { annotation: value::shown_name(annotation), left_out });
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn new(at: impl Into<At>, scheme: Scheme, path: String, annotation: &str) -> Self {
        let by = Asker::Annotation(value::shown_name(annotation));
        Self { at: at.into(), scheme, path, by, container: None, address: None }
    }
}

// === impl At ===

impl At {
    /// A number, or a name as Kubernetes lets a port have it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let is_name = text.len() <= 15
            && text.bytes().any(|b| b.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if is_name { Some(Self::Name(text.to_owned())) } else { port(text).map(Self::Number) }
    }
}

impl From<NonZeroU16> for At {
    fn from(number: NonZeroU16) -> Self {
        Self::Number(number)
    }
}

#[cfg(test)]
mod tests;
