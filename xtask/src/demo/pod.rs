//! The three pods of the demo, as a table.

use std::{fmt::Write as _, net::Ipv4Addr};

/// A pod, and what stands in its manifest.
pub(super) struct Pod {
    pub(super) name: &'static str,
    pub(super) uid: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) annotations: &'static [(&'static str, &'static str)],
    pub(super) containers: &'static [Container],
}

/// A container and the program in it.
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// Names and numbers, as the manifest declares them.
    pub(super) ports: &'static [(&'static str, u16)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `node_exporter`, listening on this address.
    Exporter(&'static str),
    /// Envoy as a STRICT sidecar.
    Sidecar,
    /// A listener on this port that never answers.
    DeadEnd(u16),
}

/// The Kubernetes namespace of all of them.
pub(super) const NAMESPACE: &str = "shop";

/// The name of the sandbox's own container, whose first process keeps the pod.
pub(super) const PAUSE: &str = "pause";

const SIDECAR: Container = Container {
    name: "istio-proxy",
    program: Program::Sidecar,
    ports: &[("http-envoy-prom", 15090)],
};

/// An application behind a STRICT sidecar: the main case.
pub(super) const CART: Pod = Pod {
    name: "cart",
    uid: "6d657267-6572-4000-8000-000000000001",
    address: Ipv4Addr::new(198, 18, 0, 11),
    annotations: &[("prometheus.io/scrape", "true"), ("prometheus.io/port", "9100")],
    containers: &[
        Container { name: "cart", program: Program::Exporter(":9100"), ports: &[("http", 9100)] },
        SIDECAR,
    ],
};

/// The addresses are of the range for benchmarks, RFC 2544: no network routes them.
pub(super) const PODS: &[Pod] = &[
    CART,
    Pod {
        name: "multi",
        uid: "6d657267-6572-4000-8000-000000000002",
        address: Ipv4Addr::new(198, 18, 0, 12),
        annotations: &[("prometheus.io/scrape", "true")],
        containers: &[
            Container {
                name: "web",
                program: Program::Exporter(":9100"),
                ports: &[("metrics", 9100)],
            },
            Container {
                name: "worker",
                program: Program::Exporter("127.0.0.1:9101"),
                ports: &[("http-metrics", 9101)],
            },
        ],
    },
    Pod {
        name: "dead",
        uid: "6d657267-6572-4000-8000-000000000003",
        address: Ipv4Addr::new(198, 18, 0, 13),
        annotations: &[("prometheus.io/scrape", "true"), ("prometheus.io/port", "8080")],
        containers: &[
            Container { name: "app", program: Program::DeadEnd(8080), ports: &[("http", 8080)] },
            SIDECAR,
        ],
    },
];

// === impl Pod ===

impl Pod {
    /// The name of its network namespace below /run/netns.
    pub(super) fn netns(&self) -> String {
        format!("merger-demo-{}", self.name)
    }

    /// A container's id as a runtime gives it, 64 hexadecimal digits, but the same each time.
    pub(super) fn container_id(&self, container: &str) -> String {
        let mut name = String::new();
        for byte in format!("{}/{container}", self.name).bytes() {
            let _ = write!(name, "{byte:02x}");
        }
        format!("{name:0<64}")
    }

    /// The cgroup of a container, below the root of a hierarchy, as the kubelet names it.
    pub(super) fn cgroup(&self, container: &str) -> String {
        format!("kubepods/burstable/pod{}/{}", self.uid, self.container_id(container))
    }

    /// Whether the mesh's NAT rules belong into its namespace.
    pub(super) fn is_meshed(&self) -> bool {
        self.containers.iter().any(|container| container.program == Program::Sidecar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_have_the_form_of_a_runtime_and_differ() {
        let mut ids: Vec<String> = PODS
            .iter()
            .flat_map(|pod| pod.containers.iter().map(|container| pod.container_id(container.name)))
            .collect();
        assert!(ids.iter().all(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let n_ids = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), n_ids);
    }
}
