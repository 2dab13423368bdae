//! A `PodMonitor` as the Kubernetes API writes it, to what is used of it; and what several ask of a pod.
//!
//! Read are the selectors and, of each endpoint, what says which page it is and what it takes to read it.
//! Not read is how the operator's Prometheus goes about it, which is up to the reader of a page here:
//! intervals, timeouts, limits, protocols, the labels of targets, proxies. Source:
//! `pkg/apis/monitoring/v1/podmonitor_types.go` of prometheus-operator/prometheus-operator, and what
//! `generatePodMonitorConfig` in its `pkg/prometheus/promcfg.go` makes of it.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

pub use self::share::monitored;
use self::{bounded::Listed, selector::Selector, spec::EndpointSpec};
use super::object::null_is_unset;
use crate::target::{
    PodRef,
    monitor::{Endpoint, MAX_ENDPOINTS},
};

mod bounded;
mod selector;
mod share;
mod spec;

/// The labels of a pod.
pub type Labels = BTreeMap<String, String>;

/// Names of namespaces of which a `PodMonitor` may select pods.
const MAX_NAMESPACES: usize = 256;

/// The bytes that are kept of one.
const MAX_KEPT: usize = 32 << 10;

/// Why an object is no `PodMonitor` to us.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no such JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has no name.
    #[error("metadata.name is missing: what it asks for is told by it")]
    NoName,
    /// Its selector would select something else if it were cut.
    #[error(transparent)]
    Selector(#[from] selector::Error),
    /// Whoever may make one may fill it up, and it is kept on every node.
    #[error(
        "{0} bytes of it would be kept, more than {MAX_KEPT}: have it select and ask for less, or make \
         several of it"
    )]
    TooMuch(usize),
}

/// What is used of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    name: PodRef,
    namespaces: Namespaces,
    selector: Selector,
    endpoints: Vec<Arc<Endpoint>>,
    /// How many endpoints more it has.
    left_out: usize,
}

/// The namespaces of which it selects pods.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespaces {
    Own,
    Any,
    Named(Vec<String>),
}

/// The object, without its kind.
#[derive(Debug, Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_unset")]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    namespace: Option<String>,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(deserialize_with = "null_is_unset")]
    namespace_selector: NamespaceSelector,
    #[serde(deserialize_with = "null_is_unset")]
    selector: selector::LabelSelector,
    pod_metrics_endpoints: Listed<EndpointSpec, MAX_ENDPOINTS>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NamespaceSelector {
    #[serde(deserialize_with = "null_is_unset")]
    any: bool,
    match_names: Listed<String, MAX_NAMESPACES>,
}

// === impl Monitor ===

impl Monitor {
    /// Reads the JSON of an object.
    pub fn read(text: &str) -> Result<Self, Error> {
        let Object { metadata: Metadata { namespace, name }, spec } = serde_json::from_str(text)?;
        if name.is_empty() {
            return Err(Error::NoName);
        }
        let name = PodRef { namespace: namespace.unwrap_or_else(|| "default".to_owned()), name };
        let Spec { namespace_selector, selector, pod_metrics_endpoints } = spec;
        let Listed { kept: endpoints, left_out } = pod_metrics_endpoints;
        let shown = name.to_string();
        let endpoints = endpoints.into_iter().map(|spec| spec.into_endpoint(&shown).into());
        let monitor = Self {
            namespaces: namespace_selector.into_namespaces()?,
            selector: selector.try_into()?,
            endpoints: endpoints.collect(),
            left_out,
            name,
        };
        let n_kept = monitor.n_bytes();
        if n_kept > MAX_KEPT { Err(Error::TooMuch(n_kept)) } else { Ok(monitor) }
    }

    /// The bytes that it takes in memory, but for what any takes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let Self { name, namespaces, selector, endpoints, left_out: _ } = self;
        let namespaces = match namespaces {
            Namespaces::Own | Namespaces::Any => 0,
            Namespaces::Named(names) => {
                names.iter().map(|name| size_of::<String>() + name.len()).sum()
            }
        };
        let endpoints: usize = endpoints.iter().map(|endpoint| spec::kept(endpoint)).sum();
        name.namespace.len() + name.name.len() + namespaces + selector.n_bytes() + endpoints
    }

    fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        let is_in = match &self.namespaces {
            Namespaces::Own => self.name.namespace == namespace,
            Namespaces::Any => true,
            Namespaces::Named(names) => names.iter().any(|name| name == namespace),
        };
        is_in && self.selector.selects(labels)
    }
}

// === impl NamespaceSelector ===

impl NamespaceSelector {
    /// `any` goes before names, as for the operator.
    fn into_namespaces(self) -> Result<Namespaces, selector::Error> {
        let Self { any, match_names: Listed { kept, left_out } } = self;
        match (any, kept.is_empty()) {
            (true, _) => Ok(Namespaces::Any),
            (false, true) => Ok(Namespaces::Own),
            (false, false) if left_out > 0 => Err(selector::Error::Long("matchNames")),
            (false, false) => Ok(Namespaces::Named(kept)),
        }
    }
}

#[cfg(test)]
mod tests;
