//! `consul.hashicorp.com/service-metrics-{port,path}`.
//!
//! The port is one of `service-metrics-port`, else, where Consul is asked to merge metrics, that of the
//! service; `0` is none. It may be the name of a container's port. Source: `ServiceMetricsPort` and
//! `ShouldRunMergedMetricsServer` in `control-plane/connect-inject/metrics/metrics_configuration.go` of
//! consul-k8s.

use std::collections::BTreeMap;

use super::{At, Endpoint, value};
use crate::target::{Scheme, note::Note};

const METRICS_PORT: &str = "consul.hashicorp.com/service-metrics-port";
const METRICS_PATH: &str = "consul.hashicorp.com/service-metrics-path";
const SERVICE_PORT: &str = "consul.hashicorp.com/connect-service-port";
const MERGING: &str = "consul.hashicorp.com/enable-metrics-merging";
const METRICS: &str = "consul.hashicorp.com/enable-metrics";

/// The service's endpoint, if there is one.
pub(super) fn endpoint(
    annotations: &BTreeMap<String, String>,
    notes: &mut Vec<Note>,
) -> Option<Endpoint> {
    let find = |name| super::find(annotations, name);
    let merges = find(MERGING).map(value::truth_of).transpose();
    let merges = super::noted(merges, notes).flatten().unwrap_or_default();
    // What is neither is told of beside the sidecar that it is said of.
    let is_declined = find(METRICS).is_some_and(|said| value::truth_of(said) == Ok(false));
    let service = || find(SERVICE_PORT).filter(|_| merges && !is_declined);
    let (name, port) = find(METRICS_PORT).or_else(service).filter(|(_, port)| *port != "0")?;
    // A service of several ports has them in a list, which Consul does not merge either.
    let expected = "one port from 1 to 65535, in digits, or the name of a container's port";
    let at = super::noted(value::parse((name, port), At::read, expected), notes)?;
    let path = find(METRICS_PATH).map_or(Ok("/metrics".to_owned()), value::page_of);
    let path = super::noted(path, notes)?;
    Some(Endpoint::new(at, Scheme::Http, path, name))
}
