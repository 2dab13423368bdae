//! `coroot.com/{scrape-metrics,metrics-port,metrics-path,metrics-scheme}`.
//!
//! Source: the documentation of coroot-cluster-agent, "Custom metrics".

use std::collections::BTreeMap;

use super::{Endpoint, value};
use crate::target::{Scheme, note::Note};

/// The endpoint, where it is switched on and has a port.
pub(super) fn endpoint(
    annotations: &BTreeMap<String, String>,
    notes: &mut Vec<Note>,
) -> Option<Endpoint> {
    let find = |name| super::find(annotations, name);
    let asks = find("coroot.com/scrape-metrics").map(value::truth_of).transpose();
    if super::noted(asks, notes).flatten() != Some(true) {
        return None;
    }
    let port = find("coroot.com/metrics-port").unwrap_or(("coroot.com/metrics-port", ""));
    let path = find("coroot.com/metrics-path").map_or(Ok("/metrics".to_owned()), value::page_of);
    let scheme = find("coroot.com/metrics-scheme").map_or(Ok(Scheme::Http), |entry| {
        value::parse(entry, value::scheme, "\"http\" or \"https\"")
    });
    let scheme = super::noted(scheme, notes)?;
    let path = super::noted(path, notes)?;
    Some(Endpoint::new(super::noted(value::port_of(port), notes)?, scheme, path, port.0))
}
