//! A pod as its manifest, the way the API server would show it.

use std::fmt::Write as _;

use super::pod::{NAMESPACE, Pod};

/// The manifest of a running pod on the given node, as YAML.
pub(super) fn of(pod: &Pod, node: &str) -> String {
    let Pod { name, uid, address, annotations, containers } = pod;
    let mut yaml = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  uid: {uid}\n"
    );
    yaml.push_str("  annotations:\n");
    for (key, value) in *annotations {
        let _ = writeln!(yaml, "    {key}: \"{value}\"");
    }
    let _ = writeln!(yaml, "spec:\n  nodeName: {node}\n  containers:");
    for container in *containers {
        let _ =
            writeln!(yaml, "    - name: {0}\n      image: demo/{0}\n      ports:", container.name);
        for (port, number) in container.ports {
            let _ = writeln!(yaml, "        - name: {port}\n          containerPort: {number}");
        }
    }
    let _ = writeln!(yaml, "status:\n  phase: Running\n  podIP: {address}\n  containerStatuses:");
    for container in *containers {
        let id = pod.container_id(container.name);
        let _ =
            writeln!(yaml, "    - name: {}\n      containerID: containerd://{id}", container.name);
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::{super::pod::PODS, *};

    #[test]
    fn a_manifest_names_what_merger_reads() {
        let dead = PODS.iter().find(|pod| pod.name == "dead").unwrap();
        assert_eq!(
            of(dead, "here"),
            r#"apiVersion: v1
kind: Pod
metadata:
  name: dead
  namespace: shop
  uid: 6d657267-6572-4000-8000-000000000003
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: "8080"
spec:
  nodeName: here
  containers:
    - name: app
      image: demo/app
      ports:
        - name: http
          containerPort: 8080
    - name: istio-proxy
      image: demo/istio-proxy
      ports:
        - name: http-envoy-prom
          containerPort: 15090
status:
  phase: Running
  podIP: 198.18.0.13
  containerStatuses:
    - name: app
      containerID: containerd://646561642f617070000000000000000000000000000000000000000000000000
    - name: istio-proxy
      containerID: containerd://646561642f697374696f2d70726f787900000000000000000000000000000000
"#
        );
    }
}
