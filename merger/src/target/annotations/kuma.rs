//! `prometheus.metrics.kuma.io/aggregate-<name>-{port,path,address,enabled}`, of Kuma before 3.
//!
//! Source: `MetricsAggregateFor` in `pkg/plugins/runtime/k8s/metadata/annotations.go` of kumahq/kuma.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    Endpoint, MAX_ENDPOINTS,
    value::{self, Entry, Malformed},
};
use crate::target::{Scheme, note::Note};

/// What the names of these annotations begin with.
pub const PREFIX: &str = "prometheus.metrics.kuma.io/aggregate-";

/// The annotations of one name.
#[derive(Default)]
struct Aggregate<'a> {
    port: Option<Entry<'a>>,
    path: Option<Entry<'a>>,
    address: Option<Entry<'a>>,
    enabled: Option<Entry<'a>>,
}

/// One endpoint for each name that has a port and is not switched off.
pub(super) fn endpoints(
    annotations: &BTreeMap<String, String>,
    notes: &mut Vec<Note>,
) -> Vec<Endpoint> {
    let mut aggregates: BTreeMap<&str, Aggregate<'_>> = BTreeMap::new();
    for entry in super::entries(annotations) {
        let Some((name, what)) = entry.0.strip_prefix(PREFIX).and_then(|s| s.rsplit_once('-'))
        else {
            continue;
        };
        let aggregate = aggregates.entry(name).or_default();
        match what {
            "port" => aggregate.port = Some(entry),
            "path" => aggregate.path = Some(entry),
            "address" => aggregate.address = Some(entry),
            "enabled" => aggregate.enabled = Some(entry),
            _ => {}
        }
    }
    super::note_rest(PREFIX, aggregates.len(), notes);
    let read = aggregates.into_iter().take(MAX_ENDPOINTS).map(|(name, what)| what.endpoint(name));
    super::kept(read.filter_map(Result::transpose), notes)
}

/// An address of Kuma's: an IP address, or `localhost`.
fn address(value: &str) -> Option<IpAddr> {
    if value == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { value.parse().ok() }
}

// === impl Aggregate ===

impl Aggregate<'_> {
    fn endpoint(self, name: &str) -> Result<Option<Endpoint>, Malformed> {
        let Self { port, path, address, enabled } = self;
        if enabled.map(value::truth_of).transpose()? == Some(false) {
            return Ok(None);
        }
        let Some(port) = port else {
            let name = format!("{PREFIX}{name}-port");
            return Err(Malformed::new(&name, "", "there, and Kuma would refuse the pod as well"));
        };
        let path = path.map_or(Ok("/metrics".to_owned()), value::page_of)?;
        let expected = "an IP address of the pod, or localhost";
        let address = address.map(|entry| value::parse(entry, self::address, expected));
        let address = address.transpose()?;
        let endpoint = Endpoint::new(value::port_of(port)?, Scheme::Http, path, port.0);
        Ok(Some(Endpoint { address, ..endpoint }))
    }
}
