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
