//! What each mesh's sidecar exposes, as a table.

use std::num::NonZeroU16;

use super::Container;

/// A sidecar's own metrics, and the ports of its pod that are not an application's.
#[derive(Debug)]
pub struct Profile {
    /// The mesh, for people.
    pub mesh: &'static str,
    /// The name that the mesh's injector gives the sidecar's container.
    pub container: &'static str,
    /// The port of the proxy's own metrics.
    pub port: u16,
    /// Their path.
    pub path: &'static str,
    /// The ports of the proxy and its agent. Nobody may ask for them as an application's: some are
    /// for administration, and some repeat what the proxy's own metrics say already.
    pub reserved: &'static [u16],
}

/// The profiles known.
///
/// Istio: `pkg/bootstrap` puts Envoy's statistics on 15090, and `istioReservedPorts` in
/// `pilot/cmd/pilot-agent/status/server.go` lists the ports that it refuses as scrape targets.
/// 15020 repeats Envoy and the application, so nothing is taken from it.
const PROFILES: &[Profile] = &[Profile {
    mesh: "istio",
    container: "istio-proxy",
    port: 15090,
    path: "/stats/prometheus",
    reserved: &[15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090],
}];

/// Containers of proxies whose own metrics are not read, with their ports for traffic and for
/// administration: mesh, container, ports. Their ports for metrics are not among them, as they can be
/// asked for by annotation like an application's.
///
/// Linkerd: `values.yaml` of the control plane's chart. Consul: `mesh_webhook.go` of consul-k8s and
/// `metrics.go` of consul-dataplane. Kuma: `UPGRADE.md` and `run.go`. Dapr: `pkg/runtime/config.go`. App
/// Mesh and OSM name theirs `envoy`: `values.yaml` of the controller, `pkg/constants/constants.go`.
const PROXIES: &[(&str, &str, &[u16])] = &[
    ("linkerd", "linkerd-proxy", &[4140, 4143, 4190]),
    ("consul", "consul-dataplane", &[15001, 19000, 20000]),
    ("kuma", "kuma-sidecar", &[9901, 9902, 15001, 15006, 15053]),
    ("dapr", "daprd", &[3500, 50001]),
    ("App Mesh or OSM", "envoy", &[15000, 15001, 15003]),
];

/// The mesh whose proxy has `port`, where `container` is such a proxy.
#[must_use]
pub fn reserving(container: &Container, port: NonZeroU16) -> Option<&'static str> {
    let sidecars = PROFILES.iter().map(|p| (p.mesh, p.container, p.reserved));
    let mut proxies = sidecars.chain(PROXIES.iter().copied());
    let has = |&(_, name, ports): &(_, &str, &[u16])| {
        name == container.name && ports.contains(&port.get())
    };
    proxies.find(has).map(|(mesh, ..)| mesh)
}

/// The profile of a sidecar, or `None` where `container` is the application's.
#[must_use]
pub fn profile(container: &Container) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.container == container.name)
}

/// The profile whose proxy has `port`, whatever pod it is in.
#[must_use]
pub fn profile_of_port(port: NonZeroU16) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.reserved.contains(&port.get()))
}
