//! `prometheus.istio.io/scrape-targets`, and what Istio's injector has put aside.
//!
//! After injection a pod's annotations name the agent's page, which repeats the application's, and the
//! pod's own are JSON in the environment of its sidecar. Sources: `pkg/kube/inject/webhook.go` of
//! istio/istio (`applyPrometheusMerge`), `PrometheusScrapeConfiguration` in
//! `pilot/cmd/pilot-agent/status/server.go`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Endpoint, MAX_ENDPOINTS, prometheus,
    value::{self, Malformed},
};
use crate::target::{Scheme, note::Note};

/// The variable of the sidecar that has the pod's own annotations.
pub const ORIGINALS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";

/// The annotation that names several endpoints.
pub const TARGETS: &str = "prometheus.istio.io/scrape-targets";

/// What the pod's own annotations were. Numbers are taken as well as strings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Originals {
    path: Text,
    port: Text,
    targets: Vec<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    port: Text,
    path: Text,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Number(u64),
}

/// The pod's annotations as they were before injection, from what the sidecar has of them.
pub fn recovered(
    annotations: &BTreeMap<String, String>,
    originals: &str,
) -> Result<BTreeMap<String, String>, Malformed> {
    let shown = format!("prometheus.io in {ORIGINALS}");
    let text = super::short((&shown, originals))?;
    let parsed: Originals = serde_json::from_str(text).map_err(|_| {
        let expected = "the JSON that Istio's injector writes: port, path, targets";
        Malformed::new(&shown, originals, expected)
    })?;
    let Originals { path, port, targets } = parsed;
    let mut own = without_page(annotations);
    for (name, text) in [(prometheus::PORT, port), (prometheus::PATH, path)] {
        let text = text.into_string();
        if !text.is_empty() {
            own.insert(name.to_owned(), text);
        }
    }
    if !targets.is_empty() {
        let target = |Target { port, path }| match path.into_string().as_str() {
            "" => port.into_string(),
            path => format!("{}:{path}", port.into_string()),
        };
        let targets: Vec<String> = targets.into_iter().map(target).collect();
        own.entry(TARGETS.to_owned()).or_insert_with(|| targets.join(","));
    }
    Ok(own)
}

/// The pod's annotations without the port and path that an injector has put there.
#[must_use]
pub fn without_page(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_page = |name: &str| {
        ["prometheus_io_port", "prometheus_io_path"].iter().any(|s| value::sanitised_eq(name, s))
    };
    let own = annotations.iter().filter(|(name, _)| !is_page(name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The endpoints of `scrape-targets`: `port[:path]`, separated by commas.
pub(super) fn targets(
    annotations: &BTreeMap<String, String>,
    notes: &mut Vec<Note>,
) -> Vec<Endpoint> {
    let listed = super::find(annotations, TARGETS).map(super::short).transpose();
    let Some(listed) = super::noted(listed, notes).flatten() else { return Vec::new() };
    super::note_rest(TARGETS, listed.split(',').count(), notes);
    let targets = listed.split(',').map(str::trim).filter(|target| !target.is_empty());
    let endpoint = |target: &str| {
        let (port, path) = target.split_once(':').unwrap_or((target, ""));
        let port = value::port(port).ok_or_else(|| {
            let expected = "port or port:path, with a port from 1 to 65535, in digits";
            Malformed::new(TARGETS, target, expected)
        })?;
        let path = value::page_of((TARGETS, path))?;
        Ok(Endpoint::new(port, Scheme::Http, path, TARGETS))
    };
    super::kept(targets.take(MAX_ENDPOINTS).map(endpoint), notes)
}

// === impl Text ===

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::String(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::String(String::new())
    }
}
